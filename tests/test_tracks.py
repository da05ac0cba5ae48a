"""GPX tracks: what a file says, and the pictures that get their position from it. gpxpy is the reading's oracle."""

from __future__ import annotations

import math
import threading
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpxpy
import gpxpy.gpx
import pytest
from effects import Effects
from hypothesis import given
from hypothesis import strategies as st
from kit import START, Kit, kits, md5
from sqlite_utils import Database

from ailasd.catalogue import migrations
from ailasd.config import Config, parse
from ailasd.config.check import as_toml
from ailasd.demo import pictures
from ailasd.errors import ConfigError
from ailasd.model import State, Verdict
from ailasd.offsets import Other, offset_by_places, offset_of_the_day
from ailasd.sequencing import Frame
from ailasd.sources.folder import FolderSource
from ailasd.tracking import Look, Tracking
from ailasd.tracks import MAX_BYTES, MAX_POINTS, MAX_SEGMENTS, NoTrack, Segment, read
from ailasd.triage import Rules, distance_m, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ailasd.capture import ClockReport

HERE = (-18.9, 47.5)
RULES = Rules()
HOUR = timedelta(hours=1)


def gpx(*segments: Sequence[tuple[datetime | None, tuple[float, float]]]) -> bytes:
    """A GPX file as a phone writes it."""
    body = "".join(
        "<trkseg>"
        + "".join(
            f'<trkpt lat="{lat:.7f}" lon="{lon:.7f}"><ele>1200.5</ele>'
            + (f"<time>{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z</time>" if at else "")
            + "</trkpt>"
            for at, (lat, lon) in segment
        )
        + "</trkseg>"
        for segment in segments
    )
    head = '<?xml version="1.0" encoding="UTF-8"?><gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1">'
    return f"{head}<trk><name>drive</name>{body}</trk></gpx>".encode()


def way(seconds: float, *, since: datetime = START, kmh: float = 40, every: float = 1, bearing: float = 200) -> Any:
    """Points along the road that ``pictures.drive`` takes."""
    return [
        (since + timedelta(seconds=s * every), pictures.along(HERE, bearing, s * every * kmh / 3.6))
        for s in range(int(seconds / every) + 1)
    ]


def segments_of(*data: bytes) -> list[Segment]:
    found = []
    for number, one in enumerate(data, 1):
        for segment in read([one]):
            segment.track, segment.name = number, f"{number}.gpx"
            found.append(segment)
    return found


# -- what a file says -------------------------------------------------------------------------------------------------
POINTS = st.tuples(
    st.floats(-90, 90, allow_subnormal=False),
    st.floats(-180, 180, allow_subnormal=False),
    st.one_of(st.none(), st.floats(-500, 9000)),
    st.one_of(
        st.none(),
        st.datetimes(datetime(1991, 1, 1), datetime(2090, 1, 1), timezones=st.sampled_from([None, UTC])),
    ),
)


@given(st.lists(st.lists(POINTS, max_size=20), max_size=4), st.sampled_from(["1.0", "1.1"]), st.integers(1, 5000))
def test_files_say_what_gpxpy_reads(tracks, version, cut):
    """Of any GPX file, however its bytes arrive, we read the dated points that gpxpy reads, by time."""
    made = gpxpy.gpx.GPX()
    for points in tracks:
        segment = gpxpy.gpx.GPXTrackSegment(
            [gpxpy.gpx.GPXTrackPoint(lat, lon, elevation=ele, time=at) for lat, lon, ele, at in points]
        )
        made.tracks.append(gpxpy.gpx.GPXTrack())
        made.tracks[-1].segments.append(segment)
    data = made.to_xml(version).encode()
    expected = []
    for segment in (segment for track in gpxpy.parse(data.decode()).tracks for segment in track.segments):
        dated: dict[float, tuple[float, float]] = {}
        for point in segment.points:
            if point.time and (point.latitude, point.longitude) != (0, 0):
                at = point.time if point.time.tzinfo else point.time.replace(tzinfo=UTC)
                dated.setdefault(at.timestamp(), (point.latitude, point.longitude))
        if dated:
            expected.append([(at, *dated[at]) for at in sorted(dated)])
    chunks = [data[i : i + cut] for i in range(0, len(data), cut)]
    if expected:
        assert [[row[:3] for row in segment.rows()] for segment in read(chunks)] == expected
    else:
        with pytest.raises(NoTrack, match="no point of it has both"):
            read(chunks)


