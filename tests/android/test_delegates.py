"""What computed a network: GPU, NNAPI and NPU are believed only where the log says so."""

import itertools

import made_sessions as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.phone.__main__ import main
from autoprune.phone.delegates import LABELS, Delegated, kind, of_log, of_placements
from autoprune.phone.exported import read_models
from autoprune.phone.logs import parse
from autoprune.phone.raw import read_log, read_run
from autoprune.phone.session import read_session

XNNPACK = (
    "Replacing {0} out of {1} node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 "
    "partitions for subgraph 0."
)
GPU = XNNPACK.replace("TfLiteXNNPackDelegate", "TfLiteGpuDelegateV2")
WHOLE = "Explicitly applied {} delegate, and the model graph will be completely executed by the "
WHOLE += "delegate."
PARTLY = WHOLE.replace("completely executed by the delegate.", "partially executed by the delegate")
DECLINED = "Though {} delegate is explicitly applied, the model graph will not be executed by the "
DECLINED += "delegate."
FAILED = [
    "Use gpu: [1]",
    "Created TensorFlow Lite delegate for GPU.",
    "Following operations are not supported by GPU delegate:",
    XNNPACK.format(9, 9),
]
SAID = {
    "the GPU took all": ([GPU.format(9, 9), WHOLE.format("GPU")], Delegated("gpu", (9, 9))),
    "it took some, XNNPACK others": (
        [GPU.format(7, 9), PARTLY.format("GPU"), XNNPACK.format(2, 3)],
        Delegated("gpu", (7, 9)),
    ),
    "it took none": (FAILED, Delegated("xnnpack", (9, 9))),
    "it took some, then failed": (
        [
            GPU.format(7, 9),
            "Restored original execution plan after delegate application failure.",
            XNNPACK.format(9, 9),
        ],
        Delegated("xnnpack", (9, 9)),
    ),
    "it failed, nothing else is said": (["Failed to apply GPU delegate."], Delegated("cpu")),
    "NNAPI took none": (["Use NNAPI: [1]", DECLINED.format("NNAPI")], Delegated("cpu")),
    "NNAPI took none, XNNPACK some": (
        ["Use NNAPI: [1]", DECLINED.format("NNAPI"), XNNPACK.format(8, 9)],
        Delegated("xnnpack", (8, 9)),
    ),
    "applied, without a count of nodes": (["Use gpu: [1]", WHOLE.format("GPU")], Delegated("gpu")),
    "of an older version": (
        ["Replacing 9 node(s) with delegate (TfLiteNnapiDelegate) node, yielding 1 partitions."],
        Delegated("nnapi"),
    ),
    "of other subgraphs, too": (
        [GPU.format(9, 9), XNNPACK.format(90, 99).replace("subgraph 0", "subgraph 1")],
        Delegated("gpu", (9, 9)),
    ),
    "a delegate of a vendor": (
        [GPU.format(9, 9).replace("TfLiteGpuDelegateV2", "VendorX")],
        Delegated(None),
    ),
    "nothing": (["Use gpu: [0]", "Use NNAPI: [0]"], Delegated(None)),
}


@pytest.mark.parametrize("name", SAID)
def test_what_a_log_says(name):
    texts, expected = SAID[name]
    assert of_log(texts) == expected


NAMES = {
    **{"TfLiteXNNPackDelegate": "xnnpack", "TfLiteGpuDelegateV2": "gpu", "LITERT_CL": "gpu"},
    **{"TfLiteNnapiDelegate": "nnapi", "TfLiteHexagonDelegate": "npu", "DispatchDelegate": "npu"},
    **{"TfLiteQnnDelegate": "npu", "TfLiteFlexDelegate": "cpu", "VendorX": None},
    **{"NnapiExecutionProvider": "nnapi", "QNNExecutionProvider": "npu"},
    **{"CPUExecutionProvider": "cpu", "XnnpackExecutionProvider": "xnnpack"},
}


def test_names_of_delegates():
    assert {name: kind(name) for name in NAMES} == NAMES
    assert set(NAMES.values()) - {None} == set(LABELS)


@given(
    gpu=st.integers(0, 50),
    xnnpack=st.integers(0, 50),
    rest=st.integers(0, 50),
    declined=st.booleans(),
)
def test_an_accelerator_that_took_no_node_is_never_the_one(gpu, xnnpack, rest, declined):
    total = gpu + xnnpack + rest
    texts = ["Use gpu: [1]"]
    texts += [GPU.format(gpu, total)] if gpu else []
    texts += [DECLINED.format("GPU")] if declined else []
    texts += [XNNPACK.format(xnnpack, total)] if xnnpack else []
    found = of_log(texts)
    if gpu and not declined:
        assert found == Delegated("gpu", (gpu, total))
    elif xnnpack:
        assert found == Delegated("xnnpack", (xnnpack, total))
    else:
        assert (found.delegate == "gpu") == (not declined)


def test_onnxruntime_says_it_where_it_is_verbose():
    head = "2026-11-05 10:11:12.3 [V:onnxruntime:, session_state.cc:1149 Verify] "
    one = " All nodes placed on [CPUExecutionProvider]. Number of nodes: 12"
    assert of_placements([head + one]) == Delegated("cpu", (12, 12))
    some = [
        f"{head} Node(s) placed on [{name}]. Number of nodes: {number}"
        for name, number in (("CPUExecutionProvider", 4), ("NnapiExecutionProvider", 2))
    ]
    assert of_placements(some) == Delegated("nnapi", (2, 6))
    assert of_placements(["Setting intra_op_num_threads to 1"]) == Delegated(None)


