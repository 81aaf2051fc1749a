"""Checkpoints: what they hold comes back to the bit, and what is damaged is never believed."""

import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.federation.checkpoint import Checkpoint, load, save
from autoprune.federation.history import Row
from autoprune.models import Architecture, new_network

CNN = Architecture("cnn", (2, 3), (1, 28, 28), 4)
ROW = Row(
    round=1, train_loss=0.5, parameters=9, parameters_with_statistics=9, nonzeros=9, widths="2 3",
    clients=2, usable=1, late=1, raised=0, refused=0, unanswered=0, bytes_down=8, bytes_up=4,
    payload_down=8, payload_up=4, shrunk=0, searching=0, restarted=0, failures="1: late",
)  # fmt: skip


def checkpoint_of(seed):
    state = {name: t.clone() for name, t in new_network(CNN, seed).state_dict().items()}
    wire = {"mask": torch.tensor([1, 0, 1], dtype=torch.uint8)}
    return Checkpoint(1, CNN, state, {"k": 2.5}, [ROW], {"version": 1}, wire, {2: b"kept"}, [[3]])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.safetensors"
    save(path, "this run", checkpoint_of(0))
    return path.read_bytes()


def test_what_was_saved_comes_back(written, tmp_path):
    (tmp_path / "c").write_bytes(written)
    found, wanted = load(tmp_path / "c", "this run"), checkpoint_of(0)
    assert (found.round, found.architecture, found.history) == (1, CNN, [ROW])
    assert (found.method, found.wire, found.recent) == ({"k": 2.5}, {"version": 1}, [[3]])
    assert found.clients == {2: b"kept"}
    assert all(torch.equal(found.state[name], t) for name, t in wanted.state.items())
    assert torch.equal(found.wire_tensors["mask"], wanted.wire_tensors["mask"])
    assert load(tmp_path / "c", "another run") is None
    assert load(tmp_path / "none", "this run") is None


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_flipped_bit_anywhere_is_found(written, tmp_path_factory, data):
    """In the header, in a number, in the history; and a file that ends too early."""
    path = tmp_path_factory.mktemp("damaged", numbered=True) / "c"
    place = data.draw(st.integers(0, 8 * len(written) - 1))
    flipped = bytearray(written)
    flipped[place // 8] ^= 1 << place % 8
    for content in (bytes(flipped), written[: place // 8]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            load(path, "this run")


def edited(content, change):
    """A safetensors file whose header was edited by hand, and is well-formed again."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    change(header["__metadata__"])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def another_history(notes):
    rows = json.loads(notes["history"])
    rows[0]["train_loss"] = 0.25
    notes["history"] = json.dumps(rows)


@pytest.mark.parametrize(
    "change",
    [
        another_history,
        lambda notes: notes.update(round="7"),
        lambda notes: notes.update(fingerprint="another run"),
        lambda notes: notes.update(architecture="{}"),
        lambda notes: notes.pop("sha256"),
        lambda notes: notes.pop("history"),
    ],
)
def test_an_edited_one_is_not_believed(written, tmp_path, change):
    (tmp_path / "c").write_bytes(edited(written, lambda notes: None))
    assert load(tmp_path / "c", "this run").round == 1  # the order of its header is no damage
    (tmp_path / "c").write_bytes(edited(written, change))
    with pytest.raises(InputError, match="damaged"):
        load(tmp_path / "c", "this run")
