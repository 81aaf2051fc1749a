"""The window of a round: whatever finishes first, replies go on in order and few are held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.federation.window import Window


@given(st.randoms(), st.integers(1, 30), st.integers(1, 9), st.integers(1, 5))
def test_replies_go_on_in_order_and_no_message_is_far_ahead(draw, number, ahead, workers):
    """Workers finish in any order, some tries fail, some replies never come."""
    ids = [f"m{place}" for place in range(number)]
    window, busy, tries, passed, lost, pops = Window(ids, ahead), [], [], [], set(), 0
    while not window.over:
        while len(busy) < workers and (one := window.hand_out()):
            tries.append(one)
            busy.append(one)
            assert ids.index(one) < pops + ahead
        if window.ready and draw.random() < 0.5:
            pops += 1
            if found := window.pop():
                passed.append(found)
        elif busy:
            one = busy.pop(draw.randrange(len(busy)))
            how = draw.choice(["comes", "comes", "comes", "again", "never"])
            if how == "again" and tries.count(one) < 3:
                window.again(one)
            elif how == "never":
                lost.add(one)
                window.finish(one, None)
            else:
                window.finish(one, f"reply to {one}")
    assert passed == [(one, f"reply to {one}") for one in ids if one not in lost]
    assert not busy
    assert set(tries) == set(ids)


def test_a_slow_message_holds_back_only_those_near_it():
    window = Window([f"m{place}" for place in range(9)], 4)
    assert [window.hand_out() for _ in range(5)] == ["m0", "m1", "m2", "m3", None]
    for one in ("m3", "m1", "m2"):
        window.finish(one, one)
    assert not window.ready
    assert window.hand_out() is None
    window.finish("m0", "m0")
    assert window.pop() == ("m0", "m0")
    assert [window.hand_out(), window.hand_out()] == ["m4", None]


@pytest.mark.parametrize("finished", [[], ["m0", "m2"], ["m1"]])
def test_after_a_stop_what_has_come_is_passed_on_and_nothing_else(finished):
    window = Window([f"m{place}" for place in range(6)], 3)
    for _ in range(3):
        window.hand_out()
    window.again("m1")
    for one in finished:
        window.finish(one, one)
    window.stop()
    assert window.hand_out() is None
    passed = []
    while not window.over:
        passed.append(window.pop())
    assert [found for found in passed if found] == [(one, one) for one in finished]
