"""When the methods that prune trained networks begin, and for how many rounds they go on."""

import itertools

import pytest
from test_methods import CNN, FOLLOWERS, LEARNT, START, dense, made, planned, played, same

from autoprune.core.errors import InputError


def test_a_trained_network_is_pruned_and_no_other(tmp_path):
    """Nothing goes before the round that follows on the first evaluation good enough."""
    _, path = planned(tmp_path, CNN)
    for name, variant in FOLLOWERS:
        method = made(name, CNN, variant, plan=path)
        if not hasattr(method, "start"):
            continue
        begin = 13 if variant == "classical" else START  # of 24 rounds
        assert method.start == method.to_json()["start"] == begin
        steps = played(method)
        changed = [
            server_round
            for server_round, (before, after) in enumerate(itertools.pairwise(steps), start=2)
            if before[0] != after[0] or not same(before[1], after[1])
        ]
        assert changed[0] == begin
        assert changed[-1] <= begin + method.span - 1
        assert [r for r in range(1, 25) if method.searching(r)] == list(
            range(begin, begin + method.span)
        )


@pytest.mark.parametrize(
    ("variant", "rounds", "accuracies", "start", "span", "because"),
    [
        ("one-shot", 24, LEARNT, 9, 1, "dense"),
        ("iterative", 24, LEARNT, 9, "search", "dense"),
        ("iterative", 11, LEARNT, 9, 1, "dense"),  # of three rounds left one prunes
        ("iterative", 9, LEARNT, 9, 1, "dense"),
        ("classical", 24, LEARNT, 13, 1, "variant"),
        ("one-shot", 8, LEARNT, 5, 1, "middle"),  # good enough at the end of the last round
        ("one-shot", 24, {1: 0.5, 2: 0.5}, 2, 1, "dense"),
        ("one-shot", 4, {2: 0.0, 4: 0.0}, 3, 1, "dense"),
        ("one-shot", 4, {4: 0.5}, 3, 1, "middle"),
    ],
)
def test_when_pruning_begins(tmp_path, variant, rounds, accuracies, start, span, because):
    plan, path = planned(tmp_path, CNN)
    history = dense(tmp_path, accuracies)
    method = made("l1-uniform", CNN, variant, plan=path, dense=history, rounds=rounds)
    found = method.to_json()
    search = plan.shrinks[-1].round - 1
    assert (found["start"], found["start_from"]) == (start, because)
    assert found["span"] == (search if span == "search" else span)
    assert search > 1


def test_the_final_accuracy_is_of_the_last_five_evaluations(tmp_path):
    """0.5 is nine tenths of what dense ends at, not of its best."""
    _, path = planned(tmp_path, CNN)
    accuracies = {1: 0.2, 2: 0.5, 3: 0.9, 4: 0.5, 5: 0.5, 6: 0.5, 7: 0.5, 8: 0.5}
    history = dense(tmp_path, accuracies)
    method = made("fpgm", CNN, "one-shot", plan=path, dense=history)
    assert method.start == 3
    assert made("fpgm", CNN, "one-shot", plan=path, dense=history, prune_at=1.0).start == 3
    assert made("fpgm", CNN, "one-shot", plan=path, dense=history, prune_at=0.3).start == 2


def test_r2_takes_the_accuracys_place(tmp_path):
    """Of a regression; below 0 nothing is trained, which only a fixed round does not ask."""
    _, path = planned(tmp_path, CNN)
    for rows, start in (("1,-0.5\n2,0.3\n3,0.4\n", 3), ("1,-0.5\n2,-0.1\n", None)):
        history = tmp_path / "numbers.csv"
        history.write_text(f"round,validation_r2\n{rows}")
        about = {"plan": path, "dense": str(history), "prune_at": 1.0}
        assert made("taylor", CNN, "classical", **about).start == 13
        if start:
            assert made("taylor", CNN, "one-shot", **about).start == start
        else:
            with pytest.raises(InputError, match=r"numbers.csv: ends at an R² of -0.3, worse"):
                made("taylor", CNN, "one-shot", **about)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no evaluated round; train the dense run again"),
        ("round,validation_accuracy\n0,0.1\n1,\n", "has no evaluated round"),
        ("round,loss\n1,0.5\n", "expected a run's history.csv with columns round and validation"),
        ("round,validation_accuracy\n1,good\n", "expected a run's history.csv"),
        (None, "no such file"),
    ],
)
def test_a_history_that_is_none_is_one_line(tmp_path, text, message):
    _, path = planned(tmp_path, CNN)
    history = tmp_path / "other.csv"
    if text is not None:
        history.write_text(text)
    with pytest.raises(InputError, match=message):
        made("taylor", CNN, "one-shot", plan=path, dense=str(history))
