"""The result files of LiteRT's benchmark_model, which labs of phones hand back: times and nodes.

``--result_file_path`` writes a tflite.tools.benchmark.BenchmarkResult,
``--model_runtime_info_output_file`` a tflite.profiling.ModelRuntimeDetails. Of both, the fields
used here are as in google-ai-edge/LiteRT at f677457 (August 2026),
tflite/tools/benchmark/proto/benchmark_result.proto and
tflite/profiling/proto/model_runtime_info.proto; others are skipped, as protocol buffers do. The
names that the files have are those of google-ai-edge/litert-samples, benchmark/ at 187fde0.
"""

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from autoprune.core.errors import InputError
from autoprune.phone.delegates import Delegated, delegated, kind
from autoprune.phone.measurement import Figure, Measurement, measurement

# message: field: number, type; a type that is a message's name is that message, * is repeated
SCHEMA = {
    "LatencyMetrics": {
        **{"avg_ms": (1, "float"), "min_ms": (2, "float"), "max_ms": (3, "float")},
        **{"stddev_ms": (4, "float"), "median_ms": (5, "float"), "p5_ms": (6, "float")},
        **{"p95_ms": (7, "float"), "init_ms": (8, "float"), "first_inference_ms": (9, "float")},
    },
    "MiscMetrics": {
        **{"model_size_mb": (1, "float"), "num_runs": (2, "int32")},
        "num_warmup_runs": (3, "int32"),
    },
    "BenchmarkResult": {
        "latency_metrics": (2, "LatencyMetrics"),
        "misc_metrics": (4, "MiscMetrics"),
    },
    "DelegateNodeDetails": {
        "delegate_name": (1, "bytes"),  # a string, which need not be text in a damaged file
        "tflite_node_ids_replaced": (2, "int32*"),
    },
    "Node": {"id": (1, "int32"), "delegate_node_details": (8, "DelegateNodeDetails")},
    "RuntimeSubgraph": {
        **{"subgraph_id": (1, "int32"), "nodes": (3, "Node*")},
        "subgraph_type": (5, "int32"),  # an enum, whose numbers are int32
    },
    "ModelRuntimeDetails": {"subgraphs": (2, "RuntimeSubgraph*")},
}
NAMES = {"mean": "avg_ms", "std": "stddev_ms", "first": "first_inference_ms"}
TIMES = ("median", "mean", "min", "max", "std", "p5", "p95", "init", "first")
DELEGATES_OWN = 2  # subgraph_type of a delegate's own subgraph, whose nodes are not the model's
# of a results file, its runtime info and its logs, as the lab's tools and our sessions name them
COMPANIONS = (
    (re.compile(r"results\.pb$"), ("runtime_info.pb",), ("stdout.txt", "logcat.txt")),
    (re.compile(r"results_(.+)\.pb$"), (r"runtime_info_\1.pb",), (r"\1.log",)),
    (re.compile(r"(.+)\.results\.pb$"), (r"\1.runtime_info.pb",), (r"\1.log",)),
)


@cache
def _message(name: str) -> Any:
    """The class of a message of SCHEMA."""
    file = descriptor_pb2.FileDescriptorProto(name="lab.proto", package="lab", syntax="proto2")
    for message, fields in SCHEMA.items():
        made = file.message_type.add(name=message)
        for field, (number, written) in fields.items():
            one = made.field.add(name=field, number=number)
            of = written.removesuffix("*")
            one.label = one.LABEL_REPEATED if of != written else one.LABEL_OPTIONAL
            if of in SCHEMA:
                one.type, one.type_name = one.TYPE_MESSAGE, f".lab.{of}"
            else:
                one.type = one.Type.Value(f"TYPE_{of.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"lab.{name}"))


def _decoded(path: Path, name: str) -> Any:
    try:
        return _message(name).FromString(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except DecodeError:
        raise InputError(
            f"{path}: found no {name} of LiteRT's, or half of one; fetch it again"
        ) from None


def companions(results: Path) -> tuple[Path | None, Path | None]:
    """The runtime info and the log that lie beside a results file; None for what is not there."""
    for pattern, *kinds in COMPANIONS:
        if pattern.match(results.name):
            found = ((results.with_name(pattern.sub(n, results.name)) for n in of) for of in kinds)
            info, log = (next((path for path in paths if path.is_file()), None) for paths in found)
            return info, log
    return None, None


def read_results(path: Path) -> Measurement:
    """The measurement of a results file, which knows no threads and no model.

    Raises InputError for a file that is none, that was cut off, or whose figures make no sense.
    """
    result = _decoded(path, "BenchmarkResult")
    latency, misc = result.latency_metrics, result.misc_metrics
    if not (latency.HasField("median_ms") and misc.HasField("num_runs")):
        raise InputError(f"{path}: no finished measurement: no median_ms or num_runs; run it again")
    values = {key: getattr(latency, NAMES.get(key, f"{key}_ms")) for key in TIMES}
    if not all(map(math.isfinite, values.values())):
        raise InputError(f"{path}: a time is not finite; run it again")
    given = {key for key in TIMES if latency.HasField(NAMES.get(key, f"{key}_ms"))}
    return measurement(
        str(path),
        {key: _figure(values[key]) for key in TIMES if key in given},
        tool="litert_benchmark_model",
        runs=misc.num_runs,
        threads=None,
        graph=None,
        warmup_runs=misc.num_warmup_runs or None,
        size_mb=_figure(misc.model_size_mb) if misc.model_size_mb > 0 else None,
    )


def _figure(value: float) -> Figure:
    """A float of 32 bits, which has seven digits, without the dust behind them."""
    return Figure(float(f"{value:.7g}"), abs(value) * 2e-7)


def read_delegated(path: Path) -> Delegated:
    """Which delegate took how many nodes of the model's main subgraph; InputError without one."""
    details = _decoded(path, "ModelRuntimeDetails")
    main = [
        graph
        for graph in details.subgraphs
        if graph.subgraph_id == 0 and graph.subgraph_type != DELEGATES_OWN
    ]
    if len(main) != 1 or not main[0].nodes:
        raise InputError(f"{path}: found no main subgraph with nodes; fetch it again")
    taken: dict[str | None, int] = {}
    own = 0
    for node in main[0].nodes:
        if node.HasField("delegate_node_details"):
            own += 1
            about = node.delegate_node_details
            name = kind(about.delegate_name.decode(errors="replace"))
            taken[name] = taken.get(name, 0) + len(about.tflite_node_ids_replaced)
    return delegated(taken, len(main[0].nodes) - own)
