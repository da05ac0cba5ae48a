"""What Prometheus may know of a kit: a text file for node_exporter's textfile collector.

It is replaced as a whole, so that nobody ever reads half of it. Names of cards, drives and files are not in it, and no
positions: counts, bytes, seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from ailasd import __version__
from ailasd.disk import write_whole
from ailasd.logs import Event, mask
from ailasd.model import Round
from ailasd.status import standing
from ailasd.waiting import THERE

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ailasd.catalogue import Catalogue
    from ailasd.config import Config
    from ailasd.journal import Journal
    from ailasd.status import Status
    from ailasd.storage import Storage

HELP: Final = {
    "ailasd_build_info": "Which ailasd, of which kit.",
    "ailasd_written_timestamp_seconds": "When this was written, by the kit's own clock.",
    "ailasd_clock_trusted": "Whether anybody vouches for the kit's clock (1) or not (0).",
    "ailasd_pictures": "Pictures by state, and by reason where they are held or refused.",
    "ailasd_picture_bytes": "Bytes of the same.",
    "ailasd_queue_bytes": "Bytes of the pictures that wait to be sent.",
    "ailasd_queue_oldest_timestamp_seconds": "When the oldest picture that waits to be sent was taken.",
    "ailasd_waiting": "1 for the one reason why not everything is sent.",
    "ailasd_link_up": "Whether the server was there when it was last looked for.",
    "ailasd_link_looked_timestamp_seconds": "When that was.",
    "ailasd_sent_bytes": "Bytes sent on this day and in this month, useful or not.",
    "ailasd_budget_bytes": "Bytes that may be sent on a day and in a month, where that is limited.",
    "ailasd_goodput_bytes_per_second": "Bytes of pictures that arrived while something was sent, lately.",
    "ailasd_storage_free_bytes": "Free where copies lie.",
    "ailasd_storage_reserve_bytes": "So many of them are kept free.",
    "ailasd_media": "Cards and cameras that are plugged in, by how it stands with them.",
    "ailasd_card_seen_timestamp_seconds": "When a card was last seen.",
    "ailasd_needs": "Things that wait for a person; ailasd status names them.",
    "ailasd_faults": "Counts that do not add up, which is a fault of ailasd.",
}
"""All metrics, each a gauge: what is there at the moment."""

Sample = tuple[str, "Mapping[str, str]", float]
"""Name, labels, value."""


def as_text(status: Status, *, reserve: int, clock_trusted: bool) -> str:
    """The file: each metric with its help and its type, those without a value left out."""
    lines: list[str] = []
    last = None
    for name, labels, value in _samples(status, reserve, clock_trusted=clock_trusted):
        if name != last:
            lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge"]
            last = name
        told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{told}}} {value:.15g}" if told else f"{name} {value:.15g}")
    return "\n".join(lines) + "\n"


def _samples(status: Status, reserve: int, *, clock_trusted: bool) -> Iterator[Sample]:
    yield "ailasd_build_info", {"version": __version__, "kit": status.kit}, 1
    yield "ailasd_written_timestamp_seconds", {}, _seconds(status.at)
    yield "ailasd_clock_trusted", {}, clock_trusted
    for name in ("pictures", "bytes"):
        for count in status.counts:
            metric = {"pictures": "ailasd_pictures", "bytes": "ailasd_picture_bytes"}[name]
            yield metric, {"state": count.state, "reason": count.reason}, getattr(count, name)
    yield from _sending(status)
    if status.free_bytes is not None:
        yield "ailasd_storage_free_bytes", {}, status.free_bytes
    yield "ailasd_storage_reserve_bytes", {}, reserve
    states = [medium.state for medium in status.media]
    for state in sorted(set(states)):
        yield "ailasd_media", {"state": state}, states.count(state)
    if status.cards:
        yield "ailasd_card_seen_timestamp_seconds", {}, max(_seconds(card.last_seen) for card in status.cards)
    yield "ailasd_needs", {}, len(status.needs)
    yield "ailasd_faults", {}, len(status.wrong)


def _sending(status: Status) -> Iterator[Sample]:
    sending = status.sending
    yield "ailasd_queue_bytes", {}, sending.left_bytes
    if status.oldest_waiting:
        yield "ailasd_queue_oldest_timestamp_seconds", {}, _seconds(status.oldest_waiting)
    yield "ailasd_waiting", {"reason": status.waiting.word}, 1
    if status.link is not None:
        yield "ailasd_link_up", {}, status.link.state == THERE
        yield "ailasd_link_looked_timestamp_seconds", {}, _seconds(status.link.at)
    yield "ailasd_sent_bytes", {"period": "day"}, sending.sent_today
    yield "ailasd_sent_bytes", {"period": "month"}, sending.sent_this_month
    for period, budget in (("day", sending.per_day), ("month", sending.per_month)):
        if budget is not None:
            yield "ailasd_budget_bytes", {"period": period}, budget
    if sending.measured is not None:
        yield "ailasd_goodput_bytes_per_second", {}, sending.measured


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _escaped(text: str) -> str:
    return mask(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Metrics:
    """Step: writes the file. If it cannot be written, that is said once, and tried again."""

    def __init__(self, config: Config, catalogue: Catalogue, storage: Storage, journal: Journal, file: Path) -> None:
        self._config = config
        self._catalogue = catalogue
        self._storage = storage
        self._journal = journal
        self._file = file
        self._told = False

    def run(self, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> Round:  # noqa: ARG002
        """Write it anew."""
        alive()
        status = standing(self._config, self._catalogue, self._storage)
        text = as_text(status, reserve=self._config.storage.reserve, clock_trusted=self._catalogue.clock.trusted())
        try:
            write_whole(self._file, text.encode(), mode=0o644)
        except OSError as error:
            if not self._told:
                problem = f"{self._file} cannot be written: {error.strerror or error}"
                self._journal.tell(Event.STEP_WAITS, step="metrics", problem=problem)
            self._told = True
        else:
            self._told = False
        return Round(worked=False)
