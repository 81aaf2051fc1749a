"""What handed-in sessions come to: the imported table, speed-ups, the claim, the latency page."""

import csv
import json
import statistics
from pathlib import Path

import made_sessions as made
import pandas as pd
import pytest

from autoprune.evidence.tabulate import main as tabulate
from autoprune.evidence.verdicts import COLUMNS, android_rows
from autoprune.phone.import_latency import main
from autoprune.phone.rows import CELLS
from autoprune.phone.speedups import repeats
from autoprune.phone.table import TABLE, read_table
from autoprune.publish import draw, render_table
from stages import run_here

NONE = "not measured: no session in resources/android"
PUBLISHED = {"metric": "inference_speedup", "value": "2", "method": "autoprune"}


@pytest.fixture
def manifests(tmp_path):
    return made.write_manifests(tmp_path / "exports")


@pytest.fixture
def imported(tmp_path, manifests):
    """A function: the table of some sessions."""

    def run(*sessions):
        out = tmp_path / "android.csv"
        words = ["--sessions", *map(str, sessions), "--manifests", *map(str, manifests)]
        main([*words, "--output", str(out)])
        return read_table(str(out))

    return run


def ratios(*values):
    """Medians in us: dense 2 ms in every repeat, pruned as much faster; int8 alike."""

    def times(variant, precision, repeat):
        return 2000 if variant == "dense" else round(2000 / values[repeat - 1])

    return times


def claim(table):
    return android_rows(PUBLISHED, table)


def test_no_session_is_a_header_and_says_so(tmp_path):
    out = tmp_path / "android.csv"
    main(["--output", str(out)])
    assert out.read_text() == ",".join(TABLE) + "\n"
    (row,) = claim(read_table(str(out)))
    assert list(row) == COLUMNS
    assert row["tested_on"] == NONE
    assert (row["verdict"], row["resolved"], row["ours"]) == ("not tested", "no", None)
    (row,) = claim(None)
    assert row["tested_on"] == NONE


def test_a_run_is_joined_with_its_network(tmp_path, imported):
    table = imported(made.write_session(tmp_path / "s"))
    assert len(table) == 12
    row = table[table["run_id"] == "pruned-fp32-t1-r1"].iloc[0]
    assert (row["network"], row["status"], row["evidence"]) == ("study", "used", "log")
    assert (row["macs"], row["widths"], row["method"]) == (1_000_000, "14 9", "autoprune")
    assert (row["phone"], row["soc"], row["clocks"]) == ("Pixel 6a", "Tensor", "shipped")
    assert row["median_ms"] == 0.801
    assert row["source_file"].endswith("s/runs.csv")


def test_the_claim_by_hand(tmp_path, imported):
    """Repeats of 2.0, 2.5 and 4 times: their median and range."""
    (row,) = claim(imported(made.write_session(tmp_path / "s", times=ratios(4, 2, 2.5))))
    assert (row["ours"], row["low"], row["high"], row["n"]) == (2.5, 2.0, 4.0, 3)
    assert (row["verdict"], row["resolved"], row["variant"]) == ("holds", "yes", "reinit")
    seen = row["tested_on"]
    assert "Google Pixel 6a (Tensor), Android 16: tflite_benchmark_model 2.20.0, tflite" in seen
    assert "fp32, xnnpack, 1 thread on CPU mask c0" in seen
    assert "STAND-IN DATA ONLY: faces (stand-in)/CNN seed 0: 2.50 [2.00, 4.00]" in seen
    assert "median over repeats ≥ 2×" in row["rule"]
    assert row["source_files"].endswith("s/runs.csv")


@pytest.mark.parametrize(
    ("values", "verdict", "resolved"),
    [
        ((2.5, 2.5, 2.5), "holds", "yes"),
        ((1.6, 2.5, 2.5), "holds", "no"),  # a repeat on the other side of 2
        ((1.6, 1.25, 1.6), "does not hold", "yes"),
        ((1.6, 1.25, 2.5), "does not hold", "no"),
        ((0.8, 1.25, 1.6), "not resolved", "no"),
        ((1.0, 4, 4), "not resolved", "no"),
        ((0.8, 0.5, 0.625), "does not hold", "yes"),  # slower
        ((4,), "not resolved", "no"),  # one repeat has no range
    ],
)
def test_the_verdicts(tmp_path, imported, values, verdict, resolved):
    session = made.write_session(tmp_path / "s", times=ratios(*values), repeats=len(values))
    (row,) = claim(imported(session))
    assert (row["verdict"], row["resolved"]) == (verdict, resolved)
    assert row["ours"] == pytest.approx(statistics.median(values))


