"""When was each picture of one drive really taken? Pure: clocks come in as values.

The server prefers the camera clock to the satellites' whenever the camera writes sub-seconds and the GPS does not,
which every recent GoPro does; a camera clock five minutes, an hour or six years off is then stored as it is. But the
same pictures tell how far off it is: camera - GPS, which stays the same from picture to picture until somebody sets the
clock.

The guard, for all pictures of one drive in the order in which the camera wrote them:

1. **Compare** the clocks wherever the GPS time can be trusted (not before ``trusted_since``, not in the future, not
   standing still while the camera clock goes on).
2. **Segments**: the offset is a step function; it steps where the clock was set. Lone values are outliers.
3. **True time** = camera - the segment's median offset, or plain camera if that clock is right within the tolerance. Of
   a picture whose own two clocks disagree with its segment, that clock is believed which leaves it between its
   neighbours.
4. **Override** where the server would store something else by more than the tolerance, where we cannot know how it
   would read a time without offset, or where its mixture of two clocks would change the order of the drive.

One or two pictures are guarded in the same way: one is its own median; of two that disagree each has its own.

A drive without any comparison of its own may be told how far off its camera's clock is (``KnownOffset``): by hand, by
the same camera's other drives of that day, by a GPS track.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median, median_low
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from ailasd.sequencing import Frame
    from ailasd.triage import Rules

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH: Final = EPOCH.replace(tzinfo=None)
MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
COUNTER_TURNS: Final = 9999
"""DCF file numbers run from 0001 to 9999 and then start again at 0001."""

OLDEST: Final = int((datetime(1990, 1, 1, tzinfo=UTC) - EPOCH) / MICROSECOND)
"""No camera that writes EXIF took a picture before that."""
NEWEST: Final = int((datetime(2100, 1, 1, tzinfo=UTC) - EPOCH) / MICROSECOND)
"""The latest date to believe when our own clock cannot say what the future is."""
SAME_YEAR_US: Final = 366 * 86_400_000_000
"""A GPS date too old to be trusted (1980, 2006) is nonsense if the camera clock is further than this from it."""
AHEAD: Final = timedelta(days=1)
"""A date may be this far after our own clock: it may be slow, and a local time read in a wrong zone is hours off."""
STALEST_US: Final = 30_000_000
"""Phones repeat an old fix (seen: 23 s old). Noise in camera - GPS is believed up to this."""
ENOUGH_FOR_NOISE: Final = 5
"""Below this many offsets a step cannot be told from noise; the tolerance then counts alone."""
ZONE_HALF_WIDTH_H: Final = 0.75
"""A zone of one hour is half an hour wide to each side of its meridian, and a quarter more for borders (Madagascar
needs 0.37). Further out the position may lie in another zone. Being strict is harmless: an override more is sent."""


@dataclass(frozen=True, slots=True)
class KnownOffset:
    """How far off a camera clock is, known from elsewhere than the drive's own pictures.

    Attributes:
        offset: camera - true time; positive when the camera clock is fast.
        by: how it is known, to go on after "corrected": "by hand".
    """

    offset: timedelta
    by: str


@dataclass(frozen=True, slots=True)
class ClockSegment:
    """A stretch of a drive in which the camera clock was not touched.

    Attributes:
        offset: camera - GPS, the median; positive when the camera clock is fast.
        first, last: ids of its first and last picture, in the camera's own order.
        pictures: how many it has.
        compared: how many of them have both clocks, trusted.
    """

    offset: timedelta
    first: int
    last: int
    pictures: int
    compared: int


@dataclass(frozen=True, slots=True)
class ClockReport:
    """What the drive report says about the camera clock.

    Attributes:
        segments: in the camera's own order; empty if no picture allowed a comparison ("not checked").
        corrected: how many of the pictures judged now get a capture time of ours.
        sentence: for a person.
        checked: whether anything told how far off the camera clock is.
    """

    segments: tuple[ClockSegment, ...]
    corrected: int
    sentence: str
    checked: bool = True


@dataclass(frozen=True, slots=True)
class Capture:
    """The time of one picture.

    Attributes:
        at: when it was taken as the server will store it, aware UTC.
        source: "gps", "camera", or "corrected" (camera clock corrected by GPS).
        override: what to send as ``override_capture_time``, or None when the server gets it right by itself.
        instead: what the server would have stored without it; None if there is none, or nobody knows.
    """

    at: datetime
    source: str
    override: str | None = None
    instead: datetime | None = None


def microseconds(moment: datetime, zone: tzinfo) -> int:
    """Microseconds since 1970 UTC: integers neither round nor overflow, whatever year a camera writes.

    A naive time is read in ``zone``; in the hour that is repeated or skipped in autumn or spring with the smaller
    offset (standard time), as the server's reader does (pytz ``localize``).
    """
    if moment.tzinfo is not None:
        return (moment - EPOCH) // MICROSECOND
    twice = zone.utcoffset(moment), zone.utcoffset(moment.replace(fold=1 - moment.fold))
    return (moment - _NAIVE_EPOCH - min(offset or timedelta() for offset in twice)) // MICROSECOND


def moment_of(instant: int) -> datetime:
    """The aware UTC time of ``instant`` (microseconds since 1970), within what a datetime can say."""
    return EPOCH + min(max(instant, _FIRST), NEWEST) * MICROSECOND


def unwrapped(counters: Sequence[int]) -> dict[int, int]:
    """Each counter of one recording -> its place: the recording begins after the widest hole on the circle of 9999."""
    ring = sorted(set(counters))
    holes = [
        ((later - earlier) % COUNTER_TURNS, later) for earlier, later in zip([ring[-1], *ring], ring, strict=False)
    ]
    start = max(holes)[1] if len(ring) > 1 else ring[0]
    return {counter: (counter - start) % COUNTER_TURNS for counter in ring}


def spoken(duration: timedelta) -> str:
    """The two largest units of a duration: "5 min 2 s", "147 days 3 h"."""
    left = round(abs(duration.total_seconds()))
    parts = []
    for name, size in (("years", 31_557_600), ("days", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {name.removesuffix('s') if count == 1 and len(name) > 1 else name}")
    return " ".join(parts[:2]) or "0 s"


@dataclass(slots=True)
class _Reading:
    """One picture on its way through the guard; all times in microseconds since 1970 UTC."""

    frame: Frame
    camera: int | None
    gps: int | None  # trusted, else None
    stored: int | None  # what the server would store by itself; None: we cannot know
    shift: int | None = None  # camera - GPS of its segment
    true: int | None = None
    ours: bool = False  # an override is sent


def guard(
    frames: Sequence[Frame], rules: Rules, now: datetime | None, known: KnownOffset | None = None
) -> tuple[dict[int, Capture], ClockReport]:
    """The capture time of each picture of one drive, and the report on its camera clock.

    Args:
        frames: all of one drive and camera, in any order; those ``decided`` before only help.
        rules: tolerance, zone, since when GPS dates are trusted.
        now: our own clock, aware; None when it is not trusted.
        known: counts if no picture of the drive allows a comparison.

    Returns:
        Frame id -> capture (pictures without a believable time are missing), and the report.
    """
    latest = NEWEST if now is None else (now + AHEAD - EPOCH) // MICROSECOND
    order = _in_camera_order(_readings(frames, rules, latest))
    _drop_stale_gps(order, rules.clock_tolerance // MICROSECOND)
    compared = [index for index, reading in enumerate(order) if _offset(reading) is not None]
    offsets = [offset for reading in order if (offset := _offset(reading)) is not None]
    step, right = _widths(offsets, rules.clock_tolerance)

    segments = _segments(order, compared, offsets, step)
    known = None if segments else known
    for reading in order if known else ():
        assert known is not None
        reading.shift = known.offset // MICROSECOND
    _find_true_times(order, step, right)
    _decide_overrides(order, right)
    captures = {
        reading.frame.id: _capture(reading, rules.zone)
        for reading in order
        if reading.true is not None and OLDEST <= reading.true <= latest
    }
    ours = [reading.frame for reading in order if reading.ours and reading.frame.id in captures]
    corrected = sum(not frame.decided for frame in ours)
    sentence = _sentence(order, segments, right, known, corrected=bool(ours))
    return captures, ClockReport(segments, corrected, sentence, bool(segments or known))


def median_offsets(offsets: list[int], tolerance: timedelta) -> tuple[list[int], int]:
    """The offset of each segment, and up to which a clock counts as right; all in microseconds.

    Args:
        offsets: camera - true time of one picture after another.
        tolerance: see ``triage.Rules.clock_tolerance``.
    """
    step, right = _widths(offsets, tolerance)
    return [median_low(offsets[start:end]) for start, end in _stretches(offsets, step)], right


def _widths(offsets: list[int], tolerance: timedelta) -> tuple[int, int]:
    """How far the offset must jump to be a step, and up to which it is right: both grow with the receiver's noise."""
    least = tolerance // MICROSECOND
    noise = median(abs(b - a) for a, b in pairwise(offsets)) if len(offsets) >= ENOUGH_FOR_NOISE else 0
    step, right = (int(min(max(least, times * noise), max(least, STALEST_US))) for times in (4, 2))
    return step, right


