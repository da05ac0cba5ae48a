"""Looking for proof, against the receiver over a real socket."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from kit import START, Kit, drive, kits, md5

from ailasd.confirming import REPAIR_WITHIN_S
from ailasd.demo import pictures
from ailasd.demo.receiver_http import DropError
from ailasd.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ailasd.demo.receiver_store import Store

    Make = Callable[..., Kit]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as make:
        yield make


def sent(kit: Kit) -> None:
    """Everything up to ``sent``, then time for a look."""
    kit.bring_in()
    kit.upload()


def look(kit: Kit) -> None:
    """One look, when it is due."""
    kit.clock.advance(600)
    kit.confirm()


def two_drives() -> list[tuple[str, bytes, float]]:
    later = START.replace(hour=12)
    return drive(3) + drive(3, start=later, group=2, first=4, seed=10)


# -- the good way ------------------------------------------------------------------------------------------------------
def test_confirmed(make: Make) -> None:
    """Listed with our md5, dispatched and ready: confirmed, with the web links of picture and sequence kept."""
    kit = make()
    kit.drain()
    assert kit.held_once()
    for row in kit.rows():
        assert row["server_id"] in row["web_link"]
        assert row["web_link"].startswith(kit.receiver.url)
    with kit.parts.catalogue.writing() as db:
        (sequence,) = db["sequence"].rows
    assert kit.the_set().collection in sequence["web_link"]


def test_not_dispatched(make: Make) -> None:
    """Received but not dispatched is not confirmed, however often one looks; completing is said all the same."""
    kit = make()
    kit.receiver.store._dispatch_after = None
    sent(kit)
    for _ in range(5):
        look(kit)
    assert kit.states() == {State.SENT: 3}
    assert kit.the_set().completed
    kit.receiver.dispatch()
    look(kit)
    assert kit.states() == {State.CONFIRMED: 3}


def test_looks_grow_rare(make: Make) -> None:
    """A server that takes its time is asked less and less often: some twenty times an hour at most."""
    kit = make()
    kit.receiver.store._dispatch_after = None
    sent(kit)
    looks = kit.calls()["set"]
    for _ in range(360):
        kit.clock.advance(10)
        kit.confirm()
    assert 10 < kit.calls()["set"] - looks < 30


def test_not_completed_again_before_its_dispatch(make: Make) -> None:
    """The answer to completing is lost: it is not said again while the set waits for its dispatch, only after it."""
    kit = make()
    kit.receiver.store._dispatch_after = None
    sent(kit)
    kit.receiver.fault("complete", "lose_answer", times=1)
    for _ in range(3):
        look(kit)
    assert (kit.calls()["complete"], kit.states()) == (1, {State.SENT: 3})
    kit.receiver.dispatch()
    look(kit)
    assert (kit.calls()["complete"], kit.states()) == (2, {State.CONFIRMED: 3})


def test_not_while_some_are_queued(make: Make) -> None:
    """A set is not completed while pictures of it can still be sent right away."""
    kit = make()
    kit.bring_in()
    kit.receiver.fault("send", "status", code=503, times=1)
    kit.upload()
    kit.confirm()
    assert kit.calls()["complete"] == 0


def test_late_picture(make: Make) -> None:
    """A picture that comes after completion opens the set again; it is completed anew, and all is confirmed."""
    kit = make(entries=drive(4))
    late = kit.card / kit.entries[3][0]
    aside = kit.tmp / "late.jpg"
    late.rename(aside)
    kit.drain()
    assert kit.states() == {State.CONFIRMED: 3}
    aside.rename(late)
    with kit.parts.catalogue.writing() as db:  # as if it had been sorted into the same sequence
        (sequence,) = (row["id"] for row in db["sequence"].rows)
    kit.bring_in()
    with kit.parts.catalogue.writing() as db:
        db.execute("UPDATE picture SET sequence = ? WHERE state = 'queued'", [sequence])
    kit.drain()
    assert kit.held_once()
    late_set = kit.receiver.store.sets[kit.picture(3).upload_set or ""]
    assert (len(late_set.files), late_set.completed) == (4, True)
    assert kit.calls()["complete"] == 2


def test_stale_after_late_picture(make: Make) -> None:
    """``dispatched`` of before the late picture proves nothing about it."""
    kit = make(entries=drive(2))
    kit.drain()
    kit.receiver.store._dispatch_after = None
    with kit.parts.catalogue.writing() as db:  # one of them arrives anew, after the dispatch
        db.execute("UPDATE picture SET state = 'sent' WHERE id = ?", [kit.picture(1).id])
    store, one = kit.receiver.store, kit.the_set()
    one.sequence.remove(kit.picture(1).server_id or "")
    assert one.dispatched
    look(kit)
    assert kit.picture(1).state is State.SENT
    store.complete(one)
    kit.receiver.dispatch()
    look(kit)
    assert kit.picture(1).state is State.CONFIRMED


def test_sequences_renumbered(make: Make) -> None:
    """A sequence that is replaced between two of our questions is no set that vanished: the next look settles it."""
    kit = make()
    sent(kit)
    statuses, calls = kit.receiver.store.statuses, []

    def replaced(collection, asker):
        calls.append(collection)
        return statuses("0" * 8 if len(calls) == 1 else collection, asker)

    kit.receiver.store.statuses = replaced  # type: ignore[method-assign]
    kit.confirm()  # completes it
    look(kit)
    assert (calls, kit.states()) == (calls[:1], {State.SENT: 3})
    look(kit)
    assert kit.held_once()
    assert kit.calls()["create"] == 1


# -- not the good way --------------------------------------------------------------------------------------------------
def test_mended(make: Make) -> None:
    """Broken on the server by an accident of its own: it is asked once to process it again, and it is confirmed."""
    kit = make(entries=drive(2))
    kit.receiver.fault("send", "breaks")
    kit.drain()
    assert kit.held_once()
    assert kit.calls()["prepare"] == 1


@pytest.mark.parametrize("away_s", [60, 3600])
def test_mended_later(make: Make, away_s: float) -> None:
    """What ails the server may last for an hour: pictures that it could not process meanwhile are confirmed then."""
    kit = make(entries=drive(4))
    kit.receiver.fault("send", "breaks", times=4)
    until, prepare = kit.clock.now() + timedelta(seconds=away_s), kit.receiver.store.prepare
    kit.receiver.store.prepare = lambda *what: prepare(*what) if kit.clock.now() > until else None  # type: ignore[method-assign]
    kit.drain(rounds=200)
    assert kit.held_once()
    assert kit.calls()["send"] == 4


def test_broken(make: Make) -> None:
    """Broken for good: prepared some times over hours, then refused with the server's words; others are confirmed."""
    kit = make(entries=drive(3))
    kit.receiver.fault("send", "breaks")
    began = kit.clock.now()
    kit.receiver.store.prepare = partial(_fails_again, kit.receiver.store)  # type: ignore[method-assign]
    kit.drain(rounds=200)
    assert kit.states() == {State.CONFIRMED: 2, State.REFUSED: 1}
    assert kit.reasons() == {"not_processed": 1}
    assert kit.calls()["prepare"] == len(REPAIR_WITHIN_S)
    assert (kit.clock.now() - began).total_seconds() > sum(REPAIR_WITHIN_S)
    (why,) = (row["why"] for row in kit.rows() if row["why"])
    assert "the worker was interrupted" in why


