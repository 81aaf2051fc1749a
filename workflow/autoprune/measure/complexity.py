"""Count parameters, MACs and FLOPs of a network, from its architecture alone."""

import argparse
import csv
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import get_shape
from torch import Tensor, nn

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import read_json, write_json
from autoprune.measure.bops import bops, relative_bops
from autoprune.models import Architecture, build, count_parameters
from autoprune.models.layers import Add, GlobalAveragePool, Network

# fvcore's operators that are multiply-adds. What else it counts (batch norm, average pooling)
# is not, and is left out, so that 1 MAC = 1 multiply-add and nothing more.
MULTIPLY_ADDS = {"conv", "linear", "addmm", "matmul", "bmm", "einsum", "attention"}
# fvcore's operators that it counts, or does not know, and that hold no multiply-add: pooling,
# padding, normalisation, and functions of each element, a product of two tensors among them.
NO_MULTIPLY_ADDS = {
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "avg_pool1d", "avg_pool2d", "max_pool1d"),
    *("max_pool2d", "mean", "constant_pad_nd", "pad", "dropout", "feature_dropout", "unflatten"),
    *("batch_norm", "layer_norm", "group_norm"),
    *("add", "sub", "mul", "div", "sigmoid", "hardsigmoid", "silu", "hardswish", "hardtanh"),
    *("relu", "gelu", "tanh", "elu", "leaky_relu", "prelu", "softmax", "log_softmax", "glu"),
}


def macs(network: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of one forward pass of one image (channels, height, width), by fvcore.

    Biases are not multiply-adds and are not counted. Raises InputError for an operator of
    which it is not known whether it multiplies: a count with a hole would be no count.
    """
    return sum(macs_by_layer(network, input_shape).values())


def macs_by_layer(network: nn.Module, input_shape: tuple[int, int, int]) -> dict[str, int]:
    """``macs`` by the layer that does them, under "" those of no layer, such as attention's."""
    analysis = _analysis(network, input_shape)
    counted = analysis.by_operator()
    seen = set(counted) | {name.removeprefix("aten::") for name in analysis.unsupported_ops()}
    # one that works in place has the name of the other with a line behind it
    unknown = sorted({name.removesuffix("_") for name in seen} - MULTIPLY_ADDS - NO_MULTIPLY_ADDS)
    if unknown:
        raise InputError(
            f"complexity: fvcore met the operators {', '.join(unknown)}, of which it is not known "
            "whether they multiply; name them in complexity.py"
        )
    found = {
        name: int(sum(n for operator, n in of.items() if operator in MULTIPLY_ADDS))
        for name, of in analysis.by_module_and_operator().items()
    }
    layers = [name for name, module in network.named_modules() if not any(module.children())]
    by_layer = {name: found[name] for name in layers if found[name]}
    outside = found[""] - sum(by_layer.values())
    return by_layer | ({"": outside} if outside else {})


def _attention(inputs: Sequence[Any], _: Sequence[Any]) -> Counter[str]:
    """Queries by keys and shares by values, (..., step, row) each, and the softmax between."""
    queries, keys, values = (get_shape(part) for part in inputs[:3])
    shares = math.prod(queries[:-1]) * keys[-2]
    return Counter({"attention": shares * (keys[-1] + values[-1]), "softmax": 5 * shares})


def _analysis(network: nn.Module, input_shape: tuple[int, int, int]) -> FlopCountAnalysis:
    """fvcore's counts, and of a softmax 5 an element."""
    analysis = FlopCountAnalysis(network.eval(), torch.zeros(1, *input_shape))
    analysis.set_op_handle("aten::softmax", lambda _, found: 5 * math.prod(get_shape(found[0])))
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention)
    # its two kinds of warning are handled here: unknown operators become an error in ``macs``, and
    # modules that are never called do not occur in a network that is one forward pass
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    return analysis


