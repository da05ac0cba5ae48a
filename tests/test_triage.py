"""Which pictures to send, and when they were really taken. For times the server's own reader is the oracle."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest
from geopic_tag_reader import reader, writer
from hypothesis import given, settings
from hypothesis import strategies as st

from ailasd.capture import spoken
from ailasd.model import Verdict
from ailasd.sequencing import Frame
from ailasd.triage import Rules, distance_m, judge

RULES = Rules()
ZONE = RULES.zone
START = datetime(2025, 3, 4, 4, 0, 0, 250_000, tzinfo=UTC)
NOW = datetime(2025, 3, 6, tzinfo=UTC)
FIVE = timedelta(seconds=5)
HERE = (-18.9, 47.5)  # Antananarivo
NORTH = 1 / 111_194.93  # degrees of latitude in a metre


def place(metres_north, metres_east=0.0, origin=HERE):
    return origin[0] + metres_north * NORTH, origin[1] + metres_east * NORTH / math.cos(math.radians(origin[0]))


def taken(camera, gps):
    """Which clock the server takes: its rule, in its own words."""
    if camera is None and gps is None:
        return None
    aware = camera if camera is None or camera.tzinfo else camera.replace(tzinfo=UTC)
    best = reader.TimeBySource(gps=gps, camera=aware).getBest()
    return "camera" if best is aware else "gps"


def shot(number, *, true, off=timedelta(), gps: object = "true", subsec=True, where=HERE, aware=False, **more):
    """One picture taken at ``true`` by a camera whose clock is ``off``."""
    camera = (true + off).astimezone(ZONE)
    camera = camera if subsec else camera.replace(microsecond=0)
    camera = camera if aware else camera.replace(tzinfo=None)
    satellite = true.replace(microsecond=0) if gps == "true" else gps
    values = {
        "id": number,
        "camera": "C3471",
        "group": "001",
        "counter": (number - 1) % 9999 + 1,
        "camera_time": camera,
        "gps_time": satellite,
        "server_takes": taken(camera, satellite),
        "latitude": where[0] if where else None,
        "longitude": where[1] if where else None,
        "verdict": Verdict.USABLE if where else Verdict.NO_POSITION,
    }
    return Frame(**(values | more))


@dataclass
class Drive:
    """Frames, and the truth about them."""

    frames: list[Frame]
    true: dict[int, datetime]

    def but(self, number, **changes):
        self.frames = [replace(f, **changes) if f.id == number else f for f in self.frames]
        self.frames = [replace(f, server_takes=taken(f.camera_time, f.gps_time)) for f in self.frames]
        return self


def drive(count=40, *, off=lambda _: timedelta(), every=FIVE, speed=15.0, origin=HERE, **more):
    true = {i + 1: START + i * every for i in range(count)}
    frames = [
        shot(i, true=at, off=off(i), where=place(speed * (at - START).total_seconds(), origin=origin), **more)
        for i, at in true.items()
    ]
    return Drive(frames, true)


def server_stores(frame, override=None):
    """What the server makes of the picture: its own reader on the tags of the camera and of its own writer."""
    tags = {}
    for name, ref, value, letters in (
        ("Latitude", "LatitudeRef", frame.latitude, "NS"),
        ("Longitude", "LongitudeRef", frame.longitude, "EW"),
    ):
        tags[f"Exif.GPSInfo.GPS{name}"] = writer._to_exif_dms(value)
        tags[f"Exif.GPSInfo.GPS{ref}"] = letters[value < 0]
    if frame.camera_time is not None:
        tags["Exif.Photo.DateTimeOriginal"] = frame.camera_time.strftime("%Y:%m:%d %H:%M:%S")
        tags["Exif.Photo.SubSecTimeOriginal"] = frame.camera_time.strftime("%f")
        if frame.camera_time.tzinfo:
            tags["Exif.Photo.OffsetTimeOriginal"] = writer.format_offset(frame.camera_time.utcoffset())
    if frame.gps_time is not None:
        tags["Exif.GPSInfo.GPSDateStamp"] = frame.gps_time.strftime("%Y:%m:%d")
        tags["Exif.GPSInfo.GPSTimeStamp"] = frame.gps_time.strftime("%H/1 %M/1 %S/1")
    if override is not None:
        tags |= writer._date_exif_tags(datetime.fromisoformat(override))
    return reader.getPictureMetadata(tags, 4000, 3000).ts


def assert_true_times(journey, judgement, *, within=1.5, order=True):
    """Each picture is stored within so many seconds of the truth, in the true order, and we know what is stored."""
    frames = {f.id: f for f in journey.frames}
    stored = {d.id: server_stores(frames[d.id], d.capture_override) for d in judgement.decisions}
    for d in judgement.decisions:
        assert abs(stored[d.id] - journey.true[d.id]).total_seconds() <= within, d
        assert d.captured == stored[d.id], d
    if order:
        assert sorted(stored, key=lambda i: (stored[i], i)) == sorted(stored)


def overrides(judgement):
    return [d.id for d in judgement.decisions if d.capture_override]


# -- the capture-time guard: the nine cases, and more ----------------------------------------------------------------
@pytest.mark.parametrize("off", [0, 0.7, -0.9, 2, -2])
def test_case_1_right(off):
    """A clock that is right to 3 s: nothing is sent, whichever clock the server takes."""
    journey = drive(off=lambda _: timedelta(seconds=off))
    judgement = judge(journey.frames, RULES, NOW)
    assert overrides(judgement) == []
    assert judgement.clock.sentence == "camera clock right"
    assert_true_times(journey, judgement, within=abs(off) + 0.01)


@pytest.mark.parametrize(
    ("off", "said"),
    [
        pytest.param(timedelta(minutes=5, seconds=2), "5 min 2 s fast", id="case 2: five minutes fast"),
        pytest.param(timedelta(hours=1), "1 h fast", id="case 3: one hour, a wrong zone"),
        pytest.param(timedelta(hours=-3), "3 h slow", id="case 3: left at UTC"),
        pytest.param(timedelta(hours=2, minutes=30), "2 h 30 min fast", id="case 4: another multiple of 30 min"),
        pytest.param(
            datetime(2016, 1, 1, 0, 0, 0, 50_000, tzinfo=UTC) - START,
            "9 years 62 days slow",
            id="case 5: reset to 2016",
        ),
        pytest.param(timedelta(days=147), "147 days fast", id="case 6: 147 days ahead"),
        pytest.param(timedelta(seconds=-4.2), "4 s slow", id="just above the tolerance"),
    ],
)
@pytest.mark.parametrize("aware", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_cases_2_to_6_a_clock_that_is_off(off, said, aware, count):
    """Every picture is stored at its true time, with its sub-seconds, be it one picture or forty."""
    journey = drive(count, off=lambda _: off, aware=aware)
    judgement = judge(journey.frames, RULES, NOW)
    assert len(overrides(judgement)) == judgement.clock.corrected == count
    assert_true_times(journey, judgement)
    assert judgement.clock.sentence == f"camera clock {said}; corrected by GPS time"
    assert all(re.search(r"\.\d{6}\+03:00$", str(d.capture_override)) for d in judgement.decisions)
    assert {d.captured_from for d in judgement.decisions} <= {"corrected", "gps"}


@pytest.mark.parametrize("every", [0.5, 1, 5])
@pytest.mark.parametrize("off", [0, 2, 300])
def test_case_7_one_picture_with_subseconds_0000(off, every):
    """The server takes GPS for that one and the camera for the others: all come out true and in order."""
    journey = drive(off=lambda _: timedelta(seconds=off), every=timedelta(seconds=every), speed=3)
    odd = journey.frames[20]
    journey.but(21, camera_time=odd.camera_time.replace(microsecond=0))
    assert [f.server_takes for f in journey.frames].count("gps") == 1
    judgement = judge(journey.frames, RULES, NOW)
    assert_true_times(journey, judgement, within=max(1.5, off if off < 3 else 0))
    if off < 3:
        assert set(overrides(judgement)) <= {21}


@pytest.mark.parametrize("year", [1980, 2006])
@pytest.mark.parametrize("off", [0, 300])
@pytest.mark.parametrize("subsec", [True, False])
def test_case_8_gps_dates_before_the_first_fix(year, off, subsec):
    """GPS says 1980 or 2006 in the first pictures: they do not disturb the median, and are never stored."""
    journey = drive(off=lambda _: timedelta(seconds=off), subsec=subsec)
    for i in range(1, 13):
        journey.but(i, gps_time=datetime(year, 1, 6, tzinfo=UTC) + i * FIVE)
    judgement = judge(journey.frames, RULES, NOW)
    assert_true_times(journey, judgement)
    if not off:
        assert overrides(judgement) == ([] if subsec else list(range(1, 13)))


@pytest.mark.parametrize(
    "before",
    [timedelta(minutes=5), timedelta(minutes=-5), timedelta(hours=1), timedelta(days=-3301), timedelta(seconds=5)],
)
@pytest.mark.parametrize("at", [2, 10, 20, 38])
def test_case_9_the_clock_was_set_right_in_mid_drive(before, at):
    """Only the pictures from before it was set are corrected, up to the very picture."""
    journey = drive(off=lambda i: before if i <= at else timedelta())
    judgement = judge(journey.frames, RULES, NOW)
    assert_true_times(journey, judgement)
    assert overrides(judgement) == list(range(1, at + 1))
    assert [s.pictures for s in judgement.clock.segments] == [at, 40 - at]
    assert ", then right; " in judgement.clock.sentence


def test_the_clock_was_set_while_there_was_no_gps():
    """The picture where the camera clock jumps is where it was set, also in a gap of the GPS."""
    journey = drive(off=lambda i: timedelta(minutes=5) if i <= 17 else timedelta())
    for i in range(10, 31):
        journey.but(i, gps_time=None)
    judgement = judge(journey.frames, RULES, NOW)
    assert_true_times(journey, judgement)
    assert overrides(judgement) == list(range(1, 18))


@pytest.mark.parametrize(
    "wrong", [timedelta(days=7168), timedelta(days=400), timedelta(minutes=10), timedelta(hours=-2)]
)
@pytest.mark.parametrize("off", [timedelta(), timedelta(minutes=5)])
@pytest.mark.parametrize("number", [1, 20, 40])
@pytest.mark.parametrize("now", [NOW, None])
def test_a_single_wrong_gps_time_is_outvoted(wrong, off, number, now):
    """One GPS time that disagrees with its neighbours moves nobody's time, its own included."""
    journey = drive(off=lambda _: off)
    journey.but(number, gps_time=(journey.true[number] + wrong).replace(microsecond=0))
    judgement = judge(journey.frames, RULES, now)
    within_order = 1 < number < 40 or (now is not None and wrong > timedelta(days=2))
    if (
        within_order
    ):  # at the ends of a drive nothing tells which of the two clocks is wrong, unless it leaves the order
        assert_true_times(journey, judgement)
    others = [d for d in judgement.decisions if d.id != number]
    assert all(abs(d.captured - journey.true[d.id]) <= timedelta(seconds=1.5) for d in others)


