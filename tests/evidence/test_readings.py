"""How runs are read: at their end, after equal training, after equal bytes; and what is one run."""

import numpy as np
import pandas as pd
import pytest

from autoprune.evidence.readings import (
    BYTES,
    ROUNDS,
    TRAINING,
    Curve,
    at_bytes,
    at_end,
    at_training,
    curves,
    cut,
    merged,
    read,
    rise,
    same_runs,
    still_rising,
)
from autoprune.evidence.statistics import Summary, final_figures, held_out
from autoprune.measure.metrics import collect
from autoprune.measure.table import read_metrics


def curve(accuracy, sent=None, *, every=1, start=1, last=None, seed=0, mark=""):
    """Evaluated in rounds 0, every, 2 every, ..."""
    rounds = np.arange(len(accuracy)) * every
    sent = np.array(rounds if sent is None else sent, float)
    last = int(rounds[-1]) if last is None else last
    return Curve(seed, rounds, np.array(accuracy), sent, start, last, float(sent[-1]), mark)


def test_equal_bytes_reads_the_line_between_two_evaluations():
    """Evaluated at 0, 20 and 40 bytes; after the last evaluation nothing is extrapolated."""
    run = curve([0.1, 0.3, 0.7], [0, 20, 40])
    by_hand = {0: 0.1, 5: 0.15, 19: 0.29, 20: 0.3, 30: 0.5, 39: 0.68, 40: 0.7, 50: 0.7, 99: 0.7}
    assert {n: at_bytes(run, n) for n in by_hand} == pytest.approx(by_hand)
    with pytest.raises(ValueError, match="no evaluation at or before 19 bytes; the first is at 20"):
        at_bytes(curve([0.3, 0.7], [20, 40]), 19)


def test_a_round_that_sent_nothing_replaces_the_evaluation_before_it():
    """Evaluated at 20 bytes twice: the later one counts, also as the end of a line."""
    run = curve([0.1, 0.3, 0.5, 0.7], [0, 20, 20, 40])
    assert [at_bytes(run, n) for n in (10, 20, 30)] == pytest.approx([0.3, 0.5, 0.6])


def test_the_end_is_the_mean_of_the_last_five_evaluations_after_round_0():
    assert at_end(curve([9, 1, 2, 3, 4, 5, 6])) == pytest.approx(4)
    assert at_end(curve([9, 1, 2])) == pytest.approx(1.5)


