"""The way of a drive, from the times and places of its pictures, and the sheet that it is drawn on."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailasd.demo.pictures import along
from ailasd.journey import Kind, Seen, journey
from ailasd.report import report
from ailasd.web.drawing import EDGE, HEIGHT, MOST_POINTS, POINTS_OF_A_MARK, WIDTH, drawing

HERE = (-18.9, 47.5)
DRIVE = [Seen(float(5 * n), along(HERE, 90, 50.0 * n), parked=False) for n in range(20)]
"""A straight road to the east at 10 m/s."""


ROW = {
    **dict.fromkeys(("state", "reason", "verdict", "camera", "model", "camera_time", "gps_time", "upside_down")),
    **dict.fromkeys(("capture_override", "position_override", "position_from", "copy")),
    "latitude": HERE[0],
    "longitude": HERE[1],
    "file_time": "2026-11-20T07:00:00Z",
}


def kinds(pictures: list[Seen]) -> list[Kind]:
    return [one.kind for one in journey(pictures).stretches]


def test_a_drive_in_numbers() -> None:
    """Metres from place to place, seconds from first to last, and the usual time between two pictures."""
    way = journey(DRIVE)
    assert way.metres == pytest.approx(950, rel=1e-3)
    assert (way.pictures, way.seconds, way.interval_s, way.no_position) == (20, 95.0, 5.0, 0)
    assert [one.kind for one in way.stretches] == [Kind.DRIVEN]


def test_two_pictures_tell_no_interval() -> None:
    """Nor do several of one moment: nobody is told to set a camera right that took two pictures minutes apart."""
    far = DRIVE[0]._replace(at=400.0)
    assert journey([DRIVE[0], far]).interval_s is None
    assert journey([DRIVE[0], DRIVE[0], far]).interval_s is None
    assert journey([DRIVE[0], DRIVE[0], *DRIVE[1:3]]).interval_s == 5


def test_a_gap_is_where_no_pictures_were_taken() -> None:
    """Half a minute at 5 s is a gap; at one picture a minute it is not."""
    assert kinds(DRIVE[:8] + DRIVE[15:]) == [Kind.DRIVEN, Kind.GAP, Kind.DRIVEN]
    assert kinds([one._replace(at=12 * (one.at or 0)) for one in DRIVE]) == [Kind.DRIVEN]


@pytest.mark.parametrize("every_s", [5, 12, 60])
def test_the_way_and_the_report_have_the_same_gaps(every_s: int) -> None:
    """At any pace: one picture that is missing is none, and what the drawing shows as one the report tells too."""
    for missing in range(8):
        times = [every_s * n for n in range(20) if not 5 <= n < 5 + missing]
        rows = [ROW | {"captured": datetime.fromtimestamp(at, UTC).isoformat()} for at in times]
        told = len(report(1, rows, UTC).gaps)
        assert told == kinds([Seen(float(at), HERE, parked=False) for at in times]).count(Kind.GAP)
        assert told == (every_s * (missing + 1) > max(30, 4 * every_s))


def test_pictures_without_a_place_lie_between_two_that_have_one() -> None:
    """They are counted, and the way between is not said to be driven as drawn."""
    pictures = [one._replace(place=None) if 5 <= n < 8 or n == 0 else one for n, one in enumerate(DRIVE)]
    way = journey(pictures)
    assert [one.kind for one in way.stretches] == [Kind.DRIVEN, Kind.NO_POSITION, Kind.DRIVEN]
    assert (way.no_position, way.pictures) == (4, 20)


def test_a_stop_is_one_place_although_some_of_its_pictures_are_kept() -> None:
    """First, last and one every five minutes are sent; the vehicle stood all the same, and went nowhere."""
    stop = [Seen(100.0 + 5 * n, (HERE[0] + n % 2 * 1e-5, HERE[1]), parked=n % 60 != 0 and n != 119) for n in range(120)]
    way = journey(stop)
    assert [one.kind for one in way.stretches] == [Kind.PARKED]
    assert way.metres == 0
    assert way.stretches[0].seconds == stop[-1].at - stop[0].at  # type: ignore[operator]


def test_nothing_is_drawn_of_nothing() -> None:
    """No picture, no place, no time: no sheet, and no failure."""
    for pictures in ([], [Seen(None, None, parked=False)], [Seen(1.0, None, parked=False)] * 3):
        assert drawing(journey(pictures)) is None
    assert drawing(journey([Seen(1.0, HERE, parked=False)])) is not None


def test_north_is_at_the_top_and_the_scale_is_true() -> None:
    """A way to the north-east ends up and right of its start, and a bar is as long as it says."""
    end = along(HERE, 45, 4000)
    sheet = drawing(journey([Seen(0.0, HERE, parked=False), Seen(5.0, end, parked=False)]))
    assert sheet is not None
    assert sheet.end[0] > sheet.start[0]
    assert sheet.end[1] < sheet.start[1]
    assert math.dist(sheet.start, sheet.end) / 4000 == pytest.approx(sheet.scale / sheet.scale_m, rel=0.01)
    assert str(sheet.scale_m).strip("0") in {"1", "2", "5"}


def test_a_long_drive_is_drawn_with_few_points() -> None:
    """What nobody could see is left out: a day's 7 000 pictures are some kB."""
    pictures = [
        Seen(5.0 * n, along(along(HERE, 90, 40.0 * n), 0, 300 * math.sin(n / 30)), parked=False) for n in range(7000)
    ]
    sheet = drawing(journey(pictures))
    assert sheet is not None
    assert 2000 < len(sheet.driven) < 8000


