"""What the server has of a former life of this kit, whose catalogue was lost: it is not to be sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ailasd.clock import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ailasd.catalogue.database import Connections
    from ailasd.clock import Clock
    from ailasd.model import Picture


class Past:
    """Rows of ``remembered``: copied once from the server's own listings, when the catalogue was new."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._db = connections
        self._clock = clock

    def is_known(self) -> bool:
        """Whether the server was asked for all of it already."""
        return bool(self._db.value("SELECT EXISTS (SELECT 1 FROM fact WHERE name = 'remembered')"))

    def now_known(self) -> tuple[int, int]:
        """All was asked for. Returns how many pictures, of how many sets."""
        with self._db.writing() as db:
            db.conn.execute("INSERT OR REPLACE INTO fact VALUES ('remembered', ?)", (iso(self._clock.now()),))
            pictures, sets = db.conn.execute(
                "SELECT count(*), count(DISTINCT upload_set) FROM remembered"
            ).fetchone()  # fmt: skip
        return int(pictures), int(sets)

    def learn(self, upload_set: str, held: Iterable[tuple[str, int, str]]) -> None:
        """That the set holds pictures: md5, size, id on the server."""
        with self._db.writing() as db:
            db.conn.executemany(
                "INSERT OR IGNORE INTO remembered (md5, size, server_id, upload_set) VALUES (?, ?, ?, ?)",
                [(*one, upload_set) for one in held],
            )

    def learnt(self) -> set[str]:
        """The sets of which something was learnt."""
        return {row["upload_set"] for row in self._db.rows("SELECT DISTINCT upload_set FROM remembered")}

    def where(self, picture: Picture) -> tuple[str, str] | None:
        """(set, id on the server) of these bytes as the server had them; None if it had not, or lost them since."""
        if picture.losses:
            return None
        row = self._db.row(
            "SELECT upload_set, server_id FROM remembered WHERE md5 = ? AND size = ?", (picture.md5, picture.size)
        )
        return (row["upload_set"], row["server_id"]) if row else None

    def set_of(self, sequence: int) -> str | None:
        """The set that has most of this sequence's pictures, and is no sequence's yet."""
        found = self._db.value(
            """SELECT remembered.upload_set FROM picture JOIN remembered USING (md5) WHERE picture.sequence = ?
               AND remembered.upload_set NOT IN (SELECT upload_set FROM sequence WHERE upload_set IS NOT NULL)
               GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1""",
            (sequence,),
        )
        return None if found is None else str(found)
