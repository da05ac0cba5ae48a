"""Which pictures of one drive are worth sending, when were they really taken, and where? Pure.

In this order, because each judgement builds on the one before: the time (``capture``); positions that cannot be
true; missing ones, from a GPX track or (if wanted) between true ones; parked runs.

Nothing is ever dropped: what is not kept is held with its reason.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from ailasd.capture import Capture, ClockReport, as_override, guard, spoken
from ailasd.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

    from ailasd.capture import KnownOffset
    from ailasd.sequencing import Frame
    from ailasd.tracks import Segment

EARTH_RADIUS_M: Final = 6_371_000.0
"""The server's own."""
FROZEN_AT_LEAST: Final = 3
"""Two equal positions in a row are chance or a slow receiver; three are a pattern."""
FIX_AGE: Final = timedelta(seconds=1)
"""Receivers give one fix a second: two pictures closer in time than that may be one second of driving apart."""
LARGEST_LIE: Final = 1 / 3
"""If more of a drive's positions than this were untrue, the times are the likelier culprit, and no position is held."""
ANOTHER_VEHICLE_M: Final = 200.0
"""A track further than this from where the pictures say that they were is somebody else's. Two receivers in one vehicle
differ by some 10 m, and a clock within the tolerance by 3 s of driving: 100 m at 120 km/h."""
PIECES_BACK: Final = 50
"""How many jumps of the track are looked across to find a way around wrong fixes; bounds the work on a mad receiver."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a person may configure of the judgement; the defaults are the field's.

    Attributes:
        clock_tolerance: a camera clock off by no more than this is right.
        zone: where the vehicles drive; in it a camera time without offset is read.
        parked_after, parked_within_m: a stay longer than this within this many metres is a parked run.
        parked_keep_every: of a parked run first, last, and one in this time are kept.
        fill_gap: the longest gap between two fixes in which positions are filled in; None: never.
        track_gap: the same between two points of a GPX track; None: no position is taken from tracks.
        camera_offset: camera clock - true time of drives that cannot tell it themselves; None: estimated (``offsets``).
        fastest_kmh: what no vehicle does.
        trusted_since: GPS dates before it are a receiver without a fix (1980, 2006).
    """

    clock_tolerance: timedelta = timedelta(seconds=3)
    zone: tzinfo = field(default_factory=lambda: ZoneInfo("Indian/Antananarivo"))
    parked_after: timedelta = timedelta(seconds=60)
    parked_within_m: float = 15.0
    parked_keep_every: timedelta = timedelta(minutes=5)
    fill_gap: timedelta | None = None
    track_gap: timedelta | None = timedelta(seconds=30)
    camera_offset: timedelta | None = None
    fastest_kmh: float = 200.0
    trusted_since: datetime = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one picture.

    Attributes:
        keep: send it; else hold it for ``reason``.
        reason: parked, no_position, no_date, broken, position_untrusted, clock_untrusted; None if kept.
        why: one sentence for a person.
        captured: when it was taken, as the server will store it, aware UTC; None if nobody knows.
        captured_from: "gps", "camera" or "corrected" (camera clock corrected by GPS).
        capture_override: ISO 8601 with offset and sub-seconds, to be sent as ``override_capture_time``; None if the
            server gets it right by itself.
        position: (latitude, longitude) in degrees; None if there is none to be trusted.
        position_from: "camera"; or "interpolated" or "gpx": then it must be sent as override.
        track: the name of the GPX track that it is from, or None.
    """

    id: int
    keep: bool
    reason: str | None
    why: str
    captured: datetime | None
    captured_from: str | None
    capture_override: str | None
    position: tuple[float, float] | None
    position_from: str | None
    track: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """One decision for each picture not decided before, by capture time (unknown times last), and the clock report."""

    decisions: tuple[Decision, ...]
    clock: ClockReport


@dataclass(frozen=True, slots=True)
class _Fix:
    """A picture at a time and place."""

    id: int
    at: datetime
    place: tuple[float, float]
    gps_time: datetime | None = None
    track: str | None = None  # the GPX track's name, if it is from one


def judge(
    frames: Sequence[Frame],
    rules: Rules,
    now: datetime | None = None,
    *,
    offset: KnownOffset | None = None,
    tracks: Sequence[Segment] = (),
) -> Judgement:
    """Judge the pictures of one drive.

    Args:
        frames: all of one drive in any order; those ``decided`` are context only: a parked run, a clock's offset or a
            gap may have begun with them.
        rules: see there.
        now: our own clock, aware; None when it is not trusted (no dates are in the future then).
        offset: of the camera clock, if the drive itself cannot tell.
        tracks: all that cover the time of the drive; which of them are of this vehicle is found out.
    """
    captures, clock = guard(frames, rules, now, offset)
    track = sorted(
        (fix for frame in frames if (fix := _fix(frame, captures)) is not None), key=lambda fix: (fix.at, fix.id)
    )
    untrue = _frozen(track, rules)
    untrue |= _jumps([fix for fix in track if fix.id not in untrue], rules)
    track = [fix for fix in track if fix.id not in untrue]
    filled = _from_tracks(frames, captures, track, tracks, rules)
    filled = _filled(frames, captures, track, rules.fill_gap) | filled
    track = sorted([*track, *filled.values()], key=lambda fix: (fix.at, fix.id))
    parked = _parked(track, rules)

    def reason(frame: Frame) -> str | None:
        if frame.verdict in (Verdict.BROKEN, Verdict.NO_DATE):
            return str(frame.verdict)
        if frame.verdict is Verdict.NO_POSITION and frame.id not in filled:
            return "no_position"
        if frame.id not in captures:
            return "clock_untrusted"
        if frame.id in untrue:
            return "position_untrusted"
        return "parked" if frame.id in parked else None

    places = {fix.id: fix.place for fix in track}
    decisions = [
        _decision(
            frame,
            reason(frame),
            captures.get(frame.id),
            places.get(frame.id),
            filled=filled.get(frame.id),
            zone=rules.zone,
        )
        for frame in frames
        if not frame.decided
    ]
    decisions.sort(key=lambda d: (d.captured is None, d.captured or rules.trusted_since, d.id))
    return Judgement(tuple(decisions), clock)


def _fix(frame: Frame, captures: dict[int, Capture]) -> _Fix | None:
    capture = captures.get(frame.id)
    if capture is None or frame.verdict is not Verdict.USABLE or frame.latitude is None or frame.longitude is None:
        return None
    return _Fix(frame.id, capture.at, (frame.latitude, frame.longitude), frame.gps_time)


_WHY: Final = {
    "broken": "The picture is damaged.",
    "no_date": "Neither clock wrote a date into it.",
    "no_position": "It has no GPS position: the receiver had no fix.",
    "clock_untrusted": "Its date is impossible, and no other clock tells the true one.",
    "position_untrusted": "Its position cannot be true: no vehicle is that fast, or the receiver stood still.",
    "parked": "The vehicle was parked: neighbouring pictures show the same place.",
}


def _decision(
    frame: Frame,
    reason: str | None,
    capture: Capture | None,
    place: tuple[float, float] | None,
    *,
    filled: _Fix | None,
    zone: tzinfo,
) -> Decision:
    why = _WHY[reason] if reason else "It shows where and when it was taken."
    track = filled.track if filled else None
    if not reason and filled:
        why = "Its position was filled in between those before and after it."
        if track is not None:
            why = f"Its position is from the GPX track {track}."
    if not reason and capture is not None and capture.override is not None:
        why = f"{why} Its time is sent along, since the server would have {_wrong(capture)}."
    return Decision(
        id=frame.id,
        keep=reason is None,
        reason=reason,
        why=why,
        captured=capture.at if capture else None,
        captured_from=capture.source if capture else None,
        capture_override=_time_to_send(capture, zone, with_place=track is not None),
        position=place,
        position_from=None if place is None else "camera" if not filled else "interpolated" if track is None else "gpx",
        track=track,
    )


def _time_to_send(capture: Capture | None, zone: tzinfo, *, with_place: bool) -> str | None:
    """A place of a track holds for one moment: that goes along, since the server may read the clock in another zone."""
    if capture is None:
        return None
    return as_override(capture.at, zone) if capture.override is None and with_place else capture.override


def _wrong(capture: Capture) -> str:
    if capture.instead is None:
        return "read it in another time zone"
    off = capture.instead - capture.at
    return f"stored one {spoken(off)} too {'late' if off > timedelta() else 'early'}"


def distance_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance of two (latitude, longitude) in metres (haversine)."""
    lat_a, lat_b = math.radians(a[0]), math.radians(b[0])
    half_lat, half_lon = (lat_b - lat_a) / 2, math.radians(b[1] - a[1]) / 2
    h = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))


