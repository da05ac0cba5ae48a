"""One file, verified, or not at all.

Two threads share the work, so that a verified copy takes no longer than a plain one from a card of 90 MB/s: one reads
the card and writes temporary files; the other, the caller's own, flushes each, reads it back from the device and
compares. What is compared is XXH3 and not the md5 that the server wants: a second md5 would cost 1.5 CPU s/GB (CRC-32
0.4), XXH3 costs 0.02; comparing with bytes kept in memory is as cheap, but needs 30 MB of a machine's 512.

Memory: two blocks a thread. Disk: at most ``WAITING`` + 2 pictures that are not settled yet.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import mmap
import os
import queue
import secrets
import threading
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, Generic, TypeVar

import xxhash

from ailasd.disk import FULL, LIBC, PREFIX, as_error
from ailasd.errors import AilasdError, Changing, Damaged, NeedsHuman, NoRoom, SourceBusy, SourceGone

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

    from ailasd.model import CardFile
    from ailasd.sources import Source

T = TypeVar("T")

BLOCK: Final = 256 * 1024
"""Bytes a read: smaller ones cost more system calls, larger ones fall out of the processor's cache (measured)."""
WAITING: Final = 2
"""Copied pictures that may wait for their proof: enough to ride out one slow flush, and little to lose."""
ENDS: Final = (SourceGone, SourceBusy, NoRoom, NeedsHuman)
"""The errors after which no other file of this card can do better."""


@dataclass(frozen=True, slots=True)
class Copy(Generic[T]):
    """A file that is safe on our disk under a temporary name; ``settle`` keeps it, doing nothing discards it.

    Attributes:
        temp: valid (and locked) until the next one is asked for.
        md5: of the bytes read from the card, hex.
        size: bytes.
        proven: it was read back from the device: the page cache was seen empty between flush and reading. False where
            the file system keeps its pages (tmpfs) or does not tell; the bytes were compared all the same.
        inspected: what ``inspect`` made of it.
    """

    temp: Path
    md5: str
    size: int
    proven: bool
    inspected: T


def copies(
    source: Source,
    files: Iterable[CardFile],
    incoming: Path,
    *,
    reserve: int,
    stop: threading.Event,
    inspect: Callable[[Path], T],
    progress: Callable[[int], None] | None = None,
) -> Generator[tuple[CardFile, Copy[T] | AilasdError], None, None]:
    """Copy files into ``incoming``, verified, in order.

    Each file gives one element, a copy or what went wrong with it. After one of ``ENDS`` there is no next one. A file
    that is read back wrong is copied a second time before it is ``Damaged``. Ended early (closed, or ``stop`` set) it
    leaves neither a thread nor a temporary file behind.

    Args:
        source: where ``files`` lie.
        files: iterated in another thread. What that raises is raised here.
        incoming: our folder for temporary files, on the same file system as their destinations.
        reserve: bytes that must stay free on it.
        stop: give up soon, even in the middle of a file.
        inspect: called with the verified temporary file while its pages are still in memory.
        progress: called in the reading thread with the number of bytes just read from the card.
    """
    closed = threading.Event()
    reader = _Reader(source, incoming, reserve, lambda: stop.is_set() or closed.is_set(), progress)
    waiting: queue.Queue[_Read | BaseException | None] = queue.Queue(WAITING)
    thread = threading.Thread(target=_read_all, args=(reader, files, waiting), name="card-reader")
    thread.start()
    ended = False
    try:
        while not ended:
            read = waiting.get()
            if isinstance(read, BaseException):
                raise read
            if read is None:
                ended = True
            elif stop.is_set():
                read.discard()
                break
            elif (yield from _prove_one(reader, read, inspect)):
                break
    finally:
        closed.set()
        while not ended:  # the thread may wait for room in the queue: empty it to its end
            left = waiting.get()
            ended = left is None
            if isinstance(left, _Read):
                left.discard()
        thread.join()


# -- the reading thread -----------------------------------------------------------------------------------------------
class _StoppedError(Exception):
    """We were told to give up in the middle of a file."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A temporary file that has all bytes of a card's file, perhaps only in the page cache yet."""

    temp: _Temp
    md5: str
    check: bytes
    size: int


