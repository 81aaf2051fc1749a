"""The family of a pair: which comparisons it has, and intervals that know the held-out clients."""

import numpy as np
import pandas as pd
import pytest

from autoprune.core.errors import InputError
from autoprune.evidence.clients import Units, errors, read_units
from autoprune.evidence.family import (
    Study,
    averaged,
    between,
    comparisons_of,
    differences,
    margin_of,
)
from autoprune.evidence.inference import Sample, simultaneous
from autoprune.evidence.readings import BYTES, READINGS, ROUNDS, TRAINING, Curve
from autoprune.evidence.statistics import binomial_margin
from autoprune.measure.table import RUN

DENSE, OURS, KEPT = ("dense", "fedavg"), ("autoprune", "reinit"), ("autoprune", "inherit")
NARROW, RANDOM = ("narrow", "reinit"), ("random-filters", "inherit")


def test_the_family_is_each_arm_against_the_reference_and_what_the_questions_ask():
    arms = [DENSE, OURS, KEPT, NARROW, RANDOM, ("fpgm", "iterative")]
    # what is asked twice, either way round, is one comparison
    assert set(comparisons_of(arms, OURS)) == {
        *((arm, OURS) for arm in arms if arm != OURS),
        (KEPT, DENSE),
        (RANDOM, KEPT),
    }
    # without the reference the questions remain
    assert set(comparisons_of([DENSE, KEPT, RANDOM], OURS)) == {(KEPT, DENSE), (RANDOM, KEPT)}


def run(seed, values, start=1, total=100.0):
    """Evaluated in rounds 0, 1, 2, ..., bytes in proportion."""
    rounds = np.arange(len(values))
    sent = total * rounds / rounds[-1]
    return Curve(seed, rounds, np.array(values), sent, start, int(rounds[-1]), total, str(values))


def study(arms, pair=("d", "real", "m"), units=None, margin=1.0):
    family = comparisons_of(arms, OURS)
    return Study(pair, arms, {arm: arm for arm in arms}, units or {}, margin, family)


@pytest.fixture
def arms():
    """Dense stands from round 1, ours from round 3; two seeds each."""
    return {
        DENSE: [run(0, [0, 0.1, 0.2, 0.3, 0.4]), run(1, [0, 0.2, 0.3, 0.5, 0.6])],
        OURS: [run(0, [0, 0, 0, 0.1, 0.4], start=3, total=80), run(1, [0, 0, 0, 0.2, 0.5], 3, 60)],
    }


def test_readings_by_hand(arms):
    """At the end 0.25 and 0.4 against 0.125 and 0.175; after two rounds of training 0.15 and 0.25
    against 0.25 and 0.35; at 60 bytes, round 2.4 and, of ours, 3 and 4, 0.24 and 0.38 against
    0.1 and 0.5."""
    found = {reading: differences(study(arms), reading)[DENSE, OURS] for reading in READINGS}
    by_hand = {ROUNDS: 17.5, TRAINING: -10, BYTES: 31 - 30}
    assert {name: one.seeds.mean for name, one in found.items()} == pytest.approx(by_hand)
    assert [one.at for one in found.values()] == [None, 2, 60]
    samples = [Sample((25, 40)), Sample((12.5, 17.5))]
    (alone,) = simultaneous(samples, [{0: 1.0, 1: -1.0}])
    assert found[ROUNDS].seeds.low == pytest.approx(alone.low)


def test_a_comparison_is_read_either_way_round(arms):
    found = differences(study(arms), BYTES)
    there, back = between(DENSE, OURS, found).seeds, between(OURS, DENSE, found).seeds
    assert (back.mean, back.low, back.high) == (-there.mean, -there.high, -there.low)
    assert (back.p, between(OURS, DENSE, found).at) == (there.p, 60)
    assert between(OURS, NARROW, found).seeds.mean is None
    assert between(None, NARROW, found).seeds.mean is None


def test_an_average_over_pairs_is_of_the_pairs_differences(arms):
    other = {arm: [own[0], own[0]._replace(seed=1)] for arm, own in arms.items()}
    found = averaged([study(arms), study(other, ("e", "real", "m"))], ROUNDS)[DENSE, OURS]
    assert found.seeds.mean == pytest.approx((17.5 + 12.5) / 2)
    # by seed (12.5 + 12.5) / 2 and (22.5 + 12.5) / 2
    assert found.seeds.error == pytest.approx(2.5)
    assert found.at is None


def test_where_a_run_was_not_evaluated_there_is_no_difference(arms):
    arms[OURS][0] = run(0, [0, 0, 0, 0.1, 0.4], start=5)
    found = differences(study(arms), TRAINING)[DENSE, OURS]
    assert found.seeds.mean is None
    assert differences(study(arms), ROUNDS)[DENSE, OURS].seeds.mean is not None


