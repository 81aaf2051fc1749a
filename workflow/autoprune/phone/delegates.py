"""Delegates: the part of a phone that computes a network, and what a log says took its nodes."""

import re
from collections.abc import Iterable
from typing import NamedTuple

PROCESSOR = ("cpu", "xnnpack")
ACCELERATORS = ("gpu", "nnapi", "npu")
LABELS = {"cpu": "CPU", "xnnpack": "XNNPACK", "gpu": "GPU", "nnapi": "NNAPI", "npu": "NPU"}
# by a part of the name that a runtime gives a delegate, such as TfLiteGpuDelegateV2, LITERT_CL,
# DispatchDelegate (LiteRT's for NPUs), NnapiExecutionProvider
KINDS = {
    **{"xnnpack": "xnnpack", "nnapi": "nnapi", "cpuexecution": "cpu", "flex": "cpu"},
    **dict.fromkeys(("gpu", "litert_cl", "litert_gl", "opencl", "mldrift"), "gpu"),
    **dict.fromkeys(("dispatch", "hexagon", "qnn", "neuron", "edgetpu", "npu"), "npu"),
}

# TensorFlow Lite's and LiteRT's; "out of" since 2.5, "for subgraph" since 2.13
REPLACING = re.compile(
    r"^Replacing (\d{1,9})(?: out of (\d{1,9}))? node\(s\) with delegate \(([^)]*)\) node"
    r"(?:.* for subgraph (\d+))?"
)
RESTORED = re.compile(r"^Restored original execution plan after delegate application failure")
DECLINED = re.compile(
    r"^Though (\w+) delegate is explicitly applied, the model graph will not be executed"
    r"|^Failed to apply (\w+) delegate"
)
APPLIED = re.compile(
    r"^Explicitly applied (\w+) delegate, and the model graph will be (?:compl|part)"
)
ASKED = re.compile(r"^Use (gpu|NNAPI): \[(?:1|true)\]$")
# ONNX Runtime's, of a verbose log (onnxruntime_perf_test -v); session_state.cc
PLACED = re.compile(r"(?:All nodes|Node\(s\)) placed on \[(\w+)\]\. Number of nodes: (\d{1,9})")


class Delegated(NamedTuple):
    """Who computed a network: one of LABELS, None if unknown; of its nodes how many of how many."""

    delegate: str | None
    nodes: tuple[int, int] | None = None


def kind(name: str) -> str | None:
    """Which of LABELS a runtime's name of a delegate is; None for one that is not known."""
    plain = name.lower()
    return next((found for part, found in KINDS.items() if part in plain), None)


def delegated(taken: dict[str | None, int], total: int | None) -> Delegated:
    """Who computed, by the nodes that each kind took: an accelerator that has any comes first,
    then what is not known by name, XNNPACK, the CPU."""
    for one in (
        *sorted(ACCELERATORS, key=lambda name: -taken.get(name, 0)),
        None,
        "xnnpack",
        "cpu",
    ):
        if taken.get(one):
            return Delegated(one, (taken[one], total) if one and total is not None else None)
    return Delegated("cpu")


def of_log(texts: Iterable[str]) -> Delegated:
    """What the lines of TensorFlow Lite or LiteRT say; no line that says it, no delegate.

    A delegate that was asked for, and that the log does not say took any node, is not the one.
    """
    taken: dict[str | None, int] = {}
    total: int | None = None
    declined, applied, asked = set(), set(), set()
    for text in texts:
        if (found := REPLACING.match(text)) and found[4] in (None, "0"):
            name = kind(found[3])
            taken[name] = taken.get(name, 0) + int(found[1])
            if total is None and found[2] is not None:
                total = int(found[2])
        elif RESTORED.match(text):
            taken, total = {}, None
        elif found := DECLINED.match(text):
            declined.add(kind(found[1] or found[2]))
        elif found := APPLIED.match(text):
            applied.add(kind(found[1]))
        elif found := ASKED.match(text):
            asked.add(kind(found[1]))
    taken = {name: number for name, number in taken.items() if name not in declined}
    if taken:
        return delegated(taken, total)
    said = (applied or asked) - declined - {None}
    if len(said) == 1:
        return Delegated(said.pop())
    return Delegated("cpu" if declined else None)


def of_placements(texts: Iterable[str]) -> Delegated:
    """What a verbose log of ONNX Runtime says; no delegate where it was not verbose."""
    placed = [match for match in map(PLACED.search, texts) if match]
    taken: dict[str | None, int] = {}
    for match in placed:
        name = kind(match[1])
        taken[name] = taken.get(name, 0) + int(match[2])
    return delegated(taken, sum(taken.values())) if placed else Delegated(None)
