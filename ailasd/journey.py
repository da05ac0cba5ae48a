"""The way that a drive took, from the times and places of its pictures: stretches, kilometres, hours. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ailasd.model import Verdict
from ailasd.triage import distance_m

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Place = tuple[float, float]
"""Latitude and longitude, degrees."""

PARKED: Final = "parked"
UNTRUE: Final = "position_untrusted"
"""``picture.reason`` of a standing vehicle, and of a position that cannot be true."""

GAP_S: Final = 30.0
"""Nobody drives without pictures for longer than this at 5 or 10 s: the camera was off, or hung."""
GAP_INTERVALS: Final = 4.0
"""Of a camera with a slower pace, so many of its intervals."""


def gap_s(interval_s: float | None) -> float:
    """How many seconds without a picture are more than a camera's own hiccup; None: nobody knows its interval."""
    return max(GAP_S, GAP_INTERVALS * (interval_s or 0.0))


class Seen(NamedTuple):
    """A picture of the drive.

    Attributes:
        at: seconds since 1970; None: nobody knows.
        place: None: it has none.
        parked: it is held because the vehicle stood.
    """

    at: float | None
    place: Place | None
    parked: bool


def place_of(row: Mapping[str, Any]) -> Place | None:
    """Where a picture was taken, as far as anybody knows: what was found out, or its own position if that can be true.

    Args:
        row: ``position_override``, ``latitude``, ``longitude``, ``verdict``, ``reason`` as the catalogue has them; a
            camera without a fix may write 0, 0, which the server's reader takes for none.
    """
    if row["position_override"]:
        latitude, longitude = map(float, row["position_override"].split())
        return latitude, longitude
    if row["verdict"] == Verdict.NO_POSITION or row["reason"] == UNTRUE or row["latitude"] is None:
        return None
    return row["latitude"], row["longitude"]


class Kind(StrEnum):
    """What a stretch of the way is."""

    DRIVEN = "driven"
    GAP = "gap"  # no pictures
    NO_POSITION = "no_position"  # pictures without a place
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the way: DRIVEN goes through all of ``places``, GAP and NO_POSITION lie between two, PARKED is one."""

    kind: Kind
    places: tuple[Place, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Journey:
    """A drive as it went.

    Attributes:
        metres: along straight lines from place to place, so at least this far.
        seconds: from the first picture to the last.
        interval_s: between two pictures, as most are apart; None: there are too few.
        no_position: pictures without a place.
    """

    stretches: tuple[Stretch, ...]
    pictures: int
    metres: float
    seconds: float
    interval_s: float | None
    no_position: int

    def parts(self, kind: Kind) -> tuple[Stretch, ...]:
        """The stretches of one kind."""
        return tuple(one for one in self.stretches if one.kind is kind)


def journey(pictures: Sequence[Seen]) -> Journey:
    """The way through ``pictures``, in the order of their capture; those without a time are only counted."""
    timed = [one for one in pictures if one.at is not None]
    steps = [(_at(b) - _at(a), a.parked or b.parked) for a, b in pairwise(timed) if _at(b) > _at(a)]
    steady = [step for step, parked in steps if not parked] or [step for step, _ in steps]
    interval = median(steady) if len(steps) > 1 else None
    stretches = tuple(_joined(_stretches(timed, gap_s(interval))))
    legs = [leg for one in stretches if one.kind is not Kind.PARKED for leg in pairwise(one.places)]
    return Journey(
        stretches=stretches,
        pictures=len(pictures),
        metres=sum(distance_m(a, b) for a, b in legs),
        seconds=_at(timed[-1]) - _at(timed[0]) if timed else 0.0,
        interval_s=interval,
        no_position=sum(one.place is None for one in pictures),
    )


def _at(one: Seen) -> float:
    assert one.at is not None
    return one.at


def _stretches(pictures: Sequence[Seen], gap: float) -> Iterator[Stretch]:
    """From each picture with a place to the next that has one."""
    placed = [number for number, one in enumerate(pictures) if one.place is not None]
    if len(placed) == 1:
        yield Stretch(Kind.DRIVEN, (_place(pictures[placed[0]]),), 0.0)
    for a, b in pairwise(placed):
        one, other = pictures[a], pictures[b]
        seconds, places = _at(other) - _at(one), (_place(one), _place(other))
        if one.parked or other.parked:
            yield Stretch(Kind.PARKED, places[:1], seconds)
        elif b - a > 1:
            yield Stretch(Kind.NO_POSITION, places, seconds)
        elif seconds > gap:
            yield Stretch(Kind.GAP, places, seconds)
        else:
            yield Stretch(Kind.DRIVEN, places, seconds)


def _place(one: Seen) -> Place:
    assert one.place is not None
    return one.place


def _joined(stretches: Iterator[Stretch]) -> Iterator[Stretch]:
    """Neighbours of a kind as one. Of a parked vehicle some pictures are kept: it stood all the same."""
    kind: Kind | None = None
    places: list[Place] = []
    seconds = 0.0
    for one in stretches:
        if one.kind is kind and kind in (Kind.DRIVEN, Kind.PARKED):
            places += one.places[1:]
            seconds += one.seconds
            continue
        if kind is not None:
            yield Stretch(kind, tuple(places), seconds)
        kind, places, seconds = one.kind, list(one.places), one.seconds
    if kind is not None:
        yield Stretch(kind, tuple(places), seconds)
