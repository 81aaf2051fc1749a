"""Whole sessions of `measure` against an adb without a phone, and against a real adb."""

import atexit
import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import fake_adb
import pytest

from autoprune.phone import device
from autoprune.phone.exported import read_models
from autoprune.phone.logs import parse
from autoprune.phone.rows import COLUMNS
from autoprune.phone.session import read_sessions
from stages import run_here

HERE = Path(__file__).resolve().parent
# where there is no Perl for a client of its server; imported, so that no call compiles it
ADB = f"""#!/usr/bin/env -S python3 -S -E
import os
import sys
sys.path.insert(0, {str(HERE)!r})
import fake_adb
fake_adb.answer(os.environ["FAKE_ADB_STATE"], sys.argv[1:])
"""
ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x03\0%b\0"  # the first 20 bytes, but for the machine
SERIAL = "1A2B3C4D5E6F"
# of a Pixel 6a: four small cores, two middle ones, two big ones
PIXEL = {
    "phones": {SERIAL: "device"},
    "khz": [1803000] * 4 + [2253000] * 2 + [2802000] * 2,
    "airplane_mode_on": "1",
    "low_power": "0",
    "props": {
        "ro.product.manufacturer": "Google",
        "ro.product.model": "Pixel 6a",
        "ro.board.platform": "gs101",
        "ro.soc.manufacturer": "Google",
        "ro.soc.model": "Tensor",
        "ro.build.version.release": "16",
        "ro.build.version.sdk": "36",
        "ro.build.fingerprint": "google/bluejay/bluejay:16/X/1:user/release-keys",
        "ro.product.cpu.abi": "arm64-v8a",
        "ro.debuggable": "0",
    },
}
FORMATS = {
    "tflite_benchmark_model": "tflite",
    "litert_benchmark_model": "tflite",
    "onnxruntime_perf_test": "onnx",
    "executor_runner": "pte",
}
PROGRAMS = {name: name for name in FORMATS} | {
    "tflite_benchmark_model": "benchmark_model",
    "litert_benchmark_model": "benchmark_model",
}