def _stretches(offsets: list[int], step: int) -> list[tuple[int, int]]:
    """(first, one behind the last) of each stretch of ``offsets`` without a step; lone values are none."""
    smooth = _without_lone_values(offsets)
    cuts = [i for i in range(1, len(smooth)) if abs(smooth[i] - smooth[i - 1]) > step]
    return list(pairwise([0, *cuts, len(offsets)])) if offsets else []


def _readings(frames: Sequence[Frame], rules: Rules, latest: int) -> list[_Reading]:
    since = (rules.trusted_since - EPOCH) // MICROSECOND
    longitudes = [frame.longitude for frame in frames if frame.longitude is not None]
    somewhere = median(longitudes) if longitudes else None
    readings = []
    for frame in frames:
        camera = None if frame.camera_time is None else microseconds(frame.camera_time, rules.zone)
        gps = None if frame.gps_time is None else microseconds(frame.gps_time, UTC)
        stored = gps if frame.server_takes == "gps" else camera
        longitude = somewhere if frame.longitude is None else frame.longitude
        if frame.server_takes != "gps" and not _zone_is_sure(frame, longitude, rules.zone):
            stored = None
        if gps is not None and not since <= gps <= latest:
            gps = None
        readings.append(_Reading(frame, camera, gps, stored))
    return readings


