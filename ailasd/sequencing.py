"""Which pictures belong together: drives, not folders; and drives in parts that a server can complete. Pure.

A **drive** is what one camera took in one go. Cameras are apart (serial; without one, make and model). Of one camera:

1. *Same recording* (the group number of a GoPro: one press of the shutter): consecutive pictures belong together when
   the clock went on by no more than ``gap``, or by as much as the counter says (those in between may lie on another
   card). So a group number used again after a format is another drive: the counter began again, the time did not.
2. *Different recordings* belong together when no more than ``gap`` lies between them, unless they overlap: one camera
   makes one recording at a time, so those are two cameras of the same model.
3. *Which clock*: GPS where both pictures have it; else the camera's, but not between parts whose camera clocks are
   known to differ (a camera that starts in 2016 at each power-on). Consecutive counters join across a clock that was
   set, and with the camera clock across a wrong GPS time.
4. Pictures without any date follow their neighbours in the counter of their group; others without date stay together
   by file time. They never join two drives.
5. A drive that is known already takes new pictures in; two known drives are never merged.

The surest links are made first, ties by id: the order of the input does not matter. Importing a card in two goes, cut
at any time, gives the same drives as at once. That is not promised when the later pictures lie *between* the earlier
ones and close a gap there: both sides are known drives by then. Nor can two cameras be told apart that have the same
model, no serial, and the same group number (or none) at the same time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from statistics import median_low
from typing import TYPE_CHECKING, Final, TypeVar

from ailasd.capture import COUNTER_TURNS, EPOCH, MICROSECOND, microseconds
from ailasd.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import tzinfo

T = TypeVar("T")

TRUSTED_SINCE: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""GPS receivers without a fix say 1980, or 2006 (1024 weeks back). No camera of ours is older than this."""
LONGEST_PAUSE_US: Final = 6 * 3600 * 1_000_000
"""No recording loses its pictures for longer; a re-used group number comes back after a night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What judging a picture takes to know of it.

    Attributes:
        id: of its row; the only thing that results refer to.
        camera: ``Photo.camera``.
        group: the recording's number of a GoPro, or None.
        counter: NNNN of the file name, 0-9999, or None.
        camera_time: naive local or aware.
        gps_time: aware UTC; may be nonsense (1980).
        server_takes: which clock the server would store: "camera", "gps" or None.
        latitude, longitude: degrees, WGS 84.
        mtime: of the file on the card; naive is read in the zone of the vehicles.
        drive: the drive that it already belongs to.
        decided: it was judged earlier: context only.
        serial: of the camera, if it writes one.
    """

    id: int
    camera: str
    group: str | None = None
    counter: int | None = None
    name: str = ""
    camera_time: datetime | None = None
    gps_time: datetime | None = None
    server_takes: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    verdict: Verdict = Verdict.USABLE
    mtime: datetime | None = None
    drive: int | None = None
    decided: bool = False
    serial: str | None = None


