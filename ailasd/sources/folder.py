"""A mounted card, or a folder that looks like one.

Everything is reached from the top folder by one component at a time, never through a symlink, so that nothing on a
card can lead out of it. The top folder is opened anew for each call: an open one would keep the card from being
unmounted.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ailasd.errors import AilasdError, Changing, NeedsHuman, SourceGone, Unreadable
from ailasd.model import Card, CardFile
from ailasd.sources import printable, raw_name, unreadable
from ailasd.sources.entries import GONE, Folder, described, mtime_ns, peeked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Buffer

    from ailasd.sources import Source

MAX_DEPTH: Final = 256
"""Folders in folders. DCF has two; a damaged FAT can have a folder that contains itself."""
MAX_PATH: Final = 4096
"""Characters of a folder's path: what Linux takes. Names of 255 bytes in folders as deep as that are 64 KB for each
file, and 10 000 such files would fill the memory of a small Pi."""
MAX_FOLDERS: Final = 100_000
"""Folders that wait to be looked into: 30 MB of memory. DCF numbers them from 100 to 999."""
MAX_TEXT: Final = 64
"""Characters of what a card says about itself, before people."""
_VERSION_BYTES: Final = 64 * 1024
"""The real ``MISC/version.txt`` has about 300 bytes."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INSIDE: Final = _FOLDER | os.O_NOFOLLOW
# NONBLOCK: a FIFO that took the place of the file must not hang us.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_HANDLE: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class FolderSource:
    """A ``Source`` over a folder, which need not be there (yet).

    It speaks of one card until ``card`` is asked again: if the folder is unmounted, or the next card appears in its
    place, everything else raises ``SourceGone``.

    Args:
        root: the card's top folder. It may be a symlink itself: its name comes from us, not from the card.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._top: tuple[int, int] | None = None  # device and inode of the card's top folder
        self._witness: CardFile | None = None  # the last file that could be read

    def card(self) -> Card:
        """Tell which card this is: see ``Source.card``.

        Its identity is, hashed: the file system's UUID and the folder's place in it; without one the serial of the
        camera that formatted it; without that the folder's own path.
        """
        self._top = self._look()
        self._witness = None
        if self._top is None:
            raise self._gone_error()
        said = _version_fields(self._version_text())
        serial, model = said.get("camera serial number"), said.get("camera type")
        real = self.root.resolve()
        try:
            mount = _mount_point(real)
        except OSError as error:
            raise self._gone_error() from error
        if uuid := _filesystem_uuid(self._top[0]):
            origin = ["uuid", uuid, printable(str(real.relative_to(mount)))]
        elif serial:
            origin = ["camera", serial]
        else:
            origin = ["path", printable(str(real))]
        identity = hashlib.blake2b("\0".join(origin).encode(), digest_size=8).hexdigest()
        label = model or printable(real.name or "/")[:MAX_TEXT]
        label = f"{label} ({serial[-4:]})" if model and serial else label
        return Card(identity, label, serial, model, by_content=real == mount)

    def listing(self) -> Iterator[CardFile]:
        """Yield each entry exactly once: see ``Source.listing``."""
        if self._gone_top():
            raise self._gone_error()
        yield from self._walk()
        if self._gone_top():  # what was listed last may be what is on the next card
            raise self._gone_error()

    def _walk(self) -> Iterator[CardFile]:
        only_dcim = self._has_dcim()
        pending = [Folder()]
        while pending:
            folder = pending.pop()
            try:
                with self._folder(folder.components) as fd, os.scandir(fd) as entries:
                    first, others = peeked(entries)
                    around = folder.around_those_in_it(first)
                    for file in described(chain(first, others), folder.path, only_dcim):
                        if not isinstance(file, bytes):
                            yield file
                            continue
                        path = f"{folder.path}{printable(file)}/"
                        if len(pending) < MAX_FOLDERS and len(path) <= MAX_PATH:
                            pending.append(Folder((*folder.components, file), path, around))
                        else:
                            yield CardFile(path, 0, 0, unreadable(path, only_dcim=only_dcim))
            except (OSError, Unreadable) as error:
                if self._gone(error):
                    raise self._gone_error() from error
                if not folder.components and not pending:  # one broken entry of the top folder may hide all others
                    if not only_dcim:
                        raise Unreadable(f"the card's top folder cannot be read: {error}") from error
                    pending.append(Folder((b"DCIM",), "DCIM/"))
                path = folder.path or "/"
                yield CardFile(path, 0, 0, unreadable(path, only_dcim=only_dcim))

    def open(self, file: CardFile) -> io.RawIOBase:
        """Open the bytes of a listed file: see ``Source.open``."""
        with self._telling(file), self._parent(file) as (folder, name):
            _same_file(file, os.stat(name, dir_fd=folder, follow_symlinks=False))  # a device node is not even opened
            stream = _CardStream(self, file, os.open(name, _FILE, dir_fd=folder))
        try:
            with self._telling(file):
                _same_file(file, os.fstat(stream.fileno()))
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        except BaseException:
            stream.close()
            raise
        return stream

    def writable(self) -> AbstractContextManager[Source]:
        """A folder is as writable as it is: see ``Source.writable``."""
        return nullcontext(self)

    def remove(self, file: CardFile) -> None:
        """Delete a listed file, durably: see ``Source.remove``."""
        with self._telling(file), suppress(FileNotFoundError), self._parent(file) as (folder, name):
            with ExitStack() as held:  # a FAT lets go of its content first: a yank would leave a name without it
                with suppress(FileNotFoundError):
                    fd = os.open(name, _HANDLE, dir_fd=folder)
                    held.callback(os.close, fd)
                    _same_file(file, os.fstat(fd))
                    if self._gone_top():  # it would be done to the next card
                        raise self._gone_error()
                    _unlink(file, name, folder)
                os.fsync(folder)  # also of one that was gone: the power may have failed before this line
            return
        if self._gone_top():  # its folder is missing: is anything there at all?
            raise self._gone_error()

    # -- the way down -------------------------------------------------------------------------------------------------
    @contextmanager
    def _folder(self, components: tuple[bytes, ...]) -> Iterator[int]:
        """Open a folder of the card, component by component; the file descriptor is closed at the end."""
        if len(components) > MAX_DEPTH:
            raise Unreadable(f"more than {MAX_DEPTH} folders in one another")
        fd = os.open(self.root, _FOLDER)
        try:
            top = os.fstat(fd)
            self._top = self._top or (top.st_dev, top.st_ino)
            if self._top != (top.st_dev, top.st_ino):
                raise self._gone_error()
            for component in components:
                inner = os.open(component, _INSIDE, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _parent(self, file: CardFile) -> Iterator[tuple[int, bytes]]:
        """Open the folder of a file; gives it with the file's own name in it."""
        try:
            *folders, name = raw_name(file.path).split(b"/")
        except ValueError as error:
            raise Unreadable(str(error)) from error
        if not {b"", b".", b".."}.isdisjoint((*folders, name)) or b"\0" in name:
            raise Unreadable(f"{file.path} is not a file's path on a card")
        with self._folder(tuple(folders)) as fd:
            yield fd, name

    # -- what went wrong ----------------------------------------------------------------------------------------------
    @contextmanager
    def _telling(self, file: CardFile) -> Iterator[None]:
        """Raise what an ``OSError`` on this file means to us."""
        try:
            yield
        except OSError as error:
            if self._gone(error, file):
                raise self._gone_error() from error
            raise Unreadable(f"{file.path} cannot be read: {error.strerror or error}") from error

    def _gone_error(self) -> SourceGone:
        return SourceGone(f"the card at {printable(str(self.root))} is not there (any more)")

    def _gone(self, error: OSError | AilasdError, file: CardFile | None = None) -> bool:
        """Whether this error means the whole card, not one file.

        The top folder of a card that was pulled out can still be listed from the page cache. So after an EIO the file
        that was read last must be readable still: its pages were dropped when it was closed.
        """
        if not isinstance(error, OSError):
            return isinstance(error, SourceGone)
        if error.errno in GONE or self._gone_top():
            return True
        return error.errno == errno.EIO and self._witness not in {None, file} and not self._witness_speaks()

    def _gone_top(self) -> bool:
        """Whether the top folder is missing, or another one has its name (unmounted, or the next card)."""
        top = self._look()
        return top is None or top != (self._top or top) or _device_vanished(top[0])

    def _look(self) -> tuple[int, int] | None:
        try:
            top = self.root.stat()
        except OSError:
            return None
        return (top.st_dev, top.st_ino) if stat.S_ISDIR(top.st_mode) else None

    def _witness_speaks(self) -> bool:
        witness, self._witness = self._witness, None  # while it is asked it must not be asked again
        assert witness is not None
        try:
            with self.open(witness) as stream:
                stream.read(1)
        except AilasdError as error:
            return not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EIO
        finally:
            self._witness = witness
        return True

    def _read_well(self, file: CardFile) -> None:
        """All of it came without an error; but if the card is another one by now, perhaps from that.

        Raises:
            SourceGone: it is.
        """
        if self._gone_top():
            raise self._gone_error()
        self._witness = file

    # -- what the card says of itself ---------------------------------------------------------------------------------
    def _has_dcim(self) -> bool:
        with suppress(OSError, Unreadable), self._folder(()) as fd:
            with suppress(OSError), os.scandir(fd) as entries:
                return any(entry.name.lower() == "dcim" and entry.is_dir(follow_symlinks=False) for entry in entries)
            return stat.S_ISDIR(os.stat("DCIM", dir_fd=fd, follow_symlinks=False).st_mode)  # it cannot be listed
        return False

    def _version_text(self) -> str:
        """``MISC/version.txt``, as far as it can be read."""
        with suppress(OSError, Unreadable), self._folder((b"MISC",)) as fd:
            if stat.S_ISREG(os.stat("version.txt", dir_fd=fd, follow_symlinks=False).st_mode):
                with os.fdopen(os.open("version.txt", _FILE, dir_fd=fd), "rb") as stream:
                    return stream.read(_VERSION_BYTES).decode(errors="replace")
        return ""


