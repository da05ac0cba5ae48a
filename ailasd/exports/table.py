"""CSV (RFC 4180): a line for each picture, with a line of names on top."""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from typing import TYPE_CHECKING, Final

from ailasd.exports import Shot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

COLUMNS: Final = [
    column
    for field in fields(Shot)
    for column in (("latitude", "longitude") if field.name == "place" else (field.name,))
]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula. A picture's name is anybody's."""


def write(shots: Iterable[Shot], kit: str, now: datetime) -> Iterator[str]:  # noqa: ARG001  (all formats are alike)
    """The file."""
    yield _line(COLUMNS)
    for shot in shots:
        values: list[object] = []
        for field in fields(Shot):
            value = getattr(shot, field.name)
            if field.name == "place":
                values += value or (None, None)
            else:
                values.append(f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value)
        yield _line(values)


def _line(values: Iterable[object]) -> str:
    into = io.StringIO()
    csv.writer(into).writerow(values)
    return into.getvalue()
