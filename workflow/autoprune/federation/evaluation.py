"""What the server reads off a network: answers on the held-out images, and which filters live.

The answers are counted by unit, which a bootstrap draws: the images' owners, or blocks of images.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoprune.core.evaluations import LAST
from autoprune.core.files import write_text
from autoprune.core.tasks import ACCURACY, R2, column, named
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation import device
from autoprune.federation.history import Row
from autoprune.federation.live import live_filters, sample
from autoprune.federation.settings import Settings
from autoprune.federation.tasks import Task
from autoprune.federation.training import outputs_of, to_input
from autoprune.models.layers import Network, to_channels_last

HELD_OUT = ("validation", "test")
BLOCKS = 100  # enough for an interval, few enough for a table; images of a block share nothing
DECILE = 0.1
# of a unit's images: how many were answered right, or the sum of what R² is the mean of
UNIT_SCORES = {ACCURACY: "right", R2: "score"}


class Evaluation:
    """The pooled held-out splits of a store, and who owned what the last evaluations got right.

    ``units`` of each split are those of its images (image,): their clients in the natural
    partition; where images belong to nobody, image n is of block n modulo BLOCKS. ``examples`` are
    the images of each unit in both splits, ``recent`` those of each evaluation that a score is
    made of that were right, in the order of ``examples``; a checkpoint keeps it. Raises InputError
    where the held-out labels do not bear the task's score or the settings' metrics.
    """

    def __init__(
        self, store: ClientStore, partition: Partition, task: Task, settings: Settings
    ) -> None:
        task.check(settings.metrics)
        self.store = store
        self.partition = partition
        self.task = task
        self.metrics = settings.metrics
        self.device = device.start(settings.device)
        self.sample = sample(store, settings.seed)
        rows = {split: store.rows(split) for split in HELD_OUT}
        if partition.header["scheme"] == "natural":
            self.units = {split: np.asarray(store.clients[own]) for split, own in rows.items()}
        else:
            sizes = {split: len(store.labels[own]) for split, own in rows.items()}
            self.units = {split: np.arange(size) % BLOCKS for split, size in sizes.items()}
        self.examples = self._by_unit({s: np.ones(len(own)) for s, own in self.units.items()})
        self.recent: list[list[float]] = []

    def of(self, row: Row, network: Network) -> Row:
        """A row of the history with what this network finds: scores, losses, live filters.

        What is right goes into ``recent``. The network is left in channels-last order.
        """
        right, scores = {}, {}
        with device.placed(network, self.device):
            for split in HELD_OUT:
                labels, found, loss = self.predict(network, split)
                right[split] = self.task.right(found, labels)
                scores[split] = float(right[split].sum() / len(labels)), loss
            fractions = live_filters(network, self.store, self.sample)
        self.recent = [*self.recent, list(self._by_unit(right).values())][-LAST:]
        return replace(
            row,
            validation_accuracy=scores["validation"][0],
            validation_loss=scores["validation"][1],
            test_accuracy=scores["test"][0],
            live=" ".join(f"{fraction:.4f}" for fraction in fractions),
        )

    def predict(self, network: Network, split: str) -> tuple[np.ndarray, np.ndarray, float]:
        """Of a pooled split: labels, outputs (image, output), mean loss."""
        rows = self.store.rows(split)
        labels = self.task.labels(rows)
        images, pixel_range = self.store.images[rows], self.store.pixel_range
        network.loss = self.task.loss
        return labels, *outputs_of(to_channels_last(network), images, labels, pixel_range)

    def answers(self, network: Network) -> bool:
        """Whether the network's answers to a training image are finite numbers."""
        images = to_input(self.store.images[self.sample[:1]], self.store.pixel_range)
        with torch.no_grad(), device.placed(network, self.device):
            return bool(network.eval()(images.to(self.device)).isfinite().all())

    def _by_unit(self, of_images: dict[str, np.ndarray]) -> dict[int, float]:
        """The sum of a number of each image over the images of each unit, of both splits."""
        both = np.concatenate([self.units[split] for split in HELD_OUT])
        sums = np.bincount(both, weights=np.concatenate([of_images[s] for s in HELD_OUT]))
        whole = sums.astype(np.int64)  # answers that are right or wrong are counted
        return {
            int(unit): int(whole[unit]) if whole[unit] == sums[unit] else float(sums[unit])
            for unit in np.unique(both)
        }

    def write_units(self, path: Path) -> None:
        """A row for each unit: its images, and how many were right, mean over ``recent``."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("unit", "examples", UNIT_SCORES[self.task.score]))
        for place, (unit, number) in enumerate(self.examples.items()):
            right = sum(evaluation[place] for evaluation in self.recent) / len(self.recent)
            writer.writerow((unit, number, repr(right)))
        write_text(path, stream.getvalue())

    def accuracies(self, history: Sequence[Row], network: Network) -> dict[str, Any]:
        """The scores of a finished run and its final network, as evaluation.json holds them.

        ``test_accuracy`` is the mean of the last five evaluations, ``_last`` the last, ``_best``
        that of the round with the best validation accuracy (the first of equals). The others are
        the final network's. What needs classes, or owners of images, is left out without them.
        """
        with device.placed(network, self.device):
            labels, found, loss = self.predict(network, "test")
        rows = [row for row in history[1:] if row.test_accuracy is not None]
        accuracies = [row.test_accuracy for row in rows if row.test_accuracy is not None]
        best = max(range(len(rows)), key=lambda n: (rows[n].validation_accuracy or 0, -n))
        right = self.task.right(found, labels)
        macro = [class_accuracies(*part[:2]).mean() for part in self.task.parts(found, labels)]
        of_clients, by = self.of_clients(right, found, labels)
        scores = {
            "test_accuracy": math.fsum(accuracies[-LAST:]) / len(accuracies[-LAST:]),
            "test_accuracy_last": accuracies[-1],
            "test_accuracy_best": accuracies[best],
            **({"test_macro_accuracy": float(np.mean(macro))} if macro else {}),
            **({"test_accuracy_worst_decile": worst(of_clients, DECILE)} if by else {}),
            "test_clients": len(of_clients),
            "test_clients_by": by,
            **{column(name): self.task.measure(name, found, labels) for name in self.metrics},
            "test_loss": in_json(loss),
            "test_examples": len(labels),
            "validation_accuracy": rows[-1].validation_accuracy,
            "validation_loss": in_json(rows[-1].validation_loss),
            "validation_examples": len(self.units["validation"]),
        }
        return {named(name, self.task.score): value for name, value in scores.items()}

    def of_clients(
        self, right: np.ndarray, found: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, str]:
        """``client_accuracies``, the mean over a task's targets; nobody's, by "", without classes.

        Of test images: how right the answers are (image,), the outputs, the labels.
        """
        if self.partition.header["scheme"] == "natural":
            return client_accuracies(right, np.empty(0), self.store, self.partition)
        mixes = [
            label_mix(own, classes, self.store, self.partition, target)
            for own, classes, target in self.task.parts(found, labels)
        ]
        if not mixes:
            return np.empty(0), ""
        known = np.array(mixes)[:, ~np.isnan(mixes).all(0)]
        return np.nanmean(known, axis=0), "label mix"


def in_json(loss: float | None) -> float | str | None:
    """A loss as a JSON file holds it, which has no infinite numbers: as text, which reads back."""
    return loss if loss is None or math.isfinite(loss) else str(loss)


def class_accuracies(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The share of right answers for each class that occurs, (class,)."""
    asked = np.bincount(labels)
    return (np.bincount(labels, weights=right) / np.maximum(asked, 1))[asked > 0]


