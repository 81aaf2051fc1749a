"""Sessions of phone runs: what is valid, and every way in which one is not."""

import itertools
import json
import shutil
from datetime import UTC, datetime, timedelta

import made_sessions as made
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.phone.exported import read_models
from autoprune.phone.rows import CELLS, COLUMNS
from autoprune.phone.session import read_session, read_sessions


@pytest.fixture
def known(tmp_path):
    return read_models(made.write_manifests(tmp_path / "exports"))


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    return made.write_session(tmp_path_factory.mktemp("pattern") / "a-phone")


@pytest.fixture
def session(pattern, tmp_path):
    """A valid session to break."""
    return shutil.copytree(pattern, tmp_path / "a-phone")


def refusal(session, known=None, **more):
    with pytest.raises(InputError) as error:
        read_session(session, known or {}, **more)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_valid_session(session, known):
    found = read_session(session, known)
    assert len(found.rows) == 12
    assert all(model is not None for model in found.models)
    assert found.rows[0]["median_ms"] == 2.001
    assert found.rows[0]["cpu_mask"] == "c0"
    assert found.rows[0]["p90_ms"] is None
    assert (found.failed, found.warnings) == ([], [])
    assert all(row.flags == [] for row in found.rows)


def test_every_column_has_a_rule():
    assert tuple(CELLS) == COLUMNS


NAMES = ("", "Ä", "a b", "A", "a/b", "x" * 65)
HEX = ("", "abc", "g" * 64, "A" * 64, "a" * 65)
TIMES = ("0", "-1", "nan", "inf", "1,5", "1 ms", "1e999", "0x1")
PARTS = ("-0.1", "nan", "a", "2,5")
BROKEN = {
    "schema_version": ("", "2", "1.0", "one"),
    "session_id": (*NAMES, "another-phone"),
    "run_id": NAMES,
    "model_id": ("", "a\tb"),
    "variant": ("", "sparse", "Dense", "pruned"),
    "model_sha256": HEX,
    "format": ("", "tf", "onnx"),
    "precision": ("", "float32", "int8"),
    "tool": ("", "stopwatch", "litert_benchmark_model"),
    "tool_version": ("", "2.19.0", "2\0"),
    "tool_sha256": ("abc", "d" * 64),
    "delegate": ("", "dsp", "XNNPACK"),
    "nodes_delegated": ("-1", "1.5", "11"),
    "nodes_total": ("-1", "x"),
    "threads": ("", "-1", "0", "17", "default", "1.0", "2"),
    "cpu_mask": ("0x80", "80!", "0", "big"),
    "batch": ("", "0", "2", "16"),
    "repeat": ("", "0", "-1", "1.5"),
    "order": ("", "0", "first"),
    "warmup_runs": ("", "0", "-1"),
    "runs": ("", "0", "201", "2e2"),
    "median_ms": (*TIMES, ""),
    "mean_ms": TIMES,
    "min_ms": TIMES,
    "max_ms": TIMES,
    "std_ms": PARTS,
    "p5_ms": PARTS,
    "p90_ms": PARTS,
    "p95_ms": PARTS,
    "p99_ms": PARTS,
    "init_ms": PARTS,
    "first_ms": PARTS,
    "started_at": ("", "yesterday", "2026-11-03T14:05:00", "2026-13-03T14:05:00Z", "1700000000"),
    "battery_temp_c_start": ("-21", "81", "warm"),
    "battery_temp_c_end": ("-20.1", "350"),
    "thermal_status_start": ("-1", "7", "none"),
    "thermal_status_end": ("7", "0.5"),
    "battery_percent": ("-1", "101", "80 %"),
    "powered": ("2", "true", "yes"),
    "gate": ("", "open", "Passed"),
    "raw_log": (
        "",
        "/etc/hostname",
        "../raw/x.log",
        "raw/../../x.log",
        "raw\\x.log",
        "raw/no.log",
        "raw/\0",
    ),
    "raw_log_sha256": ("", "abc", "0" * 64),
}


