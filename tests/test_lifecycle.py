"""lifecycle: what may follow what, and when to try again."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailasd.errors import IllegalMove
from ailasd.lifecycle import FIRST_WAIT_S, LONGEST_WAIT_S, MAY_BECOME, as_mermaid, check_move, wait_before
from ailasd.model import State


def test_every_state_has_its_row():
    """The table names every state, and leads to known states only."""
    assert set(MAY_BECOME) == set(State)
    assert all(after <= set(State) for after in MAY_BECOME.values())


def test_only_a_confirmed_picture_may_be_cleaned():
    """Law 1: no state but confirmed leads to cleaned."""
    assert {was for was, after in MAY_BECOME.items() if State.CLEANED in after} == {State.CONFIRMED}


def test_only_what_was_sent_may_be_confirmed():
    """A picture that was never sent (or found on the server) cannot become confirmed."""
    assert {was for was, after in MAY_BECOME.items() if State.CONFIRMED in after} == {State.SENT}


def test_nothing_but_the_clean_end_is_final():
    """From every state but cleaned a picture can still reach the server: nothing gets stuck for ever."""

    def reachable(state: State, seen: frozenset[State] = frozenset()) -> set[State]:
        return {state}.union(*(reachable(after, seen | {state}) for after in MAY_BECOME[state] - seen))

    assert all(State.CONFIRMED in reachable(state) for state in State if state is not State.CLEANED)


@pytest.mark.parametrize("was", State)
@pytest.mark.parametrize("becomes", State)
def test_check_move_is_the_table(was: State, becomes: State):
    """A move is allowed exactly if the table has it; the error names both states."""
    if becomes in MAY_BECOME[was]:
        check_move(was, becomes)
    else:
        with pytest.raises(IllegalMove, match=rf"{was} may become .* not {becomes}"):
            check_move(was, becomes)


@given(st.integers(1, 10_000), st.integers(), st.none() | st.floats(0, 1e9))
def test_waits_grow_jittered_and_capped(attempt: int, seed: int, asked: float | None):
    """A wait is between half and all of the doubled one, at most an hour, unless the server asked for more (a day)."""
    wait = wait_before(attempt, Random(seed), asked=asked)
    whole = min(FIRST_WAIT_S * 2 ** min(attempt - 1, 32), LONGEST_WAIT_S)
    assert whole / 2 <= wait <= max(whole, min(asked or 0, 86_400))
    assert wait >= min(asked or 0, 86_400)


def test_the_diagram_shows_every_move():
    """The diagram for the README has one arrow for each allowed move, and one for the beginning."""
    assert as_mermaid().count("-->") == 1 + sum(map(len, MAY_BECOME.values()))
