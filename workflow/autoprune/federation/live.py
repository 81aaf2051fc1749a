"""Live filters: those that fire on any of a sample of training images; the others are dead."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.core.seeds import generator
from autoprune.data.store import ClientStore
from autoprune.federation.training import to_input
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
    watch = _Watch(network)
    try:
        for start in range(0, len(rows), BATCH):
            network(to_input(store.images[rows[start : start + BATCH]], store.pixel_range))
            watch.count()
            if all(bool(fired.all()) for fired in watch.fired.values()):
                break
    finally:
        watch.remove()
    return [float(watch.fired[name].double().mean()) for name in network.prunable]


class _Watch:
    """Hooks that note which filters of each prunable convolution have fired."""

    def __init__(self, network: Network) -> None:
        self.fired: dict[str, Tensor] = {}
        self._peaks: dict[str, Tensor] = {}
        self._last: tuple[str, Tensor | None] = "", None
        self._hooks = []
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                watched = name in network.prunable
                hook = partial(self._convolved, name if watched else "")
            elif isinstance(module, nn.BatchNorm2d):
                hook = self._normalised
            else:
                continue
            self._hooks.append(module.register_forward_hook(hook))

    def _convolved(
        self, name: str, module: nn.Module, inputs: tuple[Tensor], output: Tensor
    ) -> None:
        self._last = name, output if name else None
        if name:
            self._peaks[name] = output.amax((0, 2, 3))

    def _normalised(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        name, maps = self._last
        if inputs[0] is maps:  # this convolution's own batch norm
            self._peaks[name] = output.amax((0, 2, 3))

    def count(self) -> None:
        """Take what fired on the batch that has just passed."""
        for name, peak in self._peaks.items():
            fired = peak > 0
            self.fired[name] = self.fired[name] | fired if name in self.fired else fired

    def remove(self) -> None:
        """Leave the network as it was."""
        for hook in self._hooks:
            hook.remove()
