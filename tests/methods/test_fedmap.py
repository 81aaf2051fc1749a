"""FedMap's own schedule: nested masks from an untrained network on, in equal shares."""

import itertools

import pytest
from test_methods import CNN, made, planned, played


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("fedmap"), CNN)[1]


@pytest.mark.parametrize("gone", [50, 80, 90])
def test_steps_of_equal_shares_end_at_the_sparsity_and_leave_a_fifth_of_the_rounds(plan, gone):
    method = made("fedmap", CNN, f"steps-{gone}", plan=plan, rounds=40, step_width=4)
    played(method, rounds=40)
    rounds = [change["round"] for change in method.changes]
    left = [method.total(), *(change["nonzeros"] for change in method.changes)]
    assert rounds == list(range(5, 34, 4))  # the first is of a network of four rounds
    assert left[-1] == int(method.total() * (100 - gone) / 100)
    shares = [late / early for early, late in itertools.pairwise(left)]
    assert shares == pytest.approx([(1 - gone / 100) ** (1 / 8)] * 8, abs=1e-3)
    assert [r for r in range(1, 41) if method.searching(r)] == rounds


def test_masks_are_nested_whatever_clients_do(plan):
    method = made("fedmap", CNN, "steps-80", plan=plan)
    masks = [mask for _, mask, _ in played(method) if mask]
    assert len(masks) > 10
    for early, late in itertools.pairwise(masks):
        assert all(bool((early[name] | ~late[name]).all()) for name in early)


@pytest.mark.parametrize("rounds", [2, 3, 6])
def test_a_short_run_still_gets_there(plan, rounds):
    method = made("fedmap", CNN, "steps-90", plan=plan, rounds=rounds)
    played(method, rounds=rounds)
    assert method.changes[-1]["nonzeros"] == int(method.total() * 0.1)


def test_the_variant_that_follows_the_reference_is_as_before(plan):
    method = made("fedmap", CNN, "global", plan=plan)
    assert not method.sparsity
    played(method)
    assert method.changes[-1]["nonzeros"] == method.reference.budget
