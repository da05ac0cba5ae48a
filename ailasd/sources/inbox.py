"""The inbox: a folder into which phones and laptops drop pictures, whole DCIM trees and GPX tracks, by any way.

They are still being written while we look, and no file says of itself that it is whole: ``scp -p``, ``unzip`` and
Syncthing give it an old time. So a file is listed only after it was seen unchanged for ``SETTLED_S`` on our own
monotonic clock. One whose transfer stalls for longer is taken for whole; when it goes on, it is another file, and read
again.
"""

from __future__ import annotations

import hashlib
import stat
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from ailasd.model import Card, Kind
from ailasd.sources import kind_of, printable
from ailasd.sources.place import Place

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ailasd.clock import Clock
    from ailasd.model import CardFile
    from ailasd.sources import Source

SETTLED_S: Final = 5.0
"""Over a bad Wi-Fi a second of silence is common, five are not; and nobody waits for the inbox."""

LABEL: Final = "inbox"

_UNFINISHED: Final = (
    ".part",
    ".partial",
    ".crdownload",
    ".download",
    ".tmp",
    ".temp",
    ".filepart",
    ".!sync",
    ".!ut",
    "~",
)
"""How names end, in lower case, while browsers, WinSCP, KDE, Syncthing, Resilio and editors write them."""


def is_unfinished(name: str) -> bool:
    """Whether a name (without folders) says itself that the file is not whole yet."""
    lower = name.lower()
    # rsync: .NAME.6 characters; Syncthing: .syncthing.NAME.tmp, on Windows ~syncthing~NAME.tmp
    return lower.endswith(_UNFINISHED) or lower.startswith((".syncthing.", "~syncthing~"))


class Inbox:
    """A ``Source`` over the inbox: every JPEG in it counts, and only files that are whole are there.

    Two steps must not share one (see ``Place``): the other gets ``another``, which knows what this one saw.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._inside = Place(root)
        self._since: dict[int, float] = {}  # path, size, time (hashed: 100 000 files are 10 MB) -> first seen so
        self._settles_in: float | None = None

    def another(self) -> Inbox:
        """The same inbox for another step."""
        other = Inbox(self._root, self._clock)
        other._since = self._since  # one memory, so that the other step has not to look twice
        return other

    @property
    def settles_in(self) -> float | None:
        """Seconds until the files that the last listing left out may be whole; None if it left out none."""
        return self._settles_in

    def card(self) -> Card:
        """See ``Source``. It is our own folder, not a card: nothing that was dropped into it says what it is."""
        self._inside.card()  # is it there?
        path = printable(str(self._root.resolve()))
        return Card(hashlib.blake2b(f"inbox\0{path}".encode(), digest_size=8).hexdigest(), LABEL)

    def listing(self) -> Iterator[CardFile]:
        """See ``Source``; without what is not whole yet."""
        now, seen = self._clock.monotonic(), set()
        latest: float | None = None
        for file in self._inside.listing():
            if file.path.endswith("/"):
                yield file
                continue
            if is_unfinished(file.path.rpartition("/")[2]):
                continue
            key = hash(file[:3])
            seen.add(key)
            since = self._since.setdefault(key, now)
            if now - since < SETTLED_S:
                latest = max(latest or since, since)
            else:
                yield self._as_dropped(file)
        for key in [key for key in self._since.copy() if key not in seen]:
            self._since.pop(key, None)
        self._settles_in = None if latest is None else max(latest + SETTLED_S - now, 0.1)

    def open(self, file: CardFile) -> io.RawIOBase:
        """See ``Source``."""
        return self._inside.open(file)

    def writable(self) -> AbstractContextManager[Source]:
        """See ``Source``. A folder is as writable as it is."""
        return nullcontext(self)

    def remove(self, file: CardFile) -> None:
        """See ``Source``."""
        self._inside.remove(file)

    @staticmethod
    def _as_dropped(file: CardFile) -> CardFile:
        """A JPEG outside of DCIM is one that somebody dropped on purpose. OTHER is always a regular file."""
        if file.kind is not Kind.OTHER:
            return file
        return file._replace(kind=kind_of(file.path, file.size, stat.S_IFREG, only_dcim=False))
