"""A pre-trained start: whose weights a run begins with, and what is not taken for them."""

import csv
import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from autoprune.core.calls import Call
from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file
from autoprune.federation.run import Run
from autoprune.federation.start import begin_with
from autoprune.models import Architecture, new_network
from autoprune.models.factory import make

CNN = Architecture("cnn", (12, 14), (1, 28, 28), 62)
RESNET18 = Architecture("torchvision:resnet18", (), (3, 64, 64), 5)


def same(network, state):
    found = network.state_dict()
    return all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.fixture
def state():
    return new_network(CNN, 42).state_dict()


def test_every_kind_of_file_gives_the_same_start(state, finished, tmp_path):
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "plain.safetensors")
    torch.save(state, tmp_path / "state.pt")
    torch.save({"epoch": 3, "state_dict": dict(state)}, tmp_path / "checkpoint.pth")
    halves = {name: tensor.double() for name, tensor in state.items()}
    torch.save(halves, tmp_path / "double.pt")
    for path in tmp_path.iterdir():
        network = new_network(CNN, 0)
        begin_with(network, str(path), partial=False)
        assert same(network, state), path


def test_a_run_begins_with_another_ones_weights(train, flags, tmp_path, contents):
    """Its round 0 is the other's end, to the last bit; two workers and another copy agree."""
    before = tmp_path / "before"
    assert train(before, rounds=3, evaluate_every=1).returncode == 0
    for name, more in {"folder": {}, "two": {"workers": 2}}.items():
        done = train(tmp_path / name, rounds=2, evaluate_every=1, start=str(before), **more)
        assert done.returncode == 0, done.stderr
    done = train(
        tmp_path / "file", rounds=2, evaluate_every=1, start=str(before / "weights.safetensors")
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "folder") == contents(tmp_path / "two")
    assert contents(tmp_path / "folder") == contents(tmp_path / "file")
    last, first = rows(before)[-1], rows(tmp_path / "folder")[0]
    # batch norm apart, of which this network has none: the same weights on the same images
    assert first["validation_loss"] == last["validation_loss"]
    about = json.loads((tmp_path / "folder/run.json").read_text())
    digest = sha256_file(before / "weights.safetensors")
    assert about["settings"]["start"] == f"sha256:{digest}"
    assert str(tmp_path) not in (tmp_path / "folder/run.json").read_text()


def rows(folder):
    with (folder / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_a_run_of_another_file_is_another_run(train, tmp_path, monkeypatch):
    """A checkpoint that began elsewhere is passed over, and run.json asks for the file."""
    for name, seed in (("a.pt", 1), ("b.pt", 2)):
        torch.save(new_network(ofclasses(train, tmp_path), seed).state_dict(), tmp_path / name)
    step = Run.round

    def failing(self, server_round):
        if server_round == 2:
            raise KeyboardInterrupt
        return step(self, server_round)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "round", failing)
        done = train(tmp_path / "run", rounds=2, start=str(tmp_path / "a.pt"))
    assert done.returncode != 0
    done = train(tmp_path / "run", rounds=2, start=str(tmp_path / "b.pt"))
    assert "of other settings, data or code; starting from round 1" in done.stderr
    about = json.loads((tmp_path / "run/run.json").read_text())["settings"]
    done = train(tmp_path / "again", rounds=2, start=about["start"])
    assert done.returncode == 1
    assert "give it with --start" in done.stderr
    assert done.stderr.count("\n") == 1


def ofclasses(train, tmp_path):
    """The architecture of the tiny data set's runs."""
    folder = tmp_path / "known"
    if not folder.exists():
        assert train(folder, rounds=1).returncode == 0
    return Architecture.from_json(json.loads((folder / "architecture.json").read_text()))


def test_torchvisions_state_dicts_fit_by_their_own_names(tmp_path):
    """Counts of batches are left out; another number of classes is said, or left as drawn."""
    module = make(Call.parse("torchvision:resnet18"), (3, 64, 64), 5)
    torch.save(module.state_dict(), tmp_path / "resnet18.pth")
    network = new_network(RESNET18.with_widths(base_widths()), 0)
    begin_with(network, str(tmp_path / "resnet18.pth"), partial=False)
    wanted = {f"net.{n}": t for n, t in module.state_dict().items() if "num_batches" not in n}
    assert same(network, wanted)

    more = make(Call.parse("torchvision:resnet18"), (3, 64, 64), 7)
    torch.save(more.state_dict(), tmp_path / "seven.pth")
    before = new_network(RESNET18.with_widths(base_widths()), 0)
    network = new_network(RESNET18.with_widths(base_widths()), 0)
    with pytest.raises(InputError) as refused:
        begin_with(network, str(tmp_path / "seven.pth"), partial=False)
    assert "net.fc.weight: found shape (7, 512), the network has (5, 512), and 1 more" in str(
        refused.value
    )
    assert same(network, before.state_dict())


