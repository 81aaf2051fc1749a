"""``python -m autoprune.phone import-logs``: a session from what a benchmark left, here or in a
lab of phones: logs, or LiteRT's result files."""

import argparse
import csv
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file, write_json
from autoprune.core.provenance import code_version
from autoprune.phone.exported import Model, Models, read_models
from autoprune.phone.facts import ABI, CLOCKS, read_facts
from autoprune.phone.lab import companions
from autoprune.phone.measurement import Measurement
from autoprune.phone.raw import RESULTS, read_run
from autoprune.phone.rows import CELLS, COLUMNS, SCHEMA_VERSION
from autoprune.phone.session import BENCHMARK_MODEL, read_session

DEVICE = {
    "manufacturer": "as in ro.product.manufacturer",
    "phone": "as in ro.product.model",
    "soc": "the chip, as in ro.soc.model",
    "board-platform": "as in ro.board.platform",
    "android-release": "as in ro.build.version.release",
    "android-sdk": "as in ro.build.version.sdk",
}
STATE = ("airplane-mode", "screen", "low-power")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``import-logs`` and its flags to the command's."""
    parser = commands.add_parser(
        "import-logs",
        help="make a session of logs, or of a lab's result files",
        description="Make a session of logs (docs/how-to/hand-in-measurements.md) or of the "
        "result files of a lab (docs/how-to/in-a-lab.md).",
    )
    flag = parser.add_argument
    flag(
        "logs", nargs="*", type=Path, metavar="LOG",
        help="a run each, in the order of measuring: a log, or results.pb beside its "
        "runtime_info.pb and log",
    )  # fmt: skip
    flag(
        "--log-of", nargs=2, action="append", default=[], metavar=("MODEL_ID", "LOG"),
        help="a log that does not name its model file; after the others, may be repeated",
    )  # fmt: skip
    flag("--session", type=Path, required=True, help="folder to write, its name the session's")
    flag("--manifests", type=Path, nargs="+", required=True, help="of the exports measured")
    flag("--started-at", required=True, help="when, as 2026-11-03T14:05:00+01:00")
    flag("--delegate", help=f"{CELLS['delegate'].expected}; a log that says it must agree")
    for name in ("threads", "warmup-runs", "runs"):
        flag(f"--{name}", type=int, help="where the logs do not say it")
    flag("--cpu-mask", default="", help="hexadecimal, where the runs were kept on some CPUs")
    flag("--facts", type=Path, help="a session.json to use, instead of the flags below")
    for name, what in DEVICE.items():
        flag(f"--{name}", help=what)
    flag("--abi", default=ABI, help="default: %(default)s")
    flag("--clocks", choices=CLOCKS, default="shipped", help="default: %(default)s")
    for name in STATE:
        flag(f"--{name}", choices=("on", "off", "unknown"), default="unknown")
    flag("--tool-version", help="as its publisher calls it")
    flag("--tool-sha256", default="", help="of the program")
    flag("--tool-url", default="", help="where it is from")


