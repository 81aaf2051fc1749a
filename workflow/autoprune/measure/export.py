"""Stage: a trained network as files for devices, checked against PyTorch, with a manifest."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import check_noted, read_json, sha256_file, whole_folder, write_json
from autoprune.core.seeds import generator
from autoprune.core.tasks import TOGETHER, worded
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation.tasks import Task, task_of
from autoprune.federation.training import to_input
from autoprune.measure import formats as exports
from autoprune.measure.complexity import complexity
from autoprune.measure.program import save_program
from autoprune.models import Architecture
from autoprune.models.layers import Network
from autoprune.models.weights import load_network
from autoprune.pruning.record import read_plan
from autoprune.pruning.rounding import DIRECTIONS, round_widths

SCHEMA_VERSION = 1
PRECISIONS = ("fp32", "int8")
CALIBRATION = 128  # training images; more change no range by much
COMPARED = 256  # test images on which an exported network is held against PyTorch
BATCH = 256
TOLERANCE = 1e-4  # of the largest |logit|: float32 sums in another order


def calibration_rows(partition: Partition, seed: int) -> np.ndarray:
    """Rows (n,) of training images of the partition's clients, drawn by seed; no test image."""
    rows = np.concatenate([partition.indices(client) for client in range(partition.clients)])
    stream = generator(seed, "calibration")
    return np.sort(stream.choice(rows, min(CALIBRATION, len(rows)), replace=False))


def accuracy(infer: Callable[[np.ndarray], np.ndarray], store: ClientStore, task: Task) -> float:
    """Test accuracy (fraction) of an exported file on its engine, or its task's score."""
    rows, found = store.rows("test"), []
    for first in range(rows.start, rows.stop, BATCH):
        images = _images(store, slice(first, min(first + BATCH, rows.stop)))
        found.append(exports.logits(infer, images.numpy()))
    right = task.right(np.concatenate(found), task.labels(rows))
    return float(right.sum() / len(right))


def trained(
    run: Path, seed: int, multiple: int | None, direction: str
) -> tuple[Architecture, Network]:
    """A finished run's network, its widths rounded to ``multiple`` where given.

    Raises InputError when the run is not whole or has no plan to round by.
    """
    architecture, network = load_network(check_noted(run / "weights.safetensors"))
    if multiple is not None:
        plan, state = read_plan(run / "plan.json"), network.state_dict()
        architecture, network = round_widths(architecture, state, plan, seed, multiple, direction)
    return architecture, network.eval()


def export(
    run: Path,
    store: ClientStore,
    partition: Partition,
    target: str,
    output: Path,
    *,
    format_name: str = "onnx",
    multiples: Sequence[int] = (),
    direction: str = "nearest",
) -> None:
    """Write a finished run's network, and its variants with widths rounded to ``multiples``.

    Each into a folder of ``output`` of its own, FORMAT or FORMAT-rMULTIPLE, as NAME-fp32, NAME-int8
    and manifest.json, and as NAME.pt2, which plain PyTorch loads. Raises InputError when the run is
    not whole, the format's packages are absent, or a float32 file does not compute what PyTorch
    does; that variant is not written then.
    """
    files = exports.load(format_name)
    about = read_json(run / "run.json")
    package, version = exports.engine(format_name)
    made = {
        "schema_version": SCHEMA_VERSION,
        "code": about["code"],
        "weights_sha256": sha256_file(run / "weights.safetensors"),
        "engine": package,
        "engine_version": version,
    }
    seed = int(about["seed"])
    task = task_of(about.get("settings", {}).get("task", "multi-class"), store, target)
    said = f"test_{task.score}"
    # all of them first: what cannot be rounded is said before anything is written
    variants = {m: trained(run, seed, m, direction) for m in (None, *multiples)}
    calibration = _images(store, calibration_rows(partition, seed)).numpy()
    test = store.rows("test")
    compared_on = _images(store, slice(test.start, min(test.start + COMPARED, test.stop)))
    for multiple, (architecture, network) in variants.items():
        suffix = f"-r{multiple}" if multiple else ""
        name = "-".join(str(about[key]) for key in ("dataset", "model", "method", "variant"))
        name += f"-s{seed}{suffix}"
        facts = {"format": format_name, **network_facts(architecture, about, files.LAYOUT)}
        facts |= task.facts() if task.name != "multi-class" else {}
        facts |= {"round_widths_to": multiple, "round_widths": direction if multiple else None}
        with torch.no_grad():
            expected = network(compared_on).numpy()
        models, written = [], [f"{name}-{precision}.{format_name}" for precision in PRECISIONS]
        folder = output / f"{format_name}{suffix}"
        with whole_folder(folder, ["manifest.json", f"{name}.pt2", *written]) as scratch:
            save_program(network, architecture.input_shape, scratch[f"{name}.pt2"])
            fp32, int8 = (scratch[file] for file in written)
            files.export_fp32(network, architecture.input_shape, fp32)
            files.export_int8(network, architecture.input_shape, calibration, fp32, int8)
            for file, precision in zip(written, PRECISIONS, strict=True):
                infer = files.infer(scratch[file])
                found = exports.logits(infer, compared_on.numpy())
                model: dict[str, Any] = {"model_id": file, "file": file}
                model |= {"sha256": sha256_file(scratch[file]), "precision": precision, **facts}
                model |= getattr(files, "facts", lambda path: {})(scratch[file])
                model |= compared(file, precision, found, expected)
                if task.name != "multi-class":
                    model |= {"argmax_agreement": task.agreement(found, expected)}
                models.append(model | {said: accuracy(infer, store, task)})
                text = worded("test accuracy", task.score)
                print(f"{file}: {text} {models[-1][said]:.4f}", flush=True)
            write_json(scratch["manifest.json"], {**made, "models": models})


def _images(store: ClientStore, rows: np.ndarray | slice) -> torch.Tensor:
    """Float32 images (image, channel, height, width) of a store, as a network takes them."""
    return to_input(np.array(store.images[rows]), store.pixel_range)


def compared(
    file: str, precision: str, found: np.ndarray, expected: np.ndarray
) -> dict[str, float | None]:
    """How far logits (image, class) of a file are from PyTorch's; InputError if fp32 is too far."""
    difference = float(np.abs(found - expected).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if precision == "fp32" and not difference <= allowed:
        raise InputError(
            f"{file}: differs from PyTorch by {difference:.3g} on {len(expected)} test images, "
            f"expected at most {allowed:.3g}; it was not written"
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
    parser = argparse.ArgumentParser(prog="autoprune.measure.export", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--store", required=True, help="folder of the client store")
    parser.add_argument("--partition", required=True, help="folder of the partition: calibration")
    parser.add_argument("--target", required=True, nargs="+", help="what is predicted")
    parser.add_argument(
        "--format", default="onnx", help="onnx, tflite or pte (default: %(default)s)"
    )
    parser.add_argument(
        "--round-widths-to",
        type=int,
        nargs="*",
        default=[],
        metavar="K",
        help="besides, variants whose kept widths are multiples of K",
    )
    parser.add_argument(
        "--round-widths",
        default="nearest",
        help=f"to which multiple: {', '.join(DIRECTIONS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of FORMAT/ and FORMAT-rK/"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    store, partition = ClientStore.open(args.store), Partition.open(args.partition)
    store.verify()
    partition.verify(store)
    export(
        args.run,
        store,
        partition,
        TOGETHER.join(args.target),
        args.output,
        format_name=args.format,
        multiples=args.round_widths_to,
        direction=args.round_widths,
    )


if __name__ == "__main__":
    run_main(main)