def test_over_networks_a_repeat_is_their_geometric_mean(tmp_path):
    """Two networks, one 2 and one 8 times as fast: 4 times; a repeat that lacks one is left out."""
    models, rows = [], []
    for data, factor in (("faces", 2), ("digits", 8)):
        for variant in ("dense", "pruned"):
            name = f"{data}-{variant}.tflite"
            member = made.model(variant, "fp32", dataset=data, model_id=name, file=name)
            member["sha256"] = ("1" if variant == "dense" else "2") * 63 + data[0].replace("s", "e")
            member["data_kind"] = "real" if data == "digits" else "stand-in"
            models.append(member)
            for repeat in (1, 2, 3):
                if (data, repeat) == ("digits", 3) and variant == "pruned":
                    continue
                median = 2000 if variant == "dense" else 2000 // factor
                row = made.row_of(member, median, repeat, len(rows) + 1)
                rows.append(row | {"run_id": f"{data}-{row['run_id']}"})
    folder = made.write_session(tmp_path / "s", logs=False)
    made.write_rows(folder, rows)
    manifests = made.write_manifests(tmp_path / "exports", models=models)
    out = tmp_path / "android.csv"
    words = ["--sessions", str(folder), "--manifests", *map(str, manifests)]
    main([*words, "--output", str(out)])
    (row,) = claim(read_table(str(out)))
    assert (row["ours"], row["low"], row["high"], row["n"]) == pytest.approx((4, 4, 4, 2))
    assert "1 repeats left out, as they lack a network" in row["tested_on"]
    assert "PARTLY STAND-IN DATA: digits/CNN seed 0: 8.00" in row["tested_on"]


@pytest.mark.parametrize("column", ["delegate", "cpu_mask", "threads", "repeat"])
def test_runs_that_do_not_agree_are_not_compared(tmp_path, imported, column):
    folder = made.write_session(tmp_path / "s", drop=["int8"], logs=False)
    other = {"delegate": "cpu", "cpu_mask": "80", "threads": 2, "repeat": None}[column]
    for line in range(2, 8):
        row = made.read_csv(folder)[line - 2]
        if row["variant"] == "dense":
            made.change(folder, line, **{column: other or int(row["repeat"]) + 10})
    table = imported(folder)
    assert repeats(table).empty
    (row,) = claim(table)
    assert row["verdict"] == "not tested"
    assert row["tested_on"].startswith("nothing: no autoprune run in fp32 on 1 thread beside a den")


@pytest.mark.parametrize(
    "change",
    [("tool.version", "2.19.0"), ("protocol.clocks", "fixed_performance"), ("device.model", "X")],
)
def test_sessions_are_never_mixed(tmp_path, imported, change):
    """Dense in one session and pruned in another make no speed-up, alike or not."""
    one = made.write_session(tmp_path / "one", drop=["pruned"], logs=False)
    facts = made.FACTS | {"session_id": "another"}
    two = made.write_session(tmp_path / "two", drop=["dense"], facts=facts, logs=False)
    made.change_facts(two, *change)
    if change[0] == "tool.version":
        for line in range(2, 8):
            made.change(two, line, tool_version=change[1])
    assert repeats(imported(one, two)).empty


def another(name):
    """The facts of another phone, in a session of its name."""
    return made.FACTS | {"session_id": name, "device": {**made.FACTS["device"], "model": name}}


def test_two_phones_are_a_row_each_and_one_verdict_over_both(tmp_path, imported):
    one = made.write_session(tmp_path / "one", times=ratios(2.5, 2.5, 2.5))
    two = made.write_session(tmp_path / "two", times=ratios(1.6, 1.6, 1.6), facts=another("b"))
    both, *each = claim(imported(one, two))
    found = {row["ours"]: row for row in each}
    assert set(found) == {2.5, 1.6}
    assert "Google b (Tensor)" in found[1.6]["tested_on"]
    assert found[1.6]["source_files"].endswith("two/runs.csv")
    assert (both["ours"], both["low"], both["high"], both["n"]) == (2.05, 1.6, 2.5, 2)
    assert (both["verdict"], both["resolved"]) == ("holds", "no")  # a phone on the other side of 2
    assert both["tested_on"].startswith("2 phones together, the median of them")
    assert both["source_files"].count("runs.csv") == 2


