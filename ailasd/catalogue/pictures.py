"""Pictures in the catalogue: how they move, and which one is next."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from ailasd.clock import iso
from ailasd.errors import IllegalMove
from ailasd.lifecycle import LONGEST_WAIT_S, check_move
from ailasd.model import Picture, State

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ailasd.catalogue.database import Connections, Row
    from ailasd.clock import Clock

_COLUMNS: Final = (
    "id, md5, size, state, reason, trace, name, copy, drive, sequence, captured, capture_override, position_override, "
    "position_from, asked, attempts, faults, renames, losses, repairs, upload_set, server_id"
)

_SAMPLED: Final = 1000
"""Pictures: a drive of an hour and a half, so that a sample sees town and country."""

_SLEEPS_TOO_LONG_S: Final = 2 * 86_400.0
"""No wait of ours is longer than a day (lifecycle.wait_before): a later date was written by a clock that was wrong."""


class Pictures:
    """Rows of pictures. Every change of state goes through ``move``."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._db = connections
        self._clock = clock

    # -- moving -------------------------------------------------------------------------------------------------------
    def move(
        self, picture: Picture, becomes: State, *, reason: str | None = None, why: str | None = None, **facts: object
    ) -> None:
        """Compare-and-swap: from the state that ``picture`` was read in to ``becomes``; ``facts`` are other columns.

        A move starts a new chapter: attempts and errors of the last one are cleared.

        Raises:
            IllegalMove: the table does not allow it, or the row is no longer in that state. Nothing was changed.
        """
        check_move(picture.state, becomes)
        now = self._clock.now()
        values: dict[str, object] = {
            "asked": False,
            "attempts": 0,
            "faults": 0,
            "next_attempt_at": None,
            "last_error": None,
            **facts,
            "state": becomes,
            "reason": reason,
            "why": why,
            "since": iso(now),
            "clock_trusted": self._clock.trusted(),
        }
        settings = ", ".join(f"{name} = :{name}" for name in values)
        with self._db.writing() as db:
            cursor = db.conn.execute(
                f"UPDATE picture SET {settings} WHERE id = :id AND state = :was",
                {**values, "id": picture.id, "was": picture.state},
            )
            if cursor.rowcount != 1:
                raise IllegalMove(f"picture {picture.id} is no longer {picture.state}: somebody else moved it")

    def unproven(self, picture: Picture) -> bool:
        """Queue a confirmed picture again, since its proof is gone; False if it is confirmed no longer."""
        try:
            self.move(
                picture, State.QUEUED, why="its proof was gone when we looked again",
                losses=picture.losses + 1, repairs=0, upload_set=None, server_id=None, web_link=None,
            )  # fmt: skip
        except IllegalMove:  # another step was faster
            return False
        return True

    def placed(self, picture: Picture, *, sequence: int, fill: bool, rank: int) -> None:
        """Give a picture that was held a place among those to be sent."""
        with self._db.writing() as db:
            db.conn.execute(
                "UPDATE picture SET sequence = ?, fill = ?, rank = ? WHERE id = ?", (sequence, fill, rank, picture.id)
            )

    def asking(self, picture: Picture) -> None:
        """Note, before it is done, that this queued picture is being sent: after a crash, look before sending again."""
        with self._db.writing() as db:
            db.conn.execute("UPDATE picture SET asked = 1 WHERE id = ? AND state = 'queued'", (picture.id,))

    def failed(
        self, picture: Picture, error: str, *, wait_s: float, server_fault: bool = False, rename: bool = False
    ) -> None:
        """Law 5: write the failed attempt into the row; the picture is due again in ``wait_s`` seconds.

        ``server_fault``: our server answered, with an error of its own. ``rename``: its name or id is taken there.
        """
        with self._db.writing() as db:
            db.conn.execute(
                """UPDATE picture SET attempts = attempts + 1, faults = faults + :fault, renames = renames + :rename,
                   next_attempt_at = :due, last_error = :error WHERE id = :id AND state = :was""",
                {
                    "due": self._clock.now().timestamp() + wait_s,
                    "error": error[:500],
                    "fault": server_fault,
                    "rename": rename,
                    "id": picture.id,
                    "was": picture.state,
                },
            )

    def interrupted(self, picture: Picture, error: str) -> None:
        """Note why this queued picture did not arrive, through no fault of its own: it keeps its place."""
        with self._db.writing() as db:
            db.conn.execute(
                "UPDATE picture SET last_error = ? WHERE id = ? AND state = 'queued'", (error[:500], picture.id)
            )

    def repairing(self, picture: Picture, *, wait_s: float) -> None:
        """Note that the server was told to process this sent picture once more, and how long that may take it."""
        with self._db.writing() as db:
            db.conn.execute(
                "UPDATE picture SET repairs = repairs + 1, next_attempt_at = ? WHERE id = ? AND state = 'sent'",
                (self._clock.now().timestamp() + wait_s, picture.id),
            )

    def is_under_repair(self, picture: Picture) -> bool:
        """Whether the server may still need the time that ``repairing`` gave it."""
        now = self._clock.now().timestamp()
        until = self._db.value("SELECT next_attempt_at FROM picture WHERE id = ?", (picture.id,))
        return until is not None and now < until <= now + _SLEEPS_TOO_LONG_S

    def due_now(self, pictures: Iterable[Picture]) -> None:
        """Forget the waiting of these queued pictures: somebody asked for another try, or the link is back."""
        with self._db.writing() as db:
            db.conn.executemany(
                "UPDATE picture SET attempts = 0, faults = 0, next_attempt_at = NULL WHERE id = ? AND state = 'queued'",
                [(picture.id,) for picture in pictures],
            )

    def all_due_now(self, *, drive: int | None = None) -> int:
        """As ``due_now`` for all that wait (of that drive), without reading them. Returns how many those were."""
        with self._db.writing() as db:
            cursor = db.conn.execute(
                """UPDATE picture SET attempts = 0, faults = 0, next_attempt_at = NULL
                   WHERE state = 'queued' AND next_attempt_at IS NOT NULL AND (:drive IS NULL OR drive = :drive)""",
                {"drive": drive},
            )
            return int(cursor.rowcount)

    # -- finding ------------------------------------------------------------------------------------------------------
    def next_to_send(self, busy: Collection[int] = (), *, oldest: bool = False) -> Picture | None:
        """The queued picture to send now, leaving out the ids in ``busy``; None if none is due.

        First those whose waiting is over (few, and bounded by their growing waits, so they cannot starve the rest),
        then fresh ones by rank (see ``ordering``); ``oldest``: of the drive that we know longest.
        """
        now = self._clock.now().timestamp()
        for condition, order in (
            ("next_attempt_at IS NOT NULL AND next_attempt_at <= :now", "next_attempt_at"),
            ("next_attempt_at IS NOT NULL AND next_attempt_at > :never", "next_attempt_at"),
            ("next_attempt_at IS NULL", "drive, rank, id" if oldest else "rank, id"),
        ):
            rows = self._db.rows(
                f"SELECT {_COLUMNS} FROM picture WHERE state = 'queued' AND {condition} ORDER BY {order} LIMIT :most",
                {"now": now, "never": now + _SLEEPS_TOO_LONG_S, "most": len(busy) + 1},
            )
            for row in rows:
                if row["id"] not in busy:
                    return _picture(row)
        return None

    def seconds_to_next(self) -> float | None:
        """Until a queued picture's waiting is over; None if none waits."""
        due = self._db.value(
            "SELECT min(next_attempt_at) FROM picture WHERE state = 'queued' AND next_attempt_at IS NOT NULL"
        )
        return None if due is None else max(0.0, due - self._clock.now().timestamp())

    def get(self, picture: int) -> Picture | None:
        """The picture with this id."""
        row = self._db.row(f"SELECT {_COLUMNS} FROM picture WHERE id = ?", (picture,))
        return _picture(row) if row else None

    def find(self, name_or_md5: str, *, limit: int = 20) -> list[Picture]:
        """What a person may mean: an md5 (or its first 6+ digits), a file name, or a path whose last part is one."""
        name = name_or_md5.rstrip("/").rsplit("/", 1)[-1]
        rows = self._db.rows(
            f"""SELECT {_COLUMNS} FROM picture WHERE name = :name OR copy = :whole OR (
                length(:md5) >= 6 AND :md5 NOT GLOB '*[^0-9a-f]*' AND md5 >= :md5 AND md5 < :md5 || 'g')
                ORDER BY id DESC LIMIT :limit""",
            {"name": name, "whole": name_or_md5, "md5": name_or_md5.lower(), "limit": limit},
        )
        return [_picture(row) for row in rows]

    def in_state(self, state: State, *, reason: str | None = None, drive: int | None = None) -> list[Picture]:
        """All pictures in ``state`` (with that reason, of that drive)."""
        return [
            _picture(row)
            for row in self._db.rows(
                f"""SELECT {_COLUMNS} FROM picture WHERE state = :state AND (:reason IS NULL OR reason = :reason)
                    AND (:drive IS NULL OR drive = :drive) ORDER BY id""",
                {"state": state, "reason": reason, "drive": drive},
            )
        ]

    def ids(
        self, states: Collection[State], *, reason: str | None = None, drive: int | None = None
    ) -> list[tuple[int | None, int]]:
        """(drive, id) of all pictures in one of ``states`` (with that reason, of that drive), drive by drive."""
        marks = ", ".join("?" * len(states))
        wanted: list[object] = [*states]
        narrower = ""
        if reason is not None:
            narrower += " AND reason = ?"
            wanted.append(reason)
        if drive is not None:
            narrower += " AND drive = ?"
            wanted.append(drive)
        cursor = self._db.mine.conn.execute(
            f"SELECT drive, id FROM picture WHERE state IN ({marks}){narrower} ORDER BY drive, id", wanted
        )
        return list(cursor)

    def sent_to(self, upload_set: str, *, state: State = State.SENT, until: datetime | None = None) -> list[Picture]:
        """Pictures whose proof is to be looked for, or was found, in ``upload_set``; only what was so by ``until``."""
        return [
            _picture(row)
            for row in self._db.rows(
                f"""SELECT {_COLUMNS} FROM picture WHERE upload_set = :set AND state = :state
                    AND (:until IS NULL OR (since <= :until AND clock_trusted)) ORDER BY id""",
                {"set": upload_set, "state": state, "until": iso(until) if until else None},
            )
        ]

    def oldest_confirmed(self, *, limit: int, until: datetime | None = None) -> list[Picture]:
        """Confirmed pictures, which all have a local copy, oldest first.

        Args:
            limit: at most so many.
            until: only what was confirmed by then, as a clock told that could be believed; None: whatever it told.
        """
        rows = self._db.rows(
            f"""SELECT {_COLUMNS} FROM picture WHERE state = 'confirmed'
                AND (:until IS NULL OR (since <= :until AND clock_trusted)) ORDER BY since LIMIT :limit""",
            {"until": iso(until) if until else None, "limit": limit},
        )
        return [_picture(row) for row in rows]

    def confirmed_sample(self, most: int, *, after: str = "") -> list[Picture]:
        """At most so many pictures confirmed ``after`` then (ISO, UTC), the newest first, spread over ``_SAMPLED``."""
        rows = self._db.rows(
            f"SELECT {_COLUMNS} FROM picture WHERE state = 'confirmed' AND since > ? ORDER BY since DESC LIMIT ?",
            (after, _SAMPLED),
        )
        return [_picture(row) for row in rows[:: max(1, len(rows) // most)][:most]]

    def whole_row(self, picture: int) -> Row:
        """Every column of one picture, for people."""
        row = self._db.row("SELECT * FROM picture WHERE id = ?", (picture,))
        assert row is not None, picture
        return row


def _picture(row: Row) -> Picture:
    position = row["position_override"]
    latitude, longitude = (float(part) for part in position.split()) if position else (0.0, 0.0)
    return Picture(
        **{
            **row,
            "state": State(row["state"]),
            "asked": bool(row["asked"]),
            "captured": datetime.fromisoformat(row["captured"]) if row["captured"] else None,
            "position_override": (latitude, longitude) if position else None,
        }
    )


assert LONGEST_WAIT_S < _SLEEPS_TOO_LONG_S  # or next_to_send would mistake an honest wait for a wrong clock