def test_not_its_turn_yet(make: Make) -> None:
    """A server with a backlog says "broken" until it gets to it: nothing is refused before it has tried as asked."""
    kit = make(entries=drive(1))
    kit.receiver.fault("send", "breaks")
    prepare, asked = kit.receiver.store.prepare, []
    kit.receiver.store.prepare = lambda *what: asked.append(what)  # type: ignore[method-assign]
    kit.drain(rounds=120)
    assert kit.states() == {State.SENT: 1}
    prepare(*asked[0])
    kit.drain()
    assert kit.held_once()


def _fails_again(store: Store, *_: object) -> None:
    for picture in store.pictures.values():
        picture.errors += bool(picture.damage)


# -- another account ---------------------------------------------------------------------------------------------------
def half_sent(kit: Kit, pictures_sent: int) -> None:
    """As if the link had gone after so many pictures."""
    kit.bring_in()
    queue, left = kit.parts.catalogue.pictures, iter(range(pictures_sent))
    next_to_send = queue.next_to_send
    queue.next_to_send = lambda *a, **k: next_to_send(*a, **k) if next(left, None) is not None else None  # type: ignore[method-assign]
    kit.upload()
    queue.next_to_send = next_to_send  # type: ignore[method-assign]


def another_account(kit: Kit) -> None:
    """The token changes hands, and a person says that this is right."""
    kit.token.write_text(kit.receiver.token("other"))
    kit.restart()
    kit.parts.catalogue.telling.remember("account", None)


