"""Drives, not folders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailasd.sequencing import Frame, drives, sequences

ZONE = ZoneInfo("Indian/Antananarivo")
GAP = timedelta(minutes=2)
DAWN = datetime(2025, 3, 4, 4, 0, 0, tzinfo=UTC)  # 7:00 in Madagascar
FIVE = timedelta(seconds=5)


def recording(
    count=100,
    *,
    first_id=1,
    start=DAWN,
    group: str | None = "001",
    counter=1,
    every=FIVE,
    off=timedelta(),
    gps=True,
    camera="C3471",
    drive=None,
):
    """A time-lapse recording: the camera clock off by so much, GPS in whole seconds."""
    frames = []
    for i in range(count):
        true = start + i * every
        number = (counter + i - 1) % 9999 + 1
        frames.append(
            Frame(
                id=first_id + i,
                camera=camera,
                group=group,
                counter=number,
                name=f"G{group}{number:04}.JPG",
                camera_time=(true + off).astimezone(ZONE).replace(tzinfo=None, microsecond=250_000),
                gps_time=true.replace(microsecond=0) if gps else None,
                server_takes="camera",
                drive=drive,
            )
        )
    return frames


def without_gps(frame):
    return replace(frame, gps_time=None)


def undated(frame, **more):
    return replace(frame, gps_time=None, camera_time=None, **more)


def found(frames, **more):
    return sorted(sorted(f.id for f in drive) for drive in drives(frames, gap=GAP, zone=ZONE, **more))


def ids(*recordings):
    return sorted(sorted(f.id for f in frames) for frames in recordings)


def test_one_recording_is_one_drive_across_folders_and_cards():
    """Ids, names and order say nothing: one press of the shutter is one drive."""
    frames = recording(1500)
    assert found(frames[700:] + frames[:700]) == ids(frames)


def test_cameras_are_apart():
    """Two serials at the same time are two drives."""
    left, right = recording(10, camera="L"), recording(10, camera="R", first_id=100)
    assert found(left + right) == ids(left, right)


def test_two_recordings_within_the_gap_are_one_drive():
    """The shutter pressed again within two minutes goes on with the drive, after twenty it begins another."""
    first = recording(10)
    end = DAWN + 9 * FIVE
    soon = recording(10, first_id=100, group="002", counter=11, start=end + timedelta(seconds=119))
    late = recording(10, first_id=200, group="003", counter=21, start=end + timedelta(minutes=20))
    assert found(first + soon + late) == ids(first + soon, late)


def test_a_counter_that_wraps_goes_on():
    """9999 -> 0001 within a recording is one drive, even with a piece missing there."""
    frames = recording(400, counter=9800)
    assert found(frames) == ids(frames)
    holed = frames[:150] + frames[260:]
    assert found(holed) == ids(holed)


def test_a_missing_piece_of_one_recording_is_no_pause():
    """Pictures that lie on another card leave a hole in time and in the counter, and the drive goes on."""
    frames = recording(900)
    holed = frames[:300] + frames[700:]
    assert found(holed) == ids(holed)


@pytest.mark.parametrize("gps", [True, False])
@pytest.mark.parametrize("later", [timedelta(hours=1), timedelta(hours=5), timedelta(days=1)])
def test_a_group_used_again_after_a_format_is_another_drive(gps, later):
    """The same group and the same names later on are another recording."""
    first = recording(720, gps=gps)
    again = recording(700, gps=gps, first_id=5000, start=DAWN + timedelta(hours=1) + later)
    assert found(first + again) == ids(first, again)


def test_a_recording_longer_than_the_counter_is_one_drive():
    """At one second the counter comes around in 2.8 hours: the same group and number twice, still one drive."""
    frames = recording(11_000, every=timedelta(seconds=1))
    assert found(frames) == ids(frames)


@pytest.mark.parametrize(
    "jump", [timedelta(minutes=-5), timedelta(minutes=5), timedelta(days=3301), timedelta(days=-3301)]
)
@pytest.mark.parametrize("gps", [True, False])
def test_a_clock_set_in_mid_drive_does_not_cut_it(jump, gps):
    """GPS goes on, or without GPS the counter does: one drive."""
    before = recording(50, gps=gps, off=jump)
    after = recording(50, gps=gps, first_id=51, counter=51, start=DAWN + 50 * FIVE)
    assert found(before + after) == ids(before + after)


def test_a_camera_that_starts_in_2016_each_morning_makes_a_drive_each_morning():
    """Two days with the very same camera times are two drives, also for the pictures before the first fix."""
    days = []
    for day in range(2):
        start = DAWN + timedelta(days=day, seconds=2 * day)
        off = datetime(2016, 1, 1, tzinfo=UTC) - start
        frames = recording(300, first_id=1 + 1000 * day, start=start, off=off)
        days.append([without_gps(f) for f in frames[:12]] + frames[12:])
    with_fix = [day[12:] for day in days]
    assert found(with_fix[0] + with_fix[1]) == ids(*with_fix)
    known = [replace(f, drive=7) for f in days[0]]
    assert found(known + days[1]) == ids(*days)
    assert all(
        len({f.id // 1000 for f in drive if f.gps_time}) == 1 for drive in drives(days[0] + days[1], gap=GAP, zone=ZONE)
    )


def test_two_cameras_of_one_model_without_serial_are_told_by_their_groups():
    """One camera makes one recording at a time: two groups that overlap are two cameras."""
    left = recording(200, camera="GoPro HERO10 Black", group="012", counter=300)
    right = recording(
        200,
        camera="GoPro HERO10 Black",
        group="007",
        first_id=1000,
        start=DAWN + timedelta(seconds=2),
        off=timedelta(seconds=90),
    )
    assert found(left + right) == ids(left, right)


def test_pictures_without_any_date_go_to_their_neighbours_in_the_counter():
    """An undated picture lies between those of its group with the numbers around its own."""
    frames = recording(100)
    holed = [undated(f) if f.id in (1, 40, 41, 100) else f for f in frames]
    assert found(holed) == ids(frames)


def test_an_undated_picture_goes_to_the_recording_that_lacks_its_number():
    """With a group used twice, the one that has this number already cannot be its recording."""
    first = recording(100)
    again = recording(100, first_id=1000, start=DAWN + timedelta(days=1))
    again[49] = undated(again[49])
    assert found(first + again) == ids(first, again)


def test_undated_pictures_without_neighbours_join_no_drive():
    """No group: together by file time, apart from everything that has a date."""
    frames = recording(10)
    lost = [
        Frame(id=100 + i, camera="C3471", name=f"{i:02}.jpg", mtime=DAWN + timedelta(hours=i // 2)) for i in range(4)
    ]
    assert found(frames + lost) == [list(range(1, 11)), [100, 101], [102, 103]]


def test_gps_dates_without_a_fix_do_not_count():
    """1980 and 2006 before the first fix: the camera clock leads."""
    frames = recording(100)
    frames[:5] = [replace(f, gps_time=datetime(1980, 1, 6, tzinfo=UTC) + i * FIVE) for i, f in enumerate(frames[:5])]
    frames[5:8] = [replace(f, gps_time=datetime(2006, 8, 22, tzinfo=UTC) + i * FIVE) for i, f in enumerate(frames[5:8])]
    assert found(frames) == ids(frames)


@pytest.mark.parametrize("group", ["001", None])
@pytest.mark.parametrize("wrong", [timedelta(minutes=-10), timedelta(days=7168)])
def test_a_wrong_gps_time_does_not_leave_its_drive(group, wrong):
    """Counter and camera clock go on: a GPS time years off is no other drive."""
    frames = recording(40, group=group)
    frames[10:13] = [replace(f, gps_time=f.gps_time + wrong) for f in frames[10:13]]
    assert found(frames) == ids(frames)


def test_other_cameras_without_group_or_counter_go_by_time():
    """A phone's pictures belong together while no more than the gap lies between them."""
    frames = [replace(f, group=None, counter=None) for f in recording(30)]
    later = [replace(f, group=None, counter=None) for f in recording(30, first_id=100, start=DAWN + timedelta(hours=1))]
    assert found(frames + later) == ids(frames, later)