def test_a_single_wrong_camera_time_takes_gps():
    """A camera that writes one date of 2016 into a good drive: that picture gets its GPS time."""
    journey = drive()
    journey.but(20, camera_time=datetime(2016, 1, 1, 0, 0, 0, 500_000))
    judgement = judge(journey.frames, RULES, NOW)
    assert_true_times(journey, judgement)
    assert overrides(judgement) == [20]


def test_two_pictures_that_disagree_have_each_its_own():
    """Of two pictures with different offsets none can outvote the other: both get their GPS time."""
    journey = drive(2, off=lambda i: timedelta(hours=1) if i == 1 else timedelta())
    assert_true_times(journey, judge(journey.frames, RULES, NOW))


def test_a_gps_clock_that_stands_still_is_not_compared():
    """A receiver that repeats its last fix for half the drive does not pull the median."""
    journey = drive(off=lambda _: timedelta(minutes=5), every=timedelta(seconds=1))
    for i in range(15, 41):
        journey.but(i, gps_time=journey.true[14].replace(microsecond=0))
    judgement = judge(journey.frames, RULES, NOW)
    assert_true_times(journey, judgement)


def test_a_phone_whose_gps_time_is_the_age_of_its_fix_is_left_alone():
    """Offsets that scatter from 3 to 23 s (a real phone's) show an old fix, not a wrong clock."""
    journey = drive(8, every=timedelta(seconds=70))
    for i, age in enumerate([4, 3, 9, 23, 12, 6, 13, 12], start=1):
        journey.but(i, gps_time=(journey.true[i] - timedelta(seconds=age)).replace(microsecond=0))
    assert overrides(judge(journey.frames, RULES, NOW)) == []


