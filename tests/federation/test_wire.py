"""What travels: masks, int8 and their memory, by law; and the bytes, from recorded messages."""

import csv

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.federation import unwrapping, wire
from autoprune.federation.__main__ import CLIENT_APP, settings_of
from autoprune.federation.communication import encode
from autoprune.federation.encoding import (
    compress,
    dequantise,
    expand,
    pack_int8,
    quantise,
    unpack_int8,
)
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.run import Run
from autoprune.models import Architecture, new_network
from autoprune.models.state import flat, maskable, pack_mask, shapes, unflat, unpack_mask
from autoprune.study.methods import follows_plan

CNN = Architecture("cnn", (5, 7), (1, 28, 28), 10)
RESNET = Architecture("resnet", (4, 5, 6), (1, 28, 28), 10)
CNN1D = Architecture("cnn1d", (4, 5, 6), (1, 40, 64), 20)
CONFORMER = Architecture("conformer", (4, 5, 2, 6, 3), (1, 40, 64), 20)
STATE = new_network(CNN, 0).state_dict()
TOTAL = sum(STATE[name].numel() for name in maskable(STATE))


def masks_of(share, seed=0):
    stream = np.random.default_rng(seed)
    return {n: torch.from_numpy(stream.random(STATE[n].shape) < share) for n in maskable(STATE)}