def test_every_column_is_broken_somehow():
    assert tuple(BROKEN) == COLUMNS


@pytest.mark.parametrize(
    ("column", "text"), [(column, text) for column, texts in BROKEN.items() for text in texts]
)
def test_a_wrong_cell_is_named_with_its_line(session, known, column, text):
    made.change(session, 2, **{column: text})
    message = refusal(session, known)
    # of two cells that contradict each other, either may be named
    beside = {
        "nodes_total": ["nodes_delegated"],
        "raw_log": ["raw_log", "raw_log_sha256"],
        "raw_log_sha256": ["raw_log", "raw_log_sha256"],
        "threads": ["threads"],
    }.get(column, [])
    named = [f"{session / 'runs.csv'}, line 2: {name}: " for name in (column, *beside)]
    assert message.startswith(tuple(named)), message
    assert "found " in message
    assert "expected " in message


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ({"min_ms": 2.1}, "min_ms"),
        ({"p5_ms": 2.3, "min_ms": 2.2}, "p5_ms"),
        ({"p90_ms": 1.9}, "median_ms"),
        ({"p90_ms": 2.5}, "p90_ms"),
        ({"p95_ms": 2.3, "p99_ms": 2.2}, "p95_ms"),
        ({"p99_ms": 3}, "p99_ms"),
        ({"mean_ms": 1}, "min_ms"),
        ({"mean_ms": 3}, "mean_ms"),
        ({"nodes_delegated": 11}, "nodes_delegated"),
        ({"model_id": "net.onnx"}, "model_id"),
        ({"format": "pte", "model_id": "net.pte"}, "format"),
    ],
)
def test_figures_out_of_order(session, cells, column):
    made.change(session, 2, **cells)
    assert refusal(session).startswith(f"{session / 'runs.csv'}, line 2: {column}: found ")


def test_the_order_of_figures_has_a_little_slack(tmp_path):
    folder = made.write_session(tmp_path / "s", logs=False)
    made.change(folder, 2, min_ms=2, p5_ms=2 - 5e-10, median_ms=2 - 5e-10, mean_ms=2 - 5e-10)
    read_session(folder, {})
    made.change(folder, 2, p5_ms=2 - 2e-9)
    assert "min_ms: found 2.0, expected at most p5_ms" in refusal(folder)


def test_a_clock_in_the_future(session):
    started = datetime.fromisoformat("2026-11-03T14:05:00+01:00").astimezone(UTC)
    read_session(session, {}, now=started)
    message = refusal(session, now=started - timedelta(seconds=1))
    assert "line 2: started_at: found '2026-11-03T14:05:00+01:00'" in message
    made.change(session, 5, started_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    assert "line 5: started_at" in refusal(session)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (COLUMNS[:-1], "column raw_log_sha256 is missing"),
        ((*COLUMNS, "notes"), "unknown column 'notes'"),
        (("Schema_version", *COLUMNS[1:]), "unknown column 'Schema_version'; schema_version is"),
        ((COLUMNS[1], COLUMNS[0], *COLUMNS[2:]), "in another order"),
        ((*COLUMNS, "runs"), "columns twice"),
        ((";".join(COLUMNS),), "unknown column"),
        (("\ufeffschema_version", *COLUMNS[1:]), "byte-order mark"),
        ((), "column schema_version is missing"),
    ],
)
def test_a_wrong_header(session, header, reason):
    path = session / "runs.csv"
    rest = path.read_text().split("\n", 1)[1]
    path.write_text(",".join(header) + "\n" + rest)
    message = refusal(session)
    assert message.startswith(f"{path}, line 1: ")
    assert reason in message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.split("\n")[0] + "\n", "no run"),
        (lambda text: text + "\n", "line 14: found 0 cells, expected 42"),
        (lambda text: text + "1,a-phone\n", "line 14: found 2 cells"),
        (lambda text: text.rstrip("\n") + ",\n", "line 13: found 43 cells"),
        (lambda text: text + '1,"a\n', "not a CSV file"),
        (lambda text: text[:-30], "line 13: "),
    ],
)
def test_a_wrong_shape(session, change, reason):
    path = session / "runs.csv"
    assert len(COLUMNS) == 42
    path.write_text(change(path.read_text()))
    assert reason in refusal(session)


