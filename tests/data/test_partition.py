"""A partition gives each training row to one client, or counts it as dropped."""

import json

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.data.partition import Partition, checksum
from autoprune.data.prepare.partition import entropy_bits, main, make_partition
from autoprune.data.prepare.schemes import LEFT_OVER, NEEDS, SUMMARY, Division, drawn
from autoprune.data.prepare.write import write_store
from autoprune.data.store import ClientStore


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
    chosen = Division(
        scheme="dirichlet", clients=clients, alpha=alpha, min_samples=min_samples, seed=seed
    )
    if clients > len(labels):
        with pytest.raises(InputError, match="more than the"):
            make_partition(store, folder / "out", ["kind"], chosen)
        return
    try:
        make_partition(store, folder / "out", ["kind"], chosen)
    except InputError:  # every client drew fewer than min_samples, whose refusal has its own test
        return
    partition = Partition.open(folder / "out")
    check_laws(store, partition)
    dropped = [d for d in partition.header["dropped"] if d["stage"] == "partition"]
    assert partition.clients + len(dropped) == clients
    assert all(entry["samples"] < min_samples for entry in dropped)


@st.composite
def chosen_settings(draw, scheme):
    """Settings that ``scheme`` needs, not all of which fit every store."""
    ranges = {
        "clients": st.integers(1, 12),
        "alpha": st.floats(1e-3, 1e3),
        "classes_per_client": st.integers(1, 5),
        "shards_per_client": st.integers(1, 5),
        "shard_size": st.integers(1, 9),
    }
    names = [draw(st.sampled_from(need.split("|"))) for need in NEEDS[scheme]]
    return {name: draw(ranges[name]) for name in names}


@pytest.mark.parametrize("scheme", sorted(set(NEEDS) - {"natural"}))
@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    count=st.integers(1, 400),
    classes=st.integers(1, 10),
    seed=st.integers(0, 2**62),
)
def test_every_scheme_gives_a_row_to_one_client_at_most(scheme, data, count, classes, seed):
    labels = np.random.default_rng(seed).integers(0, classes, count)
    chosen = Division(scheme=scheme, seed=seed, **data.draw(chosen_settings(scheme)))
    try:
        ids, parts = drawn(labels, chosen)
    except InputError:
        event("refused")
        return
    event("drawn")
    assert len(ids) == len(set(ids)) == len(parts) == chosen.clients
    everyone = np.concatenate(parts)
    assert len(np.unique(everyone)) == len(everyone)
    assert set(everyone) <= set(range(len(labels)))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert len(everyone) == len(labels) or scheme in LEFT_OVER
    again = drawn(labels, chosen)[1]
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))
    sizes, present = np.array([len(part) for part in parts]), len(np.unique(labels))
    if scheme == "iid":
        assert sizes.max() - sizes.min() <= 1
    if scheme == "pathological":
        each = chosen.classes_per_client
        assert all(len(set(labels[part])) == each for part in parts)
        if chosen.clients >= present:
            assert len(everyone) == len(labels)
    if scheme == "shards":
        size, number = chosen.shard_size, chosen.shards_per_client
        assert size is None or len(everyone) == len(labels)
        assert number is None or len(set(sizes)) == 1
    if scheme in ("linear", "square", "exponential"):
        assert (np.diff(sizes) >= 0).all()
        assert sizes[0] >= 1


@settings(max_examples=40, deadline=None)
@given(owners=st.lists(st.integers(0, 6), min_size=2, max_size=60), min_samples=st.integers(1, 3))
def test_natural_keeps_each_clients_own_rows(tmp_path_factory, make_store, owners, min_samples):
    folder = tmp_path_factory.mktemp("partition")
    labels = np.arange(len(owners)) % 10
    store = ClientStore.open(make_store(folder / "store", labels, owners))
    sizes = np.bincount(owners)
    kept = np.flatnonzero(sizes >= min_samples)
    chosen = Division(scheme="natural", min_samples=min_samples)
    if len(kept) == 0:
        with pytest.raises(InputError, match="no client is left"):
            make_partition(store, folder / "out", ["kind"], chosen)
        return
    make_partition(store, folder / "out", ["kind"], chosen)
    partition = Partition.open(folder / "out")
    lost = check_laws(store, partition)
    assert lost == sizes[(sizes < min_samples)].sum()
    assert partition.header["client_ids"] == [f"c{number}" for number in kept]
    for client, number in enumerate(kept):
        assert set(store.clients[partition.indices(client)]) == {number}


