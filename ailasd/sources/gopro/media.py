"""What a GoPro's media list says, as files (pure).

The list (Open GoPro HTTP API 2.0, ``/gopro/media/list``) names each single shot with its size, but a whole time-lapse
only once: the first picture, the numbers of the first and the last, and those that are missing. Everything in it is
text from outside: what does not look like a camera's own file name is described, and never asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from ailasd.errors import UnexpectedAnswer
from ailasd.sources import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP: Final = "DCIM"
LAST_NUMBER: Final = 9999
"""DCF (JEITA CP-3461) counts files from 0001 to 9999, and then anew."""
LONGEST_NAME: Final = 80
"""Characters: DCF has 12, GoPro's Labs firmware puts up to 28 in front of them."""

_NAME: Final = rf"[A-Za-z0-9_~-][A-Za-z0-9 _.,+@~()=-]{{0,{LONGEST_NAME - 1}}}"
_PATH: Final = re.compile(rf"{TOP}/({_NAME})/({_NAME})")
_SAFE: Final = re.compile(_NAME)
_NUMBERED: Final = re.compile(r"(.*)[0-9]{4}(\.[A-Za-z0-9]+)")


@dataclass(frozen=True, slots=True)
class Shots:
    """One line of the list.

    Attributes:
        folder: its path on the camera, printable: "DCIM/100GOPRO".
        names: of its files, the one that the line names first; at most ``LAST_NUMBER``.
        made: seconds, the camera's own local time counted as if it were UTC: of the file that the line names.
        size: bytes of a single shot; None: the line tells it only of all together.
        raw: each picture has a raw one beside it, which the list does not name.
        trusted: the names are such as a camera gives, so they may be asked for.
    """

    folder: str
    names: tuple[str, ...]
    made: int
    size: int | None
    raw: bool
    trusted: bool

    @property
    def key(self) -> tuple[str, str, int]:
        """Tells one recording from another: two never begin with the same file in the same second."""
        return self.folder, self.names[0], self.made

    def paths(self) -> Iterator[str]:
        """The files' paths on the camera."""
        return (f"{self.folder}/{name}" for name in self.names)


def lines(document: dict[str, Any]) -> Iterator[Shots]:
    """Read a media list, line by line.

    Raises:
        UnexpectedAnswer: it is no media list.
    """
    media = document.get("media")
    if not isinstance(media, list):
        raise UnexpectedAnswer("The camera's list of its files cannot be understood")
    for folder in media:
        name, files = (folder.get("d"), folder.get("fs")) if isinstance(folder, dict) else (None, None)
        for file in files if isinstance(files, list) else ():
            yield _line(name, file if isinstance(file, dict) else {})


def split(path: str) -> tuple[str, str] | None:
    """Take the path of a listed file apart into folder and name; None if no camera names a file so."""
    match = _PATH.fullmatch(path)
    return (match[1], match[2]) if match else None


def number(value: object, most: int = 2**53) -> int | None:
    """Read a number, which the API writes as text; None if it is none, negative, or more than ``most``."""
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _line(folder: object, file: dict[str, Any]) -> Shots:
    name = file.get("n")
    trusted = all(isinstance(one, str) and _SAFE.fullmatch(one) for one in (folder, name))
    names = _members(str(name), file) if trusted else ()
    made = number(file.get("cre"), 2**33)  # the year 2242; not "mod": a tag set later must not make it another file
    return Shots(
        folder=f"{TOP}/{_written(folder)}",
        names=names or (_written(name),),
        made=made if made is not None else number(file.get("mod"), 2**33) or 0,
        size=None if names else number(file.get("s")),
        raw=number(file.get("raw")) == 1,
        trusted=trusted,
    )


def _members(name: str, file: dict[str, Any]) -> tuple[str, ...]:
    """The files of a group, that of ``name`` first; none if it is a single shot."""
    numbered = _NUMBERED.fullmatch(name)
    first, last = (number(file.get(key), LAST_NUMBER) for key in ("b", "l"))
    if "g" not in file or numbered is None or first is None or last is None:
        return ()
    gone = file.get("m")
    missing = {number(one, LAST_NUMBER) for one in gone} if isinstance(gone, list) else set()
    numbers = range(first, last + 1) if first <= last else chain(range(first, LAST_NUMBER + 1), range(1, last + 1))
    names = (f"{numbered[1]}{one:04d}{numbered[2]}" for one in numbers if one not in missing)
    return tuple(dict.fromkeys((name, *names)))


def _written(name: object) -> str:
    """A foreign name as one component of a path, for people: never opened."""
    text = name if isinstance(name, str) and name else "?"
    return printable(text.encode(errors="surrogatepass")[:LONGEST_NAME]).replace("/", r"\x2f")
