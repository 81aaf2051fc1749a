"""Live filters: those that fire on any of a sample of training images; the others are dead."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.core.seeds import generator
from autoprune.data.store import ClientStore
from autoprune.federation import device
from autoprune.federation.training import to_input
from autoprune.models.kinds import BATCH_NORMS
from autoprune.models.layers import Network

# images: a filter that fires on 1 of 400 is missed in 7 of 1,000 samples; all of them would take
# longer than a round does where there are many clients
SAMPLE = 2000
BATCH = 100  # images; where all filters are live, the first batch shows it


def sample(store: ClientStore, seed: int) -> np.ndarray:
    """Rows of at most ``SAMPLE`` training images of the store, all different, in random order."""
    rows = store.rows("train")
    number = rows.stop - rows.start
    chosen = generator(seed, "live").choice(number, min(SAMPLE, number), replace=False)
    return rows.start + chosen


@torch.no_grad()
def live_filters(network: Network, store: ClientStore, rows: np.ndarray) -> list[float]:
    """The fraction of each prunable convolution's filters that are live, in their order.

    A filter is live when its output is above 0 anywhere on any of the images of these rows, which
    is what ReLU lets through: behind the batch norm that reads the convolution, where one does.
    In evaluation mode; images are read in batches, and no more once all filters are live.
    """
    network.eval()
    fired: list[Tensor] = []
    for start in range(0, len(rows), BATCH):
        pixels = torch.from_numpy(store.images[rows[start : start + BATCH]])
        images = to_input(pixels.to(device.of(network)), store.pixel_range)
        now = [peak > 0 for peak in _peaks(network, images)]
        fired = [one | other for one, other in zip(fired, now, strict=True)] if fired else now
        if all(bool(of_layer.all()) for of_layer in fired):
            break
    return [float(of_layer.double().mean()) for of_layer in fired]


def _peak(layer: nn.Module, output: Tensor) -> Tensor:
    """The largest output (filter,) of a layer: a linear one's units stand last, filters second."""
    return output.movedim(-1 if isinstance(layer, nn.Linear) else 1, 0).flatten(1).amax(1)


def _peaks(network: Network, images: Tensor) -> list[Tensor]:
    """The largest output (filter,) of each prunable convolution, or of its own batch norm.

    Of a head it is that of its rows, as the layer that reads them sees them.
    """
    heads = {
        listener: name
        for layer, name in enumerate(network.prunable)
        if network.is_attention(layer)
        for listener in network.listeners(layer)
    }
    peaks: dict[str, Tensor] = {}
    last: tuple[str, Tensor | None] = "", None  # the convolution before, and its output

    def convolved(name: str, _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal last
        last = name, output
        peaks[name] = _peak(network.get_submodule(name), output)

    def normalised(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        name, maps = last
        if inputs[0] is maps:
            peaks[name] = _peak(network.get_submodule(name), output)

    def read(name: str, listener: nn.Module, inputs: tuple[Tensor], _: Tensor) -> None:
        peaks[name] = _peak(listener, inputs[0])

    hooks = []
    for name, module in network.named_modules():
        if name in heads:
            hooks.append(module.register_forward_hook(partial(read, heads[name])))
        elif isinstance(module, BATCH_NORMS):
            hooks.append(module.register_forward_hook(normalised))
        elif name in network.prunable and name not in heads.values():
            hooks.append(module.register_forward_hook(partial(convolved, name)))
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    found = []
    for layer, name in enumerate(network.prunable):
        axis = int(network.is_attention(layer))
        holder = network.listeners(layer)[0] if axis else name
        of_rows = network.places.by_filter(layer, f"{holder}.weight", peaks[name], axis)
        found.append(of_rows.reshape(len(of_rows), -1).amax(1))
    return found
