"""One run on the server's side: rounds of pruning, training and evaluation, and what it leaves."""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid

from autoprune import methods
from autoprune.core.errors import InputError
from autoprune.core.files import claimed, digest_of, sha256_file, write_json
from autoprune.federation import batch_norm
from autoprune.federation import checkpoint as checkpoints
from autoprune.federation.carrying import in_turn
from autoprune.federation.evaluation import Evaluation
from autoprune.federation.history import Row, write_history
from autoprune.federation.identity import fingerprint, open_data, provenance
from autoprune.federation.interruption import Interrupted, interruptible
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.messages import number
from autoprune.federation.otherwise import begin, carried_like, check_fit
from autoprune.federation.packed import described, measured_with
from autoprune.federation.progress import Progress
from autoprune.federation.server_optimizer import ServerOptimizer, before_round
from autoprune.federation.settings import Settings
from autoprune.federation.strategy import SeededFedAvg, TooFewClients
from autoprune.federation.tasks import task_of
from autoprune.federation.training import keep_memory
from autoprune.federation.wire import WIRES, arrays
from autoprune.models import (
    Architecture,
    base_of,
    build,
    count_parameters,
    load_state,
    new_network,
    refused,
)
from autoprune.models.attached import folded
from autoprune.models.layers import Network
from autoprune.models.weights import save_weights

CHECKPOINT = "checkpoint.safetensors"
DAMAGED = "checkpoint.damaged"  # what such a file is renamed to until the run has ended


