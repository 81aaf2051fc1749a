"""Clients' replies, read and held against what was sent: the server trusts none of what comes."""

import math

import torch
from flwr.app import Message, RecordDict
from torch import Tensor

from autoprune.federation.messages import Statistics, Update, read_reply, read_statistics
from autoprune.federation.wire import Dense, only
from autoprune.models.state import Shapes, State, unflat


class Unusable(ValueError):
    """A reply that the server leaves out; the message says why in a few words."""


def reason_of(reply: Message) -> str:
    """The last line of an error reply, where Python puts what was raised."""
    lines = str(reply.error.reason).strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"


def fault_of(error: Exception) -> str:
    """What a reply that raised this on being read is left out for."""
    if isinstance(error, Unusable):
        return str(error)
    return f"reply cannot be read: {type(error).__name__}: {error}"


def check(what: str, found: Tensor, number: int, dtype: torch.dtype) -> None:
    """Raise Unusable unless an array is flat, of this length and type."""
    if found.shape != (number,) or found.dtype != dtype:
        kinds = [str(kind).removeprefix("torch.") for kind in (found.dtype, dtype)]
        raise Unusable(
            f"{what}: found {kinds[0]} of shape {tuple(found.shape)}, "
            f"expected {kinds[1]} of shape ({number},)"
        )


def read_update(
    content: RecordDict, sent: Tensor, wire: Dense, like: State, asked: Shapes
) -> Update:
    """What a client made of the weights that were ``sent``, the state ``like`` on the wire.

    ``asked`` are the shapes of the answers that were asked for, none for none. Raises Unusable,
    or KeyError, TypeError or ValueError for a message that is no reply at all.
    """
    found = read_reply(content)
    check("weights", found.weights, len(sent), sent.dtype)
    state = wire.incoming(found.weights, like)
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise Unusable("weights are not finite: its training diverged")
    if found.examples < 1:
        raise Unusable(f"trained on {found.examples} examples")
    if found.answers is None:
        if asked:
            raise Unusable("the importance that was asked for is missing")
        return Update(found.client, state, found.examples, found.train_loss)
    answers = unflat(importance_in(content, asked), asked)
    return Update(found.client, state, found.examples, found.train_loss, answers)


def importance_in(content: RecordDict, asked: Shapes) -> Tensor:
    """The answers (number,) in a reply; raises Unusable, KeyError, TypeError or ValueError."""
    found = only(content, "answers")
    check("importance", found, sum(map(math.prod, asked.values())), torch.float32)
    if not bool(found.isfinite().all()):
        raise Unusable("importance is not finite")
    return found


def read_refreshed(content: RecordDict, numbers: int) -> Statistics:
    """So many batch-norm statistics; raises Unusable, KeyError, TypeError or ValueError."""
    found = read_statistics(content)
    check("statistics", found.values, numbers, torch.float32)
    if found.examples < 1:
        raise Unusable(f"measured on {found.examples} examples")
    if not bool(found.values.isfinite().all()):
        raise Unusable("statistics are not finite")
    return found