def flops_tf_profiler(network: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """FLOPs of one image as TensorFlow's profiler counts them (method.md, the authors' figures).

    2 a multiply-add, of convolutions, linear layers and of products of no layer, as attention's; 1
    a bias of a layer and output element; max pool: its window an output element; global average
    pool: 1 an input element; residual sum: 1 an element; softmax: 5 a class, and an element inside
    the network; ReLU, other functions of each element and norms: 0. Raises InputError for a layer
    of another kind.
    """
    counted = _analysis(network, input_shape).by_operator()
    total = int(2 * sum(counted[name] for name in MULTIPLY_ADDS) + counted["softmax"])

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        match module:
            case nn.Conv1d() | nn.Conv2d() | nn.Conv3d() | nn.Linear():
                total += (module.bias is not None) * output.numel()
            case nn.MaxPool1d() | nn.AvgPool1d():
                total += _area(module.kernel_size, 1) * output.numel()
            case nn.MaxPool2d() | nn.AvgPool2d():
                total += _area(module.kernel_size, 2) * output.numel()
            case GlobalAveragePool():
                total += inputs[0].numel()
            case Add():
                total += output.numel()
            case nn.AdaptiveAvgPool1d() | nn.AdaptiveAvgPool2d():
                total += inputs[0].numel()
            case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d() | nn.LayerNorm():
                pass
            case nn.Flatten():
                pass
            case _ if not list(module.parameters()) and inputs[0].numel() <= output.numel():
                pass  # a function of each element, as ReLU is
            case _:
                raise InputError(
                    f"complexity: no FLOP rule for a layer {type(module).__name__}; "
                    "add it to flops_tf_profiler in complexity.py"
                )

    leaves = [m for m in network.modules() if next(m.children(), None) is None]
    hooks = [m.register_forward_hook(count) for m in leaves]
    try:
        with torch.no_grad():
            logits = network.eval()(torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return total + 5 * logits.numel()


def _area(window: int | tuple[int, ...], dimensions: int) -> int:
    """The elements of a pooling window, as a side or as sides."""
    return window**dimensions if isinstance(window, int) else math.prod(window)


def complexity(
    architecture: Architecture, quantised: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All counts of an architecture; keys as in the tidy metrics.

    Of a network whose weights are ``quantised`` (``weight_bits`` by layer, and the ``base_widths``
    that it came from) the bit operations too.
    """
    network: Network = build(architecture)
    trainable, with_statistics = count_parameters(network)
    by_layer = macs_by_layer(network, architecture.input_shape)
    return {
        **architecture.to_json(),
        "parameters": trainable,
        "parameters_with_statistics": with_statistics,
        "macs": sum(by_layer.values()),
        "flops_tf_profiler": flops_tf_profiler(network, architecture.input_shape),
        **(_bit_operations(architecture, by_layer, quantised) if quantised else {}),
    }


def _bit_operations(
    architecture: Architecture, by_layer: Mapping[str, int], quantised: Mapping[str, Any]
) -> dict[str, float]:
    base = build(architecture.with_widths(quantised["base_widths"]))
    found = bops(by_layer, quantised["weight_bits"])
    share = relative_bops(found, macs(base, architecture.input_shape))
    return {"bops": found, "relative_bops": share}


def published_counts(path: str) -> list[dict[str, Any]]:
    """Counts of each distinct architecture in published.tsv, with the data set's name.

    Rows without widths are left out: their network is not known.
    """
    with open(path, encoding="utf-8-sig", newline="") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["widths"]]
    found = {}
    for row in rows:
        architecture = Architecture(
            row["model"],
            tuple(int(w) for w in row["widths"].split()),
            tuple(int(n) for n in row["input_shape"].split()),  # type: ignore[arg-type]
            int(row["classes"]),
        )
        found[row["dataset"], architecture] = {
            "dataset": row["dataset"],
            "model": row["model"],
        }
    return [{**names, **complexity(architecture)} for (_, architecture), names in found.items()]


def main(argv: Sequence[str] | None) -> None:
    """The command: counts of widths given as flags, or of a run's architecture.json."""
    parser = argparse.ArgumentParser(prog="autoprune.measure.complexity", description=__doc__)
    parser.add_argument("--family")
    parser.add_argument("--widths", type=int, nargs="+", help="filters a prunable convolution")
    parser.add_argument(
        "--input-shape", type=int, nargs=3, metavar=("CHANNELS", "HEIGHT", "WIDTH"), help="pixels"
    )
    parser.add_argument("--classes", type=int)
    parser.add_argument(
        "--architecture", nargs="+", help="architecture.json of runs, instead of the above"
    )
    parser.add_argument("--published", help="published.tsv: count each network it gives widths of")
    parser.add_argument(
        "--output", nargs="+", help="JSON files, one a network; without them counts go to stdout"
    )
    args = parser.parse_args(argv)
    by_hand = [args.family, args.widths, args.input_shape, args.classes]
    if args.architecture is None and args.published is None and None in by_hand:
        raise InputError(
            "complexity: give --architecture, --published, or all of --family --widths "
            "--input-shape --classes"
        )
    # fvcore logs each operator it does not know; macs() turns what matters into an error
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    if args.published:
        counts: list[Any] = [published_counts(args.published)]
    elif args.architecture:
        written = [(path, read_json(path)) for path in args.architecture]
        counts = [
            complexity(Architecture.from_json(value, path), value.get("quantised"))
            for path, value in written
        ]
    else:
        counts = [
            complexity(
                Architecture(args.family, tuple(args.widths), tuple(args.input_shape), args.classes)
            )
        ]
    if not args.output:
        for count in counts:
            print(json.dumps(count))
        return
    if len(args.output) != len(counts):
        raise InputError(
            f"--output: found {len(args.output)} files for {len(counts)} networks; "
            "give one a network"
        )
    for path, count in zip(args.output, counts, strict=True):
        write_json(path, count)


if __name__ == "__main__":
    run_main(main)
