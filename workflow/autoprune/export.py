"""Stage: a trained network as ONNX files, checked against PyTorch, with a manifest."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from autoprune.complexity import complexity
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.errors import InputError, run_main
from autoprune.federation.training import to_input
from autoprune.files import read_json, sha256_file, write_json
from autoprune.models import build, load_state
from autoprune.onnx_files import export_fp32, export_int8, logits, session
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


def accuracy(path: Path, store: ClientStore, target: str) -> float:
    """Test accuracy (fraction) of an exported file, on onnxruntime."""
    rows, model, right = store.rows("test"), session(path), 0
    labels = store.labels[rows, store.target_column(target)]
    images = store.images[rows]
    for start in range(0, len(labels), BATCH):
        part = slice(start, start + BATCH)
        found = logits(model, to_input(np.array(images[part]), store.pixel_range).numpy())
        right += int((found.argmax(1) == labels[part]).sum())
    return right / len(labels)


def export(run: Path, store: ClientStore, partition: Partition, target: str, output: Path) -> None:
    """Write NAME-fp32.onnx, NAME-int8.onnx and manifest.json of a finished run into ``output``.

    Raises InputError when the run is not whole, or the float32 file does not compute what
    PyTorch does.
    """
    about = read_json(run / "run.json")
    architecture, state, _ = load_weights(run / "weights.safetensors")
    network = build(architecture)
    load_state(network, state)
    network.eval()
    seed = int(about["seed"])
    name = "-".join(str(about[k]) for k in ("dataset", "model", "method", "variant"))
    name = f"{name}-s{seed}"
    fp32, int8 = output / f"{name}-fp32.onnx", output / f"{name}-int8.onnx"
    export_fp32(network, architecture.input_shape, fp32)
    drawn = np.array(store.images[calibration_rows(partition, seed)])
    export_int8(fp32, to_input(drawn, store.pixel_range).numpy(), int8)

    images = to_input(np.array(store.images[store.rows("test")][:COMPARED]), store.pixel_range)
    with torch.no_grad():
        expected = network(images).numpy()
    counts = complexity(architecture)
    models = []
    for path, precision in ((fp32, "fp32"), (int8, "int8")):
        found = logits(session(path), images.numpy())
        difference = float(np.abs(found - expected).max())
        agreement = float((found.argmax(1) == expected.argmax(1)).mean())
        allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if precision == "fp32" and difference > allowed:
            raise InputError(
                f"{path}: differs from PyTorch by {difference:.3g} on {len(images)} test images, "
                f"expected at most {allowed:.3g}; do not use it"
            )
        models.append(
            {
                "model_id": path.stem,
                "file": path.name,
                "sha256": sha256_file(path),
                "format": "onnx",
                "precision": precision,
                "variant": "dense" if about["method"] == "dense" else "pruned",
                **{key: about[key] for key in ("dataset", "data_kind", "stands_for", "model")},
                "method": about["method"],
                "run_variant": about["variant"],
                "seed": seed,
                "family": architecture.family,
                "widths": list(architecture.widths),
                "round_widths_to": None,
                "parameters": counts["parameters"],
                "macs": counts["macs"],
                "input_layout": "NCHW",
                "input_shape": [1, *architecture.input_shape],
                "test_accuracy": accuracy(path, store, target),
                "argmax_agreement": agreement,
                "max_abs_difference": difference,
                "tolerance": allowed if precision == "fp32" else None,
            }
        )
    write_json(
        output / "manifest.json",
        {"schema_version": SCHEMA_VERSION, "code": about["code"], "models": models},
    )


def main(argv: Sequence[str] | None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="autoprune.export", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--store", required=True, help="folder of the client store")
    parser.add_argument("--partition", required=True, help="folder of the partition: calibration")
    parser.add_argument("--target", required=True, help="what is predicted")
    parser.add_argument("--output", type=Path, required=True, help="folder of the files")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    store, partition = ClientStore.open(args.store), Partition.open(args.partition)
    export(args.run, store, partition, args.target, args.output)


if __name__ == "__main__":
    run_main(main)