def partition_of(store, output, *flags):
    main(["--store", str(store), "--output", str(output), *map(str, flags)])
    return Partition.open(output)


DRAWN = ("--target", "kind", "--clients", 5)
DIRICHLET = (*DRAWN, "--scheme", "dirichlet", "--alpha", 0.5)
# SHA-256 of the indices of a partition that an earlier version made: results hang on it.
EARLIER = "54f9fb93a99bc582e155b3147b871551b75ccc3385c97e83e4be96478d775fc5"


def test_a_seed_fixes_every_byte_and_another_changes_the_parts(tmp_path, make_store):
    store = make_store(tmp_path / "store", np.arange(200) % 10)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        partition_of(store, tmp_path / name, *DIRICHLET, "--seed", seed)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    first, other = (Partition.open(tmp_path / name) for name in "ac")
    assert not np.array_equal(first.all_indices, other.all_indices)


def test_dirichlet_gives_the_parts_it_always_gave(tmp_path, make_store):
    store = make_store(tmp_path / "store", np.arange(200) % 10)
    assert partition_of(store, tmp_path / "out", *DIRICHLET, "--seed", 1).checksum == EARLIER


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
        (["--scheme", "natural", "--target", "kind"], "has no clients of its own; use scheme"),
        (["--scheme", "dirichlet", "--target", "kind"], "needs clients and alpha"),
        ([*DIRICHLET, "--target", "sort"], "no target 'sort'; it has kind"),
        ([*DIRICHLET, "--clients", 99], "more than the 20 training samples"),
        ([*DIRICHLET, "--min-samples", 21], "no client is left"),
        (["--scheme", "iid", "--target", "kind"], "scheme iid needs clients$"),
        ([*DIRICHLET, "--scheme", "iid"], "scheme iid does not use alpha; leave it out"),
        (
            [*DIRICHLET, "--scheme", "natural"],
            "scheme natural does not use alpha and clients; leave them out",
        ),
        (
            [*DRAWN, "--scheme", "shards"],
            "needs clients and either shards_per_client or shard_size",
        ),
        (
            [*DRAWN, "--scheme", "shards", "--shards-per-client", 2, "--shard-size", 2],
            "either shards_per_client or shard_size",
        ),
        ([*DRAWN, "--scheme", "shards", "--shards-per-client", 5], "more than the 20 training"),
        ([*DRAWN, "--scheme", "shards", "--shard-size", 6], "give a smaller shard_size"),
        ([*DRAWN, "--scheme", "pathological"], "needs clients and classes_per_client"),
        (
            [*DRAWN, "--scheme", "pathological", "--classes-per-client", 11],
            "classes_per_client 11 is more than the 10 classes",
        ),
        (
            [*DRAWN, "--scheme", "pathological", "--classes-per-client", 9],
            "a class has fewer samples than clients that are to have it",
        ),
        ([*DRAWN, "--scheme", "exponential"], "smallest client would get no sample"),
        ([*DRAWN, "--scheme", "square", "--clients", 9], "smallest client would get no sample"),
    ],
)
def test_settings_that_do_not_fit_are_refused_and_nothing_is_left(
    tmp_path, make_store, flags, message
):
    store = make_store(tmp_path / "store", np.arange(20) % 10)
    with pytest.raises(InputError, match=message):
        partition_of(store, tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_rows_that_no_client_gets_are_counted_with_the_reason(tmp_path, make_store, capsys):
    store = make_store(tmp_path / "store", np.arange(20) % 10)
    flags = ("--target", "kind", "--clients", 3, "--scheme")
    shards = partition_of(store, tmp_path / "s", *flags, "shards", "--shards-per-client", 2)
    assert [entry for entry in shards.header["dropped"] if entry["stage"] == "partition"] == [
        {"client": None, "samples": 2, "reason": LEFT_OVER["shards"], "stage": "partition"}
    ]
    assert "dropped 2 samples: more than fill the shards" in capsys.readouterr().err
    classes = partition_of(store, tmp_path / "c", *flags, "pathological", "--classes-per-client", 1)
    assert [entry["samples"] for entry in classes.header["dropped"][1:]] == [14]
    for partition in (shards, classes):
        check_laws(ClientStore.open(store), partition)


def test_a_drawn_client_of_a_store_with_writers_is_not_a_writer(tmp_path, make_store):
    owners = np.repeat(np.arange(20), 50)
    store = make_store(tmp_path / "store", np.arange(1000) % 10, owners)
    for scheme, more in {
        "iid": (),
        "linear": (),
        "quantity": ("--alpha", 10),
        "pathological": ("--classes-per-client", 3),
        "shards": ("--shards-per-client", 2),
    }.items():
        flags = ("--target", "kind", "--scheme", scheme, "--clients", 20, *more)
        partition = partition_of(store, tmp_path / scheme, *flags)
        rows = max((partition.indices(c) for c in range(partition.clients)), key=len)
        assert np.bincount(owners[rows]).max() < len(rows) / 2


def test_a_small_alpha_makes_quantities_uneven(tmp_path, make_store):
    store = make_store(tmp_path / "store", np.arange(2000) % 10)
    flags = ("--target", "kind", "--scheme", "quantity", "--clients", 10, "--min-samples", 1)
    largest = [
        partition_of(store, tmp_path / str(alpha), *flags, "--alpha", alpha).header[
            "samples_per_client"
        ]["max"]
        for alpha in (0.1, 1, 1000)
    ]
    assert largest == sorted(largest, reverse=True)
    assert largest[2] < 230


def test_every_scheme_has_a_summary_for_the_help(stage):
    assert SUMMARY.keys() == NEEDS.keys()
    help_text = " ".join(stage("data.prepare.partition", "--help").stdout.split())
    assert all(f"{scheme}: " in help_text for scheme in NEEDS)


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


def handed_test_rows(offsets, indices, header):
    indices[-1] = 6


def handed_rows_before_the_store(offsets, indices, header):
    indices[0] = -1


def handed_a_row_twice(offsets, indices, header):
    indices[:2] = indices[2]


def cut_into_a_client(offsets, indices, header):
    offsets[1] = 0


def begun_later(offsets, indices, header):
    offsets[0] = 1


def of_another_store(offsets, indices, header):
    header["store"]["checksum"] = "0" * 64


def short_of_a_name(offsets, indices, header):
    header["client_ids"].pop()


def given_the_others_row(offsets, indices, header):
    indices[[0, 3]] = indices[[3, 0]]


def of_an_unknown_client(offsets, indices, header):
    header["client_ids"][0] = "nobody"


DAMAGES = {
    handed_test_rows: r"client 1 has row 6 of the store, expected training rows, which are 0\.\.5",
    handed_rows_before_the_store: "client 0 has row -1 of the store, expected training rows",
    handed_a_row_twice: "row 2 of the store is handed out twice",
    cut_into_a_client: "offsets.npy does not rise from 0",
    begun_later: "offsets.npy does not rise from 0",
    of_another_store: "made of a store of checksum 0000",
    short_of_a_name: "partition.json names 1 clients, its arrays have 2",
    given_the_others_row: "client 'c0' has row 3, one of 'c1'",
    of_an_unknown_client: "client 'nobody' has row 0, one of 'c0'",
}


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_partition_that_does_not_fit_its_store_is_not_trained_on(
    tmp_path, make_store, stage, refused, damage, sealed
):
    """By its own checksum where bytes changed; by what it says where a tool made it so."""
    store = make_store(tmp_path / "store", [1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1])
    folder = tmp_path / "out"
    partition_of(store, folder, "--scheme", "natural", "--target", "kind")
    Partition.open(folder).verify(ClientStore.open(store))
    offsets, indices = np.load(folder / "offsets.npy"), np.load(folder / "indices.npy")
    header = json.loads((folder / "partition.json").read_text())
    damage(offsets, indices, header)
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "indices.npy", indices)
    if sealed:
        header["checksum"] = checksum(offsets, indices)
    (folder / "partition.json").write_text(json.dumps(header))
    with pytest.raises(InputError, match=DAMAGES[damage] if sealed else "; partition again") as no:
        Partition.open(folder).verify(ClientStore.open(store))
    assert str(no.value).endswith("partition again")


