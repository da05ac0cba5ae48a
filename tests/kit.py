"""A whole ``Ailasd`` in a temporary place, with a card, the receiver, and a clock that the test sets.

Everything is real (files, SQLite, sockets) but time: waiting is done by setting the clock forward.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ailasd.catalogue import Catalogue
from ailasd.config import Config
from ailasd.demo import pictures
from ailasd.demo.receiver import Receiver
from ailasd.model import Picture, Round, State
from ailasd.parts import Ailasd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ailasd.catalogue.database import Row
    from ailasd.demo.receiver_records import UploadSet

START = datetime(2026, 11, 20, 7, tzinfo=UTC)
"""When the first picture of a drive is taken; the kits' clocks begin a day later."""

NO_PROGRESS_S = 0.5
"""Real seconds until a black-holed request is given up: far above any honest answer of the receiver."""

UNSETTLED = {State.COPIED, State.QUEUED, State.SENT}


class SetClock:
    """A clock that stands still until it is set."""

    def __init__(self, now: datetime = START + timedelta(days=1)) -> None:
        self.wall = now
        self.elapsed = 1000.0
        self.believed = True

    def now(self) -> datetime:
        return self.wall

    def trusted(self) -> bool:
        return self.believed

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        """Time goes by."""
        self.wall += timedelta(seconds=seconds)
        self.elapsed += seconds

    def jump(self, by: timedelta) -> None:
        """Somebody sets the wall clock; no time goes by."""
        self.wall += by


def drive(n: int = 3, **facts: Any) -> list[tuple[str, bytes, float]]:
    """``n`` good pictures, ready for ``pictures.write_card``."""
    return list(_drive(tuple(sorted({"start": START, "n": n, **facts}.items()))))


@cache
def _drive(facts: tuple[tuple[str, Any], ...]) -> list[tuple[str, bytes, float]]:
    return list(pictures.drive(**dict(facts)))


