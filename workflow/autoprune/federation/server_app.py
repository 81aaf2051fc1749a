"""The ServerApp: rounds of pruning, training and evaluation, and what a run leaves behind."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from flwr.app import ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from tqdm import tqdm

from autoprune import methods
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation import checkpoint as checkpoints
from autoprune.federation.history import Row, write_history
from autoprune.federation.messages import arrays
from autoprune.federation.settings import Settings
from autoprune.federation.strategy import SeededFedAvg, TooFewClients
from autoprune.federation.training import evaluate, keep_memory
from autoprune.files import write_json
from autoprune.models import (
    Architecture,
    count_parameters,
    load_state,
    new_network,
)
from autoprune.models.layers import Network, to_channels_last
from autoprune.provenance import code_version, versions
from autoprune.weights import save_weights

app = ServerApp()
CHECKPOINT = "checkpoint.safetensors"


@app.main()
def main(grid: Grid, context: Context) -> None:
    """One run on whatever grid Flower hands over; the output folder is in the configuration."""
    main_on(grid, dict(context.run_config))


def main_on(grid: Grid, run_config: dict[str, Any]) -> None:
    """``main`` with the run configuration given apart from a context."""
    settings = Settings.from_run_config(run_config)
    torch.set_num_threads(settings.torch_threads)
    Run(settings, grid).execute()


def stage_code(settings: Settings) -> str:
    """The code a run's numbers come from, the family and the method loaded by name included."""
    return code_version(
        "autoprune.train",
        f"autoprune.models.{settings.model}",
        f"autoprune.methods.{settings.method.replace('-', '_')}",
    )


