"""The way of a drive as lines on a small sheet, without any map beneath. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ailasd.journey import Kind
from ailasd.triage import EARTH_RADIUS_M

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ailasd.journey import Journey, Place

WIDTH: Final = 320.0
HEIGHT: Final = 200.0
EDGE: Final = 14.0
"""Around the way, for its marks and half of a line; the bar of the scale lies in it, at the bottom."""
FINEST: Final = 1.5
"""Nobody sees a bend, or a hole in a line, that is smaller than this."""
MARK: Final = 10.0
"""How large the mark of a stop is: of those that lie over each other one is drawn."""
MOST_POINTS: Final = 500
"""Of a sheet, at some 10 bytes: a drive of many bends, or whose fix was often lost, is drawn more coarsely. A page has
eight, and 100 kB for all that its first look needs."""
POINTS_OF_A_MARK: Final = 5
SMALLEST_M: Final = 100.0
"""A sheet is never less wide than that: a drive across a yard is no journey."""

Point = tuple[float, float]
"""From the left and from the top, in the units of the sheet."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What lies on the sheet of ``WIDTH`` x ``HEIGHT``.

    Attributes:
        driven, gaps, no_position: lines, as the ``d`` of SVG's path has them: gaps without pictures, and without
            positions; "" where there are none.
        parked: where the vehicle stood.
        scale_m: what the bar of ``scale`` units stands for, in metres.
    """

    driven: str
    gaps: str
    no_position: str
    parked: tuple[Point, ...]
    start: Point
    end: Point
    scale_m: int
    scale: float


def drawing(journey: Journey) -> Drawing | None:
    """The sheet; None: not a single picture has a place."""
    places = [place for one in journey.stretches for place in one.places]
    if not places:
        return None
    onto, metre = _sheet(places)
    scale_m = _round_below(WIDTH / 4 / metre)
    way = [(one.kind, [onto(place) for place in one.places]) for one in journey.stretches]
    finest = FINEST
    while (lines := _lines(way, finest)).points > MOST_POINTS:
        finest *= 1.3
    return Drawing(
        driven=_path(lines.of[Kind.DRIVEN]),
        gaps=_path(lines.of[Kind.GAP]),
        no_position=_path(lines.of[Kind.NO_POSITION]),
        parked=tuple(map(_rounded, lines.parked)),
        start=_rounded(onto(places[0])),
        end=_rounded(onto(places[-1])),
        scale_m=scale_m,
        scale=round(scale_m * metre, 1),
    )


def _sheet(places: Sequence[Place]) -> tuple[Callable[[Place], Point], float]:
    """From places to points with north at the top, and how many units of the sheet a metre is.

    Good to a thousandth over the some hundred kilometres of a day; one that crosses the 180th meridian, or a pole, is
    none of ours.
    """
    south, north = min(lat for lat, _ in places), max(lat for lat, _ in places)
    west, east = min(lon for _, lon in places), max(lon for _, lon in places)
    lat, lon = (south + north) / 2, (west + east) / 2
    degree_m = math.radians(EARTH_RADIUS_M)
    wide = degree_m * max(0.01, math.cos(math.radians(lat)))
    metre = min(
        (WIDTH - 2 * EDGE) / max(SMALLEST_M, (east - west) * wide),
        (HEIGHT - 3 * EDGE) / max(SMALLEST_M, (north - south) * degree_m),
    )

    def onto(place: Place) -> Point:
        x = WIDTH / 2 + (place[1] - lon) * wide * metre
        return x, (HEIGHT - EDGE) / 2 - (place[0] - lat) * degree_m * metre

    return onto, metre


class _Lines(NamedTuple):
    """What is drawn at some fineness."""

    of: dict[Kind, list[list[Point]]]
    parked: tuple[Point, ...]

    @property
    def points(self) -> int:
        drawn = sum(len(line) for lines in self.of.values() for line in lines)
        return drawn + POINTS_OF_A_MARK * len(self.parked)


def _lines(way: Sequence[tuple[Kind, list[Point]]], finest: float) -> _Lines:
    """Where a hole in the driven line is too small to be seen, the line goes on."""
    of: dict[Kind, list[list[Point]]] = {kind: [] for kind in Kind}
    parked: dict[Point, Point] = {}
    mark = MARK * finest / FINEST
    for kind, points in way:
        lines = of[kind]
        if kind is Kind.PARKED:
            x, y = points[0]
            parked.setdefault((x // mark, y // mark), (x, y))
        elif kind is Kind.DRIVEN and lines and math.dist(lines[-1][-1], points[0]) < finest:
            lines[-1] += points
        elif len(points) > 1 and (kind is Kind.DRIVEN or math.dist(points[0], points[-1]) >= finest):
            lines.append(list(points))
    seen = {kind: [_simple(line, finest) for line in lines] for kind, lines in of.items()}
    return _Lines(seen, tuple(parked.values()))


def _simple(points: Iterable[Point], finest: float) -> list[Point]:
    """Without the points that nobody could tell from the one before."""
    kept: list[Point] = []
    last: Point | None = None
    for point in points:
        last = point
        if not kept or math.dist(kept[-1], point) >= finest:
            kept.append(point)
    if last is not None and last != kept[-1]:
        kept.append(last)
    return kept


def _path(lines: Iterable[Sequence[Point]]) -> str:
    return "".join("M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in line) for line in lines)


def _rounded(point: Point) -> Point:
    return round(point[0], 1), round(point[1], 1)


def _round_below(metres: float) -> int:
    """1, 2 or 5 with noughts behind it, not more than this."""
    power = 10 ** math.floor(math.log10(max(1.0, metres)))
    return int(next(factor * power for factor in (5, 2, 1) if factor * power <= max(1.0, metres)))
