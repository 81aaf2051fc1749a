"""Sessions made of bare logs, and the page that tells people how to hand them in."""

import json
import re
import shlex
import shutil
from pathlib import Path

import made_sessions as made
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.phone.__main__ import main
from autoprune.phone.exported import read_models
from autoprune.phone.facts import read_facts
from autoprune.phone.logs import parse
from autoprune.phone.rows import COLUMNS
from autoprune.phone.session import read_session

PAGE = Path(__file__).parents[2] / "docs/how-to/hand-in-measurements.md"
PHONE = ["--manufacturer", "Google", "--phone", "Pixel 6a", "--tool-version", "2.20.0"]
WHEN = ["--started-at", "2026-11-03T14:05:00+01:00"]
LITERT = (
    "INFO: Graph: [/data/local/tmp/{file}]\nINFO: Num threads: [1]\n"
    "INFO: count=20 first=61 curr=52 min=51 max=61 avg=53.5 std=3 p5=51 median=52 p95=61\n"
    "INFO: count=200 first=652 curr=653 min=650 max=670 avg=652.25 std=2 "
    "p5=651 median=652 p95=655\n"
    "INFO: [benchmark_litert_model.h:89] \n========== BENCHMARK RESULTS ==========\n"
    "INFO: [benchmark_litert_model.h:94] Model initialization: 2.31 ms\n"
    "INFO: [benchmark_litert_model.h:99] Inference (avg):      0.65 ms (200 runs)\n"
    "INFO: [benchmark_litert_model.h:138] ======================================\n"
)
APK = "07-14 13:20:56.221 24964 24964 I tflite  : "
OLD = (
    "Loaded model /data/local/tmp/{file}\nresolved reporter\nInitialized session in 12.516ms\n"
    "count=4 first=1848 curr=1339 min=1336 max=1848 avg=1465 std=22\n\n"
    "count=50 first=1338 curr=1337 min=1334 max=1342 avg=1336 std=2\n\n"
    "Average inference timings in us: Warmup: 1465, Init: 12516, no stats: 1336\n"
)
ORT = (
    "Setting intra_op_num_threads to 1\nSession creation time cost: 0.217932 s\n"
    "First inference time cost: 2 ms\nTotal inference requests: 50\n"
    "Average inference time cost total: 0.989620 ms\nMin Latency: 0.000958 s\n"
    "Max Latency: 0.00102 s\nP50 Latency: 0.000995 s\nP90 Latency: 0.00101 s\n"
    "P95 Latency: 0.00101 s\nP99 Latency: 0.00102 s\nP999 Latency: 0.00102 s\n"
)
EXECUTOR = "".join(
    f"I 00:00:00.00 executorch:executor_runner.cpp:{line}\n"
    for line in (
        "300] Model file /data/local/tmp/{file} is loaded.",
        "705] Iteration 1 of 2: 2.500000 ms",
        "705] Iteration 2 of 2: 2.000000 ms",
        "710] Model executed successfully 2 time(s) in 4.500000 ms.",
    )
)
MINIBENCH = json.dumps(
    [
        {"benchmarkModel": {"name": "m"}, "metric": metric, "actualValue": value}
        for metric, value in (
            ("avg_inference_latency(ms)", 1.25),
            ("trimmean_inference_latency(ms)", 1.125),
            ("model_load_time(ms)", 9.5),
            ("load_status", 0),
        )
    ]
)


def import_logs(folder, *logs, manifests, flags=(), delegate="xnnpack"):
    words = ["--session", folder, "--manifests", *manifests, "--delegate", delegate]
    main(["import-logs", *map(str, [*logs, *words]), *WHEN, *PHONE, *flags])
    return folder


@pytest.fixture
def manifests(tmp_path):
    return made.write_manifests(tmp_path / "exports")