def test_a_camera_without_subseconds_needs_nothing():
    """Where the server takes GPS anyway, a camera clock one hour off needs no correction; the report says it."""
    journey = drive(off=lambda _: timedelta(hours=-1), subsec=False)
    judgement = judge(journey.frames, RULES, NOW)
    assert_true_times(journey, judgement)
    assert overrides(judgement) == []
    assert judgement.clock.sentence == "camera clock 1 h slow"


@pytest.mark.parametrize("origin", [(48.1, -1.68), (-25.9, 32.6), (35.2, 136.9)])
@pytest.mark.parametrize("aware", [False, True])
def test_naive_times_outside_our_zone_are_sent_along(origin, aware):
    """The server reads naive times in the zone of the position; where that is not ours the true time goes with it."""
    journey = drive(origin=origin, aware=aware)
    judgement = judge(journey.frames, RULES, NOW)
    assert_true_times(journey, judgement)
    assert len(overrides(judgement)) == (0 if aware else 40)


def test_the_hour_that_is_repeated_in_autumn_is_read_as_the_server_reads_it():
    """A naive time that exists twice is standard time for the server, and so for us."""
    rules = Rules(zone=ZoneInfo("Europe/Berlin"))
    frames = [
        Frame(
            id=i,
            camera="C",
            counter=i,
            camera_time=datetime(2024, 10, 27, 2, i, 0, 5),
            gps_time=datetime(2024, 10, 27, 1, i, tzinfo=UTC),
            server_takes="camera",
            latitude=52.5 + i / 1000,
            longitude=13.4,
        )
        for i in range(1, 20)
    ]
    judgement = judge(frames, rules, NOW)
    assert overrides(judgement) == []
    assert [d.captured for d in judgement.decisions] == [server_stores(f) for f in frames]


