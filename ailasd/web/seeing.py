"""What is shown: the status, the sign, drives with the way they took. Only reads."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ailasd import bundle as bundling
from ailasd import reports
from ailasd.catalogue import Catalogue
from ailasd.errors import TryLater
from ailasd.model import State
from ailasd.sign import Shown, shown
from ailasd.status import Status, summary
from ailasd.storage import Storage
from ailasd.web.drawing import Drawing, drawing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ailasd.clock import Clock
    from ailasd.config import Config
    from ailasd.journey import Journey
    from ailasd.report import Report

    Row = dict[str, Any]

DRIVES: Final = 8
"""On a page: the last days, and what a phone shows without a long wait."""
PICTURES: Final = 12
"""Of a drive, evenly over it."""
DRAWN: Final = 6000
"""Pictures that are looked through for a page at most: after the process woke up nothing is known, and 100 of them
take some 2 ms. The ways of further drives are on their own pages."""
FRESH_S: Final = 1.0
"""How old a status may be that several look at: a small machine makes one in 30 ms."""
MOST_KEPT: Final = 64
"""Drives of which it is kept what was found out, at some 10 kB."""


@dataclass(frozen=True, slots=True)
class Now:
    """How it stands."""

    status: Status
    shown: Shown


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive.

    Attributes:
        started, ended: ISO 8601 in UTC, or None.
        counts: (state, reason or "", pictures).
        report: how it went; None: it was not looked at, or has no pictures.
        drawing: None: it has no place at all.
    """

    id: int
    camera: str
    started: str | None
    ended: str | None
    counts: tuple[tuple[str, str, int], ...]
    report: Report | None = None
    drawing: Drawing | None = None

    @property
    def way(self) -> Journey | None:
        """In numbers: its places are not kept."""
        return self.report.way if self.report else None

    @property
    def all_pictures(self) -> int:
        """How many it has."""
        return sum(pictures for _, _, pictures in self.counts)

    def pictures(self, *states: str) -> int:
        """How many are in one of these states."""
        return sum(pictures for state, _, pictures in self.counts if state in states)

    def reasons(self, state: str) -> list[tuple[str, int]]:
        """Why pictures are in this state, the most frequent first."""
        return [(reason, pictures) for one, reason, pictures in self.counts if one == state]


class Whole(NamedTuple):
    """A drive with all that is told of it.

    Attributes:
        pictures: some that can be shown.
        refusals: reason -> what the server said of one such picture.
    """

    drive: Drive
    pictures: list[int]
    refusals: dict[str, str]


class _Found(NamedTuple):
    """What all pictures of a drive tell together."""

    report: Report | None
    drawing: Drawing | None