def test_what_fits_is_kept_on_demand_and_the_rest_is_named(tmp_path, capsys):
    more = make(Call.parse("torchvision:resnet18"), (3, 64, 64), 7)
    torch.save(more.state_dict(), tmp_path / "seven.pth")
    before = new_network(RESNET18.with_widths(base_widths()), 0)
    network = new_network(RESNET18.with_widths(base_widths()), 0)
    begin_with(network, str(tmp_path / "seven.pth"), partial=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["net.fc.weight", "net.fc.bias"]
    assert torch.equal(network.state_dict()["net.fc.weight"], before.state_dict()["net.fc.weight"])
    assert torch.equal(network.state_dict()["net.conv1.weight"], more.state_dict()["conv1.weight"])


def base_widths():
    from autoprune.models import base_of

    return base_of("torchvision:resnet18", (), (3, 64, 64), 5).widths


class Runs:
    """What a pickle could do to whoever loads it."""

    def __reduce__(self):
        return (print, ("a pickle was run",))


def damaged(path, state):
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:200])


KINDS = {
    "pickle": (lambda path, state: path.write_bytes(pickle.dumps(Runs())), "loads safely"),
    "object": (lambda path, state: torch.save({"w": Runs()}, path), "loads safely"),
    "cut": (damaged, "loads safely"),
    "empty": (lambda path, state: path.write_bytes(b""), "loads safely"),
    "list": (lambda path, state: torch.save([1, 2], path), "found list, expected tensors by name"),
    "other": (lambda path, state: torch.save({"w": torch.ones(2)}, path), "has no such tensor"),
    "nan": (
        lambda path, state: torch.save({n: t * torch.nan for n, t in state.items()}, path),
        "numbers that are not finite",
    ),
    "whole": (
        lambda path, state: torch.save({n: t.long() for n, t in state.items()}, path),
        "found torch.int64, expected floating point",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("partial", [False, True])
def test_what_is_no_start_is_refused_in_a_line(kind, partial, state, tmp_path, capsys):
    write, words = KINDS[kind]
    write(tmp_path / "start.pt", state)
    network = new_network(CNN, 0)
    with pytest.raises(InputError, match=words) as refused:
        begin_with(network, str(tmp_path / "start.pt"), partial=partial)
    assert "\n" not in str(refused.value)
    assert same(network, new_network(CNN, 0).state_dict())
    assert "a pickle was run" not in capsys.readouterr().out


def test_a_start_that_is_not_there_or_no_safetensors(train, tmp_path):
    (tmp_path / "text.safetensors").write_text("weights")
    for start, words in (("none.pt", "no such file"), ("text.safetensors", "not a whole safetens")):
        done = train(tmp_path / "run", start=str(tmp_path / start))
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert words in done.stderr
        assert not (tmp_path / "run").exists()


def test_a_variant_that_rewinds_has_no_use_for_a_start(train, finished, tmp_path):
    done = train(tmp_path / "run", "autoprune", "rewind", start=str(finished))
    assert done.returncode == 1
    assert "variant rewind goes back to the weights that the seed draws" in done.stderr


def test_reinit_begins_with_the_start_and_draws_anew_where_it_shrinks(train, tmp_path):
    before = tmp_path / "before"
    assert train(before, rounds=3, evaluate_every=1).returncode == 0
    losses = {}
    for name, more in {"with": {"start": str(before)}, "without": {}}.items():
        done = train(tmp_path / name, "autoprune", "reinit", evaluate_every=1, **more)
        assert done.returncode == 0, done.stderr
        losses[name] = [row["validation_loss"] for row in rows(tmp_path / name)]
        assert any(row["restarted"] == "1" for row in rows(tmp_path / name))
    assert losses["with"][0] == rows(before)[-1]["validation_loss"]
    assert losses["with"][0] != losses["without"][0]


def test_a_network_that_a_method_begins_with_is_drawn(train, follow, finished, tmp_path):
    """As a control trains it from scratch, at the found widths: the log says so."""
    start = tmp_path / "before"
    assert train(start, rounds=1).returncode == 0
    done = train(
        tmp_path / "run", "found-widths", "inherit", start=str(start), **follow("found-widths")
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("start: not the network that this method begins with")
