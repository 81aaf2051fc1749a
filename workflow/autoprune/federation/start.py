"""A pre-trained start: weights from a file for the network that a run begins with."""

import pickle
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from autoprune.core.errors import InputError
from autoprune.core.files import check_kind, check_noted, sha256_file
from autoprune.models.attached import PREFIX
from autoprune.models.layers import Network
from autoprune.models.state import State
from autoprune.models.weights import PACKED, load_weights

WEIGHTS = "weights.safetensors"  # of a run's folder
DIGEST = "sha256:"  # what run.json has of the file's name
UNUSED = "num_batches_tracked"  # torch's batch norm counts; a fixed momentum needs no count


def file_of(start: str) -> Path:
    """The file that a start names, of a run's folder its weights; raises InputError without one."""
    if start.startswith(DIGEST):
        raise InputError(
            f"start: this run began with the file of {start.removeprefix(DIGEST)[:12]}… (SHA-256); "
            "give it with --start"
        )
    path = Path(start)
    path = check_kind(path / WEIGHTS if path.is_dir() else path)
    if not path.exists():
        raise InputError(f"start: {path}: no such file; train that run, or give another")
    return check_noted(path)


def digest(start: str) -> str:
    """What a run notes of its start: the SHA-256 of the file; raises InputError without one."""
    return DIGEST + sha256_file(file_of(start))


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a state dict that torch has saved, by name.

    No pickle is run: torch loads tensors alone (``weights_only``). A training script's own
    checkpoint may hold the state under ``state_dict`` or ``model``. Raises InputError.
    """
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    if not zipped and path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as opened:
                if f'"{PACKED}"' in (opened.metadata() or {}).get("architecture", ""):
                    return load_weights(path)[1]  # a run's whose weights have few bits
                names = opened.keys()
                return {name: opened.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise InputError(f"start: {path}: not a whole safetensors file ({error})") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that it takes for old, or does not know
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, BadZipFile, ValueError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"start: {path}: neither safetensors nor a state dict that torch loads safely ({why})"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise InputError(
            f"start: {path}: found {type(found).__name__}, expected tensors by name, as "
            "torch.save(network.state_dict(), ...) writes them"
        )
    return dict(found)


def begin_with(network: Network, start: str, *, partial: bool) -> None:
    """Set a network's weights to those of a file, in place.

    Names are the network's own or, where a function makes it, those of its function's module. What
    a method attached stays as it is.
    With ``partial`` tensors that do not fit stay as they are, and are named on stderr. Raises
    InputError that names the first which does not fit; the network is then as it was.
    """
    path = file_of(start)
    own = {n: t for n, t in network.state_dict().items() if not n.startswith(PREFIX)}
    found = _named(read(path), own)
    wrong = [f"{name}: {why}" for name in own if (why := _misfit(own[name], found.get(name)))]
    wrong += [f"{name}: the network has no such tensor" for name in found if name not in own]
    fitting = [name for name in own if not _misfit(own[name], found.get(name))]
    if wrong and not (partial and fitting):
        more = f", and {len(wrong) - 1} more" if wrong[1:] else ""
        hint = "" if partial else "; start_partial: true keeps what fits, and draws the rest"
        raise InputError(f"start: {path}: {wrong[0]}{more}{hint}")
    for name in fitting:
        if not bool(found[name].isfinite().all()):
            raise InputError(f"start: {path}: {name}: has numbers that are not finite")
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(found[name])
    for line in wrong:
        print(f"start: {line}; left as drawn", file=sys.stderr, flush=True)


def _named(found: State, own: State) -> dict[str, Tensor]:
    """The tensors by the network's names: a function's module has a name of its own in front."""
    found = {name: value for name, value in found.items() if name.rpartition(".")[2] != UNUSED}
    if not found.keys() & own.keys():
        for front in ("net.", "net.1."):  # models.factory, and what makes three channels of one
            if {front + name for name in found} & own.keys():
                return {front + name: value for name, value in found.items()}
    return dict(found)


def _misfit(own: Tensor, found: Tensor | None) -> str:
    """Why a tensor cannot be taken; "" where it can."""
    if found is None:
        return "the file has no such tensor"
    if found.shape != own.shape:
        return f"found shape {tuple(found.shape)}, the network has {tuple(own.shape)}"
    return "" if found.is_floating_point() else f"found {found.dtype}, expected floating point"