def manifest(folder, variant, extension="tflite", precisions=("fp32", "int8")):
    """A folder with two files of an export and their manifest, as measure.export writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    models = []
    for precision in precisions:
        name = f"digits-cnn-{variant}-s0-{precision}.{extension}"
        size = {"dense": 900, "pruned": 400}[variant] // (2 if precision == "int8" else 1)
        (folder / name).write_bytes(f"{variant} {precision} ".encode() * size)
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        about = {"model_id": name, "file": name, "sha256": digest, "format": extension}
        about |= {"precision": precision, "variant": variant, "widths": [8], "parameters": 900}
        about |= {"macs": {"dense": 50_000_000, "pruned": 20_000_000}[variant]}
        about |= {"dataset": "digits", "data_kind": "real", "stands_for": None, "model": "cnn"}
        models.append(about | {"method": variant, "run_variant": "x", "seed": 0})
    path = folder / f"manifest-{extension}.json"
    path.write_text(json.dumps({"schema_version": 1, "models": models}))
    return path


@cache
def fake_adb_program():
    """The text of the fake adb; its server lives as long as this process."""
    if sys.platform != "linux" or not Path("/usr/bin/perl").exists():
        return ADB
    place = Path(tempfile.mkdtemp(prefix="adb-", dir="/tmp"), "socket")
    command = [sys.executable, str(HERE / "fake_adb.py"), str(place)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"listening\n"

    def end():
        server.communicate()
        shutil.rmtree(place.parent)

    atexit.register(end)
    return fake_adb.program(place)


@dataclass
class Desk:
    """A researcher's desk: a fake adb on the PATH, a runner, manifests, a folder for sessions."""

    folder: Path
    tool: str = "litert_benchmark_model"

    def __post_init__(self):
        (self.folder / "phone").mkdir()
        (self.folder / "bin").mkdir()
        adb = self.folder / "bin" / "adb"
        adb.write_text(fake_adb_program())
        adb.chmod(0o755)
        for name in PROGRAMS.values():
            (self.folder / name).write_bytes(ELF % b"\xb7" + name.encode())
        self.set()

    def set(self, **state):
        """Set the phone's state; what is not named is as on a cool Pixel 6a."""
        whole = PIXEL | {"root": str(self.folder / "phone")} | state
        (self.folder / "state.json").write_text(json.dumps(whole))

    @property
    def session(self):
        return self.folder / "2026-11-24-pixel6a"

    def command(self, *flags):
        """The command's words; flags that come later win."""
        extension = FORMATS[self.tool]
        given = [sys.executable, "-m", "autoprune.phone", "measure"]
        given += ["--runner", self.folder / PROGRAMS[self.tool], "--tool", self.tool]
        given += ["--tool-version", "2.1.0", "--session", self.session]
        given += ["--dense", manifest(self.folder / "dense", "dense", extension)]
        given += ["--pruned", manifest(self.folder / "pruned", "pruned", extension)]
        given += ["--threads", 1, "--repeats", 2, "--pause", 0, "--gate-sleep", 0]
        return [*map(str, given), "--gate-limit", "0", *map(str, flags)]

    @property
    def environment(self):
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return os.environ | {"PATH": path, "FAKE_ADB_STATE": str(self.folder / "state.json")}

    def measure(self, *flags):
        """The command, finished; in this process, whose libraries are loaded."""
        return self.run(self.command(*flags))

    def run(self, words):
        """What a command of `python -m autoprune.phone` comes to."""
        handler = signal.getsignal(signal.SIGTERM)
        with patch.dict(os.environ, self.environment):
            try:
                return run_here(*words[2:])
            finally:
                signal.signal(signal.SIGTERM, handler)

    def refused(self, message, *flags, code=1):
        """Measure and be refused, in one line on stderr that has this in it."""
        done = self.measure(*flags)
        assert done.returncode == code, done.stderr
        assert message in done.stderr.splitlines()[-1], done.stderr
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        return done

    @property
    def calls(self):
        """What adb was called with, in order."""
        path = self.folder / "phone" / "calls.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    @property
    def benchmarks(self):
        """The commands that ran the pushed runner, in order."""
        return [call[3] for call in self.calls if call[-1].endswith("2>&1")]

    def table(self, name="runs.csv"):
        with open(self.session / name, newline="") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_whole_session(desk):
    """Five repeats of four models: ABBA BAAB AB of each pair, each row as its log says."""
    done = desk.measure("--repeats", 5)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert "20 of 20 runs, 0 failed" in done.stdout
    for precision in ("fp32", "int8"):
        order = [
            "A" if "-dense-" in command else "B"
            for command in desk.benchmarks
            if f"-{precision}.tflite" in command
        ]
        assert "".join(order) == "ABBABAABAB"
    assert (desk.session / "runs.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    rows = desk.table()
    assert [int(row["order"]) for row in rows] == list(range(1, 21))
    assert len({row["run_id"] for row in rows}) == 20
    for row in rows:
        log = desk.session / row["raw_log"]
        assert hashlib.sha256(log.read_bytes()).hexdigest() == row["raw_log_sha256"]
        found = parse(log.read_text(), "log")
        figures = ("median_ms", "mean_ms", "min_ms", "max_ms", "std_ms", "p5_ms", "p95_ms")
        assert all(float(row[name]) == getattr(found, name) for name in figures)
        assert (row["p90_ms"], row["runs"], row["warmup_runs"]) == ("", "200", "20")
        assert (row["gate"], row["thermal_status_end"]) == ("passed", "0")
        assert (row["battery_temp_c_start"], row["battery_percent"]) == ("30.0", "80")
        assert (row["powered"], row["cpu_mask"], row["delegate"]) == ("1", "c0", "xnnpack")
        assert (row["nodes_delegated"], row["nodes_total"]) == ("7", "8")
        assert row["started_at"].endswith("+00:00")
    assert [line for line in done.stderr.splitlines() if line.startswith("[20/20]")]


def test_the_session_file_knows_the_phone_but_not_its_serial(desk):
    assert desk.measure("--repeats", 1, "--tool-url", "https://example.org/x").returncode == 0
    about = json.loads((desk.session / "session.json").read_text())
    phone = {"manufacturer": "Google", "model": "Pixel 6a", "soc": "Google Tensor"}
    phone |= {"board_platform": "gs101", "android_release": "16", "android_sdk": 36}
    assert phone.items() <= about["device"].items()
    assert about["device"]["abi"] == "arm64-v8a"
    assert [core["cpuinfo_max_freq"] for core in about["device"]["cpus"]] == PIXEL["khz"]
    assert about["device"]["cpus"][0]["scaling_governor"] == "schedutil"
    assert about["kind"] == "phone"
    protocol = {"version": 1, "clocks": "shipped", "airplane_mode": "on", "screen": "on"}
    assert (protocol | {"low_power": "off"}).items() <= about["protocol"].items()
    runner = hashlib.sha256((desk.folder / "benchmark_model").read_bytes()).hexdigest()
    assert about["tool"] == {
        **{"name": "litert_benchmark_model", "version": "2.1.0", "sha256": runner},
        **{"source_url": "https://example.org/x", "libraries": {}},
    }
    assert about["host"]["adb_version"] == "1.0.41 0.0.0-fake"
    assert len(about["host"]["harness_version"]) > 7
    for path in desk.session.rglob("*"):  # neither adb's serial nor that of /proc/cpuinfo
        assert path.is_dir() or SERIAL not in path.read_text()
        assert path.is_dir() or "0123456789abcdef" not in path.read_text()


@pytest.mark.parametrize("tool", FORMATS)
def test_a_dry_run_prints_what_a_session_calls(desk, tool):
    """All of it, in order, for each runner; with no phone, no adb and no folder written."""
    desk.tool = tool
    flags = ("--threads", 1, 4, "--repeats", 1, "--fixed-performance")
    (desk.folder / "bin" / "adb").rename(desk.folder / "bin" / "later")
    dry = desk.measure(*flags, "--dry-run")
    assert (dry.returncode, dry.stderr, desk.calls) == (0, "", [])
    assert not desk.session.exists()
    (desk.folder / "bin" / "later").rename(desk.folder / "bin" / "adb")
    done = desk.measure(*flags)
    assert done.returncode == 0, done.stderr
    printed = dry.stdout.replace("MASK", "c0").replace("SERIAL", SERIAL)
    assert [shlex.split(line)[1:] for line in printed.splitlines()] == desk.calls
    assert (desk.folder / "phone" / "fixed").read_text() == "false"
    assert [row["warmup_runs"] for row in desk.table()] == [
        {"onnxruntime_perf_test": "250", "executor_runner": "200"}.get(tool, "20")
    ] * 8


def test_everything_is_pushed_and_its_checksum_read_before_the_first_run(desk):
    stale = desk.folder / "phone" / "data/local/tmp/autoprune/digits-cnn-dense-s0-fp32.tflite"
    stale.parent.mkdir(parents=True)
    size = manifest(desk.folder / "dense", "dense").with_name(stale.name).stat().st_size
    stale.write_bytes(b"x" * size)  # another model of the same name and size
    for _ in range(2):  # the second start goes on with a session, and pushes again
        (desk.folder / "phone" / "calls.jsonl").unlink(missing_ok=True)
        (desk.session / "runs.csv").unlink(missing_ok=True)
        assert desk.measure("--repeats", 1).returncode == 0
        calls = [call[2:] for call in desk.calls if call[0] == "-s"]
        pushes = [n for n, call in enumerate(calls) if call[0] == "push"]
        assert len(pushes) == 5  # the runner and four models
        for number in pushes:
            assert calls[number + 1] == ["shell", f"sha256sum {calls[number][2]}"]
        first_run = next(n for n, call in enumerate(calls) if call[-1].endswith("2>&1"))
        assert max(pushes) < first_run
        assert ["shell", "chmod 755 /data/local/tmp/autoprune/benchmark_model"] in calls[:first_run]


@pytest.mark.parametrize("damaged", ["benchmark_model$", "pruned-s0-int8"])
def test_a_push_that_arrives_otherwise_ends_the_session(desk, damaged):
    desk.set(damaged=damaged)
    desk.refused("the phone has SHA-256")
    assert desk.benchmarks == []


def test_one_thread_keeps_to_the_fastest_cores_and_four_do_not(desk):
    assert desk.measure("--repeats", 1, "--threads", 1, 4).returncode == 0
    masked = [command.startswith("taskset c0 /data") for command in desk.benchmarks]
    assert masked == [True] * 4 + [False] * 4
    assert [(row["threads"], row["cpu_mask"]) for row in desk.table()] == [("1", "c0")] * 4 + [
        ("4", "")
    ] * 4


@pytest.mark.parametrize("state", [{"taskset": "refused"}, {"khz": []}])
def test_a_phone_that_refuses_or_hides_its_cores_is_measured_without_a_mask(desk, state):
    desk.set(**state)
    done = desk.measure("--repeats", 1)
    assert done.returncode == 0, done.stderr
    assert "mask refused" in done.stderr
    assert not [command for command in desk.benchmarks if "taskset" in command]
    assert {row["cpu_mask"] for row in desk.table()} == {""}


def test_the_log_of_executor_runner_is_emptied_before_each_run(desk):
    desk.tool = "executor_runner"
    assert desk.measure("--repeats", 1).returncode == 0
    shell = [call[3] for call in desk.calls if call[2:3] == ["shell"]]
    runs = [n for n, command in enumerate(shell) if "executor_runner --model" in command]
    assert len(runs) == 8  # a warm-up and a measurement of each
    assert {shell[n - 1] for n in runs} == {"logcat -c"}
    assert {shell[n + 1] for n in runs} == {"logcat -d -s ExecuTorch"}
    row = desk.table()[0]
    assert (row["format"], row["runs"], row["delegate"]) == ("pte", "200", "xnnpack")


@pytest.mark.parametrize(
    ("state", "flags", "message"),
    [
        ({"phones": {}}, (), "found no phone, expected one"),
        ({"phones": {SERIAL: "unauthorized"}}, (), "`unauthorized`, expected `device`; unlock"),
        ({"phones": {SERIAL: "offline"}}, (), "`offline`, expected `device`; unplug"),
        (
            {"phones": {SERIAL: "no permissions (user in plugdev group); see [http://x]"}},
            (),
            "no permissions (user in plugdev group); see [http://x]`, expected `device`; give",
        ),
        ({"phones": {"A1": "device", "B2": "device"}}, (), "found 2 phones (A1, B2), expected one"),
        (
            {"phones": {"A1": "device", "B2": "offline"}},
            ("--serial", "B2"),
            "the phone B2 is `offline`",
        ),
        ({}, ("--serial", "C3"), f"--serial: found no C3 among the phones {SERIAL}"),
        (
            {"props": PIXEL["props"] | {"ro.product.cpu.abi": "x86_64"}},
            (),
            "ro.product.cpu.abi: found x86_64, expected arm64-v8a",
        ),
    ],
)
def test_a_phone_that_is_not_ready_or_not_the_one_is_refused(desk, state, flags, message):
    desk.set(**state)
    desk.refused(message, *flags)
    assert not desk.session.exists()
    assert not [call for call in desk.calls if "push" in call]


def test_a_serial_chooses_among_phones(desk):
    desk.set(phones={"A1": "device", "B2": "device", "C3": "unauthorized"})
    assert desk.measure("--repeats", 1, "--serial", "B2").returncode == 0
    assert {call[1] for call in desk.calls if call[0] == "-s"} == {"B2"}


def test_an_emulator_is_recorded_as_one(desk):
    desk.set(phones={"emulator-5554": "device"})
    done = desk.measure("--repeats", 1)
    assert "note: this is an emulator" in done.stderr
    assert json.loads((desk.session / "session.json").read_text())["kind"] == "emulator"


def test_switches_that_are_not_as_asked_are_told_and_recorded_not_forced(desk):
    desk.set(airplane_mode_on="0", low_power="1", screen="Asleep")
    done = desk.measure("--repeats", 1)
    assert done.returncode == 0
    assert done.stderr.count("note: ") == 3
    found = json.loads((desk.session / "session.json").read_text())["protocol"]
    assert [found[key] for key in ("airplane_mode", "low_power", "screen")] == [
        *("off", "on", "asleep")
    ]
    assert not [call for call in desk.calls if "put" in call[-1].split()]


def test_a_warm_phone_is_waited_for(desk):
    """Too warm twice, by its battery and by its status, then cool."""
    desk.set(temperature=[351, 300, 350], thermal=[0, 1, 0])
    done = desk.measure("--repeats", 1, "--gate-limit", 60, "--gate-sleep", 0.01)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("waiting for thermal status 0 and at most 35 C") == 2
    rows = desk.table()
    assert {row["gate"] for row in rows} == {"passed"}
    assert rows[0]["battery_temp_c_start"] == "35.0"


def test_a_phone_that_stays_hot_gives_runs_that_do_not_count(desk):
    desk.set(thermal=3)
    done = desk.refused(
        "8 ended hot and do not count; a model has no run that counts: let the phone cool down"
    )
    assert "still thermal status 3, battery 30.0 C after 0 s: going on" in done.stderr
    rows = desk.table()
    assert {(r["gate"], r["thermal_status_start"], r["thermal_status_end"]) for r in rows} == {
        ("timed_out", "3", "3")
    }
    assert len(rows) == 8


def test_one_run_that_ends_hot_is_kept_and_told(desk):
    desk.set(thermal=[0, 2, 0])
    done = desk.measure()
    assert done.returncode == 0, done.stderr
    assert "1 ended hot and do not count" in done.stdout
    assert [row["thermal_status_end"] for row in desk.table()] == ["2"] + ["0"] * 7


def test_a_phone_that_says_nothing_of_its_heat():
    found = device.read("Can't find service: thermalservice", "")
    assert (found.gate, found.thermal_status, found.powered) == (None, None, None)
    assert str(found) == "thermal status unknown, battery of unknown heat"


def test_the_dumps_of_a_real_phone(shared_data):
    logs = shared_data / "android-logs"
    found = device.read(
        (logs / "dumpsys_thermalservice_pixel6a_android16.txt").read_text(),
        (logs / "dumpsys_battery_pixel6a_android16.txt").read_text(),
    )
    assert found == device.Reading(0, 35.7, 19, 1)
    assert found.gate is False  # its battery is too warm


def test_a_lost_connection_is_told_and_the_session_goes_on(desk):
    desk.set(lose_at_run=2)
    desk.refused("the connection to the phone is lost, in run 3 of 8; 2 finished runs are kept")
    before = (desk.session / "runs.csv").read_bytes()
    assert before.count(b"\n") == 3
    (lost,) = desk.table("failed.csv")
    assert (lost["order"], lost["reason"], lost["exit_code"]) == ("3", "connection lost", "")
    assert (desk.session / lost["raw_log"]).read_text().startswith("INFO: STARTING!")
    desk.refused("found no phone")  # still unplugged
    (desk.folder / "phone" / "gone").unlink()
    done = desk.measure()
    assert done.returncode == 0, done.stderr
    assert "2 of 8 runs are there already" in done.stderr
    after = (desk.session / "runs.csv").read_bytes()
    assert after.startswith(before)
    orders = [int(row["order"]) for row in desk.table()]
    assert orders == list(range(1, 9))
    assert desk.table()[2]["run_id"] == f"{lost['run_id']}-a2"
    assert (desk.session / lost["raw_log"]).exists()
    assert len(json.loads((desk.session / "session.json").read_text())["starts"]) == 2


def test_a_short_loss_of_the_connection_is_no_crash_of_the_runner(desk):
    """The phone is back before it can be asked for: adb's own error tells."""
    desk.set(lose_at_run=0, stays_away=False)
    desk.refused("the connection to the phone is lost, in run 1 of 4", "--repeats", 1)
    assert [row["reason"] for row in desk.table("failed.csv")] == ["connection lost"]
    assert desk.measure("--repeats", 1).returncode == 0
    assert len(desk.table()) == 4


def test_a_runner_that_crashes_is_not_run_forever(desk):
    desk.set(crash=".")
    done = desk.refused("4 runs in a row failed, the last: exit code 139 (SIGSEGV); its log is")
    assert done.stderr.count("failed: exit code 139 (SIGSEGV)") == 4
    assert len(desk.benchmarks) == 4
    assert not (desk.session / "runs.csv").exists()
    failed = desk.table("failed.csv")
    assert [row["exit_code"] for row in failed] == ["139"] * 4
    for row in failed:
        log = (desk.session / row["raw_log"]).read_bytes()
        assert b"Segmentation fault" in log
        assert hashlib.sha256(log).hexdigest() == row["raw_log_sha256"]


def test_a_failed_run_is_kept_and_never_repeated_unasked(desk):
    desk.set(crash="pruned-s0-int8")
    desk.refused("6 of 8 runs, 2 failed, 0 ended hot and do not count; a model has no run")
    assert len(desk.benchmarks) == 8
    desk.set()
    desk.refused("a model has no run that counts: see failed.csv, and --retry-failed")
    assert len(desk.benchmarks) == 8
    done = desk.measure("--retry-failed")
    assert done.returncode == 0, done.stderr
    assert len(desk.benchmarks) == 10
    assert len(desk.table()) == 8
    assert len(desk.table("failed.csv")) == 2
    assert sum(row["run_id"].endswith("-a2") for row in desk.table()) == 2


@pytest.mark.parametrize(
    ("tool", "state", "reason"),
    [
        ("litert_benchmark_model", {"cut": "pruned"}, "no finished measurement"),
        ("onnxruntime_perf_test", {"cut": "pruned"}, "no finished measurement"),
        ("executor_runner", {"cut": "pruned"}, "no line of a known tool"),
        ("litert_benchmark_model", {"graph": "/data/other.tflite"}, "of the model /data/other"),
        ("tflite_benchmark_model", {"threads": 8}, "the log says 8 threads, expected 1"),
    ],
)
def test_a_log_without_this_runs_measurement_is_a_failed_run(desk, tool, state, reason):
    desk.tool = tool
    desk.set(**state)
    assert desk.measure("--repeats", 1).returncode == 1
    failed = desk.table("failed.csv")
    assert failed
    assert all(reason in row["reason"] and row["exit_code"] == "0" for row in failed)
    assert all((desk.session / row["raw_log"]).exists() for row in failed)


def begun(desk, runs):
    """Start measuring slowly and wait until so many runs are written."""
    desk.set(run_seconds=0.3)
    process = subprocess.Popen(
        desk.command("--fixed-performance"),
        **{"env": desk.environment, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE},
        text=True,
    )
    until = time.monotonic() + 60
    path = desk.session / "runs.csv"
    while not path.exists() or path.read_bytes().count(b"\n") < 1 + runs:
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    return process


def test_a_killed_session_goes_on(desk):
    """And a row that was cut off while it was written is measured again."""
    process = begun(desk, 3)
    process.kill()
    process.communicate()
    path = desk.session / "runs.csv"
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[: -len(last) // 2])
    desk.set()
    done = desk.measure("--fixed-performance")
    assert done.returncode == 0, done.stderr
    assert path.read_bytes().startswith(whole[: -len(last)])
    rows = desk.table()
    assert [int(row["order"]) for row in rows] == list(range(1, 9))
    assert len({row["run_id"] for row in rows}) == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_session_puts_the_clocks_back(desk, number):
    process = begun(desk, 1)
    assert (desk.folder / "phone" / "fixed").read_text() == "true"
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 1
    assert re.search(r"error: interrupted; \d of 8 runs are kept, the same command", said)
    assert (desk.folder / "phone" / "fixed").read_text() == "false"
    clocks = json.loads((desk.session / "session.json").read_text())["protocol"]["clocks"]
    assert clocks == "fixed_performance"


def test_a_session_of_something_else_is_not_continued(desk):
    assert desk.measure("--repeats", 1).returncode == 0
    kept = {path: path.read_bytes() for path in desk.session.rglob("*") if path.is_file()}
    again = len(desk.benchmarks)
    desk.refused("protocol.repeats is 1, now 2; another protocol")
    desk.refused("protocol.threads is [1], now [1, 4]", "--repeats", 1, "--threads", 1, 4)
    desk.refused("protocol.clocks is shipped", "--repeats", 1, "--fixed-performance")
    desk.refused("tool.version is 2.1.0, now 3", "--repeats", 1, "--tool-version", 3)
    (desk.folder / "benchmark_model").write_bytes(b"another runner")
    desk.refused("tool.sha256", "--repeats", 1)
    (desk.folder / "benchmark_model").write_bytes(ELF % b"\xb7" + b"benchmark_model")
    desk.set(phones={"ANOTHER": "device"})
    desk.refused("device.serial_sha256 is", "--repeats", 1)
    desk.set(taskset="refused")
    desk.refused("protocol.cpu_mask is c0, now ;", "--repeats", 1)
    desk.set()
    (desk.session / "runs.csv").write_text("a,b\n1,2\n")
    desk.refused("runs.csv: not the columns of this version", "--repeats", 1)
    (desk.session / "runs.csv").write_bytes(kept[desk.session / "runs.csv"])
    (desk.session / "session.json").rename(desk.folder / "session.json")
    desk.refused("rows but no session.json", "--repeats", 1)
    (desk.folder / "session.json").rename(desk.session / "session.json")
    assert {path: path.read_bytes() for path in desk.session.rglob("*") if path.is_file()} == kept
    assert len(desk.benchmarks) == again
    assert desk.measure("--repeats", 1).returncode == 0  # nothing is left to do
    assert len(desk.benchmarks) == again


def edit(path, **values):
    about = json.loads(path.read_text())
    about["models"][0] |= values
    path.write_text(json.dumps(about))


def test_manifests_and_runners_that_fit_no_session(desk, tmp_path):
    """Each is refused before a phone is looked for."""
    other = tmp_path / "other"
    path = manifest(other, "pruned")
    edit(path, sha256="0" * 64)
    desk.refused("SHA-256", "--pruned", path)
    (other / "digits-cnn-pruned-s0-fp32.tflite").unlink()
    desk.refused("no such file, but", "--pruned", path)
    desk.refused("variant is dense, expected pruned", "--pruned", tmp_path / "dense" / path.name)
    desk.refused("manifest.json: no such file", "--dense", tmp_path / "manifest.json")
    (tmp_path / "list.json").write_text("[]")
    desk.refused("no manifest of an export", "--dense", tmp_path / "list.json")
    path = manifest(tmp_path / "third", "dense")
    edit(path, file="../x", sha256="1" * 64)
    desk.refused("expected a name without a folder", "--dense", path)
    path = manifest(tmp_path / "fourth", "pruned")
    edit(path, dataset="femnist")
    (tmp_path / "fourth" / "more").write_bytes(b"x")
    edit(path, file="more", sha256=hashlib.sha256(b"x").hexdigest())
    desk.refused("no dense model of femnist cnn 0 in fp32", "--pruned", path)
    path = manifest(tmp_path / "fifth", "dense")
    edit(path, file="net.onnx", sha256="2" * 64)
    desk.refused("file is net.onnx, expected a .tflite as its format", "--dense", path)
    desk.tool = "onnxruntime_perf_test"
    flags = ["--tool", "executor_runner"]
    desk.refused("no .pte file, the format that executor_runner reads", *flags)
    (tmp_path / "for-a-pc").write_bytes(ELF % b"\x3e")
    desk.refused("ELF machine 62, expected 183 (ARM64)", "--runner", tmp_path / "for-a-pc")
    desk.refused("cannot be read (No such file", "--runner", tmp_path / "nowhere")
    desk.refused("expected a name of at most 64 of a-z", "--session", tmp_path / "My Session")
    desk.refused("--repeats: found 0", "--repeats", 0)
    desk.refused("--threads: found [0, 4]", "--threads", 0, 4)
    desk.refused("--pause: found -1.0", "--pause", -1)
    assert desk.calls == []
    assert not desk.session.exists()


def test_several_formats_and_manifests_are_sorted_out(desk):
    """Only what the runner reads, each file once, whichever manifest names it."""
    onnx = [manifest(desk.folder / name, name, "onnx") for name in ("dense", "pruned")]
    flags = ("--dense", onnx[0], desk.folder / "dense" / "manifest-tflite.json")
    done = desk.measure(*flags, "--pruned", onnx[1], "--repeats", 1)
    assert done.returncode == 0, done.stderr
    assert [row["format"] for row in desk.table()] == ["tflite"] * 4


def test_the_fake_refuses_what_it_does_not_know(desk):
    fake = desk.folder / "bin" / "adb"
    for args in (["reboot"], ["-s", SERIAL, "shell", "rm -r /"], ["-s", SERIAL, "pull", "x"]):
        done = subprocess.run([fake, *args], env=desk.environment, capture_output=True)
        assert done.returncode == 97


def test_no_adb_at_all(desk):
    (desk.folder / "bin" / "adb").unlink()
    desk.refused("no such program; install Android's platform-tools", "--adb", "no-such-adb")
    (desk.folder / "bin" / "adb").write_text("no program")
    desk.refused("no such program", "--adb", desk.folder / "bin" / "adb")


def test_a_real_adb_without_a_phone(desk):
    """On a port of its own, so that a server of the user's is left alone."""
    adb = shutil.which("adb")
    if adb is None:
        pytest.skip("no adb on this machine; apt install adb to run this test")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"ANDROID_ADB_SERVER_PORT": port, "HOME": str(desk.folder)}
    try:
        listed = subprocess.run([adb, "devices"], env=environment, capture_output=True, text=True)
        if listed.stdout.strip().splitlines()[-1] != "List of devices attached":
            pytest.skip("a phone is plugged in; unplug it to run this test")
        done = subprocess.run(
            desk.command("--adb", adb), env=environment, capture_output=True, text=True
        )
    finally:
        subprocess.run([adb, "kill-server"], env=environment, capture_output=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: adb devices: found no phone, expected one; plug it in")
    assert done.stderr.count("\n") == 1


def test_it_starts_without_pytorch(desk):
    code = "import sys, autoprune.phone.measure; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_the_import_accepts_what_measure_writes(desk):
    """A whole session of two rows of the protocol, one with failed runs, one with a lost cable."""
    sessions = []
    states = {"lost": {"lose_at_run": 2}, "whole": {}, "crashed": {"crash": "int8"}}
    for name, state in states.items():
        sessions.append(desk.folder / name)
        desk.set(**state)
        flags = ("--session", sessions[-1], "--threads", 1, 4)
        code = desk.measure(*flags).returncode
        if name == "lost":
            (desk.folder / "phone" / "gone").unlink()
            code = desk.measure(*flags).returncode
        assert code == (1 if name == "crashed" else 0)
    manifests = [desk.folder / name / "manifest-tflite.json" for name in ("dense", "pruned")]
    done = run_here("autoprune.phone", "check", *sessions, "--manifests", *manifests)
    assert (done.returncode, done.stderr) == (0, "")
    assert "another network" not in done.stdout


@pytest.mark.parametrize(
    ("tool", "delegate", "flag"),
    [
        ("tflite_benchmark_model", "gpu", "--use_gpu=true"),
        ("tflite_benchmark_model", "nnapi", "--use_nnapi=true"),
        ("litert_benchmark_model", "gpu", "--use_gpu=true"),
        ("litert_benchmark_model", "npu", "--use_npu=true"),
    ],
)
def test_an_accelerator_with_the_nodes_that_it_took(desk, tool, delegate, flag):
    """One thread, no more: it has none. Session, rows and the table say which it was."""
    desk.tool = tool
    desk.set(delegated=6, litert=tool.startswith("litert"))
    words = [*desk.command("--delegate", delegate)]
    place = words.index("--threads")
    del words[place : place + 2]
    done = desk.run(words)
    assert done.returncode == 0, done.stderr
    assert f"ms, {delegate} 6 of 8 nodes" in done.stderr
    assert all(flag in command for command in desk.benchmarks)
    for row in desk.table():
        assert (row["delegate"], row["nodes_delegated"], row["nodes_total"]) == (delegate, "6", "8")
        assert (row["threads"], row["cpu_mask"]) == ("1", "c0")
    about = json.loads((desk.session / "session.json").read_text())
    assert (about["protocol"]["delegate"], about["protocol"]["threads"]) == (delegate, [1])
    manifests = [desk.folder / name / "manifest-tflite.json" for name in ("dense", "pruned")]
    done = run_here("autoprune.phone", "check", desk.session, "--manifests", *manifests)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{delegate.upper()} 6 of 8" in done.stdout


def test_a_gpu_that_took_no_node_gives_no_number(desk):
    """The log is XNNPACK's then: no run of the session counts."""
    desk.set(delegated=0, litert=True)
    done = desk.refused("4 runs in a row failed", "--delegate", "gpu")
    assert "the log says that xnnpack ran it, 7 of 8 nodes, expected gpu" in done.stderr
    assert not (desk.session / "runs.csv").exists()


@pytest.mark.parametrize("took", [6, 0, None])
def test_onnxruntime_is_asked_in_its_warm_up_what_nnapi_took(desk, took):
    """Not while it is measured. Taken none: no number; not told: a row that says so."""
    desk.tool = "onnxruntime_perf_test"
    desk.set(delegated=took)
    flags = ("--delegate", "nnapi", "--repeats", 1)
    if took == 0:
        done = desk.refused("4 runs in a row failed", *flags)
        assert "the log says that cpu ran it, 8 of 8 nodes, expected nnapi" in done.stderr
        return
    done = desk.measure(*flags)
    assert done.returncode == 0, done.stderr
    assert [" -v " in command for command in desk.benchmarks] == [True, False] * 4
    assert all("-e nnapi" in command for command in desk.benchmarks)
    nodes = ("6", "8") if took else ("", "")
    assert {(row["nodes_delegated"], row["nodes_total"]) for row in desk.table()} == {nodes}
    manifests = [desk.folder / name / "manifest-onnx.json" for name in ("dense", "pruned")]
    (session,) = read_sessions([desk.session], read_models(manifests))
    assert {tuple(row.flags) for row in session.rows} == {() if took else ("nodes_unknown",)}


def test_threads_are_1_2_and_4_unless_told(desk):
    words = desk.command("--repeats", 1)
    place = words.index("--threads")
    del words[place : place + 2]
    done = desk.run(words)
    assert done.returncode == 0, done.stderr
    assert [row["threads"] for row in desk.table()] == ["1"] * 4 + ["2"] * 4 + ["4"] * 4


def test_libraries_lie_beside_the_runner(desk):
    library = desk.folder / "libLiteRtDispatch_Qualcomm.so"
    library.write_bytes(b"\x7fELF of a DSP")
    flags = ("--delegate", "npu", "--library", library, "--repeats", 1)
    desk.set(litert=True)
    dry = desk.measure(*flags, "--dry-run")
    done = desk.measure(*flags)
    assert done.returncode == 0, done.stderr
    printed = dry.stdout.replace("MASK", "c0").replace("SERIAL", SERIAL)
    assert [shlex.split(line)[1:] for line in printed.splitlines()] == desk.calls
    folder = "/data/local/tmp/autoprune"
    head = f"env LD_LIBRARY_PATH={folder} ADSP_LIBRARY_PATH={folder} taskset c0 {folder}/"
    assert all(command.startswith(head) for command in desk.benchmarks)
    assert (desk.folder / f"phone{folder}" / library.name).read_bytes() == library.read_bytes()
    about = json.loads((desk.session / "session.json").read_text())
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    assert about["tool"]["libraries"] == {library.name: digest}
    desk.refused("tool.libraries is", *flags[:2], "--repeats", 1)


def test_delegates_and_libraries_that_there_are_not(desk):
    desk.refused("litert_benchmark_model can be asked for xnnpack, gpu, npu", "--delegate", "nnapi")
    desk.refused("--library: ", "--library", desk.folder / "no.so")
    assert desk.measure("--repeats", 1).returncode == 0
    desk.set(litert=True)
    desk.refused("protocol.delegate is xnnpack, now gpu", "--repeats", 1, "--delegate", "gpu")


PAGE = HERE.parents[1] / "docs" / "how-to" / "on-a-phone.md"


def test_the_commands_of_the_page_run(desk):
    """docs/how-to/on-a-phone.md: its commands as they stand, but for the waits."""
    scripts = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        words = shlex.split(script)
        assert words[:4] == ["python", "-m", "autoprune.phone", "measure"]
        for flag in ("--dense", "--pruned"):
            path = desk.folder / words[words.index(flag) + 1]
            manifest(path.parent, flag[2:]).rename(path)
        waits = "--pause 0 --gate-sleep 0 --repeats 1"
        done = subprocess.run(
            ["bash", "-c", f"{script.rstrip()} {waits}"],
            **{"cwd": desk.folder, "capture_output": True, "text": True},
            env=desk.environment | {"PYTHONPATH": str(PAGE.parents[2] / "workflow")},
        )
        assert done.returncode == 0, done.stderr
        assert (desk.folder / "resources").exists() == ("--dry-run" not in words)
    assert "12 of 12 runs" in done.stdout


def test_every_refusal_of_the_page_is_one_that_a_test_here_provokes():
    _, _, table = PAGE.read_text().partition("## What a refusal means")
    said = re.findall(r"^\| (`+) ?(.+?) ?\1 \|", table.partition("\n## ")[0], re.MULTILINE)
    assert len(said) == table.partition("\n## ")[0].count("\n| ") - 1
    provoked = Path(__file__).read_text()
    assert [text for _, text in said if text not in provoked] == []
    help_text = subprocess.run(
        [sys.executable, "-m", "autoprune.phone", "measure", "--help"],
        **{"capture_output": True, "text": True},
    ).stdout
    flags = set(re.findall(r"`(--[a-z-]+)`", PAGE.read_text()))
    assert flags
    assert [flag for flag in flags if f" {flag}" not in help_text] == []
