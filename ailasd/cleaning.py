"""Step: the only hand that deletes pictures. Off by default; any doubt keeps them (laws 1 and 10).

Right before each deletion the proof is looked at once more: what the server says (for "confirmed"), or our own copy
read again (for "copied"); and the file that is to go is read again and must have the very same bytes.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from ailasd.copying import md5_of
from ailasd.disk import fsync_folder
from ailasd.errors import AilasdError, NeedsHuman, NoLink, SetGone, SourceGone
from ailasd.logs import Event
from ailasd.model import Kind, Round, State
from ailasd.proof import Verdict, gather, judge

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from pathlib import Path

    from ailasd.catalogue import Catalogue
    from ailasd.catalogue.cards import FileKey
    from ailasd.catalogue.database import Row
    from ailasd.journal import Journal
    from ailasd.link import Link
    from ailasd.model import CardFile, Picture
    from ailasd.panoramax import Panoramax
    from ailasd.proof import Evidence
    from ailasd.sources import Source
    from ailasd.storage import Storage

    Media = Callable[[Callable[[int], bool]], Iterable[AbstractContextManager[Source]]]

PROOFS: Final = {
    "confirmed": (State.CONFIRMED, State.CLEANED),
    "copied": (State.COPIED, State.HELD, State.QUEUED, State.SENT, State.CONFIRMED, State.CLEANED, State.REFUSED),
}
"""The two words of ``cleaning.card`` -> the states whose files on a card may be considered."""

BATCH: Final = 200
"""Local copies looked at in one go: a little more than a full listing's worth of work between two looks at ``stop``."""

_GONE: Final = frozenset({Verdict.LOST, Verdict.REFUSED})