def test_an_offset_that_the_servers_writer_spoils_is_sent_in_utc():
    """-03:30 becomes -04:30 in the server's writer: such times go in UTC and come out true."""
    rules = Rules(zone=ZoneInfo("America/St_Johns"))
    journey = drive(off=lambda _: timedelta(hours=1), origin=(47.5, -52.7))
    judgement = judge(journey.frames, rules, NOW)
    assert writer.format_offset(timedelta(hours=-3, minutes=-30)) == "-04:30"
    assert all(str(d.capture_override).endswith("+00:00") for d in judgement.decisions)
    assert_true_times(journey, judgement)


def test_without_gps_time_the_camera_is_kept_and_the_report_says_not_checked():
    """Nothing to correct by: the camera clock stands as it is."""
    journey = drive(off=lambda _: timedelta(minutes=5), gps=None)
    judgement = judge(journey.frames, RULES, NOW)
    assert overrides(judgement) == []
    assert all(d.keep and d.captured_from == "camera" for d in judgement.decisions)
    assert "not checked" in judgement.clock.sentence
    assert judgement.clock.segments == ()


def test_impossible_dates_are_held():
    """Before 1990, or after tomorrow if our own clock is trusted, without GPS: nobody knows when that was."""
    old = drive(5, off=lambda _: datetime(1970, 1, 1, tzinfo=UTC) - START, gps=None)
    ahead = drive(5, off=lambda _: timedelta(days=147), gps=None)
    for journey, now in ((old, None), (old, NOW), (ahead, NOW)):
        decisions = judge(journey.frames, RULES, now).decisions
        assert {(d.keep, d.reason, d.captured) for d in decisions} == {(False, "clock_untrusted", None)}
    assert all(d.keep for d in judge(ahead.frames, RULES, None).decisions)


def test_only_a_gps_date_of_1980_is_held():
    """No camera clock and a receiver without fix: held."""
    frames = [
        replace(f, camera_time=None, gps_time=datetime(1980, 1, 6, tzinfo=UTC), server_takes="gps")
        for f in drive(3).frames
    ]
    assert {d.reason for d in judge(frames, RULES, NOW).decisions} == {"clock_untrusted"}


def test_an_old_picture_whose_clocks_agree_on_the_year_is_left_to_the_server():
    """GPS dates before 2020 correct nothing, but what the server reads from an old picture of elsewhere stays."""
    frames = [
        Frame(
            id=1,
            camera="HERO6",
            camera_time=datetime(2017, 10, 3, 10, 58, 29),
            gps_time=datetime(2017, 10, 3, 14, 58, 14, tzinfo=UTC),
            server_takes="gps",
            latitude=40.7,
            longitude=-74.0,
        )
    ]
    judgement = judge(frames, RULES, NOW)
    assert overrides(judgement) == []
    assert judgement.decisions[0].captured == frames[0].gps_time


