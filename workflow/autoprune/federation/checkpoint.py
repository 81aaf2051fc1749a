"""A run's state between rounds in one file, so that a killed run goes on where it was."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from autoprune.core.errors import InputError
from autoprune.core.files import check_kind
from autoprune.federation.history import Row
from autoprune.models import Architecture
from autoprune.models.weights import load_weights, save_weights

# prefixes of the tensors' names
STATE, WIRE, CLIENT = "state/", "wire/", "client/"
METHOD, SERVER = "method/", "server/"
DIGEST = "sha256"  # the note that holds the digest of all others


@dataclass(frozen=True)
class Checkpoint:
    """The state after ``round``: the aggregate, the method's memory, the history so far.

    ``wire`` and ``wire_tensors`` are what the wire remembers, ``clients`` what the clients do:
    by node, serialised. ``recent`` are the right answers by unit of the last evaluations,
    ``method_tensors`` what the method remembers beside its JSON values, ``server`` what the
    server's optimizer does.
    """

    round: int
    architecture: Architecture
    state: Mapping[str, torch.Tensor]
    method: dict[str, Any]
    history: list[Row]
    wire: dict[str, Any] = field(default_factory=dict)
    wire_tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    clients: Mapping[int, bytes] = field(default_factory=dict)
    recent: list[list[float]] = field(default_factory=list)
    method_tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    server: Mapping[str, torch.Tensor] = field(default_factory=dict)


def save(path: str | Path, mark: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all, with the run's fingerprint and its own digest."""
    notes = {
        "fingerprint": mark,
        "round": str(checkpoint.round),
        "method": json.dumps(checkpoint.method),
        "wire": json.dumps(checkpoint.wire),
        "history": json.dumps([asdict(row) for row in checkpoint.history]),
        "recent": json.dumps(checkpoint.recent),
    }
    tensors = {STATE + name: tensor for name, tensor in checkpoint.state.items()}
    tensors |= {WIRE + name: tensor for name, tensor in checkpoint.wire_tensors.items()}
    tensors |= {METHOD + name: tensor for name, tensor in checkpoint.method_tensors.items()}
    tensors |= {SERVER + name: tensor for name, tensor in checkpoint.server.items()}
    tensors |= {
        f"{CLIENT}{node}": torch.frombuffer(bytearray(content), dtype=torch.uint8)
        for node, content in checkpoint.clients.items()
    }
    notes[DIGEST] = digest(checkpoint.architecture, tensors, notes)
    save_weights(path, checkpoint.architecture, tensors, notes)


def digest(
    architecture: Architecture, tensors: Mapping[str, torch.Tensor], notes: Mapping[str, str]
) -> str:
    """Hex SHA-256 of all that a checkpoint says, whatever order it stands in."""
    said = {name: text for name, text in notes.items() if name != DIGEST}
    found = hashlib.sha256(json.dumps([architecture.to_json(), said], sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def load(path: str | Path, mark: str) -> Checkpoint | None:
    """Read a checkpoint; None when there is none, or one of another run.

    Raises InputError for one that is not, to the bit, what ``save`` wrote.
    """
    if not Path(path).exists():
        return None
    check_kind(path)
    try:
        architecture, tensors, notes = load_weights(path)
        whole = notes.get(DIGEST) == digest(architecture, tensors, notes)
    except Exception as error:  # of a damaged header anything may be raised
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error})") from None
    if not whole:
        raise InputError(f"{path}: damaged (it is not what its own digest says)")
    if notes["fingerprint"] != mark:
        return None
    return Checkpoint(
        int(notes["round"]),
        architecture,
        _under(STATE, tensors),
        json.loads(notes["method"]),
        [Row(**row) for row in json.loads(notes["history"])],
        json.loads(notes["wire"]),
        _under(WIRE, tensors),
        {int(n): t.numpy().tobytes() for n, t in _under(CLIENT, tensors).items()},
        json.loads(notes["recent"]),
        _under(METHOD, tensors),
        _under(SERVER, tensors),
    )


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