class _CardStream(io.RawIOBase):
    """The bytes of one file; says what its read errors mean, and leaves nothing in the page cache.

    A card of 50 GB that is read once would push everything else out of a small machine's memory.
    """

    def __init__(self, source: FolderSource, file: CardFile, fd: int) -> None:
        self._source = source
        self._file = file
        self._fd = fd

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def readinto(self, buffer: Buffer, /) -> int:
        with self._source._telling(self._file):  # noqa: SLF001
            count = os.readv(self._fd, [buffer])
            if count == 0:
                _same_file(self._file, os.fstat(self._fd))
                self._source._read_well(self._file)  # noqa: SLF001
            return count

    def close(self) -> None:
        if not self.closed:
            with suppress(OSError):
                os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(self._fd)
        super().close()


def _unlink(file: CardFile, name: bytes, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.EROFS, errno.EPERM, errno.EACCES}:
            raise NeedsHuman(f"the card does not let us delete {file.path}: {error.strerror}") from error
        raise


def _same_file(file: CardFile, found: os.stat_result) -> None:
    """Raise unless this is the regular file that was listed."""
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable(f"{file.path} is no regular file")
    if (found.st_size, mtime_ns(found)) != (file.size, file.mtime_ns):
        raise Changing(f"{file.path} changed since it was listed")


