"""Which layers of any network can lose filters, heads or groups, and why the others cannot."""

from collections.abc import Iterator, Mapping

from torch import nn
from torch_pruning import DependencyGraph

from autoprune.core.errors import InputError
from autoprune.models.cuts import misfit, samples
from autoprune.models.graph import Owners, ends_of, graph_of, group_of, is_output
from autoprune.models.heads import Attention, heads_of, readings
from autoprune.models.kinds import CONVOLUTIONS, is_depthwise
from autoprune.models.layers import Network
from autoprune.models.places import Places

MULTIHEAD = (
    "nn.MultiheadAttention computes only where its heads fill its embed_dim; written out, with "
    "projections of its own, it loses heads"
)


def layers_of(network: Network, *, linear: bool) -> tuple[tuple[str, ...], dict[str, str], Places]:
    """The layers that can lose filters, why others cannot, and where the filters stand.

    With ``linear`` linear layers lose units and attention loses heads, too.
    """
    graph, refused = graph_of(network, network.input_shape), dict[str, str]()
    attention = _attention(network, refused) if linear else {}
    owners, prunable = _claimed(network, graph, refused, attention, linear=linear)
    while prunable:
        places = owners.places()
        every = [list(range(width)) for width in places.widths]
        tried, broken = samples(places), len(refused)
        wrong = next((why for kept in tried if (why := misfit(network, places, kept))), "")
        if not wrong:
            return tuple(prunable), refused, places
        for layer, name in enumerate(prunable):
            for kept in tried:
                alone = [*every[:layer], kept[layer], *every[layer + 1 :]]
                if why := misfit(network, places, alone):
                    refused[name] = why
        if len(refused) == broken:
            raise InputError(f"each layer can lose filters, but not all at once: {wrong}")
        owners, prunable = _claimed(network, graph, refused, attention, linear=linear)
    return (), refused, owners.places()


def _attention(network: Network, refused: dict[str, str]) -> dict[str, Attention]:
    """Of each module that says how many heads it has the reading by which it can lose some.

    The innermost modules come first: what holds one of them may say the number for it.
    """
    found: dict[str, Attention] = {}
    for name, module in sorted(network.named_modules(), key=lambda one: -one[0].count(".")):
        heads = heads_of(module)
        if isinstance(module, nn.MultiheadAttention):
            refused[name] = MULTIHEAD
        elif heads and heads[1] > 1 and not any(n.startswith(f"{name}.") for n in found):
            tried = {reading: _misfit(network, reading) for reading in readings(name, module)}
            fit = [reading for reading, why in tried.items() if not why]
            if fit:
                found[name] = fit[0]
            else:
                why = next(iter(tried.values()), "no queries, keys and values are made in it")
                refused[name] = f"as attention of {heads[1]} heads: {why}"
    return found


def _misfit(network: Network, reading: Attention) -> str:
    """Why a module's heads are not what this reading says; "" where they are."""
    owners = Owners(network)
    owners.claim_heads(reading)
    places = owners.places()
    return next((why for kept in samples(places) if (why := misfit(network, places, kept))), "")


def _candidates(
    network: Network,
    refused: Mapping[str, str],
    attention: Mapping[str, Attention],
    *,
    linear: bool,
) -> Iterator[tuple[str, nn.Module]]:
    """The modules that may lose something, in the network's order."""
    kinds = (*CONVOLUTIONS, *([nn.Linear] if linear else []))
    for name, module in network.named_modules():
        if name in refused or is_depthwise(module):
            continue
        within = isinstance(network.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention)
        if name in attention or (isinstance(module, kinds) and not within):
            yield name, module


def _claimed(
    network: Network,
    graph: DependencyGraph,
    refused: dict[str, str],
    attention: Mapping[str, Attention],
    *,
    linear: bool,
) -> tuple[Owners, list[str]]:
    """The places of the filters of each layer that is not refused, nor coupled to one before it."""
    owners, prunable = Owners(network), list[str]()
    for name, layer in _candidates(network, refused, attention, linear=linear):
        try:
            if name in attention:
                owners.claim_heads(attention[name])
                prunable.append(name)
                continue
            if f"{name}.weight" not in network.state_dict():
                refused[name] = "its weight is computed of others, as by weight norm"
                continue
            if owners.all_owned(f"{name}.weight", 0):
                continue
            if layer not in graph.module2node:
                refused[name] = "the network does not use it"
                continue
            group = group_of(graph, layer)
            if is_output(group):  # the classes
                continue
            if ends := ends_of(graph, group):
                owners.claim_groups(name, ends)
            else:
                owners.claim([group])
        except InputError as error:
            refused[name] = str(error)
            continue
        prunable.append(name)
    return owners, prunable