def test_a_real_phones_file():
    """Prefixes, extensions with times of their own, fractions of seconds, zones, comments, CDATA are read rightly."""
    data = (
        b"\xef\xbb\xbf<g:gpx xmlns:g='http://www.topografix.com/GPX/1/0'><g:time>2020-01-01T00:00:00Z</g:time>"
        b"<g:wpt lat='1' lon='1'><g:time>2026-11-20T07:00:00Z</g:time></g:wpt><g:trk><g:trkseg>"
        b"<g:trkpt lat='-18.9' lon='47.5'><g:extensions><g:time>2001-01-01T00:00:00Z</g:time></g:extensions>"
        b"<!-- x --><g:time> <![CDATA[2026-11-20T10:00:00.250+03:00]]>\n</g:time></g:trkpt>"
        b"<g:trkpt lat='-18.91' lon='47.5'><g:ele>x</g:ele><g:time>2026-11-20T07:00:01</g:time></g:trkpt>"
        b"</g:trkseg></g:trk></g:gpx>"
    )
    (segment,) = read([data])
    assert [row[:3] for row in segment.rows()] == [
        (START.timestamp() + 0.25, -18.9, 47.5),
        (START.timestamp() + 1, -18.91, 47.5),  # a time without zone is UTC
    ]
    assert all(math.isnan(elevation) for *_, elevation in segment.rows())


@pytest.mark.parametrize(
    "point",
    [
        "lat='-18.9' lon='47.5'><time>yesterday</time>",
        "lat='-18.9' lon='47.5'><time>1980-01-06T00:00:00Z</time>",
        "lat='-18.9' lon='47.5'><time>9999-12-31T23:59:59-14:00</time>",
        "lat='-18.9' lon='47.5'><time>0001-01-01T00:00:00+14:00</time>",
        "lat='-18.9' lon='47.5'><time></time>",
        "lat='-18.9' lon='47.5'>",
        "lat='0' lon='0.0'><time>2026-11-20T07:00:00Z</time>",
        "lat='nan' lon='47.5'><time>2026-11-20T07:00:00Z</time>",
        "lat='-18.9' lon='inf'><time>2026-11-20T07:00:00Z</time>",
        "lat='-90.1' lon='47.5'><time>2026-11-20T07:00:00Z</time>",
        "lat='-18,9' lon='47,5'><time>2026-11-20T07:00:00Z</time>",
        "lon='47.5'><time>2026-11-20T07:00:00Z</time>",
        f"lat='-18.9' lon='47.5'><time>{'2026-11-20T07:00:00Z' * 10_000}</time>",
    ],
)
def test_impossible_points_are_left_out(point):
    """A point without a possible time and place is none; a file of only such points is no track, and says so."""
    text = "<gpx><trk><trkseg>{}</trkseg></trk></gpx>"
    with pytest.raises(NoTrack, match="no point of it has both"):
        read([text.format(f"<trkpt {point}</trkpt>").encode()])
    good = "<trkpt lat='1' lon='2'><time>2026-11-20T07:00:00Z</time></trkpt>"
    (segment,) = read([text.format(f"<trkpt {point}</trkpt>{good}").encode()])
    assert len(segment) == 1


LAUGHS = b"<!DOCTYPE gpx [<!ENTITY a 'ha'>" + b"".join(
    f"<!ENTITY {b} '{f'&{a};' * 10}'>".encode() for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (LAUGHS + b"]><gpx><trk><name>&j;</name></trk></gpx>", "DOCTYPE"),
        (b"<!DOCTYPE gpx [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><gpx><name>&x;</name></gpx>", "DOCTYPE"),
        (b"<!DOCTYPE gpx SYSTEM 'http://127.0.0.1:1/x.dtd'><gpx/>", "DOCTYPE"),
        ("\ufeff<!DOCTYPE gpx [<!ENTITY x 'y'>]><gpx/>".encode("utf-16-le"), "DOCTYPE"),
        (b"<gpx><trk><name>&x;</name></trk></gpx>", "no whole XML file: undefined entity in line 1"),
        (b"", "no whole XML file"),
        (b"\0" * 5000, "no whole XML file"),
        (b"\xff\xd8\xff\xe0JFIF", "no whole XML file"),
        (gpx(way(5))[:-20], "no whole XML file"),
        (b"<html><body>Wi-Fi login</body></html>", "no GPX"),
        (b"<?xml version='1.0' encoding='utf-7'?><gpx/>", "encoding"),
        (b"<?xml version='1.0' encoding='klingon'?><gpx/>", "encoding"),
        (b"<gpx>" + b"<a>" * 1000, "deep in one another"),
        (gpx(), "no point of it has both"),
        (gpx([(None, HERE)]), "no point of it has both"),
    ],
)
def test_what_is_no_track_says_why(data, said):
    """Bombs, entities, login pages, pictures, halves and empty files are refused with the reason, in no time."""
    with pytest.raises(NoTrack, match=said):
        read([data])