# -- positions that cannot be true -----------------------------------------------------------------------------------
def _reachable(a: _Fix, b: _Fix, rules: Rules) -> bool:
    seconds = max(abs(b.at - a.at), FIX_AGE).total_seconds()
    return distance_m(a.place, b.place) <= rules.fastest_kmh / 3.6 * seconds


def _frozen(track: list[_Fix], rules: Rules) -> set[int]:
    """Ids of pictures that repeat an earlier one's position because the receiver stood still, not the vehicle.

    Told by a GPS clock that stands still as well; or by what comes after: so far away that the vehicle must have been
    driving all the time. The first picture of such a run is where it says.
    """
    found: set[int] = set()
    start = 0
    for _, members in groupby(track, key=lambda fix: fix.place):
        run = list(members)
        end = start + len(run)
        if len(run) >= FROZEN_AT_LEAST:
            found |= _clock_stands(run)
            after = track[end : end + 2]  # two, because a single one may itself be a wrong fix
            if (
                after
                and not any(_reachable(run[-1], fix, rules) for fix in after)
                and _reachable(run[0], after[0], rules)
            ):
                found |= {fix.id for fix in run[1:]}
        start = end
    return found


def _clock_stands(run: list[_Fix]) -> set[int]:
    found: set[int] = set()
    for gps_time, members in groupby(run, key=lambda fix: fix.gps_time):
        same = list(members)
        # GPS time is in whole seconds: pictures of one second, and of the next by rounding, share one by right
        if gps_time is not None and len(same) >= FROZEN_AT_LEAST and same[-1].at - same[0].at > 2 * FIX_AGE:
            found |= {fix.id for fix in same[1:]}
    return found


