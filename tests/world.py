"""A kit in its world: two cards, a reader, a server that others use too, people, and everything that goes wrong.

``World`` does things; ``Ledger`` watches all the time and remembers what was not as promised.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unittest.mock import patch

from effects import Effects
from kit import START, Kit, md5

from ailasd import copying, disk, logs
from ailasd.by_hand import ByHand, Choice
from ailasd.demo import pictures
from ailasd.demo.receiver import Receiver
from ailasd.demo.receiver_multipart import Form

if TYPE_CHECKING:
    from ailasd.demo.receiver_records import UploadSet
    from ailasd.model import State

MEMORY: Final = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""What is flushed here costs nothing: these tests are about order and proof, not about the disk."""

CAMERAS: Final = (
    {"model": "HERO13 Black", "serial": "C3531325123456"},
    {"model": "HERO11 Black", "serial": "C3471325654321"},
)
NO_FIX, CUT = 2, 4
"""Of each trip's pictures this one has no position, and that one is cut off."""
LENGTH: Final = 6


class Trip(NamedTuple):
    """One recording of six pictures, four of which are good."""

    camera: int = 0
    day: int = 0
    first: int = 1
    clock_error: timedelta = timedelta()


TRIPS: Final = (
    Trip(),
    Trip(day=1),  # after a format: the names of yesterday, other pictures
    Trip(day=2, first=9998, clock_error=timedelta(minutes=5)),
    Trip(camera=1),
)


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture as it lies on a card."""

    path: str
    data: bytes
    mtime: float
    good: bool

    @property
    def md5(self) -> str:
        return md5(self.data)


@lru_cache(maxsize=len(TRIPS))
def shots(trip: int) -> tuple[Shot, ...]:
    """All pictures of ``TRIPS[trip]``."""
    facts: Any = CAMERAS[TRIPS[trip].camera]
    made = pictures.drive(
        start=START + timedelta(days=TRIPS[trip].day - 5),  # the kit's clock begins after all of them
        n=LENGTH,
        clock_error=TRIPS[trip].clock_error,
        first=TRIPS[trip].first,
        seed=100 * trip,
        no_fix=(NO_FIX,),
        **facts,
    )
    return tuple(
        Shot(path, data[: len(data) * 6 // 10] if number == CUT else data, mtime, number not in (NO_FIX, CUT))
        for number, (path, data, mtime) in enumerate(made)
    )


GOOD: Final = frozenset(shot.md5 for trip in range(len(TRIPS)) for shot in shots(trip) if shot.good)


@dataclass
class Ledger:
    """What happened to whom, by md5; and every broken promise, as a sentence.

    Attributes:
        card: the files that must lie on the card in the reader, with their md5.
        forgotten: how often the receiver lost a content that it had accepted.
        others: contents that another account uploaded as well.
        by_proof: our copies that were deleted when their proof stood.
    """

    kit: Kit
    cleaning: str
    card: dict[Path, str] = field(default_factory=dict)
    forgotten: Counter[str] = field(default_factory=Counter)
    others: set[str] = field(default_factory=set)
    by_proof: set[Path] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)

    def removing(self, path: Path) -> None:
        """Law 1, at the very moment: a file goes only if its proof stands."""
        if path.is_relative_to(self.kit.card):
            content = self.card.pop(path, "")
            if not (self._held_and_ready(content) or (self.cleaning == "copied" and self._copied(content))):
                self.broken.append(f"{path} left the card without proof")
            if self.cleaning == "off":
                self.broken.append(f"{path} left the card though nobody asked for it")
        elif path.is_relative_to(self.kit.tmp / "state" / "pictures") and path.suffix == ".jpg":  # not a report
            if not self._held_and_ready(_md5_of(path)):
                self.broken.append(f"{path}, our own copy, went without proof")
            self.by_proof.add(path)

    def _held_and_ready(self, content: str) -> bool:
        """As the server's listing and its item status would say it at this moment."""
        store = self.kit.receiver.store
        with store.lock:
            return any(
                picture.damage is None
                and (found := store.sets[picture.set_id]).dispatched
                and picture.id in found.sequence
                and any(file.picture_id == picture.id and not file.rejected for file in found.files.values())
                for picture in store.pictures.values()
                if picture.md5 == content
            )

    def _copied(self, content: str) -> bool:
        found = self.kit.parts.catalogue.pictures.find(content)
        return bool(found) and _md5_of(self.kit.parts.storage.path_of(found[0].copy or "")) == content

    def watch_server(self, patches: ExitStack) -> None:
        """See every picture that comes in, every one that is lost, and who asks."""
        store = self.kit.receiver.store
        receive, forget, account_of = store.receive, store._forget, store.tokens.account_of

        def receiving(found: UploadSet, form: Form, **how: Any) -> Any:
            if form.md5 in store._by_md5 and form.md5 not in self.others:
                self.broken.append(f"the bytes of {form.md5}, which the server held, were sent once more")
            return receive(found, form, **how)

        def forgetting(file: Any) -> None:
            if file.picture_id:
                self.forgotten[file.md5] += 1
            forget(file)

        def asking(authorization: str | None) -> Any:
            if authorization is None:
                self.broken.append("a request came without the token")
            return account_of(authorization)

        for name, watched in (("receive", receiving), ("_forget", forgetting)):
            patches.enter_context(patch.object(store, name, watched))
        patches.enter_context(patch.object(store.tokens, "account_of", asking))