def test_a_file_that_is_no_text_or_not_there(session):
    (session / "runs.csv").write_bytes(b"\xff\xfe")
    assert "not a CSV file in UTF-8" in refusal(session)
    (session / "runs.csv").unlink()
    assert refusal(session) == f"{session / 'runs.csv'}: no such file"
    (session / "session.json").unlink()
    assert refusal(session) == f"{session / 'session.json'}: no such file"
    assert "no such folder" in refusal(session / "nowhere")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("schema_version", 2, "schema_version: found 2, expected 1"),
        ("session_id", "A Phone", "session_id: found 'A Phone', expected the form"),
        ("kind", "tablet", "kind: found 'tablet', expected phone or emulator or host_proxy"),
        ("kind", "emulator", "kind: found 'emulator', expected 'phone'"),
        ("kind", "host_proxy", "kind: found 'host_proxy', expected 'phone'"),
        ("device", [{}, {}], "device: found [{}, {}], expected object"),
        ("device.model", "", "device.model: found '', expected text"),
        ("device.android_sdk", "36", "device.android_sdk: found '36', expected integer or null"),
        ("device.abi", "x86_64", "device.abi: found 'x86_64', expected 'arm64-v8a'"),
        ("protocol.clocks", "fast", "protocol.clocks: found 'fast'"),
        ("tool.name", "stopwatch", "tool.name: found 'stopwatch'"),
        ("tool.sha256", "abc", "tool.sha256: found 'abc'"),
        ("gflops_per_thread", {"low": 0.1, "high": 9}, "gflops_per_thread: reason is missing"),
    ],
)
def test_a_wrong_fact(session, key, value, reason):
    made.change_facts(session, key, value)
    assert refusal(session).startswith(f"{session / 'session.json'}: {reason}")


REQUIRED = [
    *made.FACTS,
    *(f"{k}.{n}" for k, v in made.FACTS.items() if isinstance(v, dict) for n in v),
]


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_fact(session, key):
    made.change_facts(session, key, None)
    parent, _, name = key.rpartition(".")
    assert (
        refusal(session)
        == f"{session / 'session.json'}: {parent or 'top level'}: {name} is missing"
    )


def test_further_facts_are_welcome(session):
    made.change_facts(session, "device.fingerprint", "google/bluejay")
    made.change_facts(session, "notes", "in the kitchen")
    read_session(session, {})


def test_session_json_must_be_json(session):
    path = session / "session.json"
    path.write_text(path.read_text()[:-10])
    assert "not valid JSON" in refusal(session)


def test_what_must_be_unique(session):
    run = made.read_csv(session)[0]["run_id"]
    made.change(session, 7, run_id=run)
    assert "line 7: run_id: found 'dense-fp32-t1-r1', expected another than in line 2" in refusal(
        session
    )


def test_a_repeat_or_a_log_twice(session):
    made.change(session, 6, repeat=1)
    assert "line 6: repeat: found 1, expected another than in line 2" in refusal(session)
    rows = made.read_csv(session)
    made.change(session, 6, repeat=2, raw_log=rows[0]["raw_log"])
    assert "line 6: raw_log: " in refusal(session)


def test_two_devices_in_one_session(session):
    made.change(session, 5, session_id="my-other-phone")
    message = refusal(session)
    assert "line 5: session_id: found 'my-other-phone', expected 'a-phone'" in message
    assert "two devices are two sessions" in message


def test_one_model_with_two_contents(session):
    made.change(session, 6, model_sha256="1" * 64)
    assert "line 6: model_sha256: found" in refusal(session)


