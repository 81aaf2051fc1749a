"""The partition report says for every scheme what each client got, and what was dropped and why."""

import re

import numpy as np
import pandas as pd
import pytest

from autoprune.data.partition import Partition
from autoprune.data.prepare import partition
from autoprune.data.prepare.schemes import NEEDS
from autoprune.evidence import tabulate
from autoprune.evidence.partition import reasons
from autoprune.publish import draw, render_table

VALUES = {"clients": 6, "alpha": 0.5, "classes_per_client": 3, "shards_per_client": 2}
WORDS = {
    "natural": "natural",
    "iid": "iid",
    "dirichlet": "dirichlet, α = 0.5",
    "pathological": "pathological, 3 classes a client",
    "shards": "shards, 2 a client",
    "quantity": "quantity, α = 0.5",
    "linear": "linear",
    "square": "square",
    "exponential": "exponential",
}


def flags_of(scheme):
    """Flags with which the scheme divides some 120 rows."""
    names = [need.split("|")[0] for need in NEEDS[scheme]]
    values = {**VALUES, "clients": 3} if scheme == "exponential" else VALUES
    return [word for name in names for word in (f"--{name.replace('_', '-')}", str(values[name]))]


def divided(store, output, *flags):
    partition.main(["--store", str(store), "--target", "kind", "--output", str(output), *flags])
    return output


def report(folder, *partitions):
    headers = ["--partitions", *(f"{part}/partition.json" for part in partitions)]
    forms = {"csv": "t.csv", "html": "t.html", "markdown": "t.md", "latex": "t.tex"}
    files = [f"--{flag}={folder / name}" for flag, name in forms.items()]
    tabulate.main(["partition", *headers, files[0]])
    render_table.main(["partition", *files])
    draw.main(["partition", *headers, f"--svg={folder / 'f.svg'}", f"--pdf={folder / 'f.pdf'}"])
    return pd.read_csv(folder / "t.csv", keep_default_na=False)


def words_of(svg):
    """Letters are drawn as outlines; a comment says each text."""
    return " ".join(re.findall("<!-- (.*?) -->", svg.read_text("utf-8")))


@pytest.mark.long
def test_every_scheme_is_described_and_drawn(tmp_path, make_store):
    rng = np.random.default_rng(0)
    store = make_store(tmp_path / "store", np.arange(125) % 10, rng.integers(0, 8, 125))
    assert WORDS.keys() == NEEDS.keys()
    parts = [
        divided(store, tmp_path / scheme, "--scheme", scheme, *flags_of(scheme)) for scheme in NEEDS
    ]
    table = report(tmp_path, *parts)
    assert table["scheme"].tolist() == [WORDS[scheme] for scheme in NEEDS]
    assert table["source"].tolist() == ["test"] * len(NEEDS)
    text = words_of(tmp_path / "f.svg")
    for scheme, row in zip(NEEDS, table.itertuples(index=False), strict=True):
        assert f"made: kind, {WORDS[scheme]}" in text
        sizes = np.diff(Partition.open(tmp_path / scheme).offsets)
        assert (row.clients, row[5], float(row[6]), row[7]) == (
            *(len(sizes), sizes.min(), np.median(sizes), sizes.max()),
        )
        assert sizes.sum() + row[-2] - 1 == 125  # the store's own dropped sample never was a row


def test_what_was_dropped_is_listed_with_counts_and_reasons(tmp_path, make_store):
    store = make_store(tmp_path / "store", np.arange(20) % 10, [0] * 17 + [1, 2, 2])
    small = divided(store, tmp_path / "a", "--scheme", "natural", "--min-samples", "3")
    shards = [*("--scheme", "shards", "--clients", "3"), "--shards-per-client", "2"]
    table = report(tmp_path, small, divided(store, tmp_path / "b", *shards))
    assert table["dropped clients"].tolist() == [3, 1]
    assert table["dropped samples"].tolist() == [4, 3]
    stored = "1 client, 1 sample: fewer than 2 samples (store)"
    assert table["dropped, why"].tolist() == [
        f"{stored}; 2 clients, 3 samples: fewer than 3 training samples (partition)",
        f"{stored}; 2 samples: more than fill the shards that were dealt out (partition)",
    ]
    for name in ("t.html", "t.md"):
        assert "2 clients, 3 samples: fewer than 3" in (tmp_path / name).read_text()


def test_nothing_dropped_is_said_too():
    assert reasons([]) == "nothing"


@pytest.mark.parametrize("clients", [39, 3400])
def test_many_clients_are_shown_evenly_spaced_by_size(tmp_path, make_store, clients):
    owners = np.repeat(np.arange(clients), 2 + np.arange(clients) % 3)
    store = make_store(tmp_path / "store", np.arange(len(owners)) % 10, owners)
    part = divided(store, tmp_path / "p", "--scheme", "natural")
    table = report(tmp_path, part)
    assert table["clients"].tolist() == [clients]
    text = words_of(tmp_path / "f.svg")
    some = "40 of 3400 clients, evenly spaced by size, most samples first"
    assert (some if clients == 3400 else "all 39 clients, most samples first") in text


def test_the_same_partition_gives_the_same_bytes(tmp_path, make_store):
    store = make_store(tmp_path / "store", np.arange(40) % 10)
    part = divided(store, tmp_path / "p", "--scheme", "iid", "--clients", "4")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        report(tmp_path / name, part)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
