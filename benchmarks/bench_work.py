"""The works that are measured: networks, clients and random data, at full or at smoke size."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from autoprune.data.prepare import partition
from autoprune.data.prepare.write import write_store
from autoprune.federation.settings import Settings
from autoprune.models import Architecture

HERE = Path(__file__).resolve().parent
LEARNING_RATE, EPSILON, BATCH = 1e-3, 1e-7, 32
MARK = "FEDERATION_BENCHMARK"  # set in the environment of every process that is started here


def say(text: str) -> None:
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Work:
    """Clients of one data set and what a round asks of them; ``side`` in pixels."""

    data: str
    clients: int
    samples: int
    side: int
    channels: int
    classes: int
    cohort: int
    epochs: int
    widths: tuple[int, ...]
    family: str = "cnn"
    device: str = "cpu"
    loop: int = 0  # clients in one measurement of a loop, which then takes 1 to 3 seconds

    @property
    def architecture(self) -> Architecture:
        """The network of this work."""
        shape = (self.channels, self.side, self.side)
        return Architecture(self.family, self.widths, shape, self.classes)

    def settings(self, folder: Path, precision: str) -> Settings:
        """Its run's settings; ``folder`` holds the data of all works."""
        return Settings(
            dataset=self.data,
            stands_for="none",
            store=str(folder / self.data / "store"),
            partition=str(folder / self.data / "partition"),
            target="class",
            model=self.family,
            device=self.device,
            widths=self.widths,
            method="dense",
            variant="fedavg",
            seed=0,
            rounds=1,
            clients_per_round=self.cohort,
            local_epochs=self.epochs,
            batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            epsilon=EPSILON,
            precision=precision,
            optimizer_state="fresh",
            batch_norm="refreshed",
            torch_threads=1,
            min_clients=1,
            evaluate_every=1,
            checkpoint_every=1,
            output=str(folder / "run"),
        )


def progress(settings: Settings, workers: int) -> Iterator[tuple[int, str]]:
    """Train a run by its command: (process, line) of each line that it says.

    Raises RuntimeError, with all of them, when it fails.
    """
    files = ("store", "partition", "output")
    words = [word for name in files for word in (f"--{name}", getattr(settings, name))]
    command = [sys.executable, "-m", "autoprune.federation", *words, "--workers", str(workers)]
    command += ["--settings", json.dumps(settings.run_config())]
    lines = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            lines.append(line)
            yield process.pid, line
    if process.returncode:
        raise RuntimeError(f"autoprune.federation failed:\n{''.join(lines)}")


_SMALL = Work("28x28", 200, 200, 28, 1, 62, 20, 5, (32, 64), loop=5)
_LARGE = Work("84x84", 50, 20, 84, 3, 2, 20, 5, (32, 32, 32, 32), loop=3)
_INCEPTION = (32, 16, 16, 16, 32, 32, 32, 96, 96)
WORKS = {
    "28x28 dense": _SMALL,
    "28x28 pruned": replace(_SMALL, widths=(17, 43), loop=6),
    "84x84 dense": _LARGE,
    "84x84 pruned": replace(_LARGE, widths=(14, 9, 14, 9), loop=6),
    "28x28 resnet": replace(_SMALL, family="resnet", widths=(16, 32, 64), loop=5),
    "84x84 resnet": replace(_LARGE, family="resnet", widths=(16, 32, 64), loop=5),
    "28x28 inception": replace(_SMALL, family="inception", widths=_INCEPTION, loop=2),
    "84x84 inception": replace(_LARGE, family="inception", widths=_INCEPTION, loop=1),
    "light": Work("light", 20, 60, 28, 1, 62, 10, 1, (32, 64)),
}


def works(smoke: bool) -> dict[str, Work]:
    """The works by name; ``smoke`` shrinks them until they say nothing but that they run."""
    if not smoke:
        return WORKS
    return {
        name: replace(
            w, clients=6, samples=min(w.samples, 40), cohort=4, epochs=1, loop=min(w.loop, 1)
        )
        for name, w in WORKS.items()
    }


def make_data(
    folder: Path,
    work: Work,
    pool: tuple[np.ndarray, np.ndarray] | None = None,
    sizes: Sequence[int] | None = None,
) -> None:
    """Images in a client store, and its natural partition, under ``folder``.

    They are drawn with replacement from a ``pool`` of images (image, height, width, channel) and
    labels (image,), or are random numbers without one. ``sizes`` are the numbers of each client's
    images, where they have not all the work's.
    """
    rng = np.random.default_rng(0)
    owners = np.concatenate(
        [np.repeat(np.arange(work.clients), sizes or work.samples), np.zeros(16, int)]
    )
    splits = np.concatenate([np.zeros(len(owners) - 16, int), np.repeat([1, 2], 8)])
    if pool:
        chosen = rng.integers(len(pool[0]), size=len(owners))
        images, labels = pool[0][chosen], pool[1][chosen]
        images[-16:] = rng.integers(0, 256, images[-16:].shape)  # held out: none that is trained on
    else:
        shape = (len(owners), work.side, work.side, work.channels)
        images = rng.integers(0, 256, shape, np.uint8)
        labels = rng.integers(0, work.classes, len(owners))
    write_store(
        folder / work.data / "store",
        name=work.data,
        source="generated" if pool else "random numbers",
        kind="stand-in",
        images=images,
        labels=labels[:, None],
        clients=owners,
        splits=splits,
        client_ids=[f"client-{number}" for number in range(work.clients)],
        targets=[{"name": "class", "classes": [str(n) for n in range(work.classes)]}],
        dropped=[],
        polarity="colour" if work.channels == 3 else "light-on-dark",
        natural_clients=True,
    )
    store, divided = str(folder / work.data / "store"), str(folder / work.data / "partition")
    partition.main(
        ["--store", store, "--scheme", "natural", "--target", "class", "--output", divided]
    )


@contextmanager
def environment(mark: str) -> Iterator[Callable[[], None]]:
    """Set the environment of child processes; yields what ends those of them that are left.

    A runtime's daemons survive the process that started them; they carry its environment.
    """
    paths = [str(HERE.parent / "workflow"), str(HERE)]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # silences a warning
    os.environ[MARK] = mark

    def end() -> None:
        for process in psutil.process_iter():
            try:
                ours = process.pid != os.getpid() and process.environ().get(MARK) == mark
                if ours:
                    process.kill()
            except psutil.Error:  # gone already, or another user's
                continue

    try:
        yield end
    finally:
        end()
        del os.environ[MARK]
