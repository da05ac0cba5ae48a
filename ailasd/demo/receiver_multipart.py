"""A ``multipart/form-data`` body, read as it comes (RFC 7578): what the embedded receiver needs of it, no more."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK: Final = 64 * 1024
MOST_KEPT: Final = 32 * 1024 * 1024
"""Bytes of a picture that are kept while it is judged; the largest of the cameras we know have 12 MB."""
MOST_FIELD: Final = 64 * 1024
"""Bytes of any other part, and of a part's headers."""


class CutOffError(Exception):
    """The body ended before its last boundary: the sender is gone, or lied about the length."""


@dataclass(slots=True)
class Form:
    """What was sent. ``content`` is the picture for the moment of judging it; md5 and size are of all its bytes."""

    fields: dict[str, str] = field(default_factory=dict)
    has_file: bool = False
    file_name: str = ""
    content: bytes = b""
    md5: str = ""
    size: int = 0


def parse(read: Callable[[int], bytes], length: int, boundary: bytes) -> Form:
    """Read one body of ``length`` bytes.

    Raises:
        CutOffError: it ended early.
    """
    stream, form, mark = _Stream(read, length), Form(), b"\r\n--" + boundary
    _small(stream.until(mark))
    while _small(stream.until(b"\r\n")) != b"--":
        _part(form, _small(stream.until(b"\r\n\r\n")), stream.until(mark))
    return form


def _part(form: Form, headers: bytes, content: Iterator[bytes]) -> None:
    text = headers.decode("utf-8", "replace")
    name, file_name = (_parameter(text, key) for key in ("name", "filename"))
    if name == "file" and file_name is not None:
        form.has_file, form.file_name = True, file_name
        _picture(form, content)
    else:
        form.fields[name or ""] = _small(content).decode("utf-8", "replace")


def _parameter(headers: str, key: str) -> str | None:
    found = re.search(rf';\s*{key}="([^"]*)"', headers)
    return found[1] if found else None


def _picture(form: Form, content: Iterator[bytes]) -> None:
    md5, kept = hashlib.md5(usedforsecurity=False), bytearray()
    for block in content:
        md5.update(block)
        form.size += len(block)
        kept += block[: MOST_KEPT - len(kept)]
    form.content, form.md5 = bytes(kept), md5.hexdigest()


def _small(content: Iterator[bytes]) -> bytes:
    kept = bytearray()
    for block in content:
        kept += block[: MOST_FIELD - len(kept)]
    return bytes(kept)


class _Stream:
    def __init__(self, read: Callable[[int], bytes], length: int) -> None:
        self._read, self._left = read, length
        self._buffer = bytearray(b"\r\n")  # so that the first boundary looks like the others

    def until(self, mark: bytes) -> Iterator[bytes]:
        """What comes before the mark, in blocks; the mark is taken off."""
        while (at := self._buffer.find(mark)) < 0:
            surely = len(self._buffer) - len(mark) + 1  # a mark may have begun after that
            if surely > 0:
                yield bytes(self._buffer[:surely])
                del self._buffer[:surely]
            block = self._read(min(BLOCK, self._left))
            if not block:
                raise CutOffError
            self._left -= len(block)
            self._buffer += block
        yield bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
