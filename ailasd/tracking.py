"""Step: GPX files of a source -> catalogue. Each is kept once by its content, also that it cannot be read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from ailasd import tracks
from ailasd.clock import iso
from ailasd.errors import SourceGone, TryLater, Unreadable
from ailasd.logs import Event
from ailasd.model import Kind

if TYPE_CHECKING:
    import io
    import threading
    from collections.abc import Callable, Iterator

    from ailasd.catalogue import Catalogue
    from ailasd.journal import Journal
    from ailasd.model import CardFile
    from ailasd.sources import Source

MOST_ENTRIES: Final = 200_000
"""Entries of a source that are looked at; a stick full of other things is not searched to its end."""
MOST_DEEP: Final = 8
"""Folders in folders; a logger's own has three."""
MOST_NEW: Final = 500
"""Files read in one look; the next look goes on."""
MOST_REMEMBERED: Final = 50_000
"""Files known without reading them again; beyond that they are read again, and known by their content."""

CHUNK: Final = 1 << 20
"""expat looks at an unfinished piece of text anew with each chunk: small ones cost the square of their number."""
MAX_NAME: Final = 100
"""Characters of a file's name before people."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a source found.

    Attributes:
        tracks: how many files are tracks that can be read.
        new: how many of them nobody had seen before.
    """

    tracks: int = 0
    new: int = 0


class Tracking:
    """Takes in the GPX tracks of sources: the inbox, sticks. One for all of them, from any thread."""

    def __init__(self, catalogue: Catalogue, journal: Journal) -> None:
        self._tracks = catalogue.tracks
        self._journal = journal
        self._known: dict[tuple[str, str, int, int], bool] = {}  # card, path, size, time -> whether it is a track

    def run(self, source: Source, stop: threading.Event) -> int:
        """Take in what is new. Returns how many readable tracks the source has."""
        return self.look(source, stop).tracks

    def look(self, source: Source, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> Look:
        """The same, telling new ones apart. ``alive`` is called for each file that is read: work goes on."""
        readable = new = read = 0
        try:
            card = source.card()
            for file in _gpx_files(source, stop):
                key = (card.identity, *file[:3])
                if (known := self._known.get(key)) is None:
                    if read >= MOST_NEW:
                        continue
                    read += 1
                    alive()
                    try:
                        known, fresh = self._take(source, file, card.label, stop)
                    except SourceGone:
                        raise
                    except TryLater:  # somebody still writes it, or we were told to stop
                        continue
                    except Unreadable as error:
                        known, fresh = False, False
                        self._journal.tell(Event.TRACK_UNREADABLE, name=_name(file), problem=str(error))
                    new += fresh
                    if len(self._known) >= MOST_REMEMBERED:
                        self._known.clear()
                    self._known[key] = known
                readable += known
        except (SourceGone, Unreadable):  # the source as a whole: who reads its pictures says so
            pass
        return Look(readable, new)

    def _take(self, source: Source, file: CardFile, label: str, stop: threading.Event) -> tuple[bool, bool]:
        """Whether the file is a track that can be read, and whether it is new.

        Raises:
            TryLater, SourceGone, Unreadable: its bytes cannot be had.
        """
        md5 = hashlib.md5(usedforsecurity=False)
        with source.open(file) as stream:
            for chunk in _chunks(stream, stop):  # of a larger file its beginning: enough to refuse it but once
                md5.update(chunk)
        if (known := self._tracks.known(md5.hexdigest())) is not None:
            return known, False
        with source.open(file) as stream:
            try:
                segments, problem = tracks.read(_chunks(stream, stop)), None
            except tracks.NoTrack as error:
                segments, problem = [], str(error)
        name = _name(file)
        if not self._tracks.add(md5.hexdigest(), name=name, source=label, segments=segments, problem=problem):
            return problem is None, False  # another thread was faster
        if problem is not None:
            self._journal.tell(Event.TRACK_UNREADABLE, name=name, problem=problem)
            return False, False
        self._journal.tell(
            Event.TRACK_FOUND, name=name, points=sum(map(len, segments)),
            first=_moment(min(segment.times[0] for segment in segments)),
            last=_moment(max(segment.times[-1] for segment in segments)),
        )  # fmt: skip
        return True, True


def _gpx_files(source: Source, stop: threading.Event) -> Iterator[CardFile]:
    for file in islice(source.listing(), MOST_ENTRIES):
        if stop.is_set():
            return
        # SIDECAR: regular, and no hidden one (._track.gpx of a Mac)
        if file.kind is Kind.SIDECAR and file.path.lower().endswith(".gpx") and file.path.count("/") <= MOST_DEEP:
            yield file


def _chunks(stream: io.RawIOBase, stop: threading.Event) -> Iterator[bytes]:
    """The file's bytes, but not much more than a track may have."""
    left = tracks.MAX_BYTES + 1
    while left > 0 and (chunk := stream.read(min(CHUNK, left))):
        if stop.is_set():
            raise TryLater("it was not read to its end: we were told to stop")
        left -= len(chunk)
        yield chunk


def _name(file: CardFile) -> str:
    return file.path.rpartition("/")[2][:MAX_NAME]


def _moment(seconds: float) -> str:
    return iso(datetime.fromtimestamp(seconds, UTC))
