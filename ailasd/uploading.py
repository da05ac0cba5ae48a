"""Step: one picture, one request. The set's listing and the md5 settle every doubt, never the words of an answer."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ailasd.copying import md5_of
from ailasd.errors import (
    Conflict,
    Damaged,
    IllegalMove,
    NeedsHuman,
    NoLink,
    NotNow,
    NotOurs,
    OutOfStep,
    Refused,
    SetGone,
    TryLater,
    Unreadable,
    WrongServer,
)
from ailasd.lifecycle import wait_before
from ailasd.logs import Event
from ailasd.manners import Leave
from ailasd.model import Round, State
from ailasd.ordering import OLDEST_EVERY
from ailasd.panoramax import SetWanted
from ailasd.proof import Standing, look
from ailasd.recollecting import recollect

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from random import Random

    from ailasd.catalogue import Catalogue
    from ailasd.journal import Journal
    from ailasd.link import Link
    from ailasd.model import Picture, Sequence
    from ailasd.pacing import Pacing, Transfer
    from ailasd.panoramax import Panoramax
    from ailasd.storage import Storage

COPY_LOST: Final = "our copy of it is gone or cut: put its card in again, and it is copied anew"

LOOK_AGAIN_S: Final = 1.0
"""How often the step looks up from waiting for a request, to see whether it shall stop, or may not go on."""

TOO_LARGE_S: Final = 86_400.0
"""After this long a picture that no budget can hold is looked at again: the configuration may be another one then."""


class Uploading:
    """Sends what is queued, over a few connections at a time.

    Args:
        about: what goes into each set's metadata: kit, version.
        most_attempts: after so many errors of the server itself for one picture, a human decides.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        storage: Storage,
        journal: Journal,
        link: Link,
        random: Random,
        *,
        pacing: Pacing,
        about: Mapping[str, str],
        semantics: Mapping[str, str],
        connections: int,
        most_attempts: int,
    ) -> None:
        self._catalogue = catalogue
        self._pictures = catalogue.pictures
        self._drives = catalogue.drives
        self._past = catalogue.past
        self._storage = storage
        self._journal = journal
        self._link = link
        self._pacing = pacing
        self._random = random
        self._about = dict(about)
        self._semantics = dict(semantics)
        self._connections = connections
        self._most_attempts = most_attempts
        self._making_a_set = threading.Lock()
        self._unfit: set[str] = set()  # of sets of a former life, those that we do not go on with
        self._turn = random.randrange(OLDEST_EVERY)  # a kit that lives for five pictures at a time starves nothing

    def run(self, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> Round:
        """Send until nothing is due, the link is gone, our manners forbid it, or ``stop``."""
        worked = False
        leave = Leave()
        busy: dict[Future[None], int] = {}
        with ThreadPoolExecutor(self._connections, thread_name_prefix="upload") as pool:
            while not stop.is_set():
                leave, passed = self._pacing.look(), self._pacing.throttle.passed
                server = self._server(stop, alive) if leave.why is None else None
                most = self._link.at_a_time(self._connections)
                while server and len(busy) < most and (picture := self._next(busy.values())):
                    transfer = self._transfer(picture)
                    if isinstance(transfer, Leave):
                        leave = transfer
                        break
                    if transfer is not None:
                        busy[pool.submit(self._one, server, picture, transfer)] = picture.id
                if not busy:
                    break
                ended = wait(busy, timeout=LOOK_AGAIN_S, return_when=FIRST_COMPLETED).done
                for one in ended:
                    del busy[one]
                    one.result()  # a bug in _one ends the step, loudly
                    worked = True
                if ended or self._pacing.throttle.passed > passed:  # a picture may take hours at a slow rate
                    alive()
        if leave.why is not None:
            return Round(worked, leave.lasts_s)
        return Round(worked, self._link.wait() or self._pictures.seconds_to_next())

    def _transfer(self, picture: Picture) -> Transfer | Leave | None:
        """What to send it with; why it cannot be sent now; or None: it never can, and the next one is looked at."""
        if problem := self._pacing.too_large(picture.size):
            self._again(picture, NotNow(problem, after=TOO_LARGE_S))
            return None
        return self._pacing.transfer(picture.size)

    def _server(self, stop: threading.Event, alive: Callable[[], None]) -> Panoramax | None:
        """Our server if the way to it is open, and if we know what it has of us."""
        server = self._link.server()
        if server is None or self._past.is_known():
            return server
        try:
            known = recollect(server, self._catalogue, self._journal, self._about["kit"], stop, alive=alive)
        except NeedsHuman as error:
            self._link.stopped(error)
        except TryLater as error:
            self._link.failed(error)
        except OutOfStep as error:  # then what is there already is found out by sending it
            self._past.now_known()
            self._journal.tell(Event.UNEXPECTED_ANSWER, problem=str(error), wait_s=0)
        else:
            return server if known else None
        return None

    def _next(self, busy: Collection[int]) -> Picture | None:
        self._turn += 1
        return self._pictures.next_to_send(busy, oldest=self._turn % OLDEST_EVERY == 0)

    # -- one picture --------------------------------------------------------------------------------------------------
    def _one(self, server: Panoramax, picture: Picture, transfer: Transfer) -> None:
        """Send ``picture`` and move it, or write into its row why not and when again. Raises only for bugs."""
        began = self._catalogue.clock.monotonic()
        # IllegalMove: a person held it while it was on its way; a later look at the listing settles it
        with suppress(IllegalMove, NotNow), transfer:
            try:
                self._send(server, picture, transfer)
            except NotNow:  # nobody failed: it is as due as it was
                raise
            except NeedsHuman as error:
                self._link.stopped(error)
            except Refused as error:
                self._link.answered()
                self._refused(picture, error)
            except Unreadable as error:
                self._copy_lost(picture, error)
            except NoLink as error:
                self._silence(server, picture, error, began)
            except Damaged as error:
                self._damaged(picture, error)
            except (TryLater, OutOfStep) as error:
                self._server_fault(server, picture, error, began)

    def _send(self, server: Panoramax, picture: Picture, transfer: Transfer) -> None:
        if not self._copy_is_there(picture):
            self._copy_lost(picture, "it is not there, or has another size")
            return
        assert picture.sequence is not None
        if (there := self._past.where(picture)) is not None:
            with self._making_a_set:
                self._take_up_a_former_set(server, self._drives.sequence(picture.sequence))
            self._sent(picture, *there)
            self._link.answered()
            return
        sequence = self._with_set(server, picture.sequence)
        try:
            self._send_to(server, picture, sequence, transfer)
        except (SetGone, NotOurs) as error:
            self._set_gone(sequence, error)
            self._again(picture, error)
        self._link.answered()

    def _send_to(self, server: Panoramax, picture: Picture, sequence: Sequence, transfer: Transfer) -> None:
        assert sequence.upload_set is not None
        if sequence.completed:  # also if the server has it already: it may have come in after the set was completed
            self._drives.reopened(sequence.id)
        if picture.asked and self._settled_by_listing(server, picture, sequence.upload_set):
            return
        self._pictures.asking(picture)
        try:
            received = server.send(
                sequence.upload_set,
                file=self._storage.path_of(picture.copy or ""),
                name=name_in_set(picture),
                size=picture.size,
                md5=picture.md5,
                picture_id=id_in_set(picture, sequence.upload_set),
                capture_time=picture.capture_override,
                position=picture.position_override,
                position_from=picture.position_from,
                pace=transfer,
                trace=picture.trace,
            )
        except Conflict as conflict:
            # 409 has four meanings; the listings say which one it is (FIELD.md trap 5)
            if not self._settled_by_listing(server, picture, sequence.upload_set, conflict):
                # our bytes are nowhere to be seen: others took the name or the id. Another of both, once more.
                self._again(picture, conflict, server_fault=True, rename=True)
        else:
            transfer.arrived()
            self._link.arrived()
            self._sent(picture, sequence.upload_set, received.picture_id)

    def _copy_is_there(self, picture: Picture) -> bool:
        try:
            return self._storage.path_of(picture.copy or "").stat().st_size == picture.size
        except OSError:
            return False

    def _copy_lost(self, picture: Picture, problem: object) -> None:
        self._pictures.move(picture, State.HELD, reason="copy_lost", why=COPY_LOST, asked=picture.asked)
        self._journal.note(Event.READ_ERROR, trace=picture.trace, path=picture.copy, problem=str(problem))

    def _damaged(self, picture: Picture, error: Damaged) -> None:
        """What arrived is not what was copied: did our copy change, or was it the way? Reading the copy tells."""
        try:
            with self._storage.path_of(picture.copy or "").open("rb") as copy:
                whole = md5_of(copy) == picture.md5
        except OSError:
            whole = False
        if whole:
            self._link.answered()
            self._again(picture, error, server_fault=True, rename=True)  # the damaged one has its name and id there
        else:
            self._copy_lost(picture, error)

    def _server_fault(self, server: Panoramax, picture: Picture, error: TryLater | OutOfStep, began: float) -> None:
        """Our server failed over this picture. It counts against the picture only if the server is well otherwise."""
        try:
            server.who_am_i()
        except TryLater as outage:  # its database is down, say: for hours, and for every picture alike
            self._link.failed(outage, began=began)
            self._again(picture, error)
        except NeedsHuman as outage:
            self._link.stopped(outage)
        else:
            # alone it may be this picture; two in a row are the server's (its disk is full), whatever it says of itself
            self._link.answered() if isinstance(error, OutOfStep) else self._link.failed(error, began=began)
            self._again(picture, error, server_fault=True)

    def _silence(self, server: Panoramax, picture: Picture, error: NoLink, began: float) -> None:
        """No answer. If a probe gets none either, or the link was cut, that is not the picture: it keeps its place."""
        self._link.failed(error, began=began)
        if self._link.server() is server:
            self._again(picture, error)
        else:
            self._journal.note(
                Event.PICTURE_POSTPONED, trace=picture.trace, picture=picture.name, wait_s=0, problem=str(error)
            )
            self._pictures.interrupted(picture, str(error))

    def _refused(self, picture: Picture, error: Refused) -> None:
        self._pictures.move(picture, State.REFUSED, reason=error.reason, why=str(error))
        self._journal.note(
            Event.PICTURE_REFUSED, trace=picture.trace, picture=picture.name, reason=str(error), word=error.reason
        )

    def _sent(self, picture: Picture, upload_set: str, server_id: str | None) -> None:
        assert picture.sequence is not None
        with self._catalogue.writing():
            self._pictures.move(picture, State.SENT, upload_set=upload_set, server_id=server_id)
            # it may have come in after the set was completed, and the server's own word for that has a race
            self._drives.reopened(picture.sequence)
        self._journal.note(
            Event.PICTURE_SENT, trace=picture.trace, picture=picture.name, bytes=picture.size, upload_set=upload_set
        )

    # -- when in doubt ------------------------------------------------------------------------------------------------
    def _settled_by_listing(
        self, server: Panoramax, picture: Picture, upload_set: str, conflict: Conflict | None = None
    ) -> bool:
        """Whether listings show that the server has these bytes, in this set or in one that the conflict names.

        Raises:
            Refused: the listing says that it never will.
        """
        found = look(server.listing(upload_set), picture.md5, picture.size)
        if found.standing is Standing.HELD:
            self._sent(picture, upload_set, found.item)
            return True
        # the same bytes came into the instance another way (FIELD.md trap 14): their proof lies in that set's listing
        for item, other_set in conflict.elsewhere if conflict else ():
            try:
                other = look(server.listing(other_set), picture.md5, picture.size, named=item)
            except (SetGone, NotOurs):
                continue
            if other.standing is Standing.HELD:
                self._sent(picture, other_set, item)
                return True
        if found.standing is Standing.REJECTED:
            assert found.row is not None
            assert found.row.rejected is not None
            rejected = found.row.rejected
            raise Refused(rejected.message or rejected.reason, reason=rejected.reason)
        return False

    def _set_gone(self, sequence: Sequence, error: OutOfStep) -> None:
        """Somebody deleted our set, or the token changed hands: the next attempt makes a new one."""
        assert sequence.upload_set is not None
        if self._drives.set_vanished(sequence.id, sequence.upload_set):
            self._journal.tell(Event.SET_VANISHED, drive=sequence.drive, upload_set=sequence.upload_set)
            if isinstance(error, NotOurs):  # it is there, and what it has is proven by its listing as before
                self._unfit.add(sequence.upload_set)
                return
            # what was confirmed in it goes once more; confirming looks after what was sent to it
            lost = self._pictures.sent_to(sequence.upload_set, state=State.CONFIRMED)
            if sum(self._pictures.unproven(picture) for picture in lost):
                self._journal.suspect(f"the upload set {sequence.upload_set} is gone with pictures that it had proven")

    def _again(self, picture: Picture, error: Exception, *, server_fault: bool = False, rename: bool = False) -> None:
        if server_fault and picture.faults + 1 >= self._most_attempts:
            self._pictures.move(
                picture, State.REFUSED, reason="gave_up",
                why=f"the server failed over it {picture.faults + 1} times, the last time so: {error}",
            )  # fmt: skip
            return
        asked = error.after if isinstance(error, TryLater) else None
        wait_s = wait_before(picture.attempts + 1, self._random, asked=asked)
        self._journal.note(
            Event.PICTURE_POSTPONED, trace=picture.trace, picture=picture.name, wait_s=wait_s, problem=str(error)
        )
        self._pictures.failed(picture, str(error), wait_s=wait_s, server_fault=server_fault, rename=rename)

    # -- its set ------------------------------------------------------------------------------------------------------
    def _with_set(self, server: Panoramax, sequence_id: int) -> Sequence:
        """The sequence with its set: known, found again by our id after a lost answer, or made now."""
        with self._making_a_set:  # or two pictures of one sequence would make two
            sequence = self._take_up_a_former_set(server, self._drives.sequence(sequence_id))
            if sequence.upload_set is not None:
                return sequence
            if sequence.asked:
                for existing in server.open_sets():
                    if existing.metadata.get("ailasd") == sequence.uid:
                        if not existing.is_private_and_whole:
                            raise WrongServer(
                                f"our upload set {existing.id} is there with other settings than we asked for "
                                f"(visibility {existing.visibility}): delete it on the server, a new one is made then"
                            )
                        self._drives.set_is(sequence.id, existing.id)
                        self._journal.tell(Event.SET_ADOPTED, drive=sequence.drive, upload_set=existing.id)
                        return self._drives.sequence(sequence_id)
            self._drives.set_asked(sequence.id)
            made = server.create_set(
                SetWanted(
                    title=sequence.title,
                    metadata={**self._about, "ailasd": sequence.uid, "drive": sequence.drive, "part": sequence.part,
                              "camera": sequence.camera, "card": sequence.card},
                    semantics=self._semantics,
                )
            )  # fmt: skip
            self._drives.set_is(sequence.id, made.id)
            self._journal.tell(Event.SET_CREATED, drive=sequence.drive, upload_set=made.id, title=sequence.title)
            return self._drives.sequence(sequence_id)

    def _take_up_a_former_set(self, server: Panoramax, sequence: Sequence) -> Sequence:
        """Before the catalogue was lost, these pictures went to a set: go on with that one, if it is as we want it."""
        former = self._past.set_of(sequence.id) if sequence.upload_set is None else None
        if former is None or former in self._unfit:
            return sequence
        try:
            there = server.upload_set(former)
            fit = there.is_private_and_whole and there.account_id == self._catalogue.telling.fact("account")
        except SetGone:
            fit = False
        if not fit:
            self._unfit.add(former)
            return sequence
        self._drives.set_is(sequence.id, former)
        self._journal.tell(Event.SET_ADOPTED, drive=sequence.drive, upload_set=former)
        return self._drives.sequence(sequence.id)


def name_in_set(picture: Picture) -> str:
    """The picture's name on the server: unique in its set, nothing personal in it, for anyone may read the listing."""
    when = f"{picture.captured:%Y%m%dT%H%M%SZ}-" if picture.captured else ""
    again = f"-{picture.renames}" if picture.renames else ""
    return f"{when}{picture.md5[:16]}{again}.jpg"


def id_in_set(picture: Picture, upload_set: str) -> str:
    """The picture's id on the server: the same however often it is sent to this set (a UUID)."""
    return str(uuid.uuid5(uuid.UUID(upload_set), f"{picture.md5}/{picture.renames}"))
