"""The request to a lab of phones, and docs/how-to/in-a-lab.md with a lab that the test plays."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import made_lab as lab
import made_sessions as made
import pytest
from test_measure import manifest

from autoprune.core.errors import InputError
from autoprune.phone.__main__ import main

PAGE = Path(__file__).parents[2] / "docs/how-to/in-a-lab.md"


@pytest.fixture
def flags(tmp_path):
    paths = [str(manifest(tmp_path / name, name)) for name in ("dense", "pruned")]
    words = ["lab-request", "--dense", paths[0], "--pruned", paths[1], "--device", "caiman-35"]
    words += ["--bucket", "gs://mine/x/", "--tool-version", "2.2.0"]
    return [*words, "--output", str(tmp_path / "request.json")]


def asked(path):
    """A request's runs by name: the flags that each is given, as the lab's harness splits them."""
    job = json.loads(Path(path).read_text())["sessionConfig"]["jobConfigs"][0]
    words = dict(w.split("=", 1) for w in job["action"]["androidNativeBinary"]["args"])
    names = words["--runs"].split(",")
    own = {name: {} for name in names}
    for flag in list(words):
        name, _, rest = flag.removeprefix("--").partition("_")
        if name in own:
            own[name]["--" + rest] = words.pop(flag)
    harness = ("--runs", "--binary", "--output_dir", "--cooldown")
    common = {flag: value for flag, value in words.items() if flag not in harness}
    return job, {name: common | flags for name, flags in own.items()}


def test_a_request_runs_all_on_one_phone_in_turn(tmp_path, flags, capsys):
    main([*flags, "--threads", "2"])
    job, runs = asked(tmp_path / "request.json")
    (device,) = job["allocationConfig"]["deviceConfigs"]
    assert device["requirement"] == {"deviceId": "caiman-35"}
    assert list(runs) == sorted(runs)
    for precision in ("fp32", "int8"):
        graphs = [run["--graph"] for run in runs.values() if precision in run["--graph"]]
        order = ["A" if "-dense-" in graph else "B" for graph in graphs]
        assert "".join(order) == "ABBABAABAB"
    for run in runs.values():
        assert (run["--num_threads"], run["--num_runs"], run["--use_cpu"]) == ("2", "200", "true")
        assert len(run) == 8
    push, pull, _ = device["actions"]
    pushed = {
        file["destinationPath"]: file["sourceFile"]["gcsInputFile"]["path"]
        for file in push["androidPushFiles"]["fileConfigs"]
    }
    assert {run["--graph"] for run in runs.values()} < set(pushed)
    assert pushed["/data/local/tmp/benchmark_model"] == (
        "gs://litert/binaries/2.2.0/android_arm64/benchmark_model"
    )
    assert pull["androidPullFiles"]["paths"] == ["/data/local/tmp/output"]
    said = capsys.readouterr().out.splitlines()
    copied = shlex.split(said[-1])
    assert copied[:4] == ["gcloud", "storage", "cp", "multi_benchmark_harness.sh"]
    assert copied[-1] == "gs://mine/x/"
    sources = {f"gs://mine/x/{Path(path).name}" for path in copied[3:-1]}
    program = job["action"]["androidNativeBinary"]["androidNativeBinary"]["gcsInputFile"]["path"]
    assert sources == {program, *pushed.values()} - {pushed["/data/local/tmp/benchmark_model"]}
    assert all(Path(path).is_file() for path in copied[4:-1])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--threads", "0"], "--threads: found 0, expected 1 to 16"),
        (["--repeats", "100"], "--repeats: found 100"),
        (["--pause", "-1"], "--pause: found -1"),
        (["--bucket", "mine"], "--bucket: found 'mine', expected gs://"),
        (["--device", "a b"], "--device: found 'a b'"),
        (["--tool-version", "../x"], "--tool-version: found"),
        (["--dense", "nowhere.json"], "nowhere.json: no such file"),
    ],
)
def test_wrong_requests_are_one_line(tmp_path, flags, more, said):
    with pytest.raises(InputError, match=re.escape(said)) as error:
        main([*flags, *more])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "request.json").exists()


def play(request, folder):
    """What the lab leaves of a request's runs, as the harness names it."""
    _, runs = asked(request)
    place = folder / "session-1/autoprune-caiman-35/artifacts/data/local/tmp/output"
    place.mkdir(parents=True)
    for name, flags in runs.items():
        file = Path(flags["--graph"]).name
        us = (2000 if "-dense-" in file else 900) // (2 if "int8" in file else 1) + int(name[1:])
        log = made.tflite_log(file, us, threads=int(flags["--num_threads"]))
        (place / f"{name}.log").write_text(log)
        (place / f"{name}_logcat.txt").write_text("--------- beginning of main\n")
        (place / f"results_{name}.pb").write_bytes(lab.results(lab.times(us), warmup_runs=33))
        info = lab.runtime_info(10, {"TfLiteXNNPackDelegate": 9})
        (place / f"runtime_info_{name}.pb").write_bytes(info)


def test_the_commands_of_in_a_lab_md_run(tmp_path):
    scripts = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(scripts) == 3
    for side, method in (("dense", "dense"), ("pruned", "autoprune")):
        (path,) = {word for word in shlex.split(scripts[0]) if f"/{method}/" in word}
        made_here = manifest((tmp_path / path).parent, side).rename(tmp_path / path)
        about = json.loads(made_here.read_text())
        for model in about["models"]:
            model |= {"method": method, "run_variant": "fedavg" if side == "dense" else "reinit"}
        made_here.write_text(json.dumps(about))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(PAGE.parents[2] / "workflow"),
    }
    said = []
    for script in scripts:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            **{"cwd": tmp_path, "capture_output": True, "text": True, "env": environment},
        )
        assert (done.returncode, done.stderr) == (0, "")
        said.append(done.stdout)
        if not (tmp_path / "lab").exists():
            play(tmp_path / "request.json", tmp_path / "lab")
    assert "20 runs on caiman-35" in said[0]
    assert "2026-11-24-lab-pixel-9-pro: 20 runs" in said[1]
    assert "valid, 20 runs, 0 failed" in said[2]
    assert "XNNPACK 9 of 10" in said[2]
    assert re.search(r"2\.2\d \[2\.", said[2])


def test_flags_that_the_page_names_are_there():
    helped = ""
    for command in ("lab-request", "import-logs"):
        words = [sys.executable, "-m", "autoprune.phone", command, "--help"]
        helped += subprocess.run(words, capture_output=True, text=True, check=True).stdout
    prose = re.sub(r"^```.*?^```$", "", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    flags = set(re.findall(r"`(--[a-z-]+)", prose))
    assert {"--threads", "--delegate", "--log-of"} <= flags
    assert [flag for flag in flags if f"{flag} " not in helped] == []