def written(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


# ending of the model file, its log, flags, the figures that come of it
TOOLS = {
    "tflite_benchmark_model": ("tflite", None, [], {"median_ms": 2.0, "warmup_runs": 33}),
    "tflite_benchmark_apk": ("tflite", None, [], {"median_ms": 2.0, "nodes_total": 10}),
    "litert_benchmark_model": ("tflite", LITERT, [], {"median_ms": 0.652, "init_ms": 2.31}),
    "old": ("tflite", OLD, ["--threads", "1"], {"median_ms": None, "mean_ms": 1.336}),
    "onnxruntime_perf_test": (
        *("onnx", ORT, ["--warmup-runs", "1"]),
        {"median_ms": 0.995, "p90_ms": 1.01, "p99_ms": 1.02, "init_ms": 217.932, "first_ms": 2.0},
    ),
    "executor_runner": (
        *("pte", EXECUTOR, ["--warmup-runs", "2", "--threads", "1"]),
        {"median_ms": 2.25, "mean_ms": 2.25, "max_ms": 2.5, "runs": 2},
    ),
    "executorch_minibench": (
        *("pte", MINIBENCH, ["--warmup-runs", "2", "--threads", "1", "--runs", "10"]),
        {"median_ms": None, "mean_ms": 1.25, "runs": 10},
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_session_of_each_tool(tmp_path, tool):
    ending, text, flags, expected = TOOLS[tool]
    manifests = made.write_manifests(tmp_path / "exports", ending)
    member = made.model("dense", "fp32", ending)
    text = (text or made.tflite_log("{file}")).replace("{file}", member["file"])
    if tool == "tflite_benchmark_apk":
        text = "".join(APK + line.removeprefix("INFO: ") for line in text.splitlines(keepends=True))
    log = written(tmp_path / "logs/one.txt", text)
    named = ["--log-of", member["model_id"], str(log)] if tool in UNNAMED else []
    logs = [] if named else [log]
    folder = import_logs(tmp_path / "s", *logs, manifests=manifests, flags=[*flags, *named])
    (row,) = read_session(folder, read_models(manifests)).rows
    assert row["tool"] == {"old": "tflite_benchmark_model"}.get(tool, tool)
    assert (row["threads"], row["format"], row["gate"]) == (1, ending, "none")
    assert {key: row[key] for key in expected} == expected
    assert (folder / row["raw_log"]).read_bytes() == log.read_bytes()


UNNAMED = ("onnxruntime_perf_test", "executorch_minibench")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_file_that_the_tool_cannot_read_is_refused(tmp_path, tool):
    """Whether the log names it, or the command line: an .onnx was not measured by TFLite's tool."""
    ending, text, flags, _ = TOOLS[tool]
    for other in {"tflite", "onnx", "pte"} - {ending}:
        manifests = made.write_manifests(tmp_path / other, other)
        member = made.model("dense", "fp32", other)
        named = (text or made.tflite_log("{file}")).replace("{file}", member["file"])
        log = written(tmp_path / "logs/one.txt", named)
        given = ["--log-of", member["model_id"], str(log)]
        with pytest.raises(InputError, match=f"line 2: format: found '{other}', expected "):
            import_logs(tmp_path / "s", manifests=manifests, flags=[*flags, *given])
        assert not (tmp_path / "s").exists()


def test_order_and_repeats_are_those_of_the_command_line(tmp_path, manifests):
    names = [made.model(v, "fp32")["file"] for v in ("dense", "pruned", "pruned", "dense")]
    logs = [
        written(tmp_path / f"logs/{place}.txt", made.tflite_log(name, 800 + place))
        for place, name in enumerate(names)
    ]
    folder = import_logs(tmp_path / "s", *logs, manifests=manifests)
    rows = read_session(folder, read_models(manifests)).rows
    assert [(row["order"], row["variant"], row["repeat"], row["median_ms"]) for row in rows] == [
        (1, "dense", 1, 0.8),
        (2, "pruned", 1, 0.801),
        (3, "pruned", 2, 0.802),
        (4, "dense", 2, 0.803),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    figures=st.lists(st.integers(100, 4000), min_size=5, max_size=5).map(sorted),
    mean=st.floats(0, 1),
    count=st.integers(2, 5000),
    threads=st.integers(1, 4),
)
def test_any_logs_figures_come_back(tmp_path, manifests, figures, mean, count, threads):
    """What benchmark_model may print becomes a valid session that says the same, in ms."""
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    low, p5, median, p95, high = figures
    average = f"{low + mean * (high - low):.6g}"  # as a C++ stream does
    part = f"first={p5} curr={p5} min={low} max={high} avg={average} std=1 p5={p5} median={median}"
    name = made.model("pruned", "fp32")["file"]
    text = (
        f"Graph: [{name}]\nNum threads: [{threads}]\ncount=20 {part} p95={p95}\n"
        f"count={count} {part} p95={p95}\nInference timings in us: Init: 5, First inference: {p5}, "
        f"Warmup (avg): {average}, Inference (avg): {average}\n"
    )
    log = written(tmp_path / "logs/one.txt", text)
    speed = 2 * made.MACS["pruned"] / (median / 1e6 * threads) / 1e9
    if not 0.5 <= speed <= 400:
        with pytest.raises(InputError, match="is it in ms"):
            import_logs(tmp_path / "s", log, manifests=manifests)
        assert not (tmp_path / "s").exists()
        return
    folder = import_logs(tmp_path / "s", log, manifests=manifests)
    (row,) = read_session(folder, read_models(manifests)).rows
    found = [row[f"{key}_ms"] * 1000 for key in ("min", "p5", "median", "p95", "max", "mean")]
    assert found == pytest.approx([*figures, float(average)], rel=1e-9)
    assert (row["runs"], row["threads"]) == (count, threads)


def test_real_logs_make_sessions(tmp_path, shared_data):
    """Those that name a model; the network is made up, and of a size that fits the times."""
    logs = shared_data / "android-logs"
    for name, threads in (
        ("tflite_apk_logcat_cph2641_ssd_small_fp32.log", []),
        ("tflite_tf42507_android_2020.txt", []),
        ("tflite_yuenshome77_android_2019_oldformat.txt", ["--threads", "1"]),
        ("ort_perf_test_vivo_x300_sme2.txt", ["--warmup-runs", "1"]),
    ):
        log = parse((logs / name).read_text(), name)
        file = (log.graph or "net.onnx").rpartition("/")[2]
        ending = file.rpartition(".")[2]
        member = made.model("dense", "fp32", ending, model_id=file, file=file, macs=300_000_000)
        manifests = made.write_manifests(tmp_path / name, models=[member])
        words = ["--log-of", file, str(logs / name)] if log.graph is None else []
        given = [] if words else [logs / name]
        folder = import_logs(
            tmp_path / f"s-{name.lower()}", *given, manifests=manifests, flags=[*threads, *words]
        )
        (row,) = read_session(folder, read_models(manifests)).rows
        for key in ("median_ms", "mean_ms", "p90_ms", "p95_ms"):
            assert row[key] == getattr(log, key)


def test_facts_of_a_file(tmp_path, manifests):
    log = written(tmp_path / "logs/a.txt", made.tflite_log(made.model("dense", "fp32")["file"]))
    facts = written(tmp_path / "facts/session.json", json.dumps(made.FACTS))
    words = ["--session", str(tmp_path / "b"), "--manifests", *map(str, manifests), *WHEN]
    main(["import-logs", str(log), *words, "--delegate", "cpu", "--facts", str(facts)])
    session = read_session(tmp_path / "b", {})
    assert session.facts["device"] == made.FACTS["device"]
    assert session.rows[0]["session_id"] == "b"
    assert session.rows[0]["tool_sha256"] == "c" * 64


@pytest.mark.parametrize(
    ("text", "flags", "reason"),
    [
        ("count=1", [], "no line|no finished measurement"),
        (made.tflite_log("other.tflite"), [], "model 'other.tflite' is in no manifest; known are"),
        (ORT, [], "does not name its model; give it as --log-of"),
        (made.tflite_log("{file}"), ["--delegate", "gpu"], "the log says that 'xnnpack' ran it"),
        (LITERT, ["--delegate", "dsp"], "line 2: delegate: found 'dsp'"),
        (made.tflite_log("{file}"), ["--started-at", "2026-11-03"], "line 2: started_at: found"),
        (made.tflite_log("{file}"), ["--started-at", "2999-01-01T00:00Z"], "before now"),
        (made.tflite_log("{file}", 2_000_000), [], "median_ms: found 2000.0, expected 0.5 to 400"),
        (made.tflite_log("{file}"), ["--abi", "x86_64"], "device.abi: found 'x86_64'"),
        (made.tflite_log("{file}"), ["--android-sdk", "x"], "--android-sdk: found 'x'"),
        (made.tflite_log("{file}"), ["--phone", ""], "--phone is missing"),
        (made.tflite_log("{file}") * 2, [], "2 measurements, expected one"),
        (OLD, [], "does not say it: give --threads"),
        (EXECUTOR, ["--threads", "1"], "does not say it: give --warmup-runs"),
    ],
)
def test_what_makes_no_session_leaves_nothing(tmp_path, manifests, text, flags, reason):
    name = made.model("dense", "fp32")["file"]
    log = written(tmp_path / "logs/a.txt", text.replace("{file}", name))
    with pytest.raises(InputError, match=reason) as error:
        import_logs(tmp_path / "s", log, manifests=manifests, flags=flags)
    assert ".part" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exports", "logs"]


def test_a_session_is_not_written_over(tmp_path, manifests):
    (tmp_path / "s").mkdir()
    with pytest.raises(InputError, match=r"s: is there already"):
        import_logs(tmp_path / "s", tmp_path / "no.txt", manifests=manifests)
    with pytest.raises(InputError, match="no log; give a LOG"):
        import_logs(tmp_path / "new", manifests=manifests)


def test_logs_of_two_tools_are_two_sessions(tmp_path, manifests):
    name = made.model("dense", "fp32")["file"]
    one = written(tmp_path / "logs/a.txt", made.tflite_log(name))
    two = written(tmp_path / "logs/b.txt", EXECUTOR.replace("{file}", name))
    with pytest.raises(InputError, match=r"b\.txt: of executor_runner, but .*a\.txt is of tflite"):
        import_logs(tmp_path / "s", one, two, manifests=manifests)


# minibench's JSON


def test_minibench_has_a_mean_and_no_median():
    found = parse(MINIBENCH, "log").to_json()
    assert found.pop("tool") == "executorch_minibench"
    assert found.pop("mean_ms") == 1.25
    assert set(found.values()) == {None}


@pytest.mark.parametrize("end", range(0, len(MINIBENCH), 7))
def test_minibench_cut_off_is_refused(end):
    with pytest.raises(InputError):
        parse(MINIBENCH[:end], "log")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            '"load_status", "actualValue": 0',
            '"load_status", "actualValue": 35',
            "load_status is 35",
        ),
        ('"load_status"', '"loaded"', "load_status is missing"),
        ("avg_inference", "average", "no finished measurement"),
        ("1.25", "0", "above 0"),
        ("1.25", "1e999", "no finished measurement"),
        ("trimmean_", "avg_", "more than one measurement"),
        ('"metric"', '"name"', "not a whole benchmark_results.json"),
    ],
)
def test_minibench_without_a_measurement(old, new, reason):
    assert old in MINIBENCH
    with pytest.raises(InputError, match=reason):
        parse(MINIBENCH.replace(old, new), "log")


