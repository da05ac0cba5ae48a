"""The one thing that a collector must know now, said everywhere the same: light, sound, notice, page. Pure.

What is in the hand comes first: while a card is in, the sign is about the card; what else is wrong is said when it is
out, unless it is the card that is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ailasd.attending import Stand
from ailasd.model import State
from ailasd.needs import FOR_THE_OFFICE
from ailasd.waiting import THERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ailasd.status import CardStatus, MediumStatus, Status


class Sign(StrEnum):
    """What is shown."""

    NOTHING = "nothing"  # nothing is in, and nothing is to be told
    READING = "reading"  # leave it in
    PULL = "pull"  # you may pull the card out
    WAITING = "waiting"  # for the network, for cheaper hours
    SENDING = "sending"
    SAFE = "safe"  # everything of the last card is on the server: you may clear it
    HELP = "help"  # somebody must do something


@dataclass(frozen=True, slots=True)
class Shown:
    """The sign and what belongs to it.

    Attributes:
        sign: the one.
        done: pictures that are read (READING), or proven to be on the server (all others).
        of: of so many; 0: not known yet.
        minutes_left: None: not known.
        why: what is wrong (HELP) or what it waits for (WAITING), in English; translations go by ``sign`` and ``word``.
        word: a stable word for ``why``, and for what is special about READING and SENDING: see ``sign_wording``.
    """

    sign: Sign
    done: int = 0
    of: int = 0
    minutes_left: int | None = None
    why: str = ""
    word: str = ""


SAFE_FOR: Final = timedelta(hours=24)
"""So long people are told that they may clear the card that they pulled out: a night to send it, and the morning."""

_LEAVE_IT_IN: Final = {Stand.READING: "", Stand.CLEARING: "clearing", Stand.MOUNTED: "mounted"}
"""And what is special about it; of several cards that is said which comes first here."""
_ILL: Final = {Stand.UNREADABLE, Stand.WAITING}
_NOT_A_CARD: Final = {Stand.IGNORED, Stand.EMPTY}
_BUSY: Final = "busy"
"""What ``attending`` says of a card that another program uses, or the camera itself: it is read a minute later."""


def shown(status: Status) -> Shown:
    """What to show."""
    done, of = _queue(status)
    if status.daemon_runs is False:
        return Shown(Sign.HELP, done, of, why="ailasd does not run", word="no_daemon")
    if media := [medium for medium in status.media if medium.state not in _NOT_A_CARD]:
        return _in_the_slot(status, media, done, of)
    return _left_behind(status, done, of) or _under_way(status, done, of)


def _in_the_slot(status: Status, media: Sequence[MediumStatus], done: int, of: int) -> Shown:
    cards = {card.id: card for card in status.cards}
    order = [*_LEAVE_IT_IN]
    if in_use := [medium for medium in media if medium.state in order]:
        busy = min(in_use, key=lambda medium: order.index(Stand(medium.state)))
        return _reading(cards.get(busy.card or 0), _LEAVE_IT_IN[Stand(busy.state)])
    if ill := next((medium for medium in media if medium.state in _ILL), None):
        if ill.problem == _BUSY:
            return _reading(cards.get(ill.card or 0), _BUSY)
        return Shown(Sign.HELP, why=ill.problem or "", word=_word_of(ill))
    ours = [cards.get(medium.card or 0) for medium in media]
    if any(card is not None and card.not_seen for card in ours):
        return Shown(Sign.PULL, done, of, word="unread")
    safe = all(card is not None and card.may_clear for card in ours)
    return Shown(Sign.SAFE if safe else Sign.PULL, done, of)


def _left_behind(status: Status, done: int, of: int) -> Shown | None:
    """What must be done with the last card, which is in somebody's hand now."""
    last = status.cards[0] if status.cards else None
    if last is not None and last.outcome == "gone":
        return Shown(Sign.HELP, done, of, why=f"{last.label} was pulled out too early", word="card_gone")
    if last is not None and last.not_seen:
        return Shown(Sign.HELP, done, of, why=f"not all that is on {last.label} could be read", word="card_unread")
    return None


def _under_way(status: Status, done: int, of: int) -> Shown:
    if need := next((need for need in status.needs if need.word not in FOR_THE_OFFICE), None):
        return Shown(Sign.HELP, done, of, why=need.what, word=need.word)
    if status.waiting.waits:
        return Shown(Sign.WAITING, done, of, why=status.waiting.text, word=status.waiting.word)
    if status.waiting.word == "sending":
        return Shown(Sign.SENDING, done, of, minutes(status.sending.takes_s))
    if any(count.state == State.SENT for count in status.counts):  # the server has yet to prove it
        if status.link is not None and status.link.state != THERE:
            return Shown(Sign.WAITING, done, of, why=status.link.why, word="link_lost")
        return Shown(Sign.SENDING, done, of, word="proving")
    return _all_done(status, done, of)


def _all_done(status: Status, done: int, of: int) -> Shown:
    """What may be done with the last card."""
    if not status.cards or not _lately(status):
        return Shown(Sign.NOTHING, done, of)
    last = status.cards[0]
    # what is held (parked, without GPS) is not sent, so that most days end so
    kept_here = done == of and last.all_read and last.confirmed < (last.files or 0)
    return Shown(Sign.SAFE if last.may_clear else Sign.NOTHING, done, of, word="kept_here" if kept_here else "")


def _lately(status: Status) -> bool:
    """Whether anything was seen or proven within ``SAFE_FOR``: after that the card may have new pictures on it."""
    moments = filter(None, (status.cards[0].last_seen, status.last_proven))
    since = datetime.fromisoformat(status.at) - max(map(datetime.fromisoformat, moments))
    return timedelta() <= since <= SAFE_FOR


def _reading(card: CardStatus | None, word: str) -> Shown:
    if card is None:  # not recognised yet
        return Shown(Sign.READING, word=word)
    return Shown(Sign.READING, card.copied + card.known, card.pictures_on_it, minutes(card.left_s), word=word)


def _word_of(ill: MediumStatus) -> str:
    """Some of a visit's outcomes have a word; anything else is a sentence about the card."""
    return f"card_{ill.problem}" if ill.problem in {"no_room", "not_kept", "gone"} else "card_unreadable"


def minutes(seconds: float | None) -> int | None:
    """How long something takes yet, as it is told: rounded up; None: not known."""
    return None if seconds is None else max(1, math.ceil(seconds / 60))


_ON_THEIR_WAY: Final = {State.COPIED, State.QUEUED, State.SENT}
_PROVEN: Final = {State.CONFIRMED, State.CLEANED}


def _queue(status: Status) -> tuple[int, int]:
    """Pictures proven to be on the server, and all that are or shall be."""
    proven = sum(count.pictures for count in status.counts if count.state in _PROVEN)
    return proven, proven + sum(count.pictures for count in status.counts if count.state in _ON_THEIR_WAY)