@cache
def _empty_catalogue() -> bytes:
    """Made once: the schema takes 0.15 s, and there are 150 kits."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "catalogue.db")
        Catalogue(path, SetClock()).close()
        return path.read_bytes()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Kit:
    """``parts`` as the daemon has them, and what the tests do with them.

    Attributes:
        sent: the form fields of each picture that the receiver took in, by md5.
    """

    def __init__(self, tmp: Path, receiver: Receiver, *, entries: list[Any] | None = None, **tables: Any) -> None:
        self.tmp = tmp
        self.receiver = receiver
        self.clock = SetClock()
        self.card = tmp / "card"
        self.token = tmp / "token"
        self.token.touch(mode=0o600)
        self.token.write_text(receiver.token("kit"))
        self.entries = drive() if entries is None else entries
        pictures.write_card(self.card, self.entries)
        self.tables = tables
        self.sent: dict[str, dict[str, str]] = {}
        self._listen()
        (tmp / "state").mkdir()
        (tmp / "state" / "catalogue.db").write_bytes(_empty_catalogue())
        self.parts = self.start()

    def config(self) -> Config:
        tables: dict[str, Any] = {
            "storage": {"folder": self.tmp / "state", "reserve": "10MB"},
            "server": {"url": self.receiver.url, "token_file": self.token},
            "sources": {"folders": [self.card], "every": "1s"},
            "cards": {"watch": False},  # what is plugged into this machine is none of a test's business
            "inbox": {"folder": ""},
            "upload": {"metered": True},  # nor is the network that it is in
        }
        return Config.model_validate(
            {name: {**tables.get(name, {}), **self.tables.get(name, {})} for name in {*tables, *self.tables}}
        )

    def start(self, clock: Any = None) -> Ailasd:
        """The parts, as a new process would make them."""
        self.parts = Ailasd(
            self.config(), clock=clock or self.clock, random=Random(1), no_progress_s=NO_PROGRESS_S
        )  # fmt: skip
        return self.parts

    def restart(self, **tables: Any) -> None:
        """As after a kill, with these tables of the configuration changed."""
        self.parts.close()
        self.tables |= tables
        self.start()

    def close(self) -> None:
        self.parts.close()

    def _listen(self) -> None:
        receive = self.receiver.store.receive

        def listening(found: Any, form: Any, **how: Any) -> Any:
            self.sent[form.md5] = dict(form.fields)
            return receive(found, form, **how)

        self.receiver.store.receive = listening  # type: ignore[method-assign]

    # -- steps --------------------------------------------------------------------------------------------------------
    def bring_in(self) -> None:
        """Import and sort."""
        for step in self.parts.importing:
            step.run(threading.Event())
        self.parts.sorting.run(threading.Event())

    def upload(self) -> Round:
        return self.parts.uploading.run(threading.Event())

    def confirm(self) -> Round:
        return self.parts.confirming.run(threading.Event())

    def clean(self) -> None:
        self.parts.cleaning.run(threading.Event())

    def drain(self, *, rounds: int = 60) -> None:
        """Run the steps in their order, the clock set to when the next is due, until all is settled (or ``rounds``)."""
        for _ in range(rounds):
            self.bring_in()
            wants = [self.upload().again_in, self.confirm().again_in]
            if not UNSETTLED & set(self.states()):
                break
            self.clock.advance(min((wish for wish in wants if wish is not None), default=60.0) + 0.001)
        self.confirm()
        self.clean()

    # -- what is ------------------------------------------------------------------------------------------------------
    def rows(self) -> list[Row]:
        """All pictures, as the catalogue has them."""
        with self.parts.catalogue.writing() as db:
            return list(db["picture"].rows)

    def states(self) -> dict[str, int]:
        return dict(Counter(row["state"] for row in self.rows()))

    def reasons(self) -> dict[str, int]:
        """Why pictures are held or refused."""
        return dict(Counter(row["reason"] for row in self.rows() if row["reason"]))

    def picture(self, index: int = 0) -> Picture:
        """The picture of ``entries[index]``."""
        (found,) = self.parts.catalogue.pictures.find(md5(self.entries[index][1]))
        return found

    def copy(self, index: int = 0) -> Path:
        """Our copy of it."""
        return self.parts.storage.path_of(self.picture(index).copy or "")

    def on_card(self) -> list[str]:
        """The pictures on the card."""
        return sorted(str(path.relative_to(self.card)) for path in self.card.rglob("*.JPG"))

    def calls(self) -> Counter[str]:
        """How often each call was asked for so far."""
        return Counter(request.call for request in self.receiver.requests)

    def events(self) -> list[str]:
        return [row["name"] for row in self.parts.catalogue.telling.timeline()]

    def link(self) -> str:
        """What was last said of the link."""
        return self.parts.catalogue.telling.fact("link") or ""

    def stopped(self) -> str | None:
        """Why cleaning is stopped."""
        return self.parts.catalogue.telling.fact("cleaning_stopped")

    def the_set(self) -> UploadSet:
        """The only set on the receiver."""
        (one,) = self.receiver.store.sets.values()
        return one

    def held_once(self) -> bool:
        """The promise: everything is confirmed, and the receiver has each content exactly once."""
        wanted = {md5(data): 1 for _, data, _ in self.entries}
        return self.states() == {State.CONFIRMED: len(wanted)} and self.receiver.holds() == wanted


@contextmanager
def kits(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    """Makes kits, each with a folder of its own and all on one receiver, and closes them.

    In memory where there is a file system for that: 20 000 fsync are not what these tests are about.
    """
    made: list[Kit] = []
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with Receiver() as receiver, TemporaryDirectory(dir=memory) as here:

        def make(*, on_disk: bool = False, **how: Any) -> Kit:
            folder = (tmp_path if on_disk else Path(here)) / str(len(made))
            folder.mkdir()
            made.append(Kit(folder, receiver, **how))
            return made[-1]

        try:
            yield make
        finally:
            for one in made:
                one.close()


@contextmanager
def held_to_permissions() -> Iterator[None]:
    """Take from this thread (and those it starts) root's right to read and write where nobody may."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves
    assert libc.capget(head, before) == 0
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(head, less) == 0
    try:
        yield
    finally:
        assert libc.capset(head, before) == 0
