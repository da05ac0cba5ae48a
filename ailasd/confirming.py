"""Step: does the server have it? Only what its listing and its item status say together makes a picture confirmed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ailasd.errors import AilasdError, IllegalMove, NeedsHuman, NoLink, NotOurs, OutOfStep, Refused, SetGone, TryLater
from ailasd.logs import Event
from ailasd.model import Round, State
from ailasd.proof import Standing, Verdict, gather, judge

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from ailasd.catalogue import Catalogue
    from ailasd.journal import Journal
    from ailasd.link import Link
    from ailasd.model import Picture, Sequence
    from ailasd.panoramax import ItemStatus, Panoramax
    from ailasd.proof import Evidence, Found

FIRST_LOOK_S: Final = 1.0
LONGEST_LOOK_S: Final = 300.0
"""The server publishes 3-4 pictures a second: a full sequence of 1 000 takes it five minutes."""

LOSSES_BEFORE_HUMAN: Final = 1
"""Sent again once; a server that loses the same picture twice has a fault that sending does not mend."""

REPAIR_WITHIN_S: Final = (120.0, 10_800.0, 600.0)
"""How long each try to have a picture processed again may take: what ails the server (its service for blurring is
away) may last for hours, and it says "broken" of a picture also while another try waits behind all the fresh ones. Few
tries: the server makes five of each, and a picture that ends its worker does so each time."""

LONGEST_LOOK_AT_OTHERS_S: Final = 3600.0
"""In another account's set we wait for people: the website's user completes it in minutes or, at times, never."""

PATIENCE_WITH_OTHERS: Final = timedelta(days=2)
"""How long pictures may wait for another account to complete its set; then a person is asked to see to it."""

LOOK_BACK_EVERY_S: Final = 3600.0
"""Costs 1 KB, the set that was completed last: a server that was put back to a backup lacks that one, at least."""

LEFT_IN: Final = "pictures left in {}"
"""The fact that tells with how many pictures an upload set counts as whole, once some are gone from it for good."""

_GONE: Final = frozenset({Verdict.LOST, Verdict.REFUSED})

LOOKS_BEFORE_ASKING_AGAIN: Final = 6
"""Half a minute, in which a server without backlog publishes; one with a backlog does it only later if asked again."""


@dataclass(slots=True)
class _Others:
    """A set that is not of this catalogue, with pictures that we have too: what it is looked at for."""

    looks: int = 0
    due: float = float("-inf")
    forbidden: bool = False


class Confirming:
    """Looks for proof of everything that was sent."""

    def __init__(self, catalogue: Catalogue, journal: Journal, link: Link) -> None:
        self._catalogue = catalogue
        self._pictures = catalogue.pictures
        self._drives = catalogue.drives
        self._journal = journal
        self._link = link
        self._next_look_back = float("-inf")
        self._others: dict[str, _Others] = {}

    def run(self, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> Round:
        """Look once at every set that is due."""
        worked = False
        for upload_set in self._drives.sets_to_confirm():
            if upload_set in self._others and self._others[upload_set].due > self._catalogue.clock.monotonic():
                continue
            server = self._link.server()
            if stop.is_set() or server is None:
                break
            worked = True
            alive()
            self._look_at(server, upload_set)
        if not stop.is_set() and self._catalogue.clock.monotonic() >= self._next_look_back:
            self._look_back(stop, alive)
        return Round(worked, self._link.wait() or self._drives.seconds_to_next_look())

    def _look_at(self, server: Panoramax, upload_set: str) -> None:
        """One look. A failure is written into the sequence's row and does not touch the other sets."""
        sequence = self._drives.by_set(upload_set)
        try:
            waiting = self._settle(server, upload_set, sequence)
            self._link.answered()
        except NeedsHuman as error:
            self._link.stopped(error)
        except SetGone:
            self._link.answered()
            self._set_gone(upload_set, sequence)
        except NoLink as error:
            self._link.failed(error)
            self._again(upload_set, sequence, str(error))
        except (TryLater, OutOfStep, Refused) as error:
            self._link.answered()
            self._again(upload_set, sequence, str(error))
        else:
            if waiting:
                self._again(upload_set, sequence, None)
            elif sequence is not None:
                self._done(sequence)
            else:
                self._others.pop(upload_set, None)

    def _again(self, upload_set: str, sequence: Sequence | None, error: str | None) -> None:
        if sequence is not None:
            wait_s = min(FIRST_LOOK_S * 1.6 ** min(sequence.attempts, 20), LONGEST_LOOK_S)
            self._drives.looked(sequence.id, again_in=wait_s, error=error)
        else:  # another account's: it has no row
            others = self._others.setdefault(upload_set, _Others())
            wait_s = min(FIRST_LOOK_S * 1.6 ** min(others.looks, 20), LONGEST_LOOK_AT_OTHERS_S)
            others.looks, others.due = others.looks + 1, self._catalogue.clock.monotonic() + wait_s

    def _done(self, sequence: Sequence) -> None:
        self._drives.looked(sequence.id, again_in=None)
        outcome = self._drives.outcome(sequence.id)
        if outcome["to_come"]:
            self._journal.tell(Event.SEQUENCE_PUBLISHED_EARLY, drive=sequence.drive, **outcome)
        elif outcome["confirmed"] or outcome["refused"]:  # else others had it all, and their sets are looked at next
            self._journal.tell(Event.SEQUENCE_CONFIRMED, drive=sequence.drive, title=sequence.title, **outcome)

    # -- one set ------------------------------------------------------------------------------------------------------
    def _settle(self, server: Panoramax, upload_set: str, sequence: Sequence | None) -> int:
        """Move what can be moved; returns how many pictures of the set wait for something that the server will do."""
        sent = self._pictures.sent_to(upload_set)  # before the listing: what is sent after it is not in it
        there = server.upload_set(upload_set)
        evidence = gather(server, there, self._catalogue.telling.fact("account") or "")
        publishing = self._publish(server, evidence, sequence)
        if sequence is not None and there.collections:
            self._drives.linked(sequence.id, server.sequence_web_link(there.collections[0].id))
        found = [(picture, evidence.of(picture)) for picture in sent]
        if all(one.standing in {Standing.ABSENT, Standing.DELETED} for _, one in found):
            self._suspect(len(found))
        waiting = 0
        for picture, one in found:
            with suppress(IllegalMove):  # somebody moved it while we looked
                waits = self._act(server, picture, one, evidence)
                # what no sequence has, and will not have before we complete the set again, is not looked for until then
                waiting += waits and (publishing or one.item in evidence.statuses)
        return waiting

    def _publish(self, server: Panoramax, evidence: Evidence, sequence: Sequence | None) -> bool:
        """Complete the set if it is time to; returns whether the server is to put pictures into a sequence now.

        A set that is not dispatched yet, or is being dispatched anew, must not be completed again: the two would lock
        each other out (see ``SetWanted``). That a dispatch is through is not told by ``dispatched``, which is stale,
        but by the number of pictures in the sequences.
        """
        there = evidence.upload_set
        if sequence is None:
            if not there.completed:
                self._complete_of_others(server, there.id)
            return True
        held, seen = sum(row.is_held for row in evidence.listing), len(evidence.statuses)
        if self._left_in(there.id, held) < held:  # what was sent again may be missed again
            self._catalogue.telling.remember(LEFT_IN.format(there.id), str(held))
        under_way = seen < min(held, sequence.to_publish) or not evidence.whole
        self._drives.published(sequence.id, 0 if under_way else sequence.to_publish)
        if sequence.completed and there.completed:
            return True
        # while it is under way "not completed" may say that a later picture opened it again, or that we were not heard
        if not sequence.all_sent or (under_way and (there.completed or sequence.attempts < LOOKS_BEFORE_ASKING_AGAIN)):
            return under_way
        self._drives.completing(sequence.id, held)
        try:
            server.complete(there.id)
        except AilasdError as error:
            self._drives.reopened(sequence.id)
            if not isinstance(error, NotOurs):
                raise
        else:
            self._journal.tell(
                Event.SEQUENCE_COMPLETED, drive=sequence.drive, upload_set=there.id, pictures=sequence.pictures
            )
        return True

    def _complete_of_others(self, server: Panoramax, upload_set: str) -> None:
        """A set that is not of this catalogue: complete it if we may, else wait for its owner, but not for ever."""
        others = self._others.setdefault(upload_set, _Others())
        if not others.forbidden:
            try:
                server.complete(upload_set)
            except NotOurs:
                others.forbidden = True
        if others.forbidden and self._catalogue.clock.trusted():
            until = self._catalogue.clock.now() - PATIENCE_WITH_OTHERS
            for picture in self._pictures.sent_to(upload_set, until=until):
                self._refuse(
                    picture, "not_completed",
                    f"the server has it in the upload set {upload_set} of another account, which has not completed "
                    "that set, so that nobody sees it: its owner has to, then `ailasd retry`",
                )  # fmt: skip

    def _suspect(self, missing: int) -> None:
        """Law 10: if nothing of what we sent is there any more, it is not the pictures that are wrong."""
        if missing > 1:
            self._journal.suspect(f"the server lists none of {missing} pictures that it had received")

    def _act(self, server: Panoramax, picture: Picture, found: Found, evidence: Evidence) -> int:
        """Act on the verdict; returns 1 if the picture goes on waiting."""
        match judge(found, evidence):
            case Verdict.CONFIRMED:
                assert found.item is not None
                link = server.picture_web_link(found.item)
                self._pictures.move(picture, State.CONFIRMED, server_id=found.item, web_link=link)
                self._journal.note(Event.PICTURE_CONFIRMED, trace=picture.trace, picture=picture.name)
                return 0
            case Verdict.BROKEN:
                assert found.item is not None
                return self._repair(server, picture, evidence.statuses[found.item], evidence.collection_of[found.item])
            case Verdict.REFUSED:
                rejected = found.row.rejected if found.row else None
                assert rejected is not None
                self._refuse(picture, rejected.reason, rejected.message or "the server rejected it")
                return 0
            case Verdict.LOST:
                self._lost(picture, "the server no longer lists it")
                return 0
        return 1

    def _repair(self, server: Panoramax, picture: Picture, status: ItemStatus, collection: str) -> int:
        """Have it processed again, a few times over hours; returns 0 once that has failed for good."""
        if self._pictures.is_under_repair(picture):
            return 1
        if picture.repairs < len(REPAIR_WITHIN_S):
            with suppress(SetGone):  # dispatched anew since we looked: the next look knows its new sequence
                server.prepare(collection, status.id)  # done twice it is harmless
                self._pictures.repairing(picture, wait_s=REPAIR_WITHIN_S[picture.repairs])
                self._journal.note(Event.PICTURE_REPAIRED, trace=picture.trace, picture=picture.name)
            return 1
        if status.errors is not None and status.errors <= picture.repairs:
            return 1  # not all of our tries had their turn yet
        said = status.process_error or "it does not say why"
        self._refuse(picture, "not_processed", f"the server cannot process it: {said}")
        return 0

    def _refuse(self, picture: Picture, reason: str, why: str) -> None:
        self._pictures.move(picture, State.REFUSED, reason=reason, why=why)
        self._journal.note(Event.PICTURE_REFUSED, trace=picture.trace, picture=picture.name, reason=why, word=reason)

    def _lost(self, picture: Picture, problem: str) -> None:
        """Back into the queue once; then a human."""
        if picture.losses >= LOSSES_BEFORE_HUMAN:
            self._refuse(picture, "lost", f"{problem}, for the second time: ask its administrator, then `ailasd retry`")
        else:
            losses = picture.losses + 1
            self._pictures.move(
                picture, State.QUEUED, why=problem, losses=losses, repairs=0, upload_set=None, server_id=None
            )
        self._journal.tell(
            Event.PICTURE_LOST, drive=picture.drive, picture_id=picture.id, trace=picture.trace, picture=picture.name,
            problem=problem,
        )  # fmt: skip

    def _set_gone(self, upload_set: str, sequence: Sequence | None) -> None:
        sent = self._pictures.sent_to(upload_set)
        self._suspect(len(sent))
        for picture in sent:
            with suppress(IllegalMove):
                self._lost(picture, "its upload set is gone from the server")
        lost = self._pictures.sent_to(upload_set, state=State.CONFIRMED)
        if sum(self._pictures.unproven(picture) for picture in lost):
            self._journal.suspect(f"the upload set {upload_set} is gone with pictures that it had proven")
        if sequence is not None and self._drives.set_vanished(sequence.id, upload_set):
            self._journal.tell(Event.SET_VANISHED, drive=sequence.drive, upload_set=upload_set)

    # -- a server that went back in time ------------------------------------------------------------------------------
    def _look_back(self, stop: threading.Event, alive: Callable[[], None]) -> None:
        """From the set that was completed last on, until one is whole: what is gone from the others goes once more.

        That finds the backup that a server was put back to; a single old picture that is gone is none of it (cleaning
        looks at each before it deletes ours).
        """
        for number in self._drives.newest_completed():
            if stop.is_set() or (server := self._link.server()) is None:
                return
            alive()
            sequence = self._drives.sequence(number)
            proven = self._drives.proven_there(sequence)
            try:
                if proven and self._is_whole(server, sequence, proven):
                    break
            except NeedsHuman as error:
                self._link.stopped(error)
                return
            except NoLink as error:
                self._link.failed(error)
                return
            except (TryLater, OutOfStep, Refused):
                self._link.answered()
                return
            self._link.answered()
        self._next_look_back = self._catalogue.clock.monotonic() + LOOK_BACK_EVERY_S

    def _is_whole(self, server: Panoramax, sequence: Sequence, proven: int) -> bool:
        """Whether the set still holds as many pictures as it had proven; if not, those that are gone are queued.

        Of those that were cleaned we have nothing to send: with fewer the set counts as whole from now on.
        """
        assert sequence.upload_set is not None
        try:
            there = server.upload_set(sequence.upload_set)
            if there.pictures >= min(proven, self._left_in(there.id, proven)):
                return True
            confirmed = self._pictures.sent_to(there.id, state=State.CONFIRMED)  # before the listing, as in _settle
            evidence = gather(server, there, self._catalogue.telling.fact("account") or "")
        except SetGone:
            self._journal.suspect(f"the upload set {sequence.upload_set} is gone with {proven} proven pictures")
            self._set_gone(sequence.upload_set, sequence)
            return False
        held = sum(row.is_held for row in evidence.listing)
        if held >= proven:
            return True  # the listing is the proof, not a count
        self._journal.suspect(f"{proven - held} proven pictures are gone from the upload set {there.id}")
        for picture in confirmed:
            if judge(evidence.of(picture), evidence) in _GONE:
                self._pictures.unproven(picture)
        self._catalogue.telling.remember(LEFT_IN.format(there.id), str(held))
        return False

    def _left_in(self, upload_set: str, otherwise: int) -> int:
        """How many pictures the set had when some were missed; ``otherwise`` if none ever was."""
        return int(self._catalogue.telling.fact(LEFT_IN.format(upload_set)) or otherwise)