def test_a_set_that_nobody_completes(make: Make) -> None:
    """Pictures in another account's open set are asked about ever more seldom; after two days a person is told."""
    kit = make(entries=drive(6))
    half_sent(kit, 3)
    another_account(kit)
    kit.drain(rounds=20)
    assert kit.states() == {State.CONFIRMED: 3, State.SENT: 3}
    asked = kit.calls()["set"]
    for _ in range(4 * 24 * 60):
        kit.clock.advance(60)
        kit.confirm()
        if State.SENT not in kit.states():
            break
    assert kit.states() == {State.CONFIRMED: 3, State.REFUSED: 3}
    assert kit.reasons() == {"not_completed": 3}
    assert kit.clock.now() - START > timedelta(days=2)
    assert kit.calls()["set"] - asked < 2 * 48 + 20  # once an hour in the end, as often as is looked back
    assert kit.calls()["complete"] == 2  # ours, and once theirs
    assert set(kit.receiver.holds().values()) == {1}


def test_what_another_account_has_is_not_sent_again(make: Make) -> None:
    """After the token changed hands the rest of a drive goes to a new set; what was proven in the old one stays so."""
    kit = make(entries=drive(12), upload={"thin": 2, "connections": 1})
    half_sent(kit, 6)
    for _ in range(6):
        kit.confirm()
        kit.clock.advance(5)
    assert kit.states() == {State.CONFIRMED: 6, State.QUEUED: 6}
    another_account(kit)
    kit.drain()
    assert kit.states() == {State.CONFIRMED: 12}
    assert kit.calls()["send"] == 12 + 1  # the first of them was told that the set is not ours
    assert kit.stopped() is None


def test_prepare_unheard(make: Make) -> None:
    """A repair of which nobody heard is asked for again."""
    kit = make(entries=drive(1))
    kit.receiver.fault("send", "breaks")
    kit.receiver.fault("prepare", "drop_before")
    kit.drain()
    assert kit.held_once()
    assert kit.calls()["prepare"] == 2


def test_deleted_at_dispatch(make: Make) -> None:
    """Accepted, then deleted at dispatch as too close to another: refused with the reason, never confirmed."""
    kit = make(entries=drive(3))
    kit.receiver.fault("send", "deleted_at_dispatch")
    kit.drain()
    assert kit.states() == {State.CONFIRMED: 2, State.REFUSED: 1}
    assert kit.reasons() == {"capture_duplicate": 1}
    (refused,) = (row for row in kit.rows() if row["state"] == State.REFUSED)
    assert refused["md5"] not in kit.receiver.holds()
    history = kit.parts.catalogue.telling.timeline(picture=refused["id"])
    assert "picture_confirmed" not in {row["name"] for row in history}


