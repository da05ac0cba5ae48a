"""The embedded receiver: a private Panoramax that holds nothing, for ``ailasd demo`` and for the tests.

It speaks HTTP on 127.0.0.1, remembers what arrived (names, checksums, sizes) and forgets the bytes. ``receiver_store``
holds the rules, ``receiver_tokens`` the people, ``receiver_http`` the calls, ``receiver_faults`` what can be made to go
wrong. That it answers as a real Panoramax does is held by ``tests/test_panoramax_contract.py``, run against both.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self

from ailasd.demo.receiver_faults import Call, Fault, Kind
from ailasd.demo.receiver_http import Listener, Request
from ailasd.demo.receiver_store import Store
from ailasd.demo.receiver_tokens import REVOKED, UNCLAIMED

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ailasd.model import Photo

MOST_REQUESTS: Final = 20_000
"""The log of requests is for tests; a demo of a week must not fill the memory with it."""


def _read(data: bytes) -> Photo:
    from ailasd import photo  # noqa: PLC0415  (late: Pillow is only needed once a picture comes)

    return photo.read(data)


class Receiver:
    """A server of its own from ``with Receiver() as receiver`` on. Thread-safe."""

    def __init__(self, *, reader: Callable[[bytes], Photo] = _read, dispatch_after: float | None = 0.0) -> None:
        """Listen on a free port.

        Args:
            reader: the verdict on a picture; by default our own ``photo.read``.
            dispatch_after: seconds from the completion of a set to its dispatch; None: only ``dispatch()`` does it.
        """
        self.store = Store(reader=reader, dispatch_after=dispatch_after)
        self.requests: deque[Request] = deque(maxlen=MOST_REQUESTS)
        self.bytes_received = 0
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._listener: Listener | None = Listener(self, port=0)
        self._port = self._listener.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where it listens, or listened before it went away."""
        return f"http://127.0.0.1:{self._port}"

    def close(self) -> None:
        """Stop listening and drop every connection, also those that a fault keeps waiting."""
        self.away()

    def away(self) -> None:
        """The network is gone: connections are refused, the open ones break."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def back(self) -> None:
        """The network is there again: same port, nothing forgotten."""
        if self._listener is None:
            self._listener = Listener(self, port=self._port)

    # -- people and rules --------------------------------------------------------------------------------------------
    def token(self, account: str = "collector") -> str:
        """A fresh token of the account of that name, which is made if need be."""
        with self.store.lock:
            return self.store.tokens.new(self.store.tokens.account(account))[0]

    def unclaimed_token(self) -> str:
        """A token that nobody took as theirs yet: 403."""
        with self.store.lock:
            return self.store.tokens.new(UNCLAIMED)[0]

    def revoke(self, token: str) -> None:
        """From now on this token is 403."""
        self.store.tokens.reject(token, REVOKED)

    def let_expire(self, token: str) -> None:
        """From now on this token is 403 for its age: a real 2.15.1 knows no such tokens, a later one may."""
        self.store.tokens.reject(token, "Token has expired")

    def excluded_area(self, west: float, south: float, east: float, north: float) -> AbstractContextManager[None]:
        """Nobody may upload pictures from within this box (degrees) as long as the context lasts."""
        return self.store.excluded_area(west, south, east, north)

    # -- what it has -------------------------------------------------------------------------------------------------
    def holds(self) -> dict[str, int]:
        """How many copies of each content it accepted and still has, by md5."""
        return self.store.holds()

    def dispatch(self) -> None:
        """Do at once what the worker does later: make sequences of the completed sets."""
        self.store.dispatch()

    def lose(self, picture: str) -> None:
        """Lose a picture (by id): its row of the listing has neither picture nor rejection."""
        self.store.lose(picture)

    def lose_picture(self, md5: str) -> None:
        """The same, by content."""
        self.lose(self.store.picture_of(md5))

    # -- what goes wrong ---------------------------------------------------------------------------------------------
    def fault(self, match: Call, kind: Kind, *, times: int | None = 1, **details: Any) -> Fault:
        """Let the next ``times`` such calls go wrong (None: all, until cleared). Earlier faults strike first.

        Args:
            match: which call.
            kind: what goes wrong, see ``receiver_faults.Kind``.
            times: how often.
            details: further fields of ``Fault``: ``code``, ``body``, ``headers``, ``seconds``, ``location``, ``early``.
        """
        made = Fault(match, kind, left=times, **details)
        with self._lock:
            self._faults.append(made)
        return made

    def clear_faults(self) -> None:
        """From now on all goes well."""
        with self._lock:
            self._faults.clear()

    def fault_for(self, call: str) -> Fault | None:
        """The fault that strikes this call, if any (for the listener)."""
        with self._lock:
            return next((fault for fault in self._faults if fault.take(call)), None)

    def note(self, request: Request) -> None:
        """Remember a request as it comes (for the listener)."""
        with self._lock:
            self.requests.append(request)

    def count(self, received: int) -> None:
        """Add to the bytes of bodies received (for the listener)."""
        with self._lock:
            self.bytes_received += received
