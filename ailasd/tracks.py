"""What a GPX file says: where something was at which time. Pure: bytes in, values out.

Read with the standard library's expat, as a stream. gpxpy, the usual library, is the oracle of the tests: it builds the
whole document in memory first, so that a file of 45 MB takes 740 MB (here 60, with putting it into the catalogue), and
64 MiB of empty elements some GB. A small Pi has 512 MB.

Whoever drops a GPX file may be hostile: a document type is refused, and with it all entities (billion laughs, files
and addresses to fetch); sizes, depth and numbers are bounded.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from xml.parsers import expat

from ailasd.errors import AilasdError
from ailasd.triage import part_of_the_way

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_BYTES: Final = 64 * 1024 * 1024
"""A day at one point a second is some 10 MB."""
MAX_POINTS: Final = 500_000
"""Nearly six days at one point a second."""
MAX_SEGMENTS: Final = 1000
"""A logger that is switched off and on every few minutes makes some hundred a day. Each is tried for each picture."""
MAX_DEPTH: Final = 100
"""GPX itself needs five, extensions a few more."""
MAX_TEXT: Final = 64
"""Characters of a time or an elevation."""

_FIRST: Final = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
_LAST: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


class NoTrack(AilasdError):
    """This file is no GPX track that can be used, however often it is read."""


def _numbers() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Segment:
    """A stretch of a track without a break, ordered by time; no two points of the same time.

    Attributes:
        track: its id in the catalogue.
        name: the file's, for people.
        times: seconds since 1970 UTC.
        latitudes, longitudes: degrees, WGS 84.
        elevations: metres; nan where there is none.
    """

    track: int = 0
    name: str = ""
    times: array[float] = field(default_factory=_numbers)
    latitudes: array[float] = field(default_factory=_numbers)
    longitudes: array[float] = field(default_factory=_numbers)
    elevations: array[float] = field(default_factory=_numbers)

    def __len__(self) -> int:
        return len(self.times)

    def add(self, at: float, latitude: float, longitude: float, elevation: float = math.nan) -> None:
        """Put a point behind the others."""
        self.times.append(at)
        self.latitudes.append(latitude)
        self.longitudes.append(longitude)
        self.elevations.append(elevation)

    def rows(self) -> Iterator[tuple[float, float, float, float]]:
        """The points: time, latitude, longitude, elevation."""
        return zip(self.times, self.latitudes, self.longitudes, self.elevations, strict=True)

    def place(self, index: int) -> tuple[float, float]:
        """Latitude and longitude of a point."""
        return self.latitudes[index], self.longitudes[index]

    def place_at(self, moment: datetime, gap: timedelta) -> tuple[float, tuple[float, float]] | None:
        """Where it was at ``moment``, between the points right before and after.

        Args:
            moment: aware.
            gap: the longest time between these two.

        Returns:
            The seconds between these two (0: a point of that very time), and (latitude, longitude). None if they are
            further apart, or if the segment begins after or ends before ``moment``.
        """
        at = moment.timestamp()
        after = bisect_left(self.times, at)
        if after == len(self) or (after == 0 and self.times[0] != at):
            return None
        if self.times[after] == at:
            return 0.0, self.place(after)
        apart = self.times[after] - self.times[after - 1]
        if apart > gap.total_seconds():
            return None
        part = (at - self.times[after - 1]) / apart
        return apart, part_of_the_way(self.place(after - 1), self.place(after), part)

    def in_order(self) -> Segment:
        """The same by time; of several points of the same time the first. Loggers and editors mix them up."""
        if all(a < b for a, b in zip(self.times, self.times[1:], strict=False)):
            return self
        ordered = Segment(self.track, self.name)
        for index in sorted(range(len(self)), key=self.times.__getitem__):
            if not ordered.times or self.times[index] > ordered.times[-1]:
                ordered.add(self.times[index], *self.place(index), self.elevations[index])
        return ordered


def read(chunks: Iterable[bytes]) -> list[Segment]:
    """The segments of a GPX file's tracks (1.0 or 1.1, any namespace); routes and waypoints have no time.

    A time without zone is UTC, as GPX wants it. Points without time or with an impossible time or position are left
    out; 0, 0 is impossible too: the server's own rule.

    Args:
        chunks: the file's bytes, in pieces of any size; they are asked for as they are needed.

    Raises:
        NoTrack: it is no GPX file, it is hostile, or it has no point with time and position; the text says which.
    """
    reader, taken = _Reader(), 0
    try:
        for chunk in chunks:
            taken += len(chunk)
            if taken > MAX_BYTES:
                raise NoTrack(f"it is larger than {MAX_BYTES >> 20} MiB, which no track needs: export it in parts")
            reader.parser.Parse(chunk, False)
        reader.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise NoTrack(f"it is no whole XML file: {expat.ErrorString(error.code)} in line {error.lineno}") from error
    except (ValueError, LookupError) as error:  # an encoding that Python does not know, or that has no bytes of its own
        raise NoTrack("its text is in an encoding that cannot be read: export it as UTF-8") from error
    segments = [segment.in_order() for segment in reader.segments if len(segment)]
    if not segments:
        raise NoTrack("no point of it has both a time and a position")
    return segments


_WAY: Final = ("gpx", "trk", "trkseg", "trkpt")


class _Reader:
    """Takes track points out of a stream of XML."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self._points = 0
        self._depth = 0
        self._on_the_way = 0  # how many of the elements around are those of _WAY
        self._wanted: str | None = None  # whose text is being said
        self._place: tuple[float, float] | None = None
        self._said: dict[str, str] = {}
        # names without their namespace's prefix, because GPX 1.0, 1.1 and nonsense are read alike
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _doctype(self, *_: object) -> None:
        raise NoTrack("it has a document type (DOCTYPE), which no GPX file needs and hostile ones have")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._wanted = None
        if self._depth == self._on_the_way:
            self._step(name.rpartition(" ")[2], attributes)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NoTrack(f"its elements lie more than {MAX_DEPTH} deep in one another")

    def _step(self, name: str, attributes: dict[str, str]) -> None:
        """An element right inside of the innermost one of ``_WAY`` begins."""
        if self._depth == len(_WAY):
            self._wanted = name if name in {"time", "ele"} else None
        elif name == _WAY[self._depth]:
            self._on_the_way += 1
            if name == "trkseg":
                if not self.segments or len(self.segments[-1]):  # one without a point is none
                    self.segments.append(Segment())
            elif name == "trkpt":
                self._place, self._said = _position(attributes), {}
        elif self._depth == 0:
            raise NoTrack("it is XML, but no GPX")

    def _text(self, text: str) -> None:
        if self._wanted:
            self._said[self._wanted] = (self._said.get(self._wanted, "") + text)[: MAX_TEXT + 1]

    def _end(self, _name: str) -> None:
        self._wanted = None
        self._depth -= 1
        if self._depth < self._on_the_way:
            if self._on_the_way == len(_WAY):
                self._point()
            self._on_the_way = self._depth

    def _point(self) -> None:
        at = _time(self._said.get("time", ""))
        if at is None or self._place is None:
            return
        self._points += 1
        if self._points > MAX_POINTS:
            raise NoTrack(f"it has more than {MAX_POINTS} points: export it in parts")
        if len(self.segments) > MAX_SEGMENTS:
            raise NoTrack(f"it has more than {MAX_SEGMENTS} pieces: export it in parts")
        self.segments[-1].add(at, *self._place, _elevation(self._said.get("ele", "")))


def _position(attributes: dict[str, str]) -> tuple[float, float] | None:
    try:
        latitude, longitude = float(attributes["lat"]), float(attributes["lon"])
    except (KeyError, ValueError):
        return None
    possible = abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude, longitude) != (0, 0)  # nan is not
    return (latitude, longitude) if possible else None


def _time(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip()) if len(text) <= MAX_TEXT else None
    except ValueError:
        return None
    if moment is None:
        return None
    try:
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):  # the year 1 east of Greenwich
        return None
    return at if _FIRST <= at <= _LAST else None


def _elevation(text: str) -> float:
    try:
        metres = float(text) if len(text) <= MAX_TEXT else math.nan
    except ValueError:
        return math.nan
    return metres if abs(metres) < 100_000 else math.nan
