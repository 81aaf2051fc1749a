"""Cut filters out of any network in place, and the law that shows whether that is right."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from autoprune.models.kinds import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED, is_depthwise
from autoprune.models.layers import Network
from autoprune.models.places import Places

EXACT = 1e-9  # relative, in double precision: rounding stays far below, a wrong filter far above


def cut_module(network: nn.Module, places: Places, kept: Sequence[Sequence[int]]) -> nn.Module:
    """The network itself, without the filters that are not in ``kept``; see ``refit``."""
    parts = places.cut(network.state_dict(), kept)
    counts = {count: len(kept[layer]) for count, layer in places.counts.items()}
    return refit(network, {name: parts[name] for name in places.owners}, counts)


@torch.no_grad()
def refit(network: nn.Module, parts: Mapping[str, Tensor], counts: Mapping[str, int]) -> nn.Module:
    """The network itself with ``parts`` for its tensors of these names, its layers as large.

    ``counts`` are what modules say of numbers of heads or groups, see ``Places``. Parameters and
    buffers become new ones, so an optimizer must be made anew.
    """
    depthwise = [module for module in network.modules() if is_depthwise(module)]
    for name, part in parts.items():
        holder, _, leaf = name.rpartition(".")
        module = network.get_submodule(holder)
        tensor: Tensor = getattr(module, leaf)
        if isinstance(tensor, nn.Parameter):
            setattr(module, leaf, nn.Parameter(part, requires_grad=tensor.requires_grad))
        else:
            setattr(module, leaf, part)
    for count, number in counts.items():
        holder, _, leaf = count.rpartition(".")
        setattr(network.get_submodule(holder), leaf, number)
    for module in network.modules():
        _resize(module, depthwise=module in depthwise)
    return network


def _resize(module: nn.Module, *, depthwise: bool) -> None:
    """What a layer says of its sizes, as its kernel has them now."""
    kernel = getattr(module, "weight", None)
    if not isinstance(kernel, Tensor):
        return
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        first, second = kernel.shape[:2]
        if depthwise:
            module.groups = module.in_channels = module.out_channels = first
        elif isinstance(module, TRANSPOSED):
            module.in_channels, module.out_channels = first, second * module.groups
        else:
            module.out_channels, module.in_channels = first, second * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = kernel.shape
    elif isinstance(module, BATCH_NORMS):
        module.num_features = len(kernel)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(kernel)


def listeners(network: nn.Module, places: Places) -> Iterator[tuple[str, int]]:
    """The kernels and matrices that listen to filters, and the axis along which they do."""
    for name, axes in places.owners.items():
        tensor = network.get_parameter(name) if name.endswith("weight") else None
        if tensor is None or tensor.dim() < 2:
            continue
        listens = 0 if isinstance(network.get_submodule(name[: -len(".weight")]), TRANSPOSED) else 1
        if listens in axes:
            yield name, listens


@torch.no_grad()
def silence(network: nn.Module, places: Places, kept: Sequence[Sequence[int]]) -> nn.Module:
    """The network itself, with zeros wherever a layer would listen to a filter not in ``kept``."""
    parts = places.indices(kept)
    for name, axis in listeners(network, places):
        tensor = network.get_parameter(name)
        gone = torch.ones(tensor.shape[axis], dtype=torch.bool)
        gone[parts[name][axis]] = False
        tensor.index_fill_(axis, gone.nonzero()[:, 0], 0)
    return network


def samples(places: Places) -> list[list[list[int]]]:
    """Two choices of filters that stay: every other one, and the first third.

    Halves of a layer that would trade filters lose alike in the one, and not in the other.
    """
    return [
        [list(range(0, width, 2)) for width in places.widths],
        [list(range(-(-width // 3))) for width in places.widths],
    ]


def misfit(network: Network, places: Places, kept: Sequence[Sequence[int]]) -> str:
    """Why a network that loses filters is not itself with these filters silenced; "" if it is.

    Both are run in double precision on the same random images, with random statistics and biases,
    so that no symmetry of a fresh network hides an error.
    """
    stream = torch.Generator().manual_seed(0)
    whole = copy.deepcopy(network).double().eval()
    # kernels of one number, as of what adds nothing at first: all would fit
    kernels = [(name, p.detach()) for name, p in whole.named_parameters() if p.dim() > 1]
    uniform = {name for name, kernel in kernels if (kernel == kernel.flatten()[:1]).all()}
    with torch.no_grad():
        for name, tensor in whole.state_dict().items():
            if tensor.is_floating_point() and (tensor.dim() == 1 or name in uniform):
                low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
                tensor.copy_(low + torch.rand(tensor.shape, generator=stream, dtype=tensor.dtype))
    inputs = torch.randn(2, *network.input_shape, generator=stream, dtype=torch.float64)
    try:
        smaller = cut_module(copy.deepcopy(whole), places, kept)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            right, found = silence(whole, places, kept)(inputs), smaller(inputs)
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        return f"without some of its filters the network does not run ({one_line(error)})"
    if not right.isfinite().all() or right.shape != found.shape:
        return "without some of its filters the network's output has another form"
    if (right - found).abs().max() > EXACT * right.abs().max():
        return (
            "what is left computes something else than the whole with these filters silenced; "
            "they are normalised, reshaped or chosen among together"
        )
    return ""


def one_line(error: Exception) -> str:
    """What an exception says, short and in one line."""
    return " ".join(str(error).split())[:200]
