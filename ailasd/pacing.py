"""Holds sending to our manners: asks them anew every second, slows the throttle, closes it, and counts every byte.

A picture's bytes are counted before the first of them goes, and those that did not go are taken off after it. So a kill
may count a picture too much, never too little, and what is under way needs no reserve of its own.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Self

from ailasd.clock import boot_id
from ailasd.errors import NotNow
from ailasd.logs import Event
from ailasd.manners import AROUND, Leave, leave
from ailasd.panoramax import SLOWEST
from ailasd.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date
    from types import TracebackType

    from ailasd.catalogue import Catalogue
    from ailasd.journal import Journal
    from ailasd.manners import Goodput, Rules, Situation

UNUSUAL: Final = 16
"""So many times slower than usual is given up. Eight connections share a link, and any may have a bad minute."""
SLOWEST_OF_ALL: Final = 1024.0
FASTEST_OF_ALL: Final = 64 * 1024.0
"""Bytes per second between which the slowest that is waited for lies: 12 MB get 3 h at most, 3 min at least."""

MOSTLY: Final = 0.2
"""The share of a transfer's time in which we held it back, above which its time says nothing of the link."""


class Pacing:
    """One for all that is sent. ``look`` and ``transfer`` are for the one thread that begins transfers.

    Args:
        metered: the interface that leads out and is metered, or None.
        boot: which boot of this machine it is.
        monotonic: seconds, real ones: those of sockets and the throttle.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        journal: Journal,
        rules: Rules,
        *,
        metered: Callable[[], str | None],
        throttle: Throttle | None = None,
        boot: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._journal = journal
        self._rules = rules
        self._metered = metered
        self.throttle = throttle or Throttle()
        self._boot = boot_id() if boot is None else boot
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._goodput = catalogue.traffic.goodput()
        self._under_way = 0
        self._since = 0.0  # when something was under way last, or since when its time is not accounted for
        self._said: Leave | None = None
        self._metered_was = catalogue.telling.fact("metered")

    def look(self, *, need: int = 0) -> Leave:
        """Whether sending may go on, and so many bytes more; what is under way is slowed down or stopped.

        Args:
            need: bytes; what is under way is not stopped for them.
        """
        how = self._situation()
        now = leave(self._rules, how)
        if now.why is None:
            self.throttle.open(now.rate)
            now = leave(self._rules, how, need=need) if need else now
        else:
            self.throttle.close(now.text)
        if now.why is not None:  # that it goes on is told when something is really sent: a budget may have no room
            self._tell(now)
        return now

    def too_large(self, size: int) -> str | None:
        """Why a picture of so many bytes can never be sent, in plain words; or None."""
        budget = self._rules.too_large(size + AROUND)
        return f"it is larger than the whole of {budget}" if budget else None

    def transfer(self, size: int) -> Transfer | Leave:
        """Count a picture of so many bytes as sent, and give what it is to be sent with; or why it may not be."""
        now = self.look(need=size + AROUND)
        if now.why is not None:
            return now
        self._tell(now)
        day = self._today()
        self._catalogue.traffic.count(day, sent=size + AROUND)
        return Transfer(self, size, day, slowest=slowest(self._goodput))

    # -- of a transfer ------------------------------------------------------------------------------------------------
    def began(self) -> float:
        """A transfer begins; returns when that is."""
        with self._lock:
            now = self._monotonic()
            if not self._under_way:
                self._since = now
            self._under_way += 1
            return now

    def ended(self, transfer: Transfer, *, arrived: int, counts: bool, held: bool) -> None:
        """A transfer ended.

        Args:
            transfer: which.
            arrived: bytes that the server acknowledged.
            counts: whether its time says something of the link.
            held: whether we mostly held it back ourselves.
        """
        with self._lock:
            now = self._monotonic()
            spent, self._since = now - self._since, now
            self._under_way -= 1
            rate = self.throttle.rate
            if counts and held and rate is not None:
                self._goodput = self._goodput.at_least(rate, spent)
            elif counts and not held:
                self._goodput = self._goodput.after(arrived, spent)
            measured = self._goodput
        # never more than was counted before: a budget that is overrun by a header would end what is under way
        went = min(transfer.sent, transfer.size) + AROUND if transfer.sent else 0
        with self._catalogue.writing():
            self._catalogue.traffic.count(transfer.day, sent=went - transfer.size - AROUND, useful=arrived)
            if counts:
                self._catalogue.traffic.measured(measured)

    # -- how it stands ------------------------------------------------------------------------------------------------
    def _situation(self) -> Situation:
        metered = None if self._rules.metered else self._metered()
        if metered != self._metered_was:  # for `ailasd status`, which does not ask anybody
            self._catalogue.traffic.found_metered(metered)
            self._metered_was = metered
        if self._catalogue.clock.trusted():
            self._catalogue.traffic.gather(self._today())
        return self._catalogue.traffic.situation(self._rules, boot=self._boot)

    def _today(self) -> date:
        return self._catalogue.clock.now().astimezone(self._rules.zone).date()

    def _tell(self, now: Leave) -> None:
        was, self._said = self._said, now
        if now.why is not None and (was is None or was.why != now.why):
            self._journal.tell(Event.SENDING_WAITS, problem=now.text)
        elif now.why is None and was is not None and was.why is not None:
            self._journal.tell(Event.SENDING_GOES_ON)


class Transfer:
    """One picture on its way: the pace of its body (``panoramax.body.Pace``), and how its bytes are counted."""

    def __init__(self, pacing: Pacing, size: int, day: date, *, slowest: float) -> None:
        self._pacing = pacing
        self.size = size
        self.day = day
        self.slowest = slowest
        self.held_s = 0.0
        self.sent = 0
        self._arrived = False

    def __call__(self, block: bytes) -> Iterator[bytes]:
        """The block, as fast as it may go.

        Raises:
            NotNow: nothing of ours may go any more.
        """
        pieces = self._pacing.throttle.pieces(block)
        while True:
            asked = time.monotonic()
            piece = next(pieces, None)
            self.held_s += time.monotonic() - asked
            if piece is None:
                return
            self.sent += len(piece)
            yield piece

    def arrived(self) -> None:
        """The server acknowledged it."""
        self._arrived = True

    def __enter__(self) -> Self:
        self._began = self._pacing.began()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        took = max(time.monotonic() - self._began, 1e-6)
        self._pacing.ended(
            self,
            arrived=self.size if self._arrived else 0,
            counts=self.sent > 0 and not isinstance(error, NotNow),
            held=self.held_s > MOSTLY * took,
        )


def slowest(usual: Goodput) -> float:
    """Bytes per second below which a transfer is given up."""
    if not usual.rate:
        return SLOWEST
    return min(max(usual.rate / UNUSUAL, SLOWEST_OF_ALL), FASTEST_OF_ALL)
