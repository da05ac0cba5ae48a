"""A kit for the tests on a real Panoramax: the daemon's parts, a card, an account of its own; what the server says."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx

from ailasd import config
from ailasd.daemon import Daemon
from ailasd.demo import pictures
from ailasd.logs import Event
from ailasd.model import State
from ailasd.parts import Ailasd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from conftest import Real

    from ailasd.model import Picture

MOVING = (State.COPIED, State.QUEUED, State.SENT)
SPEED = 20
"""Waits that stand in rows (15 s before a second attempt, minutes before a look at a new token) pass so many times
faster than they would; what the network and the server take is real."""

_seeds = count(random.SystemRandom().randrange(1 << 40), 100_000)  # no content twice, whatever the server holds already


def fresh() -> int:
    """A seed from which on 100 000 pictures have content that no other test, and no run before, has sent."""
    return next(_seeds)


class FastClock:
    """The kernel's clock, ``SPEED`` times as fast since it was made."""

    def __init__(self) -> None:
        self._began = datetime.now(UTC)
        self._zero = time.monotonic()

    def now(self) -> datetime:
        return self._began + timedelta(seconds=self.monotonic())

    def trusted(self) -> bool:
        return True

    def monotonic(self) -> float:
        return (time.monotonic() - self._zero) * SPEED


