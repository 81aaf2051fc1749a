"""LiteRT files (.tflite) of a network: channels-last input, float32 and full int8.

Needs litert-torch (`make litert`).
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ai_edge_quantizer
import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import recipe

from autoprune.core.files import whole_file
from autoprune.measure.formats import channels_last, sole
from autoprune.models.layers import Network

ENGINE, LAYOUT = "ai-edge-litert", "NHWC"


def export_fp32(network: Network, input_shape: tuple[int, int, int], path: str | Path) -> None:
    """Write a network for one image (1, height, width, channel) in its training's pixel range."""
    channels, height, width = input_shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converter's own dependencies
        # else a transpose stands before the first convolution
        wrapped = litert_torch.to_channel_last_io(network.eval(), args=[0])
        program = litert_torch.convert(wrapped, (torch.zeros(1, height, width, channels),))
        # the writer wants this ending
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "fp32.tflite"
            program.export(str(target))
            content = target.read_bytes()
    with whole_file(path) as scratch:
        scratch.write_bytes(content)


def export_int8(
    network: Network,
    input_shape: tuple[int, int, int],
    images: np.ndarray,
    fp32: str | Path,
    path: str | Path,
) -> None:
    """Write the network of the file ``fp32`` quantised.

    Weights per channel, activations per tensor, input and output int8 too. ``images`` are float32
    (image, channel, height, width).
    """
    quantizer = ai_edge_quantizer.Quantizer(str(fp32), recipe.static_wi8_ai8())
    signature = Interpreter(model_path=str(fp32)).get_signature_list()
    (name, ends), *_ = signature.items()
    argument = sole(ends["inputs"], "inputs", path)
    data = {name: [{argument: channels_last(image[None])} for image in images]}
    logging.getLogger("absl").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # its report
        ranges = quantizer.calibrate(data, num_threads=1)
        model = quantizer.quantize(ranges).quantized_model
    with whole_file(path) as scratch:
        scratch.write_bytes(bytes(model))


def _interpreter(path: str | Path) -> tuple[Interpreter, dict[str, Any], dict[str, Any]]:
    """An interpreter on one thread, and the details of its input and output."""
    model = Interpreter(model_path=str(path), num_threads=1)
    model.allocate_tensors()
    return (
        model,
        sole(model.get_input_details(), "inputs", path),
        sole(model.get_output_details(), "outputs", path),
    )


def _as_stored(image: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Channels last, and in the input's own numbers: int8 has a scale and a zero point."""
    values = channels_last(image)
    if details["dtype"] == np.float32:
        return values
    scale, zero = details["quantization"]
    limits = np.iinfo(details["dtype"])
    rounded = np.rint(values / scale + zero)
    return np.clip(rounded, limits.min, limits.max).astype(details["dtype"])


def infer(path: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """One image (1, channel, height, width), float32 -> logits (1, class)."""
    model, source, target = _interpreter(path)

    def run(image: np.ndarray) -> np.ndarray:
        model.set_tensor(source["index"], _as_stored(image, source))
        model.invoke()
        found: np.ndarray = model.get_tensor(target["index"])
        if target["dtype"] == np.float32:
            return found
        scale, zero = target["quantization"]
        return (found.astype(np.float32) - zero) * np.float32(scale)

    return run


def timed(path: str | Path, image: np.ndarray) -> Callable[[], Any]:
    """One inference on ``image``."""
    model, source, _ = _interpreter(path)
    model.set_tensor(source["index"], _as_stored(image, source))
    run: Callable[[], Any] = model.invoke
    return run
