"""Results of LiteRT's benchmark_model in a lab of phones: files, sessions of them, the page."""

import shutil

import made_lab as lab
import made_sessions as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.phone.__main__ import main
from autoprune.phone.delegates import Delegated
from autoprune.phone.exported import read_models
from autoprune.phone.lab import companions, read_delegated, read_results
from autoprune.phone.raw import read_run
from autoprune.phone.session import read_session
from stages import run_here

FLAGS = ["--started-at", "2026-11-03T14:05:00+01:00", "--manufacturer", "Google"]
FLAGS += ["--phone", "Pixel 9 Pro", "--tool-version", "2.2.0"]
# two rows of the public board (google-ai-edge/litert-samples, benchmark/leaderboard/data of
# 2026-09-18, MobileNet v2 on a Pixel 9 Pro, processor and GPU), whose files nobody published
CPU = {"median": 9.847, "avg": 9.97905922, "p5": 9.348, "p95": 10.655, "min": 9.009}
CPU |= {"max": 14.822, "stddev": 0.818, "init": 8.001, "first_inference": 11.701}
GPU = {"median": 6.409, "avg": 7.17407131, "p5": 5.566, "p95": 10.153, "min": 5.395}
GPU |= {"max": 14.539, "stddev": 1.696, "init": 259.793, "first_inference": 16.991}
BOARD = {
    "cpu": (CPU, 101, 51, "TfLiteXNNPackDelegate", "xnnpack"),
    "gpu": (GPU, 140, 71, "LITERT_CL", "gpu"),
}


@pytest.mark.parametrize("accelerator", BOARD)
def test_rows_of_the_public_board_come_back(tmp_path, accelerator):
    times, runs, warmup_runs, name, delegate = BOARD[accelerator]
    (tmp_path / "results.pb").write_bytes(lab.results(times, runs, warmup_runs, 13.9759045))
    (tmp_path / "runtime_info.pb").write_bytes(lab.runtime_info(70, {name: 70}))
    found = read_run(tmp_path / "results.pb")
    names = {"avg": "mean", "stddev": "std", "first_inference": "first"}
    for key, value in times.items():
        ours = getattr(found, f"{names.get(key, key)}_ms")
        assert ours == pytest.approx(value, rel=1e-6), key
        if key not in ("avg", "stddev"):
            assert ours == value, key  # microseconds, not the dust of 32 bits
    assert (found.runs, found.warmup_runs) == (runs, warmup_runs)
    assert (found.delegate, found.nodes) == (delegate, (70, 70))
    assert (found.threads, found.graph, found.tool) == (None, None, "litert_benchmark_model")


@given(
    total=st.integers(1, 200),
    shares=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    others=st.integers(0, 3),
)
def test_nodes_are_those_of_the_main_subgraph(tmp_path_factory, total, shares, others):
    """Whoever takes how many: each accelerator's own count, before XNNPACK's, before none."""
    names = ("TfLiteXNNPackDelegate", "LITERT_CL", "DispatchDelegate")
    taken, left = {}, total
    for name, share in zip(names, shares, strict=True):
        taken[name] = round(share * left)
        left -= taken[name]
    path = tmp_path_factory.mktemp("lab") / "runtime_info.pb"
    path.write_bytes(lab.runtime_info(total, {k: v for k, v in taken.items() if v}, others))
    xnnpack, gpu, npu = taken.values()
    kind = "gpu" if gpu >= npu else "npu"
    if gpu or npu:
        expected = Delegated(kind, (max(gpu, npu), total))
    else:
        expected = Delegated("xnnpack", (xnnpack, total)) if xnnpack else Delegated("cpu")
    assert read_delegated(path) == expected


def test_a_delegate_of_another_name_is_not_taken_for_the_processor(tmp_path):
    path = tmp_path / "runtime_info.pb"
    whole = lab.runtime_info(9, {"VendorX": 9})
    for content in (whole, whole.replace(b"VendorX", b"Vendor\xff")):
        path.write_bytes(content)
        assert read_delegated(path) == Delegated(None)


