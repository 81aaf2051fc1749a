"""AutoPrune in an app of one's own: the search is the study's, any strategy, bad replies."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
)
from torch import nn

import autoprune
from autoprune.core.errors import InputError
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.messages import reason_of
from autoprune.federation.wire import tensors
from autoprune.models import base_of, load_state, new_network
from autoprune.pruning.options import WEIGHTS
from autoprune.pruning.plan import Plan
from autoprune.pruning.search import advance, falls

NODES, SEED = 3, 5
EXAMPLE = torch.zeros(1, 1, 9, 9)
RULE = {"k": 0.9, "patience": 2, "cap": 4}
APP = "test_library:app"
sys.path.insert(0, str(Path(__file__).parent))
app = ClientApp()


def build(input_shape=(1, 9, 9), classes=3):
    """A small network with a batch norm, a depthwise layer and a coupled pair."""
    return Small(input_shape[0], classes)


class Small(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.stem = nn.Conv2d(channels, 12, 3)
        self.norm = nn.BatchNorm2d(12)
        self.each = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.inner = nn.Conv2d(12, 9, 1)
        self.back = nn.Conv2d(9, 12, 1)
        self.last = nn.Linear(12, classes)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = x + self.back(self.inner(self.each(x)).relu())
        return self.last(x.relu().mean((2, 3)))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Adds noise of (round, client) to the weights; does wrong what the configuration says."""
    client = int(context.node_config["partition-id"])
    config = message.content.config_records["config"]
    if client in config.get("raises", []):
        raise ValueError("no data here")
    network = autoprune.received(message, build())
    stream = torch.Generator().manual_seed(100 * int(config["server-round"]) + client)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.add_(torch.rand(tensor.shape, generator=stream) - 0.4)
    if client in config.get("widens", []):
        network.stem = nn.Conv2d(1, 13, 3)
    record = ArrayRecord(network.state_dict())
    if client in config.get("diverges", []):
        record["last.bias"] = Array(record["last.bias"].numpy() * float("nan"))
    if client in config.get("renames", []):
        record["first.bias"] = record.pop("last.bias")
    metrics = MetricRecord({"num-examples": 1 + client})
    content = RecordDict({"arrays": record, "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """How many filters the evaluated network's stem has, and how many the message says."""
    network = autoprune.received(message, build()).eval()
    assert network(EXAMPLE).shape == (1, 3)
    said = message.content.config_records["autoprune"].get("stem", range(12))
    found = {"num-examples": 1, "width": float(len(network.stem.weight)), "said": float(len(said))}
    return Message(RecordDict({"metrics": MetricRecord(found)}), reply_to=message)


@pytest.fixture(scope="module")
def grid():
    with LocalGrid(APP, NODES, {}) as opened:
        yield opened


def initial():
    torch.manual_seed(0)
    return build()


def strategy(**more):
    return autoprune.AutoPrune(initial(), EXAMPLE, **RULE | more)


def run(opened, grid, rounds=6, **config):
    first = ArrayRecord(initial().state_dict())
    return opened.start(grid, first, rounds, train_config=ConfigRecord(config))


@pytest.fixture(autouse=True)
def _heard(caplog):
    """Flower's logger, which a run of a study in this process has silenced."""
    caplog.set_level("INFO", "flwr")


@pytest.mark.parametrize("keep", WEIGHTS)
def test_it_is_the_search_of_the_studies_own_method(grid, keep):
    """The same aggregates give the same plan and the same weights, bit for bit."""
    base = base_of(f"{APP.partition(':')[0]}:build", (), (1, 9, 9), 3)
    architecture, network = base, new_network(base, SEED)
    plan = Plan(base, keep, SEED, *RULE.values())
    model = build()  # whose batch norm counts batches, as torch's do and the studies' do not
    model.load_state_dict(network.net.state_dict(), strict=False)
    opened = autoprune.AutoPrune(model, EXAMPLE, **RULE, keep=keep, seed=SEED)
    arrays = ArrayRecord(model.state_dict())
    for server_round in range(1, 7):
        architecture, network = advance(plan, server_round, architecture, network)
        messages = list(opened.configure_train(server_round, arrays, ConfigRecord(), grid))
        sent = tensors(messages[0].content.array_records["arrays"])
        own = network.net.state_dict()
        assert sent.keys() - own.keys() == {"norm.num_batches_tracked"}
        assert all(torch.equal(sent[name], tensor) for name, tensor in own.items())
        arrays, _ = opened.aggregate_train(server_round, grid.send_and_receive(messages))
        load_state(network, {f"net.{name}": tensors(arrays)[name] for name in own})
    assert len(falls(plan)) > 1
    expected = json.loads(json.dumps(plan.to_json()).replace('"net.', '"'))
    found = json.loads(json.dumps(opened.plan))
    assert found.pop("base") == expected.pop("base") | {"family": "test_library:Small"}
    assert found == expected


def test_what_is_left_is_made_again_from_the_plan(grid):
    opened = strategy(fraction_train=1.0, fraction_evaluate=1.0)
    result = run(opened, grid)
    kept = opened.kept
    assert kept.keys() == {"stem", "inner"}
    assert len(kept["stem"]) < 12
    assert autoprune.kept(json.loads(json.dumps(opened.plan))) == kept
    again = autoprune.shrink(build(), EXAMPLE, kept).eval()
    again.load_state_dict(result.arrays.to_torch_state_dict())
    inputs = torch.rand(2, 1, 9, 9)
    assert torch.equal(again(inputs), opened.network()(inputs))
    assert torch.equal(again(inputs), opened.network(result.arrays)(inputs))
    told = result.evaluate_metrics_clientapp[6]
    assert told["width"] == told["said"] == len(kept["stem"])


@pytest.mark.parametrize(
    "inner",
    [
        FedAdam(eta=0.1),
        FedYogi(eta=0.1),
        FedAvgM(server_momentum=0.9),
    ],
    ids=lambda inner: type(inner).__name__,
)
def test_the_momenta_of_a_strategy_lose_what_the_network_loses(grid, inner):
    opened = strategy(strategy=inner)
    arrays = ArrayRecord(initial().state_dict())

    def momenta():
        kept = inner.momentum_vector if isinstance(inner, FedAvgM) else inner.m_t.values()
        return dict(zip(arrays, kept, strict=True))

    for server_round in (1, 2):
        before, kept = (momenta(), opened.kept) if server_round > 1 else ({}, {})
        messages = opened.configure_train(server_round, arrays, ConfigRecord(), grid)
        if before:
            left = opened.kept
            assert len(left["stem"]) < len(kept["stem"])
            whole = torch.as_tensor(before["inner.weight"])
            smaller = torch.as_tensor(momenta()["inner.weight"])
            assert torch.equal(smaller, whole[left["inner"]][:, left["stem"]])
        arrays, _ = opened.aggregate_train(server_round, grid.send_and_receive(messages))
    run(strategy(strategy=type(inner)()), grid)  # to its end


@pytest.mark.parametrize(
    "inner",
    [
        FedProx(proximal_mu=0.1),
        FedMedian(),
        FedTrimmedAvg(),
        Krum(num_malicious_nodes=0),
        DifferentialPrivacyServerSideFixedClipping(FedAdam(eta=0.1), 0.0, 1.0, NODES),
    ],
    ids=lambda inner: type(inner).__name__,
)
def test_any_strategy_of_flowers_aggregates(grid, inner):
    opened = strategy(strategy=inner)
    result = run(opened, grid, 4)
    assert len(opened.kept["stem"]) < 12
    again = autoprune.shrink(build(), EXAMPLE, opened.kept)
    again.load_state_dict(result.arrays.to_torch_state_dict())


def test_momenta_of_weights_that_were_set_anew_are_zero(grid):
    inner = FedAdam(eta=0.1)
    opened = strategy(strategy=inner, keep="reinit")
    first = opened.configure_train(1, ArrayRecord(initial().state_dict()), ConfigRecord(), grid)
    arrays, _ = opened.aggregate_train(1, grid.send_and_receive(first))
    assert inner.m_t["last.weight"].any()
    opened.configure_train(2, arrays, ConfigRecord(), grid)
    assert len(opened.kept["stem"]) < 12
    assert not any(numbers.any() for of in (inner.m_t, inner.v_t) for numbers in of.values())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("widens", r"array stem\.weight: found shape \(13, 1, 3, 3\), expected \(\d+, 1, 3, 3\)"),
        ("diverges", r"array last\.bias: not finite, its training diverged"),
        ("renames", r"array first\.bias: not expected; the model has stem\.weight, "),
    ],
)
def test_another_reply_is_left_out_by_name_and_the_others_count(grid, caplog, wrong, words):
    opened, right = strategy(), strategy()
    found = run(opened, grid, 3, **{wrong: [1]})
    alone = run(right, grid, 3, raises=[1])
    assert caplog.text.count("left out") >= 2
    assert len(re.findall(rf"node 3: {words}", caplog.text)) >= 2
    same = zip(found.arrays.values(), alone.arrays.values(), strict=True)
    assert all(torch.allclose(*map(torch.from_numpy, (a.numpy(), b.numpy()))) for a, b in same)
    assert opened.kept == right.kept
    with pytest.raises(InputError, match=rf"round \d: no reply can be averaged; node \d: {words}"):
        run(strategy(), grid, 3, **{wrong: [0, 1, 2]})