# the page


def test_the_pages_commands_run(tmp_path, monkeypatch, capsys):
    """In a folder with the exports and the logs that they name."""
    monkeypatch.chdir(tmp_path)
    made.write_manifests(tmp_path / "exports")
    for place, variant in enumerate(("dense", "pruned", "pruned", "dense"), start=1):
        text = made.tflite_log(
            made.model(variant, "fp32")["file"], made.MEDIAN_US[f"{variant}-fp32"]
        )
        written(tmp_path / f"logs/{place}-{variant}.txt", text)
    commands = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(commands) == 3
    (tmp_path / "resources/android").mkdir(parents=True)
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "))
        assert words[:3] == ["python", "-m", "autoprune.phone"]
        main(words[3:])
    said = capsys.readouterr().out
    assert "resources/android/pixel-6a: valid, 4 runs, 0 failed" in said
    assert "2.50 [2.50, 2.50]" in said


def test_the_page_has_every_column_and_a_valid_session_json(tmp_path):
    text = PAGE.read_text()
    assert tuple(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == COLUMNS
    example = re.search(r"```json\n(.*?)```", text, re.DOTALL)[1]
    written(tmp_path / "session.json", example)
    assert read_facts(tmp_path / "session.json")["device"]["model"] == "Pixel 6a"