@pytest.mark.parametrize(
    ("speeds", "verdict", "resolved"),
    [
        ((2.5, 4, 5), "holds", "yes"),
        ((1.25, 1.6, 2.5), "does not hold", "no"),
        ((0.8, 1.6, 2.5), "not resolved", "no"),
        ((1.25, 1.6), "does not hold", "yes"),
    ],
)
def test_the_verdict_over_phones(tmp_path, imported, speeds, verdict, resolved):
    """Each phone counts once, however many sessions it gave; its own is their median."""
    folders = []
    for place, speed in enumerate(speeds):
        for again in ("", "-again"):
            facts = another(f"p{place}") | {"session_id": f"p{place}{again}"}
            folder = tmp_path / facts["session_id"]
            folders.append(made.write_session(folder, times=ratios(*[speed] * 3), facts=facts))
    both, *each = claim(imported(*folders))
    assert len(each) == 2 * len(speeds)
    assert (both["n"], both["verdict"], both["resolved"]) == (len(speeds), verdict, resolved)
    assert both["ours"] == pytest.approx(statistics.median(speeds))
    assert (both["low"], both["high"]) == pytest.approx((min(speeds), max(speeds)))
    text, raw = page(tmp_path, tmp_path / "android.csv")
    together = raw[raw["device"] == f"{len(speeds)} phones together"]
    assert sorted(together["precision"]) == ["fp32", "int8"]  # a row for each setting
    row = together[together["precision"] == "fp32"].iloc[0]
    assert float(row["speed_up"]) == pytest.approx(statistics.median(speeds))
    assert [float(row[end]) for end in ("low", "high")] == pytest.approx([min(speeds), max(speeds)])
    assert (row["delegate"], row["nodes_delegated"], row["nodes_total"]) == ("xnnpack", "9", "10")
    assert "phones together" in cells(text, "phones together")[0][1]


def test_one_phone_is_not_phones(tmp_path, imported):
    """Two sessions of one phone, of two Androids, and a second phone that has no logs."""
    sessions = [
        made.write_session(tmp_path / name, facts=made.FACTS | {"session_id": name}, times=times)
        for name, times in (("one", ratios(2.5, 2.5, 2.5)), ("two", ratios(4, 4, 4)))
    ]
    made.change_facts(sessions[1], "device.android_release", "17")
    sessions.append(
        made.write_session(
            tmp_path / "typed", times=ratios(9, 9, 9), facts=another("typed"), logs=False
        )
    )
    rows = claim(imported(*sessions))
    assert sorted(row["ours"] for row in rows) == [2.5, 4, pytest.approx(9, rel=1e-2)]
    _, raw = page(tmp_path, tmp_path / "android.csv")
    assert not raw["device"].str.contains("together").any()


@pytest.mark.parametrize("typed", [("dense", "pruned"), ("dense",), ("pruned",)])
def test_figures_that_no_log_backs_settle_nothing(tmp_path, imported, typed):
    """Typed by hand, or one side of each pair; the next row has what logs back, by itself."""
    folder = made.write_session(tmp_path / "s", times=ratios(4, 4, 4), drop=["int8"])
    rows = made.read_csv(folder)
    for line, row in enumerate(rows, start=2):
        if row["variant"] in typed:
            made.change(folder, line, raw_log="", raw_log_sha256="")
    (row,) = claim(imported(folder))
    assert (row["verdict"], row["resolved"], row["ours"]) == ("unproven", "no", 4)
    assert row["tested_on"].startswith("typed in by hand: no log backs it; Google Pixel 6a")
    text, raw = page(tmp_path, tmp_path / "android.csv")
    assert set(raw["resolved"]) == {"", "unproven"}
    assert any("unproven" in cell for cell in cells(text, "autoprune")[0])


