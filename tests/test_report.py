"""The report of a drive: what it finds out from the pictures, and what it says of it in three languages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from as_on_a_kit import environment
from kit import START, Kit, drive, kits

from ailasd.camera_clock import camera_clock
from ailasd.config.check import as_toml
from ailasd.demo import pictures
from ailasd.demo.pictures import along
from ailasd.language import LANGUAGES
from ailasd.model import State
from ailasd.report import Report, report
from ailasd.reports import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., Kit]

HERE = ZoneInfo("Indian/Antananarivo")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes kits; see ``kits``."""
    with kits(tmp_path) as made:
        yield made


def facts(kit: Kit) -> Report:
    """Of the first drive, after all was read and sorted."""
    kit.bring_in()
    return report(1, kit.parts.catalogue.telling.pictures_of_drive(1), HERE)


def said(kit: Kit, language: str = "en") -> str:
    return text(kit.parts.catalogue, 1, language, HERE) or ""


def test_a_good_drive(make: Make) -> None:
    """Counts, kilometres, time, interval and clock; nothing is to be done better."""
    kit = make(entries=drive(61))  # five minutes at 40 km/h
    one = facts(kit)
    assert (one.pictures, one.on_their_way, one.safe, one.way.interval_s) == (61, 61, 0, 5)
    assert one.way.metres == pytest.approx(300 * 40 / 3.6, rel=0.001)
    assert one.clock.off_s == 0
    assert (one.gaps, one.parked, one.late_fix_s, one.way.no_position, one.upside_down) == ((), (), 0, 0, 0)
    assert said(kit).splitlines() == [
        "Drive 1, HERO13 Black: 2026-11-20 from 10:00 to 10:05.",
        "61 pictures, 3.3 km, 5 min.",
        "The interval was 5 s, as it should be.",
        "The camera's clock was right.",
        "On their way to the server: 61 pictures.",
    ]


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"every_s": 10}, "The interval was 10 s, not 5 s: please set it in the camera."),
        (
            {"clock_error": timedelta(minutes=5)},
            "The camera's clock was 5 min fast: please set it.\n20 pictures are sent with their true time.\n",
        ),
        ({"clock_error": timedelta(hours=-1)}, "The camera's clock was 1 h slow: please set it."),
        ({"clock_error": timedelta(days=147, hours=3)}, "The camera's clock was 147 days 3 h fast: please set it."),
        (
            {"no_fix": range(8)},
            "There was no GPS for the first 40 s: switch the camera on about 1 minute before you leave.",
        ),
        ({"no_fix": range(8)}, "Kept here, not sent: 8 pictures without a GPS position."),
        (
            {"no_fix": range(20)},
            "The camera's clock could not be checked, because no picture has a GPS time.",
        ),
        (
            {"no_fix": range(20)},
            "No picture has a GPS position: is GPS switched on in the camera?",
        ),
        (
            {"no_fix": range(20), "model": "HERO12 Black"},
            "This camera has no GPS: its pictures need a track (GPX) from a phone.",
        ),
        ({"orientation": 3, "auto_rotation": "U"}, ""),  # it turned them itself
        ({"speed_kmh": 0, "n": 100}, "Parked from 10:00 to 10:08."),
    ],
)
def test_what_a_drive_can_tell(make: Make, how: dict[str, Any], sentence: str) -> None:
    """Each trouble of the field has its sentence, with the project's advice."""
    kit = make(entries=drive(**{"n": 20, **how}))
    kit.bring_in()
    assert sentence in said(kit)


