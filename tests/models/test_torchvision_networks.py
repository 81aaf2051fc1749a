"""torchvision's networks: all of their layers can go, as two dependency graphs see it alike."""

import pytest
import torch
from torch import nn
from torch_kirigami import DependencyGraph
from torch_kirigami.pruning import Candidate, Pruner

from autoprune.core.calls import Call
from autoprune.models.factory import describe, make

SHAPE = (3, 84, 84)
LAYERS = {
    "resnet18": 12,
    "squeezenet1_1": 25,
    "mobilenet_v2": 25,
    "mobilenet_v3_small": 26,
    "vgg11": 8,
    "efficientnet_b0": 40,
    "densenet121": 120,
    "googlenet": 57,
    "resnext50_32x4d": 21,  # of the convolutions in groups, whole groups
    "regnet_y_400mf": 37,
}


def ours(whole, layer, index):
    """Parameter -> how many of its numbers go with a filter."""
    number, found = whole.places.filters(layer)[index], {}
    for name in whole.shapes:
        if name.endswith(("running_mean", "running_var")):  # which are no parameters
            continue
        gone = torch.zeros(whole.shapes[name], dtype=torch.bool)
        for axis, owner in whole.places.owners.get(name, {}).items():
            gone.index_fill_(axis, (owner == number).nonzero()[:, 0], True)
        if gone.any():
            found[name] = int(gone.sum())
    return found


def theirs(pruner, graph, name, rows):
    """The same as torch-kirigami has it, of the rows of a layer that the filter has."""
    axis = graph.parameter(f"{name}.weight").axis(0)
    (group,) = pruner.parameter_groups([Candidate("it", (axis.select(rows),), axis)])
    return {path: part.count for part in group.selections for path in part.tensor.paths}


@pytest.mark.long
@pytest.mark.parametrize(("name", "layers"), LAYERS.items(), ids=list(LAYERS))
def test_every_layer_can_go_and_kirigami_agrees_what_goes_with_it(name, layers):
    call = f"torchvision:{name}"
    whole = describe(call, SHAPE, 10)
    assert len(whole.prunable) == layers
    assert whole.refused == {}
    network = make(Call.parse(call), SHAPE, 10).eval()
    for parent in list(network.modules()):  # which kirigami does not know, and which cuts nothing
        for child, module in parent.named_children():
            if type(module).__name__ == "StochasticDepth":
                setattr(parent, child, nn.Identity())
    graph = DependencyGraph.build(network, args=(torch.zeros(2, *SHAPE),))
    pruner = Pruner(network, graph=graph)
    every = 10 if layers > 100 else 1  # a second and a half a filter there
    for layer in range(0, layers, every):
        index = (7 * layer) % whole.places.widths[layer]
        plain = whole.prunable[layer].removeprefix("net.")
        owner = whole.places.owners[f"net.{plain}.weight"][0]
        rows = (owner == whole.places.filters(layer)[index]).nonzero()[:, 0].tolist()
        expected = {f"net.{path}": n for path, n in theirs(pruner, graph, plain, rows).items()}
        assert ours(whole, layer, index) == expected, plain
