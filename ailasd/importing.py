"""Step: card -> catalogue. Copy what is planned, verified; a row says ``copied`` only after that."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from ailasd import photo
from ailasd.catalogue.cards import NewCopy
from ailasd.clock import iso
from ailasd.copying import ENDS, Copy, copies
from ailasd.disk import flush_folders, settle
from ailasd.errors import AilasdError, Damaged, NeedsHuman, SourceBusy, SourceGone, Unreadable
from ailasd.logs import Event
from ailasd.model import CardFile, Kind
from ailasd.planning import plan
from ailasd.sources import group_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ailasd.catalogue import Catalogue
    from ailasd.clock import Clock
    from ailasd.journal import Journal
    from ailasd.model import CardFile, Photo
    from ailasd.planning import Plan
    from ailasd.sources import Source
    from ailasd.storage import Storage

COUNTER: Final = re.compile(r"(\d{4})\.[^.]*$")
"""The camera's running number: the last four digits of a DCF name."""

WHOLE: Final = "whole"
"""Outcome of a visit that got to the end of the card; any other says why it did not."""

GROUP: Final = 8
"""Copies recorded together. On an SD card a flush takes 5-20 ms, and each picture would take three for its folder and
its row; what a power cut takes of a group is still on the card and copied again."""

COUNTS: Final = ("on_card", "copied", "known", "bytes_copied", "bytes_known")

BUSY_WAIT_S: Final = 60.0
"""A recording lasts hours, a program that shows thumbnails a minute."""

NO_ROOM_WAIT_S: Final = 60.0
"""Room may come from cleaning or from a person; looking costs one statvfs."""


_Group: TypeAlias = "dict[CardFile, NewCopy]"


class Progress(Protocol):
    """Who watches an import."""

    def begins(self, files: int, bytes_: int) -> None:
        """This much is to be read."""

    def advances(self, bytes_: int) -> None:
        """So many bytes more were read from the card."""


@dataclass(frozen=True, slots=True)
class Visit:
    """How a pass over a card went. on_card = copied + known + sum(left)."""

    id: int
    card: int
    outcome: str
    on_card: int
    copied: int
    known: int
    left: dict[str, int]
    bytes_copied: int
    bytes_known: int
    retry_in: float | None = None

    @property
    def whole(self) -> bool:
        """Whether the end of the card was reached."""
        return self.outcome == WHOLE


