"""A partition gives each training row to one client, or counts it as dropped."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.data.partition import Partition, entropy_bits, main, make_partition
from autoprune.data.store import ClientStore
from autoprune.errors import InputError


def check_laws(store, partition):
    """The laws of every partition; returns the number of rows that were dropped."""
    rows = store.rows("train")
    parts = [partition.indices(client) for client in range(partition.clients)]
    everyone = np.concatenate(parts)
    assert len(set(everyone.tolist())) == len(everyone)
    assert everyone.min() >= rows.start
    assert everyone.max() < rows.stop
    assert all((np.diff(part) > 0).all() for part in parts)
    assert all(len(part) >= partition.header["settings"]["min_samples"] for part in parts)
    lost = [d["samples"] for d in partition.header["dropped"] if d["stage"] == "partition"]
    assert len(everyone) + sum(lost) == rows.stop - rows.start
    return sum(lost)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 9), min_size=1, max_size=80),
    clients=st.integers(1, 30),
    alpha=st.floats(1e-3, 1e3),
    min_samples=st.integers(1, 4),
    seed=st.integers(0, 2**62),
)
def test_dirichlet_gives_each_row_once(
    tmp_path_factory, make_store, labels, clients, alpha, min_samples, seed
):
    folder = tmp_path_factory.mktemp("partition")
    store = ClientStore.open(make_store(folder / "store", labels))
    chosen = {"clients": clients, "alpha": alpha, "min_samples": min_samples, "seed": seed}
    if clients > len(labels):
        with pytest.raises(InputError, match="more than the"):
            make_partition(store, folder / "out", scheme="dirichlet", target="kind", **chosen)
        return
    try:
        make_partition(store, folder / "out", scheme="dirichlet", target="kind", **chosen)
    except InputError:  # every client drew fewer than min_samples, whose refusal has its own test
        return
    partition = Partition.open(folder / "out")
    check_laws(store, partition)
    dropped = [d for d in partition.header["dropped"] if d["stage"] == "partition"]
    assert partition.clients + len(dropped) == clients
    assert all(entry["samples"] < min_samples for entry in dropped)


@settings(max_examples=40, deadline=None)
@given(owners=st.lists(st.integers(0, 6), min_size=2, max_size=60), min_samples=st.integers(1, 3))
def test_natural_keeps_each_clients_own_rows(tmp_path_factory, make_store, owners, min_samples):
    folder = tmp_path_factory.mktemp("partition")
    labels = np.arange(len(owners)) % 10
    store = ClientStore.open(make_store(folder / "store", labels, owners))
    sizes = np.bincount(owners)
    kept = np.flatnonzero(sizes >= min_samples)
    chosen = {"scheme": "natural", "target": "kind", "seed": 0, "min_samples": min_samples}
    if len(kept) == 0:
        with pytest.raises(InputError, match="no client is left"):
            make_partition(store, folder / "out", **chosen)
        return
    make_partition(store, folder / "out", **chosen)
    partition = Partition.open(folder / "out")
    lost = check_laws(store, partition)
    assert lost == sizes[(sizes < min_samples)].sum()
    assert partition.header["client_ids"] == [f"c{number}" for number in kept]
    for client, number in enumerate(kept):
        assert set(store.clients[partition.indices(client)]) == {number}


def partition_of(store, output, *flags):
    main(["--store", str(store), "--output", str(output), *map(str, flags)])
    return Partition.open(output)


DIRICHLET = ("--scheme", "dirichlet", "--target", "kind", "--clients", 5, "--alpha", 0.5)


def test_a_seed_fixes_every_byte_and_another_changes_the_parts(tmp_path, make_store):
    store = make_store(tmp_path / "store", np.arange(200) % 10)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        partition_of(store, tmp_path / name, *DIRICHLET, "--seed", seed)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    first, other = (Partition.open(tmp_path / name) for name in "ac")
    assert not np.array_equal(first.all_indices, other.all_indices)


def test_a_small_alpha_skews_labels_more(tmp_path, make_store):
    store = make_store(tmp_path / "store", np.arange(2000) % 10)
    entropies = [
        partition_of(store, tmp_path / str(alpha), *DIRICHLET, "--alpha", alpha).header[
            "mean_label_entropy_bits"
        ]
        for alpha in (0.1, 1, 1000)
    ]
    assert entropies == sorted(entropies)
    assert entropies[2] == pytest.approx(np.log2(10), abs=0.05)


def test_the_header_and_the_counts_describe_the_parts(tmp_path, make_store):
    store = make_store(tmp_path / "store", [0, 0, 1, 1, 2, 3], [0, 0, 0, 0, 1, 2])
    partition = partition_of(
        store, tmp_path / "out", "--scheme", "natural", "--target", "kind", "--min-samples", 1
    )
    header = partition.header
    assert header["clients"] == 3
    assert header["samples_per_client"] == {"min": 1, "median": 1.0, "max": 4, "mean": 2.0}
    assert header["classes_per_client"] == {"min": 1, "median": 1.0, "max": 2}
    assert header["mean_label_entropy_bits"] == pytest.approx(1 / 3)
    assert header["samples"] == {"train": 6, "validation": 1, "test": 1}
    assert header["dropped"][0]["stage"] == "store"
    assert header["store"]["checksum"] == ClientStore.open(store).checksum
    assert (tmp_path / "out" / "label_counts.csv").read_text() == (
        "client,class,count\n0,k0,2\n0,k1,2\n1,k2,1\n2,k3,1\n"
    )
    assert isinstance(partition.all_indices, np.memmap)
    with pytest.raises(InputError, match=r"no client 3; it has 0\.\.2"):
        partition.indices(3)


@given(st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=1, max_size=5))
def test_entropy_lies_between_one_class_and_all_alike(rows):
    counts = np.array(rows)
    counts[:, 0] += 1
    bits = entropy_bits(counts)
    assert (bits >= 0).all()
    assert (bits <= 2 + 1e-12).all()
    assert ((bits == 0) == ((counts > 0).sum(axis=1) == 1)).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--scheme", "natural", "--target", "kind"], "has no clients of its own; use --scheme"),
        (["--scheme", "dirichlet", "--target", "kind"], "needs --clients N and --alpha A"),
        ([*DIRICHLET, "--target", "sort"], "no target 'sort'; it has kind"),
        ([*DIRICHLET, "--clients", 99], "more than the 20 training samples"),
        ([*DIRICHLET, "--min-samples", 21], "no client is left"),
    ],
)
def test_settings_that_do_not_fit_are_refused_and_nothing_is_left(
    tmp_path, make_store, flags, message
):
    store = make_store(tmp_path / "store", np.arange(20) % 10)
    with pytest.raises(InputError, match=message):
        partition_of(store, tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_dirichlets_settings_do_not_go_with_natural(tmp_path, make_store):
    store = make_store(tmp_path / "store", [1, 2], [0, 1])
    with pytest.raises(InputError, match="--clients and --alpha are for --scheme dirichlet"):
        partition_of(store, tmp_path / "out", *DIRICHLET, "--scheme", "natural")


@pytest.mark.parametrize("name", ["partition.json", "offsets.npy", "indices.npy"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"{"])
def test_what_is_not_a_whole_partition_is_refused_in_one_line(tmp_path, make_store, name, content):
    store = make_store(tmp_path / "store", [1, 2, 3, 4], [0, 0, 1, 1])
    partition_of(store, tmp_path / "out", "--scheme", "natural", "--target", "kind")
    if content is None:
        (tmp_path / "out" / name).unlink()
    else:
        (tmp_path / "out" / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        Partition.open(tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_arrays_of_another_partition_are_refused(tmp_path, make_store):
    store = make_store(tmp_path / "store", [1, 2, 3, 4], [0, 0, 1, 1])
    partition_of(store, tmp_path / "out", "--scheme", "natural", "--target", "kind")
    path = tmp_path / "out" / "partition.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "clients": 3}))
    with pytest.raises(InputError, match=r"contradict partition\.json"):
        Partition.open(tmp_path / "out")
