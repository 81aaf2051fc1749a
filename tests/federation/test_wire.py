"""What travels: masks, int8 and their memory, by law; and the bytes, from recorded messages."""

import csv

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from autoprune.communication import encode
from autoprune.errors import InputError
from autoprune.federation import wire
from autoprune.federation.encoding import (
    compress,
    dequantise,
    expand,
    maskable,
    pack_mask,
    quantise,
    unpack_mask,
)
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.run import Run
from autoprune.models import Architecture, new_network
from autoprune.train import CLIENT_APP, settings_of

STATE = new_network(Architecture("cnn", (5, 7), (1, 28, 28), 10), 0).state_dict()
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


@given(st.floats(0, 1), st.integers(0, 999))
def test_values_under_a_mask_come_back_with_zeros_elsewhere(share, seed):
    masks = masks_of(share, seed)
    values = compress(STATE, masks)
    state = expand(values, masks)
    for name, tensor in STATE.items():
        assert torch.equal(state[name], tensor * masks[name] if name in masks else tensor)
    assert sum(t.numel() for t in values.values()) == int(
        sum(m.sum() for m in masks.values())
        + sum(STATE[n].numel() for n in STATE if n not in masks)
    )


def test_values_that_do_not_fit_the_mask_are_a_fault():
    masks = masks_of(0.5)
    values = compress(STATE, masks)
    name = next(iter(masks))
    with pytest.raises(ValueError, match=f"{name} has"):
        expand(values | {name: values[name][:-1]}, masks)


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


def test_error_feedback_makes_the_mean_of_many_sendings_right():
    """One sending is off by up to half a step; the mean of 64 by at most a 64th of that."""
    ours, total = wire.Int8(), {name: torch.zeros_like(t) for name, t in STATE.items()}
    for _ in range(64):
        for name, tensor in dequantise(ours.outgoing(STATE)).items():
            total[name] += tensor / 64
    once = dequantise(quantise(STATE))
    for name in maskable(STATE):
        alone = float((once[name] - STATE[name]).abs().max())
        assert float((total[name] - STATE[name]).abs().max()) < alone / 16


def client_sends(contexts):
    """Of a client that sends STATE once in each context: the mean, and the channels' steps."""
    content = RecordDict({"int8": ConfigRecord({"symmetric": True})})
    mean = {name: torch.zeros(t.shape, dtype=torch.float64) for name, t in STATE.items()}
    for context in contexts:
        for name, tensor in dequantise(wire.answered(content, context, STATE, {})).items():
            mean[name] += tensor.double() / len(contexts)
    return mean, {name: quantise(STATE)[name + ".scale"] for name in maskable(STATE)}


def off(mean, steps, name):
    """The largest distance of a kernel's mean from STATE, in steps of its channel."""
    distance = (mean[name] - STATE[name]).abs().flatten(1).amax(1)
    return float((distance / steps[name]).max())


def test_a_clients_error_feedback_makes_the_mean_of_many_answers_right():
    """What 64 roundings lose together is what the last one lost: under a 64th of a step each."""
    mean, steps = client_sends([Context(1, 1, {}, RecordDict(), {})] * 64)
    assert all(off(mean, steps, name) <= 1 / 64 for name in steps)
    whole = STATE.keys() - steps.keys()
    assert whole
    assert all(torch.equal(mean[name].float(), STATE[name]) for name in whole)


def test_a_client_that_forgets_what_rounding_lost_stays_off():
    mean, steps = client_sends([Context(1, 1, {}, RecordDict(), {}) for _ in range(64)])
    assert all(off(mean, steps, name) > 1 / 4 for name in steps)


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
    again = wire.Sparse()
    again.restore(*ours.memory(), STATE)
    assert again.version == 4
    assert again.holders == {5: 2}
    assert torch.equal(pack_mask(again.masks), pack_mask(ours.masks))


def test_a_client_without_the_mask_says_so():
    content = RecordDict({"arrays": wire.arrays(STATE), "mask": ConfigRecord({"version": 7})})
    context = Context(1, 1, {}, RecordDict(), {})
    with pytest.raises(InputError, match="the mask of round 7 is not here"):
        wire.received(content, context, STATE)


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
    ],
)
def test_bytes_are_those_of_the_recorded_messages(follow, flags, tmp_path, method, variant, more):
    """Recounted from what crossed, and from the numbers in it: 4 bytes a value, the mask, int8."""
    if method != "dense":
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
        for name, contents in (("bytes_down", down), ("bytes_up", up)):
            assert int(row[name]) == sum(counted(content) for content in contents)
            numbers = sum(payload(content) for content in contents)
            arrays = sum(len(r) for c in contents for r in c.array_records.values())
            # names, shapes and NumPy's header of 128 bytes an array, and the settings
            assert numbers < int(row[name]) < numbers + 260 * arrays + 400 * len(contents)
    if serial:
        assert any("optimizer" in m.content for messages, _ in grid.crossed for m in messages)
    if method in ("taylor", "l1-int8"):
        assert any(row["shrunk"] == "1" for row in rows)
    if method in ("prunefl", "ssfl", "taylor"):
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