@pytest.mark.parametrize("kind", ["results", "runtime_info"])
def test_a_file_cut_anywhere_is_the_same_or_refused(tmp_path, kind):
    """The one message of runtime info has many parts: what is left of it is no subgraph."""
    whole = lab.results(CPU) if kind == "results" else lab.runtime_info(9, {"LITERT_CL": 7})
    read = read_results if kind == "results" else read_delegated
    path = tmp_path / "x.pb"
    path.write_bytes(whole)
    expected = read(path)
    same, said = 0, set()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        try:
            found = read(path)
        except InputError as error:
            said.add(str(error))
            continue
        assert found == expected
        same += 1
    assert all(text.startswith(f"{path}: ") for text in said)
    assert same <= 2  # of runtime info, without the subgraphs behind the first


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lab.runtime_info(9, {}), "no finished measurement|no BenchmarkResult"),
        (b"", "no finished measurement"),
        (b"INFO: STARTING!\n", "found no BenchmarkResult of LiteRT's"),
        (lab.results(CPU, runs=0), "above 0"),
        (lab.results(CPU | {"median": 20.0}), "median 20 ms is above"),
        (lab.results(CPU | {"median": float("nan")}), "a time is not finite"),
        (lab.results(CPU | {"avg": float("inf")}), "a time is not finite"),
        (lab.results(CPU | {"min": -1.0}), "above 0"),
        (lab.results(CPU, without=("median",)), "no median_ms"),
    ],
)
def test_files_without_a_measurement(tmp_path, content, said):
    path = tmp_path / "results.pb"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_run(path)
    done = run_here("autoprune.phone", "parse", path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"error: {path}: ")


@pytest.mark.parametrize(
    ("results", "info", "log"),
    [
        ("results.pb", "runtime_info.pb", "logcat.txt"),
        ("results.pb", "runtime_info.pb", "stdout.txt"),
        ("results_dense1.pb", "runtime_info_dense1.pb", "dense1.log"),
        ("001-a.results.pb", "001-a.runtime_info.pb", "001-a.log"),
    ],
)
def test_what_lies_beside_results(tmp_path, results, info, log):
    assert companions(tmp_path / results) == (None, None)
    for name in (info, log, "runtime_info_other.pb", "other.log"):
        (tmp_path / name).write_bytes(b"")
    assert companions(tmp_path / results) == (tmp_path / info, tmp_path / log)


def put(folder, run, variant, median_us, delegate="TfLiteXNNPackDelegate", **changes):
    """What a lab hands back of a run: results, runtime info, and the program's output."""
    folder.mkdir(parents=True, exist_ok=True)
    file = made.model(variant, "fp32")["file"]
    log = made.tflite_log(file, median_us, **changes)
    if delegate != "TfLiteXNNPackDelegate":
        log = "".join(line for line in log.splitlines(True) if "XNNP" not in line.upper())
    (folder / f"{run}.log").write_text(log)
    (folder / f"results_{run}.pb").write_bytes(lab.results(lab.times(median_us), warmup_runs=33))
    (folder / f"runtime_info_{run}.pb").write_bytes(lab.runtime_info(10, {delegate: 9}))
    return folder / f"results_{run}.pb"


def import_lab(folder, *results, manifests, flags=()):
    words = ["--session", folder, "--manifests", *manifests, *FLAGS, *flags]
    main(["import-logs", *map(str, [*results, *words])])
    return read_session(folder, read_models(manifests))


@pytest.fixture
def manifests(tmp_path):
    return made.write_manifests(tmp_path / "exports")


@pytest.mark.parametrize(
    ("delegate", "kind"), [("TfLiteXNNPackDelegate", "xnnpack"), ("LITERT_CL", "gpu")]
)
def test_a_session_of_a_lab(tmp_path, manifests, delegate, kind):
    """ABBA on one phone: the session is whole without the lab's files."""
    runs = [("dense", 2000), ("pruned", 800), ("pruned", 810), ("dense", 2010)]
    results = [
        put(tmp_path / "lab", f"{variant}{n}", variant, us, delegate)
        for n, (variant, us) in enumerate(runs)
    ]
    import_lab(tmp_path / "s", *results, manifests=manifests)
    shutil.rmtree(tmp_path / "lab")
    session = read_session(tmp_path / "s", read_models(manifests))
    assert session.failed == []
    assert [(r["variant"], r["repeat"], r["median_ms"]) for r in session.rows] == [
        *(("dense", 1, 2.0), ("pruned", 1, 0.8), ("pruned", 2, 0.81), ("dense", 2, 2.01)),
    ]
    for row in session.rows:
        assert (row["delegate"], row["nodes_delegated"], row["nodes_total"]) == (kind, 9, 10)
        assert (row["threads"], row["runs"], row["warmup_runs"]) == (1, 200, 33)
        assert row["raw_log"].endswith(".results.pb")
        assert (tmp_path / "s" / row["raw_log"]).exists()
        assert row.flags == []


