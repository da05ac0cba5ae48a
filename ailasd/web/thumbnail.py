"""A small picture of one of our copies, decoded and coded anew: none of its metadata, none of its bytes."""

from __future__ import annotations

import io
import os
import threading
import warnings
from typing import TYPE_CHECKING, Final

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

SIZE: Final = (320, 240)
SMALL: Final = 1 << 16
"""Bytes of the thumbnail in a picture's own metadata; the format allows no more."""
MOST_PIXELS: Final = 200_000_000
"""A 360 degree camera makes 120 million. More is a bomb."""

_IFD1: Final = 1  # the directory of the thumbnail, and where in it that lies (TIFF/EP)
_OFFSET, _LENGTH = 0x0201, 0x0202

_one_at_a_time = threading.Lock()
"""A picture of 27 million pixels takes some 20 MB, which a small Pi has once."""


class NoPicture(Exception):
    """It cannot be shown."""


def thumbnail(path: Path) -> bytes:
    """A JPEG of at most ``SIZE``, from the camera's own thumbnail or (JPEG can do that) decoded at an eighth.

    Raises:
        NoPicture: the copy is gone, damaged, or too large.
    """
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                with Image.open(file, formats=("JPEG", "MPO")) as whole:
                    small = _own(whole) or _reduced(whole)
                small.thumbnail(SIZE)
                out = io.BytesIO()
                small.convert("RGB").save(out, "JPEG", quality=70)
                return out.getvalue()
        except Exception as error:  # a decoder raises anything over a hostile picture
            raise NoPicture(f"{type(error).__name__}: {error}") from error


def _own(whole: Image.Image) -> Image.Image | None:
    """The thumbnail that the camera wrote, turned as the whole is; None: it has none that is one."""
    exif = whole.getexif()
    about = exif.get_ifd(_IFD1)
    block = whole.info.get("exif", b"").removeprefix(b"Exif\0\0")
    offset, length = about.get(_OFFSET), about.get(_LENGTH)
    if not (isinstance(offset, int) and isinstance(length, int)) or length > SMALL or offset + length > len(block):
        return None
    try:
        with Image.open(io.BytesIO(block[offset : offset + length]), formats=("JPEG",)) as own:
            if own.width * own.height > SIZE[0] * SIZE[1] * 4:
                return None
            own.load()
            return _upright(own, exif.get(0x0112, 1))
    except (OSError, ValueError, SyntaxError):
        return None


def _reduced(whole: Image.Image) -> Image.Image:
    if whole.width * whole.height > MOST_PIXELS:
        raise NoPicture("it is too large")
    whole.draft("RGB", SIZE)
    return _upright(whole, whole.getexif().get(0x0112, 1))


_TURN: Final = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_270,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation (EXIF) -> how to turn it; mirrored ones no camera makes."""


def _upright(picture: Image.Image, orientation: object) -> Image.Image:
    turn = _TURN.get(orientation) if isinstance(orientation, int) else None
    return picture.transpose(turn) if turn is not None else picture.copy()