class Interrupted(Exception):
    """SIGTERM or Ctrl-C: stop now, and keep what is finished."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into Interrupted inside the block.

    Only the main thread may: on Flower's runtimes, where the server runs in another, signals are
    theirs and a killed run goes on at the last regular checkpoint.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Interrupted(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run:
    """The server's side of one run: what stands between rounds, and the steps of a round."""

    def __init__(self, settings: Settings, grid: Grid) -> None:
        self.settings = settings
        self.grid = grid
        self.store = ClientStore.open(settings.store)
        self.partition = Partition.open(settings.partition)
        height, width, channels = self.store.shape
        classes = len(self.store.classes(settings.target))
        self.architecture: Architecture = settings.base((channels, height, width), classes)
        method = methods.load(settings.method)
        methods.check_variant(settings.method, method, settings.variant)
        self.method = method(
            self.architecture, settings.seed, settings.variant, settings.method_settings
        )
        self.network: Network = new_network(self.architecture, settings.seed)
        self.strategy = SeededFedAvg(
            self.architecture, settings.clients_per_round, settings.min_clients, settings.seed
        )
        self.history: list[Row] = []
        self.output = Path(settings.output)
        self.mark = checkpoints.fingerprint(settings, self.data_checksum(), stage_code(settings))

    def data_checksum(self) -> str:
        """Which data: the store's checksum, what its bytes are scaled to, the partition's."""
        return f"{self.store.checksum} {self.store.pixel_range} {self.partition.checksum}"

    def execute(self) -> None:
        """Run all rounds, from a checkpoint where there is one, and write the outputs.

        SIGTERM and Ctrl-C raise Interrupted at once, and too few clients TooFewClients, after
        the state of the last finished round was written as a checkpoint.
        """
        keep_memory()
        first = self.resume()
        rounds = range(first, self.settings.rounds + 1)
        on_terminal = sys.stderr.isatty()
        progress = tqdm(
            rounds, desc="rounds", unit="round", disable=not on_terminal, initial=first - 1
        )
        finished = self.state(first - 1)
        try:
            with interruptible():
                for server_round in progress:
                    self.history.append(self.round(server_round))
                    finished = self.state(server_round)
                    if not on_terminal:
                        print(self.line(self.history[-1]), file=sys.stderr, flush=True)
                    if server_round % self.settings.checkpoint_every == 0:
                        checkpoints.save(self.output / CHECKPOINT, self.mark, finished)
        except (Interrupted, TooFewClients):
            if finished.round:
                checkpoints.save(self.output / CHECKPOINT, self.mark, finished)
                print(
                    f"{self.output / CHECKPOINT}: written after round {finished.round}; "
                    "the same command goes on there",
                    file=sys.stderr,
                )
            raise
        self.write_outputs()
        (self.output / CHECKPOINT).unlink(missing_ok=True)

    def state(self, server_round: int) -> checkpoints.Checkpoint:
        """A copy of what a later ``resume`` needs, as it stands after this round."""
        return checkpoints.Checkpoint(
            server_round,
            self.architecture,
            {name: tensor.clone() for name, tensor in self.network.state_dict().items()},
            self.method.to_json(),
            list(self.history),
        )

    def resume(self) -> int:
        """The first round to run: after the checkpoint's, or 1."""
        path = self.output / CHECKPOINT
        found = checkpoints.load(path, self.mark)
        if found is None:
            if path.exists():
                print(
                    f"{path}: of other settings, data or code, or broken; starting from round 1",
                    file=sys.stderr,
                )
            self.history = [self.row(0, None, self.validate())]
            return 1
        self.network = new_network(found.architecture, self.settings.seed)
        load_state(self.network, found.state)
        self.architecture = found.architecture
        self.method.restore(found.method)
        self.history = list(found.history)
        print(f"{path}: going on after round {found.round}", file=sys.stderr, flush=True)
        return found.round + 1

    def round(self, server_round: int) -> Row:
        """Let the method change the network, then one FedAvg round, then perhaps evaluate."""
        widths = self.architecture.widths
        searching = self.method.searching(server_round)
        self.architecture, self.network = self.method.before_round(
            server_round, self.architecture, self.network
        )
        self.strategy.architecture = self.architecture
        replies = self.grid.send_and_receive(
            self.strategy.configure_train(
                server_round, arrays(self.network.state_dict()), ConfigRecord(), self.grid
            )
        )
        aggregate, metrics = self.strategy.aggregate_train(server_round, replies)
        assert aggregate is not None
        assert metrics is not None
        load_state(self.network, {n: torch.from_numpy(a.numpy()) for n, a in aggregate.items()})
        settings = self.settings
        due = server_round % settings.evaluate_every == 0 or server_round == settings.rounds
        return self.row(
            server_round,
            float(metrics["train-loss"]),  # type: ignore[arg-type]
            self.validate() if due else (None, None),
            shrunk=self.architecture.widths != widths,
            searching=searching,
        )

    def row(
        self,
        server_round: int,
        train_loss: float | None,
        validation: tuple[float | None, float | None],
        *,
        shrunk: bool = False,
        searching: bool = False,
    ) -> Row:
        """The history's row of a round that has just ended."""
        strategy = self.strategy
        return Row(
            server_round,
            train_loss,
            *validation,
            *count_parameters(self.network),
            " ".join(map(str, self.architecture.widths)),
            len(strategy.clients),
            strategy.bytes_down,
            strategy.bytes_up,
            int(shrunk),
            int(searching),
            "; ".join(f"{client}: {reason}" for client, reason in strategy.failures.items()),
        )

    def line(self, row: Row) -> str:
        """One round for people: the log's line."""
        accuracy = row.validation_accuracy
        evaluated = f"  validation accuracy {accuracy:.4f}" if accuracy is not None else ""
        return (
            f"round {row.round}/{self.settings.rounds}  train loss {row.train_loss:.4f}  "
            f"parameters {row.parameters}  widths {row.widths}{evaluated}"
        )

    def validate(self) -> tuple[float, float]:
        """Accuracy and loss on the pooled validation set."""
        return self.evaluate("validation")

    def evaluate(self, split: str) -> tuple[float, float]:
        """Accuracy (fraction) and loss of the network in hand on a pooled split of the store."""
        rows = self.store.rows(split)
        labels = self.store.labels[rows, self.store.target_column(self.settings.target)]
        network = to_channels_last(self.network)
        return evaluate(network, self.store.images[rows], labels, self.store.pixel_range)

    def write_outputs(self) -> None:
        """The files of a finished run; see the README's list of what a run leaves."""
        test_accuracy, test_loss = self.evaluate("test")
        last = self.history[-1]
        evaluation = {
            "test_accuracy": test_accuracy,
            "test_loss": test_loss,
            "test_examples": len(self.store.labels[self.store.rows("test")]),
            "validation_accuracy": last.validation_accuracy,
            "validation_loss": last.validation_loss,
            "validation_examples": len(self.store.labels[self.store.rows("validation")]),
        }
        write_history(self.output / "history.csv", self.history)
        write_json(self.output / "evaluation.json", evaluation)
        write_json(self.output / "architecture.json", self.architecture.to_json())
        save_weights(
            self.output / "weights.safetensors", self.architecture, self.network.state_dict()
        )
        if memory := self.method.to_json():
            write_json(self.output / "plan.json", memory)
        write_json(self.output / "run.json", self.provenance())

    def provenance(self) -> dict[str, object]:
        """The run: its settings, data, code and versions; nothing that a repeat would change."""
        settings = self.settings
        return {
            "dataset": settings.dataset,
            "data_kind": self.store.kind,
            "stands_for": "" if settings.stands_for == "none" else settings.stands_for,
            "model": settings.model,
            "method": settings.method,
            "variant": settings.variant,
            "seed": settings.seed,
            "clients": self.partition.clients,
            "settings": {
                name: value
                for name, value in settings.run_config().items()
                if name not in ("output", "store", "partition")
            },
            "store_checksum": self.store.checksum,
            "partition_checksum": self.partition.checksum,
            "code": stage_code(settings),
            "versions": versions(),
        }
