"""Step: tells a place of the project's own that this kit lives, and how it stands. Only while the gate is open.

It goes through the tunnel like everything else, on a connection of its own, and has about 1 KB: no upload waits for it.
No names, no positions, and never the server's token.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ailasd import __version__
from ailasd.credential import for_heartbeat
from ailasd.errors import AilasdError
from ailasd.logs import Event
from ailasd.model import Round
from ailasd.status import standing
from ailasd.veil import Veil

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from ailasd.catalogue import Catalogue
    from ailasd.config import Config
    from ailasd.journal import Journal
    from ailasd.link import Link
    from ailasd.panoramax.posting import Posting
    from ailasd.status import Status
    from ailasd.storage import Storage

GATE_S: Final = 60.0
"""How soon it is looked again whether the gate is open."""


def document(status: Status, *, clock_trusted: bool, last_error: str | None) -> dict[str, Any]:
    """What is told. Times are ISO 8601 in UTC, by the kit's own clock."""
    now, oldest = datetime.fromisoformat(status.at), status.oldest_waiting
    card = status.cards[0] if status.cards else None
    return {
        "kit": status.kit,
        "version": __version__,
        "at": status.at,
        "clock_trusted": clock_trusted,
        "queue_bytes": status.sending.left_bytes,
        "oldest_waiting_s": None if oldest is None else round((now - datetime.fromisoformat(oldest)).total_seconds()),
        "waiting": status.waiting.word,
        "last_card": None if card is None else {"id": card.id, "seen": card.last_seen, "outcome": card.outcome},
        "free_bytes": status.free_bytes,
        "needs": len(status.needs),
        "last_error": None if last_error is None else Veil()(last_error),
    }


class Heartbeat:
    """Beats.

    Args:
        posting: to the place.
    """

    def __init__(  # noqa: PLR0917  (the parts of a kit)
        self, config: Config, catalogue: Catalogue, storage: Storage, journal: Journal, link: Link, posting: Posting
    ) -> None:
        self._config = config
        self._catalogue = catalogue
        self._storage = storage
        self._journal = journal
        self._link = link
        self._posting = posting
        self._next = float("-inf")
        self._told = False

    def run(self, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> Round:
        """One beat, if it is time for one and the gate is open. That nobody hears it is told once."""
        alive()
        clock = self._catalogue.clock
        if stop.is_set() or clock.monotonic() < self._next:
            return Round(worked=False)
        if self._link.server() is None:
            return Round(worked=False, again_in=GATE_S)
        status = standing(self._config, self._catalogue, self._storage)
        error = self._catalogue.telling.latest_error()
        said = document(status, clock_trusted=clock.trusted(), last_error=error["last_error"] if error else None)
        try:
            self._posting.post(said, token=for_heartbeat(self._config))
        except AilasdError as problem:
            if not self._told:
                self._journal.tell(Event.HEARTBEAT_UNHEARD, problem=str(problem))
            self._told = True
        else:
            self._told = False
        self._next = clock.monotonic() + self._config.heartbeat.every.total_seconds()
        return Round(worked=False)

    def close(self) -> None:
        """End what is under way."""
        self._posting.cut()
