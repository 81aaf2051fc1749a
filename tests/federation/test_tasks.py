"""Several answers at once and numbers: the scores by scikit-learn, the same bytes, refusals."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch.nn import functional as F

from autoprune.core.errors import InputError
from autoprune.data.prepare.write import write_store
from autoprune.data.store import ClientStore
from autoprune.federation.tasks import task_of
from autoprune.federation.training import outputs_of
from autoprune.models import Architecture, new_network
from autoprune.models.weights import load_network
from stages import run_here

SEVERAL = {"task": "multi-label", "target": "Smiling, Male", "metrics": "macro-f1 auc"}
NUMBER = {"task": "regression", "target": "HairLength", "metrics": "mae"}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Folder of a store of faces with two answers and a number, and of its partitions."""
    folder = tmp_path_factory.mktemp("faces")
    size = ["--clients", 5, "--samples", 16, "--numbers", "--resize", 28, "--standardise"]
    prepared = ["faces", "--name", "faces", *size, "--output", folder / "store"]
    assert run_here("autoprune.data.prepare", *prepared).returncode == 0
    for name, words in {
        "SEVERAL": ["--target", "Smiling", "Male", "--scheme", "natural"],
        "NUMBER": ["--target", "HairLength", "--scheme", "iid", "--clients", 4],
    }.items():
        places = ["--store", folder / "store", "--output", folder / name]
        done = run_here("autoprune.data.prepare.partition", *places, *words)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def runs(faces, train, tmp_path_factory):
    """The finished runs of both tasks, with one worker and with two."""
    found = {}
    for name, task in (("SEVERAL", SEVERAL), ("NUMBER", NUMBER)):
        for workers in (1, 2):
            output = tmp_path_factory.mktemp("run")
            places = {"store": faces / "store", "partition": faces / name, "dataset": "faces"}
            done = train(output, "autoprune", "inherit", workers=workers, **places, **task)
            assert done.returncode == 0, done.stderr
            found[name, workers] = output
    return found


@pytest.mark.parametrize("name", ["SEVERAL", "NUMBER"])
def test_the_bytes_do_not_depend_on_the_workers(runs, contents, name):
    assert contents(runs[name, 1]) == contents(runs[name, 2])


def _outputs(faces, run, task):
    """A finished run's network on the test images: its task, labels and outputs."""
    store = ClientStore.open(faces / "store")
    asked = task_of(task["task"], store, task["target"])
    network, rows = load_network(run / "weights.safetensors")[1], store.rows("test")
    network.loss = asked.loss
    labels = asked.labels(rows)
    return asked, labels, *outputs_of(network, store.images[rows], labels, store.pixel_range)


def test_scores_of_several_answers_are_scikit_learns(faces, runs):
    _, labels, outputs, loss = _outputs(faces, runs["SEVERAL", 1], SEVERAL)
    found = json.loads((runs["SEVERAL", 1] / "evaluation.json").read_text())
    yes = outputs > 0
    by_target = [metrics.accuracy_score(labels[:, n], yes[:, n]) for n in (0, 1)]
    assert found["test_accuracy_last"] == pytest.approx(np.mean(by_target))
    balanced = [metrics.balanced_accuracy_score(labels[:, n], yes[:, n]) for n in (0, 1)]
    assert found["test_macro_accuracy"] == pytest.approx(np.mean(balanced))
    each = [metrics.f1_score(labels[:, n], yes[:, n], zero_division=0) for n in (0, 1)]
    assert found["test_macro_f1"] == pytest.approx(np.mean(each))
    areas = [metrics.roc_auc_score(labels[:, n], outputs[:, n]) for n in (0, 1)]
    assert found["test_auc"] == pytest.approx(np.mean(areas))
    shares = 1 / (1 + np.exp(-outputs.astype(float)))
    assert found["test_loss"] == loss == pytest.approx(metrics.log_loss(*_flat(labels, shares)))
    assert found["test_clients_by"] == "own images"


def _flat(*arrays):
    return (array.reshape(-1) for array in arrays)


def test_scores_of_a_number_are_scikit_learns(faces, runs):
    """R² and the absolute error, the latter in the target's own unit."""
    asked, labels, outputs, loss = _outputs(faces, runs["NUMBER", 1], NUMBER)
    run = runs["NUMBER", 1]
    found = json.loads((run / "evaluation.json").read_text())
    store = ClientStore.open(faces / "store")
    true = store.labels[store.rows("test"), store.target_column("HairLength")]
    answers = asked.answers(outputs)
    assert found["test_r2_last"] == pytest.approx(metrics.r2_score(true, answers))
    assert found["test_mae"] == pytest.approx(metrics.mean_absolute_error(true, answers))
    assert found["test_loss"] == loss == pytest.approx(metrics.mean_squared_error(labels, outputs))
    assert not any("accuracy" in name for name in found)
    with (run / "history.csv").open() as stream:
        (*_, last) = rows = list(csv.DictReader(stream))
    assert float(last["test_r2"]) == found["test_r2_last"]
    assert float(last["test_r2"]) > float(rows[0]["test_r2"])  # it learns
    with (run / "units.csv").open() as stream:
        scores = [float(row["score"]) for row in csv.DictReader(stream)]
    both = found["test_r2"] * found["test_examples"]
    held_out = found["validation_examples"] * np.mean(
        [float(row["validation_r2"]) for row in rows[1:] if row["validation_r2"]]
    )
    assert sum(scores) == pytest.approx(both + held_out)


