"""Stage: a trained network as files for devices, checked against PyTorch, with a manifest."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoprune import exports
from autoprune.complexity import complexity
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.errors import InputError, run_main
from autoprune.federation.training import to_input
from autoprune.files import read_json, sha256_file, write_json
from autoprune.models import Architecture, build, load_state
from autoprune.models.layers import Network
from autoprune.pruning.rounding import DIRECTIONS, round_widths
from autoprune.seeds import generator
from autoprune.weights import load_weights

SCHEMA_VERSION = 1
CALIBRATION = 128  # training images; more change no range by much
COMPARED = 256  # test images on which an exported network is held against PyTorch
BATCH = 256
TOLERANCE = 1e-4  # of the largest |logit|: float32 sums in another order


def calibration_rows(partition: Partition, seed: int) -> np.ndarray:
    """Rows (n,) of training images of the partition's clients, drawn by seed; no test image."""
    rows = np.concatenate([partition.indices(client) for client in range(partition.clients)])
    stream = generator(seed, "calibration")
    return np.sort(stream.choice(rows, min(CALIBRATION, len(rows)), replace=False))


def accuracy(infer: Callable[[np.ndarray], np.ndarray], store: ClientStore, target: str) -> float:
    """Test accuracy (fraction) of an exported file, on its engine."""
    rows, right = store.rows("test"), 0
    labels = store.labels[rows, store.target_column(target)]
    images = store.images[rows]
    for start in range(0, len(labels), BATCH):
        part = slice(start, start + BATCH)
        found = exports.logits(infer, to_input(np.array(images[part]), store.pixel_range).numpy())
        right += int((found.argmax(1) == labels[part]).sum())
    return right / len(labels)


def trained(
    run: Path, multiple: int | None, direction: str
) -> tuple[Architecture, Network, dict[str, Any]]:
    """A finished run's network, its widths rounded to ``multiple`` where given, and its run.json.

    Raises InputError when the run is not whole or has no plan to round by.
    """
    about = read_json(run / "run.json")
    architecture, state, _ = load_weights(run / "weights.safetensors")
    if multiple is None:
        network = build(architecture)
        load_state(network, state)
        return architecture, network.eval(), about
    plan, seed = read_json(run / "plan.json"), int(about["seed"])
    rounded, network = round_widths(architecture, state, plan, seed, multiple, direction)
    return rounded, network.eval(), about


def export(
    run: Path,
    store: ClientStore,
    partition: Partition,
    target: str,
    output: Path,
    *,
    format_name: str = "onnx",
    multiple: int | None = None,
    direction: str = "nearest",
) -> None:
    """Write NAME-fp32, NAME-int8 and manifest.json of a finished run into ``output``.

    Raises InputError when the run is not whole, the format's packages are absent, or the float32
    file does not compute what PyTorch does.
    """
    files = exports.load(format_name)
    architecture, network, about = trained(run, multiple, direction)
    name = "-".join(str(about[k]) for k in ("dataset", "model", "method", "variant"))
    name += f"-s{about['seed']}" + (f"-r{multiple}" if multiple else "")
    fp32, int8 = (output / f"{name}-{kind}.{format_name}" for kind in ("fp32", "int8"))
    files.export_fp32(network, architecture.input_shape, fp32)
    drawn = np.array(store.images[calibration_rows(partition, int(about["seed"]))])
    calibration = to_input(drawn, store.pixel_range).numpy()
    files.export_int8(network, architecture.input_shape, calibration, int8)

    images = to_input(np.array(store.images[store.rows("test")][:COMPARED]), store.pixel_range)
    with torch.no_grad():
        expected = network(images).numpy()
    rounding = {"round_widths_to": multiple, "round_widths": direction if multiple else None}
    facts = network_facts(architecture, about, files.LAYOUT) | rounding
    models = []
    for path, precision in ((fp32, "fp32"), (int8, "int8")):
        infer = files.infer(path)
        agreement = compared(path, exports.logits(infer, images.numpy()), expected, precision)
        model = {"model_id": path.name, "file": path.name, "sha256": sha256_file(path)}
        model |= {"format": format_name, "precision": precision, **facts}
        models.append(model | {"test_accuracy": accuracy(infer, store, target), **agreement})
    package, version = exports.engine(format_name)
    made = {"code": about["code"], "engine": package, "engine_version": version}
    write_json(
        output / "manifest.json", {"schema_version": SCHEMA_VERSION, **made, "models": models}
    )


def compared(
    path: Path, found: np.ndarray, expected: np.ndarray, precision: str
) -> dict[str, float | None]:
    """How far logits (image, class) of a file are from PyTorch's; InputError if fp32 is too far."""
    difference = float(np.abs(found - expected).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if precision == "fp32" and not difference <= allowed:
        raise InputError(
            f"{path}: differs from PyTorch by {difference:.3g} on {len(expected)} test images, "
            f"expected at most {allowed:.3g}; do not use it"
        )
    return {
        "argmax_agreement": float((found.argmax(1) == expected.argmax(1)).mean()),
        "max_abs_difference": difference,
        "tolerance": allowed if precision == "fp32" else None,
    }


def network_facts(architecture: Architecture, about: dict[str, Any], layout: str) -> dict[str, Any]:
    """What a manifest says of a network and of the run that it comes from."""
    counts = complexity(architecture)
    channels, height, width = architecture.input_shape
    sides = [height, width, channels] if layout == "NHWC" else [channels, height, width]
    return {
        "variant": "dense" if about["method"] == "dense" else "pruned",
        **{key: about[key] for key in ("dataset", "data_kind", "stands_for", "model", "method")},
        "run_variant": about["variant"],
        "seed": int(about["seed"]),
        "family": architecture.family,
        "widths": list(architecture.widths),
        "parameters": counts["parameters"],
        "macs": counts["macs"],
        "input_layout": layout,
        "input_shape": [1, *sides],
    }


def main(argv: Sequence[str] | None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="autoprune.export", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--store", required=True, help="folder of the client store")
    parser.add_argument("--partition", required=True, help="folder of the partition: calibration")
    parser.add_argument("--target", required=True, help="what is predicted")
    parser.add_argument(
        "--format", default="onnx", help="onnx, tflite or pte (default: %(default)s)"
    )
    parser.add_argument(
        "--round-widths-to", type=int, metavar="K", help="kept widths become multiples of K"
    )
    parser.add_argument("--round-widths", default="nearest", help=f"{', '.join(DIRECTIONS)}")
    parser.add_argument("--output", type=Path, required=True, help="folder of the files")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    store, partition = ClientStore.open(args.store), Partition.open(args.partition)
    rounding = {"multiple": args.round_widths_to, "direction": args.round_widths}
    where = {"format_name": args.format, "output": args.output}
    export(args.run, store, partition, args.target, **where, **rounding)


if __name__ == "__main__":
    run_main(main)
