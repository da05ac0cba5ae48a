"""The five tests that the peers of ailasd do not have, end to end through the receiver."""

from __future__ import annotations

import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from kit import NO_PROGRESS_S, START, Kit, drive, held_to_permissions, kits, md5

from ailasd.demo import pictures
from ailasd.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Kit]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as make:
        yield make


# -- 1: the same names again -------------------------------------------------------------------------------------------
def test_name_reuse(make: Make) -> None:
    """A card that was formatted has other pictures under the same names: all of both days are on the server."""
    kit = make(entries=drive(5))
    kit.drain()
    shutil.rmtree(kit.card / "DCIM")
    second = drive(5, start=START + timedelta(hours=20), seed=100)
    assert [name for name, _, _ in second] == [name for name, _, _ in kit.entries]
    pictures.write_card(kit.card, second)
    kit.entries = kit.entries + second
    kit.drain()
    assert kit.held_once()


def test_same_name_in_two_folders(make: Make) -> None:
    """Two pictures of one name in two folders of a card, taken in the same second: both are on the server."""
    kit = make(entries=[
        (f"DCIM/{folder}GOPRO/G0010001.JPG", pictures.jpeg(seed=folder, position=(-18.9 + folder / 1000, 47.5)), 1.8e9)
        for folder in (100, 101)
    ])  # fmt: skip
    kit.drain()
    assert len(kit.receiver.holds()) == 2


# -- 2: the source goes away mid-way -----------------------------------------------------------------------------------
def test_pulled(make: Make) -> None:
    """A card that is pulled in the middle costs no picture: what was copied goes on, the rest comes when it is back."""
    kit = make(entries=drive(8))
    away, step = kit.tmp / "away", kit.parts.importing[0]
    source, read = step._source, []
    really = source.open

    def pulled(file: Any) -> Any:
        read.append(file.path)
        if len(read) == 4 and kit.card.exists():
            kit.card.rename(away)
        return really(file)

    source.open = pulled  # type: ignore[method-assign]
    visit = step.run(threading.Event())
    assert visit is not None
    assert (visit.outcome, visit.whole) == ("gone", False)
    assert visit.on_card == visit.copied + visit.known + sum(visit.left.values()) == 9  # with version.txt
    assert 0 < visit.copied < 8
    assert step.run(threading.Event()) is None
    assert "card_gone" in kit.events()
    away.rename(kit.card)
    kit.drain()
    assert kit.held_once()
    assert not list(kit.parts.storage.incoming.iterdir())


def test_bad_sector(make: Make) -> None:
    """One file that cannot be read costs that file only; it is on the list of what was left, with its reason."""
    kit = make(entries=drive(4))
    bad = kit.card / kit.entries[1][0]
    bad.unlink()
    bad.symlink_to("/proc/self/mem")  # reading it is EIO, were it followed
    kit.drain()
    assert kit.states() == {State.CONFIRMED: 3}
    assert kit.parts.catalogue.telling.totals()["left"]["special"] == 1


# -- 3: a card that cannot be written ----------------------------------------------------------------------------------
def test_read_only_card(make: Make) -> None:
    """From a write-protected card everything comes to the server; nothing is written to it."""
    kit = make(entries=drive(4), cleaning={"card": "confirmed"})
    before = stamps(kit.card)
    paths = [path for path, _, _ in before]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with held_to_permissions():
            with pytest.raises(PermissionError):
                (kit.card / "x").touch()
            kit.drain()
        assert kit.held_once()
        assert stamps(kit.card) == before
    finally:
        for path in paths:
            path.chmod(0o755)


def stamps(card: Path) -> list[tuple[Path, int, int]]:
    """Each entry with its time of change and size."""
    paths = [card, *sorted(card.rglob("*"))]
    return [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths]


# -- 4: a link that swallows everything --------------------------------------------------------------------------------
def test_black_holed_link(make: Make) -> None:
    """A link that dies without a word costs two time-outs, not one for each of 30 pictures; nothing is sent twice."""
    kit = make(entries=drive(30))
    kit.bring_in()
    for call in ("send", "who", "listing"):
        kit.receiver.fault(call, "black_hole", times=None)
    kit.parts.link._open, kit.parts.link._server = True, kit.parts._connect()  # it was there until just now
    began = time.monotonic()
    for _ in range(3):
        kit.upload()
    assert time.monotonic() - began < 4 * NO_PROGRESS_S
    kit.receiver.clear_faults()
    kit.drain()
    assert kit.held_once()