def test_a_round_that_brings_nothing_keeps_what_was_sent_and_is_no_application(grid):
    opened = strategy()
    first = ArrayRecord(initial().state_dict())
    arrays, _ = opened.aggregate_train(
        1, grid.send_and_receive(opened.configure_train(1, first, ConfigRecord(), grid))
    )
    fails = ConfigRecord({"raises": [0, 1, 2]})
    replies = list(
        grid.send_and_receive(sent := list(opened.configure_train(2, arrays, fails, grid)))
    )
    assert all("no data here" in reason_of(reply) for reply in replies)
    smaller, metrics = opened.aggregate_train(2, replies)
    assert metrics is None
    assert smaller == sent[0].content.array_records["arrays"]
    again = list(opened.configure_train(3, smaller, ConfigRecord(), grid))
    assert [shrink["round"] for shrink in opened.plan["shrinks"]] == [2]
    opened.aggregate_train(3, grid.send_and_receive(again))


def test_a_client_with_another_module_is_told_which_array(grid):
    opened = strategy()
    (message, *_) = opened.configure_train(
        1, ArrayRecord(initial().state_dict()), ConfigRecord(), grid
    )
    narrow = build()
    narrow.last = nn.Linear(12, 2)
    with pytest.raises(InputError, match=r"array last\.weight: found shape \(3, 12\), the module "):
        autoprune.received(message, narrow)
    with pytest.raises(InputError, match=r"array 0\.bias: missing; the model has 0\.weight"):
        autoprune.received(message, nn.Sequential(nn.Linear(2, 2)))
    message.content["more"] = ArrayRecord(initial().state_dict())
    with pytest.raises(InputError, match="message: found 2 array records, expected one"):
        autoprune.received(message, build())