def test_a_known_drive_takes_in_what_belongs_to_it():
    """The second half of a card comes into the drive of the first, which is one group even with a hole in it."""
    frames = recording(200)
    known = [replace(f, drive=3) for f in frames[:50] + frames[100:120]]
    assert found(known + frames[50:100] + frames[120:]) == ids(frames)
    far = [replace(f, drive=3) for f in recording(5, first_id=900, start=DAWN + timedelta(days=2))]
    assert found(known + far) == ids(known + far)


def test_two_known_drives_are_never_merged():
    """Pictures that close the gap between two known drives join one of them."""
    frames = recording(150, group=None)
    one = [replace(f, drive=1) for f in frames[:50]]
    two = [replace(f, drive=2) for f in frames[100:]]
    groups = drives(one + frames[50:100] + two, gap=GAP, zone=ZONE)
    assert sorted({f.drive for f in g} - {None} for g in groups) == [{1}, {2}]
    assert sum(map(len, groups)) == 150


days = st.lists(
    st.tuples(
        st.integers(1, 40),  # pictures
        st.integers(0, 400),  # seconds since the previous recording
        st.booleans(),  # the card was formatted before: group and counter begin again
        st.sampled_from([0, 0, 0, 300, -3600, -290_000_000]),  # clock error
        st.floats(0, 1),  # share of pictures without fix
    ),
    min_size=1,
    max_size=6,
)