class Cleaning:
    """Deletes from cards, and from our own storage, what the configured proof allows.

    Args:
        media: the cards that are plugged in, as ``Attending.to_clear`` gives them.
        card: "confirmed", "copied", or None: cards are never touched.
        local_after: how long after its confirmation our own copy goes, or None: never by age.
        local_below: bytes of free space below which confirmed copies go, oldest first, or None.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        storage: Storage,
        journal: Journal,
        link: Link,
        sources: Sequence[Source],
        *,
        media: Media = lambda _: (),
        card: str | None,
        local_after: timedelta | None,
        local_below: int | None,
    ) -> None:
        self._catalogue = catalogue
        self._cards = catalogue.cards
        self._pictures = catalogue.pictures
        self._storage = storage
        self._journal = journal
        self._link = link
        self._sources = sources
        self._media = media
        self._card = card
        self._local_after = local_after
        self._local_below = local_below

    def run(self, stop: threading.Event, *, alive: Callable[[], None] = lambda: None) -> Round:
        """One round over the cards that are here and our own storage."""
        if self._card:
            for source in self._sources:
                self._clean_card(source, stop, alive)
            self._clean_media(stop, alive)
        self._clean_storage(stop, alive)
        return Round(worked=False)  # no step comes after this one

    # -- cards --------------------------------------------------------------------------------------------------------
    def _clean_media(self, stop: threading.Event, alive: Callable[[], None]) -> None:
        proof = PROOFS[self._card or "confirmed"]
        for opened in self._media(lambda card: bool(self._cards.clearable(card, proof)) and not self._stopped(card)):
            if stop.is_set():
                break
            with suppress(AilasdError), opened as source:  # pulled out meanwhile: attending says so
                self._clean_card(source, stop, alive)

    def _clean_card(self, source: Source, stop: threading.Event, alive: Callable[[], None]) -> None:
        try:
            about = source.card()
            card, label = self._cards.which(about, source.listing), about.label
            there, others = _pictures_on(source)
        except AilasdError:
            return  # not here, or not readable: importing says so
        self._count_the_missing(card, label, there.keys())
        rows = self._cards.clearable(card, PROOFS[self._card or "confirmed"])
        todo = [(there[key], rows[key]) for key in sorted(there.keys() & rows.keys())]
        cleared: list[int] = []
        try:
            if todo and not self._stopped(card):
                with source.writable() as writable:
                    for size in self._clear_all(writable, card, todo, stop, alive):
                        cleared.append(size)  # noqa: PERF402  (what went before the card was pulled counts too)
        except SourceGone:
            pass  # pulled out: what was deleted is known
        except NeedsHuman as error:  # write-protected, most likely
            command = "unlock the card and put it in again"
            self._journal.tell(Event.CLEANING_STOPPED, card_id=card, problem=str(error), command=command)
        if cleared:
            self._journal.tell(
                Event.CARD_CLEARED, card_id=card, card=label, files=len(cleared), bytes=sum(cleared), proof=self._card,
                kept=others + len(there) - len(cleared),
            )  # fmt: skip

    def _clear_all(
        self,
        source: Source,
        card: int,
        todo: list[tuple[CardFile, Row]],
        stop: threading.Event,
        alive: Callable[[], None],
    ) -> Iterator[int]:
        """Delete what is proven; yields the size of each that went."""
        proofs = _Proofs(self._link, self._catalogue.telling.fact("account") or "")
        for file, row in todo:
            if stop.is_set() or self._stopped(card):
                break
            alive()
            try:
                if self._clear(source, file, row, proofs):
                    yield file.size
            except (SourceGone, NeedsHuman):
                raise
            except AilasdError:
                continue  # this file is not what was listed any more, or cannot be read: keep it

    def _clear(self, source: Source, file: CardFile, row: Row, proofs: _Proofs) -> bool:
        """Delete one file from its card if the proof stands now. Returns whether it went."""
        picture = self._pictures.get(row["picture"])
        assert picture is not None
        if not (self._proven_here(picture, row) if self._card == "copied" else self._proven_there(picture, proofs)):
            return False
        with source.open(file) as on_card:
            if md5_of(on_card) != picture.md5:
                return False  # it changed behind our back: what we proved is something else
        self._cards.clearing(row["id"])  # first the note, then the deed: a file that we took is not "missing"
        source.remove(file)
        self._journal.note(Event.CARD_FILE_CLEARED, trace=picture.trace, path=file.path, proof=self._card)
        return True

    def _proven_here(self, picture: Picture, row: Row) -> bool:
        """The lesser proof: our copy was read back from the device once, and is whole now."""
        return bool(row["proven"]) and self._copy_is_whole(picture)

    def _copy_is_whole(self, picture: Picture) -> bool:
        if picture.copy is None:
            return False
        try:
            with self._storage.path_of(picture.copy).open("rb") as copy:
                return md5_of(copy) == picture.md5
        except OSError:
            return False

    # -- our own storage ----------------------------------------------------------------------------------------------
    def _clean_storage(self, stop: threading.Event, alive: Callable[[], None]) -> None:
        proofs = _Proofs(self._link, self._catalogue.telling.fact("account") or "")
        for picture in self._removable():
            if stop.is_set() or self._stopped(None):
                break
            alive()
            self._remove_copy(picture, proofs)

    def _removable(self) -> Iterator[Picture]:
        """What is old enough, for which the clocks of then and now must be believed; more, while there is no room."""
        clock = self._catalogue.clock
        if self._local_after is not None and clock.trusted():
            yield from self._pictures.oldest_confirmed(limit=BATCH, until=clock.now() - self._local_after)
        if self._low():
            yield from takewhile(lambda _: self._low(), self._pictures.oldest_confirmed(limit=BATCH))

    def _low(self) -> bool:
        return self._local_below is not None and self._storage.free() < self._local_below

    def _remove_copy(self, picture: Picture, proofs: _Proofs) -> None:
        assert picture.copy is not None
        path = self._storage.path_of(picture.copy)
        if path.exists():  # else a kill came between the deed and the note
            if not self._proven_there(picture, proofs) or not self._copy_is_whole(picture):
                return
            _unlink_durably(path)
        self._pictures.move(picture, State.CLEANED, copy=None)
        self._journal.note(Event.LOCAL_COPY_REMOVED, trace=picture.trace, picture=picture.name)

    # -- proof and suspicion ------------------------------------------------------------------------------------------
    def _proven_there(self, picture: Picture, proofs: _Proofs) -> bool:
        """Whether the server proves right now that it holds the picture: the same proof as for confirming."""
        if picture.upload_set is None:
            return False
        verdict = proofs.verdict(picture)
        if verdict in _GONE:
            # law 10: one confirmed picture that is gone is reason enough to delete nothing more
            self._journal.suspect(f"the server no longer holds {picture.name}, which it had confirmed")
            # with it all others that are gone from that set: or a person would have to say "go on" once for each
            for other in self._pictures.sent_to(picture.upload_set, state=State.CONFIRMED):
                if proofs.verdict(other) in _GONE:
                    self._pictures.unproven(other)
        return verdict is Verdict.CONFIRMED

    def _count_the_missing(self, card: int, label: str, there: AbstractSet[FileKey]) -> None:
        """Law 10, on a card: files are gone that we did not delete, and it is not a newly formatted one.

        Importing looks too, but may come after us.
        """
        known = self._cards.known_files(card)
        missing = known - self._cards.cleared_files(card) - there
        if missing and known & there and self._cards.cleaning_stopped(card) is None:
            problem = f"{len(missing)} files that we know are gone from {label}, and it was not us"
            self._cards.stop_cleaning(card, problem, missing)
            self._journal.tell(
                Event.CLEANING_STOPPED, card_id=card, problem=problem, command="ailasd release --cleaning"
            )

    def _stopped(self, card: int | None) -> bool:
        if self._catalogue.telling.fact("cleaning_stopped") is not None:
            return True
        return card is not None and self._cards.cleaning_stopped(card) is not None


class _Proofs:
    """What the server says in one round, each set asked for once; no verdict where it could not be asked."""

    def __init__(self, link: Link, account: str) -> None:
        self._link = link
        self._account = account
        self._asked: dict[str, Evidence | Verdict | None] = {}

    def verdict(self, picture: Picture) -> Verdict | None:
        """The verdict over this picture as of now."""
        upload_set = picture.upload_set or ""
        if upload_set not in self._asked:
            server = self._link.server()
            self._asked[upload_set] = self._ask(server, upload_set) if server else None
        evidence = self._asked[upload_set]
        if evidence is None or isinstance(evidence, Verdict):
            return evidence
        return judge(evidence.of(picture), evidence)

    def _ask(self, server: Panoramax, upload_set: str) -> Evidence | Verdict | None:
        try:
            evidence = gather(server, server.upload_set(upload_set), self._account)
        except SetGone:
            return Verdict.LOST
        except NeedsHuman as error:
            self._link.stopped(error)
        except NoLink as error:
            self._link.failed(error)
        except AilasdError:
            pass  # no answer that says anything: no proof in this round
        else:
            self._link.answered()
            return evidence
        return None


def _pictures_on(source: Source) -> tuple[dict[FileKey, CardFile], int]:
    """The pictures, and how many other entries there are: of a million of those none is kept in memory."""
    there: dict[FileKey, CardFile] = {}
    others = 0
    for file in source.listing():
        if file.kind is Kind.PICTURE:
            there[file[:3]] = file
        else:
            others += 1
    return there, others


def _unlink_durably(path: Path) -> None:
    path.unlink()
    fsync_folder(path.parent)
