"""What may follow what, and when to try again. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ailasd.errors import IllegalMove
from ailasd.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

MAY_BECOME: Final[Mapping[State, frozenset[State]]] = {
    State.COPIED: frozenset({State.QUEUED, State.HELD}),
    State.HELD: frozenset({State.QUEUED, State.COPIED}),  # released by a human; copied: judged anew
    State.QUEUED: frozenset({State.SENT, State.REFUSED, State.HELD}),
    State.SENT: frozenset({State.CONFIRMED, State.QUEUED, State.REFUSED}),  # queued: the server lost it
    State.REFUSED: frozenset({State.QUEUED, State.HELD}),  # by a human
    State.CONFIRMED: frozenset({State.CLEANED, State.QUEUED}),  # queued: its proof was gone when we looked again
    State.CLEANED: frozenset(),
}

LIVES_HERE: Final = frozenset(State) - {State.CLEANED}
"""The states in which we keep a copy of our own."""


def check_move(was: State, becomes: State) -> None:
    """Raise ``IllegalMove`` unless a picture may go from ``was`` to ``becomes``."""
    if becomes not in MAY_BECOME[was]:
        allowed = ", ".join(sorted(MAY_BECOME[was])) or "nothing"
        raise IllegalMove(f"a picture that is {was} may become {allowed}, but not {becomes}")


FIRST_WAIT_S: Final = 15.0
"""A second attempt is worth it after this long: the time in which a proxy or a server worker comes back."""
LONGEST_WAIT_S: Final = 3600.0
"""An intermittent link is there for an hour or two: waiting longer could sleep through it."""


def wait_before(attempt: int, random: Random, *, asked: float | None = None) -> float:
    """Seconds to wait before attempt number ``attempt`` + 1, after ``attempt`` failures (>= 1).

    Doubles each time up to the cap, then takes a random half of it off, so that many pictures (or kits) that failed
    together do not come back together. Never shorter than what the server ``asked`` for, itself capped at a day
    because a wrong Retry-After must not silence a kit.
    """
    doubled = min(FIRST_WAIT_S * 2.0 ** min(attempt - 1, 32), LONGEST_WAIT_S)
    jittered = doubled * (0.5 + random.random() / 2)
    return max(jittered, min(asked or 0.0, 86_400.0))


def as_mermaid() -> str:
    """The README's diagram, generated from the table."""
    lines = ["stateDiagram-v2", "    [*] --> copied"]
    lines += [f"    {was} --> {becomes}" for was in State for becomes in sorted(MAY_BECOME[was])]
    return "\n".join(lines)
