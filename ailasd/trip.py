"""A trip's sums: what became of everything that ever was on the cards, in counts that must add up."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ailasd.model import State
from ailasd.status import cards_of, counts_of, wrong_counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ailasd.catalogue import Catalogue
    from ailasd.status import CardStatus


@dataclass(frozen=True, slots=True)
class Trip:
    """What became of everything that was on the cards, in counts that must add up.

    Attributes:
        on_card: files seen = ``copied`` + ``known`` + all of ``left`` (reason -> files).
        pictures: in the catalogue = ``confirmed`` + ``sent`` + ``queued`` + ``unsorted`` + ``held`` + ``refused``. It
            is ``copied``, plus those of passes over a card that were cut off before they could count.
        held, refused: reason -> pictures.
        bytes_sent: of the pictures that the server received.
        not_sent: why -> bytes that were on the cards and did not go over the link.
    """

    on_card: int
    copied: int
    known: int
    left: Mapping[str, int]
    pictures: int
    confirmed: int
    sent: int
    queued: int
    unsorted: int
    held: Mapping[str, int]
    refused: Mapping[str, int]
    bytes_copied: int
    bytes_sent: int
    not_sent: Mapping[str, int]
    cards: tuple[CardStatus, ...]
    wrong: tuple[str, ...]

    @property
    def adds_up(self) -> bool:
        """Law 11."""
        return not self.wrong

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way any more."""
        return self.unsorted == self.queued == self.sent == 0


def trip(catalogue: Catalogue) -> Trip:
    """All that happened since the catalogue began. Looks up every file of every card: for a demo or a report."""
    telling = catalogue.telling
    totals, counts = telling.totals(), counts_of(telling.tally())

    def pictures(*states: State) -> int:
        return sum(count.pictures for count in counts if count.state in states)

    def reasons(state: State) -> dict[str, int]:
        return {count.reason: count.pictures for count in counts if count.state == state}

    not_sent = {"known": totals["bytes_known"]} | {
        count.reason or count.state: count.bytes
        for count in counts
        if count.state in (State.HELD, State.QUEUED, State.COPIED)
    }
    there = (State.SENT, State.CONFIRMED, State.CLEANED)
    return Trip(
        on_card=totals["on_card"],
        copied=totals["copied"],
        known=totals["known"],
        left=totals["left"],
        pictures=pictures(*State),
        confirmed=pictures(State.CONFIRMED, State.CLEANED),
        sent=pictures(State.SENT),
        queued=pictures(State.QUEUED),
        unsorted=pictures(State.COPIED),
        held=reasons(State.HELD),
        refused=reasons(State.REFUSED),
        bytes_copied=totals["bytes_copied"],
        bytes_sent=sum(count.bytes for count in counts if count.state in there),
        not_sent={why: bytes_ for why, bytes_ in not_sent.items() if bytes_},
        cards=cards_of(catalogue, most_cards=sys.maxsize, most_files=-1),
        wrong=tuple(wrong_counts(totals, counts, telling.pictures_ever())),
    )