# -- which card this is -----------------------------------------------------------------------------------------------
_FIELD: Final = re.compile(
    r'"(camera type|camera serial number|firmware version)"\s*:\s*"([^"\n]{1,200})"', re.IGNORECASE
)


def _version_fields(text: str) -> dict[str, str]:
    """Read a GoPro's ``version.txt``, key by key: it is JSON with stray commas. The first of two equal keys wins."""
    fields: dict[str, str] = {}
    for key, value in _FIELD.findall(text):
        fields.setdefault(key.lower(), printable(value.encode(errors="replace")).strip()[:MAX_TEXT])
    return {key: value for key, value in fields.items() if value}


def _filesystem_uuid(device: int) -> str | None:
    """Find the UUID of the file system on a block device, as udev links it; None for all others."""
    with suppress(OSError):
        for link in Path("/dev/disk/by-uuid").iterdir():
            with suppress(OSError):
                if link.stat().st_rdev == device:
                    return link.name
    return None


def _mount_point(path: Path) -> Path:
    while path != path.parent and path.parent.stat().st_dev == path.stat().st_dev:
        path = path.parent
    return path


def _device_vanished(device: int) -> bool:
    """Whether this was a block device that the kernel does not know any more. Major 0 never is one (tmpfs, FUSE)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    return os.major(device) != 0 and Path("/sys/dev/block").is_dir() and not Path("/sys/dev/block", number).exists()
