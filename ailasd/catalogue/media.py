"""What is plugged in now, and how far we are with it. For ``status`` in another process; empty when no daemon runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ailasd.clock import iso

if TYPE_CHECKING:
    from ailasd.catalogue.database import Connections, Row
    from ailasd.clock import Clock


class Media:
    """One row for each medium that is plugged in."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._db = connections
        self._clock = clock

    def stands(self, key: str, label: str, state: str, *, problem: str | None = None, card: int | None = None) -> None:
        """Write how it stands with the medium ``key``. The words: ``attending.Stand``."""
        with self._db.writing() as db:
            db.conn.execute(
                """INSERT INTO medium (key, label, state, problem, card, since) VALUES (?, ?, ?, ?, ?, ?)
                   ON CONFLICT (key) DO UPDATE SET label = excluded.label, state = excluded.state,
                       problem = excluded.problem, card = coalesce(excluded.card, card), since = excluded.since""",
                (key, label, state, problem, card, iso(self._clock.now())),
            )

    def gone(self, key: str) -> None:
        """It is not plugged in any more."""
        with self._db.writing() as db:
            db.conn.execute("DELETE FROM medium WHERE key = ?", (key,))

    def forget(self) -> None:
        """A daemon starts or ends: what was plugged in then says nothing about now."""
        with self._db.writing() as db:
            db.conn.execute("DELETE FROM medium")

    def all(self) -> list[Row]:
        """Every medium, the latest first: key, label, state, problem, card, since."""
        return self._db.rows("SELECT * FROM medium ORDER BY since DESC, key")