@given(st.floats(0, 1), st.integers(0, 999))
def test_a_mask_survives_in_the_smaller_of_two_forms(share, seed):
    masks = masks_of(share, seed)
    packed = pack_mask(masks)
    ones = sum(int(mask.sum()) for mask in masks.values())
    assert packed.numpy().nbytes == min(-(-TOTAL // 8), 4 * ones)
    again = unpack_mask(packed, STATE)
    assert again.keys() == masks.keys()
    assert all(torch.equal(again[name], masks[name]) for name in masks)


@given(st.integers(0, 999))
def test_a_flat_array_has_all_numbers_in_the_states_order(seed):
    state = new_network(RESNET, seed).state_dict()
    values = flat(state)
    assert (
        values.numpy().tolist()
        == np.concatenate([tensor.numpy().reshape(-1) for tensor in state.values()]).tolist()
    )
    again = unflat(values, shapes(state))
    assert list(again) == list(state)
    assert all(torch.equal(again[name], state[name]) for name in state)
    apart = {
        n: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t
        for n, t in state.items()
    }
    assert torch.equal(flat(apart), values)


@given(st.floats(0, 1), st.integers(0, 999))
def test_values_under_a_mask_come_back_with_zeros_elsewhere(share, seed):
    masks = masks_of(share, seed)
    values = compress(STATE, masks)
    state = expand(values, masks, shapes(STATE))
    for name, tensor in STATE.items():
        assert torch.equal(state[name], tensor * masks[name] if name in masks else tensor)
    assert len(values) == int(
        sum(m.sum() for m in masks.values())
        + sum(STATE[n].numel() for n in STATE if n not in masks)
    )


def test_values_that_do_not_fit_the_mask_are_a_fault():
    masks = masks_of(0.5)
    values = compress(STATE, masks)
    with pytest.raises(ValueError, match="the masks have"):
        expand(values[:-1], masks, shapes(STATE))


@pytest.mark.parametrize(
    "architecture", [CNN, RESNET, CNN1D, CONFORMER], ids=lambda one: one.family
)
def test_int8_is_bytes_in_the_documented_order(architecture):
    """All int8 first, then float32 of scales and of what is not rounded; and back, to the bit."""
    state = new_network(architecture, 0).state_dict()
    quantised = quantise(state)
    packed = pack_int8(quantised)
    assert packed.dtype == torch.uint8
    kernels = maskable(state)
    number = sum(state[name].numel() for name in kernels)
    steps = np.concatenate([quantised[name].numpy().reshape(-1) for name in kernels])
    assert packed[:number].numpy().view(np.int8).tolist() == steps.tolist()
    rest = [quantised[f"{n}.scale" if n in kernels else n].numpy().reshape(-1) for n in state]
    floats = np.frombuffer(packed[number:].numpy().tobytes(), "<f4")
    assert floats.tolist() == np.concatenate(rest).tolist()
    again = unpack_int8(packed, shapes(state))
    assert list(again) == list(quantised)
    assert all(torch.equal(again[name], quantised[name]) for name in again)
    assert all(torch.equal(dequantise(again)[n], dequantise(quantised)[n]) for n in state)
    with pytest.raises(ValueError, match="are not those of this network"):
        unpack_int8(packed[1:], shapes(state))


def test_rounding_is_within_half_a_step_of_the_channel():
    sent = quantise(STATE)
    back = dequantise(sent)
    for name in maskable(STATE):
        assert sent[name].dtype == torch.int8
        steps = sent[name + ".scale"].view(-1, *[1] * (STATE[name].dim() - 1))
        assert bool(((back[name] - STATE[name]).abs() <= 0.501 * steps).all())
        assert int(sent[name].flatten(1).abs().amax(1).min()) == 127
    assert all(torch.equal(back[n], STATE[n]) for n in STATE if n not in maskable(STATE))
    zero = {"w": torch.zeros(2, 3)}
    assert torch.equal(dequantise(quantise(zero))["w"], zero["w"])
    assert quantise(zero)["w.scale"].tolist() == [1, 1]


INT8 = RecordDict({"int8": ConfigRecord({"symmetric": True})})
STEPS = {name: quantise(STATE)[f"{name}.scale"] for name in maskable(STATE)}


def off(found, wanted, steps, name):
    """The largest distance of a kernel from that wanted, in steps of its channel."""
    distance = (found[name] - wanted[name]).abs().flatten(1).amax(1)
    return float((distance / steps[name]).max())


def sent_down(server, state):
    """What a client has of a state that the server sends."""
    content = RecordDict({"arrays": wire.one("weights", server.outgoing(state)), **server.notes(0)})
    return unwrapping.received(content, Context(1, 1, {}, RecordDict(), {}), state)[0]


def test_what_arrives_down_is_off_by_one_rounding_however_often_it_was_sent():
    """With feedback it would be off by up to a whole step from the second sending on."""
    server = wire.Int8()
    for sending in range(20):
        state = {name: tensor * (1 + 0.01 * sending) for name, tensor in STATE.items()}
        got = sent_down(server, state)
        steps = {name: quantise(state)[f"{name}.scale"] for name in maskable(state)}
        assert all(off(got, state, steps, name) <= 0.501 for name in steps)
        assert all(torch.equal(got[name], state[name]) for name in state if name not in steps)
        assert same(got, server.deployed(state))


def same(found, expected):
    return all(torch.equal(found[name], expected[name]) for name in expected)


def updates_of(contexts, update, server=None):
    """What arrives of a client that changes its weights by ``update`` once in each context."""
    server = server or wire.Int8()
    trained = {name: tensor + update[name] for name, tensor in STATE.items()}
    arrived = []
    for context in contexts:
        sent = unwrapping.answered(INT8, context, trained, STATE, {})
        state = server.incoming(sent, STATE)
        arrived.append({name: state[name].double() - STATE[name].double() for name in STATE})
    return arrived


def mean_of(arrived):
    return {n: torch.stack([one[n] for one in arrived]).mean(0) for n in arrived[0]}


def update_of(size=1e-3):
    stream = torch.Generator().manual_seed(4)
    return {n: size * torch.randn(t.shape, generator=stream) for n, t in STATE.items()}


def test_an_update_arrives_with_one_roundings_error_and_its_feedback():
    """Half a step of the update at first, then up to one, as it makes up for the last.

    These steps are smaller than the weights'; what is not rounded arrives as it is.
    """
    update = update_of()
    steps = {name: quantise(update)[f"{name}.scale"] for name in maskable(update)}
    assert all(float((steps[n] / STEPS[n]).max()) < 0.5 for n in steps)
    arrived = updates_of([Context(1, 1, {}, RecordDict(), {})] * 20, update)
    assert all(off(arrived[0], update, steps, name) <= 0.51 for name in steps)
    assert all(off(one, update, steps, name) <= 1.05 for one in arrived for name in steps)
    for name in STATE.keys() - steps.keys():
        assert torch.allclose(arrived[-1][name].float(), update[name], atol=1e-7)


def test_the_mean_update_over_rounds_is_unbiased_with_feedback_alone():
    """What 64 roundings lose together is what the last one lost: a 64th of half a step."""
    update = update_of()
    steps = {name: quantise(update)[f"{name}.scale"] for name in maskable(update)}
    kept = mean_of(updates_of([Context(1, 1, {}, RecordDict(), {})] * 64, update))
    lost = mean_of(updates_of([Context(1, 1, {}, RecordDict(), {}) for _ in range(64)], update))
    for name in steps:
        assert off(kept, update, steps, name) <= 1 / 64 + 1e-3
        assert off(lost, update, steps, name) > 1 / 4


def test_updates_smaller_than_a_step_of_the_weights_add_up_on_the_server():
    """On what it sent, every one of them would be rounded away in the next sending."""
    server, weights = wire.Int8(), dict(STATE)
    update = {
        n: (STEPS[n] / 10).view(-1, *[1] * (t.dim() - 1)).expand_as(t) if n in STEPS else t * 0
        for n, t in STATE.items()
    }
    context = Context(1, 1, {}, RecordDict(), {})
    for _ in range(50):
        came = sent_down(server, weights)
        trained = {name: came[name] + update[name] for name in came}
        weights = server.incoming(unwrapping.answered(INT8, context, trained, came, {}), weights)
    for name in STEPS:
        moved = (weights[name] - STATE[name]) / update[name]
        assert float((moved - 50).abs().max()) < 0.5


def test_where_shapes_changed_the_residual_is_dropped():
    context = Context(1, 1, {}, RecordDict(), {})
    updates_of([context], update_of())
    residual = tensors_of(context)
    assert residual.keys() == STEPS.keys()
    assert all(float(tensor.abs().max()) > 0 for tensor in residual.values())
    fewer = {n: t[:-1] if n == "conv1.weight" else t for n, t in STATE.items()}
    moved = {name: tensor + 0.01 for name, tensor in fewer.items()}
    sent = unwrapping.answered(INT8, context, moved, fewer, {})
    change = {name: moved[name] - fewer[name] for name in fewer}
    assert same(
        {"conv1.weight": unpack_int8(sent, shapes(fewer))["conv1.weight"]},
        {"conv1.weight": quantise(change)["conv1.weight"]},
    )
    assert tensors_of(context)["conv1.weight"].shape == fewer["conv1.weight"].shape


def tensors_of(context):
    return wire.tensors(context.state.array_records["residual"])


def test_the_mask_goes_only_to_clients_that_do_not_hold_it():
    ours = wire.Sparse()
    ours.use(masks_of(0.3), 2)
    assert list(ours.notes(5)) == ["mask", "mask-bits"]
    ours.arrived(5)
    assert list(ours.notes(5)) == ["mask"]
    ours.use(masks_of(0.3), 3)  # the same mask: nobody needs it again
    assert list(ours.notes(5)) == ["mask"]
    ours.lost(5)
    assert list(ours.notes(5)) == ["mask", "mask-bits"]
    ours.arrived(5)
    ours.use(masks_of(0.2), 4)
    assert list(ours.notes(5)) == ["mask", "mask-bits"]
    ours.arrived(6)
    again = wire.Sparse()
    again.restore(*ours.memory(), STATE)
    assert again.version == 4
    assert again.holders == {6}
    assert torch.equal(pack_mask(again.masks), pack_mask(ours.masks))


def test_the_bits_of_a_network_by_hand():
    """32 a number; under a mask 32 a value and the mask; in int8 8 a weight, 32 a scale or bias."""
    whole = len(flat(STATE))
    ours = wire.Sparse()
    assert ours.bits(STATE) == wire.Dense().bits(STATE) == 32 * whole
    masks = masks_of(0.3)
    ours.use(masks, 2)
    ones = sum(int(mask.sum()) for mask in masks.values())
    assert ours.bits(STATE) == 32 * (ones + whole - TOTAL) + 8 * -(-TOTAL // 8)
    scales = sum(len(STATE[name]) for name in maskable(STATE))
    assert wire.Int8().bits(STATE) == 8 * TOTAL + 32 * (scales + whole - TOTAL)


def test_a_client_without_the_mask_says_so():
    weights = wire.one("weights", flat(STATE))
    content = RecordDict({"arrays": weights, "mask": ConfigRecord({"version": 7})})
    context = Context(1, 1, {}, RecordDict(), {})
    with pytest.raises(InputError, match="the mask of round 7 is not here"):
        unwrapping.received(content, context, STATE)


class Recording(LocalGrid):
    """A grid that keeps what crosses it, as the bytes that cross."""

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        replies = list(super().send_and_receive(messages, timeout=timeout))
        self.crossed = [*getattr(self, "crossed", []), (messages, replies)]
        return replies


@pytest.mark.parametrize(
    ("method", "variant", "more"),
    [
        ("dense", "fedavg", {}),
        ("dense", "fedavg", {"optimizer-state": "carried"}),
        ("fedmap", "global", {}),
        ("prunefl", "adaptive", {"interval": 1}),
        ("ssfl", "one-shot", {}),
        ("taylor", "iterative", {}),
        ("l1-int8", "iterative", {}),
        ("dense-int8", "fedavg", {}),
        ("geta", "joint", {}),
    ],
)
def test_bytes_are_those_of_the_recorded_messages(follow, flags, tmp_path, method, variant, more):
    """Recounted from what crossed, and from the numbers in it: 4 bytes a value, the mask, int8."""
    if follows_plan(method):
        more = more | follow(method)
    settings, _ = settings_of(flags(tmp_path, method, variant, **more))
    with Recording(CLIENT_APP, 6, settings.run_config()) as grid:
        Run(settings, grid).execute()
    with (tmp_path / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))[1:]
    serial = settings.optimizer_state == "carried"
    batches = [grid.crossed[n : n + 3] for n in range(0, len(grid.crossed), 3)] if serial else [
        [crossed] for crossed in grid.crossed
    ]  # fmt: skip
    if method == "ssfl":  # first all six clients were asked
        assert len(batches[0][0][0]) == 6
        batches = [batches[0] + batches[1], *batches[2:]]
    assert len(batches) == len(rows) == 5
    for row, crossed in zip(rows, batches, strict=True):
        down = [m.content for messages, _ in crossed for m in messages]
        up = [r.content for _, replies in crossed for r in replies]
        for way, contents in (("down", down), ("up", up)):
            assert int(row[f"bytes_{way}"]) == sum(counted(content) for content in contents)
            numbers = sum(payload(content) for content in contents)
            assert int(row[f"payload_{way}"]) == numbers
            arrays = sum(
                len(r) for c in contents for n, r in c.array_records.items() if n != "optimizer"
            )
            # NumPy's header of 128 bytes an array and its name and shape; settings
            assert numbers < int(row[f"bytes_{way}"]) < numbers + 230 * arrays + 300 * len(contents)
            assert all(
                len(r) == 1
                for c in contents
                for n, r in c.array_records.items()
                if n != "optimizer"
            )
    if serial:
        assert any("optimizer" in m.content for messages, _ in grid.crossed for m in messages)
    if method in ("taylor", "l1-int8", "geta"):
        assert any(row["shrunk"] == "1" for row in rows)
    if method in ("prunefl", "ssfl", "taylor", "geta"):
        assert any("answers" in r.content for _, replies in grid.crossed for r in replies)


def counted(content):
    kept = {name: record for name, record in content.items() if name != "optimizer"}
    return len(encode(RecordDict(kept)))


def payload(content):
    """Bytes of the numbers alone."""
    return sum(
        array.numpy().nbytes
        for name, record in content.array_records.items()
        if name != "optimizer"
        for array in record.values()
    )
