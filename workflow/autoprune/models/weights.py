"""Weights on disk: safetensors with the architecture in the header, no pickle anywhere."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from autoprune.core.errors import InputError
from autoprune.core.files import check_kind, whole_file
from autoprune.models import Architecture, build, load_state
from autoprune.models.layers import Network
from autoprune.models.quantiser import pack, unpack

PACKED = "packed"  # the key of weights of few bits in the header's architecture


def save_weights(
    path: str | Path,
    architecture: Architecture,
    state: Mapping[str, torch.Tensor],
    notes: Mapping[str, str] | None = None,
    grids: Mapping[str, tuple[int, float]] | None = None,
) -> None:
    """Write a network's state; the same state gives the same bytes. ``notes`` join the header.

    Weights on ``grids``, bits and step by their names, are written as whole numbers of steps, at
    these bits; the header says in the architecture, under ``packed``, how to read them.
    """
    told = architecture.to_json()
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    for name, (bits, step) in (grids or {}).items():
        how = {"bits": bits, "step": step, "shape": list(tensors[name].shape)}
        told[PACKED] = {**told.get(PACKED, {}), name: how}
        tensors[name] = pack((tensors[name] / step).round().flatten(), bits)
    # a key of its own would make another file each time: safetensors writes several in any order
    header = {"architecture": json.dumps(told), **(notes or {})}
    with whole_file(path) as scratch:
        try:
            save_file(tensors, scratch, metadata=header)
        except SafetensorError as error:
            raise InputError(f"{path}: cannot be written ({error}); make room") from None


def load_weights(
    path: str | Path,
) -> tuple[Architecture, dict[str, torch.Tensor], dict[str, str]]:
    """Read back architecture, state and notes; raises InputError when the file is not one.

    Packed weights come back as float32.
    """
    check_kind(path)
    try:
        with safe_open(path, framework="pt") as stream:
            notes = dict(stream.metadata() or {})
            state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from None
    if "architecture" not in notes:
        raise InputError(f"{path}: no architecture in its header; it was not written by autoprune")
    told = json.loads(notes.pop("architecture"))
    try:
        for name, how in told.get(PACKED, {}).items():
            whole = unpack(state[name], how["bits"], math.prod(how["shape"]))
            state[name] = whole.view(how["shape"]) * torch.tensor(how["step"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: its packed weights cannot be read ({error})") from None
    return Architecture.from_json(told, str(path)), state, notes


def load_network(path: str | Path) -> tuple[Architecture, Network]:
    """The network of such a file, in evaluation mode; raises InputError as ``load_weights``."""
    architecture, state, _ = load_weights(path)
    network = build(architecture)
    load_state(network, state)
    return architecture, network.eval()
