"""A card brought in, and sent, while somebody waits: `ailasd import`. The daemon's steps in the daemon's order."""

from __future__ import annotations

import os
import pwd
import sys
from typing import TYPE_CHECKING, Final

from ailasd.cli.exits import Exit
from ailasd.cli.progress import Meter
from ailasd.disk import sweep
from ailasd.errors import SourceGone, Unreadable
from ailasd.importing import WHOLE
from ailasd.logs import bytes_in_words
from ailasd.model import MAY_BE_PICTURES, State
from ailasd.sources.folder import FolderSource
from ailasd.status import summary
from ailasd.waiting import FOR_A_PERSON
from ailasd.wording import harmless, left_in_words, number, pictures

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from ailasd.importing import Visit
    from ailasd.parts import Ailasd

PATIENCE_S: Final = 120.0
"""Without any change while somebody waits: the server publishes even a full sequence's first pictures sooner."""

LOOK_S: Final = 1.0
"""Between two looks while the server publishes: it does 3-4 pictures a second."""


def bring_in(
    parts: Ailasd, path: Path, stop: threading.Event, *, verify: bool, then_send: bool, say: Callable[[str], object]
) -> Exit:
    """Copy what is new on ``path`` and sort it; say how it went, and unless ``then_send`` who sends it.

    Raises:
        SourceGone: it is not there (any more).
        Unreadable: it cannot be read.
    """
    path = path.resolve()
    ours = parts.storage.folder.resolve()
    if path.is_relative_to(ours) or ours.is_relative_to(path):
        raise SourceGone(f"{harmless(path)} is no card: our own storage {ours} lies there")
    try:
        os.scandir(path).close()
    except PermissionError:
        user = pwd.getpwuid(os.geteuid()).pw_name
        raise Unreadable(f"{harmless(path)} may not be read by the user {user}: copy it to the inbox, say") from None
    except OSError:
        pass  # what reads it says more
    source = FolderSource(path)
    with Meter("Copying", sys.stderr) as meter:
        visit = parts.importing_from(source).run(stop, verify=verify, progress=meter)
    if visit is None:
        source.card()
        next(source.listing(), None)  # one of the two says why, by raising it
        raise SourceGone(f"{harmless(path)} was gone for a moment: try again")
    say(_in_words(visit))
    sorted_now = parts.sorting.run(stop)
    if sorted_now.again_in is not None and visit.copied:
        say("Another import still runs: what belongs together is decided when it is done.")
    _tell_what_is_next(parts, say, then_send=then_send)
    return _code_of(visit, stop)


def _in_words(visit: Visit) -> str:
    left = f": {left_in_words(visit.left)}" if visit.left else ""
    return (
        f"Of {number(visit.on_card)} files on it {number(visit.copied)} copied ({bytes_in_words(visit.bytes_copied)}), "
        f"{number(visit.known)} known, {number(sum(visit.left.values()))} left{left}."
    )


def _code_of(visit: Visit, stop: threading.Event) -> Exit:
    if visit.outcome != WHOLE:
        return Exit.INTERRUPTED if stop.is_set() else Exit.TEMPORARY
    return Exit.PERSON if any(visit.left.get(reason) for reason in MAY_BE_PICTURES) else Exit.FINE


def _tell_what_is_next(parts: Ailasd, say: Callable[[str], object], *, then_send: bool) -> None:
    counts = summary(parts.catalogue).counts
    queued = sum(count.pictures for count in counts if count.state == State.QUEUED)
    held = sum(count.pictures for count in counts if count.state == State.HELD)
    if held:
        say(f"{pictures(held)} held here, not sent: `ailasd status` says why.")
    if not queued or then_send:
        return
    if not parts.config.server.url:
        who = "no server is configured, so nothing is sent"
    else:
        who = "the daemon sends them" if parts.storage.daemon_runs() else "`ailasd run` sends them"
    say(f"{pictures(queued)} wait to be sent; {who}.")


def send(parts: Ailasd, stop: threading.Event, *, say: Callable[[str], object]) -> Exit:
    """Upload and confirm until nothing is on its way or may be sent, the link is away, or nothing changes for 2 min.

    Raises:
        TryLater: a daemon runs, and sends.
    """
    with parts.storage.as_daemon(), Meter("Sending", sys.stderr) as meter:
        sweep(parts.storage.incoming)
        sending = _Sending(parts, meter)
        refused = sending.refused()
        last_change = parts.clock.monotonic()
        while sending.on_the_way() and not stop.is_set():
            changed = sending.round(stop)
            now = parts.clock.monotonic()
            last_change = now if changed else last_change
            if parts.link.server() is None or now - last_change > PATIENCE_S or sending.may_not():
                break
            stop.wait(LOOK_S if sending.on_the_way() else 0)
    if not sending.on_the_way():
        newly_refused = sending.refused() - refused
        but = f", but {pictures(newly_refused)} refused: `ailasd status` says why" if newly_refused else ""
        say(f"Everything that was sent is confirmed by the server{but}.")
        return Exit.PERSON if newly_refused else Exit.FINE
    link = summary(parts.catalogue).link
    why = link.why.rstrip(".") if link else ""
    if may_not := sending.may_not():
        why = f"{may_not}; `ailasd upload --now` lifts that"
    say(f"{pictures(sending.on_the_way())} not confirmed yet{why and f': {harmless(why)}'}.")
    if stop.is_set():
        return Exit.INTERRUPTED
    return Exit.NO_LOGIN if link and link.state in FOR_A_PERSON else Exit.TEMPORARY


class _Sending:
    """Rounds of sending and confirming, with their progress in bytes."""

    def __init__(self, parts: Ailasd, meter: Meter) -> None:
        self._parts = parts
        self._meter = meter
        self._left = self._bytes(State.QUEUED)
        meter.begins(self.on_the_way(), self._left)

    def round(self, stop: threading.Event) -> bool:
        """One round; returns whether anything moved."""
        before = self._tally()
        self._parts.uploading.run(stop, alive=self._advance)
        self._advance()
        self._parts.confirming.run(stop)
        return self._tally() != before

    def on_the_way(self) -> int:
        return self._pictures(State.QUEUED) + self._pictures(State.SENT)

    def may_not(self) -> str:
        """Why nothing more may be sent now, if there is nothing else to be done; else ""."""
        picture = self._parts.catalogue.pictures.next_to_send()
        if self._pictures(State.SENT) or picture is None:
            return ""
        return self._parts.pacing.look(need=picture.size).text

    def refused(self) -> int:
        return self._pictures(State.REFUSED)

    def _advance(self) -> None:
        left = self._bytes(State.QUEUED)
        self._meter.advances(max(0, self._left - left))
        self._left = left

    def _tally(self) -> list[dict[str, object]]:
        return self._parts.catalogue.telling.tally()

    def _pictures(self, state: State) -> int:
        return sum(int(str(row["pictures"])) for row in self._tally() if row["state"] == state)

    def _bytes(self, state: State) -> int:
        return sum(int(str(row["bytes"])) for row in self._tally() if row["state"] == state)