def test_a_store_that_changed_is_not_divided(tmp_path, make_store, stage, refused):
    store = make_store(tmp_path / "store", [1, 2, 3, 4], [0, 0, 1, 1])
    images = np.load(store / "images.npy", mmap_mode="r+")
    images[0] ^= 1
    images.flush()
    flags = ["--store", store, "--output", tmp_path / "out", "--target", "kind"]
    line = refused(stage("data.prepare.partition", *flags, "--scheme", "natural"))
    assert "the arrays have checksum" in line
    assert not (tmp_path / "out").exists()


def _store(folder, labels, targets):
    """A store of one client with these training labels (row, target), and two held-out rows."""
    labels = np.concatenate([labels, labels[:2]])
    rows = len(labels)
    write_store(
        folder, name="made", source="test", kind="real", labels=labels,
        images=np.arange(1, rows + 1).astype(">u4").view(np.uint8).reshape(-1, 2, 2, 1),
        clients=np.zeros(rows, int), splits=np.array([0] * (rows - 2) + [1, 2]),
        client_ids=["one"], targets=targets, dropped=[], polarity="colour", natural_clients=True,
    )  # fmt: skip
    return ClientStore.open(folder)


def test_several_answers_are_counted_by_their_yes(tmp_path):
    answers = np.array([[0, 1], [1, 1], [1, 0], [0, 1]] * 5)
    known = [{"name": name, "classes": ["no", "yes"]} for name in ("glad", "tall")]
    store = _store(tmp_path / "store", answers, known)
    make_partition(store, tmp_path / "out", ["glad", "tall"], Division(scheme="iid", clients=4))
    partition = Partition.open(tmp_path / "out")
    check_laws(store, partition)
    header, counts = partition.header, (tmp_path / "out/label_counts.csv").read_text().splitlines()
    assert (header["target"], header["task"]) == ("glad, tall", "multi-label")
    by_name = dict.fromkeys(("glad", "tall"), 0)
    for line in counts[1:]:
        _, name, number = line.split(",")
        by_name[name] += int(number)
    assert by_name == {"glad": 10, "tall": 15}