def test_the_sentence_says_by_how_much_the_server_would_have_been_wrong():
    """One plain sentence for each picture."""
    fast = judge(drive(3, off=lambda _: timedelta(minutes=5, seconds=-0.1)).frames, RULES, NOW)
    assert "the server would have stored one 5 min too late." in fast.decisions[0].why
    abroad = judge(drive(3, origin=(48.1, -1.68)).frames, RULES, NOW)
    assert "the server would have read it in another time zone." in abroad.decisions[0].why


def test_only_a_gps_clock_is_enough():
    """Pictures with no camera time have the GPS time."""
    frames = [replace(f, camera_time=None, server_takes="gps") for f in drive(20).frames]
    judgement = judge(frames, RULES, NOW)
    assert {(d.keep, d.captured_from, d.capture_override) for d in judgement.decisions} == {(True, "gps", None)}


def test_the_years_1_and_9999_do_not_overflow():
    """Absurd camera dates cost their own picture at most."""
    journey = drive(20)
    journey.but(3, camera_time=datetime(1, 1, 1), gps_time=None)
    journey.but(9, camera_time=datetime(9999, 12, 31, 23, 59, 59, 5), gps_time=None)
    for now in (NOW, None):
        held = [d for d in judge(journey.frames, RULES, now).decisions if not d.keep]
        assert {(d.id, d.reason) for d in held} == {(3, "clock_untrusted"), (9, "clock_untrusted")}


def test_earlier_pictures_of_the_drive_tell_the_clock_of_later_ones():
    """Pictures without GPS that come in a second batch are corrected by what the first batch showed."""
    journey = drive(off=lambda _: timedelta(minutes=5))
    frames = [replace(f, decided=True) if f.id <= 20 else replace(f, gps_time=None) for f in journey.frames]
    judgement = judge(frames, RULES, NOW)
    journey.frames = frames
    assert judgement.clock.corrected == len(judgement.decisions) == 20
    assert judgement.clock.sentence == "camera clock 5 min fast; corrected by GPS time"  # of the whole drive
    assert_true_times(journey, judgement)


@given(
    st.integers(1, 60),
    st.sampled_from([1, 2, 5, 10]),
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from([0, 1, 300, -302, 3600, -5400, -290_000_000])), max_size=2),
    st.sets(st.integers(1, 60), max_size=12),
    st.sets(st.integers(1, 60), max_size=12),
    st.sets(st.integers(1, 60), max_size=6),
    st.integers(0, 999_999),
    st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_all_cases_mixed_come_out_true(count, every, settings_of_clock, early, lost, round_, micro, aware):  # noqa: PLR0917
    """Any mixture: clock set up to twice, 1980 before fixes, pictures without GPS, round sub-seconds."""
    times = sorted(settings_of_clock)

    def off(i):
        passed = [seconds for at, seconds in times if at < i]
        return timedelta(seconds=passed[-1] if passed else 300, microseconds=micro)

    journey = drive(count, every=timedelta(seconds=every), off=off, aware=aware)
    for i in range(1, count + 1):
        frame = journey.frames[i - 1]
        if i in round_:
            journey.but(i, camera_time=frame.camera_time.replace(microsecond=0))
        if i in early:
            journey.but(i, gps_time=datetime(1980, 1, 6, tzinfo=UTC) + i * FIVE)
        if i in lost:
            journey.but(i, gps_time=None)
    # what can be known: two pictures with both clocks on each side of where the clock was set, near enough to see it
    bounds = sorted({0, count, *(at for at, _ in times if at < count)})
    both = [i for i in range(1, count + 1) if i not in early | lost]
    parts = list(pairwise(bounds))
    if any(sum(a < i <= b for i in both) < 3 for a, b in parts) and not (len(parts) == 1 and both):
        return
    judgement = judge(journey.frames, RULES, NOW)
    assert len(judgement.decisions) == count
    # a clock that is off by no more than the tolerance is left alone: of two pictures nearer than that, one before and
    # one after it was set right, either may come first
    assert_true_times(journey, judgement, within=3.5, order=every > RULES.clock_tolerance.total_seconds())


# -- parked, moving, untrue, filled ----------------------------------------------------------------------------------
def trip(metres, *, every=FIVE, first_id=1, start=START, **more):
    """Pictures at these metres (north, east) from the start."""
    return [shot(first_id + i, true=start + i * every, where=place(*at), **more) for i, at in enumerate(metres)]