def test_repeats_with_logs_count_without_those_that_have_none(tmp_path, imported):
    folder = made.write_session(tmp_path / "s", times=ratios(9, 2.5, 2.5), drop=["int8"])
    for line in (2, 3):
        made.change(folder, line, raw_log="", raw_log_sha256="")
    found = {row["verdict"]: row for row in claim(imported(folder))}
    assert set(found) == {"holds", "unproven"}
    assert (found["holds"]["ours"], found["holds"]["n"]) == (2.5, 2)
    assert found["unproven"]["n"] == 1


def test_a_gpu_is_in_the_table_and_not_in_the_claim(tmp_path, imported):
    """With the nodes that it took, in rows and panels of its own."""
    folder = made.write_session(tmp_path / "s", times=ratios(2.5, 2.5, 2.5), drop=["int8"])
    fast = made.write_session(
        tmp_path / "g", times=ratios(5, 5, 5), facts=another("g"), drop=["int8"], logs=False
    )
    for line in range(2, 8):
        row = made.read_csv(fast)[line - 2]
        log = made.tflite_log(row["model_id"], round(1000 * float(row["median_ms"])))
        log = log.replace("TfLiteXNNPackDelegate", "TfLiteGpuDelegateV2").replace("9 out", "7 out")
        cells_of_log = made.write_log(fast, row["run_id"], log)
        made.change(fast, line, delegate="gpu", nodes_delegated=7, **cells_of_log)
    (row,) = claim(imported(folder, fast))
    assert row["ours"] == 2.5
    text, _ = page(tmp_path, tmp_path / "android.csv", drawn=True)
    head = cells(text, "measured on")[0]
    rows = [dict(zip(head, row, strict=True)) for row in cells(text, "autoprune")]
    assert [(row["delegate"], row["nodes delegated"]) for row in rows] == [
        *(("GPU", "7 of 10"), ("XNNPACK", "9 of 10")),
    ]
    assert all("unproven" not in row["remark"] for row in rows)
    svg = (tmp_path / "latency.svg").read_text()
    for title in ("phone, fp32, 1 thread", "phone, fp32, 1 thread, GPU"):
        assert f"<!-- {title} -->" in svg
    for line in range(2, 8):  # a log that does not say it
        log = fast / made.read_csv(fast)[line - 2]["raw_log"]
        kept = [text for text in log.read_text().splitlines(True) if "delegate" not in text]
        silent = made.write_log(fast, log.stem, "".join(kept))
        made.change(fast, line, nodes_delegated="", nodes_total="", **silent)
    imported(folder, fast)
    text, _ = page(tmp_path, tmp_path / "android.csv")
    remarks = [dict(zip(head, row, strict=True))["remark"] for row in cells(text, "autoprune")]
    assert remarks == ["unproven; nodes delegated unknown", ""]


def test_more_threads_and_int8_are_no_claim(tmp_path, imported):
    table = imported(made.write_session(tmp_path / "s", threads=[1, 4]))
    assert set(repeats(table)["threads"]) == {1, 4}
    assert len(claim(table)) == 1


def test_pinned_runs_come_before_others(tmp_path, imported):
    folder = made.write_session(tmp_path / "s", drop=["int8"], logs=False)
    rows = made.read_csv(folder)
    loose = [
        row | {"cpu_mask": "", "run_id": f"loose-{row['run_id']}", "order": str(100 + place)}
        for place, row in enumerate(rows)
    ]
    made.write_rows(folder, rows + loose)
    (row,) = claim(imported(folder))
    assert "on CPU mask c0" in row["tested_on"]
    made.write_rows(folder, loose)
    (row,) = claim(imported(folder))
    assert "1 thread, no CPU mask" in row["tested_on"]


def test_hot_and_failed_runs_are_left_out_and_counted(tmp_path, imported):
    folder = made.write_session(tmp_path / "s", times=ratios(2.5, 2.5, 2.5), drop=["int8"])
    made.change(folder, 3, thermal_status_end=1)  # pruned, repeat 1
    (folder / "raw/crash.log").write_text("Segmentation fault\n")
    table = imported(folder)
    assert list(table["status"].value_counts().loc[["used", "hot", "failed"]]) == [5, 1, 1]
    (row,) = claim(table)
    assert row["n"] == 2
    assert "a-phone: of 7 runs 1 failed, 1 left out as too warm in the end" in row["tested_on"]


