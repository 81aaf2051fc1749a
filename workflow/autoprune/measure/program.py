"""A network as a file that plain PyTorch loads: torch.export's program, with its weights."""

import io
from pathlib import Path

import torch

from autoprune.core.files import whole_file
from autoprune.models.layers import Network

OURS = ("stack_trace", "nn_module_stack", "source_fn_stack")  # where in our files a node is from


def save_program(network: Network, input_shape: tuple[int, int, int], path: str | Path) -> None:
    """Write the network in evaluation mode, for any number of images (channel, height, width).

    ``torch.export.load(path).module()(images)`` gives the logits (image, class): layers, padding,
    epsilons and statistics are in the file, and nothing of this package. The same network gives
    the same bytes.
    """
    images = torch.zeros(2, *input_shape)  # of one image it would make a program for one
    with torch.no_grad():
        program = torch.export.export(
            network.eval(), (images,), dynamic_shapes=({0: torch.export.Dim("images")},)
        )
    for node in program.graph.nodes:
        for name in OURS:
            node.meta.pop(name, None)
    stream = io.BytesIO()  # by a path, the archive would have its name inside
    torch.export.save(program, stream)
    with whole_file(path) as scratch:
        scratch.write_bytes(stream.getvalue())
