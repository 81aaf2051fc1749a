"""What networks are asked: one class of several, yes or no several times, or a number.

A task says what a store's labels are to a network: how many outputs, the loss, how good an answer
is. What else differs between tasks follows from that.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autoprune.core import tasks
from autoprune.core.errors import InputError
from autoprune.data.store import ClientStore

Rows = slice | np.ndarray
# of one target: which answers are right (image,), the classes (image,), the target's name
Part = tuple[np.ndarray, np.ndarray, str]


class Task(ABC):
    """A task on targets of a store; raises InputError where they are no such targets.

    A network gives ``outputs`` numbers an image. ``labels`` are what it is trained on and held
    against: (image,) int64 of a class, else (image, output) float32.
    """

    name: ClassVar[str]
    loss: Callable[..., Tensor]  # of outputs, labels and torch's ``reduction``

    def __init__(self, store: ClientStore, targets: Sequence[str]) -> None:
        self.store, self.targets = store, tuple(targets)
        self.columns = [store.target_column(target) for target in targets]
        self.score = tasks.score_of(self.name)

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for an image."""
        return len(self.targets)

    @abstractmethod
    def meaning(self) -> str:
        """What an exported network's outputs are."""

    @abstractmethod
    def labels(self, rows: Rows) -> np.ndarray:
        """The labels of rows of the store."""

    @abstractmethod
    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """What outputs (image, output) say."""

    @abstractmethod
    def right(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """How right each answer is (image,); the mean is the score."""

    @abstractmethod
    def parts(self, outputs: np.ndarray, labels: np.ndarray) -> Iterator[Part]:
        """The answers target by target, where those have classes."""

    @abstractmethod
    def measure(self, metric: str, outputs: np.ndarray, labels: np.ndarray) -> float:
        """One of ``core.tasks.METRICS``, by scikit-learn."""

    def check(self, metrics: Sequence[str]) -> None:
        """Raise InputError where the held-out labels do not bear the score or these metrics."""
        if "auc" not in metrics:
            return
        labels = self.labels(self.store.rows("test"))
        for _, classes, target in self.parts(np.zeros((len(labels), self.outputs)), labels):
            known = self.store.classes(target)
            found = np.bincount(classes, minlength=len(known))
            if (found == 0).any():
                raise InputError(
                    f"{self.store.folder}: metric auc: no test image of target {target!r} is "
                    f"{known[int(found.argmin())]!r}, expected one at least of each of its "
                    f"{len(known)} classes; leave auc out of metrics, or hold out more"
                )

    def facts(self) -> dict[str, Any]:
        """What a manifest says of an exported network's outputs."""
        return {"task": self.name, "targets": list(self.targets), "outputs": self.meaning()}

    def agreement(self, found: np.ndarray, expected: np.ndarray) -> float | None:
        """The share of answers in which two networks' outputs agree."""
        return float((self.answers(found) == self.answers(expected)).mean())

    def _check_finite(self, outputs: np.ndarray) -> None:
        """Raise InputError for answers of a diverged network that nothing can be made of."""
        if not np.isfinite(outputs).all():
            raise InputError(
                f"{self.store.folder}: task {self.name}: the network's answers are not finite "
                "numbers; lower the learning rate"
            )

    def _classes(self, target: str) -> list[str]:
        """The classes of a target; raises InputError for one of numbers."""
        classes = self.store.classes(target)
        if not classes:
            raise InputError(
                f"{self.store.folder}: task {self.name}: target {target!r} is of numbers, expected "
                "one of classes; set task: regression, or another target"
            )
        return classes


class MultiClass(Task):
    """One class of several, as the paper has it; the score is the share of right classes."""

    name = "multi-class"
    loss = staticmethod(F.cross_entropy)

    def __init__(self, store: ClientStore, targets: Sequence[str]) -> None:
        super().__init__(store, targets)
        if len(classes := self._classes(targets[0])) < 2:
            raise InputError(
                f"{store.folder}: task multi-class: target {targets[0]!r} has the class "
                f"{classes[0]!r} alone, expected two at least"
            )

    @property
    def outputs(self) -> int:
        """One a class."""
        return len(self.store.classes(self.targets[0]))

    def meaning(self) -> str:
        """What an exported network's outputs are."""
        return "logits, one a class: softmax makes probabilities of them"

    def labels(self, rows: Rows) -> np.ndarray:
        """Classes (image,) int64."""
        return self.store.labels[rows, self.columns[0]].astype(np.int64)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Classes (image,): the first of those with the largest output."""
        return torch.from_numpy(outputs).argmax(1).numpy()

    def right(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Whether the class is right (image,) bool."""
        return self.answers(outputs) == labels

    def parts(self, outputs: np.ndarray, labels: np.ndarray) -> Iterator[Part]:
        """The one target."""
        yield self.right(outputs, labels), labels, self.targets[0]

    def measure(self, metric: str, outputs: np.ndarray, labels: np.ndarray) -> float:
        """F1, or AUC of softmax's shares, class against rest: the mean over classes.

        F1 over the classes that occur or are answered, 0 where none of a class is right.
        """
        from sklearn import metrics

        if metric == "macro-f1":
            found = self.answers(outputs)
            return float(metrics.f1_score(labels, found, average="macro", zero_division=0))
        self._check_finite(outputs)
        shares = np.exp(outputs.astype(np.float64) - outputs.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        if self.outputs == 2:
            return float(metrics.roc_auc_score(labels, shares[:, 1]))
        return float(metrics.roc_auc_score(labels, shares, multi_class="ovr"))


class MultiLabel(Task):
    """Yes or no of several targets, yes being a target's second class.

    The score is the mean over the targets of the share of right answers, as papers on CelebA's
    attributes have it (Liu et al. 2015).
    """

    name = "multi-label"
    loss = staticmethod(F.binary_cross_entropy_with_logits)

    def __init__(self, store: ClientStore, targets: Sequence[str]) -> None:
        super().__init__(store, targets)
        for target in targets:
            classes = self._classes(target)
            if len(classes) != 2:
                raise InputError(
                    f"{store.folder}: task multi-label: target {target!r} has {len(classes)} "
                    f"classes ({', '.join(classes[:4])}{', …' if len(classes) > 4 else ''}), "
                    "expected two, such as no and yes; one target of several classes is task "
                    "multi-class"
                )

    def meaning(self) -> str:
        """What an exported network's outputs are."""
        return "logits, one a target: the sigmoid makes the probability of yes of each"

    def labels(self, rows: Rows) -> np.ndarray:
        """1 for yes, 0 for no (image, target) float32."""
        return np.asarray(self.store.labels[rows])[:, self.columns].astype(np.float32)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """True for yes (image, target): where it has more than half of the probability."""
        return outputs > 0

    def right(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The share of right answers to each image (image,)."""
        return (self.answers(outputs) == (labels > 0)).mean(1)

    def parts(self, outputs: np.ndarray, labels: np.ndarray) -> Iterator[Part]:
        """Each target."""
        right, classes = self.answers(outputs) == (labels > 0), labels.astype(np.int64)
        for place, target in enumerate(self.targets):
            yield right[:, place], classes[:, place], target

    def measure(self, metric: str, outputs: np.ndarray, labels: np.ndarray) -> float:
        """F1 of yes, or AUC: the mean over targets. F1 is 0 where none of the yes is right."""
        from sklearn import metrics

        if metric == "auc":
            self._check_finite(outputs)
            return float(metrics.roc_auc_score(labels, outputs, average="macro"))
        found = self.answers(outputs)
        return float(metrics.f1_score(labels > 0, found, average="macro", zero_division=0))


class Regression(Task):
    """A number, standardised by the training images' mean and standard deviation.

    The score is R²: the mean over a split's images of 1 - (error / deviation of the split)².
    """

    name = "regression"
    loss = staticmethod(F.mse_loss)

    def __init__(self, store: ClientStore, targets: Sequence[str]) -> None:
        super().__init__(store, targets)
        (self.about,) = (store.targets[column] for column in self.columns)
        if store.classes(targets[0]):
            raise InputError(
                f"{store.folder}: task regression: target {targets[0]!r} has "
                f"{len(store.classes(targets[0]))} classes, expected numbers; name a target of "
                "numbers, or leave task out"
            )

    def meaning(self) -> str:
        """How a number is made of the output."""
        mean, sd = self.about["mean"], self.about["sd"]
        return f"the target, standardised: times {sd!r}, plus {mean!r}"

    def labels(self, rows: Rows) -> np.ndarray:
        """Standardised numbers (image, 1) float32."""
        values = np.asarray(self.store.labels[rows])[:, self.columns].astype(np.float64)
        return ((values - self.about["mean"]) / self.about["sd"]).astype(np.float32)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """Numbers (image,) in the target's unit."""
        return outputs[:, 0].astype(np.float64) * self.about["sd"] + self.about["mean"]

    def right(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """1 - (error / deviation of these labels)² of each image; raises InputError for no number.

        Of the mean of the labels the score is 0, of a worse answer less.
        """
        self._check_finite(outputs)
        errors = outputs[:, 0].astype(np.float64) - labels[:, 0]
        return 1 - errors**2 / np.var(labels[:, 0], dtype=np.float64)

    def parts(self, outputs: np.ndarray, labels: np.ndarray) -> Iterator[Part]:
        """None: there are no classes."""
        return iter(())

    def measure(self, metric: str, outputs: np.ndarray, labels: np.ndarray) -> float:
        """The mean absolute error, in the target's unit."""
        from sklearn import metrics

        return float(metrics.mean_absolute_error(self.answers(labels), self.answers(outputs)))

    def check(self, metrics: Sequence[str]) -> None:
        """R² asks for labels that differ, in each split."""
        for split in ("validation", "test"):
            labels = self.labels(self.store.rows(split))
            if labels.min() == labels.max():
                raise InputError(
                    f"{self.store.folder}: task regression: target {self.targets[0]!r} is the same "
                    f"number in all {len(labels)} {split} images, of which there is no R²; hold "
                    "out more"
                )

    def agreement(self, found: np.ndarray, expected: np.ndarray) -> float | None:
        """None: numbers are near or far, see ``max_abs_difference``."""
        return None


KINDS: dict[str, type[Task]] = {kind.name: kind for kind in (MultiClass, MultiLabel, Regression)}


def task_of(name: str, store: ClientStore, target: str) -> Task:
    """The task of a name on ``target``, which of multi-label names several."""
    targets = target.split(tasks.TOGETHER) if name == MultiLabel.name else [target]
    return KINDS[name](store, targets)
