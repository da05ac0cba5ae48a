"""Step: what is plugged in is attended to: made readable, known for what it is, read, and let go again.

Each medium has a thread of its own, so that a slow card does not hold up a fast one. Nothing stays mounted longer than
it is read: then the answer to "may I pull it out?" is yes.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from ailasd import photo
from ailasd.errors import AilasdError, SourceGone
from ailasd.logs import Event
from ailasd.model import Kind, Round

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ailasd.cards import Medium
    from ailasd.catalogue import Catalogue
    from ailasd.clock import Clock
    from ailasd.journal import Journal
    from ailasd.model import CardFile
    from ailasd.sources import Source

AT_ONCE: Final = 8
"""Media read at the same time: more slots than any kit has; the others wait for their turn."""

FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 600.0
"""A medium that could not be read is tried again, ever more seldom, as long as it stays plugged in."""

STILL_MOUNTED_S: Final = 10.0
"""Between looks whether a card that was read is still used on the desktop: its user has just ejected it, and waits."""

SAMPLE: Final = 20
"""Pictures outside of DCIM that are looked into: enough to find a camera among other people's files."""
HEADER: Final = 256 * 1024
"""Bytes; a GoPro's tags lie in the first 64 KiB."""

NO_PICTURES: Final = "there are no pictures of a camera on it, and no tracks"


class Stand(StrEnum):
    """How it stands with a medium, one word for ``status``."""

    READING = "reading"
    DONE = "done"  # it may be pulled out
    MOUNTED = "mounted"  # as good as done, but somebody else has it mounted, and uses it
    CLEARING = "clearing"
    WAITING = "waiting"  # it is tried again by itself: no room, it did not answer
    UNREADABLE = "unreadable"
    IGNORED = "ignored"
    EMPTY = "empty"  # a reader without a card


class Plugged(Protocol):
    """Who knows what is plugged in: ``cards.devices.Devices``."""

    def present(self) -> list[Medium]:
        """What is plugged in now."""


class Seen(Protocol):
    """What a pass over a card tells: ``importing.Visit``."""

    @property
    def outcome(self) -> str:
        """Why it ended."""

    @property
    def whole(self) -> bool:
        """Whether the end of the card was reached."""

    @property
    def copied(self) -> int:
        """How many pictures are new."""


@dataclass(frozen=True, slots=True)
class Hands:
    """What is done with a medium, given by the composition root.

    Attributes:
        opened: makes a medium readable as long as the context lasts.
        read: one pass of importing over it, which calls the last of its arguments with the card's id as soon as it is
            known; None: it is not there any more, or cannot be read.
        tracks: takes the GPX tracks of a source in; returns how many it has.
        let_go: after everything was read, see to it that nobody has it mounted, and switch it off if that is wanted;
            returns where it is mounted all the same, or None: it may be pulled out.
        at_work: as long as the context lasts the machine stays awake; yields what to call at each sign of life.
    """

    opened: Callable[[Medium], AbstractContextManager[Source]]
    read: Callable[[Source, threading.Event, Callable[[], None], Callable[[int], None]], Seen | None]
    tracks: Callable[[Source, threading.Event], int]
    let_go: Callable[[Medium], str | None]
    at_work: Callable[[str], AbstractContextManager[Callable[[], None]]]


@dataclass(slots=True)
class _Attended:
    """A medium that is plugged in, and how far we are with it."""

    medium: Medium
    label: str
    busy: threading.Lock = field(default_factory=threading.Lock)
    reading: threading.Thread | None = None
    new: bool = False  # the last pass brought something in
    bug: Exception | None = None
    stand: Stand | None = None
    card: int | None = None
    offered: bool = False  # for being cleared
    failures: int = 0
    due: float | None = 0.0  # monotonic; None: nothing left to do


