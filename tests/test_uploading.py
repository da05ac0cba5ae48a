"""Sending, against the receiver over a real socket."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from kit import NO_PROGRESS_S, START, Kit, drive, kits, md5

from ailasd.by_hand import ByHand, Choice
from ailasd.demo import pictures
from ailasd.demo.receiver_records import AnswerError
from ailasd.model import State
from ailasd.uploading import id_in_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ailasd.demo.receiver_faults import Kind

    Make = Callable[..., Kit]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as make:
        yield make


# -- the good way ------------------------------------------------------------------------------------------------------
def test_once(make: Make) -> None:
    """Each picture is sent once, under our id and a name of ours, and is then ``sent``; the set is made once."""
    kit = make(entries=drive(5))
    kit.bring_in()
    kit.upload()
    assert kit.states() == {State.SENT: 5}
    assert kit.calls()["send"] == 5
    assert kit.calls()["create"] == 1
    rows = kit.rows()
    assert {row["server_id"] for row in rows} == set(kit.receiver.store.pictures)
    assert sorted(kit.the_set().files) == sorted(
        f"20261120T0700{5 * i:02d}Z-{md5(data)[:16]}.jpg" for i, (_, data, _) in enumerate(kit.entries)
    )
    kit.upload()
    assert kit.calls()["send"] == 5


def test_set(make: Make) -> None:
    """The set is ``logged-only``, whole, by car, and tells kit, card, camera and our own id; no path of ours."""
    kit = make()
    kit.bring_in()
    kit.upload()
    asked = kit.the_set().asked
    assert (asked["visibility"], asked["no_split"], asked["no_deduplication"]) == ("logged-only", True, True)
    assert asked["semantics"] == [{"key": "transport", "value": "car"}]
    assert {"kit", "ailasd_version", "ailasd", "drive", "part", "camera", "card"} == set(asked["metadata"])
    assert (asked["metadata"]["camera"], asked["metadata"]["card"]) == ("C3531325123456", "HERO13 Black (3456)")
    assert str(kit.tmp) not in str(asked)


def test_newest_first(make: Make) -> None:
    """The newest drive goes first, and each drive in the order in which it was taken."""
    old = drive(3)
    new = drive(3, start=START + timedelta(hours=3), group=2, first=4, seed=10)
    kit = make(entries=old + new, upload={"connections": 1})
    kit.bring_in()
    kit.upload()
    assert list(kit.sent) == [md5(data) for _, data, _ in new + old]


def test_the_oldest_gets_its_share(make: Make) -> None:
    """While a new drive of 40 pictures is sent, each tenth picture is one of the drive that waited longest."""
    old = drive(9)
    kit = make(entries=old, upload={"connections": 1})
    kit.bring_in()
    new = drive(40, start=START + timedelta(days=1), group=2, first=101, seed=100)
    pictures.write_card(kit.card, new)
    kit.bring_in()
    kit.upload()
    of_old = {md5(data) for _, data, _ in old}
    turns = [turn for turn, one in enumerate(kit.sent) if one in of_old][:4]
    assert [later - turn for turn, later in pairwise(turns)] == [10, 10, 10]


def test_one_trace(make: Make) -> None:
    """The correlation id of a picture's copy is in the request that sent it."""
    kit = make(entries=drive(1))
    kit.bring_in()
    kit.upload()
    (request,) = [one for one in kit.receiver.requests if one.call == "send"]
    assert request.trace == kit.picture().trace


# -- lost answers ------------------------------------------------------------------------------------------------------
def test_lost_answer(make: Make) -> None:
    """After a lost answer the listing settles it: no second copy, and no picture byte is sent again."""
    kit = make(entries=drive(1))
    kit.receiver.fault("send", "lose_answer")
    kit.bring_in()
    kit.upload()
    assert kit.states() == {State.QUEUED: 1}
    kit.drain()
    assert kit.held_once()
    assert kit.calls()["send"] == 1


def test_killed_after_asking(make: Make) -> None:
    """Killed between the note and the answer, it looks first, finds nothing, and sends."""
    kit = make(entries=drive(1))
    kit.bring_in()
    kit.parts.catalogue.pictures.asking(kit.picture())
    kit.restart()
    kit.drain()
    assert kit.held_once()
    calls = [request.call for request in kit.receiver.requests]
    assert calls.index("listing") < calls.index("send")