@dataclass(frozen=True, slots=True)
class _Read:
    """What came of reading one file."""

    file: CardFile
    outcome: _Written | AilasdError

    def discard(self) -> None:
        if isinstance(self.outcome, _Written):
            self.outcome.temp.close()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads files of a card once, into temporary files."""

    source: Source
    incoming: Path
    reserve: int
    stopped: Callable[[], bool]
    progress: Callable[[int], None] | None

    def read(self, file: CardFile) -> _Read:
        try:
            return _Read(file, self._take(file))
        except AilasdError as error:
            return _Read(file, error)

    def _take(self, file: CardFile) -> _Written:
        with self.source.open(file) as stream:
            temp = self._temp(file.size)
            try:
                return self._pour(stream, temp, file)
            except BaseException:
                temp.close()
                raise

    def _pour(self, stream: io.RawIOBase, temp: _Temp, file: CardFile) -> _Written:
        md5 = hashlib.md5(usedforsecurity=False)
        check = xxhash.xxh3_64()
        buffer = memoryview(bytearray(BLOCK))  # one for all: a new one each time is a third of the reading's CPU time
        size = 0
        while size <= file.size and (count := stream.readinto(buffer)):  # never more, even if it grows for ever
            if self.stopped():
                raise _StoppedError
            block = buffer[:count]
            size += count
            md5.update(block)
            check.update(block)
            temp.write(block)
            if self.progress:
                self.progress(count)
        if size != file.size:
            raise Changing(f"{file.path} has not the {file.size} bytes that were listed")
        temp.start_flush()
        return _Written(temp, md5.hexdigest(), check.digest(), size)

    def _temp(self, size: int) -> _Temp:
        """Make a temporary file if ``size`` bytes more leave the reserve alone."""
        try:
            disk = os.statvfs(self.incoming)
            free = disk.f_bavail * disk.f_frsize
            if free - size < self.reserve:
                raise NoRoom(f"{free >> 20} MB are free, {self.reserve >> 20} MB of them must stay so")
            return _Temp(self.incoming)
        except OSError as error:
            raise as_error(error) from error


def _read_all(reader: _Reader, files: Iterable[CardFile], waiting: queue.Queue[_Read | BaseException | None]) -> None:
    """Read file after file; the queue's end is always a None."""
    try:
        for file in files:
            if reader.stopped():
                break
            waiting.put(read := reader.read(file))
            if isinstance(read.outcome, ENDS):
                break
    except _StoppedError:
        pass
    except BaseException as error:  # noqa: BLE001  (raised in the caller's thread)
        waiting.put(error)
    finally:
        waiting.put(None)


# -- the proof --------------------------------------------------------------------------------------------------------
def _prove_one(
    reader: _Reader, read: _Read, inspect: Callable[[Path], T]
) -> Generator[tuple[CardFile, Copy[T] | AilasdError], None, bool]:
    """Yield what became of one file; tell whether that was the end."""
    for again in (True, False):
        if isinstance(read.outcome, AilasdError):
            break
        written = read.outcome
        with closing(written.temp) as temp:
            try:
                proven = temp.prove(written.check, written.size)
            except AilasdError as error:
                read = _Read(read.file, error)
            else:
                yield read.file, Copy(temp.path, written.md5, written.size, proven, inspect(temp.path))
                return False
        if again and isinstance(read.outcome, Damaged):
            try:
                read = reader.read(read.file)
            except _StoppedError:
                return True
    assert isinstance(read.outcome, AilasdError)
    yield read.file, read.outcome
    return isinstance(read.outcome, ENDS)


class _Temp:
    """A new file in ``incoming``, locked while it is open; closing it removes what was not settled.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, incoming: Path) -> None:
        while True:
            self.path = incoming / f"{PREFIX}{secrets.token_hex(16)}"
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if os.fstat(self._fd).st_nlink:
                return
            os.close(self._fd)  # somebody's sweep took it before it was locked

    def write(self, block: memoryview) -> None:
        try:
            written = os.write(self._fd, block)
            while written < len(block):  # the disk was nearly full: the next call says so
                written += os.write(self._fd, block[written:])
        except OSError as error:
            raise as_error(error) from error

    def start_flush(self) -> None:
        """Let the kernel begin to write, so that the flush finds little left to wait for."""
        with suppress(OSError):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def prove(self, check: bytes, size: int) -> bool:
        """Flush, read back and compare; tell whether the bytes came from the device.

        Raises:
            Damaged: what came back is not what was written, or it could not be flushed or read.
            NoRoom: the file system found no place for it after all.
        """
        found = xxhash.xxh3_64()
        buffer = memoryview(bytearray(BLOCK))
        try:
            os.fdatasync(self._fd)
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)  # drops clean pages only: hence after the flush
            dropped = not _cached(self._fd, size)
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            os.lseek(self._fd, 0, os.SEEK_SET)
            while count := os.readv(self._fd, [buffer]):
                found.update(buffer[:count])
        except OSError as error:
            if error.errno in FULL:
                raise as_error(error) from error
            raise Damaged(f"a copy could not be read back: {error.strerror}") from error
        if found.digest() != check:
            raise Damaged("a copy was read back with other bytes than were written")
        return dropped

    def close(self) -> None:
        with suppress(FileNotFoundError):
            self.path.unlink()
        with suppress(OSError):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)  # 50 GB of pictures are not to fill the memory
        os.close(self._fd)


def _cached(fd: int, size: int) -> bool:
    """Whether any page of a file is in the page cache, by mincore(2), which is truthful for files that we may write.

    True if the file system does not tell.
    """
    if size == 0:
        return False
    pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    try:
        with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
            start = ctypes.c_char.from_buffer(mapped)
            failed = LIBC.mincore(ctypes.byref(start), ctypes.c_size_t(size), pages)
            del start  # it would keep the mapping from being closed
    except (OSError, ValueError):  # ValueError: shorter than what was written
        return True
    return bool(failed) or any(bytes(pages))


def md5_of(stream: IO[bytes] | io.RawIOBase) -> str:
    """The md5 of the rest of ``stream``, hex: what the server's listing shows of a picture."""
    digest = hashlib.md5(usedforsecurity=False)
    while block := stream.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()
