"""Thin first, fill later, against the receiver and the real Panoramax: seen early, whole in the end, nothing twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from kit import START, drive, kits
from real_kit import fresh, opened_kits

from ailasd.demo import pictures
from ailasd.logs import Event
from ailasd.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Real
    from kit import Kit
    from real_kit import Kit as RealKit

    from ailasd.catalogue import Catalogue
    from ailasd.demo.receiver_multipart import Form
    from ailasd.demo.receiver_records import Document, UploadSet
    from ailasd.panoramax import Listed

    Make = Callable[..., Kit]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as make:
        yield make


@pytest.fixture
def kit(real: Real, tmp_path: Path) -> Iterator[Callable[..., RealKit]]:
    with opened_kits(real, tmp_path) as make:
        yield make


def send(kit: Kit, pictures: int) -> None:
    """So many pictures, then stop."""
    stop = threading.Event()
    left = [pictures]

    def alive() -> None:
        left[0] -= 1
        if left[0] <= 0:
            stop.set()

    kit.parts.uploading.run(stop, alive=alive)


def look(kit: Kit) -> None:
    kit.clock.advance(60)
    kit.confirm()


def rows(catalogue: Catalogue, table: str) -> list[dict[str, Any]]:
    with catalogue.writing() as db:
        return list(db[table].rows)


def completed(kit: Kit) -> int:
    return kit.calls()["complete"]


ONE = {"connections": 1, "thin": 10}


# -- against the receiver ----------------------------------------------------------------------------------------------
def test_published_early(make: Make) -> None:
    """When every tenth picture is sent the set is completed, they are confirmed, and people are told where to look."""
    kit = make(entries=drive(41), upload=ONE)
    kit.bring_in()
    send(kit, 4)
    look(kit)
    assert completed(kit) == 0
    send(kit, 1)
    look(kit)
    look(kit)
    assert kit.states() == {State.CONFIRMED: 5, State.QUEUED: 36}
    assert [kit.picture(index).state for index in (0, 10, 20, 30, 40)] == [State.CONFIRMED] * 5
    assert Event.SEQUENCE_PUBLISHED_EARLY in kit.events()
    asked = len(kit.receiver.requests)
    for _ in range(10):
        look(kit)
    assert len(kit.receiver.requests) == asked  # between the passes there is nothing to look for
    kit.drain()
    assert kit.held_once()
    assert (completed(kit), kit.calls()["create"]) == (2, 1)


def test_filled_while_the_thin_pass_is_looked_at(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as whole once, when it is: not at the look during which all the rest was sent."""
    kit = make(entries=drive(31), upload=ONE)
    kit.bring_in()
    send(kit, 4)
    look(kit)
    settle = kit.parts.confirming._settle
    monkeypatch.setattr(kit.parts.confirming, "_settle", lambda *words: (settle(*words), kit.upload())[0])
    look(kit)
    assert kit.states() == {State.CONFIRMED: 4, State.SENT: 27}
    assert Event.SEQUENCE_CONFIRMED not in kit.events()
    kit.drain()
    assert kit.events().count(Event.SEQUENCE_CONFIRMED) == 1


def test_filled_while_the_server_is_slow(make: Make) -> None:
    """The fill goes on while thin waits for its dispatch: the set is not completed again before that is seen."""
    kit = make(entries=drive(31), upload=ONE)
    kit.receiver.store._dispatch_after = None
    kit.bring_in()
    send(kit, 4)
    look(kit)
    assert completed(kit) == 1
    kit.upload()
    assert kit.states() == {State.SENT: 31}
    for _ in range(3):
        look(kit)
    assert completed(kit) == 1
    kit.receiver.dispatch()  # with all that came meanwhile
    look(kit)
    assert completed(kit) == 2
    kit.receiver.dispatch()
    look(kit)
    assert kit.held_once()
    assert completed(kit) == 2


def test_completing_was_not_heard(make: Make) -> None:
    """A request to complete that never arrived is made again, after some looks in which its dispatch might be seen."""
    kit = make(entries=drive(31), upload=ONE)
    kit.bring_in()
    send(kit, 4)
    kit.receiver.fault("complete", "drop_before", times=1)
    kit.drain()
    assert kit.held_once()


def test_sent_after_completing_was_said(make: Make) -> None:
    """A picture that arrives while the set is being completed is published by another completion, whatever it says."""
    kit = make(entries=drive(12), upload=ONE)
    kit.bring_in()
    send(kit, 2)
    receive, catalogue = kit.receiver.store.receive, kit.parts.catalogue
    was_completed = []

    def unnoticed(found: UploadSet, form: Form, **how: bool) -> Document:
        """The picture is on its way: meanwhile we complete its set, and the server forgets to open it again."""
        kit.receiver.store.receive = receive  # type: ignore[method-assign]
        (sequence,) = (row["id"] for row in rows(catalogue, "sequence"))
        kit.receiver.store.complete(found)
        catalogue.drives.completing(sequence, 2)
        kit.receiver.store.dispatch()
        answer = receive(found, form, **how)
        found.completed = True
        was_completed.append(found.completed)
        return answer

    kit.receiver.store.receive = unnoticed  # type: ignore[method-assign]
    send(kit, 1)
    assert was_completed
    kit.drain()
    assert kit.held_once()