def _zone_is_sure(frame: Frame, longitude: float | None, zone: tzinfo) -> bool:
    """Whether the server, which reads naive times in the zone of the position, will read this one as we do."""
    if frame.camera_time is None or frame.camera_time.tzinfo is not None:
        return True
    offset = (zone.utcoffset(frame.camera_time) or timedelta()) - (zone.dst(frame.camera_time) or timedelta())
    return longitude is not None and abs(longitude / 15 - offset / timedelta(hours=1)) <= ZONE_HALF_WIDTH_H


def _offset(reading: _Reading) -> int | None:
    return None if reading.camera is None or reading.gps is None else reading.camera - reading.gps


def _in_camera_order(readings: list[_Reading]) -> list[_Reading]:
    """As the camera wrote them: each recording by counter, which no clock disturbs; without one by camera clock."""
    offsets = [offset for reading in readings if (offset := _offset(reading)) is not None]
    usual = median_low(offsets) if offsets else 0
    recordings: dict[tuple[str | None, bool], list[_Reading]] = {}
    for reading in readings:
        recordings.setdefault((reading.frame.group, reading.frame.counter is None), []).append(reading)

    def by_camera(reading: _Reading) -> tuple[int, int]:
        if reading.camera is not None:
            return reading.camera, reading.frame.id
        return (0 if reading.gps is None else reading.gps + usual), reading.frame.id

    def start(recording: list[_Reading]) -> tuple[int, int]:
        return min((by_camera(r) for r in recording if r.camera is not None or r.gps is not None), default=(0, 0))

    for recording in recordings.values():
        numbers = [r.frame.counter for r in recording if r.frame.counter is not None]
        place = unwrapped(numbers) if numbers else {}
        recording.sort(key=lambda r, place=place: (place.get(r.frame.counter, 0), by_camera(r)))  # type: ignore[misc]
    return [reading for recording in sorted(recordings.values(), key=start) for reading in recording]


def _drop_stale_gps(order: list[_Reading], tolerance: int) -> None:
    """Forget GPS times that repeat an earlier picture's although the camera clock went on: that fix is old."""
    first: _Reading | None = None
    for reading in order:
        if reading.gps is None or reading.camera is None:
            continue
        if first is None or first.gps != reading.gps or first.camera is None:
            first = reading
        elif reading.camera - first.camera > tolerance:
            reading.gps = None


def _segments(order: list[_Reading], compared: list[int], offsets: list[int], step: int) -> tuple[ClockSegment, ...]:
    """Cut where the offset steps, give each picture the median offset of its segment, and describe the segments."""
    if not offsets:
        return ()
    stretches = _stretches(offsets, step)
    shifts = [median_low(offsets[start:end]) for start, end in stretches]
    starts = [0]
    for (cut, _), (before, after) in zip(stretches[1:], pairwise(shifts), strict=True):
        starts.append(_where_set(order, compared[cut - 1], compared[cut], after - before))
    segments = []
    for (start, end), shift, (first, stop) in zip(stretches, shifts, pairwise([*starts, len(order)]), strict=True):
        for reading in order[first:stop]:
            reading.shift = shift
        ids = order[first].frame.id, order[stop - 1].frame.id
        segments.append(ClockSegment(shift * MICROSECOND, *ids, stop - first, end - start))
    return tuple(segments)


def _without_lone_values(values: list[int]) -> list[int]:
    """The median of each value and its two neighbours: keeps steps, drops values that only one picture has."""
    if len(values) < 3:
        return values
    return [median_low(values[min(max(i - 1, 0), len(values) - 3) :][:3]) for i in range(len(values))]


