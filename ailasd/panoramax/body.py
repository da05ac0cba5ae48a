"""One picture as a multipart body that is read while it is sent, so that memory does not grow with its size."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from ailasd.errors import Damaged, NoLink, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BLOCK: Final = 64 * 1024
"""Bytes given to the socket at a time: the unit in which progress is noticed."""
SLOWEST: Final = 8 * 1024
"""Bytes per second below which sending a picture is given up, as long as nobody has measured what is usual here: 6 MB
would take a quarter of an hour."""
PATIENCE_S: Final = 30.0
"""Seconds that are always allowed, however small the picture."""


class Pace(Protocol):
    """How fast one body may go. It may raise an error of ours: the request stays unfinished then.

    Attributes:
        slowest: bytes per second below which it is given up.
        held_s: seconds for which we have held it back ourselves so far: those do not count.
    """

    slowest: float
    held_s: float

    def __call__(self, block: bytes) -> Iterable[bytes]:
        """The same bytes, each piece when it may go."""


class AtOnce:
    """The pace of whoever knows no limits."""

    slowest: float = SLOWEST
    held_s: float = 0.0

    def __call__(self, block: bytes) -> Iterable[bytes]:
        """The block."""
        return (block,)


class PictureBody:
    """The fields, then the file, as ``multipart/form-data``.

    The last boundary is sent only if the bytes that were read are the ones that were promised: a server never gets a
    whole request with a picture that changed under us.
    """

    def __init__(
        self, file: BinaryIO, fields: Mapping[str, str], *, name: str, size: int, md5: str, pace: Pace | None = None
    ) -> None:
        """Prepare.

        Args:
            file: open at its start; the caller closes it.
            fields: names and values of the other parts.
            name: the file name to give, ours: no quotes, separators or line ends.
            size: bytes that must come.
            md5: their md5 in hexadecimal digits.
            pace: how fast it may go.

        Raises:
            ValueError: such a name or field cannot be written safely.
            Damaged: the file already has another size.
        """
        if not name or not name.isprintable() or set(name) & set('"\\/'):
            raise ValueError(f"not a safe file name: {name!r}")
        if any(not value.isprintable() for value in fields.values()):
            raise ValueError("not a safe field")
        if os.fstat(file.fileno()).st_size != size:
            raise Damaged(f"{name} no longer has the {size} bytes that were copied")
        boundary = secrets.token_hex(16)  # cannot occur in a picture but by a 1 in 2^128 chance
        part = f"--{boundary}\r\nContent-Disposition: form-data; name="
        head = "".join(f'{part}"{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
        head += f'{part}"file"; filename="{name}"\r\nContent-Type: image/jpeg\r\n\r\n'
        self._head = head.encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file, self._name, self._size, self._md5 = file, name, size, md5
        self._pace = pace or AtOnce()
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + size + len(self._tail)),
        }

    def __iter__(self) -> Iterator[bytes]:
        """The bytes, once.

        Raises:
            Damaged: the file is not what was promised; the request stays unfinished.
            NoLink: it goes slower than its pace's ``slowest`` after ``PATIENCE_S``.
            Unreadable: the file cannot be read.
            NotNow: the pace says so.
        """
        slowest = self._pace.slowest
        allowed_until = time.monotonic() + PATIENCE_S + self._size / slowest
        md5, left, ready = hashlib.md5(usedforsecurity=False), self._size, bytearray(self._head)
        while left:
            block = self._read(min(BLOCK, left))
            if not block:
                raise Damaged(f"{self._name} became shorter while it was sent")
            md5.update(block)
            left -= len(block)
            if not left and md5.hexdigest() != self._md5:
                raise Damaged(f"{self._name} is not what was copied: its checksum differs")
            if time.monotonic() > allowed_until + self._pace.held_s:
                raise NoLink(f"Could not send {self._name}: the link is slower than {slowest / 1000:.1f} kB/s")
            ready += block
            if len(ready) >= BLOCK and left:
                yield from self._pace(bytes(ready))
                ready.clear()
        yield from self._pace(bytes(ready) + self._tail)

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise Unreadable(f"{self._name} cannot be read from our own disk: {error.strerror}") from error