def log_of(texts, file, median_us=2000):
    """A log with these lines in the place of the delegate's."""
    log = made.tflite_log(file, median_us).splitlines()
    head = [line for line in log if "XNNPack" not in line and "XNNPACK" not in line]
    return "\n".join([*head[:3], *(f"INFO: {text}" for text in texts), *head[3:]]) + "\n"


FLAGS = ["--started-at", "2026-11-03T14:05:00+01:00", "--manufacturer", "Google"]
FLAGS += ["--phone", "Pixel 6a", "--tool-version", "2.20.0"]
ASKED = (None, "cpu", "xnnpack", "gpu", "nnapi", "npu")


@pytest.mark.parametrize(("name", "told"), list(itertools.product(SAID, ASKED)))
def test_a_session_has_the_logs_delegate_whatever_is_told(tmp_path, name, told):
    texts, (delegate, nodes) = SAID[name]
    manifests = made.write_manifests(tmp_path / "exports")
    member = made.model("dense", "fp32")
    log = tmp_path / "a.txt"
    log.write_text(log_of(texts, member["file"]))
    words = ["import-logs", str(log), "--session", str(tmp_path / "s"), *FLAGS]
    words += ["--manifests", *map(str, manifests), *(["--delegate", told] if told else [])]
    if told in (None, delegate) or delegate is None or (told, delegate) == ("cpu", "xnnpack"):
        if told is None and delegate is None:
            with pytest.raises(InputError, match="does not name its delegate: give --delegate"):
                main(words)
            return
        main(words)
        (row,) = read_session(tmp_path / "s", read_models(manifests)).rows
        assert row["delegate"] == (delegate or told)
        assert (row["nodes_delegated"], row["nodes_total"]) == (nodes or (None, None))
        unknown = row["delegate"] in ("gpu", "nnapi", "npu") and nodes is None
        assert ("nodes_unknown" in row.flags) == unknown
        return
    with pytest.raises(InputError, match=f"found '{told}', but the log says that '{delegate}' ran"):
        main(words)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (
            {"delegate": "gpu"},
            "delegate: found 'gpu', expected 'xnnpack' as in the log, which took",
        ),
        ({"delegate": "cpu"}, "delegate: found 'cpu', expected 'xnnpack'"),
        ({"nodes_delegated": 8}, "nodes_delegated: found 8, expected 9 as in the log"),
        ({"nodes_total": 11}, "nodes_total: found 11, expected 10 as in the log"),
    ],
)
def test_a_typed_row_agrees_with_its_log(tmp_path, cells, said):
    folder = made.write_session(tmp_path / "s")
    made.change(folder, 2, **cells)
    with pytest.raises(InputError, match=said):
        read_session(folder, {})


def test_other_apps_delegates_in_a_phones_log_are_not_the_runs():
    """Play services run networks too, under the same tag."""
    head = "11-05 10:11:12.345  4321  4321 I tflite  : "
    other = "11-05 10:11:12.345   777   780 I tflite  : " + GPU.format(30, 40)
    mine = [head + line.removeprefix("INFO: ") for line in made.tflite_log("n.tflite").splitlines()]
    found = parse("\n".join([other, *mine[:4], other, *mine[4:], other]), "log")
    assert (found.delegate, found.nodes) == ("xnnpack", (9, 10))
    assert found == parse("\n".join(mine), "log")


def test_a_run_before_the_measurement_is_refused():
    """Its GPU took nodes; the run that ended had none."""
    begun = ["INFO: STARTING!", "INFO: Graph: [/data/n.tflite]", GPU.format(9, 9), "Killed"]
    with pytest.raises(InputError, match="before the measurement another run begins"):
        parse("\n".join([*begun, made.tflite_log("n.tflite")]), "log")


# of each case: median, mean, runs, threads, delegate and nodes; or a part of the refusal
PLAIN = (7.005, 7.02, 140, 2, "xnnpack", (9, 9))
CASES = {
    "executor-qnn.txt": (None, 2.4, 100, None, "npu", None),
    "gpu-failed.txt": (7.005, 7.02, 140, 1, "xnnpack", (9, 9)),
    "gpu-ok.txt": (7.005, 7.02, 140, 1, "gpu", (9, 9)),
    "layout-t-decimal-comma.txt": "decimal commas",
    "nnapi-declined.txt": (7.005, 7.02, 140, 1, "cpu", None),
    "ort-1.13-with-s.txt": (7.8, 7.81438, 640, 1, None, None),
    "ort-old-no-s.txt": "run it again, with -s",
    "two-runs-head-lost.txt": "behind the measurement another run begins",
    "two-runs-second-crashed.txt": "behind the measurement another run begins",
}


def test_logs_as_people_have_them(shared_data):
    """Every file of the folder of cases, by its README; of the layouts all say the same."""
    folder = shared_data.parent / "cases" / "phone-logs"
    if not folder.is_dir():
        pytest.skip(f"no cases in {folder}")
    for path in sorted(folder.iterdir()):
        expected = CASES.get(path.name, PLAIN)
        assert path.name in CASES or path.name.startswith("layout-"), path
        if isinstance(expected, str):
            with pytest.raises(InputError, match=expected):
                read_run(path)
            continue
        found = parse(read_log(path), path.name)
        figures = (found.median_ms, found.mean_ms, found.runs, found.threads)
        assert (*figures, found.delegate, found.nodes) == expected, path
