"""Our own disk: a copy gets its place there, and what was done survives a power cut."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import filecmp
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ailasd.errors import AilasdError, Damaged, NeedsHuman, NoRoom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

LIBC: Final = ctypes.CDLL(None, use_errno=True)

PREFIX: Final = ".copying-"
"""Of temporary names in ``incoming``; the rest of the name is random."""


def settle(temp: Path, destination: Path) -> None:
    """Give a copy its place; folders are made as needed. ``flush_folders`` makes it durable, for many at once.

    A destination that has the same bytes already (we were killed just after this) is as good.

    Raises:
        Damaged: the destination exists with other bytes; both files are left as they are.
        NoRoom: the disk is full.
        NeedsHuman: the folder cannot be written.
    """
    try:
        _make_folder(destination.parent)
        try:
            _rename(temp, destination)
        except FileExistsError:
            if not filecmp.cmp(temp, destination, shallow=False):
                raise Damaged(f"{destination} exists with other bytes") from None
            temp.unlink()
    except OSError as error:
        raise as_error(error) from error


def flush_folders(folders: Iterable[Path]) -> None:
    """Make every rename into these folders survive a power cut: without this, 130 of 150 lost the last file.

    Raises:
        NoRoom: the disk is full.
        NeedsHuman: a folder cannot be written.
    """
    try:
        for folder in sorted(set(folders)):
            fsync_folder(folder)
    except OSError as error:
        raise as_error(error) from error


def sweep(incoming: Path) -> int:
    """Remove temporary files that no living process holds; call it once at start. Makes the folder if it is missing.

    Also flushes the file system: what a killed process had done but not flushed yet (a new folder, a rename) is as
    durable afterwards as what we do ourselves.

    Returns:
        How many were removed.

    Raises:
        NoRoom: the disk is full.
        NeedsHuman: the folder cannot be written.
    """
    removed = 0
    try:
        _make_folder(incoming)
        for path in incoming.glob(f"{PREFIX}*"):
            removed += _remove_unless_held(path)
        _with_folder(incoming, LIBC.syncfs)
    except OSError as error:
        raise as_error(error) from error
    return removed


def _remove_unless_held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:  # its owner was faster
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):  # made by somebody else just now
        folder.mkdir()
    fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Make what was last done in ``folder`` (a rename, a deletion) survive a power cut."""
    _with_folder(folder, os.fsync)


def write_whole(path: Path, content: bytes, *, mode: int, owner: int | None = None) -> None:
    """Give a file its content, whole or not at all, and durably. What was there is replaced; its folder must be there.

    Args:
        path: of the file.
        content: all of it.
        mode: who may do what with it; until it is complete it is ours alone.
        owner: user id; None: us.

    Raises:
        OSError: it cannot be written; the file is what it was.
    """
    new = path.with_name(f"{path.name}.ailasd-new")
    new.unlink(missing_ok=True)  # of a power cut
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            if owner is not None:
                os.fchown(fd, owner, -1)
            os.fchmod(fd, mode)
            os.fsync(fd)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def _with_folder(folder: Path, call: Callable[[int], object]) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call(fd)
    finally:
        os.close(fd)


def _rename(old: Path, new: Path) -> None:
    """Rename without ever replacing; unlike link(2) and unlink(2), FAT and exFAT know it too."""
    at_cwd, noreplace = -100, 1  # AT_FDCWD, RENAME_NOREPLACE
    if LIBC.renameat2(at_cwd, os.fsencode(old), at_cwd, os.fsencode(new), noreplace):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(new))


FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def as_error(error: OSError) -> AilasdError:
    """Say what an error of our own disk means."""
    if error.errno in FULL:
        return NoRoom(f"our disk is full: {error.strerror}")
    return NeedsHuman(f"our own folder cannot be written: {error.strerror or error} ({error.filename or 'no name'})")