class Importing:
    """Brings the pictures of one source in.

    Args:
        reserve: bytes that stay free on our disk.
        suspects: whether files that are gone from it stop its cleaning (law 10).
    """

    def __init__(
        self,
        source: Source,
        catalogue: Catalogue,
        storage: Storage,
        journal: Journal,
        *,
        reserve: int,
        suspects: bool,
    ) -> None:
        self._source = source
        self._catalogue = catalogue
        self._cards = catalogue.cards
        self._storage = storage
        self._journal = journal
        self._reserve = reserve
        self._suspects = suspects
        self._told: set[str] = set()  # which outcomes, since the last that was whole
        self._told_unreadable = False

    def run(
        self,
        stop: threading.Event,
        *,
        verify: bool = False,
        progress: Progress | None = None,
        alive: Callable[[], None] = lambda: None,
        recognised: Callable[[int], None] = lambda _: None,
    ) -> Visit | None:
        """One pass over the card. None if it is not there. ``alive`` is called for each file: work goes on.

        ``recognised`` is called with the card's id before any of it is read.

        Raises nothing of ``AilasdError``: the visit's outcome says how it went, in words.
        """
        try:
            card = self._source.card()
            card_id = self._cards.which(card, self._source.listing)
            recognised(card_id)
            todo = self._plan(card_id, card.label, verify=verify)
        except SourceGone:
            return None
        except Unreadable as error:
            self._unreadable(error)
            return None
        with self._storage.importing():
            return self._visit(card_id, card.label, todo, stop, progress=progress, alive=alive)

    def _unreadable(self, error: Unreadable) -> None:
        if not self._told_unreadable:
            self._told_unreadable = True
            self._journal.tell(Event.READ_ERROR, path="the card's top folder", problem=str(error))

    def _plan(self, card: int, label: str, *, verify: bool) -> Plan:
        known, cleared = self._cards.known_files(card), self._cards.cleared_files(card)
        todo = plan(
            self._source.listing(),  # as it comes: a card with a million empty files must fit into a small Pi
            known,
            again=self._cards.needing_another_copy(card),
            cleared=cleared,
            verify=verify,
        )
        self._told_unreadable = False
        if todo.shrunk and self._suspects and self._cards.cleaning_stopped(card) is None:
            problem = f"{todo.missing} files that we know are gone from {label}, and it was not us"
            there = {file[:3] for file in self._source.listing() if file.kind is Kind.PICTURE}
            self._cards.stop_cleaning(card, problem, known - cleared - there)
            self._journal.tell(
                Event.CLEANING_STOPPED, card_id=card, problem=problem, command="ailasd release --cleaning"
            )
        if todo.missing and todo.read and not todo.still_there:
            # newly formatted: else its old files would be missed as soon as the new ones are known
            self._cards.not_missed(card, known - cleared)
        return todo

    def _visit(
        self,
        card: int,
        label: str,
        todo: Plan,
        stop: threading.Event,
        *,
        progress: Progress | None,
        alive: Callable[[], None],
    ) -> Visit:
        tally = _Tally(todo, self._catalogue.clock)
        with self._catalogue.writing():
            visit = self._cards.begin_visit(card, todo.videos)
            self._goes_on(visit, tally)
        trace = f"v{visit}"
        failed = self._cards.failed_files(card)
        if any(file[:3] not in failed for file in todo.read):  # else it is told already, and tried again quietly
            self._journal.tell(
                Event.IMPORT_STARTED, card_id=card, trace=trace, card=label, new=len(todo.read), new_bytes=todo.bytes,
                known=todo.known,
            )  # fmt: skip
        if todo.read and progress:
            progress.begins(len(todo.read), todo.bytes)
        outcome, retry_in = WHOLE, None
        group: _Group = {}
        arriving = copies(
            self._source, todo.read, self._storage.incoming, reserve=self._reserve, stop=stop,
            inspect=photo.read_file, progress=progress.advances if progress else None,
        )  # fmt: skip
        with closing(arriving):
            for file, result in arriving:
                alive()
                problem = self._try_place(visit, file, result, group) if isinstance(result, Copy) else result
                if problem is not None and not isinstance(problem, ENDS):
                    tally.leave("read_error", bytes_=file.size)
                    self._cannot(card, visit, file, problem)
                if len(group) >= GROUP:
                    problem = self._record(card, visit, group, tally) or problem
                if isinstance(problem, ENDS):
                    outcome, retry_in = self._cut_short(card, label, trace, problem)
                    break
        problem = self._record(card, visit, group, tally)
        if problem is not None and outcome == WHOLE:
            outcome, retry_in = self._cut_short(card, label, trace, problem)
        if outcome == WHOLE and tally.unread:
            outcome = "stopped"
        if outcome == WHOLE:
            self._goes_on_again(card)
        tally.leave(outcome, tally.unread)
        done = Visit(visit, card, outcome, left=tally.reasons(), retry_in=retry_in, **tally.counts())
        self._end(done, label)
        return done

    def _cut_short(self, card: int, label: str, trace: str, error: AilasdError) -> tuple[str, float | None]:
        if isinstance(error, SourceGone):
            self._journal.tell(Event.CARD_GONE, card_id=card, trace=trace, card=label, problem=str(error))
            return "gone", None
        if isinstance(error, SourceBusy):
            self._journal.tell(Event.CARD_BUSY, card_id=card, trace=trace, card=label, problem=str(error))
            return "busy", BUSY_WAIT_S
        outcome = "not_kept" if isinstance(error, NeedsHuman) else "no_room"
        if outcome in self._told:
            return outcome, NO_ROOM_WAIT_S
        self._told.add(outcome)
        if outcome == "not_kept":
            self._journal.tell(Event.CANNOT_KEEP, card_id=card, trace=trace, problem=str(error))
        else:
            self._journal.tell(
                Event.DISK_FULL, card_id=card, trace=trace, free_bytes=self._storage.free(),
                reserve_bytes=self._reserve, problem=str(error),
            )  # fmt: skip
        return outcome, NO_ROOM_WAIT_S

    def _goes_on_again(self, card: int) -> None:
        if "no_room" in self._told:
            self._journal.tell(Event.ROOM_AGAIN, card_id=card, free_bytes=self._storage.free())
        self._told.clear()

    def _cannot(self, card: int, visit: int, file: CardFile, problem: AilasdError) -> None:
        if self._cards.left(card, visit, file, str(problem)):
            self._journal.tell(Event.READ_ERROR, card_id=card, trace=f"v{visit}", path=file.path, problem=str(problem))

    def _try_place(self, visit: int, file: CardFile, copy: Copy[Photo], group: _Group) -> AilasdError | None:
        """Give a verified copy its place, and put it into the group that is recorded next."""
        about, name = copy.inspected, file.path.rsplit("/", 1)[-1]
        recording = group_of(name) or about.group
        place = self._storage.place(about, recording, copy.md5)
        try:
            if self._cards.is_ours(copy.md5) or any(new.md5 == copy.md5 for new in group.values()):
                copy.temp.unlink()
            else:
                self._settle(copy, self._storage.path_of(place))
        except AilasdError as error:
            return error
        counter = COUNTER.search(name)
        group[file] = NewCopy(
            md5=copy.md5, size=copy.size, proven=copy.proven, copy=place, trace=f"v{visit}-{copy.md5[:8]}", name=name,
            recording=recording, counter=int(counter[1]) if counter else None,
            file_time=iso(datetime.fromtimestamp(max(file.mtime_ns, 0) / 1e9, UTC)), photo=about,
        )  # fmt: skip
        return None

    def _record(self, card: int, visit: int, group: _Group, tally: _Tally) -> AilasdError | None:
        """Flush the folders of the group, then commit its rows: durable first, recorded second, each once for all.

        Returns why it could not (no room); then nothing of the group is recorded, and it is copied again another time.
        """
        folders = {self._storage.path_of(new.copy).parent for new in group.values()}
        try:
            flush_folders(folder for folder in folders if folder.exists())  # none was made for what we had already
        except AilasdError as error:
            return error
        with self._catalogue.writing():
            for file, new in group.items():
                try:
                    _, fresh = self._cards.copied(card, visit, file, new)
                except Damaged as error:
                    tally.leave("read_error", bytes_=file.size)
                    self._cannot(card, visit, file, error)
                    continue
                tally.add(file, fresh=fresh)
                event = Event.PICTURE_COPIED if fresh else Event.PICTURE_KNOWN
                self._journal.note(event, trace=new.trace, path=file.path, bytes=new.size)
            self._goes_on(visit, tally)
        group.clear()
        return None

    def _goes_on(self, visit: int, tally: _Tally) -> None:
        self._cards.goes_on(visit, counts=tally.counts(), left=tally.reasons(), left_s=tally.left_s())

    def _settle(self, copy: Copy[Photo], destination: Path) -> None:
        try:
            settle(copy.temp, destination)
        except Damaged:
            # the place is named after the content: what lies there was damaged since, and this is what mends it
            with destination.open("rb") as there:
                damaged = not hashlib.file_digest(there, "md5").hexdigest().startswith(copy.md5[:12])
            if not damaged:
                raise
            destination.unlink()
            settle(copy.temp, destination)

    def _end(self, done: Visit, label: str) -> None:
        last = self._cards.last_visit(done.card)
        counts: dict[str, Any] = {name: getattr(done, name) for name in COUNTS}
        self._cards.end_visit(done.id, outcome=done.outcome, counts=counts, left=done.left)
        if done.copied == 0 and last is not None and _same_as(last, done):
            self._cards.nothing_new(done.id)
            return
        self._cards.in_hand(done.card)
        self._journal.tell(
            Event.IMPORT_FINISHED, card_id=done.card, trace=f"v{done.id}", card=label, outcome=done.outcome,
            left=sum(done.left.values()), left_by_reason=done.left, **counts,
        )  # fmt: skip


