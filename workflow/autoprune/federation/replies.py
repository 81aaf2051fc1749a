"""What makes a client's reply unusable, in a few words: the server trusts none of what comes."""

from collections.abc import Mapping

from flwr.app import Message

from autoprune.federation.encoding import State
from autoprune.federation.messages import Statistics, Update

Shapes = Mapping[str, tuple[int, ...]]


def reason_of(reply: Message) -> str:
    """The last line of an error reply, where Python puts what was raised."""
    lines = str(reply.error.reason).strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"


def fault(update: Update, sent: Shapes, asked: Shapes) -> str:
    """What makes a reply unusable, in a few words; "" when nothing does.

    ``sent`` are the shapes of the arrays that went out, ``asked`` those of the answers wanted.
    """
    if found := misfit(update.state, sent):
        return found
    if not finite(update.state):
        return "weights are not finite: its training diverged"
    if update.examples < 1:
        return f"trained on {update.examples} examples"
    if asked and not update.answers:
        return "the importance that was asked for is missing"
    if found := misfit(update.answers, asked):
        return f"importance: {found}"
    return "" if finite(update.answers) else "importance is not finite"


def statistics_fault(found: Statistics, numbers: int) -> str:
    """What makes a reply to ``REFRESH`` unusable; "" when nothing does."""
    if tuple(found.values.shape) != (numbers,):
        return f"statistics: shape {tuple(found.values.shape)}, expected ({numbers},)"
    if found.examples < 1:
        return f"measured on {found.examples} examples"
    return "" if bool(found.values.isfinite().all()) else "statistics are not finite"


def misfit(found: State, expected: Shapes) -> str:
    """Which names or shapes of the tensors are not those expected; "" when all are."""
    if found.keys() != expected.keys():
        return f"arrays {sorted(found.keys() ^ expected.keys())} are missing or were not asked for"
    for name, tensor in found.items():
        if tuple(tensor.shape) != expected[name]:
            return f"{name} has shape {tuple(tensor.shape)}, expected {expected[name]}"
    return ""


def finite(state: State) -> bool:
    """Whether all numbers are neither infinite nor NaN."""
    return all(bool(tensor.isfinite().all()) for tensor in state.values())
