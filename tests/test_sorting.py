"""sorting: copied pictures -> drives and sequences; each is queued, or held with a reason."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ailasd.config import parse
from ailasd.demo.pictures import drive, jpeg, write_card
from ailasd.parts import Ailasd
from ailasd.sources.folder import FolderSource

START = datetime(2026, 11, 20, 7, tzinfo=UTC)
OTHER = "C3531325999999"


@pytest.fixture
def parts(tmp_path: Path):
    text = f'kit = "kit-07"\n[storage]\nfolder = "{tmp_path}/state"\nreserve = "10MB"\n[drives]\nmost_pictures = 20'
    with Ailasd(parse(text, "test")) as built:
        yield built


def card(tmp_path: Path, *drives, name: str = "card") -> Path:
    folder = tmp_path / name
    write_card(folder, [entry for one in drives for entry in one])
    return folder


def bring_in(parts: Ailasd, *cards: Path) -> None:
    for folder in cards:
        assert parts.importing_from(FolderSource(folder)).run(threading.Event()) is not None
    assert parts.sorting.run(threading.Event()).worked


def rows(parts: Ailasd, sql: str) -> list[Any]:
    with parts.catalogue.writing() as db:
        return [tuple(row) for row in db.conn.execute(sql)]


def test_a_drive_is_one_sequence_in_the_order_of_capture(parts: Ailasd, tmp_path: Path):
    """Ten pictures of one recording are one drive, one sequence, queued in the order they were taken."""
    bring_in(parts, card(tmp_path, drive(start=START, n=10)))
    assert rows(parts, "SELECT count(*) FROM drive") == [(1,)]
    assert rows(parts, "SELECT title, part FROM sequence") == [("kit-07 2026-11-20 10:00 C3531325123456", 1)]
    order = rows(parts, "SELECT name FROM picture WHERE state = 'queued' ORDER BY rank")
    assert order == [(f"G001{number:04}.JPG",) for number in range(1, 11)]
    captured = [row[0] for row in rows(parts, "SELECT captured FROM picture ORDER BY rank")]
    assert captured == sorted(captured)
    assert captured[0].startswith("2026-11-20T07:00:00")


def test_every_tenth_picture_goes_first(parts: Ailasd, tmp_path: Path):
    """Of each set, here 13 pictures of a drive of 26, the 1st and the 11th are queued before the others."""
    bring_in(parts, card(tmp_path, drive(start=START, n=26)))
    order = [name for (name,) in rows(parts, "SELECT name FROM picture ORDER BY rank")]
    thin = [f"G001{number:04}.JPG" for number in (1, 11, 14, 24)]
    assert order == thin + sorted(set(order) - set(thin))
    assert rows(parts, "SELECT count(*) FROM picture WHERE NOT fill") == [(4,)]


def test_another_order_in_the_configuration(tmp_path: Path):
    """What was queued before ``upload.order`` and ``thin`` were changed is lined up anew when sorting runs next."""
    text = f'[storage]\nfolder = "{tmp_path}/state"\nreserve = "10MB"\n'
    old, new = drive(start=START - timedelta(days=30), n=12), drive(start=START, n=12, group=2, seed=50)
    with Ailasd(parse(text, "test")) as built:
        bring_in(built, card(tmp_path, old, new))
        first = [name for (name,) in rows(built, "SELECT name FROM picture ORDER BY rank")]
    assert first[:3] == ["G0020001.JPG", "G0020011.JPG", "G0020002.JPG"]
    with Ailasd(parse(text + '[upload]\norder = "oldest"\nthin = 1\n', "test")) as built:
        assert not built.sorting.run(threading.Event()).worked
        order = [name for (name,) in rows(built, "SELECT name FROM picture ORDER BY rank")]
    assert order == sorted(first)


def test_the_newest_drive_goes_first(parts: Ailasd, tmp_path: Path):
    """Last night's road is sent before last month's, whatever came in first."""
    old, new = drive(start=START - timedelta(days=30), n=3), drive(start=START, n=3, group=2, seed=50)
    bring_in(parts, card(tmp_path, old, new))
    first = parts.catalogue.pictures.next_to_send()
    assert first is not None
    assert first.name == "G0020001.JPG"


def test_a_drive_over_two_cards_is_one_drive(parts: Ailasd, tmp_path: Path):
    """A recording that went on on a second card joins the drive that is there, and its open sequence."""
    whole = list(drive(start=START, n=12))
    bring_in(parts, card(tmp_path, whole[:5]))
    bring_in(parts, card(tmp_path, whole[5:], name="second"))
    assert rows(parts, "SELECT count(*) FROM drive") == [(1,)]
    assert rows(parts, "SELECT sequence, count(*) FROM picture GROUP BY 1") == [(1, 12)]


def test_two_cameras_are_two_drives(parts: Ailasd, tmp_path: Path):
    """Front and back camera at the same time, with the same group number, do not mix."""
    bring_in(
        parts,
        card(tmp_path, drive(start=START, n=4)),
        card(tmp_path, drive(start=START, n=4, serial=OTHER, seed=99), name="back"),
    )
    assert rows(parts, "SELECT camera, count(*) FROM picture GROUP BY drive ORDER BY 1") == [
        ("C3531325123456", 4),
        (OTHER, 4),
    ]


def test_a_long_drive_is_bounded_into_parts(parts: Ailasd, tmp_path: Path):
    """With 20 at most, 45 pictures are three sequences of one drive, in order, none larger than 20."""
    bring_in(parts, card(tmp_path, drive(start=START, n=45)))
    sizes = rows(
        parts, "SELECT part, count(*) FROM picture JOIN sequence ON sequence.id = sequence GROUP BY 1 ORDER BY 1"
    )
    assert sum(size for _, size in sizes) == 45
    assert len(sizes) == 3
    assert all(size <= 20 for _, size in sizes)


def test_what_is_held_says_why(parts: Ailasd, tmp_path: Path):
    """Without a position, without a date, cut in half: held, each with its word and a sentence, none forgotten."""
    good = list(drive(start=START, n=2))
    whole = jpeg(camera_time=datetime(2026, 11, 20, 10), gps_time=START, seed=77)
    odd = [
        ("DCIM/100GOPRO/GOPR0901.JPG", jpeg(position=None, gps_time=None, seed=71), START.timestamp()),
        ("DCIM/100GOPRO/GOPR0902.JPG", jpeg(camera_time=None, gps_time=None, seed=72), START.timestamp()),
        ("DCIM/100GOPRO/GOPR0903.JPG", whole[: len(whole) // 3], START.timestamp()),
    ]
    bring_in(parts, card(tmp_path, good, odd))
    held = rows(parts, "SELECT name, reason, why FROM picture WHERE state = 'held' ORDER BY name")
    assert [(name, reason) for name, reason, _ in held] == [
        ("GOPR0901.JPG", "no_position"),
        ("GOPR0902.JPG", "no_date"),
        ("GOPR0903.JPG", "broken"),
    ]
    assert all(len(why) > 10 for _, _, why in held)
    assert rows(parts, "SELECT count(*) FROM picture WHERE drive IS NULL OR state = 'copied'") == [(0,)]


def test_a_wrong_camera_clock_is_corrected_in_the_rows(parts: Ailasd, tmp_path: Path):
    """A clock one hour fast: every picture gets its true time and the time to send; both clocks stay; it is told."""
    bring_in(parts, card(tmp_path, drive(start=START, n=6, clock_error=timedelta(hours=1))))
    found = rows(parts, "SELECT captured, capture_override, camera_time, gps_time FROM picture ORDER BY rank")
    for number, (captured, override, camera, gps) in enumerate(found):
        truth = START + timedelta(seconds=5 * number)
        assert abs(datetime.fromisoformat(captured) - truth) < timedelta(seconds=1.5)
        assert abs(datetime.fromisoformat(override) - truth) < timedelta(seconds=1.5)
        assert camera.startswith("2026-11-20T11:00")
        assert gps.startswith("2026-11-20T07:00")
    assert "clock_corrected" in [event["name"] for event in parts.catalogue.telling.timeline(drive=1)]
    assert "1 h" in rows(parts, "SELECT clock FROM drive")[0][0]


def test_a_parked_hour_is_held_here(parts: Ailasd, tmp_path: Path):
    """Of 720 pictures of a vehicle that stands, at most 15 are queued; the rest is held as parked (trap 4)."""
    bring_in(parts, card(tmp_path, drive(start=START, n=720, speed_kmh=0)))
    counts = dict(rows(parts, "SELECT state, count(*) FROM picture GROUP BY 1"))
    assert counts["queued"] <= 15
    assert counts["held"] == 720 - counts["queued"]
    assert rows(parts, "SELECT DISTINCT reason FROM picture WHERE state = 'held'") == [("parked",)]


def test_nobody_sorts_while_pictures_come_in(parts: Ailasd, tmp_path: Path):
    """While an import runs (in any process) sorting waits, so that a drive is judged whole."""
    folder = card(tmp_path, drive(start=START, n=3))
    assert parts.importing_from(FolderSource(folder)).run(threading.Event()) is not None
    with parts.storage.importing():
        done = parts.sorting.run(threading.Event())
        assert (done.worked, done.again_in is not None) == (False, True)
    assert parts.sorting.run(threading.Event()).worked


def test_a_kill_in_mid_judgement_leaves_the_drive_unjudged(parts: Ailasd, tmp_path: Path, monkeypatch):
    """A drive is written whole or not at all: killed half-way, the next run judges it all over."""
    folder = card(tmp_path, drive(start=START, n=6))
    assert parts.importing_from(FolderSource(folder)).run(threading.Event()) is not None
    really, calls = parts.catalogue.drives.judged, iter(range(100))

    def killed(*args, **facts):
        if next(calls) == 3:
            raise KeyboardInterrupt
        really(*args, **facts)

    monkeypatch.setattr(parts.catalogue.drives, "judged", killed)
    with pytest.raises(KeyboardInterrupt):
        parts.sorting.run(threading.Event())
    assert rows(parts, "SELECT (SELECT count(*) FROM drive), count(*) FROM picture WHERE state = 'copied'") == [(0, 6)]
    monkeypatch.undo()
    parts.sorting.run(threading.Event())
    assert rows(parts, "SELECT (SELECT count(*) FROM drive), count(*) FROM picture WHERE state = 'queued'") == [(1, 6)]