def reasons(frames, rules=RULES):
    return {d.id: d.reason for d in judge(frames, rules, NOW).decisions}


def kept(frames, rules=RULES):
    return [i for i, reason in sorted(reasons(frames, rules).items()) if reason is None]


def walk(count, random, reach=5.0):
    """A receiver that wanders up to ``reach`` metres around the truth."""
    north = east = 0.0
    for _ in range(count):
        north = max(-reach, min(reach, north + random.uniform(-1, 1)))
        east = max(-reach, min(reach, east + random.uniform(-1, 1)))
        scale = min(1.0, reach / max(math.hypot(north, east), 1e-9))
        yield north * scale, east * scale


@given(st.integers(0, 10**9).map(Random), st.sampled_from([0, 0.01, 0.05]))
@settings(max_examples=15, deadline=None)
def test_a_parked_hour_of_720_keeps_at_most_15(random, stray):
    """First, last and one every five minutes, whatever the receiver's jitter and its stray fixes of 20 m."""
    spots = [
        (n + 20 * math.cos(a), e + 20 * math.sin(a)) if random.random() < stray else (n, e)
        for n, e in walk(720, random)
        for a in [random.uniform(0, math.tau)]
    ]
    spots[0], spots[-1] = (0, 0), (0, 0)
    found = reasons(trip(spots))
    sent = [i for i, reason in found.items() if reason is None]
    assert 13 <= len(sent) <= 15
    assert {1, 720} <= set(sent)
    assert set(found.values()) == {None, "parked"}
    assert max(b - a for a, b in pairwise(sent)) <= 61


def test_a_static_navigation_filter_is_parked_not_frozen():
    """Equal positions with a running GPS clock are a parked car."""
    found = reasons(trip([(0, 0)] * 100))
    assert set(found.values()) == {None, "parked"}