def test_a_file_is_bounded_in_size():
    """Of a file without end no more than the bound is asked for."""
    asked = 0

    def endless():
        nonlocal asked
        yield b"<gpx>"
        while True:
            asked += 1 << 20
            yield b" " * (1 << 20)

    with pytest.raises(NoTrack, match="larger than 64 MiB"):
        read(endless())
    assert asked <= MAX_BYTES + (1 << 20)


def a_long_track(points: int) -> Iterator[bytes]:
    yield b"<gpx><trk><trkseg>"
    for begin in range(0, points, 10_000):
        times = [START + timedelta(seconds=second) for second in range(begin, min(begin + 10_000, points))]
        yield "".join(f"<trkpt lat='-18.9' lon='47.5'><time>{at.isoformat()}</time></trkpt>" for at in times).encode()
    yield b"</trkseg></trk></gpx>"


def test_a_long_track_is_small_in_memory():
    """A point takes some 40 bytes while it is read: half a million of them fit into a small Pi."""
    tracemalloc.start()
    (segment,) = read(a_long_track(20_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(segment) == 20_000
    assert peak < 20_000 * 100 + 5e6  # what a chunk of the test itself takes


@pytest.mark.slow
def test_a_file_is_bounded_in_points():
    """With one point more than we allow a file is none; and nothing of it is kept."""
    with pytest.raises(NoTrack, match="more than 500000 points"):
        read(a_long_track(MAX_POINTS + 1))


def test_a_file_is_bounded_in_pieces():
    """Each is tried for each picture, so one more than we allow is too many; one without points is no piece."""
    pieces = [[(START + timedelta(seconds=number), HERE)] for number in range(MAX_SEGMENTS + 1)]
    assert len(read([gpx(*pieces[1:], [], [])])) == MAX_SEGMENTS
    with pytest.raises(NoTrack, match="more than 1000 pieces"):
        read([gpx(*pieces)])


# -- where was it? ----------------------------------------------------------------------------------------------------
def test_places_between_points():
    """At a point its place; between two the place on the way, also across 180 degrees; never outside or in a gap."""
    segment = Segment()
    for at, lat, lon in ((100, 0, 179.9), (110, 1, -179.9), (200, 2, -179.9)):
        segment.add(at, lat, lon)

    def found(seconds: float) -> Any:
        return segment.place_at(datetime.fromtimestamp(seconds, UTC), timedelta(seconds=30))

    assert found(100) == (0, (0, 179.9))
    assert found(200) == (0, (2, -179.9))
    assert found(105) == (10, pytest.approx((0.5, -180)))
    assert found(107.5) == (10, pytest.approx((0.75, -179.95)))
    assert found(99.9) is None
    assert found(150) is None
    assert found(200.1) is None


# -- how far off is the clock? ----------------------------------------------------------------------------------------
def frames(
    n: int = 40,
    *,
    off: timedelta = timedelta(),
    gps: bool = False,
    place: Callable[[int], bool] = lambda _: True,
    since: datetime = START,
    every: float = 5,
) -> list[Frame]:
    """Pictures along the way; ``place`` of a number (from 0): whether that one has a position."""
    made = []
    for i in range(n):
        at = since + timedelta(seconds=i * every)
        where = pictures.along(HERE, 200, (at - START).total_seconds() * 40 / 3.6)
        there = place(i)
        made.append(
            Frame(
                id=1 + i,
                camera="C1",
                serial="C1",
                group="001",
                counter=1 + i,
                camera_time=(at + off).astimezone(RULES.zone).replace(tzinfo=None) + timedelta(milliseconds=300),
                gps_time=at if gps and there else None,
                server_takes="camera",
                latitude=where[0] if there else None,
                longitude=where[1] if there else None,
                verdict=Verdict.USABLE if there else Verdict.NO_POSITION,
            )
        )
    return made


@pytest.mark.parametrize("off", [timedelta(), timedelta(seconds=-3607), 3 * HOUR, -11 * HOUR])
@pytest.mark.parametrize("every", [1, 5, 15])
def test_places_tell_how_far_off_the_clock_is(off, every):
    """Pictures with a place but no GPS time, and a track through these places: the offset to a second."""
    found = offset_by_places(frames(off=off), segments_of(gpx(way(300, every=every))), RULES)
    assert found is not None
    assert abs(found.offset - off - timedelta(milliseconds=300)) < timedelta(seconds=1)


@pytest.mark.parametrize(
    ("track", "shots"),
    [
        pytest.param(gpx(way(300, bearing=120)), frames(), id="another road"),
        pytest.param(gpx(way(60)), frames(), id="most of the way without track"),
        pytest.param(
            gpx(way(200) + [(START + timedelta(seconds=401 - s), way(200)[s][1]) for s in range(200, -1, -1)]),
            frames(), id="to and fro",
        ),
        pytest.param(gpx(way(300)), frames(4), id="too few places"),
        pytest.param(gpx(way(300)), frames(40, every=0.1), id="the same place 40 times"),
        pytest.param(gpx(way(300, since=START - 20 * HOUR)), frames(), id="more than any zone"),
        pytest.param(gpx(way(300, kmh=20)), frames(), id="the road at another speed, another day"),
        pytest.param(gpx(way(300)), frames(place=lambda _: False), id="no places"),
    ],
)  # fmt: skip
def test_what_does_not_show_it_is_not_concluded(track, shots):
    """Unless nearly all of several places along the way agree, the offset stays unknown."""
    assert offset_by_places(shots, segments_of(track), RULES) is None


def compared(off: timedelta, since: datetime, **changed: str | None) -> Other:
    shots = [replace(frame, **changed) for frame in frames(off=off, gps=True, since=since)]  # type: ignore[arg-type]
    return other(shots, judge(shots, RULES).clock)


def other(shots: Sequence[Frame], clock: ClockReport) -> Other:
    return Other.of(shots, lambda: clock, RULES.zone)


def test_other_drives_of_the_day_tell_how_far_off_the_clock_is():
    """The same camera's clock, compared before or after on that day, is as far off in between."""
    shots = frames(off=HOUR)
    for hours in ([-3], [5], [-3, 5], [-10, -3], [-30, 5]):
        others = [compared(HOUR, START + hours_ * HOUR) for hours_ in hours]
        found = offset_of_the_day(shots, others, RULES)
        assert found is not None
        assert abs(found.offset - HOUR) < timedelta(seconds=1)


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([compared(HOUR, START - 3 * HOUR), compared(timedelta(), START + 5 * HOUR)], id="set in between"),
        pytest.param([compared(HOUR, START - 30 * HOUR)], id="another day"),
        pytest.param([compared(HOUR, START - 30 * HOUR), compared(HOUR, START + 30 * HOUR)], id="other days"),
        pytest.param([], id="none"),
        pytest.param([compared(-3 * HOUR, START + 3 * HOUR), compared(HOUR, START - 3 * HOUR)], id="times overlap"),
        pytest.param(
            [other(frames(since=START - 3 * HOUR, off=HOUR), judge(frames(), RULES).clock)], id="not compared"
        ),
        pytest.param(
            [compared(timedelta(days=-3000), START + timedelta(days=3000) - HOUR)], id="a clock that was reset"
        ),
    ],
)
def test_other_drives_that_do_not_tell(others):
    """A clock that was set meanwhile, another day, another camera, a clock that begins anew each time: not known."""
    assert offset_of_the_day(frames(), others, RULES) is None


