"""Clients' images that stay on a GPU between rounds, as bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
import torch
from torch import Tensor

LIMIT = 2**30  # bytes a process keeps: all of FEMNIST's images are half of it, CelebA's 3.5 of it
Read = Callable[[], tuple[np.ndarray, np.ndarray]]


class Resident:
    """Images and labels by client on one device, at most ``limit`` bytes, the last used ones.

    The client that is asked for is there whatever its size.
    """

    def __init__(self, device: torch.device, limit: int = LIMIT) -> None:
        self._device, self._limit = device, limit
        self._kept: OrderedDict[Hashable, tuple[Tensor, Tensor]] = OrderedDict()
        self.bytes = 0

    def of(self, client: Hashable, read: Read) -> tuple[Tensor, Tensor]:
        """A client's (images, labels) on the device; ``read`` gets them where they are not."""
        if client not in self._kept:
            pixels, labels = (torch.from_numpy(part).to(self._device) for part in read())
            self._kept[client] = pixels, labels
            self.bytes += pixels.nbytes + labels.nbytes
        self._kept.move_to_end(client)
        while self.bytes > self._limit and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self.bytes -= sum(part.nbytes for part in gone)
        return self._kept[client]
