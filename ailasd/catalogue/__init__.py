"""The catalogue: one SQLite file that says of every picture where it is and why. All SQL lives in this package.

``migrations`` has the schema, ``database`` the connections; the rest is sorted by what it is about: ``cards``,
``pictures``, ``drives``, ``tracks``, ``media`` (what is plugged in), ``traffic`` (bytes sent), ``past`` (what a lost
catalogue knew), ``telling`` (what people want to know), ``journeys`` (the ways that drives took), ``extracts``
(pictures for other programs) and ``excerpt`` (a small copy for support).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ailasd.catalogue.cards import Cards
from ailasd.catalogue.database import Connections
from ailasd.catalogue.drives import Drives
from ailasd.catalogue.extracts import Extracts
from ailasd.catalogue.journeys import Journeys
from ailasd.catalogue.media import Media
from ailasd.catalogue.past import Past
from ailasd.catalogue.pictures import Pictures
from ailasd.catalogue.telling import Telling
from ailasd.catalogue.tracks import Tracks
from ailasd.catalogue.traffic import Traffic

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlite_utils import Database

    from ailasd.clock import Clock


class Catalogue:
    """One open catalogue; usable from every thread.

    Args:
        path: of its file.
        clock: law 8.
        read_only: nothing can be changed through it; for somebody who may only read, and for one look at a time.

    Raises:
        CatalogueError: on opening, when the file cannot be used.
    """

    def __init__(self, path: Path, clock: Clock, *, read_only: bool = False) -> None:
        self._connections = Connections(path, read_only=read_only)
        self.path = path
        self.clock = clock
        self.cards = Cards(self._connections, clock)
        self.pictures = Pictures(self._connections, clock)
        self.drives = Drives(self._connections, clock)
        self.tracks = Tracks(self._connections, clock, self.pictures)
        self.media = Media(self._connections, clock)
        self.past = Past(self._connections, clock)
        self.telling = Telling(self._connections, clock)
        self.extracts = Extracts(self._connections)
        self.traffic = Traffic(self._connections, clock, self.telling)
        self.journeys = Journeys(self._connections)

    def writing(self) -> AbstractContextManager[Database]:
        """One transaction over several calls."""
        return self._connections.writing()

    def version(self) -> int:
        """Another number whenever another thread or process has changed something; for one thread to compare."""
        return self._connections.version()

    def schema(self) -> str:
        """The schema that is really built."""
        return str(self._connections.mine.schema)

    def close(self) -> None:
        """Close the file."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
