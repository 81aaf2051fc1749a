"""The two nulls: sizes of networks that learnt nothing, against real searches and by their laws."""

import csv

import numpy as np
import pytest

from autoprune.core.errors import InputError
from autoprune.core.seeds import generator
from autoprune.data.prepare import __main__ as prepare
from autoprune.measure.floors import floors
from autoprune.measure.nulls import NULLS, applied, final_sizes, norms, searches, sizes_of
from autoprune.measure.nulls import main as draw
from autoprune.measure.published_nulls import main as place
from autoprune.measure.published_nulls import published_sizes, wilson
from autoprune.models import Architecture, cost, new_network
from autoprune.pruning.plan import Plan
from autoprune.pruning.rule import boundaries
from autoprune.pruning.search import advance

SMALL = Architecture("cnn", (12, 20), (1, 28, 28), 10)
FAMILIES = [
    SMALL,
    Architecture("cnn", (9, 7, 8, 6), (3, 84, 84), 2),
    Architecture("resnet", (9, 12, 14), (3, 84, 84), 2),
    Architecture("inception", (12, 8, 9, 10, 11, 12, 9, 14, 16), (1, 28, 28), 62),
    Architecture("cnn1d", (9, 12, 14), (1, 40, 64), 20),
    Architecture("conformer", (9, 12, 8, 14, 10), (1, 40, 64), 20),
]


def by_the_search(base, null, seed, k, patience, cap):
    """The widths that the product's own search ends with on networks that learn nothing."""
    plan = Plan(base, "reinit", seed, k, patience, cap, norms=f"null-{null}")
    architecture, network = base, new_network(base, seed)
    for server_round in range(1, cap + 2):
        architecture, network = advance(plan, server_round, architecture, network)
    return architecture.widths, len(plan.shrinks)


@pytest.mark.parametrize("null", NULLS)
def test_sizes_are_distributed_as_those_of_real_searches(null):
    """Medians of 80 searches on drawn kernels and of 4,000 drawn norms; within 4 standard errors.

    A median's standard error is that of the mean times 1.25, as for a normal distribution.
    """
    real = [by_the_search(SMALL, null, seed, 1.6, 3, 20) for seed in range(80)]
    sizes = np.array([cost(SMALL.with_widths(widths)) for widths, _ in real])
    found = np.array(final_sizes(SMALL, null, 4000, 0, 1.6, 3, 20))
    error = 1.25 * found.std() / np.sqrt(len(sizes))
    assert abs(np.median(sizes) - np.median(found)) < 4 * error
    assert abs(sizes.mean() - found.mean()) < 4 * found.std() / np.sqrt(len(sizes))
    _, done = searches(SMALL, null, 4000, 0, 1.6, 3, 20)
    steps = np.array([applications for _, applications in real])
    assert abs(steps.mean() - done.mean()) < 4 * done.std() / np.sqrt(len(steps))


@pytest.mark.parametrize("weights", [9, 25, 400])
def test_norms_have_the_distribution_of_sums_of_uniforms(weights):
    """Quantiles against sums of as many uniforms, from the middle to 2.5 standard deviations."""
    stream = generator(0, "test")
    drawn = norms(np.full(40, weights), 5000, stream).ravel()
    sums = sum(stream.random(200_000) for _ in range(weights))
    sums = (sums - weights / 2) / np.sqrt(weights / 12)
    for z in (-2.5, -2.0, -1.0, 0.0, 1.0, 2.0, 2.5):
        share = (sums < z).mean()
        error = np.sqrt(2 * share * (1 - share) / 200_000)
        assert abs((drawn < z).mean() - share) < 4 * error


def test_the_rule_is_that_of_the_search():
    stream = generator(1, "test")
    scores = stream.random((50, 12))
    widths = stream.integers(1, 13, 50)
    found = applied(scores, widths, 1.3)
    for row, width, number in zip(scores, widths, found, strict=True):
        assert number == len(boundaries(list(row[:width]), 1.3).kept)


@pytest.mark.parametrize("base", FAMILIES, ids=str)
def test_sizes_without_building_are_those_of_built_networks(base):
    stream = generator(2, "test")
    widths = np.stack([stream.integers(1, width + 1, 12) for width in base.widths], axis=1)
    built = [cost(base.with_widths([int(width) for width in row])) for row in widths]
    assert sizes_of(base, widths) == built


@pytest.mark.parametrize("k", [1.6, 2.2])
@pytest.mark.parametrize("null", NULLS)
def test_no_null_goes_below_the_floors_nor_beyond_the_cap(null, k):
    widths, done = searches(SMALL, null, 300, 0, k, 3, 10)
    assert (widths >= np.array(floors(SMALL.widths, k))).all()
    assert done.max() <= 10
    assert len({tuple(row) for row in widths}) > 1


def test_a_fresh_network_at_every_application_prunes_more_than_one_that_is_kept():
    fresh, kept = (np.median(final_sizes(SMALL, null, 500, 0, 1.6, 3, 50)) for null in NULLS)
    assert fresh < kept


def test_an_unknown_null_is_one_line():
    with pytest.raises(InputError, match="null: unknown 'none'; known are fresh, kept"):
        final_sizes(SMALL, "none", 1, 0, 2.0, 3, 5)


def test_the_nulls_of_a_pair_are_the_same_bytes_again(tmp_path):
    options = ["--clients", "4", "--samples", "12", "--seed", "0"]
    prepare.main(["glyphs", "--name", "g", "--output", str(tmp_path / "store"), *options])
    flags = ["--store", str(tmp_path / "store"), "--target", "character", "--model", "cnn"]
    flags += ["--widths", "10", "12", "--k", "1.5", "--patience", "2", "--cap", "5", "--draws", "3"]
    for name in ("a", "b"):
        draw([*flags, "--output", str(tmp_path / name)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    rows = list(csv.DictReader((tmp_path / "a").read_text().splitlines()))
    assert [row["null"] for row in rows] == 3 * ["fresh"] + 3 * ["kept"]
    with pytest.raises(InputError, match="--draws: found 0, expected at least 1"):
        draw([*flags[:-1], "0", "--output", str(tmp_path / "c")])


def test_each_published_size_has_its_place_in_both_nulls(tmp_path, root):
    """With few draws here; the sizes of the authors' six searches lie inside the kept null."""
    out = tmp_path / "places.csv"
    place(
        ["--published", str(root / "config/published.tsv"), "--draws", "60", "--output", str(out)]
    )
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == 12
    assert {row["null"] for row in rows} == set(NULLS)
    for row in rows:
        assert float(row["p_low"]) <= float(row["at_or_below"]) <= float(row["p_high"])
        if row["null"] == "kept":
            assert int(row["low"]) <= int(row["published"]) <= int(row["high"])


def test_a_published_size_without_its_dense_network_is_one_line(tmp_path, root):
    lines = (root / "config/published.tsv").read_text().splitlines()
    wrong = [line for line in lines if "\tresnet\tdense\tparameters" not in line]
    path = tmp_path / "published.tsv"
    path.write_text("\n".join(wrong))
    with pytest.raises(InputError, match=r"celeba resnet autoprune: no row of the dense network"):
        published_sizes(str(path))


@pytest.mark.parametrize(
    ("share", "number", "low", "high"),
    [(0.0, 100, 0.0, 0.0370), (0.5, 100, 0.4038, 0.5962), (1.0, 100, 0.9630, 1.0)],
)
def test_wilsons_interval_is_that_of_the_tables(share, number, low, high):
    assert wilson(share, number) == pytest.approx((low, high), abs=1e-4)