class Attending:
    """Attends to everything that is plugged in.

    Args:
        hands: what is done with a medium.
        wake: is called when a medium was read, from its own thread: the step wants to be run again.
        changed: is called when it stands otherwise with a medium, from any thread.
        done: is called when a medium was read to its end for the first time, from its own thread: it may be cleared.
    """

    def __init__(self, catalogue: Catalogue, journal: Journal, clock: Clock, plugged: Plugged, hands: Hands) -> None:
        self._cards = catalogue.cards
        self._media = catalogue.media
        self._journal = journal
        self._clock = clock
        self._plugged = plugged
        self._hands = hands
        self._here: dict[str, _Attended] = {}
        self._media.forget()  # what was plugged in before the power went says nothing about now
        self._turns = threading.Semaphore(AT_ONCE)
        self.wake: Callable[[], None] = lambda: None
        self.changed: Callable[[], None] = lambda: None
        self.done: Callable[[], None] = lambda: None

    def run(self, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> Round:
        """Look at what is plugged in: begin with what is new, forget what is gone, say what was read meanwhile."""
        present = {medium.key: medium for medium in self._plugged.present()}
        worked = sum(self._harvest(one) for one in self._here.values()) > 0  # each of them, not only the first
        for key in [key for key in self._here if key not in present]:
            self._gone(self._here[key])
        for key, medium in present.items():
            alive()
            if key not in self._here:
                self._here[key] = self._greet(medium)
        now = self._clock.monotonic()
        for one in self._here.values():
            if one.reading is None and one.due is not None and one.due <= now and not stop.is_set():
                one.reading = self._begin(one, stop)
        waits = [one.due - now for one in self._here.values() if one.due is not None and one.reading is None]
        return Round(worked, again_in=max(min(waits), 1.0) if waits else None)

    def end(self, within_s: float) -> bool:
        """Wait for the threads, whose steps were told to stop. Returns whether all of them ended."""
        give_up = self._clock.monotonic() + within_s
        readings = [one.reading for one in self._here.values() if one.reading is not None]
        for reading in readings:
            reading.join(max(0.0, give_up - self._clock.monotonic()))
        self._media.forget()
        return not any(reading.is_alive() for reading in readings)

    def to_clear(self, wanted: Callable[[int], bool]) -> Iterator[AbstractContextManager[Source]]:
        """The cards that were read to their end and are still here, each readable as long as its context lasts.

        Args:
            wanted: of a card's id, whether there is anything to do on it: only then is it worth being mounted.
        """
        for one in list(self._here.values()):
            if one.stand is Stand.DONE and one.card is not None and wanted(one.card):
                yield self._held(one)

    # -- one medium ---------------------------------------------------------------------------------------------------
    def _greet(self, medium: Medium) -> _Attended:
        one = _Attended(medium, medium.label)
        if medium.problem:
            empty = medium.reason == "empty"
            event = Event.READER_EMPTY if empty else Event.CARD_UNREADABLE
            self._journal.tell(event, card=medium.label, problem=medium.problem, word=medium.reason)
            self._stands(one, *((Stand.EMPTY, None) if empty else (Stand.UNREADABLE, medium.problem)))
            one.due = None
        elif medium.reason is None:
            self._journal.tell(Event.CARD_SEEN, card=medium.label, folder=medium.node)
        return one

    def _begin(self, one: _Attended, stop: threading.Event) -> threading.Thread:
        """A daemon thread: a reader whose driver hangs must not keep the process from ending."""
        thread = threading.Thread(target=self._attend, args=(one, stop), name=one.medium.node, daemon=True)
        thread.start()
        return thread

    def _harvest(self, one: _Attended) -> bool:
        """Whether its thread ended by now and brought something in."""
        if one.reading is None or one.reading.is_alive():
            return False
        one.reading = None
        if one.bug is not None:
            bug, one.bug = one.bug, None
            raise bug  # told as one of this step
        return one.new

    def _gone(self, one: _Attended) -> None:
        if one.reading is not None or not one.busy.acquire(blocking=False):
            return  # who reads or clears it finds out by itself, and wakes us
        try:
            del self._here[one.medium.key]
            self._media.gone(one.medium.key)
        finally:
            one.busy.release()
        self.changed()
        if one.stand in {Stand.DONE, Stand.MOUNTED}:
            self._journal.tell(Event.CARD_REMOVED, card_id=one.card, card=one.label)

    def _attend(self, one: _Attended, stop: threading.Event) -> None:
        """From mounting to letting go: a thread's whole life."""
        one.new = False
        try:
            if one.stand is Stand.MOUNTED:
                with one.busy:
                    self._ended(one, Stand.DONE, None)
                return
            if one.stand is None and one.medium.reason is None:
                self._stands(one, Stand.READING)  # mounting takes its time, and the card must stay in from here on
            with (
                self._turns,
                one.busy,
                self._hands.at_work(one.label) as alive,
                self._hands.opened(one.medium) as source,
            ):
                self._stands(one, Stand.READING)
                stand, problem = self._read(one, source, stop, alive)
            self._ended(one, stand, problem)
        except AilasdError as error:
            # said once, tried again quietly; a stale one (see Medium.reason) is not worth a word
            if one.failures == 0 and one.medium.reason is None:
                self._journal.tell(Event.CARD_UNREADABLE, card=one.label, problem=str(error))
            self._again(one, Stand.UNREADABLE, str(error))
        except Exception as bug:  # noqa: BLE001  the step tells it; tried again like everything else
            one.bug = bug
            self._again(one, Stand.UNREADABLE, "a fault of ailasd")
        finally:
            self.wake()

    def _read(
        self, one: _Attended, source: Source, stop: threading.Event, alive: Callable[[], None]
    ) -> tuple[Stand, str | None]:
        about = source.card()
        one.label = about.label
        tracks = self._hands.tracks(source, stop)
        if not self._is_camera_card(source):
            one.new = tracks > 0
            return (Stand.DONE, None) if tracks else (Stand.IGNORED, NO_PICTURES)

        def recognised(card: int) -> None:
            one.card = card
            self._cards.in_hand(card)
            self._stands(one, Stand.READING)

        visit = self._hands.read(source, stop, alive, recognised)
        if visit is None:
            return Stand.WAITING, "it cannot be read"
        one.new = visit.copied > 0
        if not visit.whole:
            return Stand.WAITING, visit.outcome
        return Stand.DONE, None

    def _ended(self, one: _Attended, stand: Stand, problem: str | None) -> None:
        """We have it mounted no more."""
        if stand is Stand.WAITING:
            self._again(one, stand, problem)
            return
        one.failures, one.due = 0, None
        if stand is Stand.IGNORED:
            self._journal.tell(Event.CARD_IGNORED, card=one.label, problem=problem)
            self._stands(one, stand, problem)
        elif self._let_go(one):
            self._journal.tell(Event.CARD_READY, card_id=one.card, card=one.label)

    def _let_go(self, one: _Attended) -> bool:
        """Whether it may be pulled out now; if it may not, it is looked at again."""
        where = self._hands.let_go(one.medium)
        one.due = None if where is None else self._clock.monotonic() + STILL_MOUNTED_S
        stand = Stand.DONE if where is None else Stand.MOUNTED
        if one.stand is not stand:
            self._stands(one, stand, where)
        if stand is Stand.DONE and not one.offered:  # once: what ends badly there leads back to here
            one.offered = True
            self.done()
        return where is None

    def _is_camera_card(self, source: Source) -> bool:
        """DCIM (DCF), or pictures of a camera that we know; a few are enough to tell."""
        sample: list[CardFile] = []
        for file in source.listing():
            if file.path[:5].lower() == "dcim/":
                return True
            if file.kind is Kind.PICTURE and len(sample) < SAMPLE:
                sample.append(file)
        return any(self._is_camera_s(source, file) for file in sample)

    def _is_camera_s(self, source: Source, file: CardFile) -> bool:
        """Whether a camera took it that we know: a GoPro, or one of which we have pictures already."""
        try:
            with source.open(file) as stream:
                about = photo.read(stream.read(HEADER) or b"")
        except SourceGone:
            raise
        except AilasdError:
            return False
        return (about.make or "").casefold() == "gopro" or self._cards.knows_camera(about.make, about.model)

    def _again(self, one: _Attended, stand: Stand, problem: str | None) -> None:
        wait_s = min(FIRST_WAIT_S * 2.0**one.failures, LONGEST_WAIT_S)
        one.failures += 1
        one.due = self._clock.monotonic() + wait_s
        self._stands(one, stand, problem)

    def _stands(self, one: _Attended, stand: Stand, problem: str | None = None) -> None:
        one.stand = stand
        self._media.stands(one.medium.key, one.label, stand, problem=problem, card=one.card)
        self.changed()

    @contextmanager
    def _held(self, one: _Attended) -> Iterator[Source]:
        """The medium for cleaning; the thread that reads it waits.

        What ends badly is looked at once more: the card may be gone, or still be mounted.
        """
        try:
            with one.busy:
                if self._here.get(one.medium.key) is not one:
                    raise SourceGone(f"{one.label} was pulled out")
                self._stands(one, Stand.CLEARING)
                try:
                    with self._hands.at_work(one.label), self._hands.opened(one.medium) as source:
                        yield source
                except Exception as error:
                    known = isinstance(error, AilasdError)
                    self._again(one, Stand.UNREADABLE, str(error) if known else "a fault of ailasd")
                    raise
                self._let_go(one)
        finally:
            self.wake()
