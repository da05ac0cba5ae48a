"""Drives and sequences in the catalogue."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ailasd.clock import iso
from ailasd.lifecycle import check_move
from ailasd.model import Sequence, State
from ailasd.ordering import Preference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ailasd.catalogue.database import Connections, Row
    from ailasd.clock import Clock
    from ailasd.ordering import Place

_FRAME: Final = (
    "id, camera, recording, counter, name, camera_time, gps_time, server_takes, latitude, longitude, verdict, "
    "file_time, drive, state, reason, trace, serial"
)

LAST: Final = 2
"""Drives that a new picture may belong to though no clock says so: the camera's clock was reset, there was no fix."""

NEIGHBOURS: Final = 12
"""Drives of about the same days that it may belong to, at most: a card holds a day, a day some ten drives."""

HARD_CASE_ATTEMPTS: Final = 3
"""A queued picture that failed this often no longer holds up the completion of its sequence."""

FIRST_LOOK_S: Final = 1.0
"""Dispatch takes the server's worker about a second."""

UNSENT: Final = f"state = 'queued' AND picture.attempts < {HARD_CASE_ATTEMPTS} AND fill <= (to_publish > 0)"
"""Which pictures of a sequence hold up its completion: those of the thin pass; once that is published, all."""

_LAST_DAY: Final = "9999-12-29"
"""Of a camera's broken clock: SQLite knows no days after the year 9999."""

_SEQUENCE: Final = f"""
    SELECT sequence.id, uid, drive, part, title, drive.camera, card.label AS card, asked_at IS NOT NULL AS asked,
           upload_set, completed_at IS NOT NULL AS completed, attempts, to_publish,
           NOT EXISTS (SELECT 1 FROM picture WHERE picture.sequence = sequence.id AND {UNSENT}) AS all_sent,
           (SELECT count(*) FROM picture WHERE picture.sequence = sequence.id) AS pictures
    FROM sequence JOIN drive ON drive.id = sequence.drive LEFT JOIN card ON card.id = sequence.card"""