@pytest.mark.parametrize(
    ("first_error", "then_error", "sentence"),
    [
        (timedelta(hours=1), timedelta(), "The camera's clock was 1 h fast, until it was set right during the drive."),
        (timedelta(minutes=-7), timedelta(), "The camera's clock was 7 min slow, until it was set right during"),
        (timedelta(), timedelta(minutes=7), "The camera's clock was 7 min fast: please set it."),
    ],
)
def test_a_clock_that_was_set_on_the_way(
    make: Make, first_error: timedelta, then_error: timedelta, sentence: str
) -> None:
    """What it was before is told, and whether there is still something to do."""
    on = START + timedelta(seconds=100)
    kit = make(
        entries=[
            *drive(20, clock_error=first_error),
            *drive(20, clock_error=then_error, start=on, first=21, origin=along((-18.9, 47.5), 200, 1111), seed=100),
        ]
    )
    kit.bring_in()
    assert sentence in said(kit)
    assert "\n20 pictures are sent with their true time.\n" in said(kit)


def test_a_receiver_without_a_fix_vouches_for_no_clock() -> None:
    """A GPS time of 1980 beside a camera's own time is no comparison."""
    row = {"captured": "2026-11-20T07:00:00Z", "camera_time": "2026-11-20T10:00:00", "capture_override": None}
    assert camera_clock([{**row, "gps_time": "1980-01-06T00:00:00Z"}], HERE).off_s is None
    assert camera_clock([{**row, "gps_time": "2026-11-20T07:00:01Z"}], HERE).off_s == 0


def test_upside_down(make: Make) -> None:
    """It is said once, however many pictures hang so."""
    kit = make()
    kit.bring_in()
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE picture SET upside_down = 1")
    assert said(kit).count("The camera hung upside down") == 1


def test_gaps(make: Make) -> None:
    """Where pictures are missing in the middle of a drive; those of a camera's own hiccup are none."""
    kit = make(entries=[one for i, one in enumerate(drive(40)) if not 10 <= i < 22 and i not in {30, 31}])
    (gap,) = facts(kit).gaps
    assert gap.end - gap.start == timedelta(seconds=65)
    assert "There are no pictures from 10:00 to 10:01." in said(kit)


def test_standing_still_is_no_way(make: Make) -> None:
    """A receiver that wanders about while the vehicle is parked adds no kilometres."""
    kit = make(entries=drive(100, speed_kmh=0.1))
    one = facts(kit)
    assert one.held["parked"] > 80
    assert one.way.metres < 20


def test_corrected_are_those_that_are_sent(make: Make) -> None:
    """Of a clock that is off only those pictures get a true time at the server that go there."""
    kit = make(entries=drive(12, clock_error=timedelta(minutes=5), no_fix=(4, 5)))
    one = facts(kit)
    assert one.held == {"no_position": 2}
    assert one.clock.corrected == one.on_their_way == 10


def test_the_camera_was_in_video_mode(make: Make) -> None:
    """Videos of that day are told with their times, by the clock of the pictures' own files; older ones are not."""
    kit = make(entries=drive(5, clock_error=timedelta(minutes=5)))
    shown = START + timedelta(hours=3, minutes=5)  # what the camera's clock was, local and wrong
    for minute, name in ((30, "GX010001.MP4"), (50, "GX010002.MP4"), (-9000, "GX010003.MP4")):
        path = kit.card / "DCIM/100GOPRO" / name
        path.write_bytes(b"video")
        at = (shown + timedelta(minutes=minute)).timestamp()
        os.utime(path, (at, at))
    kit.bring_in()
    text = said(kit)
    assert "The camera was in video mode from about 10:30 to 10:50. Videos are not sent." in text.replace("\n", " ")


def test_a_video_before_and_one_after_the_pictures(make: Make) -> None:
    """Nobody is told that the camera was in video mode while it took pictures."""
    kit = make(entries=drive(60))
    shown = START + timedelta(hours=3)
    for minute, name in ((-10, "GX010001.MP4"), (20, "GX010002.MP4")):
        path = kit.card / "DCIM/100GOPRO" / name
        path.write_bytes(b"video")
        at = (shown + timedelta(minutes=minute)).timestamp()
        os.utime(path, (at, at))
    kit.bring_in()
    text = said(kit)
    assert "video mode" not in text
    assert text.count("The camera recorded a video until about") == 2