def test_a_session_of_another_study_is_shown_and_not_used(tmp_path, manifests):
    folder = made.write_session(tmp_path / "s")
    out = tmp_path / "android.csv"
    main(["--sessions", str(folder), "--output", str(out)])
    table = read_table(str(out))
    assert set(table["network"]) == {"another"}
    (row,) = claim(table)
    assert "a-phone: of 12 runs 12 of another network" in row["tested_on"]
    text, raw = page(tmp_path, out)
    assert len([line for line in text.splitlines() if "another network" in line]) == 4 + 2
    assert not raw["speed_up"].any()
    assert "faces-cnn-pruned-s0-int8.tflite" in text


OUTPUTS = ("csv", "html", "markdown", "latex", "svg", "pdf")


def page(tmp_path, android=None, host=(), drawn=False):
    """The latency page as Markdown, and its raw table as text; its figure where it is asked for."""
    out = {k: str(tmp_path / f"latency.{k}") for k in OUTPUTS}
    phones = ["--android", str(android)] if android else []
    tabulate(["latency", *phones, "--host", *map(str, host), "--csv", out["csv"]])
    render_table.main(["latency", *(f"--{key}={out[key]}" for key in OUTPUTS[:4])])
    if drawn:
        words = [f"--{key}={out[key]}" for key in OUTPUTS[4:]]
        draw.main(["latency", "--latency", out["csv"], *words])
    assert "<table>" in Path(out["html"]).read_text()
    return Path(out["markdown"]).read_text(), pd.read_csv(
        out["csv"], keep_default_na=False, dtype=str
    )