class _Tally:
    """Counts of one visit. Every file of the plan ends in exactly one of copied, known, left."""

    def __init__(self, todo: Plan, clock: Clock) -> None:
        self._clock, self._began = clock, clock.monotonic()
        self.left = Counter(todo.left)
        self.unread = len(todo.read)
        self._to_read = self._unread_bytes = sum(file.size for file in todo.read)
        self._on_card = len(todo.read) + todo.known + sum(todo.left.values())
        self._copied = self._bytes_copied = 0
        self._known, self._bytes_known = todo.known, todo.bytes_known

    def add(self, file: CardFile, *, fresh: bool) -> None:
        self.unread -= 1
        self._unread_bytes -= file.size
        if fresh:
            self._copied += 1
            self._bytes_copied += file.size
        else:
            self._known += 1
            self._bytes_known += file.size

    def leave(self, reason: str, files: int = 1, *, bytes_: int = 0) -> None:
        self.unread -= files
        self._unread_bytes -= bytes_
        self.left[reason] += files

    def left_s(self) -> float | None:
        """Seconds to the end at the pace so far."""
        read = self._to_read - self._unread_bytes
        return (self._clock.monotonic() - self._began) * self._unread_bytes / read if read else None

    def reasons(self) -> dict[str, int]:
        return {str(reason): files for reason, files in sorted(self.left.items()) if files}

    def counts(self) -> dict[str, int]:
        return {
            "on_card": self._on_card, "copied": self._copied, "known": self._known,
            "bytes_copied": self._bytes_copied, "bytes_known": self._bytes_known,
        }  # fmt: skip


def _same_as(last: Mapping[str, object], done: Visit) -> bool:
    """Whether the pass before this one left the card as this one found it."""
    return (
        last["outcome"] == done.outcome
        and last["on_card"] == done.on_card
        and json.loads(str(last["left_there"])) == done.left
    )
