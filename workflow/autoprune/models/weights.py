"""Weights on disk: safetensors with the architecture in the header, no pickle anywhere."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from autoprune.core.errors import InputError
from autoprune.core.files import check_kind, whole_file
from autoprune.models import Architecture, build, load_state
from autoprune.models.layers import Network


def save_weights(
    path: str | Path,
    architecture: Architecture,
    state: Mapping[str, torch.Tensor],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a network's state; the same state gives the same bytes. ``notes`` join the header."""
    header = {"architecture": json.dumps(architecture.to_json()), **(notes or {})}
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    with whole_file(path) as scratch:
        try:
            save_file(tensors, scratch, metadata=header)
        except SafetensorError as error:
            raise InputError(f"{path}: cannot be written ({error}); make room") from None


def load_weights(
    path: str | Path,
) -> tuple[Architecture, dict[str, torch.Tensor], dict[str, str]]:
    """Read back architecture, state and notes; raises InputError when the file is not one."""
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
    return Architecture.from_json(json.loads(notes.pop("architecture")), str(path)), state, notes


def load_network(path: str | Path) -> tuple[Architecture, Network]:
    """The network of such a file, in evaluation mode; raises InputError as ``load_weights``."""
    architecture, state, _ = load_weights(path)
    network = build(architecture)
    load_state(network, state)
    return architecture, network.eval()
