"""What is a filter's own: the rows of kernels, biases and norms that go with it."""

from collections.abc import Mapping

import torch

from autoprune.models.layers import Network, gradient


def own_parameters(network: Network, layer: int) -> dict[str, torch.nn.Parameter]:
    """All that belongs to the filters of a prunable layer: kernels, biases, norms, by name."""
    kernels = network.kernels if network.is_attention(layer) else network.group
    return {
        f"{holder}.{leaf}": parameter
        for holder in [*kernels(layer), *network.norms(layer)]
        for leaf, parameter in network.get_submodule(holder).named_parameters()
    }


def by_filter(network: Network, layer: int, own: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Tensors of the shapes of ``own_parameters`` side by side: (filter, number)."""
    rows = [network.places.by_filter(layer, name, tensor) for name, tensor in own.items()]
    return torch.cat([of_tensor.reshape(len(of_tensor), -1) for of_tensor in rows], 1)


def saliency(network: Network, layer: int) -> torch.Tensor:
    """Of each filter the sum of its weights times gradients, and their cosine (filter, 2).

    Over all that is the filter's own; the gradients must be in place.
    """
    own = own_parameters(network, layer)
    weights = by_filter(network, layer, {name: p.detach() for name, p in own.items()})
    slopes = by_filter(network, layer, {name: gradient(p) for name, p in own.items()})
    cosine = torch.nn.functional.cosine_similarity(weights, slopes)
    return torch.stack([(weights * slopes).sum(1), cosine], 1)