def drawn(day, random):
    frames: list[Frame] = []
    group, counter, start = 1, 1, DAWN
    for count, pause, formatted, error, lost in day:
        if formatted:
            group, counter, start = 1, 1, start + timedelta(days=1)
        start += timedelta(seconds=pause)
        shots = recording(
            count,
            first_id=len(frames) + 1,
            start=start,
            group=f"{group:03}",
            counter=counter,
            off=timedelta(seconds=error),
        )
        frames += [without_gps(f) if random.random() < lost else f for f in shots]
        group, counter, start = group + 1, counter + count, start + count * FIVE
    return frames


@given(days, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_input_does_not_matter(day, random):
    """Any shuffle gives the same drives, and every picture is in exactly one."""
    frames = drawn(day, random)
    expected = drives(frames, gap=GAP, zone=ZONE)
    assert sorted(f.id for drive in expected for f in drive) == [f.id for f in frames]
    shuffled = list(frames)
    random.shuffle(shuffled)
    assert drives(shuffled, gap=GAP, zone=ZONE) == expected


@given(days, st.floats(0, 1), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_two_goes_give_the_same_drives_as_one(day, part, random):
    """A card pulled at any moment and put in again later gives the drives that it would have given at once."""
    frames = drawn([(*recording[:4], 0.0) for recording in day], random)
    cut = int(part * len(frames))
    known = {
        f.id: number for number, drive in enumerate(drives(frames[:cut], gap=GAP, zone=ZONE), start=1) for f in drive
    }
    again = [replace(f, drive=known.get(f.id)) for f in frames]
    assert found(again) == found(frames)


@given(st.integers(0, 3000), st.integers(1, 1200))
def test_parts_are_even_bounded_and_few(count, most):
    """All pictures in order, none above the bound, sizes differ by one at most, no part more than needed."""
    parts = sequences(list(range(count)), most=most)
    assert [i for part in parts for i in part] == list(range(count))
    assert len(parts) == -(-count // most)
    sizes = [len(part) for part in parts]
    assert not sizes or (max(sizes) <= most and max(sizes) - min(sizes) <= 1)


def test_no_last_picture_is_left_alone():
    """1001 pictures of at most 1000 are 501 and 500."""
    assert [len(part) for part in sequences(range(1001), most=1000)] in ([500, 501], [501, 500])
    assert all(len(part) > 1 for count in range(2, 500) for part in sequences(range(count), most=3) if count != 1)


@pytest.mark.timeout(60)  # two seconds on a busy machine; with a square in it, minutes
def test_ten_thousand_pictures_come_to_an_end():
    """Two days of 5 000 pictures each are told apart, without time that grows with their square."""
    frames = recording(5000) + recording(5000, first_id=5001, start=DAWN + timedelta(days=1))
    assert [len(one) for one in drives(frames, gap=GAP, zone=ZONE)] == [5000, 5000]