def test_the_error_of_the_held_out_clients_by_hand():
    """Two arms of one seed on 400 units of one image: the standard error of a paired difference."""
    draw = np.random.default_rng(0)
    one, other = draw.random(400) < 0.7, draw.random(400) < 0.4
    arms = {
        OURS: Units(one[None, :].astype(float), np.ones(400)),
        DENSE: Units(other[None, :].astype(float), np.ones(400)),
    }
    expected = 100 * np.std(one.astype(float) - other, ddof=1) / 20
    (found,) = errors(arms, [(OURS, DENSE)])
    assert found == pytest.approx(expected, rel=0.06)
    assert errors(arms, [(OURS, DENSE)]) == [found]  # seeded
    assert errors(arms, [(OURS, NARROW)]) == [None]


def test_seeds_are_drawn_anew_beside_the_clients():
    """Units that all seeds get alike: the standard error of the mean over five seeds is left."""
    levels = np.array([0.1, 0.3, 0.5, 0.6, 0.9])
    arms = {
        OURS: Units(np.tile(levels[:, None], 30), np.ones(30)),
        DENSE: Units(np.full((5, 30), 0.5), np.ones(30)),
    }
    (found,) = errors(arms, [(OURS, DENSE)])
    assert found == pytest.approx(100 * np.std(levels, ddof=1) / 5**0.5, rel=0.06)


def test_arms_that_err_on_the_same_clients_differ_more_surely():
    """Hard and easy units weigh on both arms alike, so that they cancel."""
    draw = np.random.default_rng(1)
    hard = draw.random(60)
    alike = {
        OURS: Units(hard[None, :], np.ones(60)),
        DENSE: Units(hard[None, ::1] * 0.9, np.ones(60)),
    }
    apart = {OURS: alike[OURS], DENSE: Units(draw.permutation(hard)[None, :] * 0.9, np.ones(60))}
    assert errors(alike, [(OURS, DENSE)])[0] < 0.3 * errors(apart, [(OURS, DENSE)])[0]


def test_the_interval_with_clients_is_never_narrower_and_only_at_equal_rounds(arms):
    draw = np.random.default_rng(2)
    for images, wider in ((1, True), (10_000, False)):
        shares = draw.normal(0.5, 2 if wider else 0, 40)
        units = {
            arm: Units(np.tile(images * shares * (1 + n), (2, 1)), np.full(40, float(images)))
            for n, arm in enumerate(arms)
        }
        found = differences(study(arms, units=units), ROUNDS)[DENSE, OURS]
        assert found.widest is found.clients
        assert found.clients.mean == found.seeds.mean
        assert (found.clients.half_width > 1.01 * found.seeds.half_width) == wider
        assert found.clients.half_width >= found.seeds.half_width
        assert differences(study(arms, units=units), TRAINING)[DENSE, OURS].clients is None
    assert differences(study(arms), ROUNDS)[DENSE, OURS].clients is None


def units_file(path, rows):
    identity = {"dataset": "d", "data_kind": "real", "stands_for": "", "model": "m"}
    frame = pd.DataFrame(
        [
            identity
            | dict(
                zip(["method", "variant", "seed", "unit", "examples", "right"], row, strict=True)
            )
            for row in rows
        ]
    )
    frame[[*RUN, "unit", "examples", "right"]].to_csv(path, index=False)
    return str(path)


def test_units_are_read_by_arm_and_must_be_the_same_for_all(tmp_path):
    rows = [
        (*arm, seed, unit, 10 * (unit + 1), seed + unit)
        for arm in (DENSE, OURS)
        for seed in (1, 0)
        for unit in (0, 1)
    ]
    found = read_units(units_file(tmp_path / "u.csv", rows))
    units = found["d", "real", "m"][OURS]
    assert units.right.tolist() == [[0, 1], [1, 2]]
    assert units.examples.tolist() == [10, 20]
    assert read_units(None) == {}
    with pytest.raises(InputError, match="other held-out units than the other runs of d"):
        read_units(units_file(tmp_path / "v.csv", rows[:-1]))
    with pytest.raises(InputError, match=r"none\.csv: not a CSV file"):
        read_units(str(tmp_path / "none.csv"))
    (tmp_path / "w.csv").write_text("dataset,data_kind\n")
    with pytest.raises(InputError, match="column stands_for is missing"):
        read_units(str(tmp_path / "w.csv"))


def test_the_margin_is_what_equal_networks_differ_by_on_so_many_images():
    """Two shares of 0.5 on 216 images: 9.4 points; on many, the least of 1 point."""
    assert binomial_margin(0.5, 216) == pytest.approx(9.43, abs=0.01)
    assert binomial_margin(0.8, 1_000_000) == 1
    draw = np.random.default_rng(3)
    apart = (draw.binomial(216, 0.5, 20_000) - draw.binomial(216, 0.5, 20_000)) / 2.16
    assert np.mean(np.abs(apart) <= binomial_margin(0.5, 216)) == pytest.approx(0.95, abs=0.015)
    runs = pd.DataFrame({"accuracy": [0.4, 0.6], "test_examples": 116.0})
    frames = {DENSE: runs.assign(validation_examples=100.0), OURS: runs}
    assert margin_of(frames, OURS) == pytest.approx(9.43, abs=0.01)
    assert margin_of({OURS: runs}, OURS) == pytest.approx(binomial_margin(0.5, 116))
