"""Takes secrets, positions and names out of texts that leave the kit. Pure.

Secrets are what ``logs.mask`` knows. Names are those of files and folders on cards, which may be anybody's: what looks
like the name of a picture goes, wherever it stands; names that look otherwise must be told to the veil.
"""

from __future__ import annotations

import json
import re
from itertools import groupby
from os.path import commonprefix
from typing import TYPE_CHECKING, Any, Final

from ailasd.logs import mask, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SOME_FILE: Final = "(a file)"

_FILE: Final = re.compile(r"[^\s\"'()<>,;:]+\.(?:jpe?g|png|heic|gpr|dng|mp4|mov|lrv|thm|wav|360|gpx)\b", re.IGNORECASE)
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./-]+\.[A-Za-z0-9]{3,4}")
_EXACT: Final = re.compile(r"(-?\b\d{1,3})\.\d{4,}\b")
"""A number as exact as a position; its whole part stays, so that JSON stays JSON: one degree is 111 km."""


def is_plain(path: str) -> bool:
    """Whether a path or name is found in any text without being told: no blanks, no signs, and the end of a file."""
    return _PLAIN.fullmatch(path) is not None and _FILE.fullmatch(path) is not None


class Veil:
    """Hides ``names`` (text -> what stands there instead) and all that goes without saying.

    Args:
        names: those that are not plain.
        secrets_only: positions that are not called so, and names, stay.
    """

    def __init__(self, names: Iterable[tuple[str, str]] = (), *, secrets_only: bool = False) -> None:
        self._secrets_only = secrets_only
        self._names: dict[str, str] = {}
        for name, instead in names:
            for form in {name, printable(name)} - {""}:  # as it is, and as it is shown
                self._names.setdefault(form, instead)
        self._known = re.compile(rf"(?<!\w)(?:{_either(sorted(self._names))})(?!\w)") if self._names else None

    def __call__(self, text: str) -> str:
        """The text without them, and not longer than a line of the log."""
        text = mask(text)
        if self._secrets_only:
            return text
        if self._known is not None:
            text = self._known.sub(lambda found: self._names[found[0]], text)
        return _EXACT.sub(r"\1", _FILE.sub(SOME_FILE, text))

    def lines(self, text: str) -> str:
        """The same line by line; what is a line of JSON stays one."""
        return "\n".join(self._line(line) for line in text.splitlines())

    def _line(self, line: str) -> str:
        if line.lstrip().startswith("{"):
            try:
                return json.dumps(self.value(json.loads(line)))
            except (ValueError, RecursionError):
                pass
        return self(line)

    def value(self, value: Any) -> Any:
        """What JSON can hold, with each text in it veiled, keys too."""
        match value:
            case str():
                return self(value)
            case dict():
                return {self(str(key)): self.value(one) for key, one in value.items()}
            case list() | tuple():
                return [self.value(one) for one in value]
            case float() if not self._secrets_only and value != round(value, 3):
                return float(round(value))  # see _EXACT
            case _:
                return value


class Curtain(Veil):
    """Hides every text: for when there are more names than one can look for."""

    def __call__(self, text: str) -> str:
        """Nothing of it."""
        return "(not told)" if text else ""


def _either(names: Sequence[str]) -> str:
    """A pattern of any of the sorted ``names``, the longest that fits; made letter by letter, not name after name."""
    branches = []
    for _, group in groupby((name for name in names if name), key=lambda name: name[0]):
        same = list(group)
        head = commonprefix(same)  # noqa: RUF071  (letters, not folders, are what is meant)
        rest = [name[len(head) :] for name in same]
        tail = f"(?:{_either(rest)})" if any(rest) else ""
        branches.append(re.escape(head) + (f"{tail}?" if tail and "" in rest else tail))
    return "|".join(branches)
