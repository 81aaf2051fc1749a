"""The product's federation comes to what a plain loop of PyTorch comes to, on FEMNIST's writers."""

import csv
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import ks_2samp

from autoprune.core.seeds import generator
from autoprune.data.prepare import __main__ as prepare
from autoprune.data.prepare import partition
from autoprune.federation.cohort import cohort
from autoprune.models import Architecture, new_network
from autoprune.pruning.rule import boundaries, scores
from independent import plain_fedavg
from independent.plain_fedavg import Draws, Run, Settings
from stages import run_flags, run_stage

SEEDS = (0, 1)
# Whole runs are of half the filters and of 6 clients a round, for a quarter of the time. Of so few
# filters, k 2.0 takes some from both layers.
WHOLE = Settings(widths=(16, 32), clients_per_round=6, k=2.0)
# Of one epoch and almost without Adam's division by the gradients' size, which makes of the last
# bits whole steps: differences grow so slowly that searches of a dozen rounds can be compared one
# by one. At this seed the first application removes nothing, six do, and three more end it.
SMOOTH = Settings(
    widths=(16, 32), rounds=12, local_epochs=1, learning_rate=0.03, epsilon=0.1, evaluate_every=6
)
SMOOTH_SEED = 6
# What the two may differ by at most, in the mean over seeds.
POINTS = 0.03
FILTERS = 2.5  # a layer
ERRORS = 2.5  # pooled standard errors of the difference of two means
NAMES = {"0": "conv1", "3": "conv2", "8": "linear"}  # of the plain network's layers in the product
METHODS = {
    "dense": ("dense", "fedavg"),
    "kept weights": ("autoprune", "inherit"),
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the product's clients
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def writers(shared_data, tmp_path_factory):
    """The plain loop's data, and the product's store and partition of the same, in a folder."""
    leaf, folder = shared_data / "femnist-leaf", tmp_path_factory.mktemp("writers")
    if not leaf.is_dir():
        pytest.skip(f"no FEMNIST writers in {leaf}")

    def store(*flags):
        place = ["--output", str(folder / "store"), "--folder", str(leaf)]
        split = ["--seed", "0", "--test-fraction", "0.2", "--workers", "1"]
        prepare.main(["leaf", "--name", "femnist", *place, *split, *flags])
        return plain_fedavg.read(leaf, folder / "store")

    data = store()
    low, high = -data.mean / data.sd, (1 - data.mean) / data.sd
    data = store("--pixel-range", repr(low), repr(high))
    place = ["--store", str(folder / "store"), "--output", str(folder / "partition")]
    partition.main([*place, "--scheme", "natural", "--target", "character"])
    return data, folder


@pytest.fixture(scope="module")
def product(writers):
    """``product(arm, settings, seed)``: what the plain loop's ``fedavg`` gives, by its names."""
    _, folder = writers

    def run(arm, settings, seed):
        output = folder / f"{arm} {settings.rounds} {seed}"
        method, variant = METHODS[arm]
        values = {
            "dataset": "femnist",
            "store": folder / "store",
            "partition": folder / "partition",
            "target": "character",
            "model": "cnn",
            "widths": settings.widths,
            "method": method,
            "variant": variant,
            "seed": seed,
            "rounds": settings.rounds,
            "clients_per_round": settings.clients_per_round,
            "local_epochs": settings.local_epochs,
            "batch_size": settings.batch_size,
            "learning_rate": settings.learning_rate,
            "epsilon": settings.epsilon,
            "evaluate_every": settings.evaluate_every,
            "checkpoint_every": settings.rounds,
            "output": output,
        }
        if method == "autoprune":
            values |= {"k": settings.k, "patience": settings.patience, "cap": settings.cap}
        done = run_stage("autoprune.federation", *run_flags(**values), timeout=1200)
        assert done.returncode == 0, done.stderr
        saved = load_file(output / "weights.safetensors")
        state = {
            f"{layer}.{part}": saved[f"{name}.{part}"]
            for layer, name in NAMES.items()
            for part in ("weight", "bias")
        }
        with open(output / "history.csv") as stream:
            rounds = list(csv.DictReader(stream))[1:]
        rows = [row for row in rounds if row["test_accuracy"]]
        # the plain loop's held-out images are both of the product's splits
        _, *weights = np.bincount(np.load(folder / "store" / "splits.npy"))
        parts = [[float(row[f"{of}_accuracy"]) for of in ("validation", "test")] for row in rows]
        accuracies = [float(np.average(of_round, weights=weights)) for of_round in parts]
        search = [
            (row["searching"] == "1", [int(width) for width in row["widths"].split()])
            for row in rounds
        ]
        return Run(state, accuracies, search)

    return run


class ProductsDraws(Draws):
    """What the product draws at a seed: with it no difference is one of luck."""

    def __init__(self, seed):
        self.seed = seed

    def weights(self, widths):
        own = new_network(Architecture("cnn", widths, (1, 28, 28), plain_fedavg.CLASSES), self.seed)
        return {
            f"{layer}.{part}": own.state_dict()[f"{name}.{part}"]
            for layer, name in NAMES.items()
            for part in ("weight", "bias")
        }

    def cohort(self, server_round, clients, size):
        return cohort(self.seed, server_round, clients, size)

    def orders(self, server_round, client, images):
        stream = generator(self.seed, "client", server_round, client)
        while True:
            yield torch.from_numpy(stream.permutation(images))


@pytest.fixture(scope="module")
def finals(writers, product):
    """Of each arm and implementation, over seeds: final accuracies (seed,), filters (seed, layer).

    Final is the mean of the last three evaluations.
    """
    runs = [(arm, seed) for arm in METHODS for seed in SEEDS]
    pairs = {}
    with ThreadPoolExecutor(1) as beside:  # the product's processes, one after the other
        awaited = {run: beside.submit(product, run[0], WHOLE, run[1]) for run in runs}
        for arm, seed in runs:
            draws, prune = ProductsDraws(seed), arm == "kept weights"
            pairs["plain", arm, seed] = plain_fedavg.fedavg(writers[0], WHOLE, draws, prune=prune)
        pairs |= {("product", *run): of_run.result() for run, of_run in awaited.items()}
    found = {}
    for arm, name in itertools.product(METHODS, ("product", "plain")):
        states, accuracies, _ = zip(*(pairs[name, arm, seed] for seed in SEEDS), strict=True)
        last = np.array([np.mean(of_rounds[-3:]) for of_rounds in accuracies])
        found[arm, name] = (last, np.array([plain_fedavg.filters(state) for state in states]))
    return found


def pooled_error(groups):
    """Standard error of the difference of two groups' means over seeds, all spread pooled.

    ``groups`` are arrays (seed, ...) of equal length.
    """
    spread = np.mean([group.var(axis=0, ddof=1) for group in groups])
    return np.sqrt(2 * spread / len(groups[0]))


@pytest.mark.parametrize(("inputs", "filters"), [(1, 32), (1, 20), (32, 64), (20, 16)])
def test_the_rule_keeps_the_same_filters(inputs, filters):
    stream = torch.Generator().manual_seed(filters)
    low = high = 0
    for _ in range(100):
        kernel = torch.randn(filters, inputs, 5, 5, generator=stream)
        # as far apart as training drives them
        kernel *= 1 + 0.2 * torch.randn(filters, 1, 1, 1, generator=stream)
        norms = scores(kernel)
        kept = boundaries(norms, Settings.k).kept
        assert list(kept) == plain_fedavg.inside(kernel, Settings.k).tolist()
        low += any(norms[n] < np.mean(norms) for n in range(filters) if n not in kept)
        high += any(norms[n] > np.mean(norms) for n in range(filters) if n not in kept)
    assert low > 5
    assert high > 5


def test_first_weights_are_spread_alike():
    own, plain = ProductsDraws(0).weights((32, 64)), Draws(0).weights((32, 64))
    for name, tensor in plain.items():
        assert own[name].shape == tensor.shape
        if name.endswith("bias"):
            assert not own[name].any()
        else:
            values = own[name].flatten().numpy(), tensor.flatten().numpy()
            assert ks_2samp(*values).pvalue > 1e-3
            assert float(own[name].abs().max()) == pytest.approx(
                float(tensor.abs().max()), rel=0.02
            )


def test_cohorts_take_every_client_alike():
    drawn = [ProductsDraws(0).cohort(number, 16, 10) for number in range(1, 801)]
    assert all(len(set(clients)) == 10 for clients in drawn)
    # 800 · 10/16 = 500 times each, with a standard deviation of 14
    assert np.abs(np.bincount(np.concatenate(drawn), minlength=16) - 500).max() < 4 * 14


@pytest.mark.long
@pytest.mark.parametrize("arm", METHODS)
def test_of_the_same_draws_both_come_to_the_same_weights(writers, product, arm):
    """Two rounds, a shrink between them: later, rounding has grown to differences that show.

    After one round the two are 3e-7 of the weights' norm apart, after two 1e-4, after three 4e-3.
    """
    settings = Settings(clients_per_round=6, rounds=2, evaluate_every=1)
    state, accuracies, search = product(arm, settings, 0)
    prune = arm == "kept weights"
    plain, expected, applied = plain_fedavg.fedavg(
        writers[0], settings, ProductsDraws(0), prune=prune
    )
    assert search == applied
    assert plain_fedavg.filters(state) == plain_fedavg.filters(plain)
    assert (plain_fedavg.filters(state) != list(settings.widths)) == prune
    for name, tensor in plain.items():
        assert (state[name] - tensor).norm() <= 2e-3 * tensor.norm(), name
    assert accuracies == pytest.approx(expected, abs=1 / len(writers[0].held_out[1]))


@pytest.mark.long
def test_a_search_takes_the_same_filters_in_the_same_rounds(writers, product):
    """What removes nothing counts towards patience, what removes anything starts it anew."""
    own = product("kept weights", SMOOTH, SMOOTH_SEED)
    plain = plain_fedavg.fedavg(writers[0], SMOOTH, ProductsDraws(SMOOTH_SEED), prune=True)
    assert own.rounds == plain.rounds
    applied = [filters for searching, filters in plain.rounds if searching]
    assert applied[0] == list(SMOOTH.widths) != applied[-1]
    assert 3 < len(applied) < SMOOTH.rounds - 1  # by patience
    for name, tensor in plain.state.items():
        # 0.05 here; networks of other draws are about 1.4 apart
        assert (own.state[name] - tensor).norm() <= 0.2 * tensor.norm(), name


@pytest.mark.long
@pytest.mark.parametrize("arm", METHODS)
def test_whole_runs_end_with_the_same_accuracy(finals, arm):
    error = pooled_error([accuracies for accuracies, _ in finals.values()])
    own, plain = (finals[arm, name][0].mean() for name in ("product", "plain"))
    assert abs(own - plain) <= min(ERRORS * error, POINTS)
    assert plain > 0.3  # both have learnt: the commonest class is 1 image in 12


@pytest.mark.long
def test_whole_runs_end_with_as_many_filters(finals):
    own, plain = (finals["kept weights", name][1] for name in ("product", "plain"))
    difference = np.abs(own.mean(0) - plain.mean(0))
    assert (difference <= min(ERRORS * pooled_error([own, plain]), FILTERS)).all()
    assert (plain.mean(0) < WHOLE.widths).all()