def test_equal_training_counts_from_the_round_in_which_the_network_came_to_stand_still():
    """Standing from round 4: its rounds 4, 6 and 8 are the 1st, 3rd and 5th of its training."""
    run = curve([0.1, 0.2, 0.3, 0.4, 0.6], every=2, start=4)
    assert run.trained == 5
    assert [at_training(run, n) for n in (1, 2, 3, 4, 5, 99)] == pytest.approx(
        [0.3, 0.3, 0.35, 0.35, (0.3 + 0.4 + 0.6) / 3, (0.3 + 0.4 + 0.6) / 3]
    )
    assert at_training(curve([0.1, 0.2, 0.3], every=4, start=5), 3) is None  # rounds 5 to 7
    longer = curve([9, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert at_training(longer, 7) == pytest.approx((3 + 4 + 5 + 6 + 7) / 5)


def test_both_are_read_where_the_shorter_of_all_their_runs_ends():
    one = [curve([0, 1, 2, 3, 4], [0, 10, 20, 30, 40]), curve([0, 1, 2, 3, 5], start=3)]
    other = [curve([0, 1, 2, 3, 4], [0, 5, 10, 15, 20])]
    assert cut(ROUNDS, one, other) is None
    assert cut(TRAINING, one, other) == 2
    assert cut(BYTES, one, other) == 4
    assert read(ROUNDS, one[0], None) == pytest.approx(2.5)
    assert read(TRAINING, one[0], 2) == pytest.approx(1.5)
    assert read(TRAINING, one[1], 2) == pytest.approx(4)  # its rounds 3 and 4
    assert read(BYTES, one[0], 15) == pytest.approx(1.5)


def test_equal_bytes_count_bytes_and_not_rounds():
    """A network that shrinks sends ever less: 85 of 100 bytes lie in the third of four rounds.

    Evaluated after the fourth round only: 0.1 + 0.85 * 0.8 = 0.78.
    """
    assert at_bytes(curve([0.1, 0.9], [0, 100], every=4), 85) == pytest.approx(0.78)


def test_a_run_that_still_rises_says_so():
    """1 to 5 before, 6 to 10 last: 5 points up in every seed, plus the seed's own 0, 1, 2."""
    rising = [
        curve([0, *(0.01 * n for n in range(1, 6)), *(0.01 * (n + own) for n in range(6, 11))])
        for own in (0, 1, 2)
    ]
    gap = rise(rising)
    assert gap.mean == pytest.approx(6)
    assert gap.sd == pytest.approx(1)
    assert still_rising(gap, 1)
    assert not still_rising(gap, 6.5)  # within the margin
    assert not still_rising(Summary(3, 6, 5, -6, 18), 1)  # seeds do not tell
    assert still_rising(rise(rising[:1]), 1) is None
    assert rise([curve([0, 1, 2, 3])]).n == 0  # too few evaluations


def test_arms_that_are_the_same_runs_are_one():
    one = [curve([0, 1], seed=seed, mark=f"a{seed}") for seed in (0, 1)]
    same = [curve([0, 1], seed=seed, mark=f"a{seed}") for seed in (0, 1, 2)]
    partly = [curve([0, 1], seed=0, mark="a0"), curve([0, 2], seed=1, mark="b1")]
    other_seeds = [curve([0, 1], seed=7, mark="a0")]
    arms = {("a", ""): one, ("b", ""): same, ("c", ""): partly, ("d", ""): other_seeds}
    assert same_runs(partly, one) == (1, 2)
    assert same_runs(other_seeds, one) == (0, 0)
    kept, stands_for = merged(arms, list(arms))
    assert stands_for == {("a", ""): ("a", ""), ("b", ""): ("a", "")} | {
        (name, ""): (name, "") for name in "cd"
    }
    assert [run.seed for run in kept["a", ""]] == [0, 1, 2]  # and what only the other has run
    assert list(kept) == [("a", ""), ("c", ""), ("d", "")]


@pytest.fixture
def metrics(run_folder, tmp_path):
    """A dense run, and one that shrinks in rounds 2 and 3 of 12."""
    folders = [
        run_folder(rounds=12),
        run_folder(method="autoprune", variant="reinit", rounds=12, shrink_rounds=(2, 3)),
    ]
    collect(folders).to_csv(tmp_path / "m.csv", index=False)
    return read_metrics(tmp_path / "m.csv")


def test_curves_are_read_from_the_metrics(metrics):
    (arms,) = curves(metrics).values()
    (dense,), (pruned,) = arms["dense", "fedavg"], arms["autoprune", "reinit"]
    assert (dense.start, pruned.start, pruned.trained) == (1, 3, 10)
    assert dense.rounds.tolist() == [0, 2, 4, 6, 8, 10, 12]
    values, _ = final_figures(metrics)
    assert dense.total == values.loc[values["method"] == "dense", "bytes_total"].item()
    assert dense.mark != pruned.mark


def test_weights_that_are_drawn_anew_or_rewound_begin_the_training_again(metrics):
    """A column that older metrics lack; without it shrinking alone counts."""
    metrics = metrics[metrics["metric"] != "restarted"]
    extra = metrics[(metrics["metric"] == "shrunk") & (metrics["method"] == "autoprune")]
    extra = extra.assign(metric="restarted", value=(extra["round"] == 5).astype(float))
    (arms,) = curves(pd.concat([metrics, extra], ignore_index=True)).values()
    assert arms["autoprune", "reinit"][0].start == 5
    assert arms["dense", "fedavg"][0].start == 1


def test_the_held_out_accuracy_counts_each_image_once(metrics):
    """300 validation images beside 400 for testing, in every round; without a count, test alone."""
    metrics = metrics[metrics["metric"] != "validation_examples"]
    rows = metrics[metrics["round"].notna()]
    of = {
        name: rows[rows["metric"] == name].set_index(["method", "round"])["value"]
        for name in ("validation_accuracy", "test_accuracy")
    }
    alone = held_out(metrics).set_index(["method", "round"])["accuracy"]
    assert alone.to_dict() == of["test_accuracy"].to_dict()
    final = metrics[metrics["metric"] == "test_examples"]
    counted = final.assign(metric="validation_examples", value=300.0)
    both = held_out(pd.concat([metrics, counted], ignore_index=True))
    both = both.set_index(["method", "round"])["accuracy"]
    by_hand = (300 * of["validation_accuracy"] + 400 * of["test_accuracy"]) / 700
    assert both.to_dict() == pytest.approx(by_hand.to_dict())
    values, sources = final_figures(pd.concat([metrics, counted], ignore_index=True))
    values = values.set_index("method")["accuracy"]
    assert values["dense"] == pytest.approx(by_hand["dense"].iloc[-5:].mean())
    assert all(";" in cell and "history.csv" in cell for cell in sources["accuracy"])