@given(st.integers(3, 90), st.floats(0, 6.28), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_crawling_is_not_parked(kmh, bearing, random):
    """At 3 km/h and above nothing is held, receiver noise of a metre included."""
    step = kmh / 3.6 * 5
    metres = [
        (i * step * math.cos(bearing) + random.uniform(-1, 1), i * step * math.sin(bearing) + random.uniform(-1, 1))
        for i in range(150)
    ]
    assert len(kept(trip(metres))) == 150


def test_out_and_back_loses_none():
    """600 pictures out and back over the same road: a rule of distance alone would take 35 of them."""
    out = [(i * 20, 0) for i in range(300)]
    assert len(kept(trip(out + out[::-1]))) == 600


def test_a_sparse_out_and_back_loses_none():
    """One picture every five minutes, there and back again."""
    assert len(kept(trip([(0, 0), (500, 0)] * 20, every=timedelta(minutes=5)))) == 40


def test_a_short_stop_is_not_parked():
    """55 seconds at a road block are not parked; 65 are."""
    for stop, held in ((12, 0), (14, 12)):
        road = [(i * 50, 0) for i in range(-20, 0)] + [(0, 0)] * stop + [(i * 50, 0) for i in range(1, 20)]
        assert list(reasons(trip(road)).values()).count("parked") == held


def test_first_and_last_of_each_parked_run_are_kept():
    """Two stops on one road: arrival and departure of both are kept, all of the driving too."""
    road = [(i * 50, 0) for i in range(20)]
    stop = [(1000, 0)] * 60
    onwards = [(1000 + i * 50, 0) for i in range(1, 20)]
    again = [(2000, 0)] * 60
    sent = kept(trip([*road, *stop, *onwards, *again]))
    assert sent == [*range(1, 22), 80, *range(81, 101), 159]


def test_something_far_off_in_a_parked_run_is_kept():
    """A fix 60 m away while parked is no jitter; it is kept and the run goes on."""
    spots = [(0, 0)] * 60
    spots[30] = (60, 0)
    assert kept(trip(spots)) == [1, 31, 60]


def test_a_parked_run_that_began_in_an_earlier_batch_goes_on():
    """The second half of a parked hour keeps one every five minutes and its last, not a new first."""
    frames = [replace(f, decided=f.id <= 100) for f in trip([(0, 0)] * 200)]
    found = reasons(frames)
    assert sorted(found) == list(range(101, 201))
    assert [i for i, reason in found.items() if reason is None] == [121, 181, 200]


def test_one_wild_position_is_held_alone():
    """A fix 5 km off for one picture: that one is held, its neighbours are sent."""
    road = [(i * 70, 0) for i in range(50)]
    road[20] = (20 * 70, 5000)
    assert reasons(trip(road)) == {i: "position_untrusted" if i == 21 else None for i in range(1, 51)}


@pytest.mark.parametrize("at", [0, 20, 45])
def test_a_cluster_of_wild_positions_is_held(at):
    """Five fixes in a row from another place, at the start, in the middle or at the end."""
    road = [(i * 70.0, 0.0) for i in range(50)]
    road[at : at + 5] = [(north, 20_000.0) for north, _ in road[at : at + 5]]
    assert [i for i, reason in reasons(trip(road)).items() if reason == "position_untrusted"] == list(
        range(at + 1, at + 6)
    )


def test_when_half_the_positions_jump_none_is_held():
    """Two halves that exclude each other: nobody can tell which is true."""
    assert len(kept(trip([(i * 70, 0 if i < 25 else 20_000) for i in range(50)]))) == 50


def test_180_kmh_is_possible():
    """Fast, but below the limit: all are sent."""
    assert len(kept(trip([(i * 50 * 5, 0) for i in range(50)]))) == 50


def test_frozen_positions_with_a_standing_gps_clock_are_held():
    """Position and GPS clock stand still, the camera clock goes on: all but the first repeat an old fix."""
    frames = trip([(i * 70, 0) for i in range(50)])
    old = frames[20]
    for i in range(21, 26):
        frames[i] = replace(frames[i], latitude=old.latitude, longitude=old.longitude, gps_time=old.gps_time)
    assert [i for i, reason in reasons(frames).items() if reason] == list(range(22, 27))


def test_frozen_positions_that_end_in_a_jump_are_held():
    """The position stays and is then 1.5 km further in 5 s: the vehicle drove all the time."""
    road = [(i * 70, 0) for i in range(60)]
    road[20:42] = [road[20]] * 22
    found = reasons(trip(road))
    assert [i for i, reason in found.items() if reason == "position_untrusted"] == list(range(22, 43))


def test_a_wild_fix_while_parked_does_not_make_the_stop_frozen():
    """One stray fix far away in a parked hour: it is held, the rest is a parked run."""
    spots = [(0, 0)] * 200
    spots[100] = (0, 9000)
    found = reasons(trip(spots))
    assert found[101] == "position_untrusted"
    assert {i for i, reason in found.items() if reason is None} == {1, 61, 121, 181, 200}


def test_three_pictures_of_one_second_are_not_frozen():
    """A burst shares position and GPS second by right."""
    frames = [
        replace(f, latitude=place((i // 4) * 12)[0])
        for i, f in enumerate(trip([(0, 0)] * 40, every=timedelta(milliseconds=250)))
    ]
    assert len(kept(frames)) == 40


FILLING = replace(RULES, fill_gap=timedelta(seconds=60))


def holed(first, last, count=50):
    """A road of 70 m per picture, without position from ``first`` to ``last``."""
    return [
        replace(f, latitude=None, longitude=None, verdict=Verdict.NO_POSITION) if first <= f.id <= last else f
        for f in trip([(i * 70, i * 10) for i in range(count)])
    ]


def test_a_short_gap_is_filled_on_the_line_between_the_fixes():
    """Off by default; if wanted, nine pictures without position get theirs, and say that it was filled in."""
    frames = holed(20, 28)
    assert [i for i, reason in reasons(frames).items() if reason == "no_position"] == list(range(20, 29))
    decisions = {d.id: d for d in judge(frames, FILLING, NOW).decisions}
    assert all(d.keep for d in decisions.values())
    assert [d.id for d in decisions.values() if d.position_from == "interpolated"] == list(range(20, 29))
    for i in range(20, 29):
        assert distance_m(decisions[i].position or HERE, place((i - 1) * 70, (i - 1) * 10)) < 1


@pytest.mark.parametrize(("first", "last"), [(20, 40), (1, 5), (46, 50)])
def test_long_gaps_and_the_ends_of_a_drive_are_not_filled(first, last):
    """100 s without a fix, or no fix on one side: held."""
    found = reasons(holed(first, last), FILLING)
    assert [i for i, reason in found.items() if reason == "no_position"] == list(range(first, last + 1))


def test_positions_are_not_filled_from_untrusted_fixes():
    """A wild fix next to the gap is no support: the gap is measured between true ones."""
    frames = holed(20, 24)
    frames[24] = replace(frames[24], latitude=-15.0)  # 434 km off
    decisions = {d.id: d for d in judge(frames, FILLING, NOW).decisions}
    assert decisions[25].reason == "position_untrusted"
    assert distance_m(decisions[22].position or HERE, place(21 * 70, 210)) < 1


def test_filled_pictures_of_a_parked_run_are_parked():
    """No position while parked: filling must not send what would be held with a position."""
    frames = [
        replace(f, latitude=None, longitude=None, verdict=Verdict.NO_POSITION) if f.id % 3 == 0 else f
        for f in trip([(0, 0)] * 100)
    ]
    assert kept(frames, FILLING) == [1, 61, 100]


def test_broken_and_undated_pictures_are_held_for_that():
    """What the reader said comes first."""
    frames = trip([(i * 70, 0) for i in range(10)])
    frames[3] = replace(frames[3], verdict=Verdict.BROKEN)
    frames[5] = replace(frames[5], verdict=Verdict.NO_DATE, camera_time=None, gps_time=None, server_takes=None)
    found = reasons(frames)
    assert (found[4], found[6]) == ("broken", "no_date")
    assert list(found.values()).count(None) == 8


# -- of everything ---------------------------------------------------------------------------------------------------
shots = st.lists(
    st.tuples(
        st.floats(-200, 200),
        st.floats(-200, 200),
        st.integers(0, 90),
        st.sampled_from(list(Verdict)),
        st.sampled_from([0, 0, 0, 300, -290_000_000]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=60,
)


@given(shots, st.randoms(use_true_random=False), st.sampled_from([NOW, None]), st.sampled_from([RULES, FILLING]))
@settings(max_examples=100, deadline=None)
def test_every_picture_gets_one_decision_whatever_the_order(drawn, random, now, rules):
    """One decision for each undecided picture, the same for any order of input; kept ones have time and place."""
    at, frames = START, []
    for i, (north, east, seconds, verdict, off, fix, decided) in enumerate(drawn, start=1):
        at += timedelta(seconds=seconds)
        where = place(north * i, east * i)
        frame = shot(i, true=at, off=timedelta(seconds=off), gps="true" if fix else None, where=where, decided=decided)
        missing = {"latitude": None, "longitude": None} if verdict is Verdict.NO_POSITION else {}
        frames.append(replace(frame, verdict=verdict, **missing))
    judgement = judge(frames, rules, now)
    assert sorted(d.id for d in judgement.decisions) == [f.id for f in frames if not f.decided]
    for d in judgement.decisions:
        assert d.keep == (d.reason is None)
        assert not d.keep or (d.captured is not None and d.position is not None)
        assert d.why.endswith(".")
    shuffled = list(frames)
    random.shuffle(shuffled)
    assert judge(shuffled, rules, now) == judgement


@given(st.lists(st.tuples(st.floats(-80, 80), st.floats(-80, 80)), min_size=2, max_size=80))
@settings(max_examples=60, deadline=None)
def test_nothing_that_moves_on_is_parked(steps):
    """A vehicle that goes on northwards by more than 15 m from picture to picture loses none."""
    north, metres = 0.0, []
    for more, east in steps:
        north += 15.5 + abs(more)
        metres.append((north, east))
    assert "parked" not in reasons(trip(metres)).values()


def test_an_empty_drive_has_no_decisions():
    """Nothing in, nothing out."""
    assert judge([], RULES, NOW).decisions == ()


def test_durations_are_said_in_two_units():
    """As people say them."""
    said = [spoken(timedelta(seconds=s)) for s in (0, 302, -3600, 86_400, 86_400 * 147 + 3 * 3600, 290_000_000)]
    assert said == ["0 s", "5 min 2 s", "1 h", "1 day", "147 days 3 h", "9 years 69 days"]


@pytest.mark.timeout(60)  # a second on a busy machine; with a square in it, minutes
def test_ten_thousand_pictures_come_to_an_end():
    """A drive of 10 000 pictures with a wrong clock is judged whole, without time that grows with its square."""
    road = [(i * 60 if i % 1000 < 800 else (i - i % 1000 + 800) * 60, 0) for i in range(10_000)]
    judgement = judge(trip(road, off=timedelta(minutes=5)), RULES, NOW)
    assert len(judgement.decisions) == 10_000
    assert {decision.captured_from for decision in judgement.decisions} == {"gps"}
