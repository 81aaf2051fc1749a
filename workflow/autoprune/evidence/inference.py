"""Comparing two arms over the seeds they share: differences, tests, corrections, equivalence."""

import math
from collections.abc import Sequence

from scipy.special import stdtr  # Student's distribution function, as scipy.stats.t asks it

from autoprune.evidence.statistics import summarise


def paired_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of the paired t-test that the mean difference is 0; None for less than two.

    Differences that are all 0 have p = 1; all the same otherwise, a few images on a small test
    set, say nothing of how they would vary: None.
    """
    found = summarise(differences)
    if found.mean is None or found.sd is None:
        return None
    if found.sd == 0:
        return 1.0 if found.mean == 0 else None
    t = found.mean / (found.sd / math.sqrt(found.n))
    return float(2 * stdtr(found.n - 1, -abs(t)))


def equivalence_p(differences: Sequence[float], margin: float) -> float | None:
    """p of the two one-sided tests (Schuirmann 1987) that the mean lies within ± margin.

    Below 0.05 the means are equivalent at that margin: the 90 % interval lies inside it. None for
    less than two differences, or where they are all the same and not 0.
    """
    found = summarise(differences)
    if found.mean is None or found.sd is None:
        return None
    if found.sd == 0:
        return 0.0 if found.mean == 0 else None
    error = found.sd / math.sqrt(found.n)
    above = stdtr(found.n - 1, -(found.mean + margin) / error)
    below = stdtr(found.n - 1, (found.mean - margin) / error)
    return float(max(above, below))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) adjusted p values of one family, in the order given; None stays None.

    The smallest of m is multiplied by m, the next by m - 1, ...; they never fall and end at 1.
    """
    known = sorted((p, n) for n, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, n) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[n] = highest
    return adjusted