def test_another_camera_of_the_same_model_tells_nothing():
    """Without a serial two cameras of one model cannot be told apart, so nothing is concluded from one to the other."""
    nameless, stranger = (compared(HOUR, START - 3 * HOUR, serial=serial) for serial in (None, "C2"))
    assert offset_of_the_day([replace(frame, serial=None) for frame in frames()], [nameless], RULES) is None
    assert offset_of_the_day(frames(), [stranger], RULES) is None


def test_only_drives_that_are_near_are_looked_at():
    """Of a card with hundreds of drives those of other days are not compared for it."""

    def not_asked() -> ClockReport:
        raise AssertionError

    far = [Other.of(frames(since=START + days * 24 * HOUR), not_asked, RULES.zone) for days in (-3, 2, 9)]
    assert offset_of_the_day(frames(), far, RULES) is None


# -- positions --------------------------------------------------------------------------------------------------------
def filled(judgement: Any) -> dict[int, tuple[float, float]]:
    return {one.id: one.position for one in judgement.decisions if one.position_from == "gpx"}


def test_no_position_is_taken_across_a_gap_of_the_track():
    """Between points, or segments, further apart than configured no picture gets a position."""
    lost = frames(place=lambda _: False)
    track = segments_of(gpx(way(50), [p for p in way(200) if p[0] >= START + timedelta(seconds=100)]))
    near = filled(judge(lost, RULES, tracks=track))
    assert sorted(near) == [*range(1, 11), *range(21, 41)]
    joined = segments_of(gpx([p for p in way(200) if not 50 < (p[0] - START).total_seconds() < 100]))
    assert sorted(filled(judge(lost, RULES, tracks=joined))) == sorted(near)
    wide = replace(RULES, track_gap=timedelta(seconds=60))
    assert len(filled(judge(lost, wide, tracks=joined))) == 40
    assert len(filled(judge(lost, wide, tracks=track))) == len(near)  # never from one segment to the next
    assert filled(judge(lost, replace(RULES, track_gap=None), tracks=joined)) == {}