class Run:
    """The server's side of one run: what stands between rounds, and the steps of a round."""

    def __init__(self, settings: Settings, grid: Grid) -> None:
        own = methods.read_settings(settings.method, settings.told())
        self.settings = settings = settings.with_own(own)
        self.grid = grid
        self.store, self.partition = open_data(settings)
        height, width, channels = self.store.shape
        task = task_of(settings.task, self.store, settings.target)
        base = base_of(settings.family, settings.widths, (channels, height, width), task.outputs)
        for name, why in refused(base).items():
            print(f"layer {name} stays whole: {why}", file=sys.stderr, flush=True)
        build(base)  # refuses widths that are not the family's, whatever the method starts from
        variant = settings.like or settings.variant
        self.method = methods.load(settings.method)(base, settings.seed, variant, own)
        self.architecture: Architecture = self.method.begin()
        self.network: Network = new_network(self.architecture, settings.seed)
        begin(self.network, settings, of_base=self.architecture.plain == base)
        check_fit(settings, self.store.shape, self.network)
        self.wire = WIRES[self.method.encoding]()
        self.strategy = SeededFedAvg(
            self.architecture,
            settings.clients_per_round,
            settings.min_clients,
            settings.seed,
            self.wire,
            np.diff(self.partition.offsets).tolist(),
            settings.max_update_ratio,
            ServerOptimizer(settings.server) if settings.server else None,
        )
        self.evaluation = Evaluation(self.store, self.partition, task, settings)
        self.history: list[Row] = []
        # seconds for a cohort's replies; the local grid itself gives each client as many
        self.limit = None if isinstance(grid, LocalGrid) else settings.client_timeout or None
        self.output = Path(settings.output)
        self.checkpoint = self.output / CHECKPOINT
        self.mark = fingerprint(settings, self.store, self.partition)

    def execute(self) -> None:
        """Run all rounds, from a checkpoint where there is one, and write the outputs.

        SIGTERM and Ctrl-C raise Interrupted at once, and too few clients TooFewClients, after
        the state of the last finished round was written as a checkpoint.
        """
        keep_memory()
        with claimed(self.output):
            first = self.resume()
            with Progress(self.output, self.settings.rounds, self.history) as progress:
                self.train(first, progress)
                self.write_outputs()
                for left in (self.checkpoint, self.output / DAMAGED):
                    if not left.is_dir():  # which is not ours
                        left.unlink(missing_ok=True)

    def train(self, first: int, progress: Progress) -> None:
        """The rounds from ``first`` on; see ``execute``."""
        finished = self.state(first - 1)
        try:
            with interruptible():
                for server_round in range(first, self.settings.rounds + 1):
                    self.history.append(self.round(server_round))
                    finished = self.state(server_round)
                    progress.round()
                    if server_round % self.settings.checkpoint_every == 0:
                        self.keep(finished)
        except (Interrupted, TooFewClients):
            if finished.round and self.keep(finished):
                print(
                    f"{self.checkpoint}: written after round {finished.round}; "
                    "the same command goes on there",
                    file=sys.stderr,
                )
            raise

    def keep(self, finished: checkpoints.Checkpoint) -> bool:
        """Write a checkpoint, unless the network answers what no client could train on."""
        network = build(finished.architecture)
        load_state(network, finished.state)
        if not self.evaluation.answers(network):
            print(
                f"{self.checkpoint}: not written after round {finished.round}: the network's "
                "answers are not finite numbers",
                file=sys.stderr,
            )
            return False
        checkpoints.save(self.checkpoint, self.mark, finished)
        return True

    def state(self, server_round: int) -> checkpoints.Checkpoint:
        """A copy of what a later ``resume`` needs, as it stands after this round."""
        return checkpoints.Checkpoint(
            server_round,
            self.architecture,
            {name: tensor.clone() for name, tensor in self.network.state_dict().items()},
            self.method.to_json(),
            list(self.history),
            *self.wire.memory(),
            self.grid.kept() if isinstance(self.grid, LocalGrid) else {},
            list(self.evaluation.recent),
            self.method.tensors(),
            server.memory(self.architecture) if (server := self.strategy.server) else {},
        )

    def resume(self) -> int:
        """The first round to run: after the checkpoint's, or 1."""
        try:
            found = checkpoints.load(self.checkpoint, self.mark)
        except InputError as error:
            self.checkpoint.replace(self.output / DAMAGED)
            print(f"{error}; set aside as {DAMAGED}, starting from round 1", file=sys.stderr)
            found = None
        if self.method.encoding != "dense" and not isinstance(self.grid, LocalGrid):
            found = None  # what the clients kept is lost with Flower's runtime
        if found is None:
            if self.checkpoint.exists():
                why = "of other settings, data or code; starting from round 1"
                print(f"{self.checkpoint}: {why}", file=sys.stderr)
            self.history = [self.row(0, evaluated=True)]
            self.evaluation.recent = []  # what was learnt is the score, not what was drawn
            return 1
        self.network = new_network(found.architecture, self.settings.seed)
        load_state(self.network, found.state)
        self.architecture = found.architecture
        self.method.restore(found.method)
        self.method.restore_tensors(found.method_tensors)
        self.wire.restore(found.wire, found.wire_tensors, self.network.state_dict())
        if isinstance(self.grid, LocalGrid):
            self.grid.restore(found.clients)
        self.history, self.evaluation.recent = list(found.history), list(found.recent)
        if self.strategy.server:
            self.strategy.server.restore(found.server, found.architecture)
        print(f"{self.checkpoint}: going on after round {found.round}", file=sys.stderr, flush=True)
        return found.round + 1

    def round(self, server_round: int) -> Row:
        """Let the method change the network, then one FedAvg round, then perhaps evaluate."""
        settings, method, strategy = self.settings, self.method, self.strategy
        before, searching = self.architecture, method.searching(server_round)
        strategy.begin()
        if kind := method.ask_all(server_round):
            strategy.architecture = before
            state = self.network.state_dict()
            answers = strategy.ask_all(server_round, kind, state, self.grid, self.limit)
            method.learn_of_all(server_round, answers)
        self.architecture, self.network = before_round(
            method, strategy.server, server_round, before, self.network
        )
        strategy.architecture = self.architecture
        strategy.ask, strategy.teacher = method.ask(server_round), method.teacher(server_round)
        self.wire.use(method.masks(), server_round)
        messages = strategy.configure_train(
            server_round, arrays(self.network.state_dict()), ConfigRecord(), self.grid
        )
        aggregate, metrics = strategy.aggregate_train(server_round, self.send(messages))
        load_state(self.network, {n: torch.from_numpy(a.numpy()) for n, a in aggregate.items()})
        method.learn(server_round, self.architecture, self.network, strategy.answers)
        evaluated = server_round % settings.evaluate_every == 0 or server_round == settings.rounds
        if evaluated and settings.batch_norm == "refreshed":
            self.refresh(server_round)
        return self.row(
            server_round,
            float(number(metrics, "train-loss")),
            evaluated=evaluated,
            shrunk=self.architecture.widths != before.widths,
            searching=searching,
            restarted=method.restarted(server_round),
        )

    def send(self, messages: Iterable[Message]) -> Iterable[Message]:
        """The replies to a round's messages; one after the other where an optimizer is carried."""
        if self.settings.optimizer_state == "fresh":
            return self.grid.send_and_receive(messages, timeout=self.limit)
        like = carried_like(self.settings.optimizer, self.network)
        return in_turn(self.grid, self.strategy, messages, like, self.limit)

    def refresh(self, server_round: int) -> None:
        """Take batch norm's statistics, which no training uses, from the cohort, if it answers."""
        self.strategy.architecture, network = measured_with(self.architecture, self.network)
        state = network.state_dict()
        if not (statistics := {name: state[name] for name in batch_norm.names(network)}):
            return
        messages = self.strategy.configure_refresh(server_round, state)
        replies = self.grid.send_and_receive(messages, timeout=self.limit)
        refreshed = self.strategy.aggregate_refresh(replies, statistics)
        load_state(self.network, self.network.state_dict() | refreshed)

    def row(
        self,
        server_round: int,
        train_loss: float | None = None,
        *,
        evaluated: bool,
        shrunk: bool = False,
        searching: bool = False,
        restarted: bool = False,
    ) -> Row:
        """The history's row of a round that has just ended."""
        strategy = self.strategy
        plain = folded(self.architecture, self.network)[1]
        parameters, with_statistics = count_parameters(plain)
        row = Row(
            round=server_round,
            train_loss=train_loss,
            parameters=parameters,
            parameters_with_statistics=with_statistics,
            nonzeros=self.wire.nonzeros(plain.state_dict()),
            widths=" ".join(map(str, self.architecture.widths)),
            clients=len(strategy.clients),
            **asdict(strategy.replies),
            **asdict(strategy.traffic),
            shrunk=int(shrunk),
            searching=int(searching),
            restarted=int(restarted),
            failures="; ".join(f"{client}: {why}" for client, why in strategy.failures.items()),
        )
        return self.evaluation.of(row, self.deployed()) if evaluated else row

    def deployed(self) -> Network:
        """The network as a device would hold it: what is evaluated and saved."""
        architecture, plain = folded(self.architecture, self.network)
        network = build(architecture)
        load_state(network, self.wire.deployed(plain.state_dict()))
        return network

    def write_outputs(self) -> None:
        """The files of a finished run; docs/workflow.md lists them."""
        small, network = self.architecture.plain, self.deployed()
        grids = self.wire.grids(self.network.state_dict())
        evaluation = {
            **self.evaluation.accuracies(self.history, network),
            "nonzeros": self.history[-1].nonzeros,
            "bits": self.wire.bits(self.network.state_dict()),
        }
        write_history(self.output / "history.csv", self.history, self.evaluation.task.score)
        self.evaluation.write_units(self.output / "units.csv")
        write_json(self.output / "evaluation.json", evaluation | self.method.figures())
        write_json(self.output / "architecture.json", described(small, grids, self.method.base))
        save_weights(self.output / "weights.safetensors", small, network.state_dict(), grids=grids)
        if memory := self.method.to_json():
            write_json(self.output / "plan.json", memory)
        about = provenance(self.settings, self.store, self.partition)
        left = ["history.csv", "units.csv", "evaluation.json", "architecture.json"]
        left += ["weights.safetensors", *(["plan.json"] if memory else [])]
        about["files"] = {name: sha256_file(self.output / name) for name in left}
        about["digest"] = digest_of(about)
        write_json(self.output / "run.json", about)
