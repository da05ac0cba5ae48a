"""What people may do to pictures: hold, release, retry. Small choices; the state machine says what is possible."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from ailasd.clock import boot_id
from ailasd.errors import IllegalMove
from ailasd.lifecycle import MAY_BECOME
from ailasd.logs import Event
from ailasd.manners import Override
from ailasd.model import State
from ailasd.ordering import Preference
from ailasd.sorting import may_be_there

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from datetime import datetime, timedelta

    from ailasd.catalogue import Catalogue
    from ailasd.journal import Journal
    from ailasd.model import Picture
    from ailasd.sorting import Sorting
    from ailasd.storage import Storage

BY_HAND: Final = "by_hand"
_PREFERRED: Final = {
    Preference.FIRST: "before all others",
    Preference.NORMAL: "in its turn",
    Preference.LAST: "behind all others",
}
HOLDABLE: Final = frozenset(state for state, next_ones in MAY_BECOME.items() if State.HELD in next_ones)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which pictures: these ``pictures``, or all that fit ``drive`` and ``reason`` (None: any)."""

    pictures: tuple[Picture, ...] = ()
    drive: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """How many pictures were moved; ``without_copy``: how many were not, because we have nothing to send."""

    moved: int
    without_copy: int = 0


class ByHand:
    """Moves pictures because a person said so, drive by drive, beside a running daemon."""

    def __init__(self, catalogue: Catalogue, storage: Storage, sorting: Sorting, journal: Journal) -> None:
        self._catalogue = catalogue
        self._pictures = catalogue.pictures
        self._storage = storage
        self._sorting = sorting
        self._journal = journal

    def hold(self, choice: Choice) -> Done:
        """Send these not, until they are released: copied, queued and refused ones."""
        moved = 0
        for drive, pictures in self._chosen(choice, HOLDABLE):
            held = 0
            with self._catalogue.writing():
                for picture in pictures:
                    with suppress(IllegalMove):  # the daemon was faster
                        asked = may_be_there(picture)
                        self._pictures.move(
                            picture, State.HELD, reason=BY_HAND, why="a person wants it so", asked=asked
                        )
                        held += 1
            moved += self._told(drive, held, State.HELD)
        return Done(moved)

    def release(self, choice: Choice) -> Done:
        """Send held ones all the same."""
        return self._queue(choice, State.HELD)

    def retry(self, choice: Choice) -> Done:
        """Send refused ones once more, and those that wait for another try now."""
        if choice.pictures:
            waiting = [one for one in choice.pictures if one.state is State.QUEUED]
            self._pictures.due_now(waiting)
            due = len(waiting)
        else:
            due = self._pictures.all_due_now(drive=choice.drive) if choice.reason is None else 0
        done = self._queue(choice, State.REFUSED)
        return Done(done.moved + due, done.without_copy)

    def prefer(self, drive: int, preference: Preference) -> bool:
        """Send this drive before or behind all others, or in its turn again; False: there is no such drive."""
        known = self._sorting.prefer(drive, preference)
        if known:
            self._journal.tell(Event.HAND_PREFERRED, drive=drive, preference=_PREFERRED[preference])
        return known

    def _queue(self, choice: Choice, was: State) -> Done:
        moved = without_copy = 0
        for drive, pictures in self._chosen(choice, {was}):
            ready = [picture for picture in pictures if self._has_copy(picture)]
            without_copy += len(pictures) - len(ready)
            moved += self._told(drive, self._sorting.release(ready), State.QUEUED)
        return Done(moved, without_copy)

    def _chosen(self, choice: Choice, states: AbstractSet[State]) -> Iterator[tuple[int | None, list[Picture]]]:
        """Drive by drive, so that a million of them are never in memory at once."""
        if choice.pictures:
            for picture in choice.pictures:
                if picture.state in states:
                    yield picture.drive, [picture]
            return
        ids = self._pictures.ids(states, reason=choice.reason, drive=choice.drive)
        for drive, group in groupby(ids, key=lambda one: one[0]):
            found = [self._pictures.get(picture) for _, picture in group]
            yield drive, [picture for picture in found if picture is not None and picture.state in states]

    def _has_copy(self, picture: Picture) -> bool:
        return picture.copy is not None and self._storage.path_of(picture.copy).is_file()

    def _told(self, drive: int | None, moved: int, state: State) -> int:
        if moved:
            self._journal.tell(Event.HAND_MOVED, pictures=moved, state=state, drive=drive)
        return moved

    # -- facts --------------------------------------------------------------------------------------------------------
    def let_cleaning_go_on(self) -> None:
        """Forget every reason for which nothing is deleted any more.

        The files that were found missing are missed no longer, wherever their card is. If more of them go, cleaning of
        that card stops again: nobody can have said yes to what nobody saw.
        """
        self._catalogue.telling.remember("cleaning_stopped", None)
        self._catalogue.cards.miss_nothing()

    def accept_unblurred(self) -> None:
        """Go on sending although the server's pictures look untouched, until one of them does not any more."""
        self._catalogue.telling.remember("sending_stopped", None)
        self._catalogue.telling.remember("unblurred_accepted", "a person said so")

    def accept_other_account(self) -> None:
        """Forget whose pictures these are: the account of the token is believed at the next look."""
        self._catalogue.telling.remember("account", None)

    def send_now(self, for_: timedelta) -> datetime:
        """Send whatever hours, budgets and metered networks say, for so long. Returns until when, by our clock."""
        clock = self._catalogue.clock
        now = clock.now()
        ends = clock.monotonic() + for_.total_seconds()
        override = Override(now, now + for_, trusted=clock.trusted(), boot=boot_id(), ends=ends)
        self._catalogue.traffic.override(override)
        self._journal.tell(Event.SENDING_BY_HAND, for_s=for_.total_seconds())
        return override.until

    def hold_to_manners(self) -> None:
        """Let hours, budgets and metered networks count again, at once."""
        self._catalogue.traffic.override(None)
        self._journal.tell(Event.SENDING_BY_RULE)