def _jumps(track: list[_Fix], rules: Rules) -> set[int]:
    """Ids of the fewest pictures to leave out so that no vehicle need be faster than it can.

    The track is cut into pieces at each impossible speed; the heaviest chain of pieces that can be driven is true.
    """
    pieces: list[list[_Fix]] = []
    for fix in track:
        if pieces and _reachable(pieces[-1][-1], fix, rules):
            pieces[-1].append(fix)
        else:
            pieces.append([fix])
    if len(pieces) < 2:
        return set()
    weight: list[int] = []
    before: list[int | None] = []
    for index, piece in enumerate(pieces):
        ways = [i for i in range(max(index - PIECES_BACK, 0), index) if _reachable(pieces[i][-1], piece[0], rules)]
        best = max(ways, key=lambda i: weight[i], default=None)
        before.append(best)
        weight.append(len(piece) + (0 if best is None else weight[best]))
    true: set[int] = set()
    last: int | None = max(range(len(pieces)), key=lambda i: weight[i])
    while last is not None:
        true |= {fix.id for fix in pieces[last]}
        last = before[last]
    untrue = {fix.id for fix in track} - true
    return untrue if len(untrue) <= LARGEST_LIE * len(track) else set()


# -- GPX tracks ------------------------------------------------------------------------------------------------------
def _from_tracks(
    frames: Sequence[Frame], captures: dict[int, Capture], own: list[_Fix], tracks: Sequence[Segment], rules: Rules
) -> dict[int, _Fix]:
    """Pictures without position, on a track at that time; where several were, on the one with the nearest points.

    A place that no vehicle could reach from the camera's own ones is none, and never the other way round.
    """
    if rules.track_gap is None:
        return {}
    strangers = _of_other_vehicles(own, tracks, rules.track_gap)
    ours = [segment for segment in tracks if segment.track not in strangers]
    found: dict[int, _Fix] = {}
    for frame in frames:
        if frame.verdict is not Verdict.NO_POSITION or frame.id not in captures:
            continue
        at = captures[frame.id].at
        there = [(there, segment.name) for segment in ours if (there := segment.place_at(at, rules.track_gap))]
        if there:
            (_, place), name = min(there)
            found[frame.id] = _Fix(frame.id, at, place, track=name)
    wrong = _jumps(sorted([*own, *found.values()], key=lambda fix: (fix.at, fix.id)), rules)
    return {number: fix for number, fix in found.items() if number not in wrong}