class Drives:
    """Drives, their sequences, and the judgement over their pictures."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._db = connections
        self._clock = clock

    # -- sorting ------------------------------------------------------------------------------------------------------
    def cameras_with_unsorted(self) -> list[str]:
        """The cameras of which there are copied pictures that nobody has judged yet."""
        return [row["camera"] for row in self._db.rows("SELECT DISTINCT camera FROM picture WHERE state = 'copied'")]

    def frames_to_sort(self, camera: str) -> list[Row]:
        """The unsorted pictures of ``camera``, and as context those of drives that they may belong to; in no order.

        Unsorted ones may have a drive already: those that are judged again.
        """
        new = self._db.rows(f"SELECT {_FRAME} FROM picture WHERE state = 'copied' AND camera = ?", (camera,))
        days = sorted(row[clock][:10] for row in new for clock in ("camera_time", "gps_time") if row[clock])
        last = min(days[-1], _LAST_DAY) if days else None
        return new + self._db.rows(
            f"""SELECT {_FRAME} FROM picture WHERE state != 'copied' AND drive IN
                (SELECT drive FROM picture WHERE state = 'copied' AND camera = :camera AND drive IS NOT NULL
                 UNION SELECT * FROM (SELECT id FROM drive WHERE camera = :camera AND (
                    id IN (SELECT id FROM drive WHERE camera = :camera ORDER BY id DESC LIMIT {LAST})
                    OR started < date(:last, '+2 days') AND ended > date(:first, '-1 day'))
                 ORDER BY id DESC LIMIT {NEIGHBOURS}))""",
            {"camera": camera, "first": days[0] if days else None, "last": last},
        )

    def add(self, camera: str, recording: str | None) -> int:
        """A new drive."""
        with self._db.writing() as db:
            cursor = db.conn.execute("INSERT INTO drive (camera, recording) VALUES (?, ?)", (camera, recording))
            return int(cursor.lastrowid or 0)

    def describe(self, drive: int, started: datetime | None, ended: datetime | None, clock: str | None) -> None:
        """Widen the drive's span to these capture times; note what the capture-time guard said."""
        with self._db.writing() as db:
            db.conn.execute(
                """UPDATE drive SET started = min(coalesce(started, :started), coalesce(:started, started)),
                   ended = max(coalesce(ended, :ended), coalesce(:ended, ended)), clock = coalesce(:clock, clock)
                   WHERE id = :id""",
                {"started": iso(started) if started else None, "ended": iso(ended) if ended else None,
                 "clock": clock, "id": drive},
            )  # fmt: skip

    def judged(
        self, picture: int, becomes: State, drive: int, *, reason: str | None, why: str | None, **facts: object
    ) -> None:
        """Copied -> queued or held, with everything that was judged."""
        check_move(State.COPIED, becomes)
        values: dict[str, object] = {
            **facts, "state": becomes, "reason": reason, "why": why, "drive": drive,
            "since": iso(self._clock.now()), "clock_trusted": self._clock.trusted(),
        }  # fmt: skip
        settings = ", ".join(f"{name} = :{name}" for name in values)
        self._db.mine.conn.execute(
            f"UPDATE picture SET {settings} WHERE id = :id AND state = 'copied'",
            {**values, "id": picture},
        )

    def open_sequence(self, drive: int) -> tuple[int, int] | None:
        """(sequence id, pictures in it) of the drive's last sequence if its set was not completed yet."""
        row = self._db.row(
            """SELECT id, (SELECT count(*) FROM picture WHERE sequence = sequence.id) AS pictures FROM sequence
               WHERE drive = ? AND completed_at IS NULL ORDER BY part DESC LIMIT 1""",
            (drive,),
        )
        return (row["id"], row["pictures"]) if row else None

    def add_sequence(self, drive: int, *, uid: str, title: str, first: int) -> int:
        """A new sequence: the next part of ``drive``. Its card is that of its ``first`` picture."""
        with self._db.writing() as db:
            cursor = db.conn.execute(
                """INSERT INTO sequence (uid, drive, card, part, title) VALUES (:uid, :drive,
                   (SELECT card FROM card_file WHERE picture = :first ORDER BY id LIMIT 1),
                   (SELECT coalesce(max(part), 0) + 1 FROM sequence WHERE drive = :drive), :title)""",
                {"uid": uid, "drive": drive, "title": title, "first": first},
            )
            return int(cursor.lastrowid or 0)

    # -- the order of sending -----------------------------------------------------------------------------------------
    def with_queued(self) -> list[int]:
        """The drives that have queued pictures."""
        return [
            row["id"]
            for row in self._db.rows(
                "SELECT id FROM drive WHERE EXISTS (SELECT 1 FROM picture WHERE drive = drive.id AND state = 'queued')"
            )
        ]

    def about(self, drive: int) -> tuple[datetime | None, Preference] | None:
        """When it began, and what a person said of it; None: there is no such drive."""
        row = self._db.row("SELECT started, preference FROM drive WHERE id = ?", (drive,))
        if row is None:
            return None
        return datetime.fromisoformat(row["started"]) if row["started"] else None, Preference(row["preference"])

    def prefer(self, drive: int, preference: Preference) -> None:
        """Write down what a person said of it; its pictures are to be lined up then."""
        with self._db.writing() as db:
            db.conn.execute("UPDATE drive SET preference = ? WHERE id = ?", (int(preference), drive))

    def in_line(self, drive: int) -> list[tuple[int, int]]:
        """(picture, sequence) of all its pictures that have a place in one, in the order of capture."""
        return [
            (row["id"], row["sequence"])
            for row in self._db.rows(
                "SELECT id, sequence FROM picture WHERE drive = ? AND sequence IS NOT NULL ORDER BY captured, id",
                (drive,),
            )
        ]

    def line_up(self, places: Mapping[int, Place]) -> None:
        """Give these pictures other places in the queue."""
        with self._db.writing() as db:
            db.conn.executemany(
                """UPDATE picture SET fill = ?, rank = ? WHERE id = ? AND (fill, rank) IS NOT (?, ?)
                   AND state NOT IN ('confirmed', 'cleaned')""",
                [(one.fill, one.rank, picture, one.fill, one.rank) for picture, one in places.items()],
            )

    # -- sending ------------------------------------------------------------------------------------------------------
    def sequence(self, sequence: int) -> Sequence:
        """One sequence."""
        row = self._db.row(f"{_SEQUENCE} WHERE sequence.id = ?", (sequence,))
        assert row is not None, sequence
        return _sequence(row)

    def set_asked(self, sequence: int) -> None:
        """Note, before asking, that the set's creation is asked for: it may exist from now on."""
        self._update(sequence, "asked_at = coalesce(asked_at, :now)")

    def set_is(self, sequence: int, upload_set: str) -> None:
        """The sequence's set on the server."""
        self._update(
            sequence,
            """upload_set = :set, completed_at = NULL, attempts = 0, next_attempt_at = NULL,
               to_publish = 0, published = 0""",
            set=upload_set,
        )

    def set_vanished(self, sequence: int, upload_set: str) -> bool:
        """Somebody deleted this set on the server: the next picture makes a new one.

        Returns whether that is news: with two connections another one may have found out, and made the new one.
        """
        with self._db.writing() as db:
            cursor = db.conn.execute(
                """UPDATE sequence SET upload_set = NULL, completed_at = NULL, asked_at = NULL,
                   to_publish = 0, published = 0
                   WHERE id = ? AND upload_set = ?""",
                (sequence, upload_set),
            )
            return cursor.rowcount == 1

    def reopened(self, sequence: int) -> None:
        """A picture is added after completion: complete it again."""
        self._update(sequence, "completed_at = NULL")

    # -- confirming ---------------------------------------------------------------------------------------------------
    def sets_to_confirm(self) -> list[str]:
        """Upload sets that are to be completed, or looked at for proof of sent pictures, now; those due longest first.

        A set in which every picture was refused is completed too: the server's list of open sets is to be empty in the
        end. A set of ours is completed when all of its pass has been sent (hard cases do not hold it up). Between two
        passes it is only looked at as long as the server is at work on what was asked for before.
        """
        now = self._clock.now().timestamp()
        return [
            row["upload_set"]
            for row in self._db.rows(
                f"""SELECT upload_set, next_attempt_at FROM sequence
                   WHERE upload_set IS NOT NULL
                   AND NOT (next_attempt_at IS NOT NULL AND next_attempt_at > :now
                            AND next_attempt_at < :now + 172800)
                   AND ((completed_at IS NULL AND NOT EXISTS (SELECT 1 FROM picture
                            WHERE picture.sequence = sequence.id AND {UNSENT}))
                        OR ((completed_at IS NOT NULL OR next_attempt_at IS NOT NULL OR published < to_publish)
                            AND EXISTS (SELECT 1 FROM picture
                                        WHERE picture.upload_set = sequence.upload_set AND picture.state = 'sent')))
                   UNION ALL
                   SELECT DISTINCT upload_set, NULL FROM picture WHERE state = 'sent' AND upload_set NOT IN
                        (SELECT upload_set FROM sequence WHERE upload_set IS NOT NULL)
                   ORDER BY next_attempt_at""",
                {"now": now},
            )
        ]

    def seconds_to_next_look(self) -> float | None:
        """Until the next set that was looked at before is due again; None if none waits."""
        due = self._db.value(
            """SELECT min(next_attempt_at) FROM sequence WHERE next_attempt_at IS NOT NULL AND EXISTS
               (SELECT 1 FROM picture WHERE picture.upload_set = sequence.upload_set AND state = 'sent')"""
        )
        return None if due is None else max(FIRST_LOOK_S, due - self._clock.now().timestamp())

    def by_set(self, upload_set: str) -> Sequence | None:
        """Our sequence that has this set, or None if the set is not one of ours."""
        row = self._db.row(f"{_SEQUENCE} WHERE upload_set = ?", (upload_set,))
        return _sequence(row) if row else None

    def completing(self, sequence: int, pictures: int) -> None:
        """Note, before it is said, that the set is complete, and holds so many pictures that are to be published.

        Before, so that a picture that is sent meanwhile opens it again; if it could not be said, ``reopened``.
        """
        self._update(sequence, "completed_at = :now, to_publish = :pictures, attempts = 0", pictures=pictures)

    def published(self, sequence: int, pictures: int) -> None:
        """So many of the pictures that it is to publish are in the server's sequence."""
        self._update(sequence, "published = :pictures", pictures=pictures)

    def newest_completed(self) -> list[int]:
        """The sequences whose sets are complete, the one that was last completed first."""
        return [
            row["id"]
            for row in self._db.rows(
                "SELECT id FROM sequence WHERE upload_set IS NOT NULL AND completed_at IS NOT NULL "
                "ORDER BY completed_at DESC, id DESC"
            )
        ]

    def proven_there(self, sequence: Sequence) -> int:
        """How many pictures of the sequence were proven to lie in its set."""
        return int(
            self._db.value(
                """SELECT count(*) FROM picture WHERE sequence = ? AND state IN ('confirmed', 'cleaned')
                   AND upload_set = ?""",
                (sequence.id, sequence.upload_set),
            )
        )

    def outcome(self, sequence: int) -> dict[str, Any]:
        """How its pictures stand: confirmed, refused, to_come (not proven yet), link."""
        row = self._db.row(
            """SELECT coalesce(sum(state IN ('confirmed', 'cleaned')), 0) AS confirmed,
               coalesce(sum(state = 'refused'), 0) AS refused,
               coalesce(sum(state IN ('queued', 'sent')), 0) AS to_come,
               (SELECT web_link FROM sequence WHERE id = :id) AS link FROM picture WHERE sequence = :id""",
            {"id": sequence},
        )
        assert row is not None
        return dict(row)

    def collections(self) -> list[str]:
        """The server's ids of all our sequences that it made, the newest first."""
        rows = self._db.rows("SELECT web_link FROM sequence WHERE web_link IS NOT NULL ORDER BY id DESC")
        return [str(row["web_link"]).rpartition("/")[2] for row in rows]

    def linked(self, sequence: int, web_link: str) -> None:
        """Where people see it."""
        self._update(sequence, "web_link = :link", link=web_link)

    def looked(self, sequence: int, *, again_in: float | None, error: str | None = None) -> None:
        """A look at the set is over; ``again_in`` seconds look again (None: nothing left to look for)."""
        due = None if again_in is None else self._clock.now().timestamp() + again_in
        attempts = "0" if again_in is None else "attempts + 1"
        self._update(
            sequence, f"next_attempt_at = :due, last_error = :error, attempts = {attempts}", due=due, error=error
        )

    def _update(self, sequence: int, settings: str, **values: object) -> None:
        with self._db.writing() as db:
            db.conn.execute(
                f"UPDATE sequence SET {settings} WHERE id = :id",
                {"id": sequence, "now": iso(self._clock.now()), **values},
            )


def _sequence(row: Row) -> Sequence:
    flags = {name: bool(row[name]) for name in ("asked", "completed", "all_sent")}
    return Sequence(**{**row, **flags})
