"""What the catalogue tells people: counts, timelines, single facts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ailasd.catalogue.cards import LAST_CARD
from ailasd.clock import iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ailasd.catalogue.database import Connections, Row
    from ailasd.clock import Clock


class Telling:
    """Events, tallies and facts."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._db = connections
        self._clock = clock

    # -- events -------------------------------------------------------------------------------------------------------
    def happened(
        self,
        name: str,
        *,
        card: int | None,
        drive: int | None,
        picture: int | None,
        trace: str | None,
        detail: dict[str, object],
    ) -> None:
        """Write one event."""
        with self._db.writing() as db:
            db.conn.execute(
                """INSERT INTO event (at, clock_trusted, name, trace, card, drive, picture, detail)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
                (iso(self._clock.now()), self._clock.trusted(), name, trace, card, drive, picture,
                 json.dumps(detail, default=str, sort_keys=True)),
            )  # fmt: skip

    def timeline(
        self,
        *,
        card: int | None = None,
        drive: int | None = None,
        picture: int | None = None,
        since: str | None = None,
        until: str | None = None,
        without: Sequence[str] = (),
        moves: bool = False,
        limit: int = 1000,
    ) -> list[Row]:
        """The last ``limit`` events, oldest first. Moves of pictures are left out without ``picture`` or ``moves``.

        A card's timeline has that of the drives that began on it. ``without`` has names of events.
        """
        rows = self._db.rows(
            """SELECT * FROM event WHERE (:card IS NULL OR card = :card
                                          OR drive IN (SELECT drive FROM sequence WHERE card = :card))
               AND (:drive IS NULL OR drive = :drive)
               AND (:since IS NULL OR at >= :since) AND (:until IS NULL OR at < :until)
               AND (picture = :picture OR (:picture IS NULL AND (:moves OR was IS NULL)))
               AND name NOT IN (SELECT value FROM json_each(:without))
               ORDER BY id DESC LIMIT :limit""",
            {"card": card, "drive": drive, "picture": picture, "since": since, "until": until, "moves": moves,
             "without": json.dumps(list(without)), "limit": limit},
        )  # fmt: skip
        return [{**row, "detail": json.loads(row["detail"])} for row in reversed(rows)]

    def visits(self, ids: Iterable[int]) -> dict[int, Row]:
        """Passes over cards by id: the rows of ``visit``, the card's ``label``, and what ``became``.

        That is of the files that the pass was the first to see: [(state, reason or "", pictures), ...].
        """
        wanted = json.dumps(sorted(ids))
        found = {
            row["id"]: {**row, "became": []}
            for row in self._db.rows(
                """SELECT visit.*, label FROM visit JOIN card ON card.id = visit.card
                   WHERE visit.id IN (SELECT value FROM json_each(?))""",
                (wanted,),
            )
        }
        # by card first, which has an index: of the files of all cards it would be a scan
        for row in self._db.rows(
            """SELECT seen, state, coalesce(reason, '') AS reason, count(*) AS pictures
               FROM card_file JOIN picture ON picture.id = card_file.picture
               WHERE card IN (SELECT card FROM visit WHERE id IN (SELECT value FROM json_each(:ids)))
               AND seen IN (SELECT value FROM json_each(:ids)) GROUP BY 1, 2, 3""",
            {"ids": wanted},
        ):
            found[row["seen"]]["became"].append((row["state"], row["reason"], row["pictures"]))
        return found

    def where_seen(self, picture: int) -> list[Row]:
        """The card files with this picture: label, path, cleared_at."""
        return self._db.rows(
            """SELECT label, path, cleared_at, last_seen FROM card_file JOIN card ON card.id = card_file.card
               WHERE picture = ? ORDER BY card_file.id""",
            (picture,),
        )

    # -- counts -------------------------------------------------------------------------------------------------------
    def tally(self) -> list[Row]:
        """(state, reason, pictures, bytes) of all pictures; reason is "" where there is none."""
        return self._db.rows("SELECT * FROM tally WHERE pictures > 0 ORDER BY state, reason")

    def totals(self, *, after_visit: int = 0) -> Row:
        """Sums over later visits: on_card, copied, known, bytes_copied, bytes_known, and ``left`` by reason."""
        row = self._db.row(
            """SELECT coalesce(sum(on_card), 0) AS on_card, coalesce(sum(copied), 0) AS copied,
               coalesce(sum(known), 0) AS known, coalesce(sum(bytes_copied), 0) AS bytes_copied,
               coalesce(sum(bytes_known), 0) AS bytes_known FROM visit WHERE ended IS NOT NULL AND id > ?""",
            (after_visit,),
        )
        assert row is not None
        left = self._db.rows(
            """SELECT key AS reason, sum(value) AS files FROM visit, json_each(visit.left_there)
               WHERE ended IS NOT NULL AND visit.id > ? GROUP BY key""",
            (after_visit,),
        )
        return {**row, "left": {one["reason"]: one["files"] for one in left}}

    def cards(self) -> list[Row]:
        """The view ``cards``, that which was in somebody's hand last first, then as they were last seen."""
        return self._db.rows(
            """SELECT * FROM cards
               ORDER BY id = (SELECT CAST(value AS INTEGER) FROM fact WHERE name = ?) DESC, last_seen DESC""",
            (LAST_CARD,),
        )

    def drives(self, *, limit: int) -> list[Row]:
        """The view ``drives``, newest first."""
        return self._db.rows(
            "SELECT * FROM drives WHERE id IN (SELECT id FROM drive ORDER BY id DESC LIMIT ?) ORDER BY id DESC",
            (limit,),
        )

    def drives_standing(self, *, limit: int) -> list[Row]:
        """The newest drives, each with ``states`` (state -> pictures), ``upside_down``, ``web_links``; from indexes."""
        drives = self._db.rows("SELECT * FROM drive ORDER BY id DESC LIMIT ?", (limit,))
        for drive in drives:
            counts = self._db.rows(
                """SELECT state, count(*) AS pictures, max(upside_down) AS upside_down FROM picture
                   WHERE drive = ? GROUP BY state""",
                (drive["id"],),
            )
            drive["states"] = {row["state"]: row["pictures"] for row in counts}
            drive["upside_down"] = any(row["upside_down"] for row in counts)
            links = self._db.rows(
                "SELECT web_link FROM sequence WHERE drive = ? AND web_link IS NOT NULL ORDER BY part", (drive["id"],)
            )
            drive["web_links"] = [row["web_link"] for row in links]
        return drives

    def pictures_of_drive(self, drive: int) -> list[Row]:
        """What a report needs of each of its pictures."""
        return self._db.rows(
            """SELECT state, reason, verdict, camera, model, camera_time, gps_time, file_time, latitude, longitude,
                      upside_down, captured, capture_override, position_override, position_from, copy
               FROM picture WHERE drive = ? ORDER BY captured, id""",
            (drive,),
        )

    def videos_of_drive(self, drive: int) -> set[int]:
        """When the videos on the cards of its pictures were written, as the cards tell it (seconds since 1970)."""
        rows = self._db.rows(
            """SELECT videos FROM visit WHERE videos != '[]' AND card IN
                   (SELECT DISTINCT card FROM card_file JOIN picture ON picture.id = picture WHERE drive = ?)
               ORDER BY id DESC LIMIT 20""",
            (drive,),
        )
        return {second for row in rows for second in json.loads(row["videos"])}

    def card_standing(self, card: int, *, most: int = -1) -> Row:
        """The picture files of ``card`` that we did not delete: files, bytes, confirmed(_bytes), not_copied.

        ``most``: look at so many files only (-1: all), since a card may have a hundred thousand.
        """
        row = self._db.row(
            """SELECT count(*) AS files, total(there.size) AS bytes,
                   total(state IN ('confirmed', 'cleaned')) AS confirmed,
                   total(there.size * (state IN ('confirmed', 'cleaned'))) AS confirmed_bytes,
                   total(there.picture IS NULL) AS not_copied
               FROM (SELECT picture, size FROM card_file WHERE card = ? AND cleared_at IS NULL LIMIT ?) AS there
               LEFT JOIN picture ON picture.id = there.picture""",
            (card, most),
        )
        assert row is not None
        return {name: int(value) for name, value in row.items()}

    def on_server(self, picture: str, collection: str) -> Row | None:
        """What the server's picture, or its sequence, is here: id, name, md5 (None: of a sequence), drive, title."""
        return self._db.row(
            """SELECT picture.id, name, md5, picture.drive, sequence.title FROM picture
               LEFT JOIN sequence ON sequence.id = picture.sequence WHERE server_id = ?""",
            (picture,),
        ) or self._db.row(
            """SELECT NULL AS id, NULL AS name, NULL AS md5, drive, title FROM sequence
               WHERE ? <> '' AND web_link LIKE '%/' || ?""",
            (collection, collection),
        )

    def pictures_ever(self) -> int:
        """How many pictures there are, without counting: a row is never deleted, so that the last id says it."""
        return int(self._db.value("SELECT coalesce(max(id), 0) FROM picture"))

    def last_proven(self) -> str | None:
        """When the server last proved that it holds a picture (ISO, UTC), of those of which there is a copy here."""
        found = self._db.value("SELECT max(since) FROM picture WHERE state = 'confirmed'")
        return None if found is None else str(found)

    def oldest_waiting(self) -> str | None:
        """When the oldest queued picture was taken (ISO, UTC); None if none waits, or nobody knows.

        Fresh ones are asked for only of the drive that began first; of those that failed before only the first due.
        """
        found = self._db.value(
            """SELECT min(captured) FROM (
                   SELECT captured FROM picture WHERE state = 'queued' AND next_attempt_at IS NULL AND drive =
                       (SELECT id FROM drive WHERE started IS NOT NULL AND EXISTS (SELECT 1 FROM picture
                            WHERE picture.drive = drive.id AND state = 'queued' AND next_attempt_at IS NULL)
                        ORDER BY started LIMIT 1)
                   UNION ALL
                   SELECT * FROM (SELECT captured FROM picture WHERE state = 'queued' AND next_attempt_at IS NOT NULL
                                  ORDER BY next_attempt_at LIMIT 100))"""
        )
        return None if found is None else str(found)

    def files_named(self, name: str, *, limit: int = 20) -> list[Row]:
        """Card files whose path is ``name`` or ends in it: label, path, problem, picture (None: never copied)."""
        return self._db.rows(
            """SELECT label, path, problem, picture FROM card_file JOIN card ON card.id = card_file.card
               WHERE path = :name OR substr(path, -length(:name) - 1) = '/' || :name
               ORDER BY card_file.id DESC LIMIT :limit""",
            {"name": name, "limit": limit},
        )

    def latest_error(self) -> Row | None:
        """The queued picture with the most attempts that failed: name, attempts, last_error, next_attempt_at."""
        return self._db.row(
            """SELECT name, attempts, last_error, next_attempt_at FROM picture
               WHERE state = 'queued' AND next_attempt_at IS NOT NULL ORDER BY next_attempt_at DESC LIMIT 1"""
        )

    # -- facts --------------------------------------------------------------------------------------------------------
    def fact(self, name: str) -> str | None:
        """A single fact, or None."""
        value = self._db.value("SELECT value FROM fact WHERE name = ?", (name,))
        return None if value is None else str(value)

    def remember(self, name: str, value: str | None) -> None:
        """Write a single fact; None forgets it."""
        with self._db.writing() as db:
            if value is None:
                db.conn.execute("DELETE FROM fact WHERE name = ?", (name,))
            else:
                db.conn.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))