def test_positions_are_where_the_vehicle_was():
    """Each position is within two metres of the truth at the picture's true time, by a track of a point in 10 s."""
    track = segments_of(gpx(way(300, every=10)))
    for number, place in filled(judge(frames(place=lambda _: False), RULES, tracks=track)).items():
        truth = pictures.along(HERE, 200, ((number - 1) * 5 + 0.3) * 40 / 3.6)
        assert distance_m(place, truth) < 2


def test_a_cameras_own_position_is_never_overwritten():
    """Pictures with a fix keep it, with a track 50 m off their own; only those without are filled."""
    off = [(at, (lat + 50 / 111_195, lon)) for at, (lat, lon) in way(300)]
    shots = frames(gps=True, place=lambda i: i % 4 != 2)
    judgement = judge(shots, RULES, tracks=segments_of(gpx(off)))
    own = {frame.id: (frame.latitude, frame.longitude) for frame in shots if frame.latitude}
    assert {one.id: one.position for one in judgement.decisions if one.position_from == "camera"} == own
    assert sorted(filled(judgement)) == [frame.id for frame in shots if not frame.latitude]


def test_the_track_of_another_vehicle_is_not_used():
    """A track that was elsewhere whenever the camera knew where it was fills nothing; the right one beside it does."""
    shots = frames(gps=True, place=lambda i: i % 4 != 2)
    stranger, ours = gpx(way(300, bearing=120)), gpx(way(300, every=20))
    assert filled(judge(shots[20:], RULES, tracks=segments_of(stranger))) == {}
    found = judge(shots[20:], RULES, tracks=segments_of(stranger, ours))
    assert {one.track for one in found.decisions if one.position_from == "gpx"} == {"2.gpx"}


def test_a_place_that_cannot_be_reached_is_none():
    """A single wild point of the track between true fixes of the camera gives no position."""
    wild = way(300)
    wild[12] = (wild[12][0], (-20.0, 40.0))
    wild = [point for index, point in enumerate(wild) if index in (11, 12, 13) or not 5 < index < 20]
    shots = [replace(frame, camera_time=(frame.camera_time or START).replace(microsecond=0)) for frame in
             frames(gps=True, place=lambda i: i != 2, every=6)]  # fmt: skip
    judgement = judge(shots, RULES, tracks=segments_of(gpx(wild)))
    assert filled(judgement) == {}
    assert {one.reason for one in judgement.decisions if not one.keep} == {"no_position"}


def test_of_a_parked_vehicle_few_are_kept():
    """Pictures placed by a track are parked like others: of an hour in one place at most 15 are sent."""
    lost = frames(720, place=lambda _: False)
    stay = [(START + timedelta(seconds=s), HERE) for s in range(0, 3601, 10)]
    judgement = judge(lost, RULES, tracks=segments_of(gpx(stay)))
    kept = [one for one in judgement.decisions if one.keep]
    assert 2 <= len(kept) <= 15
    assert {one.reason for one in judgement.decisions if not one.keep} == {"parked"}


def test_the_time_goes_along_with_the_place():
    """A place of a track holds for one moment: each such picture is sent with it, zone and all."""
    for one in judge(frames(place=lambda _: False), RULES, tracks=segments_of(gpx(way(300)))).decisions:
        assert datetime.fromisoformat(one.capture_override or "") == one.captured
        assert (one.capture_override or "").endswith("+03:00")


# -- the whole way ----------------------------------------------------------------------------------------------------
@pytest.fixture
def make(tmp_path):
    with kits(tmp_path) as made:
        yield made


def drive(n: int = 12, **facts: Any) -> list[Any]:
    return list(pictures.drive(start=START, n=n, **facts))


def hero12(n: int = 12, **facts: Any) -> list[Any]:
    """A camera without any GPS."""
    return drive(n, no_fix=range(n), model="HERO12 Black", **facts)


def tracking(kit: Kit) -> Tracking:
    return Tracking(kit.parts.catalogue, kit.parts.journal)


def drop(kit: Kit, name: str, data: bytes) -> FolderSource:
    folder = kit.tmp / "tracks"
    folder.mkdir(exist_ok=True)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return FolderSource(folder)