def test_lost(make: Make) -> None:
    """Lost by the server, a picture is sent once more and confirmed."""
    kit = make(entries=drive(3))
    sent(kit)
    kit.receiver.lose_picture(md5(kit.entries[1][1]))
    kit.drain()
    assert kit.held_once()
    assert kit.picture(1).losses == 1
    assert kit.calls()["send"] == 4


def test_lost_twice(make: Make) -> None:
    """Lost a second time it waits for a person: refused as ``lost``."""
    kit = make(entries=drive(3))
    for _ in range(2):
        sent(kit)
        kit.receiver.lose_picture(md5(kit.entries[1][1]))
        look(kit)
    kit.drain()
    assert kit.states() == {State.CONFIRMED: 2, State.REFUSED: 1}
    assert kit.reasons() == {"lost": 1}
    assert kit.calls()["send"] == 4


def test_set_gone(make: Make) -> None:
    """The whole set is gone after sending: everything goes once more, into a new set; cleaning stops meanwhile."""
    kit = make()
    sent(kit)
    kit.receiver.store.delete(kit.the_set())
    look(kit)
    assert kit.states() == {State.QUEUED: 3}
    assert "none of 3" in (kit.stopped() or "")
    kit.drain()
    assert kit.held_once()
    assert "set_vanished" in kit.events()


@pytest.mark.parametrize("how", ["rows", "pictures"])
def test_none_listed(make: Make, how: str) -> None:
    """A listing that suddenly has none of what it received stops cleaning, and says which command goes on."""
    kit = make()
    sent(kit)
    if how == "rows":
        store, one = kit.receiver.store, kit.the_set()
        for file in one.files.values():
            store._forget(file)
        one.files.clear()
    else:
        for _, data, _ in kit.entries:
            kit.receiver.lose_picture(md5(data))
    look(kit)
    assert "none of 3" in (kit.stopped() or "")
    (told,) = [row for row in kit.parts.catalogue.telling.timeline() if row["name"] == "cleaning_stopped"]
    assert told["detail"]["command"] == "ailasd release --cleaning"


def test_one_failing_set(make: Make) -> None:
    """A set that cannot be looked at does not keep the others from being confirmed; it is looked at again later."""
    kit = make(entries=two_drives())
    sent(kit)
    listing, bad = kit.receiver.store.find, kit.picture(0).upload_set

    def failing(set_id, asker):
        if set_id == bad:
            raise DropError
        return listing(set_id, asker)

    kit.receiver.store.find = failing  # type: ignore[method-assign]
    kit.confirm()
    look(kit)
    assert kit.states() == {State.SENT: 3, State.CONFIRMED: 3}
    kit.receiver.store.find = listing  # type: ignore[method-assign]
    kit.drain()
    assert kit.held_once()


@pytest.mark.parametrize("call", ["set", "listing", "statuses", "complete"])
@pytest.mark.parametrize("kind", ["html_200", "half_json", "status", "lose_answer"])
def test_nothing_concluded(make: Make, call, kind) -> None:
    """An answer that says nothing, to any of the questions, moves no picture; a later look confirms them."""
    kit = make()
    sent(kit)
    kit.receiver.fault(call, kind, times=2)  # a GET is asked twice when the connection breaks
    kit.confirm()
    assert kit.states() == {State.SENT: 3}
    assert kit.stopped() is None
    kit.drain()
    assert kit.held_once()
    assert kit.calls()["send"] == 3


def test_lying_listing(make: Make) -> None:
    """A listing with other checksums confirms nothing."""
    kit = make()
    sent(kit)
    kit.receiver.fault("listing", "wrong_md5", times=None)
    look(kit)
    assert State.CONFIRMED not in kit.states()


def test_away(make: Make) -> None:
    """With the link gone a look asks nothing and says when the next probe is due."""
    kit = make()
    sent(kit)
    kit.receiver.away()
    kit.confirm()
    kit.clock.advance(2)
    kit.confirm()
    assert kit.confirm().again_in == pytest.approx(15, abs=5)  # jittered, and 2 s are gone
    kit.receiver.back()
    kit.drain()
    assert kit.held_once()


