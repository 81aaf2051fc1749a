"""What is compared with what: preparing a store, opening it and reading clients from it."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from bench_parts import WORKERS, Measure, Pair, Part, Row
from bench_sides import COHORT
from bench_work import Work, progress, say
from make_full_size import SIZES, Size, make

from autoprune.data.store import ClientStore

HERE = Path(__file__).resolve().parent
MEGA = 1e6
STEP = 0.02  # seconds between two looks at a process's memory
PLAIN = "sqlite3 in a loop, list, np.stack, np.save"
OURS = "autoprune.data.prepare tff"
ROUNDS = 50
FLAT = f"a worker's own memory, rounds {ROUNDS - 9} to {ROUNDS} / rounds 6 to 15"
# what is predicted, of how many classes, and the widths of a small network for it
TARGETS = {"femnist": ("character", 62, (4, 8)), "celeba": ("Male", 2, (4, 4, 4, 4))}


def measured_process(command: list[str]) -> tuple[float, float]:
    """Seconds that a command took and the most memory (MB) of it and its children together.

    Memory is the sum of resident pages, so that shared ones count for each process.
    """
    started, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            held = 0
            try:
                for one in (tree, *tree.children(recursive=True)):
                    held += one.memory_info().rss
            except psutil.NoSuchProcess:
                pass  # it ended meanwhile; a part of the sum is no more than the sum
            peak = max(peak, held)
            time.sleep(STEP)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise RuntimeError(f"{command} failed:\n{process.stdout.read().decode()}")
    return seconds, peak / MEGA


def worker_memory(kind: str, store: str, folder: Path) -> list[float]:
    """The most memory (MB) that a worker holds after each of ROUNDS rounds over a store.

    Each round has another cohort, as in any run; the network is small, the data are not. Pages
    of the mapped store are left out: they are the page cache's, which drops them when it likes.
    """
    target, classes, widths = TARGETS[kind]
    shares = str(folder / f"{kind}_partition")
    flags = ["--store", store, "--target", target, "--scheme", "natural", "--output", shares]
    subprocess.run(
        [sys.executable, "-m", "autoprune.data.prepare.partition", *flags],
        check=True,
        capture_output=True,
    )
    size = ClientStore.open(store).images.shape
    work = Work(kind, 0, 0, size[1], size[3], classes, COHORT, 1, widths)
    changes = {"store": store, "partition": shares, "target": target, "rounds": ROUNDS}
    changes |= {"evaluate_every": ROUNDS, "checkpoint_every": ROUNDS}
    settings = work.settings(folder, "fp32").model_copy(update=changes)
    found = []
    for process, line in progress(settings, WORKERS):
        if line.startswith("round "):
            workers = psutil.Process(process).children(recursive=True)
            held = [one.memory_info() for one in workers]
            found.append(max(memory.rss - memory.shared for memory in held) / MEGA)
    if len(found) < ROUNDS:
        raise RuntimeError(f"autoprune.federation said {len(found)} of {ROUNDS} rounds")
    return found


@dataclass(frozen=True)
class PreparationBench:
    """The part of one data set, a ``kind`` of make_full_size.py, at this ``share`` of its size."""

    kind: str
    folder: Path
    share: float

    @property
    def database(self) -> Path:
        """The file."""
        return self.folder / f"{self.kind}.sqlite"

    def scaled(self) -> Size:
        """The data set's size; a cohort must remain, and more images than clients."""
        full = vars(SIZES[self.kind])
        return Size(*(max(2 * COHORT, round(self.share * number)) for number in full.values()))

    def part(self) -> Part:
        """Everything about this data set, so that its file is made once."""
        kind, images = self.kind, f"images/s of {self.kind}"
        raw = "store's files / its pixels as uint8"
        rows = (
            Row(f"{kind}/throughput", OURS, PLAIN, images, True),
            Row(f"{kind}/read rate", OURS, PLAIN, "MB/s of the database", True),
            Row(f"{kind}/peak memory", OURS, PLAIN, "MB", False, 1500, True),
            Row(f"{kind}/one worker", f"{OURS} --workers 1", PLAIN, images, True),
            Row(f"{kind}/size", raw, "", "ratio", False, 1.1, True),
            Row(f"{kind}/first open", "ClientStore.open in a new process", "", "ms", False),
            Row(f"{kind}/open", "ClientStore.open", "", "ms", False, 10, True),
            Row(f"{kind}/cohort", f"read {COHORT} clients, not in the page cache", "", "ms", False),
            Row(f"{kind}/disk", "read from disk / images of these clients", "", "ratio", False),
            Row(f"{kind}/worker memory", FLAT, "", "ratio", False, 1.05, True),
        )

        @contextmanager
        def opened() -> Iterator[Measure]:
            size = self.scaled()
            say(f"  writing {size.train_images} + {size.test_images} images")
            make(kind, self.database, size)
            yield self._measure

        return Part(kind, rows, opened)

    def _measure(self) -> dict[str, Pair]:
        file = str(self.database)
        store, simple = str(self.folder / f"{self.kind}_store"), str(self.folder / "plain")
        flags = ["--name", self.kind, "--output", store, "--database", file]
        ours = [sys.executable, "-m", "autoprune.data.prepare", "tff", *flags]
        this = [sys.executable, str(HERE / "bench_sides.py")]
        a, peak_a = measured_process(ours)
        b, peak_b = measured_process([*this, "plain", file, simple])
        one, _ = measured_process([*ours, "--workers", "1"])
        answer = subprocess.run([*this, "read", store], check=True, capture_output=True, text=True)
        found = json.loads(answer.stdout)
        memory = worker_memory(self.kind, store, self.folder)
        pixels = ClientStore.open(store).images
        count, pixel_bytes = len(pixels), pixels.nbytes
        total = sum(path.stat().st_size for path in Path(store).iterdir())
        bytes_in = self.database.stat().st_size / MEGA
        values: dict[str, Pair] = {
            "throughput": (count / a, count / b),
            "read rate": (bytes_in / a, bytes_in / b),
            "peak memory": (peak_a, peak_b),
            "one worker": (count / one, count / b),
            "size": (total / pixel_bytes, None),
            "first open": (1000 * found["first"], None),
            "open": (1000 * found["again"], None),
            "cohort": (1000 * found["seconds"], None),
            "disk": (found["disk"] / found["wanted"], None),
            "worker memory": (max(memory[-10:]) / max(memory[5:15]), None),
        }
        return {f"{self.kind}/{name}": pair for name, pair in values.items()}
