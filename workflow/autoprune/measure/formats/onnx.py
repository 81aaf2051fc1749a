"""ONNX files of a network: float32 and int8, the same bytes again, nothing local inside."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from autoprune.core.files import whole_file
from autoprune.models.layers import Network

ENGINE, LAYOUT = "onnxruntime", "NCHW"
INPUT, OUTPUT = "images", "logits"
# the oldest that the exporter writes without a conversion: ONNX Runtime 1.14 and later load it
OPSET, IR = 18, 8


def export_fp32(network: Network, input_shape: tuple[int, int, int], path: str | Path) -> None:
    """Write a network for one image (1, channel, height, width) in its training's pixel range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own dependencies
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network.eval(),
            (torch.zeros(1, *input_shape),),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    write(program.model_proto, path)


def export_int8(
    network: Network,
    input_shape: tuple[int, int, int],
    images: np.ndarray,
    fp32: str | Path,
    path: str | Path,
) -> None:
    """Write the network of the file ``fp32`` quantised.

    QDQ format, weights per channel, activations per tensor, both int8. ``images`` are float32
    (image, channel, height, width).
    """
    # it advises a pass of shape inference, which the exporter has done already
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantize_static(
            str(fp32),
            str(target),
            _Calibration(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(str(target))
    write(model, path)


class _Calibration(CalibrationDataReader):
    """The calibration images, one at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self._rest: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image as the network's input; None after the last."""
        image = next(self._rest, None)
        return None if image is None else {INPUT: image[None]}


def write(model: Any, path: str | Path) -> None:
    """Write a model without what the exporter notes of the machine and its source files."""
    model.ir_version = IR
    del model.metadata_props[:]
    for graph in (model.graph, *model.functions):
        del graph.metadata_props[:]
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    with whole_file(path) as scratch:
        scratch.write_bytes(model.SerializeToString(deterministic=True))


def facts(path: str | Path) -> dict[str, int]:
    """What a runtime must know to load the file: ``opset`` and ``ir_version``."""
    model = onnx.load(str(path), load_external_data=False)
    return {"opset": model.opset_import[0].version, "ir_version": model.ir_version}


def session(path: str | Path) -> onnxruntime.InferenceSession:
    """An onnxruntime session on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def infer(path: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """One image (1, channel, height, width), float32 -> logits (1, class)."""
    model = session(path)
    return lambda image: model.run([OUTPUT], {INPUT: image})[0]


def timed(path: str | Path, image: np.ndarray) -> Callable[[], Any]:
    """One inference on ``image``."""
    model = session(path)
    return lambda: model.run([OUTPUT], {INPUT: image})
