"""ExecuTorch files (.pte) of a network: all of it on XNNPACK, float32 and int8.

Needs executorch (`make executorch`).
"""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
from executorch.runtime import Method, Runtime
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from autoprune.core.files import whole_file
from autoprune.models.layers import Network

ENGINE, LAYOUT = "executorch", "NCHW"


def export_fp32(network: Network, input_shape: tuple[int, int, int], path: str | Path) -> None:
    """Write a network for one image (1, channel, height, width) in its training's pixel range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own dependencies
        _write(_captured(network.eval(), input_shape), path)


def export_int8(
    network: Network,
    input_shape: tuple[int, int, int],
    images: np.ndarray,
    fp32: str | Path,
    path: str | Path,
) -> None:
    """Write the network quantised; it is captured anew, ``fp32`` is not read.

    Weights per channel, activations per tensor, both int8; input and output stay float32.
    ``images`` are float32 (image, channel, height, width).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = _captured(network.eval(), input_shape)
        scheme = get_symmetric_quantization_config(is_per_channel=True)
        observed = prepare_pt2e(program.module(), XNNPACKQuantizer().set_global(scheme))
        for image in images:
            observed(torch.from_numpy(image[None]))
        _write(_captured(convert_pt2e(observed), input_shape), path)


def _captured(network: torch.nn.Module, input_shape: tuple[int, int, int]) -> Any:
    return torch.export.export(network, (torch.zeros(1, *input_shape),))


def _write(program: Any, path: str | Path) -> None:
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    with whole_file(path) as scratch:
        scratch.write_bytes(bytes(lowered.to_executorch().buffer))


def _method(path: str | Path) -> Method:
    _unsafe_reset_threadpool(1)  # of the process; safe while nothing runs
    logging.getLogger("executorch").setLevel(logging.ERROR)
    return Runtime.get().load_program(str(path)).load_method("forward")


def infer(path: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """One image (1, channel, height, width), float32 -> logits (1, class)."""
    method = _method(path)

    def run(image: np.ndarray) -> np.ndarray:
        # a copy: the engine writes the next result to the same place
        found: np.ndarray = method.execute([torch.from_numpy(image)])[0].numpy().copy()
        return found

    return run


def timed(path: str | Path, image: np.ndarray) -> Callable[[], Any]:
    """One inference on ``image``."""
    method, tensor = _method(path), torch.from_numpy(image)
    return lambda: method.execute([tensor])