@pytest.mark.parametrize("loss", [F.binary_cross_entropy_with_logits, F.mse_loss])
def test_another_loss_has_autograds_gradients(loss):
    """The CNN's own backward pass is of cross-entropy alone."""
    network = new_network(Architecture("cnn", (4, 5), (1, 28, 28), 2), 0)
    images = torch.rand(6, 1, 28, 28)
    labels = torch.randint(0, 2, (6, 2)).float()
    loss(network(images), labels).backward()
    expected = [parameter.grad.clone() for parameter in network.parameters()]
    for parameter in network.parameters():
        parameter.grad.zero_()
    network.loss = loss
    assert network.backward(images, labels, torch.float32) == loss(network(images), labels)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)


REFUSED = {
    "a class for numbers": (SEVERAL, {"target": "Smiling, HairLength"}, "is of numbers"),
    "numbers of a class": (NUMBER, {"target": "Male"}, "has 2 classes, expected numbers"),
    "one class of numbers": (NUMBER, {"task": "multi-class"}, "is of numbers, expected one of"),
    "absent": (SEVERAL, {"target": "Smiling, Bald"}, "no target 'Bald'; it has Male, Smiling"),
    "no such task": (SEVERAL, {"task": "ranking"}, "task: found 'ranking'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_targets_that_do_not_fit_are_refused_in_a_line(faces, train, tmp_path, case):
    task, change, said = REFUSED[case]
    places = {"store": faces / "store", "partition": faces / "SEVERAL", "dataset": "faces"}
    done = train(tmp_path / "out", **places, **task | change)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert said in line
    assert not (tmp_path / "out" / "run.json").exists()


def _store(folder, labels, targets, held_out=2):
    """A store of these labels, one client, so many of the last rows for each held-out split."""
    rows = len(labels)
    splits = np.repeat([0, 1, 2], [rows - 2 * held_out, held_out, held_out])
    write_store(
        folder, name="made", source="test", kind="real", labels=np.array(labels, float),
        images=np.arange(1, rows + 1).astype(">u4").view(np.uint8).reshape(-1, 2, 2, 1),
        clients=np.zeros(rows, int), splits=splits, client_ids=["one"], targets=targets,
        dropped=[], polarity="colour", natural_clients=True,
    )  # fmt: skip
    return ClientStore.open(folder)


ANSWER = {"name": "answer", "classes": ["no", "yes"]}


def test_auc_of_one_class_alone_is_refused(tmp_path):
    labels = [[0, 0], [1, 1], [0, 1], [1, 1], [0, 1], [1, 1]]
    store = _store(tmp_path / "s", labels, [ANSWER, ANSWER | {"name": "other"}])
    task = task_of("multi-label", store, "answer, other")
    task.check(["macro-f1"])
    with pytest.raises(InputError, match="no test image of target 'other' is 'no'"):
        task.check(["auc"])
    with pytest.raises(InputError, match="no test image of target 'other' is 'no'"):
        task_of("multi-class", store, "other").check(["auc"])


def test_targets_of_more_than_two_classes_are_no_answers(tmp_path):
    many = {"name": "word", "classes": ["a", "b", "c"]}
    store = _store(tmp_path / "s", [[0, 0], [1, 1], [0, 2], [1, 1], [0, 1], [1, 1]], [ANSWER, many])
    with pytest.raises(InputError, match=r"target 'word' has 3 classes \(a, b, c\), expected two"):
        task_of("multi-label", store, "answer, word")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([1, 2, float("nan"), 1, 2, 3], "labels of 'age': found nan in row 2, expected finite"),
        ([2, 2, 1, 3, 1, 3], "target 'age' is 2 in all 2 training images"),
    ],
)
def test_numbers_that_cannot_be_standardised_are_refused(tmp_path, numbers, said):
    with pytest.raises(InputError, match=said):
        _store(tmp_path / "s", [[n] for n in numbers], [{"name": "age", "classes": []}])


def test_held_out_numbers_that_are_all_the_same_are_refused(tmp_path):
    store = _store(tmp_path / "s", [[1], [2], [1], [3], [4], [4]], [{"name": "age", "classes": []}])
    assert store.targets[0]["mean"] == 1.5
    with pytest.raises(InputError, match="the same number in all 2 test images"):
        task_of("regression", store, "age").check(())


def test_answers_of_a_diverged_network_have_no_auc(tmp_path):
    """In a line, as no R² has: their weights may be finite still, and nobody was left out."""
    store = _store(tmp_path / "s", [[0, 1], [1, 0]] * 3, [ANSWER, ANSWER | {"name": "other"}])
    labels, outputs = np.array([[0.0, 1], [1, 0]]), np.array([[np.inf, 0], [np.nan, 1]])
    for name, target, of in (("multi-label", "answer, other", labels), ("multi-class", "answer",
                             labels[:, 0])):  # fmt: skip
        task = task_of(name, store, target)
        with pytest.raises(InputError, match=f"task {name}: the network's answers are not finite"):
            task.measure("auc", outputs, of)


def test_more_classes_by_scikit_learn(tmp_path):
    """Macro F1 and AUC of the paper's task, where they are asked for."""
    kinds = {"name": "kind", "classes": ["a", "b", "c"]}
    store = _store(tmp_path / "s", [[n % 3] for n in range(12)], [kinds], held_out=3)
    task = task_of("multi-class", store, "kind")
    task.check(["macro-f1", "auc"])
    outputs = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    labels = np.arange(30) % 3
    f1 = metrics.f1_score(labels, outputs.argmax(1), average="macro")
    assert task.measure("macro-f1", outputs, labels) == pytest.approx(f1)
    shares = torch.softmax(torch.from_numpy(outputs).double(), 1).numpy()
    area = metrics.roc_auc_score(labels, shares, multi_class="ovr")
    assert task.measure("auc", outputs, labels) == pytest.approx(area)