def test_a_drive_whose_fix_was_often_lost_is_drawn_with_few_points() -> None:
    """Each kind is one path, the sheet is below 8 kB, and what was lost for long is still to be seen."""
    lost = {n for n in range(5000) if n % 10 > 7 or 960 < n % 1000 < 995}
    pictures = [
        Seen(5.0 * n, along(along(HERE, 90, 40.0 * n), 0, 90.0 * (n % 100)), parked=n % 50 < 4) for n in range(5000)
    ]
    pictures = [one._replace(place=None) if n in lost else one for n, one in enumerate(pictures)]
    assert len(journey(pictures).stretches) > 800
    sheet = drawing(journey(pictures))
    assert sheet is not None
    assert sheet.no_position.count("M") >= 4
    assert min(len(sheet.driven), len(sheet.parked)) > 0
    points = len(re.findall(r"[\d.]+,", sheet.driven + sheet.gaps + sheet.no_position))
    assert points + POINTS_OF_A_MARK * len(sheet.parked) <= MOST_POINTS
    assert len(sheet.driven + sheet.gaps + sheet.no_position) + 60 * len(sheet.parked) < 8000


def test_a_hole_that_nobody_could_see_is_none() -> None:
    """One lost picture in fifty kilometres does not cut the line; a long stretch does, and is drawn as such."""
    long = [Seen(5.0 * n, along(HERE, 90, 50.0 * n), parked=False) for n in range(1000)]
    one, many = (
        [p._replace(place=None) if a <= n < b else p for n, p in enumerate(long)] for a, b in ((9, 10), (9, 99))
    )
    sheets = [drawing(journey(pictures)) for pictures in (long, one, many)]
    assert [(sheet.driven.count("M"), sheet.no_position.count("M")) for sheet in sheets if sheet] == [
        (1, 0), (1, 0), (2, 1),
    ]  # fmt: skip


places = st.none() | st.tuples(st.floats(-60, 60), st.floats(-170, 170))
pictures_ = st.builds(Seen, at=st.none() | st.floats(0, 1e6), place=places, parked=st.booleans())


@given(st.lists(pictures_, max_size=40))
def test_whatever_the_pictures_say_it_stays_on_the_sheet(pictures: list[Seen]) -> None:
    """Every point lies inside; the counts are those of the pictures."""
    ordered = sorted(pictures, key=lambda one: (one.at is None, one.at or 0))
    way = journey(ordered)
    assert way.pictures == len(pictures)
    assert way.seconds >= 0
    sheet = drawing(way)
    if sheet is None:
        return
    lines = re.findall(r"(-?[\d.]+),(-?[\d.]+)", sheet.driven + sheet.gaps + sheet.no_position)
    for x, y in (*((float(x), float(y)) for x, y in lines), sheet.start, sheet.end, *sheet.parked):
        assert EDGE - 0.1 <= x <= WIDTH - EDGE + 0.1
        assert 0 <= y <= HEIGHT
    assert sheet.scale <= WIDTH / 4 + 0.1