# -- who can see it ----------------------------------------------------------------------------------------------------
def test_private(make: Make) -> None:
    """What we sent is ``logged-only``: a stranger gets 404 for the set and for the sequence."""
    kit = make()
    kit.drain()
    one = kit.the_set()
    assert one.asked["visibility"] == "logged-only"
    for path in (f"/api/upload_sets/{one.id}", f"/api/collections/{one.collection}/geovisio_status"):
        with pytest.raises(urllib.error.HTTPError) as stranger:
            urllib.request.urlopen(kit.receiver.url + path)
        assert stranger.value.code == 404
        ours = urllib.request.Request(
            kit.receiver.url + path, headers={"Authorization": f"Bearer {kit.token.read_text()}"}
        )
        assert json.load(urllib.request.urlopen(ours))


# -- a server that went back in time -----------------------------------------------------------------------------------
def test_put_back_to_a_backup(make: Make) -> None:
    """The last set is gone, of the one before a picture: within an hour they are sent again, each of them once."""
    kit = make(entries=drive(3))
    for hour in (12, 15, 18):
        kit.drain()
        kit.clock.advance(60)
        kit.entries += drive(3, start=START.replace(hour=hour), group=hour, first=100 * hour, seed=hour)
        pictures.write_card(kit.card, kit.entries)
    kit.drain()
    assert kit.held_once()
    store = kit.receiver.store
    store.delete(store.sets[kit.picture(10).upload_set or ""])
    store.lose(kit.picture(7).server_id or "")
    before = kit.calls()
    kit.clock.advance(3600)
    kit.confirm()
    assert kit.states() == {State.CONFIRMED: 8, State.QUEUED: 4}
    assert kit.stopped()
    assert (kit.calls() - before)["set"] == 3  # the third is whole: those before it are not asked for
    kit.drain()
    assert kit.held_once()
    assert (kit.calls() - before)["send"] == 4


def test_gone_after_it_was_cleaned(make: Make) -> None:
    """What the server lost when we have no copy any more is told once, and deleting stops; it is asked for no more."""
    kit = make(entries=drive(4), cleaning={"local_after": "1h"})
    kit.drain()
    kit.clock.advance(7200)
    kit.clean()
    assert kit.states() == {State.CLEANED: 4}
    for picture in range(2):
        kit.receiver.store.lose(kit.picture(picture).server_id or "")
    for listings in (1, 0, 0):
        before = kit.calls()["listing"]
        kit.clock.advance(3600)
        kit.confirm()
        assert kit.calls()["listing"] - before == listings
    assert "2 proven pictures are gone" in (kit.stopped() or "")


def test_put_back_twice(make: Make) -> None:
    """What was lost, sent again and proven is missed again when the server loses it a second time."""
    kit = make(entries=drive(3))
    kit.drain()
    for _ in range(2):
        kit.receiver.lose_picture(md5(kit.entries[1][1]))
        kit.clock.advance(3700)
        kit.drain()
        assert kit.held_once()
    assert kit.calls()["send"] == 5


def test_looking_back_is_cheap(make: Make) -> None:
    """On a server that holds everything it is one request an hour."""
    kit = make()
    kit.drain()
    before = len(kit.receiver.requests)
    for _ in range(60):
        kit.clock.advance(120)
        kit.confirm()
    assert len(kit.receiver.requests) - before <= 3


def test_looking_back_over_a_bad_link(make: Make) -> None:
    """A look back that fails changes nothing, and is made again at the next round."""
    kit = make()
    kit.drain()
    kit.clock.advance(3600)
    kit.receiver.fault("set", "status", code=503, times=1)
    before = kit.calls()["set"]
    for _ in range(3):
        kit.confirm()
    assert (kit.calls()["set"] - before, kit.states()) == (2, {State.CONFIRMED: 3})
