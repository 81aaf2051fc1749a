"""``python -m autoprune.phone lab-request``: what to ask a lab of phones for, one phone a request.

The request is a body of the Device Run API of Google's Developer Device Platform (v1alpha), in the
form of google-ai-edge/litert-samples, benchmark/session-cpu-gpu-wrapper.json at a5058b5. Its
program is benchmark/multi_benchmark_harness.sh of that repository, which runs benchmark_model many
times on one phone; ``--NAME_flag=`` is a flag of the run NAME.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.files import write_json
from autoprune.phone.protocol import Run, models_of, plan
from autoprune.phone.runners import TOOLS

TOOL = TOOLS["litert_benchmark_model"]
PLACE = "/data/local/tmp"
BINARY = "gs://litert/binaries/{}/android_arm64/benchmark_model"
HARNESS = "multi_benchmark_harness.sh"
MAX_THREADS = 16
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``lab-request`` and its flags to the command's."""
    parser = commands.add_parser(
        "lab-request",
        help="write the request that has a lab's phone measure exported models",
        description="Write a request to a lab of phones; docs/how-to/in-a-lab.md explains it.",
    )
    flag = parser.add_argument
    several: dict[str, Any] = {"type": Path, "nargs": "+", "action": "extend", "required": True}
    for side in ("--dense", "--pruned"):
        flag(side, **several, metavar="MANIFEST", help="of exports, as .tflite")
    flag("--device", required=True, help="the lab's id of a phone, such as caiman-35")
    flag("--bucket", required=True, help="gs://... of yours: models in, results out")
    flag("--tool-version", required=True, help="of LiteRT's benchmark_model, such as 2.2.0")
    flag("--delegate", choices=list(TOOL.delegates), default=next(iter(TOOL.delegates)))
    flag("--threads", type=int, default=1, help="default: %(default)s")
    flag("--repeats", type=int, default=5, help="runs of each model (default: %(default)s)")
    flag("--pause", type=int, default=10, metavar="S", help="between runs (default: 10 s)")
    flag("--output", type=Path, required=True, help="the request, JSON")


def main(args: argparse.Namespace) -> None:
    """The command; raises InputError for wrong input."""
    for name, least, most in (("threads", 1, MAX_THREADS), ("repeats", 1, 99), ("pause", 0, 3600)):
        if not least <= getattr(args, name) <= most:
            raise InputError(f"--{name}: found {getattr(args, name)}, expected {least} to {most}")
    if not re.fullmatch(r"gs://[\w./-]+", args.bucket):
        raise InputError(f"--bucket: found {args.bucket!r}, expected gs://NAME, or a folder in it")
    for name in ("device", "tool_version"):
        if not NAME.fullmatch(getattr(args, name)):
            flag = name.replace("_", "-")
            raise InputError(
                f"--{flag}: found {getattr(args, name)!r}, expected letters, digits - ."
            )
    runs = plan(models_of(args.dense, args.pruned, TOOL), [args.threads], args.repeats)
    write_json(args.output, request(args, runs))
    files = sorted({str(run.model.path) for run in runs})
    print(
        f"{args.output}: {len(runs)} runs on {args.device}, {args.delegate}; it needs in the bucket"
    )
    print(f"gcloud storage cp {HARNESS} {' '.join(files)} {args.bucket.rstrip('/')}/")


def run_name(run: Run) -> str:
    """A run's name in the request and of its files: in their order, they sort."""
    return f"r{run.order:03d}"


def request(args: argparse.Namespace, runs: Sequence[Run]) -> dict[str, Any]:
    """The body of the request: one job, its runs in the order of the protocol."""
    bucket = args.bucket.rstrip("/")
    flags = [flag.format(model="", threads=args.threads) for flag in TOOL.flags]
    arguments = [
        f"--runs={','.join(map(run_name, runs))}",
        f"--binary={PLACE}/benchmark_model",
        f"--output_dir={PLACE}/output",
        f"--cooldown={args.pause}",
        *(flag for flag in flags if not flag.startswith("--graph=")),
        *TOOL.delegates[args.delegate],
        *(f"--{run_name(run)}_graph={PLACE}/{run.model.file}" for run in runs),
    ]
    pushed = {f"{PLACE}/benchmark_model": BINARY.format(args.tool_version)}
    pushed |= {f"{PLACE}/{run.model.file}": f"{bucket}/{run.model.file}" for run in runs}
    files = [
        {"sourceFile": {"gcsInputFile": {"path": source}}, "destinationPath": place}
        for place, source in pushed.items()
    ]
    actions = [
        {"androidPushFiles": {"fileConfigs": files}},
        {"androidPullFiles": {"paths": [f"{PLACE}/output"]}},
        {"androidLogcat": {}},
    ]
    program = {"gcsInputFile": {"path": f"{bucket}/{HARNESS}"}}
    job = {
        "displayName": f"autoprune-{re.sub(r'[^A-Za-z0-9-]', '-', args.device)}"[:63],
        "action": {
            "androidNativeBinary": {"androidNativeBinary": program, "args": arguments},
        },
        "allocationConfig": {
            "deviceConfigs": [{"requirement": {"deviceId": args.device}, "actions": actions}],
        },
    }
    return {
        "sessionConfig": {
            "displayName": "autoprune",
            "outputDirectoryConfig": {"gcsOutputDirectory": {"path": f"{bucket}/results"}},
            "jobConfigs": [job],
        }
    }
