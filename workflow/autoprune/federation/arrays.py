"""Arrays that come for a module: loaded where they fit, refused by name where they do not."""

from typing import TypeVar

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from torch import nn

from autoprune.core.errors import InputError
from autoprune.federation.wire import tensors
from autoprune.models.cuts import refit
from autoprune.models.state import State

M = TypeVar("M", bound=nn.Module)
COUNTS = "autoprune.counts"  # of a message: heads and groups that are left, by module and attribute


def received(message: Message, module: M) -> M:
    """The client's end: the module itself, without the filters that are gone, its weights loaded.

    ``module`` is made as the one that AutoPrune was given; its parameters become new ones, so make
    the optimizer afterwards. A message that brings whole arrays, as any strategy of Flower's does,
    cuts nothing. Raises InputError naming the array that the module does not have, or has smaller.
    """
    records = list(message.content.array_records.values())
    if len(records) != 1:
        raise InputError(f"message: found {len(records)} array records, expected one")
    brought, own = tensors(records[0]), module.state_dict()
    same_names(brought, own)
    for name, tensor in own.items():
        found, most = tuple(brought[name].shape), tuple(tensor.shape)
        if len(found) != len(most) or any(f > m for f, m in zip(found, most, strict=True)):
            raise InputError(
                f"array {name}: found shape {found}, the module has {most}; "
                "make the module that the server gave to AutoPrune"
            )
    told = message.content.config_records.get(COUNTS, ConfigRecord())
    counts = {name: number for name, number in told.items() if isinstance(number, int)}
    refit(module, {name: brought[name].to(tensor) for name, tensor in own.items()}, counts)
    return module


def same_names(found: State, expected: State) -> None:
    """Raise InputError naming the first array that one has and the other has not."""
    if wrong := sorted(found.keys() ^ expected.keys()):
        which = "not expected" if wrong[0] in found else "missing"
        raise InputError(f"array {wrong[0]}: {which}; the model has {', '.join(expected)}")


def same_shapes(found: State, expected: State) -> None:
    """Raise InputError naming the first array that is not in both, or has another shape."""
    same_names(found, expected)
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise InputError(
                f"array {name}: found shape {tuple(found[name].shape)}, "
                f"expected {tuple(tensor.shape)}"
            )


@torch.no_grad()
def load_arrays(module: nn.Module, arrays: ArrayRecord) -> None:
    """Load arrays into a module; raises InputError naming the first that does not fit."""
    brought, own = tensors(arrays), module.state_dict()
    same_shapes(brought, own)
    for name, tensor in own.items():
        tensor.copy_(brought[name])  # as models.load_state: a batch norm may count no batches