def test_sent_while_we_look(make: Make) -> None:
    """A picture that is sent after the listing was read is not lost, though that listing does not have it."""
    kit = make(entries=drive(31), upload=ONE)
    kit.receiver.store._dispatch_after = None
    kit.bring_in()
    send(kit, 4)
    look(kit)
    kit.receiver.dispatch()
    server = kit.parts.link.server()
    assert server is not None
    listing = server.listing

    def slowly(set_id: str, **how: str) -> list[Listed]:
        found = listing(set_id, **how)
        send(kit, 5)
        return found

    server.listing = slowly  # type: ignore[method-assign, assignment]
    look(kit)
    assert kit.states() == {State.CONFIRMED: 4, State.SENT: 5, State.QUEUED: 22}
    assert not any(row["losses"] for row in rows(kit.parts.catalogue, "picture"))


def test_set_gone_between_the_passes(make: Make) -> None:
    """A set that is deleted after its thin pass was confirmed is made anew, and gets the thin pass once more."""
    kit = make(entries=drive(31), upload=ONE)
    kit.bring_in()
    send(kit, 4)
    look(kit)
    look(kit)
    assert kit.states() == {State.CONFIRMED: 4, State.QUEUED: 27}
    kit.receiver.store.delete(kit.the_set())
    kit.drain()
    assert kit.held_once()
    assert kit.calls()["create"] == 2


def test_off(make: Make) -> None:
    """With ``thin = 1`` a set is completed once, when all of it is sent."""
    kit = make(entries=drive(31), upload={"connections": 1, "thin": 1})
    kit.bring_in()
    send(kit, 20)
    look(kit)
    assert completed(kit) == 0
    kit.drain()
    assert kit.held_once()
    assert completed(kit) == 1


# -- on the real server ------------------------------------------------------------------------------------------------
@pytest.mark.real
def test_seen_early_and_whole_in_the_end(kit: Callable[..., RealKit]) -> None:
    """Thin is seen in a sequence before the rest is sent; filled, it is that same sequence, in order, each one once."""
    one = kit("upload.connections = 1")
    md5s = one.takes(pictures.drive(start=START, n=60, seed=fresh()))
    thin = md5s[::10]
    parts = one.parts
    for step in parts.importing:
        step.run(threading.Event())
    parts.sorting.run(threading.Event())
    send(one, len(thin))  # type: ignore[arg-type]
    assert one.tally()[State.SENT] == len(thin)
    end = time.monotonic() + 60
    while one.tally()[State.SENT]:
        assert time.monotonic() < end
        parts.confirming.run(threading.Event())
        time.sleep(0.05)
    (upload_set,) = one.sets()
    early = one.collection(upload_set)
    by_md5 = {md5: row["picture_id"] for md5, row in one.listed().items()}
    assert [item["id"] for item in one.items(early)] == [by_md5[md5] for md5 in thin]
    assert one.events(Event.SEQUENCE_PUBLISHED_EARLY)
    links = {row["web_link"] for row in one.rows(thin)}

    one.settle()
    one.assert_confirmed_once(md5s)
    assert (one.sets(), one.collection(upload_set), one.sequences()) == ([upload_set], early, 1)
    ids = {md5: row["picture_id"] for md5, row in one.listed().items()}
    assert [item["id"] for item in one.items(early)] == [ids[md5] for md5 in md5s]
    assert {row["web_link"] for row in one.rows(thin)} == links
    assert len(one.document(f"/api/upload_sets/{upload_set}/files")["files"]) == len(md5s)


@pytest.mark.real
def test_many_drives_filled_under_a_busy_worker(kit: Callable[..., RealKit]) -> None:
    """Six drives, filled while the server still publishes their thin passes: one sequence each, all of it once."""
    one = kit("upload.connections = 4\nupload.thin = 4")
    drives = [
        list(pictures.drive(start=START.replace(hour=hour), n=24, seed=fresh(), group=hour, first=1 + 100 * hour))
        for hour in range(6, 12)
    ]
    md5s = one.takes(*drives)
    one.settle()
    one.assert_confirmed_once(md5s)
    assert (len(one.sets()), one.sequences()) == (6, 6)
    for upload_set in one.sets():
        names = [item["properties"]["datetime"] for item in one.items(one.collection(upload_set))]
        assert (names, len(names)) == (sorted(names), 24)
    assert Counter(row["drive"] for row in one.events(Event.SEQUENCE_CONFIRMED)) == Counter(range(1, 7))