def test_results_alone_take_flags_for_what_they_do_not_know(tmp_path, manifests):
    results = put(tmp_path / "lab", "a", "dense", 2000)
    (tmp_path / "lab/a.log").unlink()
    with pytest.raises(InputError, match="does not name its model; give it as --log-of"):
        import_lab(tmp_path / "s", results, manifests=manifests)
    named = ["--log-of", made.model("dense", "fp32")["model_id"], str(results)]
    with pytest.raises(InputError, match="does not say it: give --threads"):
        import_lab(tmp_path / "s", manifests=manifests, flags=named)
    (tmp_path / "lab/runtime_info_a.pb").unlink()
    with pytest.raises(InputError, match="does not name its delegate: give --delegate"):
        import_lab(tmp_path / "s", manifests=manifests, flags=[*named, "--threads", "1"])
    flags = [*named, "--threads", "1", "--delegate", "gpu"]
    (row,) = import_lab(tmp_path / "s", manifests=manifests, flags=flags).rows
    assert row.flags == ["nodes_unknown"]


def test_files_of_two_runs_are_not_one(tmp_path, manifests):
    results = put(tmp_path / "lab", "a", "dense", 2000)
    put(tmp_path / "other", "a", "dense", 2100, "LITERT_CL")
    shutil.copy(tmp_path / "other/a.log", tmp_path / "lab/a.log")
    with pytest.raises(InputError, match=r"median_ms is 2, .*a\.log says 2\.1"):
        import_lab(tmp_path / "s", results, manifests=manifests)
    put(tmp_path / "lab", "a", "dense", 2000)
    shutil.copy(tmp_path / "other/runtime_info_a.pb", tmp_path / "lab/runtime_info_a.pb")
    with pytest.raises(InputError, match=r"nodes were taken by gpu, .*a\.log says xnnpack"):
        import_lab(tmp_path / "s", results, manifests=manifests)
    (tmp_path / "lab/a.log").write_text("")
    with pytest.raises(InputError, match=r"a\.log: no line of a known tool"):
        import_lab(tmp_path / "s", results, manifests=manifests)


def test_a_model_of_another_size_is_another_model(tmp_path, manifests):
    """The results have the size of the file that was measured."""
    file = manifests[0].parent / made.model("dense", "fp32")["file"]
    file.write_bytes(b"x" * 21_600)
    results = put(tmp_path / "lab", "a", "dense", 2000)
    for size, fits in ((0.0216, True), (0.0108, False)):
        content = lab.results(lab.times(2000), warmup_runs=33, size_mb=size)
        results.write_bytes(content)
        if fits:
            import_lab(tmp_path / "s", results, manifests=manifests)
        else:
            with pytest.raises(InputError, match=r"of a model of 0\.0108 MB, but .* has 0\.0216"):
                import_lab(tmp_path / "t", results, manifests=manifests)


def test_a_results_file_that_was_changed_is_refused(tmp_path, manifests):
    results = put(tmp_path / "lab", "a", "dense", 2000)
    folder = import_lab(tmp_path / "s", results, manifests=manifests).folder
    (row,) = made.read_csv(folder)
    (folder / row["raw_log"]).write_bytes(lab.results(lab.times(1900)))
    with pytest.raises(InputError, match="raw_log_sha256: found"):
        read_session(folder, {})
    info = folder / row["raw_log"].replace("results", "runtime_info")
    shutil.copy(results, folder / row["raw_log"])
    info.write_bytes(lab.runtime_info(10, {"TfLiteXNNPackDelegate": 4}))
    with pytest.raises(InputError, match="nodes_delegated: found 9, expected 4 as in the log"):
        read_session(folder, {})
