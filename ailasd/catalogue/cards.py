"""What the catalogue knows of cards and the files on them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from ailasd.clock import iso
from ailasd.errors import Damaged
from ailasd.lifecycle import check_move
from ailasd.model import Kind, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ailasd.catalogue.database import Connections, Row
    from ailasd.clock import Clock
    from ailasd.model import Card, CardFile, Photo

LAST_CARD: Final = "last_card"
"""The fact that names it."""

FileKey = tuple[str, int, int]
"""(path, size, mtime in ns): a file of a known card with the same key is not read again."""


@dataclass(frozen=True, slots=True)
class NewCopy:
    """A verified copy that is not in the catalogue yet."""

    md5: str
    size: int
    proven: bool
    copy: str
    trace: str
    name: str
    recording: str | None
    counter: int | None
    file_time: str
    photo: Photo


class Cards:
    """Cards, visits to them, and their files."""

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._db = connections
        self._clock = clock

    def seen(self, card: Card) -> int:
        """The id of ``card``; noted as seen now."""
        now = iso(self._clock.now())
        with self._db.writing() as db:
            return int(
                db.conn.execute(
                    """INSERT INTO card (identity, label, camera_serial, camera_model, first_seen, last_seen)
                       VALUES (?, ?, ?, ?, ?, ?)
                       ON CONFLICT (identity) DO UPDATE SET label = excluded.label, last_seen = excluded.last_seen,
                           camera_serial = coalesce(excluded.camera_serial, camera_serial),
                           camera_model = coalesce(excluded.camera_model, camera_model)
                       RETURNING id""",
                    (card.identity, card.label, card.camera_serial, card.camera_model, now, now),
                ).fetchone()[0]
            )

    def in_hand(self, card: int) -> None:
        """Note that it is ``card`` that somebody plugged in last, or last put pictures on. No clock has a say in it."""
        with self._db.writing() as db:
            db.conn.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (LAST_CARD, str(card)))

    def knows_camera(self, make: str | None, model: str | None) -> bool:
        """Whether we have a picture of such a camera."""
        found = self._db.value("SELECT 1 FROM picture WHERE make = ? AND model = ? LIMIT 1", (make, model))
        return found is not None

    def which(self, card: Card, listing: Callable[[], Iterable[CardFile]]) -> int:
        """The id of ``card``, told apart by its pictures from others that claim the same identity; noted as seen now.

        It is the one of which it has a picture; else one of which nothing should be on it (never read, or cleared by
        us); else one never seen before. A card without any picture tells nothing: the latest of them.

        Args:
            card: as its source tells it.
            listing: gives the entries of the card, anew at each call; only looked through as far as needed.
        """
        claimed = self._claiming(card.identity)
        if not card.by_content or not claimed:
            return self.seen(card)
        owner = {key: row["identity"] for row in claimed for key in self.known_files(row["id"])}
        pictures = (file[:3] for file in listing() if file.kind is Kind.PICTURE) if owner else iter(())
        first = next(pictures, None)
        if first is None:
            identity = claimed[0]["identity"]
        elif found := next((owner[key] for key in chain([first], pictures) if key in owner), None):
            identity = found
        else:
            empty = (one for one in claimed if not self.known_files(one["id"]) - self.cleared_files(one["id"]))
            identity = next((one["identity"] for one in empty), f"{card.identity}~{len(claimed) + 1}")
        return self.seen(replace(card, identity=identity))

    def known_by_name(self, identity: str) -> set[FileKey]:
        """The files that became pictures of all cards that claim this identity."""
        return {key for row in self._claiming(identity) for key in self.known_files(row["id"])}

    def _claiming(self, identity: str) -> list[Row]:
        return self._db.rows(
            """SELECT id, identity FROM card WHERE identity = ? OR identity GLOB ? || '~*'
               ORDER BY last_seen DESC, id DESC""",
            (identity, identity),
        )

    def known_files(self, card: int) -> set[FileKey]:
        """The files of ``card`` that became pictures; not those that were seen, but could not be copied."""
        cursor = self._db.mine.conn.execute(
            "SELECT path, size, mtime_ns FROM card_file WHERE card = ? AND picture IS NOT NULL", (card,)
        )
        return set(cursor)

    def failed_files(self, card: int) -> set[FileKey]:
        """The files of ``card`` that could not be copied so far."""
        cursor = self._db.mine.conn.execute(
            "SELECT path, size, mtime_ns FROM card_file WHERE card = ? AND picture IS NULL", (card,)
        )
        return set(cursor)

    def needing_another_copy(self, card: int) -> set[FileKey]:
        """Files of ``card`` whose picture lost our copy of it (damaged disk): read them again."""
        # CROSS: the few lost ones first, by their index; else all files of the card are looked up, a second on a Pi
        return {
            (row["path"], row["size"], row["mtime_ns"])
            for row in self._db.rows(
                """SELECT path, card_file.size, mtime_ns FROM picture
                   CROSS JOIN card_file ON card_file.picture = picture.id
                   WHERE picture.reason = 'copy_lost' AND picture.state = 'held' AND card_file.card = ?""",
                (card,),
            )
        }

    # -- a visit ------------------------------------------------------------------------------------------------------
    def begin_visit(self, card: int, videos: Sequence[int] = ()) -> int:
        """Start counting a pass over ``card``, on which videos were written at these times (seconds since 1970).

        Returns:
            The visit's id.
        """
        with self._db.writing() as db:
            cursor = db.conn.execute(
                "INSERT INTO visit (card, started, videos) VALUES (?, ?, ?)",
                (card, iso(self._clock.now()), json.dumps(videos)),
            )
            return int(cursor.lastrowid or 0)

    def goes_on(self, visit: int, *, counts: Mapping[str, int], left: Mapping[str, int], left_s: float | None) -> None:
        """How far the pass is, for whoever waits for it; it counts as nothing else before it has ended.

        Args:
            visit: as ``begin_visit`` gave it.
            counts: on_card, copied, known, so far.
            left: reason -> files; those that wait to be read are in neither.
            left_s: seconds to its end at the pace so far; None: not known yet.
        """
        with self._db.writing() as db:
            db.conn.execute(
                """UPDATE visit SET on_card = :on_card, copied = :copied, known = :known, left_there = :left_there,
                   left_s = :left_s WHERE id = :visit""",
                {**counts, "left_s": left_s, "visit": visit, "left_there": json.dumps(left, sort_keys=True)},
            )

    def end_visit(self, visit: int, *, outcome: str, counts: Mapping[str, int], left: Mapping[str, int]) -> None:
        """Close the pass. ``counts`` has on_card, copied, known, bytes_copied, bytes_known; ``left``: reason -> files.

        They must add up (law 11): on_card = copied + known + all that was left.
        """
        if counts["on_card"] != counts["copied"] + counts["known"] + sum(left.values()):
            raise AssertionError(f"the counts of visit {visit} do not add up: {dict(counts)}, left {dict(left)}")
        with self._db.writing() as db:
            db.conn.execute(
                """UPDATE visit SET ended = :ended, outcome = :outcome, on_card = :on_card, copied = :copied,
                   known = :known, bytes_copied = :bytes_copied, bytes_known = :bytes_known, left_there = :left_there,
                   left_s = NULL WHERE id = :visit""",
                {**counts, "ended": iso(self._clock.now()), "outcome": outcome, "visit": visit,
                 "left_there": json.dumps(left, sort_keys=True)},
            )  # fmt: skip

    def nothing_new(self, visit: int) -> None:
        """Forget a pass that only found what the one before it found: a folder looked at every minute.

        One of which anything was told stays: its number is given to the next one, which nobody told it of.
        """
        with self._db.writing() as db:
            db.conn.execute(
                """DELETE FROM visit WHERE id = :id AND NOT EXISTS (SELECT 1 FROM card_file WHERE seen = :id)
                   AND NOT EXISTS (SELECT 1 FROM event WHERE event.card = visit.card AND trace = 'v' || :id)""",
                {"id": visit},
            )

    def last_visit(self, card: int) -> Row | None:
        """The last pass over ``card`` that ended."""
        return self._db.row(
            "SELECT * FROM visit WHERE card = ? AND ended IS NOT NULL ORDER BY id DESC LIMIT 1", (card,)
        )

    # -- files --------------------------------------------------------------------------------------------------------
    def copied(self, card: int, visit: int, file: CardFile, new: NewCopy) -> tuple[int, bool]:
        """Record a durable, verified copy. Returns (picture id, whether its content was new to us).

        Content that we know already only gets a second card file; but if our copy of it was lost, this one takes its
        place and the picture is judged again.

        Raises:
            Damaged: another picture has the same md5; on the server only one of the two could ever be proven.
        """
        with self._db.writing() as db:
            was = self._db.row("SELECT id, size, state, reason FROM picture WHERE md5 = ?", (new.md5,))
            if was is not None and was["size"] != new.size:
                raise Damaged(f"{new.name} has the checksum of another picture, but not its size: it was made so")
            if was is None:
                picture, fresh = self._insert(new), True
            else:
                picture, fresh = was["id"], was["state"] == State.HELD and was["reason"] == "copy_lost"
                if fresh:
                    check_move(State.HELD, State.COPIED)
                    db.conn.execute(
                        """UPDATE picture SET state = 'copied', reason = NULL, why = NULL, copy = ?, proven = ?,
                           since = ?, clock_trusted = ? WHERE id = ?""",
                        (new.copy, new.proven, iso(self._clock.now()), self._clock.trusted(), picture),
                    )
            self._link(card, visit, file, picture, None)
        return picture, fresh

    def is_ours(self, md5: str) -> bool:
        """Whether a picture of this content is in the catalogue with a copy that we still have, or had confirmed."""
        return bool(
            self._db.value(
                "SELECT 1 FROM picture WHERE md5 = ? AND NOT (state = 'held' AND coalesce(reason, '') = 'copy_lost')",
                (md5,),
            )
        )

    def left(self, card: int, visit: int, file: CardFile, problem: str) -> bool:
        """Record that ``file`` could not be copied, and why. Returns whether that is news."""
        with self._db.writing():
            said = self._db.value(
                "SELECT problem FROM card_file WHERE card = ? AND path = ? AND size = ? AND mtime_ns = ?",
                (card, file.path, file.size, file.mtime_ns),
            )
            self._link(card, visit, file, None, problem)
        return bool(said != problem)

    def _link(self, card: int, visit: int, file: CardFile, picture: int | None, problem: str | None) -> None:
        self._db.mine.conn.execute(
            """INSERT INTO card_file (card, path, size, mtime_ns, picture, problem, seen) VALUES (?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT (card, path, size, mtime_ns) DO UPDATE SET
                   picture = coalesce(excluded.picture, picture), problem = excluded.problem, cleared_at = NULL""",
            (card, file.path, file.size, file.mtime_ns, picture, problem, visit),
        )

    def _insert(self, new: NewCopy) -> int:
        photo = new.photo
        values = {
            "md5": new.md5, "size": new.size, "state": State.COPIED, "since": iso(self._clock.now()),
            "clock_trusted": self._clock.trusted(), "trace": new.trace, "copy": new.copy, "proven": new.proven,
            "name": new.name, "verdict": photo.verdict, "why": photo.damage or photo.problem, "camera": photo.camera,
            "make": photo.make, "model": photo.model, "serial": photo.serial, "recording": new.recording,
            "counter": new.counter,
            "camera_time": photo.camera_time.isoformat() if photo.camera_time else None,
            "gps_time": photo.gps_time.isoformat() if photo.gps_time else None,
            "server_takes": photo.server_takes, "file_time": new.file_time, "latitude": photo.latitude,
            "longitude": photo.longitude, "altitude": photo.altitude, "heading": photo.heading, "width": photo.width,
            "height": photo.height, "upside_down": photo.upside_down,
        }  # fmt: skip
        names, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        cursor = self._db.mine.conn.execute(
            f"INSERT INTO picture ({names}) VALUES ({marks})",
            values,
        )
        return int(cursor.lastrowid or 0)

    # -- clearing -----------------------------------------------------------------------------------------------------
    def clearable(self, card: int, states: Iterable[State]) -> dict[FileKey, Row]:
        """Files of ``card`` whose picture is in one of ``states``: id, picture, proven."""
        wanted = list(states)
        marks = ", ".join("?" * len(wanted))
        return {
            (row["path"], row["size"], row["mtime_ns"]): row
            for row in self._db.rows(
                f"""SELECT card_file.id, path, card_file.size, mtime_ns, picture, proven
                    FROM card_file JOIN picture ON picture.id = card_file.picture
                    WHERE card = ? AND picture.state IN ({marks})""",
                (card, *wanted),
            )
        }

    def clearing(self, card_file: int) -> None:
        """Note, before it is done, that cleaning deletes this file from its card."""
        with self._db.writing() as db:
            db.conn.execute("UPDATE card_file SET cleared_at = ? WHERE id = ?", (iso(self._clock.now()), card_file))

    def not_missed(self, card: int, keys: Iterable[FileKey]) -> None:
        """It is fine that these files are gone from ``card``: it was formatted."""
        now = iso(self._clock.now())
        with self._db.writing() as db:
            db.conn.executemany(
                "UPDATE card_file SET cleared_at = ? WHERE card = ? AND path = ? AND size = ? AND mtime_ns = ?",
                [(now, card, *key) for key in keys],
            )

    def cleared_files(self, card: int) -> set[FileKey]:
        """Files of ``card`` that cleaning deleted, or was about to."""
        cursor = self._db.mine.conn.execute(
            "SELECT path, size, mtime_ns FROM card_file WHERE card = ? AND cleared_at IS NOT NULL", (card,)
        )
        return set(cursor)

    def cleaning_stopped(self, card: int) -> str | None:
        """Why nothing is deleted from ``card``, or None."""
        reason = self._db.value("SELECT cleaning_stopped FROM card WHERE id = ?", (card,))
        return str(reason) if reason else None

    def stop_cleaning(self, card: int, reason: str, missed: Iterable[FileKey]) -> None:
        """Delete nothing from ``card`` any more, because of ``reason``: these files are gone from it, and not by us."""
        now = iso(self._clock.now())
        with self._db.writing() as db:
            db.conn.execute("UPDATE card SET cleaning_stopped = ? WHERE id = ?", (reason, card))
            db.conn.executemany(
                "UPDATE card_file SET missed_at = ? WHERE card = ? AND path = ? AND size = ? AND mtime_ns = ?",
                [(now, card, *key) for key in missed],
            )

    def miss_nothing(self) -> None:
        """Go on with all cards: it is fine that the files are gone that were missed."""
        with self._db.writing() as db:
            db.conn.execute(
                "UPDATE card_file SET cleared_at = ?, missed_at = NULL WHERE missed_at IS NOT NULL",
                (iso(self._clock.now()),),
            )
            db.conn.execute("UPDATE card SET cleaning_stopped = NULL")
