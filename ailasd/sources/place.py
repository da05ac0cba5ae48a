"""A configured folder: whatever card is in it at the moment, or none."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from ailasd.errors import SourceGone
from ailasd.sources.folder import FolderSource

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ailasd.model import Card, CardFile
    from ailasd.sources import Source


class Place:
    """A ``Source`` that looks anew at each ``card``: cards come and go, and one that comes back is mounted anew.

    From there to the next ``card`` it stays with that one: another card that takes its place is never mistaken for it.
    So two steps must not share one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._inside: FolderSource | None = None

    def card(self) -> Card:
        """See ``Source``."""
        self._inside = None
        self._inside = FolderSource(self._root)
        return self._inside.card()

    def listing(self) -> Iterator[CardFile]:
        """See ``Source``."""
        return self._there().listing()

    def open(self, file: CardFile) -> io.RawIOBase:
        """See ``Source``."""
        return self._there().open(file)

    def writable(self) -> AbstractContextManager[Source]:
        """See ``Source``. A folder is as writable as it is."""
        return nullcontext(self)

    def remove(self, file: CardFile) -> None:
        """See ``Source``."""
        self._there().remove(file)

    def _there(self) -> FolderSource:
        if self._inside is None:
            raise SourceGone(f"there is no card at {self._root}")
        return self._inside
