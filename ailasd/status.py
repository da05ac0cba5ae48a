"""One honest summary, for the command line, for scripts and for what shows it later. Values; ``wording`` says them.

Reads what the catalogue keeps ready (the tally, facts, cards, the last drives), never all pictures: it must be there at
once on a small Pi with a million of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

from ailasd.clock import boot_id, iso
from ailasd.manners import AROUND, HORIZON, Rules, leave, time_to_send
from ailasd.model import MAY_BE_PICTURES, State
from ailasd.needs import REPORTS, Need, what_is_needed, what_was_reported
from ailasd.waiting import Waiting, why_waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ailasd.catalogue import Catalogue
    from ailasd.catalogue.database import Row
    from ailasd.config import Config
    from ailasd.manners import Leave, Situation
    from ailasd.storage import Storage

MOST_CARDS: Final = 2
"""The cards of which every file is looked up: those that somebody may hold in the hand right now."""
MOST_FILES: Final = 10_000
"""Files looked up on each of them: more than a day's pictures (7 000), and 20 ms."""
MOST_DRIVES: Final = 5

WHOLE: Final = "whole"
"""``visit.outcome`` of a pass that got to the end of the card, as the schema says."""


@dataclass(frozen=True, slots=True)
class Count:
    """Pictures in one state for one reason ("": none)."""

    state: str
    reason: str
    pictures: int
    bytes: int


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """The way to the server: ``state`` is the name of the last event about it, ``at`` when it was last tried."""

    state: str
    why: str
    at: str


@dataclass(frozen=True, slots=True)
class SendingStatus:
    """How far sending is, and what holds it.

    Attributes:
        left_bytes: of the pictures that wait to be sent.
        sent_today, sent_this_month: bytes, useful and useless alike; of ``per_day`` and ``per_month`` (None: no limit).
        limit: bytes a second that may be sent now; None: as many as the link takes.
        measured: bytes a second that arrived lately while something was sent; None: not known yet.
        takes_s: seconds until all is sent, if the link stays; None: see ``estimate``.
        estimate: "known", "unknown" (nothing was measured yet), "never" (with these hours), "beyond" (three months).
        by_hand_s: seconds for which a person lifted the limits; 0: nobody did.
    """

    left_bytes: int
    sent_today: int
    sent_this_month: int
    per_day: int | None
    per_month: int | None
    limit: int | None
    measured: int | None
    takes_s: float | None
    estimate: str
    by_hand_s: float


@dataclass(frozen=True, slots=True)
class MediumStatus:
    """Something that is plugged in: ``state`` is a word of ``attending.Stand``, ``card`` which card it is."""

    label: str
    state: str
    problem: str | None
    card: int | None
    since: str


@dataclass(frozen=True, slots=True)
class CardStatus:
    """A card at its last visit, and what became of its pictures.

    Attributes:
        outcome: "whole", why the visit ended early, or None: it is being read, or that was cut off.
        left_s: while it is being read, seconds until it is, at the pace so far; None: not known.
        left: reason -> files that were left on it.
        files: picture files of it that we know and did not delete ourselves; None: not looked up.
        confirmed: how many of them the server holds, proven.
        not_copied: how many were never copied.
        all_looked_up: False if the card has more files than were looked up.
    """

    id: int
    label: str
    last_seen: str
    outcome: str | None
    on_card: int
    copied: int
    known: int
    left: Mapping[str, int]
    cleaning_stopped: str | None
    left_s: float | None = None
    files: int | None = None
    bytes: int = 0
    confirmed: int = 0
    confirmed_bytes: int = 0
    not_copied: int = 0
    all_looked_up: bool = True

    @property
    def pictures_on_it(self) -> int:
        """Those that are or shall be here: all files but what is left on it."""
        return self.on_card - sum(self.left.values())

    @property
    def may_clear(self) -> bool:
        """Whether the server holds every picture that is on it; videos and the like are never copied."""
        return self.all_read and bool(self.files) and self.confirmed == self.files

    @property
    def all_read(self) -> bool:
        """Whether nothing on it is unknown to us that may be a picture."""
        return self.outcome == WHOLE and self.all_looked_up and not self.not_seen

    @property
    def not_seen(self) -> int:
        """Files and folders on it that may be or have pictures, and could not be read."""
        return sum(self.left.get(reason, 0) for reason in MAY_BE_PICTURES)