def test_without_the_strategy_nothing_is_cut(grid):
    result = run(FedAvg(), grid, 1)
    assert result.arrays["stem.weight"].numpy().shape == (12, 1, 3, 3)


class Tied(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(81, 81), nn.Linear(81, 81))
        self[2].weight = self[1].weight


class Both(nn.Conv2d):
    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"k": 0}, "^k: found 0, expected a number above 0$"),
        ({"patience": 1.5}, "^patience: found 1.5, expected a whole number$"),
        ({"keep": "inherits"}, "^keep: unknown variant 'inherits'; .*did you mean 'inherit'"),
        ({"tails": "up"}, "^tails: found 'up'; known are both, low$"),
        ({"strategy": FedAvg(), "fraction_train": 0.5}, "^fraction_train: given beside a strategy"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(81, 3))}, "no layer can lose filters"),
        ({"model": Tied()}, "a parameter stands in it under two names; share its layer"),
        ({"model": Both(1, 2, 3)}, "^network: gives tuple, expected one tensor$"),
        ({"model": nn.Linear(3, 2)}, r"does not run on inputs of shape \(2, 1, 9, 9\) \(Runtime"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(given, words):
    model = given.pop("model", None) or build()
    with pytest.raises(InputError, match=words):
        autoprune.AutoPrune(model, EXAMPLE, **RULE | given)


def test_a_strategy_is_for_one_run(grid):
    opened = strategy()
    run(opened, grid, 3)
    with pytest.raises(InputError, match=r"array stem\.weight: found shape \(12, 1, 3, 3\)"):
        run(opened, grid, 3)


def test_what_is_shrunk_is_in_the_mode_of_each_of_its_parts():
    model = initial().train()
    model.norm.eval()  # frozen
    smaller = autoprune.shrink(model, EXAMPLE, {"inner": [1, 4]})
    assert [part.training for part in smaller.modules()] == [
        part.training for part in model.modules()
    ]


def test_a_plan_of_nothing_leaves_nothing_out_and_one_that_was_edited_is_refused(grid):
    opened = strategy()
    assert autoprune.kept(opened.plan) == {}
    run(opened, grid, 3)
    plan = json.loads(json.dumps(opened.plan))
    plan["shrinks"][1]["layers"][0]["kept"].append(12)
    with pytest.raises(InputError, match=r"plan: round 3, layer 1: kept .*the plan was edited"):
        autoprune.kept(plan)