def take_in(kit: Kit, name: str, data: bytes) -> Look:
    return tracking(kit).look(drop(kit, name, data), threading.Event())


def sort(kit: Kit, **rules: Any) -> None:
    kit.parts.sorting._rules = replace(kit.parts.sorting._rules, **rules)
    kit.parts.sorting.run(threading.Event())


def told(kit: Kit, name: str) -> list[dict[str, Any]]:
    return [row for row in kit.parts.catalogue.telling.timeline() if row["name"] == name]


def sent_at(kit: Kit, index: int) -> tuple[float, float]:
    form = kit.sent[md5(kit.entries[index][1])]
    return float(form["override_latitude"]), float(form["override_longitude"])


def test_a_gap_of_the_receiver_is_filled_from_the_track(make):
    """Three pictures without a fix arrive where the track was, tagged as from a track; the others as they are."""
    kit = make(entries=drive(no_fix=(4, 5, 6), clock_error=HOUR))
    assert take_in(kit, "ride.gpx", gpx(way(120))) == Look(1, 1)
    kit.drain()
    assert kit.held_once()
    for index, (_, data, _) in enumerate(kit.entries):
        form = kit.sent[md5(data)]
        lost = index in (4, 5, 6)
        assert ("override_latitude" in form) == lost
        method = form.get("override_Exif.GPSInfo.GPSProcessingMethod")
        assert method == ("charset=Ascii gpx track" if lost else None)
        if lost:  # by the true time, though the camera's clock was an hour fast
            truth = pictures.along(HERE, 200, (index * 5 + 0.123) * 40 / 3.6)
            assert distance_m(sent_at(kit, index), truth) < 15  # GPS time has whole seconds
    (event,) = told(kit, "positions_from_track")
    assert event["drive"] == 1
    assert {row["position_from"] for row in kit.rows()} == {None, "gpx"}


def test_the_track_comes_the_day_after(make):
    """Pictures held for want of a position are judged again when their track comes, once, and sent with the others."""
    kit = make(entries=drive(no_fix=(4, 5, 6)))
    kit.drain()
    assert (kit.states(), kit.reasons()) == ({"confirmed": 9, "held": 3}, {"no_position": 3})
    take_in(kit, "other day.gpx", gpx(way(120, since=START - 48 * HOUR)))
    sort(kit)
    assert kit.states() == {"confirmed": 9, "held": 3}
    take_in(kit, "ride.gpx", gpx(way(120)))
    kit.drain()
    assert kit.held_once()
    assert kit.rows()[0]["drive"] == kit.rows()[4]["drive"] == 1


def test_a_track_that_does_not_help_is_offered_once(make):
    """A picture in a gap of the new track stays held, and is not judged again at each round; other settings help."""
    kit = make(entries=hero12())
    kit.bring_in()
    take_in(kit, "ride.gpx", gpx([p for p in way(120) if not 10 < (p[0] - START).total_seconds() < 55]))
    sort(kit)
    assert kit.states() == {"queued": 3, "held": 9}
    moves = len(kit.parts.catalogue.telling.timeline())
    sort(kit)
    assert len(kit.parts.catalogue.telling.timeline()) == moves
    sort(kit, track_gap=timedelta(seconds=60))
    assert kit.states() == {"queued": 12}


def test_a_kill_while_looking_again_loses_nothing(make):
    """Killed at any commit of looking again, the next run ends as if nothing had happened."""
    for nth in (1, 2, 3):
        kit = make(entries=hero12())
        kit.bring_in()
        take_in(kit, "ride.gpx", gpx(way(120)))
        for kind in ("commit", "committed"):
            with Effects(print) as effects, effects.killed_at(kind, nth):
                kit.parts.sorting.run(threading.Event())
            kit.restart()
        sort(kit)
        assert kit.states() == {"queued": 12}
        assert {row["position_from"] for row in kit.rows()} == {"gpx"}


def test_a_camera_without_gps_and_nothing_to_check_its_clock_by(make):
    """A Hero 12's pictures are placed by its own clock as it is, and it is said that nobody checked it."""
    kit = make(entries=hero12())
    take_in(kit, "ride.gpx", gpx(way(120)))
    kit.drain()
    assert kit.held_once()
    assert distance_m(sent_at(kit, 6), pictures.along(HERE, 200, 30.123 * 40 / 3.6)) < 1
    (event,) = told(kit, "clock_uncertain")
    assert "tracks.camera_offset" in str(event["detail"])