class _Kept:
    """What was found out at some cost, by what it depends on: the last ``MOST_KEPT``."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, _Found] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, find: Callable[[], _Found]) -> _Found:
        """It, found out once, however many look."""
        with self._lock:
            if key not in self._found:
                self._found[key] = find()
                while len(self._found) > MOST_KEPT:
                    self._found.popitem(last=False)
            return self._found[key]


class Seeing:
    """Looks at a kit.

    Args:
        config: its own.
        clock: law 8.
        config_file: where ``config`` came from; None: built in.
    """

    def __init__(self, config: Config, clock: Clock, config_file: Path | None = None) -> None:
        self.config = config
        self._config_file = config_file
        self.clock = clock
        self.storage = Storage(config.storage.folder)
        self._lock = Lock()
        self._now: tuple[float, Now] | None = None
        self._found = _Kept()

    def catalogue(self) -> Catalogue:
        """It, for one look: opened anew each time, since daemons come and go.

        Raises:
            TryLater: there is none yet.
            CatalogueError: it cannot be read.
        """
        if not self.storage.catalogue.exists():
            raise TryLater("there is no catalogue yet")
        return Catalogue(self.storage.catalogue, self.clock, read_only=True)

    def now(self) -> Now:
        """How it stands, at most ``FRESH_S`` ago.

        Raises:
            TryLater, CatalogueError: as ``catalogue``.
        """
        with self._lock:
            if self._now is None or time.monotonic() - self._now[0] > FRESH_S:
                config = self.config
                with self.catalogue() as catalogue:
                    status = summary(
                        catalogue,
                        kit=config.kit,
                        sends=bool(config.server.url),
                        daemon_runs=self.storage.daemon_runs(),
                        free_bytes=self.storage.free(),
                        reserve=config.storage.reserve,
                        manners=config.manners,
                    )
                self._now = time.monotonic(), Now(status, shown(status))
            return self._now[1]

    def look_again(self) -> None:
        """Something was changed just now."""
        self._now = None

    def drives(self, page: int) -> tuple[list[Drive], int]:
        """Those of a page (1: the last ones), and how many pages there are."""
        with self.catalogue() as catalogue:
            pages = -(-catalogue.journeys.how_many_drives() // DRIVES) or 1
            rows = catalogue.journeys.drives(limit=DRIVES, skip=(page - 1) * DRIVES) if page <= pages else []
            drives = [_drive(row) for row in rows]
            so_far = accumulate(drive.all_pictures for drive in drives)
            looked_at = [at == 0 or pictures <= DRAWN for at, pictures in enumerate(so_far)]
            return [
                self._looked_at(catalogue, drive) if look else drive
                for drive, look in zip(drives, looked_at, strict=True)
            ], pages

    def drive(self, drive: int) -> Whole | None:
        """One; None: there is none of that number."""
        with self.catalogue() as catalogue:
            row = catalogue.journeys.drive(drive)
            if row is None:
                return None
            return Whole(
                self._looked_at(catalogue, _drive(row)),
                catalogue.journeys.some_pictures(drive, limit=PICTURES),
                catalogue.journeys.refusals(drive),
            )

    def copy_of(self, picture: int) -> Path | None:
        """Our copy of a picture; None: we have none."""
        with self.catalogue() as catalogue:
            found = catalogue.pictures.get(picture)
        return self.storage.path_of(found.copy) if found and found.copy else None

    def bundle(self) -> tuple[str, bytes]:
        """The file for support, without positions and names, and what it shall be called."""
        config = self.config
        return bundling.file_name(config, self.clock), bundling.bundle(
            config, self._config_file, page=True, clock=self.clock
        )

    def _looked_at(self, catalogue: Catalogue, drive: Drive) -> Drive:
        """With its report and its drawing."""

        def find() -> _Found:
            report = reports.of_drive(catalogue, drive.id, self.config.zone)
            return _lean(report) if report else _Found(None, None)

        report, drawing = self._found.get(_key(drive, catalogue.journeys.last_read()), find)
        return replace(drive, report=report and _as_it_stands(report, drive), drawing=drawing)


def _drive(row: Row) -> Drive:
    return Drive(row["id"], row["model"] or row["camera"], row["started"], row["ended"], tuple(row["counts"]))


def _key(drive: Drive, last_read: str | None) -> str:
    """Another one for other facts: pictures move on, but their times and places change only when they are sorted."""
    kept = sorted(one for one in drive.counts if one[0] in {State.HELD, State.REFUSED})
    return json.dumps([drive.id, drive.started, drive.ended, drive.all_pictures, kept, last_read])


def _lean(report: Report) -> _Found:
    """Without the thousands of places that are only needed to draw it."""
    return _Found(replace(report, way=replace(report.way, stretches=())), drawing(report.way))


def _as_it_stands(report: Report, drive: Drive) -> Report:
    """With the counts of this moment: sending changes them all the time, and nothing else."""
    return replace(
        report,
        safe=drive.pictures(State.CONFIRMED, State.CLEANED),
        on_their_way=drive.pictures(State.COPIED, State.QUEUED, State.SENT),
    )