def _where_set(order: list[_Reading], last: int, first: int, by: int) -> int:
    """Between two compared pictures: the index of the first picture after the clock was set ``by`` so much."""
    dated = [(i, camera) for i in range(last, first + 1) if (camera := order[i].camera) is not None]
    return min(pairwise(dated), key=lambda pair: abs(pair[1][1] - pair[0][1] - by))[1][0]


def _find_true_times(order: list[_Reading], step: int, right: int) -> None:
    disputed = []
    for index, reading in enumerate(order):
        if reading.camera is None or reading.shift is None:
            reading.true = reading.gps if reading.camera is None else reading.camera
            continue
        reading.true = reading.camera - (reading.shift if abs(reading.shift) > right else 0)
        if reading.gps is not None and abs(reading.camera - reading.gps - reading.shift) > step:
            disputed.append(index)
    if disputed:
        _settle(order, disputed)


def _settle(order: list[_Reading], disputed: list[int]) -> None:
    """Believe GPS, not the camera, of a picture that the camera clock alone would put out of the camera's own order."""
    doubtful = set(disputed)
    sure = [index for index, reading in enumerate(order) if index not in doubtful and reading.true is not None]
    place = 0
    for index in disputed:
        while place < len(sure) and sure[place] < index:
            place += 1
        before = order[sure[place - 1]].true if place else None
        after = order[sure[place]].true if place < len(sure) else None
        reading = order[index]
        if not _between(before, reading.true, after) and _between(before, reading.gps, after):
            reading.true = reading.gps


def _between(before: int | None, instant: int | None, after: int | None) -> bool:
    return instant is not None and (before is None or before <= instant) and (after is None or instant <= after)


def _decide_overrides(order: list[_Reading], right: int) -> None:
    """See 4. in the module's text. Without any comparison in the drive only nonsense is overridden."""
    judged = [reading for reading in order if reading.true is not None and not reading.frame.decided]
    for reading in judged:
        assert reading.true is not None
        if reading.stored is None:
            reading.ours = reading.shift is not None
        else:
            allowed = SAME_YEAR_US if reading.shift is None and reading.camera is not None else right
            reading.ours = abs(reading.stored - reading.true) > allowed
    final = [r.true if r.ours or r.stored is None else r.stored for r in sorted(judged, key=lambda r: r.true or 0)]
    if any(b < a for a, b in pairwise(final) if a is not None and b is not None):
        for reading in judged:
            reading.ours = reading.ours or (reading.camera is not None and reading.stored != reading.true)


def _capture(reading: _Reading, zone: tzinfo) -> Capture:
    assert reading.true is not None
    if not reading.ours:
        at = moment_of(reading.true if reading.stored is None else reading.stored)
        return Capture(at, "gps" if reading.frame.server_takes == "gps" else "camera")
    at = moment_of(reading.true)
    known = {reading.camera: "camera", reading.gps: "gps"}
    instead = None if reading.stored is None else moment_of(reading.stored)
    return Capture(at, known.get(reading.true, "corrected"), as_override(at, zone), instead)


def as_override(at: datetime, zone: tzinfo) -> str:
    """``override_capture_time``: ISO 8601 with offset and sub-seconds, in local time, as people will read it there.

    In UTC where the offset is negative and has minutes (-03:30): the server's writer turns that into -04:30.
    """
    local = at.astimezone(zone)
    offset = local.utcoffset() or timedelta()
    wrong_there = offset < timedelta() and offset % timedelta(hours=1)
    return (at if wrong_there else local).isoformat(timespec="microseconds")


def _sentence(
    order: list[_Reading],
    segments: tuple[ClockSegment, ...],
    right: int,
    known: KnownOffset | None,
    *,
    corrected: bool,
) -> str:
    """Holds for the whole drive, whatever part of it is judged now."""
    by = "by GPS time" if segments else "to the camera clock"
    if known:
        by = known.by
        text = f"camera clock {_said(known.offset, right)}"
        text += f", {by}" if text.endswith("right") else ""
    elif not segments:
        if any(reading.camera is not None for reading in order):
            text = "camera clock not checked: no picture of this drive has a GPS time that can be trusted"
        else:
            text = "no camera clock; the GPS time counts"
    else:
        said = [_said(segment.offset, right) for segment in segments]
        shown = [said[0]] + [f"then {b}" for a, b in pairwise(said) if a != b]
        text = "camera clock " + ", ".join(shown if len(shown) <= 4 else [*shown[:3], "and so on"])
    return f"{text}; corrected {by}" if corrected else text


def _said(offset: timedelta, right: int) -> str:
    if abs(offset) <= right * MICROSECOND:
        return "right"
    return f"{spoken(offset)} {'fast' if offset > timedelta() else 'slow'}"
