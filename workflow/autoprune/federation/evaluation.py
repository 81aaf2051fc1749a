"""What the server reads off a network: answers on the held-out images, and which filters live."""

import numpy as np

from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation.live import live_filters, sample
from autoprune.federation.scores import LAST
from autoprune.federation.training import predict
from autoprune.federation.units import HELD_OUT, counted, units_of
from autoprune.models.layers import Network, to_channels_last


class Evaluation:
    """The pooled held-out splits of a store, and who owned what the last evaluations got right.

    ``recent`` has, of each evaluation that a score is made of, the right images by unit, in the
    order of ``examples``; a checkpoint keeps it.
    """

    def __init__(self, store: ClientStore, partition: Partition, target: str, seed: int) -> None:
        self.store = store
        self.column = store.target_column(target)
        self.sample = sample(store, seed)
        self.units = units_of(store, partition)
        self.examples = counted(self.units)
        self.recent: list[list[int]] = []

    def live(self, network: Network) -> str:
        """The fraction of live filters of each prunable layer, separated by spaces."""
        fractions = live_filters(to_channels_last(network), self.store, self.sample)
        return " ".join(f"{fraction:.4f}" for fraction in fractions)

    def scores(self, network: Network) -> list[tuple[float, float]]:
        """Accuracy (fraction) and loss of a network on validation and test; goes into ``recent``.

        The network is left in channels-last order.
        """
        right, scores = {}, []
        for split in HELD_OUT:
            labels, found, loss = self.predict(network, split)
            right[split] = found == labels
            scores.append((int(right[split].sum()) / len(labels), loss))
        self.recent = [*self.recent, list(counted(self.units, right).values())][-LAST:]
        return scores

    def predict(self, network: Network, split: str) -> tuple[np.ndarray, np.ndarray, float]:
        """Of a pooled split: labels (image,), classes found (image,), mean loss."""
        rows = self.store.rows(split)
        labels = self.store.labels[rows, self.column]
        images, pixel_range = self.store.images[rows], self.store.pixel_range
        return labels, *predict(to_channels_last(network), images, labels, pixel_range)
