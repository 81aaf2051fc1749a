"""How often the procedure errs and how much it finds, on 1,000 made-up studies of each kind.

Spreads are those that occur: equal, up to 3:1 between arms, an arm that always ends the same. So
are correlations between arms: none, and those of runs that share seed, cohorts and widths.
"""

import numpy as np
import pytest

from autoprune.evidence.inference import LEVEL, Sample, simultaneous

STUDIES = 1000
DRAWS = 2000  # of the bootstrap within each study
ERROR = (LEVEL * (1 - LEVEL) / STUDIES) ** 0.5
MOST = LEVEL + 3 * ERROR  # 7.1 %: three standard errors of what 1,000 studies show of 5 %


def spreads(kind, arms):
    """The standard deviation of each arm, the reference first."""
    sds = np.ones(arms + 1)
    if kind == "reference 3":
        sds[0] = 3
    elif kind == "one 3":
        sds[1] = 3
    elif kind == "reference 1/3":
        sds[0] = 1 / 3
    elif kind == "every other 3":
        sds[1::2] = 3
    elif kind == "from 3 to 1, one 0":
        sds = np.linspace(3, 1, arms + 1)
        sds[-1] = 1e-9
    else:
        assert kind == "equal"
    return sds


def studies(sds, seeds, number=STUDIES, correlation=0.0):
    """(study, arm, seed), without any difference."""
    draw = np.random.default_rng([len(sds), seeds])
    alone = draw.normal(size=(number, len(sds), seeds)) * (1 - correlation) ** 0.5
    shared = draw.normal(size=(number, 1, seeds)) * correlation**0.5
    return (alone + shared) * sds[:, None]


def family(study):
    """Every arm against the first: the estimates."""
    samples = [Sample(tuple(own)) for own in study.tolist()]
    contrasts = [{at: 1.0, 0: -1.0} for at in range(1, len(samples))]
    return simultaneous(samples, contrasts, DRAWS)


def more(*kinds):
    """Kinds of studies of which `make test` is content with the others."""
    return [pytest.param(*kind, marks=pytest.mark.long) for kind in kinds]


@pytest.mark.parametrize(
    ("kind", "arms", "seeds", "correlation"),
    [
        ("equal", 20, 5, 0),
        ("reference 3", 6, 5, 0.8),
        *more(
            ("equal", 6, 5, 0.8),
            ("equal", 6, 10, 0.95),
            ("reference 3", 20, 5, 0),
            ("reference 1/3", 20, 5, 0.5),
            ("one 3", 20, 5, 0.8),
            ("every other 3", 6, 5, 0),
            ("every other 3", 6, 5, 0.8),
            ("from 3 to 1, one 0", 20, 5, 0),
            ("from 3 to 1, one 0", 6, 10, 0.5),
        ),
    ],
)
def test_without_a_difference_at_most_one_study_in_twenty_says_that_any_arm_differs(
    kind, arms, seeds, correlation
):
    found = studies(spreads(kind, arms), seeds, correlation=correlation)
    wrong = sum(any(one.low > 0 or one.high < 0 for one in family(study)) for study in found)
    assert wrong / STUDIES <= MOST


@pytest.mark.parametrize(
    ("kind", "arms", "seeds", "correlation"),
    [("equal", 5, 5, 0.8), *more(("reference 3", 20, 10, 0))],
)
def test_a_difference_of_the_half_width_is_found_in_half_of_studies_and_of_twice_in_nearly_all(
    kind, arms, seeds, correlation
):
    """The stated power: 1/2 at the half-width, 4/5 at 1.5 and 19/20 at 2 half-widths."""
    plain = studies(spreads(kind, arms), seeds, STUDIES // 2, correlation)
    expected = np.mean([family(study)[-1].half_width for study in plain[:200]])
    for times, least, most in ((1, 0.45, 0.56), (1.5, 0.8, 1), (2, 0.95, 1)):
        shifted = plain.copy()
        shifted[:, -1] += times * expected
        power = np.mean([family(study)[-1].low > 0 for study in shifted])
        assert least <= power <= most


def test_pairing_halves_the_intervals_of_arms_that_seeds_move_together():
    """Against the same arms with their seeds shuffled, which is what not pairing sees."""
    draw = np.random.default_rng(7)
    found = studies(spreads("equal", 6), 5, 100, correlation=0.8)
    apart = draw.permuted(found, axis=2)
    paired, not_paired = (
        np.mean([[one.half_width for one in family(study)] for study in some])
        for some in (found, apart)
    )
    assert paired < 0.55 * not_paired


def test_the_classical_procedures_would_not_do():
    """Pooled variance with a reference of three times the spread errs in far more studies."""
    found = studies(spreads("reference 3", 20), 5)
    means, pooled = found.mean(axis=2), found.var(axis=2, ddof=1).mean(axis=1)
    t = np.abs(means[:, 1:] - means[:, :1]).max(axis=1) / np.sqrt(2 * pooled / 5)
    dunnett = 3.02  # two-sided 5 %, 20 arms, 84 degrees of freedom
    assert np.mean(t > dunnett) > 0.25