def test_where_the_pictures_are(make: Make) -> None:
    """Sent, held and refused ones are counted, with the reason."""
    kit = make(entries=drive(6, no_fix=(5,)))
    kit.bring_in()
    kit.parts.catalogue.pictures.move(kit.picture(0), State.REFUSED, reason="excluded_area", why="x")
    kit.drain()
    assert said(kit).splitlines()[-3:] == [
        "On the server: 4 pictures.",
        "Kept here, not sent: 1 picture without a GPS position.",
        "Refused by the server (an excluded area): 1 picture.",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_it_all(make: Make, language: str) -> None:
    """As many sentences as in English, in other words, with the same numbers."""
    kit = make(entries=drive(20, clock_error=timedelta(minutes=5), no_fix=range(8), every_s=10))
    kit.bring_in()
    lines, english = said(kit, language).splitlines(), said(kit).splitlines()
    assert len(lines) == len(english)
    assert (lines == english) is (language == "en")
    for line, other in zip(lines, english, strict=True):
        assert sorted(re.findall(r"\d+", line)) == sorted(re.findall(r"\d+", other))


def test_it_lies_beside_the_pictures(make: Make) -> None:
    """As soon as a card was read, in the language of the people there, and again when more of the drive comes."""
    entries = drive(6)
    kit = make(entries=entries[:4])
    kit.bring_in()
    (file,) = (kit.tmp / "state/pictures").rglob("*.txt")
    assert file.name == "drive-1.txt"
    assert list(file.parent.glob("*.jpg"))
    assert file.read_text(encoding="utf-8") == said(kit, "fr")
    pictures.write_card(kit.card, entries[4:])
    kit.bring_in()
    assert "6 images" in file.read_text(encoding="utf-8")


def test_numbers_are_written_as_in_the_readers_language(make: Make) -> None:
    """A decimal comma in French; a word that goes with one picture or with several."""
    kit = make(entries=drive(61, no_fix=(5,)))
    kit.bring_in()
    kit.parts.catalogue.pictures.move(kit.picture(0), State.HELD, reason="broken", why="x")
    assert "61 images, 3,3 km, 5 min." in said(kit, "fr")
    assert " 1 image endommagée\N{NO-BREAK SPACE}: la carte" in said(kit, "fr")
    kit.parts.catalogue.pictures.move(kit.picture(1), State.HELD, reason="broken", why="x")
    assert " 2 images endommagées\N{NO-BREAK SPACE}: la carte" in said(kit, "fr")


def test_a_report_that_cannot_be_written_is_told(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures matter more: they are queued all the same."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ailasd.reports.write_whole", full)
    kit = make()
    kit.bring_in()
    assert kit.states() == {"queued": 3}
    assert "report_failed" in kit.events()


def test_names_from_a_card_are_harmless(make: Make) -> None:
    """A camera that calls itself something with terminal escapes."""
    kit = make()
    kit.bring_in()
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE picture SET model = ?", ("evil\x1b[2J %(pictures)s",))
    assert "evil" in said(kit)
    assert "\x1b" not in said(kit)


def test_no_position_is_told(make: Make) -> None:
    """Only how far it was."""
    kit = make(entries=drive(20, origin=(-18.987654, 47.512345)))
    kit.bring_in()
    assert "18.9" not in said(kit)
    assert "47.5" not in said(kit)


def test_the_command(make: Make) -> None:
    """`ailasd report 1` in the configured language or another; a drive that is not there is code 66."""
    kit = make()
    kit.bring_in()
    config = kit.tmp / "config.toml"
    config.write_text(as_toml(kit.config()))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ailasd", "--config", str(config), "report", *words]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)

    assert run("1").stdout == said(kit, "fr")
    assert run("1", "--language", "mg").stdout == said(kit, "mg")
    missing = run("7")
    assert (missing.returncode, missing.stderr) == (66, "There is no drive 7.\n")
