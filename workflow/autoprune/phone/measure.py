"""``python -m autoprune.phone measure``: a session on a phone, by the protocol.

The protocol is in docs/how-to/on-a-phone.md. Start-up is quick: nothing here needs PyTorch.
"""

import argparse
import re
import shlex
import signal
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file
from autoprune.core.provenance import code_version
from autoprune.phone import benchmark, device
from autoprune.phone.adb import FOLDER, call, connect, find_adb, sha256_command
from autoprune.phone.benchmark import Settings
from autoprune.phone.delegates import ACCELERATORS, LABELS
from autoprune.phone.protocol import ORDER, VERSION, Model, Run, models_of, plan
from autoprune.phone.record import Record
from autoprune.phone.rows import SCHEMA_VERSION
from autoprune.phone.runners import TOOLS, check_runner

NAME = re.compile(r"[a-z0-9._-]{1,64}")
MAX_THREADS = 16
DAY_S = 24 * 60 * 60


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``measure`` and its flags to the command's."""
    parser = commands.add_parser(
        "measure",
        help="measure exported models on the phone behind adb",
        description="Measure exported models on a phone; docs/how-to/on-a-phone.md explains it.",
    )
    flag = parser.add_argument
    flag(
        "--runner", type=Path, required=True, help="the phone's benchmark program, a file of yours"
    )
    flag("--tool", choices=TOOLS, required=True, help="which program that is")
    flag("--tool-version", required=True, help="its version, as its publisher calls it")
    flag("--tool-url", default="", help="where it is from, for the record")
    flag(
        "--delegate", choices=LABELS,
        help="what is to run the networks (default: the processor, as the tool does it best)",
    )  # fmt: skip
    flag(
        "--library", type=Path, nargs="+", action="extend", default=[], metavar="FILE",
        help="that the runner needs beside it, such as an NPU's",
    )  # fmt: skip
    several: dict[str, Any] = {"type": Path, "nargs": "+", "action": "extend", "required": True}
    for side in ("--dense", "--pruned"):
        flag(side, **several, metavar="MANIFEST", help="of exports")
    flag("--session", type=Path, required=True, help="folder to write; the same one goes on")
    flag("--serial", help="of the phone, where there are several")
    flag("--adb", metavar="PATH", help="the adb program (default: the one on the PATH)")
    flag("--repeats", type=int, default=5, help="runs of each model (default: %(default)s)")
    flag(
        "--threads", type=int, nargs="+",
        help="1 runs on the fastest cores, more where the phone likes (default: 1 2 4; of a GPU "
        "or NPU 1)",
    )  # fmt: skip
    flag("--pause", type=float, default=5.0, metavar="S", help="between runs (default: 5 s)")
    flag(
        "--gate-sleep", type=float, default=10.0, metavar="S", help="between looks (default: 10 s)"
    )
    flag(
        "--gate-limit", type=float, default=1800.0, metavar="S",
        help="to wait for a cool phone, before each run (default: 1800 s)",
    )  # fmt: skip
    flag(
        "--fixed-performance",
        action="store_true",
        help="lower, steady clocks while it measures; recorded",
    )
    flag("--retry-failed", action="store_true", help="do the runs of failed.csv again")
    flag("--dry-run", action="store_true", help="print the commands, in order; needs no phone")