def main(args: argparse.Namespace) -> None:
    """The command; raises InputError and writes nothing when the session would not be valid."""
    if args.session.exists():
        raise InputError(f"{args.session}: is there already; give a new --session folder")
    known = read_models(args.manifests)
    given = [(log, None) for log in args.logs] + [(Path(log), name) for name, log in args.log_of]
    if not given:
        raise InputError("no log; give a LOG for each run, or --log-of MODEL_ID LOG")
    logs = [(path, read_run(path), name) for path, name in given]
    runs = [(path, log, model_for(path, log, name, known)) for path, log, name in logs]
    facts = facts_of(args, [(path, log) for path, log, _ in runs])
    scratch = args.session.with_name(f".{args.session.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        write_session(scratch, args, facts, runs)
        session = read_session(scratch, known)
        scratch.rename(args.session)
    except InputError as error:
        raise InputError(str(error).replace(str(scratch), str(args.session))) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for warning in session.warnings:
        print(f"warning: {warning.replace(str(scratch), str(args.session))}")
    print(f"{args.session}: {len(session.rows)} runs; look at it with the command check")


def model_for(path: Path, log: Measurement, name: str | None, known: Models) -> Model:
    """The exported model of a log, by the file it names or by the ``name`` given."""
    models = {model["model_id"]: model for same in known.values() for model in same}
    files = {model["file"]: model for model in models.values()}
    graph = (log.graph or "").rpartition("/")[2]
    if name is None and not graph:
        raise InputError(f"{path}: does not name its model; give it as --log-of MODEL_ID LOG")
    found = models.get(name) if name is not None else files.get(graph)
    if found is None:
        raise InputError(
            f"{path}: model {name or graph!r} is in no manifest; known are {', '.join(models)}"
        )
    file, size = Path(found["manifest"]).parent / found["file"], log.size_mb
    if size and file.is_file() and abs(file.stat().st_size / 1e6 - size.ms) > size.step:
        raise InputError(
            f"{path}: of a model of {size.ms:g} MB, but {file} has {file.stat().st_size / 1e6:g} "
            "MB; is it another one?"
        )
    return found


def delegate_of(path: Path, log: Measurement, told: str | None) -> str:
    """The delegate that a log names, or the one told; InputError where they are not the same.

    Told ``cpu``, a log of XNNPACK is no contradiction: it computes on the CPU.
    """
    if log.delegate is None:
        if told is None:
            raise InputError(f"{path}: does not name its delegate: give --delegate")
        return told
    if told not in (None, log.delegate) and (told, log.delegate) != ("cpu", "xnnpack"):
        took = f", which took {log.nodes[0]} of {log.nodes[1]} nodes" if log.nodes else ""
        raise InputError(
            f"{path}: --delegate: found {told!r}, but the log says that {log.delegate!r} ran it"
            f"{took}; measure it again, or give --delegate {log.delegate}"
        )
    return log.delegate


def facts_of(args: argparse.Namespace, logs: Sequence[tuple[Path, Measurement]]) -> dict[str, Any]:
    """The session's facts, of a file or of flags; the tool is what the logs are of."""
    first, tool = logs[0][0], logs[0][1].tool
    for path, log in logs:
        if log.tool != tool:
            raise InputError(f"{path}: of {log.tool}, but {first} is of {tool}; a session each")
    if args.facts:
        facts = read_facts(args.facts)
        named = facts["tool"]["name"]
        if named not in (tool, "other") and not {named, tool} <= BENCHMARK_MODEL:
            raise InputError(f"{args.facts}: tool.name: found {named!r}, the logs are of {tool!r}")
        return facts | {"session_id": args.session.name}
    for name in ("manufacturer", "phone", "tool-version"):
        if not getattr(args, name.replace("-", "_")):
            raise InputError(f"--{name} is missing; give it, or --facts with a session.json")
    sdk = args.android_sdk
    if sdk is not None and not sdk.isdecimal():
        raise InputError(f"--android-sdk: found {sdk!r}, expected a whole number")
    device = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name in DEVICE}
    device |= {"model": device.pop("phone"), "android_sdk": int(sdk) if sdk else None}
    state = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name in STATE}
    return {
        "schema_version": SCHEMA_VERSION,
        "session_id": args.session.name,
        "kind": "phone",
        "device": device | {"abi": args.abi},
        "protocol": {"version": "as imported", "clocks": args.clocks, **state},
        "tool": {
            "name": tool,
            "version": args.tool_version,
            "sha256": args.tool_sha256,
            "source_url": args.tool_url,
        },
        "host": {
            "adb_version": "",
            "harness_version": code_version("autoprune.phone.import_logs"),
        },
    }


def write_session(
    folder: Path,
    args: argparse.Namespace,
    facts: dict[str, Any],
    runs: Sequence[tuple[Path, Measurement, Model]],
) -> None:
    """Write session.json, the raw logs as they are, and runs.csv into ``folder``."""
    write_json(folder / "session.json", facts)
    (folder / "raw").mkdir()
    repeats: Counter[tuple[str, int, str]] = Counter()
    with (folder / "runs.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for order, (path, log, model) in enumerate(runs, start=1):
            said = {
                name: told(path, args, log, name) for name in ("threads", "warmup_runs", "runs")
            }
            delegate = delegate_of(path, log, args.delegate)
            repeats[model["model_id"], said["threads"], delegate] += 1
            repeat = repeats[model["model_id"], said["threads"], delegate]
            run = f"{order:03d}-{model['variant']}-{model['precision']}"
            run += f"-t{said['threads']}-r{repeat}"
            raw = keep(path, folder, run)
            row = dict.fromkeys(COLUMNS, "") | said | log.cells()
            row |= {key: model[key] for key in ("model_id", "variant", "format", "precision")}
            row |= {"model_sha256": model["sha256"], "run_id": run, "repeat": repeat}
            row |= {"schema_version": SCHEMA_VERSION, "session_id": facts["session_id"]}
            row |= {"tool": facts["tool"]["name"], "tool_version": facts["tool"]["version"]}
            row |= {"tool_sha256": facts["tool"]["sha256"] or "", "delegate": delegate}
            row |= {"cpu_mask": args.cpu_mask, "batch": 1, "order": order, "gate": "none"}
            row |= {"started_at": args.started_at, "raw_log": raw}
            writer.writerow(row | {"raw_log_sha256": sha256_file(folder / raw)})


def keep(path: Path, folder: Path, run: str) -> str:
    """Copy a run's log, or its results and what lies beside them; its place in the session."""
    raw = f"raw/{run}.results{RESULTS}" if path.suffix == RESULTS else f"raw/{run}.log"
    info, beside = companions(path) if path.suffix == RESULTS else (None, None)
    names = {path: raw, info: f"raw/{run}.runtime_info{RESULTS}", beside: f"raw/{run}.log"}
    for source, place in names.items():
        if source is not None:
            shutil.copyfile(source, folder / place)
    return raw


def told(path: Path, args: argparse.Namespace, log: Measurement, name: str) -> int:
    """A number of the log, or of the flag where the log has none."""
    logged, flag = getattr(log, name), getattr(args, name)
    value = logged if logged is not None else flag
    if value is None:
        raise InputError(f"{path}: does not say it: give --{name.replace('_', '-')}")
    return int(value)