def test_a_session_handed_in_twice(session, tmp_path):
    shutil.copytree(session, tmp_path / "copy")
    with pytest.raises(InputError, match=r"session_id: found 'a-phone', which .* has already"):
        read_sessions([session, tmp_path / "copy"], {})


def test_a_session_of_one_variant_is_warned_of(tmp_path):
    folder = made.write_session(tmp_path / "s", drop=["pruned"])
    (warning,) = read_session(folder, {}).warnings
    assert "no pruned run, so this session gives no speed-up" in warning


# the log


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("median=2001", "median=2004", "median_ms: found 2.001, expected 2.004 as the log has"),
        ("avg=2021.01", "avg=2021.04", "mean_ms"),
        ("min=1901", "min=1900", "min_ms"),
        ("max=2401", "max=2402", "max_ms"),
        ("std=2 ", "std=3 ", "std_ms"),
        ("p5=1901", "p5=1903", "p5_ms"),
        ("p95=2401", "p95=2400", "p95_ms"),
        ("Init: 812", "Init: 813", "init_ms"),
        ("First inference: 2401", "First inference: 2400", "first_ms"),
        (" median=2001", "", "median_ms: found 2.001, expected an empty cell"),
        ("Num threads: [1]", "Num threads: [4]", "threads: found 1, expected 4 as in the log"),
        ("count=200", "count=199", "runs: found 200, expected at most the log's 199"),
        ("faces-cnn-dense", "faces-cnn-pruned", "model_id: found 'faces-cnn-dense-s0-fp32.tflite'"),
        ("INFO: Inference timings", "INFO: timings", "raw_log: "),
    ],
)
def test_a_row_that_its_log_does_not_say(session, known, old, new, reason):
    path = session / "raw/dense-fp32-t1-r1.log"
    text = path.read_text()
    assert old in text
    text = text.replace(old, new)
    if old.startswith("avg"):
        text = text.replace("(avg): 2021.01", "(avg): 2021.04")
    made.change(session, 2, **made.write_log(session, path.stem, text))
    assert refusal(session, known).startswith(f"{session / 'runs.csv'}, line 2: {reason}")


@pytest.mark.parametrize(
    ("column", "exact", "step"),
    [("median_ms", 2.001, 0.001), ("mean_ms", 2.02101, 0.00001), ("max_ms", 2.401, 0.001)],
)
def test_half_of_the_last_printed_digit_is_tolerated(session, column, exact, step):
    made.change(session, 2, **{column: exact + 0.49 * step})
    read_session(session, {})
    made.change(session, 2, **{column: exact + 0.51 * step})
    assert f"line 2: {column}: found " in refusal(session)


def test_a_log_that_was_changed(session):
    path = session / "raw/dense-fp32-t1-r1.log"
    path.write_text(path.read_text() + "\n")
    assert "line 2: raw_log_sha256: found" in refusal(session)


def test_a_link_out_of_the_session(session, tmp_path):
    path = session / "raw/dense-fp32-t1-r1.log"
    shutil.move(path, tmp_path / "elsewhere.log")
    path.symlink_to(tmp_path / "elsewhere.log")
    assert "line 2: raw_log: found 'raw/dense-fp32-t1-r1.log', expected a path inside" in refusal(
        session
    )


def test_a_log_of_another_tool(session):
    log = "Iteration 1 of 1: 2.000000 ms\nModel executed successfully 1 time(s) in 2.000000 ms.\n"
    made.change(session, 2, **made.write_log(session, "dense-fp32-t1-r1", log))
    assert "line 2: tool: found 'tflite_benchmark_model', expected 'executor_runner'" in refusal(
        session
    )


def test_a_median_that_the_log_has_is_not_left_out(session):
    made.change(session, 2, median_ms="")
    assert "median_ms: found nothing, expected 2.001 as the log has in ms" in refusal(session)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(data=st.data())
