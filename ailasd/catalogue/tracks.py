"""GPX tracks in the catalogue, and the pictures that wait for one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ailasd.clock import iso
from ailasd.model import Picture, State
from ailasd.tracks import Segment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ailasd.catalogue.database import Connections, Row
    from ailasd.catalogue.pictures import Pictures
    from ailasd.clock import Clock

WIDEST: Final = timedelta(hours=15)
"""A clock in the wrong zone is 14 hours off at most (``offsets.MOST``), and a little more counts as well."""


class Tracks:
    """Track files, each kept once by its content, and their points."""

    def __init__(self, connections: Connections, clock: Clock, pictures: Pictures) -> None:
        self._db = connections
        self._clock = clock
        self._pictures = pictures

    def known(self, md5: str) -> bool | None:
        """Whether the file with this content could be read; None if it was never seen."""
        row = self._db.row("SELECT problem FROM track WHERE md5 = ?", (md5,))
        return None if row is None else row["problem"] is None

    def add(
        self, md5: str, *, name: str, source: str, segments: Sequence[Segment] = (), problem: str | None = None
    ) -> bool:
        """Keep a track with its points, or that it cannot be read. Returns whether it was not known before."""
        times = [at for segment in segments for at in (segment.times[0], segment.times[-1])]
        with self._db.writing() as db:
            cursor = db.conn.execute(
                """INSERT INTO track (md5, name, source, found_at, problem, points, began, ended)
                   VALUES (:md5, :name, :source, :now, :problem, :points, :began, :ended) ON CONFLICT DO NOTHING""",
                {
                    "md5": md5, "name": name, "source": source, "now": iso(self._clock.now()), "problem": problem,
                    "points": sum(map(len, segments)),
                    "began": iso(_moment(min(times))) if times else None,
                    "ended": iso(_moment(max(times))) if times else None,
                },
            )  # fmt: skip
            new = cursor.rowcount == 1
            for number, segment in enumerate(segments if new else ()):
                db.conn.executemany(
                    "INSERT INTO track_point (track, segment, at, latitude, longitude, elevation) VALUES "
                    f"({int(cursor.lastrowid or 0)}, {number}, ?, ?, ?, ?)",
                    segment.rows(),  # SQLite makes NULL of nan
                )
        return new

    def near(self, first: datetime, last: datetime) -> list[Segment]:
        """The points of all tracks from ``first`` to ``last`` (aware), segment by segment."""
        cursor = self._db.mine.conn.execute(
            """SELECT track, segment, name, at, latitude, longitude FROM track_point JOIN track ON track.id = track
               WHERE at BETWEEN ? AND ? ORDER BY track, segment, at""",
            (first.timestamp(), last.timestamp()),
        )
        found: list[Segment] = []
        current: tuple[int, int] | None = None
        for track, segment, name, at, latitude, longitude in cursor:
            if current != (track, segment):
                current = track, segment
                found.append(Segment(track, name))
            found[-1].add(at, latitude, longitude)
        return found

    # -- pictures that wait -------------------------------------------------------------------------------------------
    def look_again(self, settings: str, gap: timedelta) -> int:
        """Held -> copied: the pictures without position whose time a track covers that was not offered to them yet.

        A track is offered once under the same ``settings``: in between nothing changes for the pictures that it did not
        help. Returns how many are to be judged again.
        """
        count = 0
        if not self._not_offered(settings):  # nearly always: no transaction for it
            return count
        with self._db.writing() as db:
            for track in self._not_offered(settings):
                for picture in self._waiting(track["began"], track["ended"], gap, anew=track["offered"] is not None):
                    self._pictures.move(picture, State.COPIED, why="a GPX track may tell where it was taken")
                    count += 1
                db.conn.execute("UPDATE track SET offered = ? WHERE id = ?", (settings, track["id"]))
        return count

    def _not_offered(self, settings: str) -> list[Row]:
        return self._db.rows(
            "SELECT id, began, ended, offered FROM track WHERE problem IS NULL AND offered IS NOT ?", (settings,)
        )

    def _waiting(self, began: str, ended: str, gap: timedelta, *, anew: bool) -> list[Picture]:
        """Pictures held for want of a position in that time; wider where the camera's clock may be found to be off.

        ``anew``: under other settings, such as another offset, the time of any of them may be another one.
        """
        first, last = datetime.fromisoformat(began), datetime.fromisoformat(ended)
        ids = self._db.rows(
            # the inner list is made once for all of them: a drive of a camera without GPS has thousands
            """SELECT id FROM picture WHERE state = 'held' AND reason = 'no_position'
               AND (:anew OR captured BETWEEN :widest_first AND :widest_last
                    AND (captured BETWEEN :first AND :last OR drive IN (
                         SELECT drive FROM picture WHERE latitude IS NOT NULL AND gps_time IS NULL AND drive IN (
                             SELECT drive FROM picture WHERE state = 'held' AND reason = 'no_position'
                             AND captured BETWEEN :widest_first AND :widest_last))))""",
            {
                "first": iso(first - gap), "last": iso(last + gap), "anew": anew,
                "widest_first": iso(first - WIDEST), "widest_last": iso(last + WIDEST),
            },
        )  # fmt: skip
        found = [self._pictures.get(row["id"]) for row in ids]
        return [picture for picture in found if picture is not None]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
