"""A small copy of the catalogue for somebody far away: the newest rows, without positions and names unless wanted.

The catalogue itself is only read, in one look of its own; a running daemon goes on.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Final

from ailasd.catalogue.database import BUSY_MS, for_reading
from ailasd.errors import CatalogueError
from ailasd.veil import SOME_FILE, is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ailasd.veil import Veil

SQLITE: Final = sqlite3.sqlite_version

MOST_NAMES: Final = 5000
"""Names that are like no camera's, and must be looked for one by one."""

TABLES: Final = (
    "card", "visit", "drive", "sequence", "picture", "card_file", "event", "fact", "tally", "medium", "traffic",
)  # fmt: skip
"""What goes along. Not: tracks, which are nothing but positions; what a lost catalogue had; what is added later."""

POSITIONS: Final = {"picture": ("latitude", "longitude", "altitude", "heading", "position_override")}
NAMES: Final = {
    "card": {"identity": "card", "label": "card"},
    "picture": {"name": "picture"},
    "card_file": {"path": "file"},
    "medium": {"key": "medium", "label": "medium"},
}
"""Column -> what stands there instead, with the row's number."""
TEXTS: Final = {
    "card": ("identity", "label", "camera_serial", "camera_model", "cleaning_stopped"),
    "drive": ("camera", "recording", "clock"),
    "sequence": ("title", "last_error"),
    "picture": ("name", "why", "camera", "make", "model", "serial", "recording", "copy", "last_error"),
    "card_file": ("path", "problem"),
    "event": ("detail",),
    "fact": ("value",),
    "medium": ("label", "problem"),
}
"""Columns whose words somebody else may have chosen: they go through the veil."""

_TELLING: Final = "length(label) > 2"
"""A label that tells something; as a name "a" would be found in every sentence."""


class TooManyNames(CatalogueError):
    """There are more than ``MOST_NAMES``."""


def names(catalogue: Path) -> Iterator[tuple[str, str]]:
    """What a veil must be told: labels of cards, and names on them that no rule finds; with what stands there instead.

    Raises:
        CatalogueError: it cannot be read.
        TooManyNames: too many to look for.
    """
    try:
        with closing(_opened(catalogue)) as db:
            yield from db.execute(f"SELECT label, 'card ' || id FROM card WHERE {_TELLING} ORDER BY id")
            yield from db.execute(f"SELECT label, 'a medium' FROM medium WHERE {_TELLING}")
            # a stick that was no camera's, or a card's older label, is only told of any more
            yield from db.execute(
                f"""SELECT label, 'a medium' FROM
                    (SELECT DISTINCT json_extract(detail, '$.card') AS label FROM event WHERE picture IS NULL)
                    WHERE {_TELLING}"""
            )
            odd = db.execute(
                """SELECT path FROM card_file WHERE path GLOB '*[^A-Za-z0-9_./-]*' OR path NOT GLOB '*.[jJ][pP]*'
                   UNION SELECT name FROM picture WHERE name GLOB '*[^A-Za-z0-9_.-]*' OR name NOT GLOB '*.[jJ][pP]*'
                   UNION SELECT name FROM track UNION SELECT source FROM track LIMIT ?""",
                (MOST_NAMES + 1,),
            ).fetchall()
    except sqlite3.Error as error:
        raise CatalogueError(f"the catalogue {catalogue} cannot be read: {error}") from error
    if len(odd) > MOST_NAMES:
        raise TooManyNames(f"more than {MOST_NAMES} names on its cards are like no camera's")
    for (path,) in odd:
        for part in {path, *path.split("/")}:
            if len(part) > 1 and not is_plain(part) and part.upper() != "DCIM":
                yield part, SOME_FILE


def excerpt(catalogue: Path, to: Path, veil: Veil, *, most: int, private: bool) -> None:
    """Write the newest rows into a SQLite file of its own.

    Args:
        catalogue: is only read.
        to: the new file.
        veil: what every text of others goes through.
        most: rows of a table.
        private: whether what is private goes along too: positions, and names as the veil leaves them.

    Raises:
        CatalogueError: it cannot be read, or the copy not be written.
    """
    try:
        with closing(sqlite3.connect(f"{to.absolute().as_uri()}?mode=rwc", uri=True)) as db:
            db.create_function("veiled", 1, partial(_veiled, veil), deterministic=True)
            db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            db.execute("ATTACH ? AS source", (for_reading(catalogue),))
            for table in TABLES:
                columns = [row[1] for row in db.execute(f"PRAGMA source.table_info({table})")]
                told = ", ".join(f"{_told(table, column, private=private)} AS {column}" for column in columns)
                newest = "id" if "id" in columns else columns[0]
                db.execute(
                    f"CREATE TABLE {table} AS SELECT {told} FROM source.{table} ORDER BY {newest} DESC LIMIT ?", (most,)
                )
            db.commit()
            db.execute("DETACH source")
            db.execute("VACUUM")
    except sqlite3.Error as error:
        raise CatalogueError(f"no excerpt of the catalogue {catalogue} could be made: {error}") from error


def _told(table: str, column: str, *, private: bool) -> str:
    """The SQL of a column's value."""
    if not private and column in POSITIONS.get(table, ()):
        return "NULL"
    if not private and (instead := NAMES.get(table, {}).get(column)):
        return f"'{instead} ' || rowid"
    return f"veiled({column})" if column in TEXTS.get(table, ()) else column


def _veiled(veil: Veil, text: str | float | None) -> str | float | None:
    """Through the veil; what is JSON stays JSON."""
    if not isinstance(text, str):
        return text
    if text.startswith(("{", "[")):
        try:
            return json.dumps(veil.value(json.loads(text)))
        except (ValueError, RecursionError):
            pass
    return veil(text)


def _opened(catalogue: Path) -> sqlite3.Connection:
    return sqlite3.connect(for_reading(catalogue), uri=True, timeout=BUSY_MS / 1000)
