"""What the page shows of single drives and pictures. Only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ailasd.catalogue.database import Connections, Row


class Journeys:
    """Drives, and which pictures of them can be shown."""

    def __init__(self, connections: Connections) -> None:
        self._db = connections

    def drives(self, *, limit: int, skip: int = 0) -> list[Row]:
        """Drives, that which began last first: id, camera, started, ended, model, counts.

        ``model`` is what the camera calls itself, or None; ``counts``: (state, reason or "", pictures), the reason
        of those that are held or refused.
        """
        drives = self._db.rows(
            "SELECT id, camera, started, ended FROM drive ORDER BY started DESC, id DESC LIMIT ? OFFSET ?",
            (limit, skip),
        )
        return [drive | self._of(drive["id"]) for drive in drives]

    def drive(self, drive: int) -> Row | None:
        """One of them."""
        row = self._db.row("SELECT id, camera, started, ended FROM drive WHERE id = ?", (drive,))
        return None if row is None else row | self._of(drive)

    def _of(self, drive: int) -> Row:
        """From an index, but for those that have a reason: most of thousands have none."""
        counts = self._db.rows(
            """SELECT state, '' AS reason, count(*) AS pictures FROM picture
               WHERE drive = :drive AND state NOT IN ('held', 'refused') GROUP BY state
               UNION ALL SELECT state, coalesce(reason, ''), count(*) FROM picture
               WHERE drive = :drive AND state IN ('held', 'refused') GROUP BY state, reason ORDER BY 3 DESC""",
            {"drive": drive},
        )
        return {
            "counts": [(row["state"], row["reason"], row["pictures"]) for row in counts],
            "model": self._db.value("SELECT model FROM picture WHERE drive = ? AND model > '' LIMIT 1", (drive,)),
        }

    def how_many_drives(self) -> int:
        """All that there are."""
        return int(self._db.value("SELECT count(*) FROM drive"))

    def last_read(self) -> str | None:
        """When the last pass over a card ended, since when its videos are known."""
        ended = self._db.value("SELECT max(ended) FROM visit")
        return None if ended is None else str(ended)

    def refusals(self, drive: int) -> dict[str, str]:
        """Reason -> why, in the server's words, the last picture of a drive was refused for it."""
        rows = self._db.rows(
            """SELECT coalesce(reason, '') AS reason, coalesce(why, '') AS why, max(id) FROM picture
               WHERE drive = ? AND state = 'refused' GROUP BY reason""",
            (drive,),
        )
        return {row["reason"]: row["why"] for row in rows}

    def some_pictures(self, drive: int, *, limit: int) -> list[int]:
        """Pictures of a drive of which we have a copy, evenly over it, in the order of capture."""
        rows = self._db.rows(
            "SELECT id FROM picture WHERE drive = ? AND copy IS NOT NULL ORDER BY captured, id", (drive,)
        )
        step = max(1, -(-len(rows) // limit))
        return [row["id"] for row in rows[::step]]
