"""What lies on this card; open one of its files.

One module per way to read pictures; every one of them is a ``Source`` and passes the same contract test. What is the
same for all of them is here: the interface, which names are pictures, and how a foreign name is written down.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final, Protocol

from ailasd.model import Card, CardFile, Kind

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager


class Source(Protocol):
    """A card or a camera that is here now. Its methods may be called from several threads.

    Nothing is ever written to it; ``remove`` is for ``cleaning`` alone.
    """

    def card(self) -> Card:
        """Tell which card this is.

        Raises:
            SourceGone: the card is not there any more.
        """

    def listing(self) -> Iterator[CardFile]:
        """Yield each entry exactly once, in no particular order, without following symlinks.

        A folder that is not looked into (the system's own, unreadable, too deep) is one entry whose path ends in ``/``:
        ``HIDDEN`` or ``UNREADABLE``.

        Raises:
            SourceGone: the card is not there (any more).
            Unreadable: it is there, but its top folder cannot be read.
        """

    def open(self, file: CardFile) -> io.RawIOBase:
        """Open the bytes of a listed file, unbuffered; reading them raises the same errors.

        Raises:
            Changing: it is no longer the file that was listed (size or time differ), or changes while it is read.
            SourceGone: the card is not there any more.
            Unreadable: this one cannot be read: no regular file, behind a symlink, forbidden, a bad sector, gone.
        """

    def writable(self) -> AbstractContextManager[Source]:
        """The same card with ``remove`` allowed, as long as the context lasts: a mounted one is writable only then.

        Raises:
            NeedsHuman: the card does not allow it (write protected).
            SourceGone: the card is not there any more.
        """

    def remove(self, file: CardFile) -> None:
        """Delete a listed file, durably. One that is gone already is fine.

        Raises:
            Changing: another file has its name now; it was not touched.
            NeedsHuman: the card does not allow it (write protected).
            SourceGone: the card is not there any more.
            Unreadable: what has its name is no regular file, or lies behind a symlink.
        """


# -- names, written down ----------------------------------------------------------------------------------------------
_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")


def printable(raw: bytes | str) -> str:
    r"""Write a foreign name so that it can be stored, logged and shown: reversible by ``raw_name``.

    Characters that are printable in Python's sense stay. Backslashes, control characters, bidirectional marks, odd
    spaces and bytes that are no UTF-8 become ``\xNN``, one for each byte.

    Args:
        raw: the bytes of the name, or what the ``os`` module made of them.
    """
    if isinstance(raw, str):
        if raw.isprintable() and "\\" not in raw:
            return raw  # nearly every name
        raw = os.fsencode(raw)
    text = raw.decode(errors="surrogateescape")
    return "".join(
        char
        if char.isprintable() and char != "\\"
        else "".join(f"\\x{byte:02x}" for byte in char.encode(errors="surrogateescape"))
        for char in text
    )


def raw_name(text: str) -> bytes:
    """Give back the bytes that ``printable`` wrote down.

    Raises:
        ValueError: ``printable`` never writes this text.
    """
    parts = _ESCAPE.split(text)  # text, NN, text, NN, ..., text
    raw = b"".join(bytes.fromhex(part) if odd % 2 else part.encode() for odd, part in enumerate(parts))
    if printable(raw) != text:
        raise ValueError(f"not a written-down name: {text!a}")
    return raw


# -- names, recognised ------------------------------------------------------------------------------------------------
MAX_PICTURE: Final = 512 * 1024 * 1024
"""Bytes. The largest panorama cameras write JPEGs of about 100 MB; a "picture" beyond five times that is no picture (a
sparse file of 1 TB, a broken directory entry) and would only fill the disk."""

SYSTEM_FOLDERS: Final = frozenset({"system volume information", "lost.dir", "$recycle.bin", "recycler", "lost+found"})
"""In lower case; besides these every folder that begins with a dot (.Trash-1000, .Spotlight-V100, .fseventsd,
.thumbnails)."""

_SUFFIXES: Final[Mapping[Kind, str]] = {
    Kind.PICTURE: "jpg jpeg",
    Kind.VIDEO: "mp4 mov 360 avi mts m2ts mkv m4v 3gp ts insv wmv",
    # No JPEG, so the server takes none of them. heic and insp (two fisheyes, unstitched) are no raw in the strict
    # sense, but the same to us: a shot that somebody must convert first.
    Kind.RAW: "gpr dng cr2 cr3 crw nef nrw arw srf sr2 orf raf rw2 pef srw raw heic heif insp",
    Kind.SIDECAR: "thm lrv wav xmp aae ctg gpx srt lrf",
}
_BY_SUFFIX: Final = {f".{suffix}": kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_PICTURE, _OTHER = Kind.PICTURE, Kind.OTHER  # looking a member up in its enum takes longer than a dictionary does


def is_system_folder(name: str) -> bool:
    """Whether a folder is the system's own and not looked into."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def kind_of(path: str, size: int, mode: int, *, only_dcim: bool = True) -> Kind:
    """Tell what an entry of a card is, from its name and ``stat`` alone.

    Args:
        path: relative to the card.
        size: bytes.
        mode: ``st_mode`` of the entry itself (``lstat``).
        only_dcim: the card has a DCIM folder (DCF, JEITA CP-3461), so a JPEG elsewhere is not a shot of its camera.
    """
    if not stat.S_ISREG(mode):
        return Kind.SPECIAL
    name = path.rpartition("/")[2]
    if name[0] == ".":
        return Kind.HIDDEN
    kind = _BY_SUFFIX.get(name[name.rfind(".") :].lower(), _OTHER)
    if kind is not _PICTURE:
        return kind
    if only_dcim and path[:5].lower() != "dcim/":
        return _OTHER
    if size > MAX_PICTURE:
        return Kind.TOO_LARGE
    return _PICTURE if size else Kind.EMPTY


def unreadable(path: str, *, only_dcim: bool = True) -> Kind:
    """Tell what an entry is that could not be looked at: by its name and place it may be, or have, pictures, or not.

    Args:
        path: relative to the card; a folder's ends in ``/``, that of the top folder is only that.
        only_dcim: see ``kind_of``.
    """
    if only_dcim and path != "/" and path[:5].lower() != "dcim/":
        return _OTHER
    kind = _BY_SUFFIX.get(path[path.rfind(".") :].lower(), _OTHER)
    return Kind.UNREADABLE if kind in {_PICTURE, _OTHER} else kind


# GoPro's own file naming: G, three digits of the group, four of the shot. Labs firmware puts up to 28 characters in
# front; a letter right before the G would make it part of a word (IMG1234567.jpg), a GoPro never writes that itself.
_GROUPED: Final = re.compile(r"(?:.{0,27}[^A-Za-z])?G([0-9]{3})[0-9]{4}\.JPE?G", re.IGNORECASE | re.DOTALL)


def group_of(name: str) -> str | None:
    """Give the recording's number of a GoPro time-lapse picture (``G0120042.JPG``: "012"), or None.

    Args:
        name: of the file, without folders.
    """
    match = _GROUPED.fullmatch(name)
    return match[1] if match else None
