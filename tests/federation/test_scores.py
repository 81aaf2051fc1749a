"""Accuracies over classes and clients, by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from autoprune.core.files import read_json, write_json
from autoprune.federation.evaluation import class_accuracies, client_accuracies, in_json, worst
from autoprune.measure.table import number

LABELS = np.array([0, 0, 0, 2, 2, 3])
RIGHT = np.array([1, 1, 0, 1, 0, 0], dtype=bool)


def test_classes_that_do_not_occur_do_not_count():
    assert class_accuracies(RIGHT, LABELS).tolist() == pytest.approx([2 / 3, 1 / 2, 0])


def test_natural_clients_answer_for_their_own_images():
    store = SimpleNamespace(
        clients=np.array([9, 9, 4, 4, 7, 7, 7, 7]), rows=lambda split: slice(2, 8)
    )
    partition = SimpleNamespace(header={"scheme": "natural"})
    found, by = client_accuracies(RIGHT, LABELS, store, partition)
    assert by == "own images"
    assert found.tolist() == pytest.approx([1, 1 / 4])  # clients 4 and 7


def test_others_answer_by_their_mix_of_labels():
    """Two of class 0 and one of 2; then classes 1 (not in the test set) and 3."""
    held = np.array([0, 2, 0, 1, 3, 1])
    store = SimpleNamespace(labels=held[:, None], target_column=lambda target: 0)
    parts = [np.array([0, 1, 2]), np.array([3, 4]), np.array([5])]
    partition = SimpleNamespace(
        header={"scheme": "dirichlet", "target": "digit"}, clients=3, indices=lambda c: parts[c]
    )
    found, by = client_accuracies(RIGHT, LABELS, store, partition)
    assert by == "label mix"
    assert found.tolist() == pytest.approx([(2 * 2 / 3 + 1 / 2) / 3, 0])


def test_the_worst_tenth_is_one_client_at_least():
    assert worst(np.array([0.5, 0.1, 0.9]), 0.1) == pytest.approx(0.1)
    assert worst(np.linspace(0, 1, 21), 0.1) == pytest.approx(0.05)


@pytest.mark.parametrize("loss", [0.5, math.inf, math.nan])
def test_a_loss_of_any_size_is_written_and_read(tmp_path, loss):
    """A network that is far off must not end a run at its very last file."""
    write_json(tmp_path / "evaluation.json", {"test_loss": in_json(loss)})
    found = number(read_json(tmp_path / "evaluation.json")["test_loss"], "test_loss", "here")
    assert found == loss or (math.isnan(found) and math.isnan(loss))