def main(args: argparse.Namespace) -> None:
    """The command; raises InputError for wrong input and for a session without a result."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to put the clocks back
    tool = TOOLS[args.tool]
    args.delegate = args.delegate or next(iter(tool.delegates))
    args.threads = args.threads or ([1] if args.delegate in ACCELERATORS else [1, 2, 4])
    checked(args)
    models = models_of(args.dense, args.pruned, tool)
    runs = plan(models, args.threads, args.repeats)
    settings = Settings(
        session_id=args.session.resolve().name,
        tool=tool,
        tool_version=args.tool_version,
        tool_sha256=sha256_file(args.runner),
        runner=args.runner.name,
        mask="MASK",
        delegate=args.delegate,
        libraries=tuple(args.library),
        pause_s=args.pause,
        gate_sleep_s=args.gate_sleep,
        gate_limit_s=args.gate_limit,
        retry_failed=args.retry_failed,
    )
    if args.dry_run:
        for command in commands(args, settings, models, runs):
            print(shlex.join(["adb", *command]))
        return
    measure(args, settings, models, runs)


def checked(args: argparse.Namespace) -> None:
    """Raise InputError for flags that fit no session."""
    if not NAME.fullmatch(args.session.resolve().name):
        raise InputError(
            f"--session: the folder is {args.session.resolve().name!r}, expected a name of at "
            "most 64 of a-z 0-9 . _ -"
        )
    if args.repeats < 1:
        raise InputError(f"--repeats: found {args.repeats}, expected at least 1")
    wrong = [number for number in args.threads if not 1 <= number <= MAX_THREADS]
    if wrong or len(set(args.threads)) < len(args.threads):
        raise InputError(f"--threads: found {args.threads}, expected numbers of 1 to {MAX_THREADS}")
    for name in ("pause", "gate_sleep", "gate_limit"):
        if not 0 <= getattr(args, name) <= DAY_S:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag}: found {getattr(args, name)}, expected 0 to {DAY_S} s")
    if not args.tool_version.strip():
        raise InputError("--tool-version: found nothing, expected the runner's version")
    known = TOOLS[args.tool].delegates
    if args.delegate not in known:
        raise InputError(
            f"--delegate: found {args.delegate}, {args.tool} can be asked for {', '.join(known)}"
        )
    check_runner(args.runner)
    for flag, path in (("--runner", args.runner), *(("--library", path) for path in args.library)):
        if not path.is_file():
            raise InputError(f"{flag}: {path}: no such file")
        if not re.fullmatch(r"[\w.+-]+", path.name):
            raise InputError(f"{flag}: {path.name!r}: rename it; letters, digits . _ + -")


def measure(
    args: argparse.Namespace, settings: Settings, models: Sequence[Model], runs: Sequence[Run]
) -> None:
    """Connect, look the phone up, push, measure."""
    program = find_adb(args.adb)
    adb = connect(program, args.serial)
    version = " ".join(line.split()[-1] for line in call(program, "version").text.splitlines()[:2])
    phone = device.facts(adb)
    mask = device.usable_mask(adb, device.fastest(phone["cpus"]))
    settings = Settings(**{**vars(settings), "mask": mask})
    about = described(args, settings, phone, version, models)
    about["kind"] = "emulator" if adb.serial.startswith("emulator-") else "phone"
    about["starts"][0] |= (now := device.state(adb))
    about["protocol"] |= now
    record = Record(args.session)
    record.open(about)
    soc = f"{phone['manufacturer']} {phone['model']} ({phone['soc']})"
    benchmark.say(f"{soc}, Android {phone['android_release']}; cores: mask {mask or 'refused'}")
    if about["kind"] == "emulator":
        benchmark.say("note: this is an emulator; the results take phones only")
    for wish in device.wishes(now):
        benchmark.say(f"note: {wish}")
    try:
        benchmark.prepare(adb, args.runner, settings.tool_sha256, args.library, models)
        if args.fixed_performance:
            adb.shell(device.FIXED_PERFORMANCE.format("true"))
        benchmark.measure(adb, runs, record, settings)
    except KeyboardInterrupt:
        kept = len(record.finished())
        raise InputError(
            f"interrupted; {kept} of {len(runs)} runs are kept, the same command goes on"
        ) from None
    finally:
        if args.fixed_performance and adb.connected():
            adb.try_shell(device.FIXED_PERFORMANCE.format("false"))
    print(benchmark.summary(runs, record))


def described(
    args: argparse.Namespace,
    settings: Settings,
    phone: dict[str, Any],
    adb_version: str,
    models: Sequence[Model],
) -> dict[str, Any]:
    """What session.json says, but for the phone's switches."""
    return {
        "schema_version": SCHEMA_VERSION,
        "session_id": settings.session_id,
        "device": phone,
        "protocol": {
            "version": VERSION,
            "clocks": "fixed_performance" if args.fixed_performance else "shipped",
            "order": ORDER,
            "threads": args.threads,
            "repeats": args.repeats,
            "cpu_mask": settings.mask,
            "delegate": settings.delegate,
            "pause_s": args.pause,
            "gate": {
                "max_thermal_status": 0,
                "max_battery_c": device.MAX_BATTERY_C,
                "sleep_s": args.gate_sleep,
                "limit_s": args.gate_limit,
            },
        },
        "tool": {
            "name": settings.tool.name,
            "version": settings.tool_version,
            "sha256": settings.tool_sha256,
            "source_url": args.tool_url,
            "libraries": {path.name: sha256_file(path) for path in settings.libraries},
        },
        "host": {
            "adb_version": adb_version,
            "harness_version": code_version("autoprune.phone.measure"),
        },
        "models": [{"model_id": model.model_id, "sha256": model.sha256} for model in models],
        "starts": [{"at": datetime.now(UTC).isoformat(timespec="seconds")}],
    }


def commands(
    args: argparse.Namespace, settings: Settings, models: Sequence[Model], runs: Sequence[Run]
) -> Iterator[list[str]]:
    """What a session asks adb for, in order, when the phone is cool and nothing fails."""
    yield ["devices"]
    yield ["version"]
    serial = ["-s", args.serial or "SERIAL"]
    facts = [device.getprop(name) for name in device.PROPERTIES.values()] + [device.CPUINFO]
    facts += [device.cpu_command(fact) for fact in device.CPU_FACTS]
    facts += [device.taskset_check(settings.mask)]
    facts += [device.WAKEFULNESS, device.AIRPLANE, device.LOW_POWER, f"mkdir -p {FOLDER}"]
    for command in facts:
        yield [*serial, "shell", command]
    pushed = [(path, path.name) for path in (args.runner, *args.library)]
    for path, name in [*pushed, *((m.path, m.file) for m in models)]:
        yield [*serial, "push", str(path), f"{FOLDER}/{name}"]
        yield [*serial, "shell", sha256_command(name)]
        if path is args.runner:
            yield [*serial, "shell", benchmark.chmod(name)]
    if args.fixed_performance:
        yield [*serial, "shell", device.FIXED_PERFORMANCE.format("true")]
    for run in runs:
        for command in (device.THERMAL, device.BATTERY):
            yield [*serial, "shell", command]
        for command in benchmark.commands_of(run, settings):
            around = benchmark.logcat(settings.tool.logcat) if settings.tool.logcat else ()
            for part in (*around[:1], command, *around[1:]):
                yield [*serial, "shell", part]
        for command in (device.THERMAL, device.BATTERY):
            yield [*serial, "shell", command]
    if args.fixed_performance:
        yield [*serial, "get-state"]
        yield [*serial, "shell", device.FIXED_PERFORMANCE.format("false")]
