"""What a run's test predictions come to: over rounds, over classes and over clients."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation.history import Row

LAST = 5  # evaluations whose mean is the accuracy of a run: single ones swing by points
DECILE = 0.1


def scores_of(
    history: Sequence[Row],
    labels: np.ndarray,
    found: np.ndarray,
    store: ClientStore,
    partition: Partition,
) -> dict[str, Any]:
    """The test accuracies of a finished run, as evaluation.json holds them.

    ``labels`` and ``found`` (image,) are the classes of the pooled test set and those found by the
    final network. ``test_accuracy`` is the mean of the last five evaluations, ``_last`` the last,
    ``_best`` that of the round with the best validation accuracy (the first of equals).
    """
    rows = [row for row in history[1:] if row.test_accuracy is not None]
    accuracies = [float(row.test_accuracy) for row in rows if row.test_accuracy is not None]
    best = max(range(len(rows)), key=lambda n: (rows[n].validation_accuracy or 0, -n))
    right = found == labels
    of_clients, by = client_accuracies(right, labels, store, partition)
    return {
        "test_accuracy": math.fsum(accuracies[-LAST:]) / len(accuracies[-LAST:]),
        "test_accuracy_last": accuracies[-1],
        "test_accuracy_best": accuracies[best],
        "test_macro_accuracy": float(class_accuracies(right, labels).mean()),
        "test_accuracy_worst_decile": worst(of_clients, DECILE),
        "test_clients": len(of_clients),
        "test_clients_by": by,
    }


def class_accuracies(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The share of right answers for each class that occurs, (class,)."""
    asked = np.bincount(labels)
    return (np.bincount(labels, weights=right) / np.maximum(asked, 1))[asked > 0]


def client_accuracies(
    right: np.ndarray, labels: np.ndarray, store: ClientStore, partition: Partition
) -> tuple[np.ndarray, str]:
    """Accuracy of each client (client,), and how it was found.

    ``own images``: of the owners of the test images, where the partition is the natural one.
    ``label mix``: where test images belong to nobody, of a client that holds share p of class c,
    the sum of p times the accuracy on c over the classes that the test set has.
    """
    if partition.header["scheme"] == "natural":
        owners = np.asarray(store.clients[store.rows("test")])
        asked = np.bincount(owners)
        return (np.bincount(owners, weights=right) / np.maximum(asked, 1))[asked > 0], "own images"
    classes = np.unique(labels)
    of_classes = class_accuracies(right, labels)
    column = np.asarray(store.labels[:, store.target_column(partition.header["target"])])
    accuracies = []
    for client in range(partition.clients):
        held = np.bincount(column[partition.indices(client)], minlength=int(classes[-1]) + 1)
        held = held[classes]
        if held.sum():
            accuracies.append(float(held @ of_classes / held.sum()))
    return np.array(accuracies), "label mix"


def worst(accuracies: np.ndarray, share: float) -> float:
    """The mean of the lowest ``share`` of accuracies, of one at least."""
    number = max(1, math.ceil(share * len(accuracies)))
    return float(np.sort(accuracies)[:number].mean())