def _of_other_vehicles(own: list[_Fix], tracks: Sequence[Segment], gap: timedelta) -> set[int]:
    """Ids of the tracks that were elsewhere when the camera knew where it was."""
    away: dict[int, list[float]] = {}
    times = [fix.at.timestamp() for fix in own]
    for segment in tracks:
        for fix in own[bisect_left(times, segment.times[0]) : bisect_right(times, segment.times[-1])]:
            if there := segment.place_at(fix.at, gap):
                away.setdefault(segment.track, []).append(distance_m(there[1], fix.place))
    return {track for track, distances in away.items() if median(distances) > ANOTHER_VEHICLE_M}


# -- gaps ------------------------------------------------------------------------------------------------------------
def _filled(
    frames: Sequence[Frame], captures: dict[int, Capture], track: list[_Fix], fill_gap: timedelta | None
) -> dict[int, _Fix]:
    """Pictures without position, on the straight line between the fixes around them; never at the ends of a drive."""
    found: dict[int, _Fix] = {}
    if fill_gap is None:
        return found
    times = [fix.at for fix in track]
    for frame in frames:
        if frame.verdict is not Verdict.NO_POSITION or frame.id not in captures:
            continue
        at = captures[frame.id].at
        after = bisect_left(times, at)
        if 0 < after < len(track) and track[after].at - track[after - 1].at <= fill_gap:
            a, b = track[after - 1], track[after]
            place = part_of_the_way(a.place, b.place, (at - a.at) / (b.at - a.at))
            found[frame.id] = _Fix(frame.id, at, place)
    return found


def part_of_the_way(a: tuple[float, float], b: tuple[float, float], part: float) -> tuple[float, float]:
    """The (latitude, longitude) between two not far apart, at ``part`` (0 to 1) of the straight line."""
    east = (b[1] - a[1] + 540) % 360 - 180  # the short way around
    longitude = (a[1] + part * east + 540) % 360 - 180
    return a[0] + part * (b[0] - a[0]), longitude


# -- parked ----------------------------------------------------------------------------------------------------------
def _parked(track: list[_Fix], rules: Rules) -> set[int]:
    """Ids of the pictures of parked runs that need not be sent."""
    held: set[int] = set()
    for run, anchor in _stays(track, rules):
        kept_at = run[0].at
        for fix in run[1:-1]:
            if fix.at - kept_at >= rules.parked_keep_every:
                kept_at = fix.at
            elif distance_m(fix.place, anchor) <= 2 * rules.parked_within_m:
                held.add(fix.id)  # further off it is no jitter: perhaps something to see
    return held


def _stays(track: list[_Fix], rules: Rules) -> Iterator[tuple[list[_Fix], tuple[float, float]]]:
    """The runs longer than ``parked_after`` within ``parked_within_m`` of where they begin, and that place."""
    smooth = _without_outliers(track, rules.parked_after)
    times = [fix.at for fix in track]
    start = 0
    while start < len(track):
        end = _end_of_stay(track, smooth, start, rules)
        if track[end - 1].at - track[start].at > rules.parked_after:
            yield track[start:end], smooth[start]
            start = end
        else:  # of thousands of pictures of one second, which only a hostile card has, one is tried
            start = bisect_left(times, track[start].at + FIX_AGE, start + 1)


def _end_of_stay(track: list[_Fix], smooth: list[tuple[float, float]], start: int, rules: Rules) -> int:
    """The index after the last picture near ``start``, looking over a few stray fixes not too far off."""
    end = start + 1
    for i in range(start + 1, len(track)):
        away = distance_m(smooth[start], smooth[i])
        if away <= rules.parked_within_m:
            end = i + 1
        elif away > 2 * rules.parked_within_m or track[i].at - track[end - 1].at > rules.parked_after / 2:
            break
    return end


def _without_outliers(track: list[_Fix], near: timedelta) -> list[tuple[float, float]]:
    """The places, each the median of itself and up to two before and after: a stray fix does not end a stay.

    A median leaves a way that goes on as it is. Only neighbours ``near`` in time count, as many before as after.
    """
    smooth = []
    for i, fix in enumerate(track):
        reach = 0
        while (
            reach < 2
            and i > reach
            and i + reach + 1 < len(track)
            and fix.at - track[i - reach - 1].at <= near
            and track[i + reach + 1].at - fix.at <= near
        ):
            reach += 1
        around = track[i - reach : i + reach + 1]
        smooth.append((sorted(f.place[0] for f in around)[reach], sorted(f.place[1] for f in around)[reach]))
    return smooth