class World:
    """One kit from its first day until ``close``; every public method is something that happens."""

    def __init__(self, cleaning: dict[str, str], **upload: Any) -> None:
        self._undo = ExitStack()
        # every event of every path must have the fields that its sentence needs
        logs.set_up("debug", StringIO(), strict=True)
        here = Path(self._undo.enter_context(TemporaryDirectory(dir=MEMORY)))
        self.receiver = self._undo.enter_context(Receiver())
        self.kit = Kit(
            here, self.receiver, entries=[],
            cleaning=cleaning, upload=upload, drives={"most_pictures": 3},
        )  # fmt: skip
        self._undo.callback(self.kit.close)
        self.ledger = Ledger(self.kit, cleaning.get("card", "off"))
        self.ledger.watch_server(self._undo)
        # a file system in memory never proves that it read from a device; here it stands for one that does
        self._undo.enter_context(patch.object(copying, "_cached", lambda _fd, _size: False))
        self.effects = self._undo.enter_context(Effects(self.ledger.removing))
        self.shelf = [here / "shelf" / str(number) for number in range(len(CAMERAS))]
        for folder, camera in zip(self.shelf, CAMERAS, strict=True):
            pictures.write_card(folder, [], **camera)
        self._trash = here / "trash"
        self._trash.mkdir()
        self._throw_away(self.kit.card)  # the reader is empty at first
        self.inserted: int | None = None
        self.wrong_by = timedelta()
        self.proven: set[str] = set()  # contents that were confirmed when somebody looked last
        self.forgotten: Counter[str] = Counter()  # and the ledger's count at that time
        self._stranger = self.receiver.store.tokens.account_of(f"Bearer {self.receiver.token('somebody else')}")

    def close(self) -> None:
        self._undo.close()

    # -- cards --------------------------------------------------------------------------------------------------------
    def insert(self, card: int) -> None:
        """This card, and no other, is in the reader."""
        self.take_out()
        self.folder(card).rename(self.kit.card)
        self.inserted = card
        self.ledger.card = {path: _md5_of(path) for path in _pictures(self.kit.card)}

    def take_out(self) -> None:
        if self.inserted is not None and self.kit.card.exists():
            self.kit.card.rename(self.shelf[self.inserted])
        self.inserted, self.ledger.card = None, {}

    def folder(self, card: int) -> Path:
        return self.kit.card if card == self.inserted else self.shelf[card]

    def shoot(self, card: int, trip: int, first: int, last: int, *, copied: bool) -> None:
        """Pictures of a trip come onto a card; ``copied``: somebody gave them other names."""
        taken = shots(trip)[first:last]
        if copied:
            taken = tuple(_renamed(shot) for shot in taken)
        for shot in taken:
            pictures.write_card(self.folder(card), [(shot.path, shot.data, shot.mtime)], **CAMERAS[card])
            if card == self.inserted:
                self.ledger.card[self.kit.card / shot.path] = shot.md5

    def format(self, card: int) -> None:
        """The camera empties the card; its names begin again."""
        self._throw_away(self.folder(card) / "DCIM")
        if card == self.inserted:
            self.ledger.card = {}

    def _throw_away(self, folder: Path) -> None:
        """Not deleted: the ledger takes every deletion for one of the code under test."""
        if folder.exists():
            folder.rename(self._trash / str(len(list(self._trash.iterdir()))))

    # -- steps --------------------------------------------------------------------------------------------------------
    def step(self, name: str) -> None:
        stop = threading.Event()
        match name:
            case "import":
                for one in self.kit.parts.importing:
                    one.run(stop)
            case "sort":
                self.kit.parts.sorting.run(stop)
            case "upload":
                self.kit.parts.uploading.run(stop)
            case "confirm":
                self.kit.parts.confirming.run(stop)
            case "clean":
                self.kit.parts.cleaning.run(stop)

    def import_and_yank(self, after: int) -> None:
        """The card is pulled out after so many blocks were read from it."""
        yank = _Yank(self, after)
        for one in self.kit.parts.importing:
            one.run(threading.Event(), progress=yank)

    def import_and_stop(self, after: int) -> None:
        """Somebody stops the daemon after so many blocks were read."""
        stop = threading.Event()
        for one in self.kit.parts.importing:
            one.run(stop, progress=_Stop(stop, after))

    def kill(self, step: str, kind: str, nth: int) -> None:
        """The process dies at that effect of that step (or right after it), and a new one begins."""
        with self.effects.killed_at(kind, nth):
            self.step(step)
        self.kit.parts.close()
        self.kit.parts = self.kit.start()
        disk.sweep(self.kit.parts.storage.incoming)  # as the daemon does when it starts

    # -- time ---------------------------------------------------------------------------------------------------------
    def pass_time(self, by: timedelta) -> None:
        self.kit.clock.advance(by.total_seconds())

    def set_clock(self, wrong_by: timedelta, *, trusted: bool) -> None:
        """The wall clock is off by that much from now on; one that is off is never trusted."""
        self.kit.clock.jump(wrong_by - self.wrong_by)
        self.wrong_by = wrong_by
        self.kit.clock.believed = trusted and not wrong_by

    # -- the server and its other people ------------------------------------------------------------------------------
    def lose(self, nth: int) -> None:
        """The receiver loses one of the pictures that it holds."""
        if held := sorted(self.receiver.holds()):
            self.receiver.lose_picture(held[nth % len(held)])

    def somebody_uploads(self, trip: int, number: int, *, completed: bool) -> None:
        """Another account has the same bytes, and was faster."""
        shot, store = shots(trip)[number], self.receiver.store
        assert self._stranger is not None
        with store.lock:
            if not shot.good or shot.md5 in store._by_md5:
                return
            self.ledger.others.add(shot.md5)
            made = store.sets[store.create(self._stranger, {"title": "by hand", "visibility": "logged-only"})["id"]]
            store.receive(made, Form({}, True, "IMG.jpg", shot.data, shot.md5, len(shot.data)))
            if completed:
                store.complete(made)

    def take_token(self) -> None:
        """Our token is revoked."""
        self.receiver.revoke(self.kit.token.read_text())

    def give_token(self) -> None:
        """Somebody put a valid one into its file."""
        self.kit.token.write_text(self.receiver.token("kit"))

    # -- people -------------------------------------------------------------------------------------------------------
    @property
    def hand(self) -> ByHand:
        parts = self.kit.parts
        return ByHand(parts.catalogue, parts.storage, parts.sorting, parts.journal)

    def by_hand(self, what: str, nth: int, *states: State) -> None:
        """``hold``, ``release`` or ``retry`` the ``nth`` of the pictures in these states, if there is any."""
        found = [one for state in states for one in self.kit.parts.catalogue.pictures.in_state(state)]
        if found:
            getattr(self.hand, what)(Choice((found[nth % len(found)],)))

    # -- the end of all trouble ---------------------------------------------------------------------------------------
    def all_well(self) -> None:
        """No faults any more, the way is open, the clock is right, people did what they were asked to."""
        self.receiver.clear_faults()
        self.receiver.back()
        self.give_token()
        self.set_clock(timedelta(), trusted=True)
        self.hand.let_cleaning_go_on()
        store = self.receiver.store
        with store.lock:
            for found in store.sets.values():
                if found.owner is self._stranger:
                    store.complete(found)

    def drain(self) -> None:
        """Every card is read once more, then all steps run until nothing is left to do."""
        for card in range(len(self.shelf)):
            self.insert(card)
            self.step("import")
        self.kit.clock.advance(400)  # past the wait after "a human must act"
        self.kit.drain(rounds=200)


class _Yank:
    """A ``Progress`` that pulls the card."""

    def __init__(self, world: World, after: int) -> None:
        self._world = world
        self._left = after

    def begins(self, files: int, bytes_: int) -> None:
        pass

    def advances(self, bytes_: int) -> None:
        self._left -= 1
        if self._left == 0:
            self._world.take_out()


class _Stop:
    """A ``Progress`` that sets an event."""

    def __init__(self, stop: threading.Event, after: int) -> None:
        self._stop = stop
        self._left = after

    def begins(self, files: int, bytes_: int) -> None:
        pass

    def advances(self, bytes_: int) -> None:
        self._left -= 1
        if self._left == 0:
            self._stop.set()


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix == ".JPG")


def _md5_of(path: Path) -> str:
    return md5(path.read_bytes()) if path.is_file() else ""


def _renamed(shot: Shot) -> Shot:
    number = int(shot.path[-8:-4])
    return replace(shot, path=f"DCIM/105GOPRO/G001{(number + 50) % 9999:04d}.JPG", mtime=shot.mtime + 1000)
