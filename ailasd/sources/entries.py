"""What a folder of a card has in it, from its directory entries and their ``stat`` alone."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from ailasd.errors import Unreadable
from ailasd.model import CardFile, Kind
from ailasd.sources import is_system_folder, kind_of, printable, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_COMPARED: Final = 4096
"""Entries of a folder that is compared with those around it; a camera's has 999."""

GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN})
"""These errors mean the whole card, not what was asked for."""


class Folder(NamedTuple):
    """A folder that waits to be looked into: the way to it, the same written down, what tells those around it."""

    components: tuple[bytes, ...] = ()
    path: str = ""
    around: frozenset[int] = frozenset()

    def around_those_in_it(self, first: list[os.DirEntry[str]]) -> frozenset[int]:
        """What tells this folder (of these entries, see ``_told_by``) and those around it from a folder in it.

        Raises:
            Unreadable: it is one of those around it, once more: a FAT can be damaged so. Each turn would have all its
                pictures again, under other paths. The kernel ends such a loop itself (ELOOP), other drivers do not.
        """
        told = _told_by(first)
        if told in self.around:
            raise Unreadable(f"{self.path} contains itself")
        return self.around if told is None else self.around | {told}


def peeked(entries: Iterator[os.DirEntry[str]]) -> tuple[list[os.DirEntry[str]], Iterator[os.DirEntry[str]]]:
    """The first entries of a folder, one more than are compared, and the others; an error comes after what was read."""
    first: list[os.DirEntry[str]] = []
    try:
        for entry in islice(entries, MAX_COMPARED + 1):
            first.append(entry)  # noqa: PERF402  (what was read before an error counts)
    except OSError as error:
        return first, _raising(error)
    return first, entries


def _raising(error: OSError) -> Iterator[os.DirEntry[str]]:
    raise error
    yield


def _told_by(first: list[os.DirEntry[str]]) -> int | None:
    """What tells a folder from every other: names, sizes and times of all that is in it.

    None if it has no folders and so cannot contain itself, or too much or too little in it to be compared.
    """
    with suppress(OSError):
        if 1 < len(first) <= MAX_COMPARED and any(entry.is_dir(follow_symlinks=False) for entry in first):
            found = ((entry.name, entry.stat(follow_symlinks=False)) for entry in first)
            return hash(tuple((name, about.st_size, about.st_mtime_ns) for name, about in found))
    return None


def described(entries: Iterable[os.DirEntry[str]], above: str, only_dcim: bool) -> Iterator[CardFile | bytes]:
    """What a folder's entries are: files, and the names of folders to look into.

    A damaged FAT can have a name twice, of which only the first can be opened: the second is ``UNREADABLE``.
    """
    seen: set[str] = set()  # of pictures and folders only: there may be a million others
    picture = Kind.PICTURE  # looked up once: a card may have a hundred thousand
    for entry in entries:
        name = entry.name
        if _is_folder(entry):
            if is_system_folder(name):
                yield CardFile(f"{above}{printable(name)}/", 0, 0, Kind.HIDDEN)
            elif name in seen:
                path = f"{above}{printable(name)}/"
                yield CardFile(path, 0, 0, unreadable(path, only_dcim=only_dcim))
            else:
                seen.add(name)
                yield os.fsencode(name)
        elif file := _as_file(entry, above, only_dcim):
            if file.kind is picture:
                if name in seen:
                    file = CardFile(file.path, 0, 0, Kind.UNREADABLE)
                seen.add(name)
            yield file


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is one; a broken entry is not (``_as_file`` asks again, and tells what that means)."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _as_file(entry: os.DirEntry[str], above: str, only_dcim: bool) -> CardFile | None:
    """Describe an entry that is no folder; None if it vanished since its folder was read."""
    path = above + printable(entry.name)
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in GONE:
            raise
        return CardFile(path, 0, 0, unreadable(path, only_dcim=only_dcim))  # a broken directory entry
    size = found.st_size
    return CardFile(path, size, mtime_ns(found), kind_of(path, size, found.st_mode, only_dcim=only_dcim))


def mtime_ns(found: os.stat_result) -> int:
    """The time of change, within what 64 bits hold (from 1677 to 2262): ext4 goes on to 2446, others do for ever."""
    return min(max(found.st_mtime_ns, -(1 << 63)), (1 << 63) - 1)
