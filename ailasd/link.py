"""The gate: is the private network here, and is that our server? Nothing is sent before both are seen.

Three things must hold: the tunnel is there and the way to the server leads through it; who answers is our Panoramax,
that keeps pictures private and knows our account; and it answered the last time. A captive portal answers 200 to
anything, a dead link costs the stock client 50 s for every picture (FIELD.md, traps 6 and 8): after one silence only
a cheap probe runs.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Final

from ailasd.clock import iso
from ailasd.errors import AilasdError, NeedsHuman, NoLink, OutOfStep, TryLater, WrongServer
from ailasd.logs import Event
from ailasd.recognising import recognise

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ailasd.catalogue import Catalogue
    from ailasd.journal import Journal
    from ailasd.panoramax import Panoramax
    from ailasd.tunnel import Tunnel

FAILURES_THAT_CLOSE: Final = 2
"""A failure over one picture may mean the picture; over two in a row it means the server (its disk is full) or the way
to it (only small packets pass), however well a probe is answered. Each further one doubles the wait."""

HUMAN_WAIT_S: Final = 300.0
"""After "a human must act" look again this seldom: a new token or a repaired server is then noticed on its own."""

SOONEST_S: Final = 1.0
"""After the last probe: a network that changes all the time must not make a storm of them."""

JITTER: Final = 0.2
"""Of each wait: a hundred kits must not come back at the same second after their server was away."""


class Link:
    """Our server, once it was recognised. Used by several threads.

    Args:
        connect: makes a client with the token as it is now; raises ``NeedsHuman`` if there is none.
        tunnel: what every byte leaves through; None: there is none, and nothing protects what is sent.
        dwell: seconds that the tunnel must be there before it is used, and away before what hangs in it is cut.
        probe_every, probe_most: seconds between probes while the link is away: first, and at last.
    """

    def __init__(
        self,
        connect: Callable[[], Panoramax],
        catalogue: Catalogue,
        journal: Journal,
        random: Random,
        *,
        tunnel: Tunnel | None,
        dwell: float,
        probe_every: float,
        probe_most: float,
    ) -> None:
        self._connect = connect
        self._catalogue = catalogue
        self._journal = journal
        self._random = random
        self._tunnel = tunnel
        self._dwell = dwell
        self._probe_every = probe_every
        self._probe_most = max(probe_every, probe_most)
        self._lock = threading.Lock()
        self._server: Panoramax | None = None
        self._asked: Panoramax | None = None  # by a probe, which holds the lock meanwhile
        self._open = False
        self._ended = False
        self._failures = 0  # of pictures, since one arrived
        self._silences = 0  # of questions other than a probe's, since one was answered
        self._misses = 0  # probes, since one was answered
        self._failed = float("-inf")
        self._addresses: list[str] = []
        self._interface: int | None = None
        self._next_probe = float("-inf")
        self._last_probe = float("-inf")
        self._missing: str | None = None
        self._turned = float("-inf")
        self._said: str | None = None
        self._since = self._now()

    def server(self) -> Panoramax | None:
        """Our server if the way to it is open now, probing if it is time to; else None."""
        with self._lock:
            if self._ended or not self._tunnel_is_there():
                return None
            if self._open and (why := self._catalogue.telling.fact("sending_stopped")) is not None:
                self._needs_human(WrongServer(why))
            if not self._open and self._now() >= self._next_probe:
                self._probe()
            return self._server if self._open else None

    def wait(self) -> float:
        """Seconds until it is worth to ask again; 0 while the link is open."""
        with self._lock:
            if self._open:
                return 0.0
            settling = self._turned + self._dwell - self._now()
            if self._missing is not None:
                return settling if settling > 0 else self._probe_every
            return max(0.0, settling, self._next_probe - self._now())

    def at_a_time(self, most: int) -> int:
        """How many pictures may be on their way, of ``most``: after a failure one, until one has arrived."""
        return 1 if self._failures or self._silences else most

    def network_changed(self) -> None:
        """Interfaces, addresses or routes changed: whatever we knew of the way is looked at again, at once."""
        if (asked := self._asked) is not None and self._tunnel_is_another():
            asked.close()  # before the lock: what was asked in a tunnel that is gone is never answered
        with self._lock:
            self._misses = 0
            self._open = False
            self._next_probe = self._last_probe + SOONEST_S

    def answered(self) -> None:
        """Our server answered a question. That does not say that it can take pictures: its disk may be full."""
        with self._lock:
            self._silences = 0

    def arrived(self) -> None:
        """Our server took a picture: all is well."""
        with self._lock:
            self._failures = self._silences = 0

    def failed(self, error: TryLater, *, began: float | None = None) -> None:
        """A request got no answer of our server's, or one that it has trouble.

        Args:
            error: what came instead.
            began: a picture's: when it was sent (monotonic seconds); what was on its way at the last failure tells
                nothing new. None: a question's.
        """
        with self._lock:
            if not self._open or (began is not None and began < self._failed):
                return
            if began is None:
                self._silences += 1
            else:
                self._failures += 1
            self._failed = self._now()
            failures = max(self._failures, self._silences)
            if failures >= FAILURES_THAT_CLOSE:
                self._missed(error, failures - FAILURES_THAT_CLOSE)
            elif isinstance(error, NoLink):  # before another picture is tried, a probe; it says what it finds
                self._open, self._next_probe = False, float("-inf")

    def stopped(self, error: NeedsHuman) -> None:
        """Our server will have nothing of us until a person acted."""
        with self._lock:
            self._needs_human(error)

    def ask(self, question: Callable[[Panoramax], None]) -> bool:
        """Ask our server something that no picture depends on; whether it was there to answer, be it that it cannot.

        Args:
            question: with our server. What it raises is noted here as the link's, or else left: next time, then.
        """
        if (server := self.server()) is None:
            return False
        try:
            question(server)
        except NoLink as error:
            self.failed(error)
            return False
        except NeedsHuman as error:
            self.stopped(error)
            return False
        except AilasdError:
            pass
        return True

    def close(self) -> None:
        """End all connections, for good. Whoever waits for an answer, a probe too, gets ``NoLink`` at once."""
        self._ended = True
        if (server := self._server) is not None:
            server.close()  # before the lock: a probe may hold it until its time-out
        with self._lock:
            self._open = False
            self._hang_up()

    # -- all below with the lock held ---------------------------------------------------------------------------------
    def _now(self) -> float:
        return self._catalogue.clock.monotonic()

    def _tunnel_is_there(self) -> bool:
        """Whether it is, and was for long enough; if it is away for long enough, what hangs in it is cut."""
        if self._tunnel is None:
            return True
        missing, now = self._tunnel.missing(), self._now()
        turned = (missing is None) != (self._missing is None)
        unsettled = now - self._turned < self._dwell  # until now
        if turned:
            self._turned = now
        self._missing = missing
        # at the first look there is nothing to wait for
        steady = now - self._turned >= self._dwell or self._said is None
        if missing is None:
            self._know_again()
        elif steady:
            self._hang_up()
            self._next_probe = float("-inf")  # when it is back
            self._close(Event.LINK_LOST, missing)
        if turned and not steady:
            self._comes_and_goes(missing, told=missing is not None and unsettled)
        return missing is None and steady

    def _comes_and_goes(self, missing: str | None, *, told: bool) -> None:
        """It came or went just now: nothing is begun, and why is known, but what is on its way may yet get through.

        Args:
            missing: why it is away; None: it is back.
            told: it went again before it was used, which is worth an event; a short absence is not.
        """
        assert self._tunnel is not None
        self._open, self._next_probe = False, float("-inf")  # once it stays
        back = f"the tunnel {self._tunnel.interface} is back; if it stays for {self._dwell:g} s, it is used again"
        (self._close if told else self._note)(Event.LINK_LOST, missing or back)

    def _know_again(self) -> None:
        """A tunnel that was switched off and on in an instant is another one: our connections went with the old."""
        assert self._tunnel is not None
        if self._tunnel_is_another():
            if self._interface is not None:
                self._open, self._next_probe = False, float("-inf")
                self._hang_up()
            self._interface = self._tunnel.index()

    def _tunnel_is_another(self) -> bool:
        return self._tunnel is not None and self._tunnel.index() != self._interface

    def _probe(self) -> None:
        self._last_probe = self._now()
        try:
            if self._server is None:
                self._server = self._connect()
            self._asked = self._server
            self._find(self._server)
            self._recognise(self._server)
        except NeedsHuman as error:
            self._needs_human(error)
        except (TryLater, OutOfStep) as error:
            if self._tunnel_is_another():  # the next look says so
                return
            self._missed(error, self._misses)
            self._misses += 1
        else:
            self._open, self._misses = True, 0
            self._say(Event.LINK_BACK, "")
        finally:
            self._asked = None

    def _find(self, server: Panoramax) -> None:
        addresses = server.addresses()
        if self._tunnel and (bypassed := self._tunnel.bypassed(addresses)):
            self._hang_up()  # it was not made for this server: who takes what is on its way?
            raise NoLink(bypassed)
        self._addresses = addresses

    def _recognise(self, server: Panoramax) -> None:
        """It must know our token, be the account that we always were, and keep pictures within the instance."""
        telling = self._catalogue.telling
        if (why := telling.fact("sending_stopped")) is not None:  # `ailasd doctor` wants a person's word first
            raise WrongServer(why)
        account, instance = recognise(server, account=telling.fact("account"), instance=telling.fact("instance"))
        telling.remember("account", account.id)
        telling.remember("addresses", json.dumps({server.url: self._addresses}))  # for when nobody knows its name
        telling.remember("instance", instance.name)
        telling.remember("server_version", instance.version)

    def _missed(self, error: TryLater | OutOfStep, times: int) -> None:
        """No answer, or a bad one, as ``times`` before: the next probe is later than the last, up to ``probe_most``.

        What is on its way is not cut: the failure may be that of one request on a poor link, where another is almost
        through; if it is not, it ends by itself as soon as nothing moves (``NO_PROGRESS_S`` of the client).
        """
        wait = min(self._probe_every * 2.0 ** min(times, 30), self._probe_most)
        wait *= self._random.uniform(1 - JITTER, 1 + JITTER)
        self._next_probe = self._now() + max(wait, getattr(error, "after", None) or 0.0)
        self._close(Event.LINK_LOST, str(error))

    def _needs_human(self, error: NeedsHuman) -> None:
        event = Event.WRONG_SERVER if isinstance(error, WrongServer) else Event.LOGIN_NEEDED
        self._next_probe = self._now() + HUMAN_WAIT_S
        self._close(event, str(error))
        self._hang_up()  # the next probe reads the token again

    def _hang_up(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _close(self, event: Event, why: str) -> None:
        self._open = False
        self._say(event, why)

    def _say(self, event: Event, why: str) -> None:
        if event != self._said:  # once, not at every probe
            now = self._now()
            self._journal.tell(event, problem=why, away_s=now - self._since)
            self._said, self._since = event, now
        self._note(event, why)

    def _note(self, event: Event, why: str) -> None:
        """How it stands now, for who asks: `ailasd status`, the sign, the page."""
        state = {"state": event, "why": why, "at": iso(self._catalogue.clock.now())}
        self._catalogue.telling.remember("link", json.dumps(state))