def drives(
    frames: Iterable[Frame], *, gap: timedelta, zone: tzinfo, trusted_since: datetime = TRUSTED_SINCE
) -> list[tuple[Frame, ...]]:
    """Sort pictures into drives; the rule is this module's text.

    Args:
        frames: of any cameras, in any order; those with a ``drive`` keep it.
        gap: the longest pause within a drive.
        zone: in which naive camera times are read.
        trusted_since: aware; GPS dates before it do not count.

    Returns:
        The drives by the time of their first picture, the pictures of each by time; each frame is in exactly one.
    """
    cameras: defaultdict[str, list[_Shot]] = defaultdict(list)
    since = (trusted_since - EPOCH) // MICROSECOND
    for frame in sorted(frames, key=lambda frame: frame.id):
        cameras[frame.camera].append(_Shot.of(frame, zone, since))
    found = [part for shots in cameras.values() for part in _drives_of_camera(shots, gap // MICROSECOND)]
    for part in found:
        part.sort(key=_Shot.order)
    found.sort(key=lambda part: part[0].order())
    return [tuple(shot.frame for shot in part) for part in found]


def sequences(ordered: Sequence[T], *, most: int) -> list[list[T]]:
    """Cut a drive, given in the order of capture, into as few parts of at most ``most`` (>= 1) as will do.

    The parts are of even size (they differ by one at most), not filled in turn: 1001 pictures are 501 + 500, not
    1000 + 1. A part of one picture has no direction and no next, and comes out only where ``most`` allows nothing else.
    """
    parts = -(-len(ordered) // most)
    bounds = [len(ordered) * part // parts for part in range(parts + 1)] if parts else [0]
    return [list(ordered[start:end]) for start, end in pairwise(bounds)]


@dataclass(slots=True)
class _Shot:
    """A frame and its clocks in microseconds since 1970 UTC; only trusted GPS."""

    frame: Frame
    camera: int | None
    gps: int | None
    mtime: int | None

    @classmethod
    def of(cls, frame: Frame, zone: tzinfo, since: int) -> _Shot:
        camera, gps, mtime = (
            None if moment is None else microseconds(moment, zone)
            for moment in (frame.camera_time, frame.gps_time, frame.mtime)
        )
        return cls(frame, camera, gps if gps is not None and gps >= since else None, mtime)

    @property
    def dated(self) -> bool:
        return self.camera is not None or self.gps is not None

    def order(self) -> tuple[bool, int, int, int]:
        """By time; those without date last, by counter."""
        time = self.camera if self.gps is None else self.gps
        return time is None, time or 0, self.frame.counter or 0, self.frame.id


@dataclass(frozen=True, slots=True)
class _Link:
    """Two pictures that may belong together; smaller ``rank`` is surer evidence."""

    rank: tuple[int, bool, int, int, int]
    a: _Shot
    b: _Shot
    by_camera: bool = False


class _Part:
    """Pictures found to belong together so far, and what is known of them as a whole."""

    def __init__(self, shot: _Shot) -> None:
        self.shots = [shot]
        self.drive = shot.frame.drive
        self.gps = _span(shot.gps)
        self.camera = _span(shot.camera)
        self.offset = _span(None if shot.gps is None or shot.camera is None else shot.camera - shot.gps)

    def take(self, other: _Part) -> None:
        self.shots += other.shots
        self.drive = other.drive if self.drive is None else self.drive
        self.gps = _both(self.gps, other.gps)
        self.camera = _both(self.camera, other.camera)
        self.offset = _both(self.offset, other.offset)


_Span = tuple[int, int] | None


def _span(instant: int | None) -> _Span:
    return None if instant is None else (instant, instant)


def _both(a: _Span, b: _Span) -> _Span:
    return a or b if a is None or b is None else (min(a[0], b[0]), max(a[1], b[1]))


def _between(a: _Span, b: _Span) -> int | None:
    """Microseconds from one span to the other, negative by how much they overlap; None if one is unknown."""
    return None if a is None or b is None else max(a[0], b[0]) - min(a[1], b[1])


def _drives_of_camera(shots: list[_Shot], gap: int) -> list[list[_Shot]]:
    part_of = _known_or_alone(shots)
    for link in sorted(_links([shot for shot in shots if shot.dated], gap), key=lambda link: link.rank):
        a, b = part_of[link.a.frame.id], part_of[link.b.frame.id]
        if a is b or not _may_join(a, b, link, gap):
            continue
        if len(a.shots) < len(b.shots):
            a, b = b, a
        a.take(b)
        part_of.update((shot.frame.id, a) for shot in b.shots)
    homeless = _place_undated(shots, part_of)
    parts = {id(part): part for part in part_of.values()}
    return [part.shots for part in [*parts.values(), *_by_file_time(homeless, gap)]]


def _known_or_alone(shots: list[_Shot]) -> dict[int, _Part]:
    """Frame id -> part: the known drives whole, each new dated picture by itself."""
    drives: dict[int, _Part] = {}
    part_of: dict[int, _Part] = {}
    for shot in shots:
        drive = shot.frame.drive
        if drive in drives:
            drives[drive].take(_Part(shot))
            part_of[shot.frame.id] = drives[drive]
        elif drive is not None or shot.dated:
            part_of[shot.frame.id] = _Part(shot)
            if drive is not None:
                drives[drive] = part_of[shot.frame.id]
    return part_of


def _may_join(a: _Part, b: _Part, link: _Link, gap: int) -> bool:
    if a.drive is not None and b.drive is not None and a.drive != b.drive:
        return False
    if link.by_camera and (_between(a.offset, b.offset) or 0) > gap:
        return False  # two clocks, or one that was set in between: its times cannot be compared
    if link.rank[0] == _COUNTS_ON:
        return _camera_agrees(link.a, link.b, gap) or (_between(a.gps, b.gps) or 0) <= LONGEST_PAUSE_US
    if link.rank[0] >= _OTHER_GROUP and link.a.frame.group and link.b.frame.group:
        apart = _between(a.gps, b.gps)
        if apart is None:
            apart = _between(a.camera, b.camera)
        return apart is None or apart > -gap
    return True


_SAME_GROUP, _COUNTS_ON, _OTHER_GROUP = 0, 2, 3  # ranks; one more when only the camera clock says so


def _links(shots: list[_Shot], gap: int) -> Iterator[_Link]:
    groups: defaultdict[str | None, list[_Shot]] = defaultdict(list)
    for shot in shots:
        groups[shot.frame.group].append(shot)
    for group, members in groups.items():
        interval = _interval(members)
        for by_camera, a, b, elapsed in _neighbours(members):
            if elapsed <= gap or (group is not None and _fits(a, b, elapsed, interval, gap)):
                yield _link(_SAME_GROUP + by_camera, a, b, elapsed, by_camera=by_camera)
        for a, b in _counting_on(members):
            if group is not None or _camera_agrees(a, b, gap):
                yield _link(_COUNTS_ON, a, b, 0)
    if len(groups) > 1:
        for by_camera, a, b, elapsed in _neighbours(shots):
            if elapsed <= gap and a.frame.group != b.frame.group:
                yield _link(_OTHER_GROUP + by_camera, a, b, elapsed, by_camera=by_camera)


def _link(rank: int, a: _Shot, b: _Shot, elapsed: int, *, by_camera: bool = False) -> _Link:
    """Of equal evidence the link within one import goes first, then the shorter one."""
    return _Link((rank, a.frame.drive != b.frame.drive, elapsed, a.frame.id, b.frame.id), a, b, by_camera)


def _neighbours(shots: list[_Shot]) -> Iterator[tuple[bool, _Shot, _Shot, int]]:
    """Consecutive pictures by GPS time; and by camera time, where not both have GPS time.

    By camera time also the new ones among themselves: a camera that starts in 2016 each morning has them lie between
    those of a known drive, picture by picture.
    """
    yield from ((False, a, b, elapsed) for a, b, elapsed in _consecutive(shots, lambda shot: shot.gps))
    new = [shot for shot in shots if shot.frame.drive is None]
    for among in (shots,) if len(new) in (0, len(shots)) else (new, shots):
        for a, b, elapsed in _consecutive(among, lambda shot: shot.camera):
            if a.gps is None or b.gps is None:
                yield True, a, b, elapsed


def _consecutive(shots: list[_Shot], clock: Callable[[_Shot], int | None]) -> Iterator[tuple[_Shot, _Shot, int]]:
    timed = [
        (time, shot.frame.counter or 0, shot.frame.id, shot) for shot in shots if (time := clock(shot)) is not None
    ]
    timed.sort(key=itemgetter(0, 1, 2))
    for (earlier, _, _, a), (later, _, _, b) in pairwise(timed):
        yield a, b, later - earlier


def _interval(members: list[_Shot]) -> int | None:
    """Microseconds from picture to picture in one recording, as its own clocks and counters tell, or None."""
    paces = [elapsed // step for _, a, b, elapsed in _neighbours(members) if (step := _step(a, b))]
    return median_low(paces) if len(paces) >= 2 else None  # one pair alone would always fit itself


def _step(a: _Shot, b: _Shot) -> int | None:
    if a.frame.counter is None or b.frame.counter is None:
        return None
    return (b.frame.counter - a.frame.counter) % COUNTER_TURNS


def _fits(a: _Shot, b: _Shot, elapsed: int, interval: int | None, gap: int) -> bool:
    """Whether as much time went by as the counter says, give or take a quarter (camera too hot, too slow)."""
    step = _step(a, b)
    if not step or interval is None or elapsed > LONGEST_PAUSE_US:
        return False
    return abs(elapsed - step * interval) <= max(gap, elapsed // 4)


def _counting_on(members: list[_Shot]) -> Iterator[tuple[_Shot, _Shot]]:
    """Pictures with consecutive counters, where neither counter occurs twice: a re-used number says nothing."""
    holders: defaultdict[int, list[_Shot]] = defaultdict(list)
    for shot in members:
        if shot.frame.counter is not None:
            holders[shot.frame.counter % COUNTER_TURNS].append(shot)
    for counter, (first, *more) in holders.items():
        following = holders.get((counter + 1) % COUNTER_TURNS, [])
        if not more and len(following) == 1 and following[0] is not first:
            yield first, following[0]


def _camera_agrees(a: _Shot, b: _Shot, gap: int) -> bool:
    """Counter and camera clock went on together: then it is a GPS time that is wrong, if one says otherwise."""
    return a.camera is not None and b.camera is not None and 0 <= b.camera - a.camera <= gap


def _place_undated(shots: list[_Shot], part_of: dict[int, _Part]) -> list[_Shot]:
    """Put new pictures without date to their neighbours in the counter of their group; return those that have none.

    A part that has a picture of this very group and counter is another recording.
    """
    shelves: defaultdict[str | None, list[_Shot]] = defaultdict(list)
    taken = set()
    for shot in shots:
        if shot.dated and shot.frame.group is not None and shot.frame.counter is not None:
            shelves[shot.frame.group].append(shot)
            taken.add((id(part_of[shot.frame.id]), shot.frame.group, shot.frame.counter))
    for shelf in shelves.values():
        shelf.sort(key=lambda s: (s.frame.counter or 0, s.frame.id))
    homeless = []
    for shot in (shot for shot in shots if shot.frame.id not in part_of):
        group, counter = shot.frame.group, shot.frame.counter
        near = [(distance, part_of[other.frame.id]) for other, distance in _near(shot, shelves.get(group, []))]
        fitting = [(distance, part) for distance, part in near if (id(part), group, counter) not in taken]
        if fitting:
            part_of[shot.frame.id] = min(fitting, key=lambda entry: entry[0])[1]
            part_of[shot.frame.id].shots.append(shot)
        else:
            homeless.append(shot)
    return homeless


_NEAR: Final = 4
"""How many pictures to each side are looked at: a group number is seldom used more often within one import."""


def _near(shot: _Shot, shelf: list[_Shot]) -> Iterator[tuple[_Shot, tuple[int, int, int]]]:
    """The nearest dated pictures of the group, with their distance: in file time if known, then in the counter."""
    if shot.frame.counter is None:
        return
    at = bisect_left(shelf, shot.frame.counter, key=lambda s: s.frame.counter or 0)
    for other in shelf[max(at - _NEAR, 0) : at + _NEAR]:
        apart = min((_step(shot, other) or 0), (_step(other, shot) or 0))
        time = other.camera if other.gps is None else other.gps
        pauses = 0 if shot.mtime is None or time is None else abs(shot.mtime - time) // LONGEST_PAUSE_US
        yield other, (pauses, apart, other.frame.id)


def _by_file_time(homeless: list[_Shot], gap: int) -> list[_Part]:
    """Pictures without date or neighbour: together while the file times go on; they cannot be sent as they are."""
    parts: list[_Part] = []
    previous: _Shot | None = None
    for shot in sorted(homeless, key=lambda s: (s.frame.group or "", s.mtime or 0, s.frame.id)):
        goes_on = previous is not None and previous.frame.group == shot.frame.group
        if goes_on and previous is not None and (shot.mtime or 0) - (previous.mtime or 0) <= gap:
            parts[-1].take(_Part(shot))
        else:
            parts.append(_Part(shot))
        previous = shot
    return parts