def client_accuracies(
    right: np.ndarray, labels: np.ndarray, store: ClientStore, partition: Partition
) -> tuple[np.ndarray, str]:
    """Accuracy of each client (client,), and how it was found.

    ``own images``: of the owners of the test images, where the partition is the natural one.
    ``label mix``: where test images belong to nobody.
    """
    if partition.header["scheme"] == "natural":
        return class_accuracies(right, np.asarray(store.clients[store.rows("test")])), "own images"
    mix = label_mix(right, labels, store, partition, partition.header["target"])
    return mix[~np.isnan(mix)], "label mix"


def label_mix(
    right: np.ndarray, labels: np.ndarray, store: ClientStore, partition: Partition, target: str
) -> np.ndarray:
    """Of a client that holds share p of class c, the sum of p times the accuracy on c (client,).

    Over the classes of ``target`` that the test set has; nan of a client that has none of them.
    """
    classes = np.unique(labels)
    of_classes = class_accuracies(right, labels)
    column = np.asarray(store.labels[:, store.target_column(target)])
    accuracies = []
    for client in range(partition.clients):
        own = column[partition.indices(client)].astype(np.int64)
        held = np.bincount(own, minlength=int(classes[-1]) + 1)[classes]
        accuracies.append(float(held @ of_classes / held.sum()) if held.sum() else math.nan)
    return np.array(accuracies)


def worst(accuracies: np.ndarray, share: float) -> float:
    """The mean of the lowest ``share`` of accuracies, of one at least."""
    number = max(1, math.ceil(share * len(accuracies)))
    return float(np.sort(accuracies)[:number].mean())
