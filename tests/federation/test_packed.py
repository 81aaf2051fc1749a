"""Weights and updates at each layer's bits: their bytes and what is lost, by law."""

import math

import pytest
import torch
from flwr.app import Context, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.federation import packed, unwrapping, wire
from autoprune.models import Architecture, build, new_network
from autoprune.models.attached import attach, folded
from autoprune.models.quantised import bits, grids
from autoprune.models.quantiser import largest, step_of
from autoprune.models.state import maskable, shapes
from autoprune.models.weights import load_network, load_weights, save_weights

NETWORKS = {
    "cnn": Architecture("cnn", (5, 7), (1, 28, 28), 10),
    "resnet": Architecture("resnet", (4, 5, 6), (1, 28, 28), 10),
}
widths = st.lists(st.integers(2, 16), min_size=8, max_size=8)
few = settings(max_examples=25, deadline=None)


def on_grids(family, of_layers):
    """A network whose layers have so many bits, as ranges of their largest weights give them."""
    plain = NETWORKS[family]
    architecture, network = attach(plain, new_network(plain, 0), "quantised")
    part, state = network.attached, network.state_dict()
    with torch.no_grad():
        tops = largest(state)
        of_layers = of_layers[: len(tops)]
        steps = [step_of(n, float(top)) for n, top in zip(of_layers, tops, strict=True)]
        part.set(steps, tops.tolist())
    return architecture, network, list(of_layers)


@pytest.mark.parametrize("family", NETWORKS)
@given(of_layers=widths)
@few
def test_weights_arrive_as_the_network_uses_them_in_the_bytes_of_their_bits(family, of_layers):
    architecture, network, of_layers = on_grids(family, of_layers * 2)
    state = network.state_dict()
    assert list(bits(state).values()) == of_layers
    sent = packed.pack_weights(state)
    names = maskable(state)
    whole = sum(math.ceil(n * state[k].numel() / 8) for k, n in zip(names, of_layers, strict=True))
    others = sum(tensor.numel() for name, tensor in state.items() if name not in names)
    assert (
        len(sent) == whole + 4 * others == packed.length(bits(state), shapes(state), scaled=False)
    )
    got = packed.unpack_weights(sent, bits(state), shapes(state))
    assert list(got) == list(state)
    plain = folded(architecture, network)[1].state_dict()
    assert all(torch.equal(got[name], plain.get(name, state[name])) for name in state)
    with pytest.raises(ValueError, match="bytes are not those of this network at"):
        packed.unpack_weights(sent[1:], bits(state), shapes(state))


@pytest.mark.parametrize("family", NETWORKS)
@given(of_layers=widths, seed=st.integers(0, 99))
@few
def test_an_update_is_within_half_a_step_of_its_channel(family, of_layers, seed):
    _, network, _ = on_grids(family, of_layers * 2)
    state, stream = network.state_dict(), torch.Generator().manual_seed(seed)
    update = {n: 0.01 * torch.randn(t.shape, generator=stream) for n, t in state.items()}
    sent, got = packed.quantise_update(update, bits(state))
    upload = packed.pack_update(sent, bits(state))
    assert len(upload) == packed.length(bits(state), shapes(state), scaled=True)
    back = packed.unpack_update(upload, bits(state), shapes(state))
    assert list(back) == list(state)
    for name, tensor in update.items():
        assert torch.equal(back[name], got[name])
        if name not in bits(state):
            assert torch.equal(back[name], tensor)
            continue
        most = 2 ** (bits(state)[name] - 1) - 1
        top = tensor.flatten(1).abs().amax(1)
        lost = (back[name] - tensor).flatten(1).abs().amax(1)
        assert bool((lost <= 0.5 * top / most + 1e-6 * top).all())  # and float32's own rounding


def test_what_an_update_loses_is_made_up_for_and_the_servers_weights_are_not_rounded():
    _, network, _ = on_grids("cnn", [3, 3, 3])
    state, ours = network.state_dict(), wire.Packed()
    sent, context = ours.outgoing(state), Context(1, 1, {}, RecordDict(), {})
    content = RecordDict({"arrays": wire.one("weights", sent), **ours.notes(0)})
    assert list(content.config_records["packed"]["bits"]) == [3, 3, 3]
    before, masks = unwrapping.received(content, context, state)
    assert not masks
    change = {name: torch.full_like(tensor, 0.001) for name, tensor in before.items()}
    change["conv1.weight"][:, 0, 0, 0] = 0.01  # beside which 0.001 is less than half a step
    after = {name: before[name] + change[name] for name in before}
    summed = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    for _ in range(40):
        answer = unwrapping.answered(content, context, after, before, {})
        assert len(answer) == ours.answer_length(sent, state)
        for name, tensor in ours.incoming(answer, state).items():
            summed[name] += tensor - state[name]
    for name, total in summed.items():
        assert torch.allclose(total / 40, change[name], atol=3e-4), name
    assert ours.bits(state) == 8 * len(sent)


def test_a_network_without_grids_travels_as_it_is():
    state = build(NETWORKS["cnn"]).state_dict()
    ours = wire.Packed()
    assert ours.outgoing(state).dtype == torch.float32
    assert not ours.notes(0)
    assert not grids(state)


@given(of_layers=widths)
@few
def test_saved_weights_take_their_bits_and_read_back_to_the_bit(tmp_path_factory, of_layers):
    folder = tmp_path_factory.mktemp("weights")
    architecture, network, of_layers = on_grids("cnn", of_layers)
    small, plain = folded(architecture, network)
    found = wire.Packed().grids(network.state_dict())
    save_weights(folder / "packed", small, plain.state_dict(), grids=found)
    save_weights(folder / "whole", small, plain.state_dict())
    (one, state, notes), other = load_weights(folder / "packed"), load_weights(folder / "whole")
    assert (one, notes) == (other[0], other[2]) == (small, {})
    assert all(torch.equal(state[name], other[1][name]) for name in other[1])
    saved = (folder / "whole").stat().st_size - (folder / "packed").stat().st_size
    numbers = [plain.state_dict()[name].numel() for name in found]
    less = sum(m * (32 - n) / 8 for m, n in zip(numbers, of_layers, strict=True))
    assert saved == pytest.approx(less, abs=700)  # the header says how to read each
    images = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(load_network(folder / "packed")[1](images), network.eval()(images))
