"""What a method asks a client about its weights: how much each of them matters for its images."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autoprune.core.errors import InputError
from autoprune.federation.training import flatten
from autoprune.models.layers import Network, gradient
from autoprune.models.own import saliency

IMPORTANCES = ("taylor", "sensitivity", "saliency")


def importance(
    kind: str, network: Network, images: Tensor, labels: Tensor, batch_size: int
) -> dict[str, Tensor]:
    """What a method asks a client about its weights, as means over the client's batches.

    - ``taylor``: for each prunable convolution (filter,) the square of ``dL/dz``, z a gate on the
      filter that is 1 (Molchanov et al. 2019). It stands behind batch norm, and is
      ``scale·dL/dscale + shift·dL/dshift`` there, summed over the batch norms that hold the filter;
      without them it is ``sum w·dL/dw`` over the kernels and biases that do;
    - ``sensitivity``: of every kernel and matrix ``|w·dL/dw|`` (Lee et al. 2019, eq. 6);
    - ``saliency``: for each prunable convolution (filter, 2) of all that is the filter's own, batch
      norm included, ``sum w·dL/dw`` and the cosine between the two (Qu et al. 2025).

    The network is left as it was, batch-norm statistics included.
    """
    network.train()
    flatten(network)
    statistics = [buffer.clone() for buffer in network.buffers()]
    weights = {name: p for name, p in network.named_parameters() if p.dim() > 1}
    total: dict[str, Tensor] = {}
    batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
    for batch, targets in batches:
        for weight in network.parameters():
            gradient(weight).zero_()
        network.backward(batch, targets, torch.float32)
        with torch.no_grad():
            for name, score in _scores(kind, network, weights).items():
                total[name] = total[name] + score if name in total else score
    with torch.no_grad():
        for buffer, before in zip(network.buffers(), statistics, strict=True):
            buffer.copy_(before)
    return {name: (score / len(batches)).contiguous() for name, score in total.items()}


def _scores(kind: str, network: Network, weights: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """``importance`` of one batch, whose gradients are in place."""
    if kind == "sensitivity":
        return {name: (w.detach() * gradient(w)).abs() for name, w in weights.items()}
    if kind == "saliency":
        return {name: saliency(network, n) for n, name in enumerate(network.prunable)}
    if kind != "taylor":
        raise InputError(f"importance: unknown {kind!r}; known are {', '.join(IMPORTANCES)}")
    return {name: _gates(network, n).square() for n, name in enumerate(network.prunable)}


def _gates(network: Network, layer: int) -> Tensor:
    """dL/dz (filter,) of the gates z = 1 of a prunable convolution, from gradients in place.

    A gate scales a layer's output as the layer's own parameters do together, biases and shifts
    included, so its gradient is the sum of theirs times their values. Kernels in front of a batch
    norm do not scale its output: theirs is 0. Where norms are fewer than kernels, as behind a gated
    unit, and of a head (Michel et al. 2019, section 4.1) a gate scales what is read of the filter,
    as the columns of the kernels that read it do together.
    """
    group, norms = network.group(layer), network.norms(layer)
    if network.is_attention(layer) or 0 < len(norms) < len(group):
        read = [_products(network, layer, f"{n}.weight", 1) for n in network.listeners(layer)]
        return torch.stack(read).sum(0)
    products = [
        _products(network, layer, f"{name}.{leaf}")
        for name in (norms if len(norms) == len(group) else group)
        for leaf, _ in network.get_submodule(name).named_parameters()
    ]
    return torch.stack(products).sum(0)


def _products(network: Network, layer: int, name: str, axis: int = 0) -> Tensor:
    """Sums (filter,) of a parameter's values times their gradients, by the filters of a layer."""
    parameter = network.get_parameter(name)
    products = (parameter.detach() * gradient(parameter)).movedim(axis, 0)
    products = network.places.by_filter(layer, name, products, axis)
    return products.reshape(len(products), -1).sum(1)


def answer_shapes(kind: str, network: Network) -> dict[str, tuple[int, ...]]:
    """The shapes of what a client answers to ``kind``, by their names; see client_app.

    The server holds the answers of clients with such a network against them.
    """
    if kind in ("taylor", "saliency"):  # (filter,), the latter (filter, 2)
        more = () if kind == "taylor" else (2,)
        return {n: (w, *more) for n, w in zip(network.prunable, network.places.widths, strict=True)}
    return {name: tuple(p.shape) for name, p in network.named_parameters() if p.dim() > 1}