# -- 5: a camera whose clock is wrong ----------------------------------------------------------------------------------
YEARS = datetime(2016, 1, 1, tzinfo=UTC) - START
HOUR = timedelta(hours=1)


def wrong_in_mid_drive() -> list[tuple[str, bytes, float]]:
    """Twelve pictures five minutes ahead, then somebody sets the clock right."""
    first = drive(12, clock_error=timedelta(minutes=5))
    return first + drive(12, start=START + timedelta(seconds=60), first=13, seed=50, origin=(-18.905, 47.498))


CASES: dict[str, tuple[Any, timedelta | None]] = {
    "right": ({}, timedelta(0)),
    "5 min fast": ({"clock_error": timedelta(minutes=5)}, None),
    "1 h off": ({"clock_error": -HOUR}, None),
    "3.5 h off": ({"clock_error": 3.5 * HOUR}, None),
    "reset to 2016": ({"clock_error": YEARS}, None),
    "147 days ahead": ({"clock_error": timedelta(days=147)}, None),
    "no fix at first": ({"clock_error": timedelta(minutes=5), "no_fix": (0, 1)}, None),
}


def arrived(kit: Kit) -> list[tuple[float, str | None]]:
    """For each picture that arrived: how far (s) from the truth the server would store it, and the override sent."""
    result = []
    for index, (_, data, _) in enumerate(kit.entries):
        if (fields := kit.sent.get(md5(data))) is None:
            continue
        override = fields.get("override_capture_time")
        truth = START + timedelta(seconds=5 * index)
        row = kit.parts.catalogue.pictures.whole_row(kit.picture(index).id)
        own = row["gps_time"] if row["server_takes"] == "gps" else f"{row['camera_time']}+03:00"
        shown = override or own
        result.append(((datetime.fromisoformat(shown) - truth).total_seconds(), override))
    return result


@pytest.mark.parametrize("case", CASES)
def test_wrong_clock(make: Make, case: str) -> None:
    """Whatever the camera's clock said, each picture arrives within a second of when it was taken."""
    facts, right = CASES[case]
    kit = make(entries=drive(24, **facts))
    kit.drain()
    got = arrived(kit)
    assert len(got) == 24 - len(facts.get("no_fix", ()))
    assert max(abs(error) for error, _ in got) <= 1
    overrides = {override is not None for _, override in got}
    assert overrides == {right is None}


def test_one_without_subseconds(make: Make) -> None:
    """Of the one picture with sub-seconds 0000 the server takes the other clock, the satellites': right, too."""
    entries = drive(24, clock_error=timedelta(minutes=5))
    entries[7] = drive(24, clock_error=timedelta(minutes=5), subsec="0000")[7]
    kit = make(entries=entries)
    kit.drain()
    got = arrived(kit)
    assert len(got) == 24
    assert max(abs(error) for error, _ in got) <= 1


def test_gps_of_the_past(make: Make) -> None:
    """Satellite dates of 1980 and 2006, as receivers give them before the first fix, correct nothing."""
    entries = drive(24, clock_error=timedelta(minutes=5))
    for index, year in ((0, 1980), (1, 2006)):
        name, _, mtime = entries[index]
        taken = START + timedelta(seconds=5 * index)
        shown = (taken + timedelta(minutes=5, hours=3)).replace(tzinfo=None)
        data = pictures.jpeg(
            camera_time=shown, gps_time=taken.replace(year=year, month=1, day=6), seed=900 + index, group_path=name,
            position=pictures.along((-18.9, 47.5), 200, index * 55.6),
        )  # fmt: skip
        entries[index] = (name, data, mtime)
    kit = make(entries=entries)
    kit.drain()
    got = arrived(kit)
    assert len(got) == 24
    assert max(abs(error) for error, _ in got) <= 1


def test_set_right_in_mid_drive(make: Make) -> None:
    """A clock that somebody sets right in mid-drive is corrected before, and believed after."""
    kit = make(entries=wrong_in_mid_drive())
    kit.drain()
    got = arrived(kit)
    assert len(got) == 24
    assert max(abs(error) for error, _ in got) <= 1
