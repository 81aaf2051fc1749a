"""Odd networks through AutoPrune: clients get what computes the same, or it is refused."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import autoprune
from autoprune.core.errors import InputError
from autoprune.federation.local_grid import LocalGrid

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "models/topologies")]
from law import gone, shaken, silenced  # noqa: E402
from test_attention import FEATURES, STEPS, Around, Encoder, Packed, blocks  # noqa: E402
from test_concat import Concat  # noqa: E402
from test_depthwise import Separable  # noqa: E402
from test_grouped_convolution import Bottleneck  # noqa: E402
from test_residual_chain import Chain  # noqa: E402
from test_shared_layer import Twice  # noqa: E402
from test_split import Split  # noqa: E402
from test_two_heads import Heads  # noqa: E402

RULE = {"k": 0.8, "patience": 3, "cap": 3}
app = ClientApp()


def flattened():
    return nn.Sequential(
        nn.Conv1d(4, 9, 3),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(63, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


# network, an input's shape, with linear layers, what each silent filter silences before a ReLU
ODD = {
    "concat": (
        lambda: Concat(9, 8),
        (2, 6, 6),
        False,
        lambda left: {"norm": gone(left["one"], 9) | gone(left["other"], 8, 9)},
    ),
    "depthwise": (
        lambda: Separable(9, 7),
        (2, 7, 7),
        False,
        lambda left: {"3": gone(left["0"], 9), "5": gone(left["5"], 7)},
    ),
    "residual": (lambda: Chain(9, 8), (1, 8, 8), False, None),
    "twice": (
        lambda: Twice(9),
        (1, 6, 6),
        False,
        lambda left: dict.fromkeys(("stem", "shared"), gone(left["stem"], 9)),
    ),
    "heads": (
        lambda: Heads(9, 8),
        (1, 6, 6),
        False,
        lambda left: {"trunk": gone(left["trunk"], 9), "hidden": gone(left["hidden"], 8)},
    ),
    "split": (lambda: Split(4), (1, 9, 9), False, lambda left: {"own": gone(left["own"], 5)}),
    "attention": (
        lambda: Encoder(inner=9),
        (1, 8, 5),
        True,
        lambda left: {"up": gone(left["up"], 9)},
    ),
    "heads of attention": (
        lambda: Around(Packed(9, 2)),
        (1, FEATURES, STEPS),
        True,
        lambda left: {
            "attention.qkv": {36 + row for row in blocks(gone(left["attention"], 9), 2)},
            "up": gone(left["up"], 4),
        },
    ),
    "groups": (
        lambda: Bottleneck(9, 2, 2),
        (1, 7, 7),
        False,
        lambda left: {
            "norm": blocks(gone(left["up"], 9), 2),
            "grouped_norm": blocks(gone(left["up"], 9), 2),
            **dict.fromkeys(("stem", "down"), gone(left["stem"], 5)),
            "squeeze": gone(left["squeeze"], 3),
        },
    ),
    "one dimension": (
        flattened,
        (4, 16),
        True,
        lambda left: {"0": gone(left["0"], 9), "4": gone(left["4"], 8)},
    ),
}


@app.train()
def echo(message: Message, context: Context) -> Message:
    """Sends back what came, through the module that it makes of it."""
    module = autoprune.received(message, ODD[str(context.run_config["odd"])][0]())
    content = {"arrays": ArrayRecord(module.state_dict())}
    content["metrics"] = MetricRecord({"num-examples": 1})
    return Message(RecordDict(content), reply_to=message)


@pytest.mark.parametrize("odd", ODD)
def test_what_clients_get_computes_what_the_whole_does_with_silent_filters(odd):
    """Nobody trains, so that after three applications the whole is still there to be compared."""
    make, shape, linear, rows = ODD[odd]
    whole = shaken(make())
    strategy = autoprune.AutoPrune(whole, torch.zeros(1, *shape), **RULE, linear=linear)
    arrays = ArrayRecord(whole.state_dict())
    with LocalGrid("test_library_topologies:app", 2, {"odd": odd}) as grid:
        for server_round in range(1, 5):
            messages = list(strategy.configure_train(server_round, arrays, ConfigRecord(), grid))
            arrays, _ = strategy.aggregate_train(server_round, grid.send_and_receive(messages))
    module = autoprune.received(messages[0], make()).eval()
    widths = autoprune.prunable(whole, torch.zeros(1, *shape), linear=linear)
    left = strategy.kept
    assert left.keys() == widths.keys()
    assert any(len(left[name]) < width for name, width in widths.items())
    inputs = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = module(inputs)
        again = autoprune.shrink(whole, torch.zeros(1, *shape), left)
        torch.testing.assert_close(found, again(inputs), rtol=1e-5, atol=1e-5)
        if rows:  # of filters that nothing adds to: written out by hand
            expected = silenced(copy.deepcopy(whole), rows(left))(inputs)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def follows(*layers):
    """A first convolution of eight filters and what reads it."""
    return nn.Sequential(nn.Conv2d(1, 8, 3), *layers)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            nn.Sequential(
                nn.Conv2d(1, 6, 3),
                nn.Conv2d(6, 6, 1, groups=2),
                nn.Conv2d(6, 6, 1, groups=3),
                nn.Flatten(),
                nn.Linear(294, 3),
            ),
            r"in 2 and in 3 groups",
        ),
        (
            follows(nn.Linear(7, 3)),
            r"0: 1\.weight: its 7 places along axis 1 are not of the filters",
        ),
        (follows(nn.Softmax(1), nn.Flatten(), nn.Linear(392, 3)), r"0: .*or chosen among together"),
        (
            nn.Sequential(weight_norm(nn.Conv2d(1, 8, 3)), nn.Flatten(), nn.Linear(392, 3)),
            r"0: its weight is computed of others",
        ),
    ],
    ids=["groups", "another axis", "softmax", "weight norm"],
)
def test_a_network_of_which_nothing_can_go_is_refused_with_the_reason(network, words):
    with pytest.raises(InputError, match=rf"model: no layer can lose filters \(.*{words}"):
        autoprune.AutoPrune(network, torch.zeros(1, 1, 9, 9), **RULE)


def test_of_one_number_an_example_the_plan_says_one():
    network = follows(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    network.append(nn.Flatten(0))
    strategy = autoprune.AutoPrune(network, torch.zeros(1, 1, 9, 9), **RULE)
    assert strategy.plan["base"]["classes"] == 1


def test_what_stays_whole_in_a_network_that_is_pruned_is_said(caplog):
    strategy = autoprune.AutoPrune(Split(4), torch.zeros(1, 1, 9, 9), **RULE)
    with caplog.at_level("INFO", "flwr"):
        strategy.summary()
    assert "layer both stays whole: own.weight: filters would have unequal numbers" in caplog.text
    assert strategy.refused.keys() == {"both"}
