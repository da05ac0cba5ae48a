"""A card that is mounted: a folder that is writable only while cleaning deletes from it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ailasd.sources.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ailasd.sources import Source


class MountedCard(FolderSource):
    """A ``Source`` over a card that is mounted read-only.

    Args:
        root: where it is mounted.
        remounted: mounts it read-write as long as the context lasts; tells where.
        still_there: whether this card is in its reader. Soon after another one was put there, the kernel reads that one
            through the mount of this, without any error.
    """

    def __init__(
        self, root: Path, remounted: Callable[[], AbstractContextManager[Path]], still_there: Callable[[], bool]
    ) -> None:
        super().__init__(root)
        self._remounted = remounted
        self._still_there = still_there

    @contextmanager
    def writable(self) -> Iterator[Source]:
        """See ``Source.writable``."""
        with self._remounted() as root:
            yield MountedCard(root, self._remounted, self._still_there)

    def _gone_top(self) -> bool:
        return super()._gone_top() or not self._still_there()