def test_killed_after_the_answer(make: Make) -> None:
    """Killed between the answer and our note of it, the picture is not sent again."""
    kit = make(entries=drive(1))
    kit.bring_in()
    kit.upload()
    was = kit.picture()
    with kit.parts.catalogue.writing() as db:  # the row as it was at that moment
        db.execute("UPDATE picture SET state='queued', asked=1, upload_set=NULL, server_id=NULL WHERE id=?", [was.id])
    kit.restart()
    kit.drain()
    assert kit.held_once()
    assert kit.calls()["send"] == 1


def test_orphan_set(make: Make) -> None:
    """A set whose answer was lost is found by our own id and adopted: there is one set in the end."""
    kit = make(upload={"connections": 1})
    kit.receiver.fault("create", "lose_answer")
    kit.drain()
    assert kit.held_once()
    assert kit.calls()["create"] == 1
    assert kit.the_set().completed
    assert "set_adopted" in kit.events()


def test_what_the_server_could_not_decode_is_not_sent_again(make: Make) -> None:
    """Refused as broken, held and released by a person: the listing shows that it is there, and no byte goes again."""
    ((name, whole, mtime),) = drive(1)
    kit = make(entries=[(name, whole[: len(whole) * 2 // 3], mtime)])
    hand = ByHand(kit.parts.catalogue, kit.parts.storage, kit.parts.sorting, kit.parts.journal)
    for _ in range(2):
        kit.drain()
        hand.hold(Choice())
        hand.release(Choice())
    kit.drain()
    assert (kit.picture().state, kit.picture().reason) == (State.REFUSED, "not_processed")
    assert kit.calls()["send"] == 1


def test_an_orphan_that_others_can_see_is_not_adopted(make: Make) -> None:
    """A set of ours that was made public behind our back gets no picture: sending stops and says what to do."""
    kit = make(entries=drive(1))
    kit.receiver.fault("create", "lose_answer")
    kit.bring_in()
    kit.upload()
    kit.the_set().asked["visibility"] = "anyone"
    kit.clock.advance(60)
    kit.upload()
    assert kit.calls()["send"] == 0
    assert "wrong_server" in kit.events()
    assert "delete it on the server" in (kit.parts.catalogue.telling.fact("link") or "")


def test_one_set_for_two(make: Make) -> None:
    """Two pictures that start together make one set, though its answer is slow."""
    kit = make(entries=drive(2), upload={"connections": 2})
    kit.receiver.fault("create", "slow", seconds=0.2)
    kit.bring_in()
    kit.upload()
    assert kit.calls()["create"] == 1
    assert len(kit.the_set().files) == 2


# -- 409 ---------------------------------------------------------------------------------------------------------------
def test_same_bytes_same_set(make: Make) -> None:
    """409 for bytes that our set has already: the listing proves it, so it is sent."""
    kit = make(entries=drive(1))
    kit.bring_in()
    kit.upload()
    was = kit.picture()
    with kit.parts.catalogue.writing() as db:
        db.execute("UPDATE picture SET state='queued', asked=0, server_id=NULL WHERE id=?", [was.id])
    kit.upload()
    assert kit.picture().state is State.SENT
    assert kit.picture().server_id == was.server_id
    assert kit.calls()["send"] == 2
    kit.drain()
    assert kit.held_once()


def test_same_bytes_of_another_account(make: Make) -> None:
    """What another account uploaded before is confirmed by that account's listing, and is not there twice."""
    theirs, ours = make(), make()
    theirs.token.write_text(theirs.receiver.token("website"))
    theirs.drain()
    ours.drain()
    assert ours.held_once()
    assert {row["upload_set"] for row in ours.rows()} == {row["upload_set"] for row in theirs.rows()}


def test_duplicates_complete_their_set(make: Make) -> None:
    """A set of ours that ends up empty, as others have it all, is completed all the same."""
    theirs, ours = make(), make()
    theirs.token.write_text(theirs.receiver.token("website"))
    theirs.drain()
    ours.drain()
    assert [one.completed for one in ours.receiver.store.sets.values()] == [True, True]


def test_same_bytes_in_an_earlier_set_of_ours(make: Make) -> None:
    """A kit that lost its catalogue finds its pictures in the sets of its former life."""
    before, after = make(), make()
    before.drain()
    after.drain()
    assert after.held_once()


def test_name_taken(make: Make) -> None:
    """Other bytes under our name in our set: the picture goes under another name and id, and nothing is lost."""
    kit = make(entries=drive(1), upload={"connections": 1})
    other = pictures.jpeg(seed=99)
    kit.bring_in()
    kit.receiver.fault("send", "status", code=503)
    kit.upload()  # the set is there now
    _put(kit, other, name=f"20261120T070000Z-{md5(kit.entries[0][1])[:16]}.jpg")
    kit.drain()
    assert kit.states() == {State.CONFIRMED: 1}
    assert kit.receiver.holds() == {md5(other): 1, md5(kit.entries[0][1]): 1}
    assert kit.picture().renames == 1
    assert any(name.endswith("-1.jpg") for name in kit.the_set().files)


def test_id_taken(make: Make) -> None:
    """Other bytes under our picture id: the picture goes under another one."""
    kit = make(entries=drive(1), upload={"connections": 1})
    kit.bring_in()
    kit.receiver.fault("send", "status", code=503)
    kit.upload()
    _put(kit, pictures.jpeg(seed=99), name="other.jpg", picture_id=id_in_set(kit.picture(), kit.the_set().id))
    kit.drain()
    assert kit.states() == {State.CONFIRMED: 1}
    assert kit.picture().server_id == id_in_set(kit.picture(), kit.the_set().id)
    assert kit.picture().renames == 1


def _put(kit: Kit, data: bytes, *, name: str, picture_id: str = "00000000-0000-4000-8000-000000000001") -> None:
    """Somebody else with our token puts a picture into our set."""
    file = kit.tmp / "other.jpg"
    file.write_bytes(data)
    server = kit.parts.link.server()
    assert server is not None
    server.send(kit.the_set().id, file=file, name=name, size=len(data), md5=md5(data), picture_id=picture_id)


def test_a_server_in_trouble_is_left_alone(make: Make) -> None:
    """Two 500 in a row, as when its database is down, pause the queue: the other pictures are not tried one by one."""
    kit = make(entries=drive(8), upload={"connections": 1})
    kit.bring_in()
    kit.receiver.fault("send", "status", code=500, body="<html>", times=100)
    kit.upload()
    assert kit.calls()["send"] == 2
    assert "link_lost" in kit.events()
    kit.receiver.clear_faults()
    kit.drain()
    assert kit.held_once()


@pytest.mark.parametrize("code", [500, 422])
def test_a_server_that_answers_questions_and_takes_no_picture(make: Make, code: int) -> None:
    """It is tried ever more seldom, whatever it says to a picture, and though it is asked about others meanwhile."""
    kit = make(entries=drive(2))
    kit.receiver.store._dispatch_after = None  # it is asked about the first drive for ever
    kit.bring_in()
    kit.upload()
    pictures.write_card(kit.card, drive(40, seed=50, group=2, first=4, start=kit.clock.now() - timedelta(hours=1)))
    kit.bring_in()
    kit.receiver.fault("send", "status", times=None, code=code, body={"message": "no"})
    until = kit.clock.monotonic() + 7200
    while kit.clock.monotonic() < until:
        kit.confirm()
        kit.upload()
        kit.clock.advance(15)
    assert kit.calls()["set"] > 20
    assert kit.calls()["send"] - 2 < 50  # 24 at the longest wait of 5 min, which it takes some to come to


def test_an_outage_of_hours_gives_no_picture_up(make: Make) -> None:
    """A server that fails over everything for a day is no fault of any picture: all stay queued."""
    kit = make(entries=drive(3), upload={"most_attempts": 3})
    kit.bring_in()
    kit.parts.link.server()
    kit.receiver.fault("*", "status", times=None, code=500)
    for _ in range(48):
        kit.upload()
        kit.clock.advance(1800)
    assert kit.states() == {State.QUEUED: 3}
    kit.receiver.clear_faults()
    kit.drain()
    assert kit.held_once()


def test_409_with_other_words(make: Make) -> None:
    """A 409 that names nobody is settled by the listing, too: sent again under another name, then given up."""
    kit = make(entries=drive(1), upload={"most_attempts": 3})
    kit.receiver.fault("send", "status", code=409, body={"message": "no"}, times=2)
    kit.drain()
    assert kit.held_once()
    assert kit.picture().renames == 2


# -- lies and refusals -------------------------------------------------------------------------------------------------
def test_arrived_damaged(make: Make) -> None:
    """If other bytes arrived than were sent it is not ``sent``; it goes again under another name and id."""
    kit = make(entries=drive(1))
    kit.receiver.fault("send", "wrong_md5")
    kit.bring_in()
    kit.upload()
    assert kit.states() == {State.QUEUED: 1}
    (file,) = kit.the_set().files.values()
    store = kit.receiver.store
    store._by_md5["0" * 32] = store._by_md5.pop(file.md5 or "")  # the server really has other bytes
    file.md5 = "0" * 32
    assert file.picture_id
    store.pictures[file.picture_id].md5 = "0" * 32
    kit.drain()
    assert kit.states() == {State.CONFIRMED: 1}
    assert kit.receiver.holds()[md5(kit.entries[0][1])] == 1
    assert len(kit.the_set().files) == 2


def test_refused(make: Make) -> None:
    """400: refused for good with the server's reason; the others go on."""
    kit = make(entries=drive(3))
    # the road leads 56 m south between two pictures: the box holds the first one only
    with kit.receiver.excluded_area(47, -18.9002, 48, -18.8):
        kit.drain()
    assert kit.states() == {State.REFUSED: 1, State.CONFIRMED: 2}
    assert kit.picture(0).reason == "excluded_area"
    assert "excluded area" in kit.parts.catalogue.pictures.whole_row(kit.picture(0).id)["why"]


def test_all_refused(make: Make) -> None:
    """A set of which every picture was refused is completed all the same."""
    kit = make(entries=drive(3))
    with kit.receiver.excluded_area(47, -20, 48, -18):
        kit.drain()
    assert kit.states() == {State.REFUSED: 3}
    assert kit.the_set().completed


def test_poison(make: Make) -> None:
    """A picture over which the server fails for ever is given up after ``most_attempts``; the others went on."""
    kit = make(entries=drive(4), upload={"most_attempts": 4, "connections": 1})
    kit.bring_in()
    poison = kit.parts.catalogue.pictures.next_to_send()
    assert poison is not None
    receive, tries = kit.receiver.store.receive, []

    def failing(found, form, **how):
        if form.md5 == poison.md5:
            tries.append(dict(kit.states()))
            raise AnswerError(500)
        return receive(found, form, **how)

    kit.receiver.store.receive = failing  # type: ignore[method-assign]
    kit.drain()
    assert kit.states() == {State.CONFIRMED: 3, State.REFUSED: 1}
    assert kit.reasons() == {"gave_up": 1}
    assert len(tries) == 4
    assert tries[1].get(State.QUEUED) == 1  # at its second try all others had been sent


def test_retry_after(make: Make) -> None:
    """Retry-After is waited for."""
    kit = make(entries=drive(1))
    kit.receiver.fault("send", "status", code=503, headers={"Retry-After": "1800"})
    kit.bring_in()
    assert kit.upload().again_in == pytest.approx(1800)
    kit.clock.advance(1790)
    kit.upload()
    assert kit.calls()["send"] == 1
    kit.clock.advance(11)
    kit.upload()
    assert kit.calls()["send"] == 2


# -- the token ---------------------------------------------------------------------------------------------------------
def test_revoked(make: Make) -> None:
    """A revoked token stops all sending and says what to do; a new one in its file is found by itself."""
    kit = make(entries=drive(4), upload={"connections": 1})
    kit.bring_in()
    kit.receiver.fault("send", "status", code=503)
    kit.upload()
    kit.receiver.revoke(kit.token.read_text())
    sent = kit.calls()["send"]
    for _ in range(10):
        kit.clock.advance(20)
        kit.upload()
    assert kit.calls()["send"] <= sent + 1
    assert "login_needed" in kit.events()
    assert "our token was revoked" in kit.link()
    kit.token.write_text(kit.receiver.token("kit"))
    kit.drain()
    assert kit.held_once()


# -- what is not our server --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["html_200", "redirect", "half_json", "drop_before", "lose_answer"])
def test_not_our_server(make: Make, kind: Kind) -> None:
    """A captive portal, a redirect, half a JSON or silence: nothing is marked sent, and later all is there once."""
    kit = make(entries=drive(3))
    kit.bring_in()
    kit.receiver.fault("send", kind, times=None)
    kit.upload()
    assert kit.states() == {State.QUEUED: 3}
    assert {row["faults"] for row in kit.rows()} == {0}
    kit.receiver.clear_faults()
    kit.drain()
    assert kit.held_once()


def test_portal_everywhere(make: Make) -> None:
    """Behind a captive portal that answers everything, the probe does not believe it and nothing is sent."""
    kit = make()
    kit.receiver.fault("*", "html_200", times=None)
    kit.bring_in()
    kit.upload()
    assert kit.calls() == {"who": 1}
    assert "login page" in kit.link()


def test_a_dead_link(make: Make) -> None:
    """One request without an answer stops the sending: from there only probes run; when the link is back it goes on."""
    kit = make(entries=drive(8), upload={"connections": 1, "probe_every": "30s"})
    kit.bring_in()
    kit.receiver.fault("send", "drop_before", times=None)
    kit.receiver.fault("who", "drop_before", times=None)
    server = kit.parts.link.server()
    assert server is None
    kit.receiver.clear_faults()
    kit.clock.advance(36)
    kit.receiver.fault("send", "drop_before", times=None)
    assert kit.parts.link.server() is not None
    kit.receiver.fault("who", "drop_before", times=None)
    before = kit.calls()
    assert kit.upload().again_in == pytest.approx(30, rel=0.2)
    for _ in range(20):
        kit.clock.advance(6)
        kit.upload()
    spent = kit.calls() - before
    assert spent["send"] == 1
    assert 3 <= spent["who"] <= 6  # at 0, 30, 90 s; a GET is asked a second time on a broken connection
    assert set(spent) == {"send", "who", "create", "open_sets"}
    kit.receiver.clear_faults()
    kit.drain()
    assert kit.held_once()


def test_black_hole(make: Make) -> None:
    """A link that swallows everything costs two time-outs at most, not one a picture."""
    kit = make(entries=drive(12))
    kit.bring_in()
    kit.receiver.fault("send", "black_hole", times=None)
    began = time.monotonic()
    kit.upload()
    assert time.monotonic() - began < 4 * NO_PROGRESS_S
    assert kit.calls()["send"] <= 2  # those that were on their way
    assert "link_lost" in kit.events()
    kit.receiver.clear_faults()
    kit.drain()
    assert kit.held_once()


def test_an_outage_is_not_the_picture_s_fault(make: Make) -> None:
    """However often the link goes away under it, a picture keeps its place, and is due as soon as the link is back."""
    kit = make(entries=drive(2), upload={"connections": 1})
    kit.bring_in()
    for _ in range(6):
        kit.clock.advance(kit.parts.link.wait())
        assert kit.parts.link.server() is not None
        kit.receiver.fault("send", "drop_before", times=None)
        kit.receiver.fault("who", "drop_before", times=None)
        kit.upload()
        kit.receiver.clear_faults()
    assert kit.calls()["send"] == 6
    assert [(row["attempts"], row["next_attempt_at"]) for row in kit.rows()] == [(0, None)] * 2
    assert [bool(row["last_error"]) for row in kit.rows()] == [True, False]
    kit.clock.advance(kit.parts.link.wait())
    kit.upload()
    assert kit.states() == {State.SENT: 2}


def test_a_silence_over_one_picture(make: Make) -> None:
    """While probes are answered, a picture that gets no answer waits its turn, longer each time; the rest goes on."""
    kit = make(entries=drive(4), upload={"connections": 1})
    kit.bring_in()
    kit.receiver.fault("send", "drop_before", times=1)
    kit.upload()
    assert kit.states() == {State.SENT: 3, State.QUEUED: 1}
    (row,) = [row for row in kit.rows() if row["state"] == State.QUEUED]
    assert row["attempts"] == 1
    assert row["next_attempt_at"] > kit.clock.now().timestamp()


def test_only_small_packets_pass(make: Make) -> None:
    """Where every probe is answered but no picture arrives, fewer and fewer are tried, one at a time."""
    kit = make(entries=drive(40), upload={"connections": 4, "probe_every": "15s", "probe_most": "5min"})
    kit.bring_in()
    kit.receiver.fault("send", "drop_before", times=None)
    for _ in range(360):  # an hour
        kit.upload()
        kit.clock.advance(10)
    assert 12 <= kit.calls()["send"] <= 4 + 4 + 12 + 3  # at once, while the wait grows, every five minutes
    kit.receiver.clear_faults()
    kit.drain()
    assert kit.held_once()


# -- the set, the copy, the clock, the human ---------------------------------------------------------------------------
def test_set_vanished(make: Make) -> None:
    """Somebody deleted our set on the server: a new one is made, once, and everything comes into it."""
    kit = make(entries=drive(6), upload={"connections": 2})
    kit.bring_in()
    kit.receiver.fault("send", "status", code=503, times=2)
    kit.upload()
    store = kit.receiver.store
    store.delete(kit.the_set())
    kit.drain()
    assert kit.held_once()
    assert len(kit.the_set().files) == 6
    assert kit.events().count("set_vanished") == 1
    assert kit.calls()["create"] == 2


def test_set_vanishes_under_two(make: Make) -> None:
    """One connection finds the set gone and makes a new one; the other, late, does not throw that one away."""
    kit = make(entries=drive(4), upload={"connections": 2})
    kit.bring_in()
    kit.receiver.fault("send", "set_vanishes", times=1)
    kit.receiver.fault("send", "slow", seconds=0.3, times=1)
    kit.drain()
    assert kit.held_once()
    assert kit.calls()["create"] == 2


@pytest.mark.parametrize("how", ["gone", "cut", "rotten"])
def test_copy_lost(make: Make, how: str) -> None:
    """A copy that is gone, cut or rotten on our disk is held, never sent so; the card brings it back."""
    kit = make(entries=drive(3))
    kit.bring_in()
    copy = kit.copy(1)
    data = copy.read_bytes()
    if how == "gone":
        copy.unlink()
    else:
        copy.write_bytes(data[:-100] if how == "cut" else data[:-100] + bytes(100))
    kit.upload()
    assert kit.states() == {State.SENT: 2, State.HELD: 1}
    assert kit.reasons() == {"copy_lost": 1}
    assert len(kit.receiver.holds()) == 2
    kit.drain()
    assert kit.copy(1).read_bytes() == data
    assert kit.held_once()


@pytest.mark.parametrize("years", [-20, 20])
def test_clock_jumps(make: Make, years: int) -> None:
    """A clock that jumps by years puts no picture to sleep: it is tried again within the longest honest wait."""
    kit = make(entries=drive(1))
    kit.bring_in()
    kit.receiver.fault("send", "status", code=503)
    kit.upload()
    kit.clock.jump(timedelta(days=365 * years))
    again_in = kit.upload().again_in
    assert kit.states() == {State.SENT: 1} or (again_in or 0) < 20
    kit.clock.jump(timedelta(days=-365 * years))
    kit.drain()
    assert kit.held_once()


@pytest.mark.parametrize("answer", [None, 400, 500])
def test_held_in_flight(make: Make, answer: int | None) -> None:
    """A person who holds a picture while it is on its way is obeyed, whatever the server answers; released it goes."""
    kit = make(entries=drive(1), upload={"most_attempts": 1})
    kit.bring_in()
    receive, pictures_ = kit.receiver.store.receive, kit.parts.catalogue.pictures

    def slowly(found, form, **how):
        pictures_.move(kit.picture(), State.HELD, reason="by_hand")
        if answer:
            raise AnswerError(answer, "no")
        return receive(found, form, **how)

    kit.receiver.store.receive = slowly  # type: ignore[method-assign]
    kit.upload()
    assert kit.states() == {State.HELD: 1}
    kit.receiver.store.receive = receive  # type: ignore[method-assign]
    pictures_.move(kit.picture(), State.QUEUED)
    kit.drain()
    assert kit.held_once()


def test_no_server(make: Make) -> None:
    """Without a server in the configuration pictures are copied and queued, and it says so."""
    kit = make(server={"url": ""})
    kit.bring_in()
    kit.upload()
    assert kit.states() == {State.QUEUED: 3}
    assert "no server is configured" in kit.link()


def test_stop(make: Make) -> None:
    """Told to stop, it ends after the pictures in flight."""
    kit = make(entries=drive(6), upload={"connections": 1})
    kit.bring_in()
    stop = threading.Event()
    kit.parts.uploading.run(stop, alive=stop.set)
    assert kit.states() == {State.SENT: 1, State.QUEUED: 5}
