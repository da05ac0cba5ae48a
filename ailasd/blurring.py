"""Step: once a day, does the server still blur? Only where `server.expect_blur` says that it should.

It looks as soon as enough pictures were confirmed since its last look: before the rest of the day's are sent. What
follows from it is the doctor's rule, see ``doctor.blur``.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ailasd.clock import boot_id, iso
from ailasd.doctor import blur
from ailasd.errors import NoLink
from ailasd.manners import leave
from ailasd.model import Round
from ailasd.panoramax.examining import Examiner

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from ailasd.catalogue import Catalogue
    from ailasd.link import Link
    from ailasd.manners import Rules
    from ailasd.model import Picture
    from ailasd.panoramax import Panoramax
    from ailasd.storage import Storage

LOOKED: Final = "blur_looked"
"""The fact that says when it looked last, as JSON: {"day": local, "at": ISO, UTC}; "failed": when it could not."""

AGAIN: Final = timedelta(hours=6)
"""After a look that failed: over a slow way, or one that breaks, each fetches most of a picture for nothing."""


class Blurring:
    """Looks at what the server makes of our pictures.

    Args:
        manners: when anything may be asked for: a picture of 6-12 MB comes back.
        expected: whether the server should blur; else nothing is ever looked at.
    """

    def __init__(self, catalogue: Catalogue, storage: Storage, link: Link, manners: Rules, *, expected: bool) -> None:
        self._catalogue = catalogue
        self._storage = storage
        self._link = link
        self._manners = manners
        self._expected = expected

    def run(self, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> Round:
        """Look, if it did not today and there is enough new to look at."""
        alive()
        if not self._expected or stop.is_set():
            return Round(worked=False)
        now = self._catalogue.clock.now()
        today = now.astimezone(self._manners.zone).date().isoformat()
        before = json.loads(self._catalogue.telling.fact(LOOKED) or "{}")
        if before.get("day") == today or _has_just_failed(before, now) or not (sample := self._sample(before, now)):
            return Round(worked=False)
        broken: list[NoLink] = []

        def look(server: Panoramax) -> None:
            try:
                self._look(server, sample, alive)
            except NoLink as error:  # the link is not told: what is of 1 KB may well come through
                broken.append(error)

        if self._link.ask(look) and not (broken and stop.is_set()):
            looked = {**before, "failed": iso(now)} if broken else {"day": today, "at": iso(now)}
            self._catalogue.telling.remember(LOOKED, json.dumps(looked))
        return Round(worked=False)

    def _look(self, server: Panoramax, sample: list[Picture], alive: Callable[[], None]) -> None:
        """It may stop all sending, and the link with it, which tells why; the doctor says more."""
        assert isinstance(server, Examiner)
        found = blur.compare(server, sample, self._storage, alive=alive)
        blur.judge(self._catalogue, *found, expected=True)

    def _sample(self, before: dict[str, str], now: datetime) -> list[Picture]:
        """What to look at now: nothing before it is worth it, or while nothing may be asked for."""
        after = before.get("at", "")
        sample = self._catalogue.pictures.confirmed_sample(
            blur.ENOUGH,
            after=after if after <= iso(now) else "",  # our clock was wrong then
        )
        how = self._catalogue.traffic.situation(self._manners, boot=boot_id())
        return sample if len(sample) == blur.ENOUGH and leave(self._manners, how).why is None else []


def _has_just_failed(before: dict[str, str], now: datetime) -> bool:
    """Whether the last look did; in the future it did not: our clock was wrong then."""
    failed = before.get("failed")
    return failed is not None and timedelta() <= now - datetime.fromisoformat(failed) < AGAIN
