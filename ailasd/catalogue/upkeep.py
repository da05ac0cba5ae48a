"""What an upgrade does with the catalogue: ``python -m ailasd.catalogue.upkeep check FILE`` or ``backup FILE VERSION``.

``ailasd setup --upgrade`` runs it with the Python of the new version, as the user who owns the file. It never changes
the catalogue.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlite_utils import Database

from ailasd.catalogue.database import BUSY_MS
from ailasd.catalogue.migrations import refuse_newer
from ailasd.disk import fsync_folder
from ailasd.errors import AilasdError, CatalogueError

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGES_AT_ONCE: Final = 1024
"""4 MiB: others can write in between, should anybody."""

KEPT: Final = 3
"""Backups: one of them is from before a mistake that is noticed late; each is as large as the catalogue."""


def check(catalogue: Path) -> None:
    """Find out whether this version can go on with a catalogue; one that is not there yet is fine.

    Raises:
        CatalogueError: it was written by a newer ailasd, is damaged, or is none.
    """
    if not catalogue.exists():
        return
    try:
        with closing(_opened(catalogue)) as connection:
            _whole(connection, catalogue)
            refuse_newer(Database(connection, execute_plugins=False))
    except sqlite3.Error as error:
        raise CatalogueError(f"the catalogue {catalogue} cannot be read: {error}") from error


def backup(catalogue: Path, to: Path) -> None:
    """Copy a catalogue, also one in use, into one file that SQLite says is whole. Durable, or not there at all.

    Raises:
        CatalogueError: it cannot be read, or the copy not be written; nothing is left of it.
    """
    half = to.with_name(f".{to.name}.half")
    try:
        half.unlink(missing_ok=True)  # of a power cut
        with closing(_opened(catalogue)) as source, closing(sqlite3.connect(half)) as copy:
            source.backup(copy, pages=PAGES_AT_ONCE)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, not three
            _whole(copy, half)
        _flush(half)
        half.replace(to)
        fsync_folder(to.parent)
    except (sqlite3.Error, OSError) as error:
        half.unlink(missing_ok=True)
        raise CatalogueError(f"the catalogue {catalogue} cannot be backed up to {to}: {error}") from error


def thin_out(newest: Path) -> None:
    """Remove all backups beside ``newest`` but the last few."""
    others = {one for one in newest.parent.glob("backup-*.sqlite") if one != newest}
    by_age = sorted(others, key=lambda one: (one.lstat().st_mtime, one.name), reverse=True)
    for one in by_age[KEPT - 1 :]:
        one.unlink(missing_ok=True)


def _opened(catalogue: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{catalogue.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_MS / 1000)


def _whole(connection: sqlite3.Connection, name: Path) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise CatalogueError(f"{name} is damaged: {found}; put a backup in its place")


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def main(arguments: Sequence[str]) -> int:
    """The command; its sentence goes to stderr."""
    os.umask(0o027)  # a backup is as private as the catalogue
    try:
        match arguments:
            case ["check", catalogue]:
                check(Path(catalogue))
            case ["backup", catalogue, version]:
                to = Path(catalogue).with_name(f"backup-{version}-{datetime.now(UTC):%Y%m%d-%H%M%S}.sqlite")
                backup(Path(catalogue), to)
                thin_out(to)
                print(to)  # noqa: T201
            case _:
                print(__doc__, file=sys.stderr)  # noqa: T201
                return 2
    except AilasdError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
