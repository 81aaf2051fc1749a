"""Mean, interval and verdict, against numbers worked out by hand."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from autoprune.core.errors import InputError
from autoprune.evidence.statistics import (
    Summary,
    against_dense,
    judge,
    require,
    size_of,
    summarise,
)
from autoprune.measure.table import RUN


def test_the_interval_is_students():
    # 1, 2, 6: mean 3, deviations -2 -1 3, variance 14/2 = 7; t(0.975, 2) = 4.302652729911275
    got = summarise([1, 2, 6])
    half = 4.302652729911275 * math.sqrt(7) / math.sqrt(3)
    assert got[:2] == (3, 3)
    assert got.sd == pytest.approx(math.sqrt(7))
    assert (got.low, got.high) == (pytest.approx(3 - half), pytest.approx(3 + half))
    assert (got.low, got.high) == pytest.approx(
        stats.t.interval(0.95, 2, loc=3, scale=stats.sem([1, 2, 6]))
    )


def test_one_value_has_no_spread_and_none_has_no_mean():
    assert summarise([4.5]) == Summary(1, 4.5, None, None, None)
    assert summarise([]) == Summary(0, None, None, None, None)


def test_numbers_must_be_finite():
    with pytest.raises(ValueError, match="finite"):
        summarise([1.0, math.nan])


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8), st.floats(-1e6, 1e6))
def test_a_shift_moves_the_interval_and_keeps_its_width(values, shift):
    before, after = summarise(values), summarise([value + shift for value in values])
    assert after.mean == pytest.approx(before.mean + shift, abs=1e-6)
    assert after.high - after.low == pytest.approx(before.high - before.low, abs=1e-5)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.randoms())
def test_the_order_of_the_values_changes_nothing(values, random):
    shuffled = random.sample(values, len(values))
    assert summarise(shuffled) == summarise(values)


@pytest.mark.parametrize(
    ("ours", "low", "high", "verdict", "resolved"),
    [
        (Summary(3, 5, 1, 4, 6), 4, math.inf, "holds", "yes"),
        (Summary(3, 5, 1, 3.9, 6), 4, math.inf, "not resolved", "no"),
        (Summary(3, 3, 1, 2, 3.9), 4, math.inf, "does not hold", "yes"),
        (Summary(3, 3, 1, 2, 4), 4, math.inf, "not resolved", "no"),
        (Summary(1, 5, None, None, None), 4, math.inf, "not resolved", "no"),
        (Summary(3, 5, 1, 4.5, 5.5), 4, 6, "holds", "yes"),
        (Summary(3, 5, 1, 4.5, 6.5), 4, 6, "not resolved", "no"),
        (Summary(3, 7, 1, 6.5, 7.5), 4, 6, "does not hold", "yes"),
    ],
)
def test_verdicts(ours, low, high, verdict, resolved):
    assert judge(ours, low, high) == {"verdict": verdict, "resolved": resolved}


def runs(*rows):
    columns = ["method", "variant", "seed", "accuracy", "count", "bytes_total"]
    frame = pd.DataFrame(rows, columns=columns)
    for name in ("parameters", "parameters_with_statistics", "macs", "flops_tf_profiler"):
        frame[name] = frame["count"]
    return frame.assign(dataset="d", data_kind="real", stands_for="", model="cnn")


def test_a_run_is_compared_with_the_dense_run_of_its_own_seed():
    table = runs(
        ("dense", "fedavg", 1, 0.80, 1000, 100.0),
        ("dense", "fedavg", 2, 0.90, 1000, 100.0),
        ("autoprune", "reinit", 1, 0.75, 250, 40.0),
        ("autoprune", "reinit", 3, 0.99, 1, 1.0),  # no dense run of seed 3
    )
    (pair,) = against_dense(table).to_dict("records")
    assert pair["accuracy_change"] == pytest.approx(-5)
    assert pair["parameters_reduction"] == pytest.approx(75)
    assert pair["communication_factor"] == pytest.approx(2.5)


def test_a_size_is_a_share_of_the_budget_of_its_seed():
    """80 and 60 parameters are the budgets; in int8 a number is a quarter of one."""
    own = pd.DataFrame({"seed": [0, 1], "nonzeros": [40.0, 60.0], "bits": [1280.0, 1920.0]})
    own = own.assign(parameters_with_statistics=100.0, bytes_total=[7.0, 9.0])
    budget = pd.DataFrame({"seed": [1, 0], "parameters_with_statistics": [60.0, 80.0]})
    found = size_of(own, budget)
    assert found.pop("share_of_budget") == pytest.approx((40 / 80 + 60 / 60) / 2)
    means = {"parameters_with_statistics": 100, "nonzeros": 50, "bits": 1600, "bytes_total": 8}
    assert found == means
    int8 = size_of(own.assign(bits=own["bits"] / 4), budget)
    assert (int8["bits"], int8["share_of_budget"]) == (400, pytest.approx(0.75 / 4))
    others = size_of(own, budget.assign(seed=[8, 9]))
    assert others["share_of_budget"] == pytest.approx(50 / 70)


def test_a_lacking_figure_is_named():
    table = runs(("dense", "fedavg", 1, 0.8, 10, 1.0))[[*RUN, "accuracy"]]
    with pytest.raises(InputError, match="d/real//cnn/dense/fedavg/1: macs is missing"):
        require(table, ["accuracy", "macs"])