def test_a_session_with_a_cut_log_says_the_same_or_is_refused(session, data):
    """Cut at any line, at the end or at the start: never other numbers."""
    path = session / "raw/dense-fp32-t1-r1.log"
    whole = made.tflite_log("faces-cnn-dense-s0-fp32.tflite", 2001).splitlines(keepends=True)
    first = data.draw(st.integers(0, len(whole)))
    last = data.draw(st.integers(first, len(whole)))
    made.change(session, 2, **made.write_log(session, path.stem, "".join(whole[first:last])))
    if {6, 7} <= {*range(first, last)}:  # the runs that count, and the timings
        assert read_session(session, {}).rows[0]["median_ms"] == 2.001
    else:
        assert "line 2: raw_log: " in refusal(session)


TIME_CELLS = ["median_ms", "mean_ms", "min_ms", "max_ms", "std_ms", "p5_ms", "p95_ms"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(column=st.sampled_from(TIME_CELLS), factor=st.floats(0.5, 2), data=st.data())
def test_no_figure_differs_from_its_log(session, pattern, column, factor, data):
    """Any other figure is refused, but for half of the last digit that the log has."""
    shutil.copy(pattern / "runs.csv", session / "runs.csv")
    line = data.draw(st.integers(2, 13))
    before = float(made.read_csv(session)[line - 2][column])
    made.change(session, line, **{column: repr(before * factor)})
    step = 0.00001 if column == "mean_ms" else 0.001
    if abs(before * factor - before) > 0.501 * step:
        assert f"line {line}: " in refusal(session)
    elif abs(before * factor - before) < 0.499 * step and column in TIME_CELLS[:2]:
        # of the others, some are the log's least or largest twice: their order forbids it
        figure = read_session(session, {}).rows[line - 2][column]
        assert figure == pytest.approx(before, abs=step)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_whatever_is_broken_there_is_one_line(session, pattern, data):
    """Bytes exchanged, put in or taken out anywhere: a valid session or a refusal, no crash."""
    shutil.rmtree(session)
    shutil.copytree(pattern, session)
    names = ["session.json", "runs.csv", "raw/dense-fp32-t1-r1.log"]
    path = session / data.draw(st.sampled_from(names))
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(0, 40))
    other = data.draw(st.binary(max_size=6) | st.sampled_from([b'"', b"\n", b"1e999", b"-", b"\0"]))
    path.write_bytes(whole[:start] + other + whole[start + length :])
    try:
        read_session(session, {})
    except InputError as error:
        message = str(error)
        assert str(session) in message


# the networks


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("model_id", "mine.tflite", "expected 'faces-cnn-dense-s0-fp32.tflite' as"),
        ("variant", "pruned", "expected 'dense' as"),
        ("precision", "int8", "expected 'fp32' as"),
    ],
)
def test_a_row_that_contradicts_the_manifest(tmp_path, known, column, value, reason):
    folder = made.write_session(tmp_path / "s", logs=False)
    made.change(folder, 2, **{column: value})
    message = refusal(folder, known)
    assert f"line 2: {column}: found '{value}', {reason}" in message
    assert "manifest.json" in message


def test_a_session_of_another_model_is_no_error_and_joins_nothing(session, tmp_path):
    other = [made.model("dense", "fp32", sha256="1" * 64)]
    known = read_models(made.write_manifests(tmp_path / "others", models=other))
    assert read_session(session, known).models == [None] * 12


def test_two_networks_of_the_same_bytes_are_told_apart_by_name(session, tmp_path):
    """Rounding that changes no width exports the same bytes under another name."""
    one = made.model("dense", "fp32")
    twin = one | {"model_id": "rounded.tflite", "round_widths_to": 8}
    for models in ([one, twin], [twin, one]):
        known = read_models(made.write_manifests(tmp_path / "twins", models=models))
        assert read_session(session, known).models[0]["model_id"] == one["model_id"]


