"""One connection a thread to the SQLite file, and what every write has in common."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlite_utils import Database

from ailasd.catalogue.migrations import migrate, refuse_another
from ailasd.errors import CatalogueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

Row = dict[str, Any]

BUSY_MS: Final = 20_000
"""How long a writer waits for another: `ailasd import` beside the daemon, on an SD card that takes seconds to sync."""

PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",  # readers (status, datasette) never hold up the daemon
    "PRAGMA synchronous = FULL",  # with less, a power cut loses acknowledged rows (FIELD: 14-40 of 32-70)
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",  # one move touches more than the 64 KiB of pages that else go to a file in /tmp
    f"PRAGMA busy_timeout = {BUSY_MS}",
    # KiB for each thread, whose pages the kernel has too. Measured: 2 MB less than with SQLite's own 2 MiB a thread.
    "PRAGMA cache_size = -256",
)


READING: Final = ("PRAGMA query_only = ON", "PRAGMA temp_store = MEMORY", f"PRAGMA busy_timeout = {BUSY_MS}")
"""For one who may not even write to the folder. No journal_mode: the file has its own."""


class Connections:
    """Hands every thread its own connection: sharing one gave wrong rows (DESIGN section 3).

    Args:
        path: of the file.
        read_only: for another user, who may read the file and its folder and nothing else; for one look.

    Raises:
        CatalogueError: on opening, when the file is no catalogue of ours, is damaged, or cannot be written (read);
            with ``read_only`` also when it is of an older ailasd, since nothing is migrated then.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._mine = threading.local()
        self._all: list[tuple[threading.Thread, Database]] = []
        self._lock = threading.Lock()
        try:
            (refuse_another if read_only else migrate)(self.mine)
        except sqlite3.Error as error:
            if read_only:
                raise CatalogueError(f"the catalogue {path} cannot be read now: {error}") from error
            raise CatalogueError(
                f"the catalogue {path} cannot be used ({error}): is the disk full or read-only, or the file damaged? "
                "Put a backup in its place, or move it away: a new one is made and known pictures are read again"
            ) from error

    @property
    def mine(self) -> Database:
        """This thread's connection."""
        if (db := getattr(self._mine, "db", None)) is None:
            db = Database(_opened(for_reading(self._path) if self._read_only else self._path), execute_plugins=False)
            for pragma in READING if self._read_only else PRAGMAS:
                db.execute(pragma)
            self._mine.db = db
            self._close_where(lambda thread: not thread.is_alive())
            with self._lock:
                self._all.append((threading.current_thread(), db))
        return db

    def _close_where(self, over: Callable[[threading.Thread], bool]) -> None:
        with self._lock:
            for thread, db in self._all:
                if over(thread):
                    db.close()
            self._all = [(thread, db) for thread, db in self._all if not over(thread)]

    def rows(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
        """All rows of a SELECT, as dictionaries."""
        cursor = self.mine.conn.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def row(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> Row | None:
        """The first row of a SELECT, or None."""
        found = self.rows(sql, values)
        return found[0] if found else None

    def value(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> Any:
        """The first column of the first row, or None."""
        found = self.mine.conn.execute(sql, values).fetchone()
        return found[0] if found else None

    def version(self) -> int:
        """SQLite's data_version of this thread's connection: it counts the changes of all others."""
        return int(self.value("PRAGMA data_version"))

    @contextmanager
    def writing(self) -> Iterator[Database]:
        """One transaction that may write, from its first read on: BEGIN IMMEDIATE. Nested ones join the outer one."""
        db = self.mine
        if db.conn.in_transaction:
            yield db
            return
        db.conn.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.conn.rollback()
            raise
        db.conn.commit()

    def close(self) -> None:
        """Close this thread's connection, and those of threads that have ended.

        One that is still in use is left to the end of its thread or of the process: SQLite is made for that, and to
        close it under its user's hands is a crash.
        """
        us = threading.current_thread()
        self._close_where(lambda thread: thread is us or not thread.is_alive())
        self._mine.__dict__.clear()  # of this thread alone: another may be in the middle of a transaction


def for_reading(path: Path) -> str:
    """The address (SQLite's URI) under which whoever may only read the catalogue can read it just now.

    While a daemon runs, the write-ahead log and its index lie beside the file, and whoever may read them reads with
    it. When it has ended they are gone, SQLite would have to make them, and we may not: then nobody writes, and the
    file is read as one that does not change.
    """
    address = f"{path.absolute().as_uri()}?mode=ro"
    with closing(_opened(address)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        return address
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        return address  # a power cut left what only a writer can put right; the first question says so
    return f"{address}&immutable=1"


def _opened(where: Path | str) -> sqlite3.Connection:
    # a connection is closed by another thread than its own, once that has ended: hence check_same_thread
    return sqlite3.connect(where, timeout=BUSY_MS / 1000, check_same_thread=False, uri=isinstance(where, str))


def is_trouble_of_the_file(error: Exception) -> bool:
    """Whether ``error`` came from the catalogue's file: damaged, locked for too long, disk full or read-only."""
    return isinstance(error, sqlite3.Error)
