"""Step: copied pictures -> drives and sequences; each is queued, or held with a reason. The judging itself is pure."""

from __future__ import annotations

import json
import uuid
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from ailasd import capture, offsets, sequencing, triage
from ailasd.catalogue.tracks import WIDEST
from ailasd.clock import iso
from ailasd.logs import Event
from ailasd.model import Round, State, Verdict
from ailasd.offsets import Other
from ailasd.ordering import Place, Preference, line_up
from ailasd.sequencing import Frame

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence

    from ailasd.capture import ClockReport, KnownOffset
    from ailasd.catalogue import Catalogue
    from ailasd.catalogue.database import Row
    from ailasd.journal import Journal
    from ailasd.model import Picture
    from ailasd.ordering import Order
    from ailasd.storage import Storage
    from ailasd.tracks import Segment

BUSY_WAIT_S: Final = 5.0
"""While a card is being imported its drives are not whole yet: look again soon."""

UNCHECKED: Final = (
    "nothing tells how far off the camera's clock is, and the positions from the track are only as right as the clock; "
    "if you know it, set tracks.camera_offset"
)

REPORTS_DUE: Final = "reports_due"
"""The fact that says which drives were sorted since their report was written, as JSON: a list of drives."""

_MAY_BE_THERE: Final = frozenset({"gave_up", "not_processed", "lost"})


def may_be_there(picture: Picture) -> bool:
    """Whether the server may have the bytes, sent or refused as it was: then look before sending them again."""
    return picture.asked or picture.reason in _MAY_BE_THERE


