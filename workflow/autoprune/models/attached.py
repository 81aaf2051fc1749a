"""Small trainable parts that a method attaches to the network that clients train, such as gates.

A kind of parts is a module of this package that defines a class ``Part(Attached)``, named in
``Architecture.attached``. Whatever is built of such an architecture has them: they are parameters
and buffers in its state, under ``attached.``, and travel, are averaged, trained, kept and counted
as bytes like all others. What is deployed has none: see ``folded``.
"""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MethodType

import torch
from torch import Tensor, nn
from torch.func import functional_call

from autoprune.models import Architecture, build, load_state
from autoprune.models.layers import Network

PREFIX = "attached."  # of their names in a network's state


class Attached(nn.Module):
    """Parts of a network: they say which weights it computes with, in place of its own.

    Made of the plain network, which a part may read, but must not keep as a module of its own.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()

    def used(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the network's ``weights`` that it computes with otherwise, by their names.

        Differentiable. In training mode it may draw, from torch's own random numbers: a client
        seeds them by (seed, round, client).
        """
        raise NotImplementedError

    def owners(self) -> Mapping[str, Mapping[int, Tensor]]:
        """Whose filters stand along the axes of its own tensors, as ``Places`` has it.

        Where a filter goes, they lose what is its own.
        """
        return {}

    def begin(self, ask: Mapping[str, str | float], teacher: Network | None) -> None:
        """A client is about to train: what the method asks of it, and the network it sent along."""

    def start(self, network: Network) -> None:
        """Training starts now: the weights that it starts from may be moved, as torch draws."""

    def penalty(self, images: Tensor, logits: Tensor) -> Tensor | None:
        """What joins the loss of a batch, (); None for nothing."""
        return None


class _Plain(nn.Module):
    """A network's own forward pass, in a module of which ``functional_call`` exchanges weights."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = type(self.network).forward(self.network, x)
        return logits


def put_on(network: Network, kind: str) -> None:
    """Give a plain network its parts: from now on it computes with the weights that they say."""
    places = network.places  # followed while it is plain
    part: Attached = importlib.import_module(f"autoprune.models.{kind}").Part(network)
    own = {f"{PREFIX}{name}": axes for name, axes in part.owners().items()}
    network.__dict__["places"] = replace(places, owners={**places.owners, **own})
    names = [name for name, _ in network.named_parameters()]
    network.attached = part
    network.forward = partial(_forward, _Plain(network), names)
    # one that a family has written out by hand knows nothing of the parts
    network.backward = MethodType(Network.backward, network)  # type: ignore[method-assign]


def _forward(plain: _Plain, names: list[str], x: Tensor) -> Tensor:
    part = plain.network.attached
    assert part is not None
    used = part.used({name: plain.network.get_parameter(name) for name in names})
    logits: Tensor = functional_call(plain, {f"network.{n}": t for n, t in used.items()}, (x,))
    return logits


def attach(architecture: Architecture, network: Network, kind: str) -> tuple[Architecture, Network]:
    """The same network with parts as they begin, and its architecture."""
    larger = replace(architecture, attached=kind)
    result = build(larger)
    load_state(result, result.state_dict() | network.state_dict())
    return larger, result


@torch.no_grad()
def folded(architecture: Architecture, network: Network) -> tuple[Architecture, Network]:
    """The plain network whose own weights are those that ``network`` is evaluated with.

    The very network that was given where nothing is attached.
    """
    part = network.attached
    if part is None:
        return architecture, network
    training = part.training
    used = part.eval().used(dict(network.named_parameters()))
    part.train(training)
    plain = build(architecture.plain)
    state = {n: t for n, t in network.state_dict().items() if not n.startswith(PREFIX)}
    load_state(plain, state | used)
    return architecture.plain, plain