def cells(text, word):
    """The cells of the rows of a Markdown table that have ``word``."""
    lines = [line for line in text.splitlines() if line.startswith("|") and word in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_without_anything(tmp_path):
    text, raw = page(tmp_path, drawn=True)
    assert cells(text, "phone")[0][:2] == ["phone", NONE]
    assert raw.empty


def test_the_page_keeps_phone_and_host_apart(tmp_path, imported, host_file):
    folder = made.write_session(tmp_path / "s", times=ratios(4, 2, 2.5), threads=[1, 4])
    made.change(folder, 3, thermal_status_end=2)  # dense, int8, 1 thread, repeat 1
    imported(folder)
    text, raw = page(tmp_path, tmp_path / "android.csv", [host_file], drawn=True)
    assert list(raw["kind"]) == ["phone"] * 8 + ["host_proxy"]
    head = cells(text, "measured on")[0]
    rows = [dict(zip(head, row, strict=True)) for row in cells(text, "Pixel 6a")]
    assert [row["measured on"] for row in rows] == ["phone"] * 8
    (own,) = [
        row
        for row in rows
        if row["method"] == "autoprune, fresh weights"
        and row["precision"] == "fp32"
        and "1 thread on CPU mask c0" in row["measured with"]
    ]
    assert own["latency, ms"] == "0.800 [0.500, 1.000]"
    assert own["tail, ms"] == "p95 0.960"
    assert own["speed-up"] == "2.50 [2.00, 4.00]"
    assert own["MACs, dense / own"] == "5.18"
    assert own["data"] == "faces (stand-in)"
    (warm,) = [row for row in rows if "too warm" in row["remark"]]
    assert (warm["method"], warm["precision"]) == ("dense (FedAvg)", "int8")
    (host,) = cells(text, "an Intel")
    assert host[0] == "host proxy"
    assert "1 left out as too warm" in text
    svg = (tmp_path / "latency.svg").read_text()
    for title in ("phone, fp32, 1 thread", "phone, int8, 1 thread", "host proxy, fp32, 1 thread"):
        assert f"<!-- {title} -->" in svg


def test_the_page_marks_what_rests_on_less(tmp_path, imported):
    folder = made.write_session(
        tmp_path / "s", times=ratios(0.8, 1.25), repeats=2, drop=["int8"], logs=False
    )
    for line in range(2, 6):
        made.change(folder, line, runs=10, gate="timed_out", median_ms="", p5_ms="", p95_ms="")
    table = imported(folder)
    text, raw = page(tmp_path, tmp_path / "android.csv")
    (own,) = cells(text, "autoprune")
    assert "not resolved; fewer than 20 runs; measured warm; mean, not median; without logs" in own
    assert set(raw["evidence"]) == {"table"}
    assert set(raw["statistic"]) == {"mean"}
    (row,) = claim(table)  # the claim wants medians
    assert row["verdict"] == "not tested"
    assert "4 without logs" in row["tested_on"]


@pytest.fixture
def host_file(tmp_path):
    """A measurement of the host as autoprune.measure.latency_host writes it."""
    models = {v: made.model(v, "fp32", "onnx", argmax_agreement=1.0) for v in ("dense", "pruned")}
    measured = {
        "engine": "onnxruntime", "engine_version": "1", "format": "onnx", "precision": "fp32",
        **models, "dense_ms": 0.5, "pruned_ms": 0.25, "speed_up": 2, "low": 1.9, "high": 2.1,
    }  # fmt: skip
    path = tmp_path / "host.json"
    about = {"kind": "host_proxy", "cpu": "an Intel", "instructions": ["avx2"], "threads": 1}
    path.write_text(json.dumps(about | {"measured": [measured]}))
    return path


def test_the_commands_say_what_is_wrong_in_one_line(tmp_path):
    folder = made.write_session(tmp_path / "s")
    made.change(folder, 2, threads="-1")
    for words in (
        ["autoprune.phone.import_latency", "--sessions", folder, "--output", tmp_path / "a.csv"],
        ["autoprune.phone", "check", folder],
    ):
        done = run(*words)
        assert done.returncode == 1
        line = f"error: {folder}/runs.csv, line 2: threads: found '-1', expected a whole number "
        assert done.stderr == f"{line}of 1 to 16\n"
    assert not (tmp_path / "a.csv").exists()
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    words = ["--android", tmp_path / "a.csv", "--csv", tmp_path / "x.csv"]
    done = run("autoprune.evidence.tabulate", "latency", *words)
    assert done.stderr.startswith(f"error: {tmp_path}/a.csv: not the columns of autoprune.phone.")


def run(module, *words):
    return run_here(module, *words)


def test_check_sums_a_session_up(tmp_path, manifests):
    folder = made.write_session(tmp_path / "s", times=ratios(4, 2, 2.5), drop=["int8"])
    (folder / "raw/crash.log").write_text("Segmentation fault\n")
    done = run("autoprune.phone", "check", folder, "--manifests", *manifests)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{folder}: valid, 6 runs, 1 failed\n" in done.stdout
    assert "Google Pixel 6a (Tensor), Android 16, tflite_benchmark_model 2.20.0" in done.stdout
    assert "0.800 [0.500, 1.000]" in done.stdout
    assert "2.50 [2.00, 4.00]" in done.stdout
    done = run("autoprune.phone", "check", folder)
    assert "Not held against the exports" in done.stdout


def test_the_raw_table_keeps_each_runs_row(tmp_path, imported):
    """Every cell of runs.csv comes through as the number it was."""
    folder = made.write_session(tmp_path / "s")
    imported(folder)
    with (tmp_path / "android.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    for was, now in zip(made.read_csv(folder), found, strict=True):
        for key, text in was.items():
            if isinstance(text and CELLS[key].read(text), int | float):
                assert float(now[key]) == float(text), key
            else:
                assert now[key] == text, key


def test_a_session_of_which_no_run_counts(tmp_path, imported):
    folder = made.write_session(tmp_path / "s", repeats=1, drop=["int8"], logs=False)
    for line in (2, 3):
        made.change(folder, line, thermal_status_end=3)
    table = imported(folder)
    (row,) = claim(table)
    assert "of 2 runs 2 left out as too warm in the end" in row["tested_on"]
    text, raw = page(tmp_path, tmp_path / "android.csv")
    head = cells(text, "measured on")[0]
    place = head.index("latency, ms")
    assert [row[place] for row in cells(text, "Pixel 6a")] == ["–", "–"]
    assert list(raw["median_ms"]) == ["", ""]
    done = run(
        "autoprune.phone",
        "check",
        folder,
        "--manifests",
        tmp_path / "exports/dense/manifest.json",
    )
    assert (done.returncode, done.stderr) == (0, "")
