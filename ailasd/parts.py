"""All parts, built from a config and connected to each other. What runs them, and when, is not known here."""

from __future__ import annotations

import json
from dataclasses import replace
from random import SystemRandom
from typing import TYPE_CHECKING, Self

from ailasd import __version__, credential
from ailasd.attending import Attending
from ailasd.blurring import Blurring
from ailasd.catalogue import Catalogue
from ailasd.cleaning import Cleaning
from ailasd.clock import SystemClock
from ailasd.confirming import Confirming
from ailasd.errors import NotLoggedIn
from ailasd.heartbeat import Heartbeat
from ailasd.importing import Importing
from ailasd.journal import Journal
from ailasd.link import Link
from ailasd.metered import Metered
from ailasd.metrics import Metrics
from ailasd.ordering import Order
from ailasd.pacing import Pacing
from ailasd.panoramax import NO_PROGRESS_S
from ailasd.panoramax.examining import Examiner
from ailasd.panoramax.posting import Posting
from ailasd.reported import Reported
from ailasd.reports import Reports
from ailasd.sorting import Sorting
from ailasd.sources.inbox import Inbox
from ailasd.sources.place import Place
from ailasd.storage import Storage
from ailasd.tracking import Tracking
from ailasd.triage import Rules
from ailasd.tunnel import Tunnel
from ailasd.uploading import Uploading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from random import Random

    from ailasd.attending import Hands, Plugged
    from ailasd.clock import Clock
    from ailasd.config import Config
    from ailasd.sources import Source


class Ailasd:
    """All parts, connected. Used by the daemon, by single commands, and by tests.

    Args:
        config: as ``config.load`` or ``Config()`` gives it.
        clock, random: law 8.
        sources: instead of the config's folders.
        no_progress_s: seconds without any progress until a connection counts as dead.

    Raises:
        CatalogueError: the storage folder or the catalogue cannot be used.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        sources: Sequence[Source] | None = None,
        no_progress_s: float = NO_PROGRESS_S,
    ) -> None:
        self._no_progress_s = no_progress_s
        self.config = config
        self.clock = clock or SystemClock()
        self.storage = Storage(config.storage.folder)
        self.storage.prepare()
        self.catalogue = Catalogue(self.storage.catalogue, self.clock)
        self.journal = Journal(self.catalogue)
        self._attending: Attending | None = None
        self.inbox = Inbox(config.inbox.folder, self.clock) if config.inbox.folder and sources is None else None
        # each of the steps that read cards has its own view of them: see Place
        self.sources = [*self._cards(sources), *([self.inbox.another()] if self.inbox else [])]
        random = random or SystemRandom()
        self.link = Link(
            self._connect,
            self.catalogue,
            self.journal,
            random,
            tunnel=Tunnel(config.vpn.interface) if config.vpn.interface else None,
            dwell=config.vpn.dwell.total_seconds(),
            probe_every=config.upload.probe_every.total_seconds(),
            probe_most=config.upload.probe_most.total_seconds(),
        )
        self.tracking = Tracking(self.catalogue, self.journal)
        self.importing = [self.importing_from(source) for source in self.sources]
        self.sorting = Sorting(
            self.catalogue,
            self.storage,
            self.journal,
            kit=config.kit,
            title=config.drives.title,
            gap=config.drives.gap,
            most=config.drives.most_pictures,
            rules=_rules(config),
            order=Order(config.upload.thin, config.upload.order == "newest", config.zone),
            report=Reports(self.catalogue, self.storage, self.journal, config.language, config.zone).write,
        )
        self.pacing = Pacing(
            self.catalogue, self.journal, config.manners, metered=Metered(config.upload.metered_interfaces)
        )
        self.uploading = Uploading(
            self.catalogue,
            self.storage,
            self.journal,
            self.link,
            random,
            pacing=self.pacing,
            about={"kit": config.kit, "ailasd_version": __version__},
            semantics=config.drives.semantics,
            connections=config.upload.connections,
            most_attempts=config.upload.most_attempts,
        )
        self.confirming = Confirming(self.catalogue, self.journal, self.link)
        self.blurring = Blurring(
            self.catalogue, self.storage, self.link, config.manners, expected=config.server.expect_blur
        )
        self.reported = Reported(self.catalogue, self.journal, self.link)
        self.heartbeat = self._heartbeat() if config.heartbeat.url and config.server.url else None
        self.metrics = (
            Metrics(config, self.catalogue, self.storage, self.journal, config.metrics.file)
            if config.metrics.file
            else None
        )
        self.cleaning = Cleaning(
            self.catalogue,
            self.storage,
            self.journal,
            self.link,
            self._cards(sources),  # not the inbox: its owner was told that nothing in it is changed
            media=self._to_clear,
            card=None if config.cleaning.card == "off" else config.cleaning.card,
            local_after=config.cleaning.local_after,
            local_below=config.cleaning.local_below,
        )

    def _cards(self, given: Sequence[Source] | None) -> list[Source]:
        return [Place(folder) for folder in self.config.sources.folders] if given is None else list(given)

    def importing_from(self, source: Source) -> Importing:
        """The import step for one more source."""
        return Importing(
            source,
            self.catalogue,
            self.storage,
            self.journal,
            reserve=self.config.storage.reserve,
            # elsewhere nobody but its owner deletes anything, who need not explain it
            suspects=self.config.cleaning.card != "off" and not isinstance(source, Inbox),
        )

    def attend(self, plugged: Plugged, hands: Hands) -> Attending:
        """The step for what is plugged in; cleaning may clear the cards that it knows from now on."""
        self._attending = Attending(self.catalogue, self.journal, self.clock, plugged, hands)
        return self._attending

    def _to_clear(self, wanted: Callable[[int], bool]) -> Iterable[AbstractContextManager[Source]]:
        return self._attending.to_clear(wanted) if self._attending else ()

    def _connect(self) -> Examiner:
        if not self.config.server.url:
            raise NotLoggedIn("no server is configured (server.url): pictures are copied and kept, and nothing is sent")
        known = json.loads(self.catalogue.telling.fact("addresses") or "{}")
        return Examiner(
            self.config.server.url,
            credential.load(self.config),
            agent=f"ailasd/{__version__}",
            way=replace(self.config.way, known=tuple(known.get(self.config.server.url, ()))),
            no_progress_s=self._no_progress_s,
        )

    def _heartbeat(self) -> Heartbeat:
        config = self.config
        posting = Posting(config.heartbeat.url, config.way_of_heartbeat, agent=f"ailasd/{__version__}")
        return Heartbeat(config, self.catalogue, self.storage, self.journal, self.link, posting)

    def hang_up(self) -> None:
        """End all connections, for good; whoever waits for an answer gets an error at once."""
        self.link.close()
        if self.heartbeat:
            self.heartbeat.close()

    def close(self) -> None:
        """Close connections and the catalogue."""
        self.hang_up()
        self.catalogue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _rules(config: Config) -> Rules:
    triage = config.triage
    return Rules(
        zone=config.zone,
        clock_tolerance=triage.clock_tolerance,
        parked_after=triage.parked_after,
        parked_within_m=triage.parked_within_m,
        parked_keep_every=triage.parked_keep_every,
        fill_gap=triage.fill_gap,
        fastest_kmh=triage.fastest_kmh,
        track_gap=config.tracks.max_gap,
        camera_offset=config.tracks.camera_offset,
    )
