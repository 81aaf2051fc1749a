"""How far a run is: for people on stderr, for `check.status` in a file beside the outputs.

The file is no output and decides no number: it goes when the run ends well, and stays, saying why,
when the run is stopped or fails.
"""

import os
import platform
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from autoprune.core.files import write_json
from autoprune.federation.history import Row
from autoprune.federation.interruption import Interrupted

PROGRESS = "progress.json"
BEAT = 10.0  # seconds between touches of the file: a sign of life where a round takes minutes
RECENT = 5  # rounds that speed is measured over: pruning makes the later ones faster


def machine() -> str:
    """Where a process number means the same process: the host, and its container's processes."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux
        space = ""
    return f"{platform.node()} {space}".strip()


class Progress:
    """Tell a run's progress: a context around its rounds, told of each that ends.

    On stderr a bar on a terminal, a line a round elsewhere. The file: ``round`` of ``rounds``;
    ``resumed_after``, the checkpoint's round or 0; ``started`` and ``round_ended``, seconds since
    1970; ``seconds_per_round`` and ``clients_per_second`` over the last rounds of this process,
    evaluation included, null before there are any; ``validation_accuracy``, a fraction, the last
    that was measured; ``parameters``, ``widths``; ``process`` on ``machine``; ``ended``: "",
    "stopped" or "failed", and ``reason``, one line.
    """

    def __init__(self, folder: Path, rounds: int, history: list[Row]) -> None:
        self.path = folder / PROGRESS
        self.rounds = rounds
        self.history = history
        self.resumed_after = history[-1].round
        self.started = self.round_ended = time.time()
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT)  # seconds, clients
        self._clock = time.monotonic()
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Progress":
        self._bar = tqdm(
            desc="rounds",
            unit="round",
            total=self.rounds,
            initial=self.resumed_after,
            disable=not sys.stderr.isatty(),
        )
        self._write()
        self._heart.start()
        return self

    def round(self) -> None:
        """A round has ended; its row is the history's last."""
        now, row = time.monotonic(), self.history[-1]
        self.recent.append((now - self._clock, row.clients))
        self._clock, self.round_ended = now, time.time()
        self._write()
        self._bar.update()
        if self._bar.disable:
            accuracy = row.validation_accuracy
            print(
                f"round {row.round}/{self.rounds}  train loss {row.train_loss:.4f}  "
                f"parameters {row.parameters}  widths {row.widths}",
                *([f" validation accuracy {accuracy:.4f}"] if accuracy is not None else []),
                file=sys.stderr,
                flush=True,
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._over.set()
        self._heart.join()
        if error is None:
            self.path.unlink(missing_ok=True)
        elif isinstance(error, Interrupted | KeyboardInterrupt):
            self._write("stopped", str(error))
        else:
            self._write("failed", " ".join(f"{type(error).__name__}: {error}".split()))

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(OSError):
                os.utime(self.path)

    def _write(self, ended: str = "", reason: str = "") -> None:
        seconds = sum(seconds for seconds, _ in self.recent)
        clients = sum(clients for _, clients in self.recent)
        row = self.history[-1]
        measured = [row.validation_accuracy for row in self.history]
        progress: dict[str, Any] = {
            "schema_version": 1,
            "round": row.round,
            "rounds": self.rounds,
            "resumed_after": self.resumed_after,
            "started": self.started,
            "round_ended": self.round_ended,
            "seconds_per_round": seconds / len(self.recent) if self.recent else None,
            "clients_per_second": clients / seconds if seconds else None,
            "validation_accuracy": next((a for a in reversed(measured) if a is not None), None),
            "parameters": row.parameters,
            "widths": row.widths,
            "machine": machine(),
            "process": os.getpid(),
            "ended": ended,
            "reason": reason,
        }
        with suppress(OSError):  # a full disk stops a run where it loses a result, not here
            write_json(self.path, progress)
