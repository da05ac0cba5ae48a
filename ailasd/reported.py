"""Step: once a day, has anybody reported pictures of ours on the server? A report may hide them there at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ailasd.logs import Event
from ailasd.model import Round
from ailasd.needs import REPORTS
from ailasd.panoramax.examining import Examiner

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

    from ailasd.catalogue import Catalogue
    from ailasd.journal import Journal
    from ailasd.link import Link
    from ailasd.panoramax import Panoramax
    from ailasd.panoramax.examining import Report

EVERY_S: Final = 86_400.0
"""People report seldom, and read the status seldom; an answer has 1 KB."""


class Reported:
    """Keeps in the catalogue what is reported, for the status."""

    def __init__(self, catalogue: Catalogue, journal: Journal, link: Link) -> None:
        self._catalogue = catalogue
        self._journal = journal
        self._link = link
        self._next = float("-inf")

    def run(self, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> Round:
        """Ask, if it is time to and something of ours can be there."""
        alive()
        now = self._catalogue.clock.monotonic()
        due = not stop.is_set() and now >= self._next
        if due and self._catalogue.pictures.confirmed_sample(1) and self._link.ask(self._ask):
            self._next = now + EVERY_S
        return Round(worked=False)

    def _ask(self, server: Panoramax) -> None:
        assert isinstance(server, Examiner)
        self._note(server.reports())

    def _note(self, reports: Iterable[Report]) -> None:
        """Those over pictures and sequences of this kit: an account may be that of several kits."""
        before = {one["id"] for one in json.loads(self._catalogue.telling.fact(REPORTS) or "[]")}
        found = []
        for report in reports:
            known = self._catalogue.telling.on_server(report.picture or "", report.collection or "")
            if known is None:
                continue
            what = known["name"] or f"the sequence {known['title']}"
            found.append({
                "id": report.id, "issue": report.issue, "hides": report.hides, "drive": known["drive"],
                "what": known["name"] or known["title"], "md5": known["md5"],
            })  # fmt: skip
            if report.id not in before:
                self._journal.tell(
                    Event.REPORTED, picture_id=known["id"], drive=known["drive"], what=what, issue=report.issue
                )
        self._catalogue.telling.remember(REPORTS, json.dumps(found) if found else None)
