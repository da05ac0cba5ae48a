"""How far off is a camera clock when the drive's own pictures cannot tell, because none has a GPS time? Pure.

Only what can be shown counts: the clock was compared on the same day; or pictures have places, and a track was at these
places a constant while earlier or later. Else the answer is None, and the clock is believed, not checked.
"""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from ailasd.capture import MICROSECOND, KnownOffset, microseconds
from ailasd.model import Verdict
from ailasd.triage import EARTH_RADIUS_M, distance_m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import tzinfo
    from typing import Self

    from ailasd.capture import ClockReport
    from ailasd.sequencing import Frame
    from ailasd.tracks import Segment
    from ailasd.triage import Rules

MOST: Final = timedelta(hours=14)
"""The widest time zone (Kiribati). A clock further off was reset, and is so anew at each start: another drive's offset
says nothing of this one."""
SAME_DAY: Final = timedelta(hours=24)
"""A camera clock drifts a second a day, and people set it between journeys, not between two drives of one."""

STEP_M: Final = 30.0
"""Pictures nearer to each other than that tell the same, and of a standing vehicle nothing."""
NEAR_M: Final = 30.0
"""Two receivers in one vehicle agree to that, and a road has that width."""
LEAST: Final = 5
"""Places that must agree: a crossing is passed twice by chance, five places in the same order are not."""
AGREE_S: Final = 5.0
"""How far offsets of one truth lie apart: a receiver is late by a second, and 30 m are driven in some."""
MOST_STRAYS: Final = 0.2
"""Of the places so many may tell otherwise; on a road driven to and fro half do, and nothing is concluded."""
MOST_SHOTS: Final = 200
"""Bounds the work; more places would not make it surer."""


# -- by other drives --------------------------------------------------------------------------------------------------
class Other(NamedTuple):
    """Another drive, as far as it may tell something: a card can have hundreds.

    Attributes:
        serial: its camera's.
        span: its first and last camera time, counted from the same moment for all; None: it has none.
        report: what ``capture.guard`` says of it; only asked of those that are near.
    """

    serial: str | None
    span: tuple[timedelta, timedelta] | None
    report: Callable[[], ClockReport]

    @classmethod
    def of(cls, frames: Sequence[Frame], report: Callable[[], ClockReport], zone: tzinfo) -> Self:
        """Of a drive's pictures."""
        return cls(frames[0].serial, _camera_span(frames, zone), report)


def offset_of_the_day(frames: Sequence[Frame], others: Iterable[Other], rules: Rules) -> KnownOffset | None:
    """How far off the clock is, by the drives of the same camera right before and after on the same day.

    None if there are none that were compared, if they disagree, or if the camera's times overlap: then the clock was
    set meanwhile, and nobody knows when. Only for cameras that write their serial: two of one model are two clocks.

    Args:
        frames: the drive in question.
        others: drives, of whatever camera and day.
        rules: tolerance and zone.
    """
    mine = _camera_span(frames, rules.zone)
    if mine is None or frames[0].serial is None:
        return None
    before: list[tuple[timedelta, timedelta]] = []
    after: list[tuple[timedelta, timedelta]] = []
    for other in others:
        if other.span is None or other.serial != frames[0].serial:
            continue
        since, until = mine[0] - other.span[1], other.span[0] - mine[1]
        if max(since, until) > SAME_DAY or not (segments := other.report().segments):
            continue
        if since >= timedelta():
            before.append((since, segments[-1].offset))
        elif until >= timedelta():
            after.append((until, segments[0].offset))
        else:
            return None
    nearest = [min(side) for side in (before, after) if side]
    offsets = [offset for _, offset in nearest]
    if not offsets or max(offsets) - min(offsets) > rules.clock_tolerance or abs(offsets[0]) > MOST:
        return None
    return KnownOffset(min(nearest)[1], "by its other drives of that day")


def _camera_span(frames: Sequence[Frame], zone: tzinfo) -> tuple[timedelta, timedelta] | None:
    times = [microseconds(frame.camera_time, zone) for frame in frames if frame.camera_time is not None]
    return (min(times) * MICROSECOND, max(times) * MICROSECOND) if times else None


# -- by places --------------------------------------------------------------------------------------------------------
def has_places(frames: Iterable[Frame]) -> bool:
    """Whether ``offset_by_places`` has anything to go by."""
    return any(_place(frame) and frame.camera_time for frame in frames)