class Sorting:
    """Judges what importing brought in."""

    def __init__(
        self,
        catalogue: Catalogue,
        storage: Storage,
        journal: Journal,
        *,
        kit: str,
        title: str,
        gap: timedelta,
        most: int,
        rules: triage.Rules,
        order: Order,
        report: Callable[[int], None],
    ) -> None:
        self._catalogue = catalogue
        self._drives = catalogue.drives
        self._storage = storage
        self._journal = journal
        self._kit = kit
        self._title = title
        self._gap = gap
        self._most = most
        self._rules = rules
        self._order = order
        self._report = report

    def run(self, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> Round:
        """Sort everything that is copied; while an import runs, later."""
        with self._storage.sorting() as may:
            if not may:
                return Round(worked=False, again_in=BUSY_WAIT_S)
            self._keep_the_order(stop, alive)
            self._look_again()
            cameras = self._drives.cameras_with_unsorted()
            for camera in cameras:
                if stop.is_set():
                    break
                alive()
                self._sort(camera, alive)
            while due := self._reports_due():
                self._report(due[0])
                self._catalogue.telling.remember(REPORTS_DUE, json.dumps(due[1:]) if due[1:] else None)
        return Round(worked=bool(cameras))

    def release(self, pictures: Sequence[Picture]) -> int:
        """Queue held or refused pictures all the same, because a person says so. Returns how many were moved.

        Each goes to the sequence that it had; one that was never meant to be sent gets a place in its drive's open
        sequence, or in a new one; one that was held before it was judged is judged now.
        """
        by_drive: dict[int | None, list[int]] = defaultdict(list)
        for picture in pictures:
            by_drive[picture.drive].append(picture.id)
        return sum(self._release(drive, ids) for drive, ids in by_drive.items())

    def _release(self, drive: int | None, ids: Sequence[int]) -> int:
        pictures = self._catalogue.pictures
        with self._catalogue.writing():
            found = [picture for one in ids if (picture := pictures.get(one)) is not None]
            now = [picture for picture in found if picture.state in (State.HELD, State.REFUSED)]
            if drive is None:
                for picture in now:
                    pictures.move(picture, State.COPIED)
                return len(now)
            homeless = sorted((picture for picture in now if picture.sequence is None), key=_by_capture)
            camera = pictures.whole_row(homeless[0].id)["camera"] if homeless else ""
            place = self._places(drive, camera, homeless)
            for picture in now:
                if picture.id in place:
                    sequence, at = place[picture.id]
                    pictures.placed(picture, sequence=sequence, fill=at.fill, rank=at.rank)
                pictures.move(
                    picture, State.QUEUED, why="by hand", asked=may_be_there(picture), losses=0, repairs=0,
                    upload_set=None, server_id=None,
                )  # fmt: skip
        return len(now)

    def _sort(self, camera: str, alive: Callable[[], None]) -> None:
        frames = [_frame(row) for row in self._drives.frames_to_sort(camera)]
        now = self._catalogue.clock.now() if self._catalogue.clock.trusted() else None
        groups = sequencing.drives(frames, gap=self._gap, zone=self._rules.zone)
        drives = [Other.of(group, cache(partial(self._report_of, group, now)), self._rules.zone) for group in groups]
        for group, drive in zip(groups, drives, strict=True):
            if any(not frame.decided for frame in group):
                alive()
                offset, tracks = self._way_of(group, (one for one in drives if one is not drive), now)
                judgement = triage.judge(group, self._rules, now, offset=offset, tracks=tracks)
                # a drive is written whole or not at all: after a kill it is simply judged again
                with self._catalogue.writing():
                    due = {*self._reports_due(), self._write(group, judgement)}
                    self._catalogue.telling.remember(REPORTS_DUE, json.dumps(sorted(due)))

    def _reports_due(self) -> list[int]:
        due: list[int] = json.loads(self._catalogue.telling.fact(REPORTS_DUE) or "[]")
        return due

    # -- the order of sending -----------------------------------------------------------------------------------------
    def prefer(self, drive: int, preference: Preference) -> bool:
        """Put this drive before, among or behind the others, as a person says; False: there is no such drive."""
        with self._catalogue.writing():
            if self._drives.about(drive) is None:
                return False
            self._drives.prefer(drive, preference)
            self._line_up(drive)
        return True

    def _keep_the_order(self, stop: threading.Event, alive: Callable[[], None]) -> None:
        """What was queued under another configuration, or by an older version, is lined up as it is to be now."""
        order = str(self._order)
        if self._catalogue.telling.fact("order") != order:
            for drive in self._drives.with_queued():
                if stop.is_set():
                    return
                alive()
                with self._catalogue.writing():
                    self._line_up(drive)
            self._catalogue.telling.remember("order", order)

    def _line_up(self, drive: int) -> None:
        began, preference = self._drives.about(drive) or (None, Preference.NORMAL)
        self._drives.line_up(line_up(self._drives.in_line(drive), began, preference, self._order))

    # -- tracks -------------------------------------------------------------------------------------------------------
    def _look_again(self) -> None:
        """The track often comes a day after the pictures: judge those again that it may help."""
        gap, offset = self._rules.track_gap, self._rules.camera_offset
        if gap is not None:
            self._catalogue.tracks.look_again(f"gap {gap}, offset {'auto' if offset is None else offset}", gap)

    def _way_of(
        self, group: _Group, others: Iterable[Other], now: datetime | None
    ) -> tuple[KnownOffset | None, Sequence[Segment]]:
        """For a drive with pictures that lack a position: how far off its camera's clock is, and tracks of its time."""
        gap = self._rules.track_gap
        if gap is None or not any(not one.decided and one.verdict is Verdict.NO_POSITION for one in group):
            return None, ()
        captures, report = capture.guard(group, self._rules, now)
        times = [one.at for one in captures.values()]
        if not times:
            return None, ()
        offset = None if report.segments else self._offset(group, others, min(times), max(times))
        if offset is not None:
            times = [one.at for one in capture.guard(group, self._rules, now, offset)[0].values()] or times
        return offset, self._catalogue.tracks.near(min(times) - gap, max(times) + gap)

    def _offset(self, group: _Group, others: Iterable[Other], first: datetime, last: datetime) -> KnownOffset | None:
        if self._rules.camera_offset is not None:
            return capture.KnownOffset(self._rules.camera_offset, "by hand")
        if offsets.has_places(group):
            wide = self._catalogue.tracks.near(first - WIDEST, last + WIDEST)
            if by_places := offsets.offset_by_places(group, wide, self._rules):
                return by_places
        return offsets.offset_of_the_day(group, others, self._rules)

    def _report_of(self, group: _Group, now: datetime | None) -> ClockReport:
        return capture.guard(group, self._rules, now)[1]

    # -- writing ------------------------------------------------------------------------------------------------------
    def _write(self, group: Sequence[Frame], judgement: triage.Judgement) -> int:
        """Returns the drive's number."""
        known = next((frame.drive for frame in group if frame.drive is not None), None)
        camera, recording = group[0].camera, next((frame.group for frame in group if frame.group), None)
        drive = known if known is not None else self._drives.add(camera, recording)
        times = [decision.captured for decision in judgement.decisions if decision.captured]
        self._drives.describe(drive, min(times, default=None), max(times, default=None), judgement.clock.sentence)
        kept = [decision for decision in judgement.decisions if decision.keep]
        place = self._places(drive, camera, sorted(kept, key=_by_capture))
        held: dict[str, int] = defaultdict(int)
        for decision in judgement.decisions:
            facts = _facts(decision)
            if decision.keep:
                sequence, at = place[decision.id]
                self._drives.judged(
                    decision.id, State.QUEUED, drive, reason=None, why=None,
                    sequence=sequence, fill=at.fill, rank=at.rank, **facts,
                )  # fmt: skip
            else:
                held[decision.reason or "held"] += 1
                self._drives.judged(decision.id, State.HELD, drive, reason=decision.reason, why=decision.why, **facts)
        self._tell(drive, camera if known is None else None, len(kept), dict(held), judgement.clock)
        for track, pictures in Counter(decision.track for decision in kept if decision.track is not None).items():
            self._journal.tell(Event.POSITIONS_FROM_TRACK, drive=drive, pictures=pictures, name=track)
            if not judgement.clock.checked:
                self._journal.tell(Event.CLOCK_UNCERTAIN, drive=drive, problem=UNCHECKED)
        return drive

    def _places(self, drive: int, camera: str, kept: Sequence[_Taken]) -> dict[int, tuple[int, Place]]:
        """For each picture its sequence, the drive's open one while it has room, else new ones; and its place."""
        if not kept:
            return {}
        still_open = self._drives.open_sequence(drive)
        if still_open and still_open[1] + len(kept) <= self._most:
            parts = [(still_open[0], list(kept))]
        else:
            by_id = {decision.id: decision for decision in kept}
            parts = []
            for ids in sequencing.sequences([one.id for one in kept], most=self._most):
                decisions = [by_id[one] for one in ids]
                title = self._title_of(camera, decisions[0].captured)
                made = self._drives.add_sequence(drive, uid=str(uuid.uuid4()), title=title, first=ids[0])
                parts.append((made, decisions))
        sequence_of = {one.id: sequence for sequence, decisions in parts for one in decisions}
        began, preference = self._drives.about(drive) or (None, Preference.NORMAL)
        places = line_up(sequence_of.items(), began, preference, self._order)
        return {picture: (sequence, places[picture]) for picture, sequence in sequence_of.items()}

    def _title_of(self, camera: str, began: datetime | None) -> str:
        local = began.astimezone(self._rules.zone) if began else None
        return self._title.format(
            kit=self._kit,
            date=f"{local:%Y-%m-%d}" if local else "no-date",
            time=f"{local:%H:%M}" if local else "",
            camera=camera,
        ).strip()

    def _tell(self, drive: int, new_of_camera: str | None, kept: int, held: dict[str, int], clock: ClockReport) -> None:
        if new_of_camera:
            pictures = kept + sum(held.values())
            self._journal.tell(Event.DRIVE_FOUND, drive=drive, camera=new_of_camera, pictures=pictures)
        for reason, pictures in sorted(held.items()):
            self._journal.tell(Event.PICTURES_HELD, drive=drive, pictures=pictures, reason=reason)
        if clock.corrected:
            self._journal.tell(Event.CLOCK_CORRECTED, drive=drive, pictures=clock.corrected, clock=clock.sentence)


_Group: TypeAlias = "tuple[Frame, ...]"


class _Taken(Protocol):
    """A decision or a picture: what a place in a sequence depends on."""

    @property
    def id(self) -> int: ...

    @property
    def captured(self) -> datetime | None: ...


def _by_capture(decision: _Taken) -> tuple[float, int]:
    return (decision.captured.timestamp() if decision.captured else float("inf"), decision.id)


def _frame(row: Row) -> Frame:
    return Frame(
        id=row["id"],
        camera=row["camera"],
        group=row["recording"],
        counter=row["counter"],
        name=row["name"],
        camera_time=_time(row["camera_time"]),
        gps_time=_time(row["gps_time"]),
        server_takes=row["server_takes"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        verdict=Verdict(row["verdict"]),
        mtime=_time(row["file_time"]),
        drive=row["drive"],
        decided=row["state"] != State.COPIED,
        serial=row["serial"],
    )


def _facts(decision: triage.Decision) -> dict[str, object]:
    ours = decision.position if decision.position_from != "camera" else None
    return {
        "captured": iso(decision.captured) if decision.captured else None,
        "captured_from": decision.captured_from,
        "capture_override": decision.capture_override,
        "position_override": f"{ours[0]:.7f} {ours[1]:.7f}" if ours else None,
        "position_from": decision.position_from if ours else None,
    }


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
