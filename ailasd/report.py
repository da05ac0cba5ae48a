"""How good was this drive? The facts of one, from the rows of its pictures. Pure; ``report_wording`` says them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from statistics import median
from typing import TYPE_CHECKING, Final

from ailasd.camera_clock import CameraClock, camera_clock
from ailasd.journey import PARKED, Journey, Seen, gap_s, journey, place_of
from ailasd.model import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import tzinfo
    from typing import Any

    Row = Mapping[str, Any]

WITHOUT_GPS: Final = ("HERO12",)
"""Models that have no satellite receiver at all."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the drive, from one picture to another; ``pictures`` lie in it."""

    start: datetime
    end: datetime
    pictures: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What is worth telling of a drive. Times are aware UTC, and true as far as anybody knows.

    Attributes:
        started: None: no picture of it has a time.
        safe: pictures that the server holds, proven; ``on_their_way``: that are yet to be.
        held, refused: reason -> pictures; ``parked`` has its stretches, ``damaged`` the broken ones of ``held``.
        way: where it went, along the positions that can be believed.
        gaps: stretches without any picture, which the camera did not sleep through: longer than ``gap_s``.
        late_fix_s: from the first picture to the first with a position; 0: it had one; None: none ever had.
        from_track: pictures that got their position from one.
        has_gps: whether the model has a receiver.
        clock: how well the camera's went.
        videos: when videos on its cards, of the same day, were written, without a picture in between.
    """

    drive: int
    camera: str
    started: datetime | None
    ended: datetime | None
    pictures: int
    safe: int
    on_their_way: int
    held: Mapping[str, int]
    refused: Mapping[str, int]
    way: Journey
    gaps: tuple[Stretch, ...]
    parked: tuple[Stretch, ...]
    late_fix_s: float | None
    from_track: int
    has_gps: bool
    upside_down: int
    clock: CameraClock
    videos: tuple[Stretch, ...] = ()


def report(drive: int, rows: Sequence[Row], zone: tzinfo, *, videos: Iterable[datetime] = ()) -> Report:
    """The facts of a drive.

    Args:
        drive: its number.
        rows: its pictures, at least one, in any order: see ``Telling.pictures_of_drive``.
        zone: in which the cameras' clocks are read.
        videos: when the files of videos on its cards were last written, as the card tells it.
    """
    shots = sorted(map(_Shot.of, rows), key=lambda shot: shot.at or datetime.max.replace(tzinfo=UTC))
    dated = [shot for shot in shots if shot.at]
    times = [shot.at for shot in dated if shot.at]
    way = journey([Seen(shot.at.timestamp() if shot.at else None, shot.place, shot.parked) for shot in shots])
    gap = timedelta(seconds=gap_s(way.interval_s))
    placed = [shot for shot in dated if shot.place]
    states = Counter(shot.state for shot in shots)
    model = next((str(row["model"]) for row in rows if row["model"]), "")
    return Report(
        drive=drive,
        camera=model or str(rows[0]["camera"]),
        started=times[0] if times else None,
        ended=times[-1] if times else None,
        pictures=len(shots),
        safe=states[State.CONFIRMED] + states[State.CLEANED],
        on_their_way=states[State.COPIED] + states[State.QUEUED] + states[State.SENT],
        held=Counter(shot.reason for shot in shots if shot.state == State.HELD),
        refused=Counter(shot.reason for shot in shots if shot.state == State.REFUSED),
        way=way,
        gaps=tuple(_gaps(times, gap)),
        parked=tuple(_stretches([shot for shot in dated if shot.parked], gap)),
        late_fix_s=(placed[0].at - times[0]).total_seconds() if placed and placed[0].at else None,
        from_track=sum(shot.from_track for shot in shots),
        has_gps=not any(name in model.upper() for name in WITHOUT_GPS),
        upside_down=sum(shot.upside_down for shot in shots),
        clock=camera_clock(rows, zone),
        videos=tuple(_without_pictures(_on_the_day(videos, shots, times), times)),
    )


@dataclass(frozen=True, slots=True)
class _Shot:
    """One picture of the drive."""

    at: datetime | None
    state: str
    reason: str
    place: tuple[float, float] | None
    from_track: bool
    upside_down: bool
    file_time: datetime

    @property
    def parked(self) -> bool:
        return self.reason == PARKED

    @classmethod
    def of(cls, row: Row) -> _Shot:
        at = datetime.fromisoformat(row["captured"]) if row["captured"] else None
        return cls(
            at, row["state"], row["reason"] or "", place_of(row), row["position_from"] == "gpx",
            bool(row["upside_down"]), datetime.fromisoformat(row["file_time"]),
        )  # fmt: skip


def _gaps(times: Sequence[datetime], longest: timedelta) -> Iterator[Stretch]:
    for before, after in pairwise(times):
        if after - before > longest:
            yield Stretch(before, after)


def _stretches(shots: Sequence[_Shot], apart: timedelta) -> Iterator[Stretch]:
    """Runs of these; the single pictures of a parked vehicle that are sent all the same do not cut one in two."""
    run: list[datetime] = []
    for at in [shot.at for shot in shots if shot.at]:
        if run and at - run[-1] > apart:
            yield Stretch(run[0], run[-1], len(run))
            run = []
        run.append(at)
    if run:
        yield Stretch(run[0], run[-1], len(run))


def _without_pictures(videos: Iterable[datetime], times: Sequence[datetime]) -> Iterator[Stretch]:
    """Runs of videos with no picture in between."""
    for _, run in groupby(videos, key=lambda at: bisect_left(times, at)):
        ends = list(run)
        yield Stretch(ends[0], ends[-1], len(ends))


def _on_the_day(videos: Iterable[datetime], shots: Sequence[_Shot], times: Sequence[datetime]) -> Iterator[datetime]:
    """Those within half a day of the drive. What a card says of a file's time is as far off as for its pictures."""
    if not times:
        return
    off = median((shot.file_time - shot.at).total_seconds() for shot in shots if shot.at)
    for at in sorted(video - timedelta(seconds=off) for video in videos):
        if times[0] - timedelta(hours=12) <= at <= times[-1] + timedelta(hours=12):
            yield at