def offset_by_places(frames: Sequence[Frame], segments: Sequence[Segment], rules: Rules) -> KnownOffset | None:
    """How far off the clock is, by pictures that have a place: when was the track there?

    Args:
        frames: of one drive without any GPS time.
        segments: of all tracks that may be of this vehicle, as far off in time as ``MOST``.
        rules: the zone of camera times; ``track_gap``.

    Returns:
        The median, if nearly all of at least ``LEAST`` places along the way agree; else None.
    """
    shots = _along_the_way(frames, rules.zone)
    grid = _Grid(segments, (rules.track_gap or timedelta()).total_seconds())
    found = [at - when for at, place in shots if (when := grid.when_near(place)) is not None]
    if len(found) < LEAST:
        return None
    middle = median(found)
    agreeing = [offset for offset in found if abs(offset - middle) <= AGREE_S]
    if len(agreeing) < LEAST or len(agreeing) < (1 - MOST_STRAYS) * len(shots) or abs(middle) > MOST.total_seconds():
        return None
    return KnownOffset(timedelta(seconds=median(agreeing)), "by the track")


def _place(frame: Frame) -> tuple[float, float] | None:
    if frame.verdict is not Verdict.USABLE or frame.latitude is None or frame.longitude is None:
        return None
    return frame.latitude, frame.longitude


def _along_the_way(frames: Sequence[Frame], zone: tzinfo) -> list[tuple[float, tuple[float, float]]]:
    """Camera times (seconds since 1970) and places, at least ``STEP_M`` apart, ``MOST_SHOTS`` evenly taken of them."""
    timed = sorted(
        (microseconds(frame.camera_time, zone) * MICROSECOND / timedelta(seconds=1), place)
        for frame in frames
        if frame.camera_time is not None and (place := _place(frame)) is not None
    )
    apart: list[tuple[float, tuple[float, float]]] = []
    for shot in timed:
        if not apart or distance_m(apart[-1][1], shot[1]) >= STEP_M:
            apart.append(shot)
    return apart[:: max(1, math.ceil(len(apart) / MOST_SHOTS))]


class _Grid:
    """The pieces of tracks by where they are, in cells of about 100 m."""

    _CELL = math.degrees(100 / EARTH_RADIUS_M)

    def __init__(self, segments: Sequence[Segment], gap_s: float) -> None:
        self._segments = segments
        self._gap_s = gap_s
        self._cells: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for number, segment in enumerate(segments):
            for index in range(len(segment)):
                self._cells[self._cell(segment.place(index))].append((number, index))

    def _cell(self, place: tuple[float, float]) -> tuple[int, int]:
        return math.floor(place[0] / self._CELL), math.floor(place[1] / self._CELL)

    def when_near(self, place: tuple[float, float]) -> float | None:
        """When a track was nearest to ``place`` (seconds since 1970), if that was within ``NEAR_M``."""
        row, column = self._cell(place)
        wide = math.ceil(1 / max(math.cos(math.radians(place[0])), 0.1))  # degrees of longitude are shorter
        near = [
            self._nearest_on(place, number, index)
            for r in (row - 1, row, row + 1)
            for c in range(column - wide, column + wide + 1)
            for number, index in self._cells.get((r, c), ())
        ]
        away, when = min(near, default=(math.inf, 0.0))
        return when if away <= NEAR_M else None

    def _nearest_on(self, place: tuple[float, float], number: int, index: int) -> tuple[float, float]:
        """Distance (m) and time of the nearest point of the two pieces that meet in a point of a track."""
        segment = self._segments[number]
        return min(self._on_piece(place, segment, *piece) for piece in self._pieces(segment, index))

    def _pieces(self, segment: Segment, index: int) -> Iterator[tuple[int, int]]:
        yield index, index
        for first in (index - 1, index):
            if 0 <= first < len(segment) - 1 and segment.times[first + 1] - segment.times[first] <= self._gap_s:
                yield first, first + 1

    @staticmethod
    def _on_piece(place: tuple[float, float], segment: Segment, first: int, last: int) -> tuple[float, float]:
        shrink = math.cos(math.radians(place[0]))
        (ax, ay), (bx, by) = (
            ((lon - place[1]) * shrink, lat - place[0]) for lat, lon in (segment.place(first), segment.place(last))
        )
        length = (bx - ax) ** 2 + (by - ay) ** 2
        part = min(max(-(ax * (bx - ax) + ay * (by - ay)) / length, 0.0), 1.0) if length else 0.0
        away = math.radians(math.hypot(ax + part * (bx - ax), ay + part * (by - ay))) * EARTH_RADIUS_M
        return away, segment.times[first] + part * (segment.times[last] - segment.times[first])