@pytest.mark.parametrize("factor", [1000, 1e-3, 1e6, 1e-6])
@given(speed=st.floats(0.51, 399))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
def test_a_slip_of_a_unit_is_refused(tmp_path, known, factor, speed):
    """Whatever the true speed, us or s in the place of ms fall outside the window."""
    folder = tmp_path / "slip"
    shutil.rmtree(folder, ignore_errors=True)
    made.write_session(folder, logs=False, repeats=1)
    true_ms = 2 * made.MACS["dense"] / speed / 1e6
    empty = dict.fromkeys(("mean_ms", "min_ms", "max_ms", "p5_ms", "p95_ms"), "")
    made.change(folder, 2, **empty, median_ms=repr(true_ms))
    read_session(folder, known)
    made.change(folder, 2, median_ms=repr(true_ms * factor))
    message = refusal(folder, known)
    assert "line 2: median_ms: found" in message
    assert "expected 0.5 to 400 GFLOP/s a thread" in message


def test_an_odd_device_may_say_so(tmp_path, known):
    folder = made.write_session(tmp_path / "s", logs=False)
    made.change(folder, 2, median_ms=0.02, min_ms="", mean_ms="", p5_ms="", max_ms="", p95_ms="")
    assert "is it in ms?" in refusal(folder, known)
    made.change_facts(folder, "gflops_per_thread", {"low": 1, "high": 900, "reason": "an NPU"})
    assert read_session(folder, known).rows[0]["median_ms"] == 0.02


@pytest.mark.parametrize("text", ["[]", "{}", '{"models": [1]}', '{"models": [{"sha256": "x"}]}'])
def test_a_manifest_that_is_none(tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(InputError, match=r"m\.json: .*(no manifest|is missing)"):
        read_models([tmp_path / "m.json"])


# what is allowed and flagged


def test_a_bare_table_without_logs(tmp_path, known):
    folder = made.write_session(tmp_path / "s", logs=False)
    shutil.rmtree(folder / "raw")
    assert all(row.flags == ["no_log"] for row in read_session(folder, known).rows)


def test_flags(tmp_path):
    folder = made.write_session(tmp_path / "s", logs=False)
    only_mean = dict.fromkeys(("median_ms", "p5_ms", "p95_ms"), "")
    made.change(folder, 2, runs=19, gate="timed_out", **only_mean)
    row = read_session(folder, {}).rows[0]
    assert row.flags == ["mean_only", "few_runs", "gate_timed_out", "no_log"]
    assert row.latency_ms == row["mean_ms"]
    made.change(folder, 2, mean_ms="")
    assert "line 2: median_ms: found nothing, expected a number above 0, or a mean_ms" in refusal(
        folder
    )


def test_failed_runs_are_counted(session):
    (session / "raw/no-row.log").write_text("Segmentation fault\n")
    (session / "raw/listed.log").write_text("killed\n")
    (session / "failed.csv").write_text(
        "run_id,reason,raw_log\n001-a,exit code 139,raw/listed.log\n002-b,connection lost,\n"
    )
    assert read_session(session, {}).failed == [
        "001-a: exit code 139",
        "002-b: connection lost",
        "raw/no-row.log: in no row",
    ]


def test_all_subsets_of_optional_cells_may_be_empty(tmp_path):
    folder = made.write_session(tmp_path / "s", logs=False, repeats=1)
    optional = [name for name, rule in CELLS.items() if not rule.required]
    optional = [name for name in optional if name not in ("median_ms", "mean_ms")]
    for names in itertools.chain(itertools.combinations(optional, 1), [optional]):
        shutil.rmtree(folder)
        made.write_session(folder, logs=False, repeats=1)
        made.change(folder, 3, **dict.fromkeys(names, ""))
        row = read_session(folder, {}).rows[1]
        assert all(row[name] is None for name in names)
    assert json.loads((folder / "session.json").read_text())["kind"] == "phone"
