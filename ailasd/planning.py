"""Which files of a card are to be read: the new ones, usual ones first; each other is left for a reason. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ailasd.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from ailasd.catalogue.cards import FileKey
    from ailasd.model import CardFile

UNUSUAL: Final = 128 * 1024 * 1024
"""Bytes: above what any camera writes. Such files are read last: one for which there is no room ends the visit, and a
broken directory entry of that size must not keep the others from their place."""

MOST_VIDEOS: Final = 200
"""Noted of a card: enough to tell a collector when the camera was in video mode, which is for them to judge."""


@dataclass(slots=True)
class Plan:
    """What to do with a card's files. ``left``: reason -> files; together they are the whole listing.

    ``videos``: when they were written, in seconds; not more than ``MOST_VIDEOS``.
    """

    read: list[CardFile] = field(default_factory=list)
    known: int = 0
    bytes_known: int = 0
    left: Counter[str] = field(default_factory=Counter)
    videos: list[int] = field(default_factory=list)
    missing: int = 0
    still_there: int = 0

    @property
    def bytes(self) -> int:
        """Of what is to be read."""
        return sum(file.size for file in self.read)

    @property
    def shrunk(self) -> bool:
        """Law 10: files that we know are gone, though we did not delete them, and it is not a newly formatted card."""
        return self.missing > 0 and self.still_there > 0


def plan(
    listing: Iterable[CardFile],
    known: AbstractSet[FileKey],
    *,
    again: AbstractSet[FileKey],
    cleared: AbstractSet[FileKey],
    verify: bool,
) -> Plan:
    """Decide for each file of ``listing``: read it, skip it as known, or leave it with a reason.

    Args:
        listing: everything on the card, each entry once.
        known: the files of this card that became pictures.
        again: known files to read again because our copy was lost.
        cleared: known files that we deleted from the card ourselves.
        verify: read known files again too.
    """
    result = Plan()
    cleared_there = 0
    picture = Kind.PICTURE  # looked up once: a card may have a hundred thousand files
    for file in listing:
        if file.kind is not picture:
            result.left[file.kind] += 1
            if file.kind is Kind.VIDEO and len(result.videos) < MOST_VIDEOS:
                result.videos.append(file.mtime_ns // 1_000_000_000)
            continue
        key = file[:3]  # a FileKey
        if key in known:
            result.still_there += 1
            cleared_there += key in cleared
            if not verify and key not in again:
                result.known += 1
                result.bytes_known += file.size
                continue
        result.read.append(file)
    result.missing = len(known - cleared) - (result.still_there - cleared_there)
    result.read.sort(key=lambda file: (file.size > UNUSUAL, file.path))
    return result
