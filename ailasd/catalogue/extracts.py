"""Pictures for others to work with: by drive, card and time, one after the other, however many there are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ailasd.catalogue.database import Connections, Row


class Extracts:
    """Only reads."""

    def __init__(self, connections: Connections) -> None:
        self._db = connections

    def pictures(
        self,
        *,
        drives: Sequence[int] = (),
        cards: Sequence[int] = (),
        since: str | None = None,
        until: str | None = None,
    ) -> Iterator[Row]:
        """Rows of ``picture`` with ``sequence_title``, drive by drive in the order in which they were taken.

        Args:
            drives: of any of these; none: of all.
            cards: that were on any of these; none: on any.
            since: taken from then on (ISO, UTC); None: whenever, and those of which nobody knows.
            until: taken before then; the same.
        """
        cursor = self._db.mine.conn.execute(
            """SELECT picture.*, sequence.title AS sequence_title
               FROM picture LEFT JOIN sequence ON sequence.id = picture.sequence
               WHERE (:any_drive OR picture.drive IN (SELECT value FROM json_each(:drives)))
               AND (:any_card OR picture.id IN
                    (SELECT picture FROM card_file WHERE card IN (SELECT value FROM json_each(:cards))))
               AND (:since IS NULL OR captured >= :since) AND (:until IS NULL OR captured < :until)
               ORDER BY picture.drive, captured, picture.id""",
            {"any_drive": not drives, "drives": json.dumps(list(drives)), "any_card": not cards,
             "cards": json.dumps(list(cards)), "since": since, "until": until},
        )  # fmt: skip
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))