@pytest.mark.parametrize("off", [HOUR, timedelta(seconds=-7205)])
def test_a_clock_difference_given_by_hand(make, off):
    """With the camera's offset given, places and times are the true ones, and the drive says by whom."""
    kit = make(entries=hero12(clock_error=off))
    take_in(kit, "ride.gpx", gpx(way(120)))
    kit.parts.sorting._rules = replace(kit.parts.sorting._rules, camera_offset=off)
    kit.drain()
    assert kit.held_once()
    assert distance_m(sent_at(kit, 6), pictures.along(HERE, 200, 30.123 * 40 / 3.6)) < 1
    form = kit.sent[md5(kit.entries[6][1])]
    truth = START + timedelta(seconds=30.123)
    assert abs(datetime.fromisoformat(form["override_capture_time"]) - truth) < timedelta(milliseconds=1)
    assert told(kit, "clock_uncertain") == []
    assert "by hand" in str(told(kit, "clock_corrected")[0]["detail"])


def test_a_clock_difference_from_the_mornings_drive(make):
    """The morning's drive had fixes, the afternoon's none: its clock is as far off, and its places are right."""
    morning = list(pictures.drive(start=START - 3 * HOUR, n=8, clock_error=HOUR, group=2, seed=500))
    kit = make(entries=[*morning, *drive(no_fix=range(12), clock_error=HOUR)])
    take_in(kit, "ride.gpx", gpx(way(120)))
    kit.drain()
    assert kit.held_once()
    assert distance_m(sent_at(kit, 14), pictures.along(HERE, 200, 30.123 * 40 / 3.6)) < 15  # whole seconds of GPS


def test_a_clock_difference_from_places(make):
    """Pictures with a place but no GPS time show by the track how far off the clock is; those without get theirs."""
    kit = make(entries=drive(30, no_fix=(7, 8, 20), clock_error=-3 * HOUR, gps_time=None))
    kit.drain()
    assert kit.reasons() == {"no_position": 3}
    take_in(kit, "ride.gpx", gpx(way(200)))
    kit.drain()
    assert kit.held_once()
    for index in (7, 8, 20):
        assert distance_m(sent_at(kit, index), pictures.along(HERE, 200, (index * 5 + 0.123) * 40 / 3.6)) < 15
    assert told(kit, "clock_uncertain") == []
    assert "by the track" in str(told(kit, "clock_corrected")[-1]["detail"])


def test_an_older_drive_is_judged_again_as_a_whole(make):
    """However many drives the camera made since on that day, pictures judged again have their own drive as context."""
    later = [
        shot for number in range(2, 18)
        for shot in pictures.drive(
            start=START + number * timedelta(minutes=20), n=2, no_fix=(0, 1), group=number, seed=number * 100,
            clock_error=HOUR,
        )
    ]  # fmt: skip
    kit = make(entries=[*drive(no_fix=(4, 5, 6), clock_error=HOUR), *later])
    kit.bring_in()
    assert kit.states() == {"queued": 9, "held": 35}
    take_in(kit, "ride.gpx", gpx(way(120)))
    sort(kit)
    assert kit.states() == {"queued": 12, "held": 32}
    assert told(kit, "clock_uncertain") == []
    assert "1 h fast" in str(told(kit, "clock_corrected")[-1]["detail"])


def test_what_deserves_no_position_is_not_released_by_a_track(make):
    """Broken pictures, and those that a person held, stay held when a track comes."""
    kit = make(entries=hero12(4))
    kit.bring_in()
    by_hand = kit.picture(1)
    kit.parts.catalogue.pictures.move(by_hand, State.COPIED)
    kit.parts.catalogue.pictures.move(kit.picture(1), State.HELD, reason="by_hand", why="a person wants it so")
    take_in(kit, "ride.gpx", gpx(way(120)))
    sort(kit)
    assert kit.states() == {"queued": 3, "held": 1}
    assert kit.reasons() == {"by_hand": 1}


# -- taking in --------------------------------------------------------------------------------------------------------
def test_a_file_is_kept_once_by_its_content(make):
    """The same track under three names, on two sources, and after a restart: kept, and told, once."""
    kit = make(entries=[])
    source = drop(kit, "a.gpx", gpx(way(60), way(60, since=START + HOUR)))
    drop(kit, "deep/in/here/B.GPX", gpx(way(60), way(60, since=START + HOUR)))
    step = tracking(kit)
    assert step.look(source, threading.Event()) == Look(2, 1)
    assert step.look(source, threading.Event()) == Look(2, 0)
    assert tracking(kit).look(source, threading.Event()) == Look(2, 0)
    assert step.run(source, threading.Event()) == 2
    (event,) = told(kit, "track_found")
    assert "122" in str(event["detail"])
    assert "2026-11-20T08:01:00.000Z" in str(event["detail"])
    assert "47.5" not in str(event["detail"])
    with kit.parts.catalogue.writing() as db:
        assert db["track_point"].count == 122
        (row,) = db["track"].rows
    assert (row["points"], row["began"], row["problem"]) == (122, "2026-11-20T07:00:00.000Z", None)
    assert row["source"] == source.card().label