def test_a_class_beside_a_number_is_divided_as_without_it(tmp_path):
    kinds, many = np.arange(40)[:, None] % 3, {"name": "kind", "classes": ["a", "b", "c"]}
    both = np.column_stack([kinds, np.arange(40)])
    alone = _store(tmp_path / "alone", kinds, [many])
    beside = _store(tmp_path / "beside", both, [many, {"name": "age", "classes": []}])
    chosen = Division(scheme="dirichlet", clients=3, alpha=1.0)
    found = []
    for name, store in (("one", alone), ("other", beside)):
        make_partition(store, tmp_path / name, ["kind"], chosen)
        found.append(Partition.open(tmp_path / name).checksum)
    assert found[0] == found[1]


def test_numbers_are_counted_by_fifths(tmp_path):
    store = _store(tmp_path / "store", np.arange(40.0)[:, None], [{"name": "age", "classes": []}])
    make_partition(store, tmp_path / "out", ["age"], Division(scheme="natural"))
    counts = (tmp_path / "out/label_counts.csv").read_text().splitlines()
    assert counts[1] == "0,1: 0 to 7.8,8"
    assert [line.rpartition(",")[2] for line in counts[1:]] == ["8"] * 5
    chosen = Division(scheme="shards", clients=2, shards_per_client=1)
    with pytest.raises(InputError, match="scheme shards divides by the classes of one target"):
        make_partition(store, tmp_path / "none", ["age"], chosen)
    assert not (tmp_path / "none").exists()