@dataclass(frozen=True, slots=True)
class DriveStatus:
    """A drive: ``states`` are its pictures by state, ``clock`` what the capture-time guard found."""

    id: int
    camera: str
    started: str | None
    ended: str | None
    clock: str | None
    states: Mapping[str, int]
    upside_down: bool
    web_links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at one moment; times are ISO 8601 in UTC.

    Attributes:
        link: None: no server is configured, or it was never looked for.
        waiting: why it is not all sent, exactly one reason.
        wrong: counts that do not add up (law 11), one sentence each; empty, or there is a fault in ailasd.
        cards: that which was in somebody's hand last first.
        oldest_waiting: when the oldest picture that waits to be sent was taken.
        last_proven: when the server last proved that it holds one; None: never, or all these are cleaned.
        next_retry_s: until a picture that failed is tried again.
    """

    kit: str
    at: str
    daemon_runs: bool | None
    sends: bool
    link: LinkStatus | None
    waiting: Waiting
    sending: SendingStatus
    pictures: int
    bytes: int
    counts: tuple[Count, ...]
    media: tuple[MediumStatus, ...]
    cards: tuple[CardStatus, ...]
    drives: tuple[DriveStatus, ...]
    needs: tuple[Need, ...]
    wrong: tuple[str, ...]
    oldest_waiting: str | None
    last_proven: str | None
    next_retry_s: float | None
    free_bytes: int | None

    @property
    def adds_up(self) -> bool:
        """Law 11."""
        return not self.wrong


NO_MANNERS: Final = Rules(UTC, metered=True)


def summary(
    catalogue: Catalogue,
    *,
    kit: str = "kit",
    sends: bool = True,
    daemon_runs: bool | None = None,
    free_bytes: int | None = None,
    reserve: int = 0,
    manners: Rules = NO_MANNERS,
) -> Status:
    """How everything stands.

    Args:
        catalogue: is only read.
        kit: its name.
        sends: whether a server is configured.
        daemon_runs: None: not looked.
        free_bytes: on the disk of our storage.
        reserve: what must stay free of them.
        manners: when something may be sent.
    """
    telling = catalogue.telling
    counts = counts_of(telling.tally())
    cards = cards_of(catalogue)
    link = _link(telling.fact("link")) if sends else None
    no_room = free_bytes is not None and free_bytes < reserve
    queued = [count for count in counts if count.state == State.QUEUED]
    how, due = catalogue.traffic.situation(manners, boot=boot_id()), catalogue.pictures.next_to_send()
    may = leave(manners, how, need=due.size + AROUND if due else 0)
    return Status(
        kit=kit,
        at=iso(catalogue.clock.now()),
        daemon_runs=daemon_runs,
        sends=sends,
        link=link,
        waiting=why_waiting(
            queued=sum(count.pictures for count in queued),
            sends=sends,
            daemon_runs=daemon_runs,
            link=(link.state, link.why) if link else None,
            leave=may,
            due=due is not None,
            by_hand=how.by_hand_s > 0,
        ),
        sending=_sending(catalogue, manners, how, may, sum(count.bytes for count in queued)),
        pictures=sum(count.pictures for count in counts),
        bytes=sum(count.bytes for count in counts),
        counts=counts,
        media=_media(catalogue) if daemon_runs is not False else (),
        cards=cards,
        drives=tuple(_drive(row) for row in telling.drives_standing(limit=MOST_DRIVES)),
        needs=(
            *what_is_needed(counts, cards, link, cleaning_stopped=telling.fact("cleaning_stopped"), no_room=no_room),
            *what_was_reported(telling.fact(REPORTS)),
        ),
        wrong=tuple(wrong_counts(telling.totals(), counts, telling.pictures_ever())),
        oldest_waiting=telling.oldest_waiting(),
        last_proven=telling.last_proven(),
        next_retry_s=catalogue.pictures.seconds_to_next(),
        free_bytes=free_bytes,
    )


def standing(config: Config, catalogue: Catalogue, storage: Storage) -> Status:
    """How everything stands with the kit of this configuration."""
    return summary(
        catalogue,
        kit=config.kit,
        sends=bool(config.server.url),
        daemon_runs=storage.daemon_runs(),
        free_bytes=storage.free(),
        reserve=config.storage.reserve,
        manners=config.manners,
    )


def as_json(status: Status) -> str:
    """The same for scripts; ASCII, so that no name from a card can do anything to a terminal."""
    cards = [{**asdict(card), "may_clear": card.may_clear} for card in status.cards]
    needs = [{"what": need.what, "word": need.word, "commands": need.commands} for need in status.needs]
    return json.dumps({**asdict(status), "adds_up": status.adds_up, "cards": cards, "needs": needs}, indent=1)


# -- the parts --------------------------------------------------------------------------------------------------------
def counts_of(tally: Iterable[Row]) -> tuple[Count, ...]:
    """By state in the order in which pictures live, then the most frequent reason first."""
    order = [*State]
    counts = [Count(**row) for row in tally]
    return tuple(sorted(counts, key=lambda count: (order.index(State(count.state)), -count.pictures)))


def _link(fact: str | None) -> LinkStatus | None:
    return LinkStatus(**json.loads(fact)) if fact else None


def _sending(catalogue: Catalogue, manners: Rules, how: Situation, may: Leave, left: int) -> SendingStatus:
    measured = catalogue.traffic.goodput()
    takes = time_to_send(manners, how, left, measured)
    words = {None: "unknown", timedelta.max: "never", HORIZON: "beyond"}
    return SendingStatus(
        left_bytes=left,
        sent_today=how.sent_today,
        sent_this_month=how.sent_this_month,
        per_day=manners.per_day,
        per_month=manners.per_month,
        limit=may.rate,
        measured=round(measured.rate) or None,
        takes_s=None if takes is None or takes in words else round(takes.total_seconds()),
        estimate=words.get(takes, "known"),
        by_hand_s=round(how.by_hand_s),
    )


def _media(catalogue: Catalogue) -> tuple[MediumStatus, ...]:
    names = ("label", "state", "problem", "card", "since")
    return tuple(MediumStatus(**{name: row[name] for name in names}) for row in catalogue.media.all())


def cards_of(
    catalogue: Catalogue, *, most_cards: int = MOST_CARDS, most_files: int = MOST_FILES
) -> tuple[CardStatus, ...]:
    """All cards, the last first (``Telling.cards``); of the first ``most_cards`` so many files are looked up."""
    cards = []
    for number, row in enumerate(catalogue.telling.cards()):
        cards.append(
            _card(
                row,
                catalogue.telling.card_standing(row["id"], most=most_files) if number < most_cards else None,
                most_files,
            )
        )
    return tuple(cards)


def _card(row: Row, standing: Row | None, most_files: int) -> CardStatus:
    about = {
        "id": row["id"],
        "label": row["label"],
        "last_seen": row["last_seen"],
        "outcome": row["outcome"],
        "on_card": row["on_card"] or 0,
        "copied": row["copied"] or 0,
        "known": row["known"] or 0,
        "left": json.loads(row["left_there"] or "{}"),
        "cleaning_stopped": row["cleaning_stopped"],
        "left_s": row["left_s"],
    }
    if standing is None:
        return CardStatus(**about)
    return CardStatus(**about, **standing, all_looked_up=standing["files"] != most_files)


def _drive(row: Row) -> DriveStatus:
    names = ("id", "camera", "started", "ended", "clock", "states", "upside_down")
    return DriveStatus(**{name: row[name] for name in names}, web_links=tuple(row["web_links"]))


def wrong_counts(totals: Row, counts: Iterable[Count], pictures_ever: int) -> Iterable[str]:
    """Law 11: what does not add up. Visits: each file of a card is copied, known or left; pictures: none is missing."""
    left = sum(totals["left"].values())
    if totals["on_card"] != totals["copied"] + totals["known"] + left:
        yield (
            f"{totals['on_card']} files were on cards, but {totals['copied']} copied + {totals['known']} known + "
            f"{left} left are {totals['copied'] + totals['known'] + left}"
        )
    counted = sum(count.pictures for count in counts)
    if counted != pictures_ever:
        yield f"{pictures_ever} pictures were copied, but the states have {counted}"
