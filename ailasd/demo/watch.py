"""The daemon at work in a thread, and somebody who watches how far it is, by the catalogue alone."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ailasd.daemon import Daemon
from ailasd.demo.checking import ON_SERVER
from ailasd.demo.screen import Progress
from ailasd.errors import NotLoggedIn, WrongServer
from ailasd.importing import WHOLE
from ailasd.logs import Event
from ailasd.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ailasd.demo.screen import Screen
    from ailasd.parts import Ailasd

LOOK_S: Final = 0.2
ON_THE_WAY: Final = (State.COPIED, State.QUEUED, State.SENT)


@dataclass(frozen=True, slots=True)
class Now:
    """How things stand: whether the card was read to its end, pictures by state, the link in a word and a sentence."""

    read: bool
    by_state: Counter[str]
    link: str
    why: str

    @classmethod
    def of(cls, parts: Ailasd) -> Now:
        """As the catalogue has it."""
        telling = parts.catalogue.telling
        by_state: Counter[str] = Counter()
        for row in telling.tally():
            by_state[row["state"]] += row["pictures"]
        cards = telling.cards()
        link: dict[str, Any] = json.loads(telling.fact("link") or "{}")
        read = bool(cards) and cards[0]["outcome"] == WHOLE
        return cls(read, by_state, link.get("state", ""), link.get("why", ""))


def only_sending_waits(now: Now) -> bool:
    """All is copied and sorted, and the network was missed."""
    return now.read and not now.by_state[State.COPIED] and now.link == Event.LINK_LOST


def all_done(now: Now) -> bool:
    """Every picture came to an end."""
    return now.read and not any(now.by_state[state] for state in ON_THE_WAY)


class Watch:
    """Looks at the catalogue while the daemon works, and shows how far it is."""

    def __init__(self, parts: Ailasd, daemon: Working, screen: Screen, patience_s: float, pictures: int) -> None:
        self._parts = parts
        self._daemon = daemon
        self._screen = screen
        self._patience_s = patience_s
        self._pictures = pictures
        self._progress = {what: Progress(what) for what in ("copied", "sent", "confirmed")}

    def until(self, done: Callable[[Now], bool], *, linger_s: float = 0.0) -> bool:
        """Wait until ``done``, and ``linger_s`` more; False if nothing went on for too long.

        Raises:
            NeedsHuman: the server will have nothing of us.
        """
        before, changed = Now.of(self._parts), time.monotonic()
        while True:
            now = Now.of(self._parts)
            if (now.read, now.by_state) != (before.read, before.by_state):  # a link that comes and goes is no progress
                before, changed = now, time.monotonic()
            self._screen.live(self._line(now))
            if done(now) and time.monotonic() - changed >= linger_s:
                return True
            if now.link == Event.LOGIN_NEEDED:
                raise NotLoggedIn(now.why)
            if now.link == Event.WRONG_SERVER:
                raise WrongServer(now.why)
            if time.monotonic() - changed > self._patience_s:
                return False
            self._daemon.look(LOOK_S)

    def _line(self, now: Now) -> str:
        if not now.read:
            return self._progress["copied"].line(now.by_state.total(), self._pictures)
        here = sum(now.by_state[state] for state in (State.COPIED, State.QUEUED))
        gone = now.by_state[State.SENT] + now.by_state[State.REFUSED]
        there = sum(now.by_state[state] for state in ON_SERVER)
        of = here + gone + there
        if now.link == Event.LINK_LOST:
            return f"all {now.by_state.total()} copied, {now.by_state[State.HELD]} held; {here} wait for the network"
        return self._progress["sent"].line(gone + there, of) if here else self._progress["confirmed"].line(there, of)


class Working:
    """The daemon in a thread of its own."""

    def __init__(self, parts: Ailasd) -> None:
        self._parts = parts
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="daemon")
        self._thread.start()

    def _run(self) -> None:
        try:
            Daemon(self._parts).run(self._stop)
        except BaseException as error:  # noqa: BLE001  (it is raised again where somebody waits)
            self._error = error
        finally:
            self._ended.set()

    def look(self, seconds: float) -> None:
        """Wait; raises what ended the daemon, if anything did."""
        # not join(): one that a signal interrupts takes the thread for finished from then on (Python's bpo-45274)
        self._ended.wait(seconds)
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Stop it, and wait until it has stopped."""
        self._stop.set()
        self._ended.wait()
        self._thread.join()


@contextmanager
def working(parts: Ailasd) -> Iterator[Working]:
    """The daemon works as long as the context lasts, and has stopped behind it."""
    daemon = Working(parts)
    try:
        yield daemon
    finally:
        daemon.end()