def test_what_cannot_be_read_is_said_once(make):
    """A bomb, a file of 1 GB (sparse) and a login page cost one warning each, with name and reason, for ever."""
    kit = make(entries=[])
    drop(kit, "bomb.gpx", LAUGHS + b"]><gpx>&j;</gpx>")
    source = drop(kit, "login\x1b[2J.gpx", b"<html/>")
    with (kit.tmp / "tracks" / "huge.gpx").open("wb") as file:
        file.write(b"<gpx>")
        file.truncate(1 << 30)
    for _ in range(2):
        step = tracking(kit)
        for _ in range(2):
            assert step.look(source, threading.Event()) == Look(0, 0)
    said = {event["detail"]["name"]: event["detail"]["problem"] for event in told(kit, "track_unreadable")}
    assert len(told(kit, "track_unreadable")) == 3
    assert sorted(said) == ["bomb.gpx", "huge.gpx", r"login\x1b[2J.gpx"]
    assert "DOCTYPE" in said["bomb.gpx"]
    assert "no GPX" in said[r"login\x1b[2J.gpx"]


def test_a_card_full_of_other_things_costs_little(make):
    """Hidden, empty, linked and too deep files are not read; pictures and videos neither; a stop ends the look."""
    kit = make(entries=[])
    source = drop(kit, "1/2/3/4/5/6/7/8/9/deep.gpx", gpx(way(5)))
    drop(kit, "._ride.gpx", gpx(way(6)))
    drop(kit, "ride.gpx.txt", gpx(way(7)))
    (kit.tmp / "tracks" / "link.gpx").symlink_to("/etc/passwd")
    assert tracking(kit).look(source, threading.Event()) == Look(0, 0)
    assert told(kit, "track_unreadable") == []
    drop(kit, "ride.gpx", gpx(way(8)))
    stop = threading.Event()
    stop.set()
    assert tracking(kit).look(source, stop) == Look(0, 0)
    assert tracking(kit).look(source, threading.Event()) == Look(1, 1)


def test_a_source_that_is_gone_is_no_error(make):
    """A stick that was pulled out while it was looked at is looked at again when it comes back."""
    kit = make(entries=[])
    assert tracking(kit).look(FolderSource(Path("/nowhere")), threading.Event()) == Look(0, 0)
    assert kit.events() == []


# -- an older catalogue -----------------------------------------------------------------------------------------------
def test_positions_of_before_the_upgrade_are_interpolated(tmp_path):
    """In a catalogue of the first release, filled positions are said to be interpolated after the upgrade."""
    db = Database(tmp_path / "catalogue.db", execute_plugins=False)
    migrations.steps.apply(db, stop_before="m0002_tracks")
    for number, position in enumerate((None, "-18.9 47.5")):
        db.table("picture").insert(
            {"md5": str(number), "size": 1, "state": "held", "since": "", "clock_trusted": 1, "trace": "", "proven": 1,
             "name": "", "verdict": "usable", "camera": "", "file_time": "", "position_override": position}
        )  # fmt: skip
    migrations.migrate(db)
    assert [row["position_from"] for row in db["picture"].rows] == [None, "interpolated"]
    assert db["track"].count == 0


# -- configuration ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "meant"),
    [("auto", None), ("+3600s", HOUR), ("-1h", -HOUR), ("2h", 2 * HOUR), ("0s", timedelta()), ("-90 min", -1.5 * HOUR)],
)
def test_a_clock_difference_is_configured(text, meant):
    """The camera's offset is "auto" or a duration with a sign; what check-config shows means the same."""
    config = parse(f'[tracks]\ncamera_offset = "{text}"\nmax_gap = "off"', "test")
    assert config.tracks.camera_offset == meant
    assert config.tracks.max_gap is None
    assert parse(as_toml(config), "again") == config
    assert Config().tracks.max_gap == RULES.track_gap


@pytest.mark.parametrize("wrong", ['"soon"', '"--1h"', '"+-1h"', "3600", "true", '"4000d"', '"off"'])
def test_a_clock_difference_that_is_none(wrong):
    """Anything else is a fault that shows how it is written."""
    with pytest.raises(ConfigError, match=r"tracks.camera_offset: must be \"auto\" or a duration"):
        parse(f"[tracks]\ncamera_offset = {wrong}", "test")