class Kit:
    """A kit with an account of its own on the server, and the card that is in it.

    Args:
        toml: more of its configuration.
        server: what its configuration says of the server, if that is not simply its address.
    """

    def __init__(self, real: Real, folder: Path, account: str, toml: str, *, server: str | None = None) -> None:
        self.server, self.url = real.instance, real.url
        self.card = folder / "card"
        self.card.mkdir()
        self.token_file = folder / "token"
        self.account = account
        self.new_token()
        text = f"""
            kit = "kit-07"
            storage = {{folder = "{folder}/state", reserve = "10MB"}}
            server = {{{server or f'url = "{real.url}"'}, token_file = "{self.token_file}"}}
            sources = {{folders = ["{self.card}"], every = "1s"}}
            cards = {{watch = false}}
            inbox = {{folder = ""}}
            confirm = {{every = "1s"}}
            upload.probe_every = "1s"
            upload.metered = true
            """
        self.toml = text + toml
        self.parts = Ailasd(config.parse(self.toml, "test"), clock=FastClock())

    def new_token(self) -> None:
        """A fresh token for the same account, as its administrator would put it there."""
        self.token_file.touch(0o600)
        self.token_file.write_text(self.server.token(self.account))

    # -- what is done -------------------------------------------------------------------------------------------------
    def takes(self, *drives: Iterable[tuple[str, bytes, float]]) -> list[str]:
        """Write these drives onto the card; returns the md5 of each picture in capture order."""
        md5s = []
        for entries in drives:
            files = list(entries)
            pictures.write_card(self.card, files)
            md5s += [md5_of(data) for _, data, _ in files]
        return md5s

    @contextmanager
    def running(self) -> Iterator[None]:
        """The daemon, until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=Daemon(self.parts).run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)
            assert not thread.is_alive()
        assert not self.events(Event.STEP_FAILED)

    def wait(self, until: Callable[[], bool], within: float = 120) -> None:
        """Until it comes true, or the test has failed."""
        end = time.monotonic() + within
        while not until():
            why = self.parts.catalogue.telling.fact("link")
            assert time.monotonic() < end, (self.tally(), why)
            time.sleep(0.1)

    def all_settled(self) -> bool:
        """The card was read to its end, and no picture waits for anything but a person."""
        return bool(self.parts.catalogue.telling.totals()["on_card"]) and not any(self.tally()[s] for s in MOVING)

    def settle(self, within: float = 240) -> None:
        """Run the daemon until all is settled."""
        with self.running():
            self.wait(self.all_settled, within)

    # -- what the kit says --------------------------------------------------------------------------------------------
    def tally(self) -> Counter[str]:
        """State -> pictures; of held and refused ones also "state reason" -> pictures."""
        found: Counter[str] = Counter()
        for row in self.parts.catalogue.telling.tally():
            found[row["state"]] += row["pictures"]
            if row["reason"]:
                found[f"{row['state']} {row['reason']}"] += row["pictures"]
        return found

    def rows(self, md5s: Iterable[str]) -> list[dict[str, Any]]:
        """The catalogue's whole rows."""
        return [self.parts.catalogue.pictures.whole_row(self.picture(md5).id) for md5 in md5s]

    def picture(self, md5: str) -> Picture:
        """One picture."""
        (found,) = self.parts.catalogue.pictures.find(md5)
        return found

    def sets(self) -> list[str]:
        """The upload sets in which the proofs lie, oldest first."""
        rows = [row for state in State for row in self.parts.catalogue.pictures.in_state(state)]
        return list(dict.fromkeys(row.upload_set for row in rows if row.upload_set))

    def events(self, event: Event) -> list[dict[str, Any]]:
        """What was told."""
        return [row for row in self.parts.catalogue.telling.timeline(limit=100_000) if row["name"] == event]

    # -- what the server says -----------------------------------------------------------------------------------------
    def get(self, path: str, *, stranger: bool = False) -> httpx.Response:
        """GET with the kit's token, or as anybody; ``path`` may be a whole address."""
        headers = {} if stranger else {"Authorization": f"Bearer {self.token_file.read_text()}"}
        url = path if path.startswith("http") else self.url + path
        return httpx.get(url, headers=headers, trust_env=False, timeout=60)

    def document(self, path: str) -> dict[str, Any]:
        """JSON of a GET that must succeed."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def collection(self, upload_set: str) -> str:
        """The one sequence that the server made of a set."""
        (found,) = self.document(f"/api/upload_sets/{upload_set}")["associated_collections"]
        return str(found["id"])

    def items(self, collection: str) -> list[dict[str, Any]]:
        """All items of a sequence, in the server's order."""
        found: list[dict[str, Any]] = []
        path: str | None = f"/api/collections/{collection}/items?limit=1000"
        while path:
            page = self.document(path)
            found += page["features"]
            path = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
        return found

    def listed(self) -> dict[str, dict[str, Any]]:
        """md5 -> the row of a listing that holds it, over all sets; no md5 is held twice."""
        rows = [row for one in self.sets() for row in self.document(f"/api/upload_sets/{one}/files")["files"]]
        held = [row for row in rows if row.get("picture_id") and "rejected" not in row]
        assert len({row["content_md5"] for row in held}) == len(held)
        return {row["content_md5"]: row for row in held}

    def sequences(self) -> int:
        """How many sequences of this account the server has at all."""
        text = "SELECT count(*) FROM sequences WHERE account_id = (SELECT id FROM accounts WHERE name = :'name')"
        return int(self.server.sql(text, name=self.account))

    def holds(self, md5s: Iterable[str]) -> Counter[int]:
        """How often the server's database holds each content: {1: all of them} is as it should be."""
        text = "SELECT replace(original_content_md5::text, '-', '') FROM pictures"
        there = Counter(self.server.sql(text).split())
        return Counter(there[md5] for md5 in md5s)

    def assert_confirmed_once(self, md5s: Iterable[str]) -> None:
        """Each is confirmed by the kit, and on the server exactly once."""
        wanted = list(md5s)
        states = Counter(row["state"] for row in self.rows(wanted))
        assert states == {State.CONFIRMED: len(wanted)}, self.tally()
        assert self.holds(wanted) == {1: len(wanted)}


def md5_of(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@contextmanager
def opened_kits(real: Real, folder: Path) -> Iterator[Callable[..., Kit]]:
    made: list[Kit] = []

    def make(toml: str = "") -> Kit:
        home = folder / f"kit-{len(made)}"
        home.mkdir()
        made.append(Kit(real, home, f"kit-{fresh()}", toml))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.parts.close()
