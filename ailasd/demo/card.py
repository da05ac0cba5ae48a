"""The demo's card: what a Hero 13 leaves after a day on the road, with the troubles of FIELD.md, small and in seconds.

Each file says what must become of it, so that the demo can check the daemon's work against the card alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from ailasd.demo.pictures import along, drive, write_card

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVERY_S: Final = 5
SPEED_KMH: Final = 40.0
PARKED_KEEP_EVERY_S: Final = 300
"""``triage.parked_keep_every``, as the demo's configuration leaves it."""

HERO13: Final = {"model": "HERO13 Black", "serial": "C3531325123456"}
HERO11: Final = {"model": "HERO11 Black", "serial": "C3471325654321"}
SIZE: Final = (480, 360)
"""Pixels: some 15 kB, so that a count of bytes tells something, and a card of 160 is made in half a second."""


class Fate(StrEnum):
    """What must become of a file."""

    GOOD = "good"  # on the server, once
    HELD = "held"  # copied, kept here with its reason, not sent
    LEFT = "left"  # not a picture that can be used: counted, and left on the card


class Entry(NamedTuple):
    """One file of the card."""

    path: str
    data: bytes
    mtime: float
    fate: Fate


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many pictures each part of the day has; the tests make a shorter day."""

    no_fix: int = 4
    before_folder_is_full: int = 26
    after: int = 14
    parked: int = 50
    driving_on: int = 20
    wrong_clock: int = 30
    second_camera: int = 8

    def __post_init__(self) -> None:
        assert self.after > 5  # the copy and the picture that the server already has are among them


EARLIER: Final = "DCIM/101GOPRO/G0011002.JPG"
"""The picture that somebody uploaded through the website before."""
TWICE: Final = "DCIM/101GOPRO/G0011004.JPG"
"""The picture that also lies on the card under another name."""


def entries(sizes: Sizes, *, day: datetime, seed: int) -> Iterator[Entry]:
    """Everything that lies on the card but ``MISC/version.txt``.

    Args:
        sizes: how much of each.
        day: aware; any moment of the day of the sizes.
        seed: pictures of another seed (10 000 apart) have other contents.
    """
    morning = day.astimezone(UTC).replace(hour=4, minute=30, second=0, microsecond=0)  # 7:30 in Madagascar
    yield from _morning(sizes, morning, seed)
    yield from _afternoon(sizes, morning + timedelta(hours=7), seed + 5_000)
    yield from _second_camera(sizes, morning + timedelta(hours=2), seed + 8_000)
    yield from _no_pictures(morning.timestamp())


def _morning(sizes: Sizes, start: datetime, seed: int) -> Iterator[Entry]:
    """One recording over two folders: a start without fix, a road, a stop, the road again."""
    first = 999 - sizes.no_fix - sizes.before_folder_is_full + 1  # so that the folder is full with picture 0999
    way = _Way(start, seed, first=first)
    yield from way.go(sizes.no_fix, folder=100, no_fix=True)
    yield from way.go(sizes.before_folder_is_full, folder=100)
    for entry in way.go(sizes.after, folder=101):
        yield entry
        if entry.path == TWICE:
            yield entry._replace(path="DCIM/101GOPRO/copy of G0011004.JPG")
    yield from way.park(sizes.parked, folder=101)
    yield from way.go(sizes.driving_on, folder=101)


def _afternoon(sizes: Sizes, start: datetime, seed: int) -> Iterator[Entry]:
    """The next recording, with a clock set to the wrong zone; at its end the card was pulled out."""
    way = _Way(start, seed, first=1501, group=2, clock_error=timedelta(hours=1))
    *whole, last = way.go(sizes.wrong_clock + 1, folder=101)
    yield from whole
    yield last._replace(data=last.data[: len(last.data) * 6 // 10], fate=Fate.HELD)
    yield Entry("DCIM/101GOPRO/G0021999.JPG", b"", last.mtime + EVERY_S, Fate.LEFT)


def _second_camera(sizes: Sizes, start: datetime, seed: int) -> Iterator[Entry]:
    """Somebody put the card into an older camera for a while; that one writes its offset to UTC."""
    way = _Way(start, seed, first=1, offset="+03:00", **HERO11)  # type: ignore[arg-type]
    yield from way.go(sizes.second_camera, folder=102)


class _Way:
    """A recording in the making: time, place and numbers go on from leg to leg."""

    def __init__(self, start: datetime, seed: int, *, first: int, group: int = 1, **facts: object) -> None:
        self._start = start
        self._seed = seed
        self._first = first
        self._facts = {**HERO13, "size": SIZE, "group": group, **facts}
        self._taken = 0
        self._metres = 0.0

    def go(self, pictures: int, *, folder: int, no_fix: bool = False) -> Iterator[Entry]:
        """So many pictures along the road."""
        fate = Fate.HELD if no_fix else Fate.GOOD
        for path, data, mtime in self._leg(pictures, folder, SPEED_KMH, no_fix=no_fix):
            yield Entry(path, data, mtime, fate)
        self._metres += pictures * EVERY_S * SPEED_KMH / 3.6

    def park(self, pictures: int, *, folder: int) -> Iterator[Entry]:
        """So many pictures of the same place: first, last and one in five minutes are worth sending."""
        kept = PARKED_KEEP_EVERY_S // EVERY_S
        for index, (path, data, mtime) in enumerate(self._leg(pictures, folder, 0.0)):
            good = index % kept == 0 or index == pictures - 1
            yield Entry(path, data, mtime, Fate.GOOD if good else Fate.HELD)
        self._metres += EVERY_S * SPEED_KMH / 3.6

    def _leg(
        self, pictures: int, folder: int, speed_kmh: float, *, no_fix: bool = False
    ) -> Iterator[tuple[str, bytes, float]]:
        yield from drive(
            start=self._start + timedelta(seconds=self._taken * EVERY_S),
            n=pictures,
            every_s=EVERY_S,
            speed_kmh=speed_kmh,
            origin=along((-18.9, 47.5), 200, self._metres),
            folder=folder,
            first=self._first + self._taken,
            seed=self._seed + self._taken,
            no_fix=range(pictures) if no_fix else (),
            **self._facts,  # type: ignore[arg-type]
        )
        self._taken += pictures


def _no_pictures(at: float) -> Iterator[Entry]:
    """What else cameras and computers leave on a card."""
    for path, size in (
        ("DCIM/100GOPRO/._G0010999.JPG", 4096),  # AppleDouble: macOS was here
        ("DCIM/100GOPRO/GX010001.MP4", 60_000),
        ("DCIM/100GOPRO/GX010001.THM", 5_000),
        ("DCIM/100GOPRO/GL010001.LRV", 20_000),
        ("DCIM/100GOPRO/GOPR0001.GPR", 40_000),
        ("Get_started_with_GoPro.url", 60),
    ):
        yield Entry(path, bytes(size), at, Fate.LEFT)


def write(folder: Path, sizes: Sizes, *, day: datetime, seed: int = 0) -> dict[str, Fate]:
    """Make the card in ``folder``; returns what must become of each file, by its path on the card."""
    fates = {"MISC/version.txt": Fate.LEFT}

    def noting() -> Iterator[tuple[str, bytes, float]]:
        for path, data, mtime, fate in entries(sizes, day=day, seed=seed):
            fates[path] = fate
            yield path, data, mtime

    write_card(folder, noting(), **HERO13)
    at = day.timestamp()
    os.utime(folder / "MISC" / "version.txt", (at, at))
    return fates
