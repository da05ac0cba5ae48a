"""A kit whose catalogue was lost, against the receiver and the real Panoramax: nothing is sent again."""

from __future__ import annotations

import threading
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from kit import START, drive, kits, md5
from real_kit import fresh, opened_kits

from ailasd.demo import pictures
from ailasd.errors import SetGone
from ailasd.logs import Event
from ailasd.model import State
from ailasd.panoramax import Panoramax, SetWanted, UploadSet
from ailasd.panoramax.past import all_sets
from ailasd.panoramax.values import Fields, as_upload_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Real
    from kit import Kit
    from real_kit import Kit as RealKit

    Make = Callable[..., Kit]

ONE = {"connections": 1}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as make:
        yield make


@pytest.fixture
def real_kits(real: Real, tmp_path: Path) -> Iterator[Callable[..., RealKit]]:
    with opened_kits(real, tmp_path) as make:
        yield make


def send(kit: Any, pictures: int) -> None:
    """So many, then stop."""
    stop = threading.Event()
    left = [pictures]

    def alive() -> None:
        left[0] -= 1
        if left[0] == 0:
            stop.set()

    kit.parts.uploading.run(stop, alive=alive)


def sequences(kit: Kit) -> list[dict[str, Any]]:
    with kit.parts.catalogue.writing() as db:
        return list(db["sequence"].rows)


# -- against the receiver ----------------------------------------------------------------------------------------------
def test_nothing_goes_again(make: Make) -> None:
    """Everything was there: the card is read anew, not one picture is sent, all is confirmed, under its old address."""
    before = make(entries=drive(25))
    before.drain()
    sent, links = before.calls()["send"], [row["web_link"] for row in sequences(before)]
    after = make(entries=before.entries)
    after.drain()
    assert after.held_once()
    assert after.calls()["send"] == sent
    assert after.calls()["create"] == 1
    assert [row["web_link"] for row in sequences(after)] == links
    assert Event.PAST_REMEMBERED in after.events()


def test_lost_half_way(make: Make) -> None:
    """What was missing goes into the set of the former life: still one sequence, each picture sent once."""
    before = make(entries=drive(31), upload=ONE)
    before.bring_in()
    send(before, 12)
    after = make(entries=before.entries)
    after.drain()
    assert after.held_once()
    assert after.calls()["send"] == 31
    assert after.calls()["create"] == 1
    assert Event.SET_ADOPTED in after.events()


def test_a_former_set_of_another_account(make: Make) -> None:
    """A set that we may not add to is not taken up, however well it fits: the rest goes into a new one, at once."""
    before = make(entries=drive(8), upload=ONE)
    before.bring_in()
    send(before, 3)
    after = make(entries=before.entries, upload=ONE)
    after.bring_in()
    stop = threading.Event()
    assert after.parts.uploading._server(stop, lambda: None) is not None  # it asked, and knows the former set
    after.token.write_text(after.receiver.token("other"))
    after.restart()
    after.parts.catalogue.telling.remember("account", None)
    sends = after.calls()["send"]
    after.drain()
    assert after.calls()["send"] - sends == 5
    assert Event.SET_ADOPTED not in after.events()
    assert after.calls()["create"] == 2


def test_asked_for_once(make: Make) -> None:
    """The lists are asked for when the catalogue is new, and never again."""
    make(entries=drive(3)).drain()
    after = make(entries=drive(3) + drive(3, start=START.replace(hour=12), seed=50, group=2))
    after.drain()
    asked = after.calls()["open_sets"]
    after.restart()
    after.drain()
    assert after.calls()["open_sets"] == asked


def test_a_card_that_comes_later(make: Make) -> None:
    """Pictures that are imported long after the server was asked are not sent again either."""
    before = make(entries=drive(4) + drive(4, start=START.replace(hour=12), seed=50, group=2, first=5))
    before.drain()
    after = make(entries=before.entries[:4])
    after.drain()
    pictures.write_card(after.card, before.entries)
    after.entries = before.entries
    after.drain()
    assert after.held_once()
    assert after.calls()["send"] == 8


def test_gone_meanwhile(make: Make) -> None:
    """What the server lost after it was asked is sent after all, and no more than that."""
    before = make(entries=drive(4))
    before.drain()
    after = make(entries=before.entries)
    after.bring_in()
    after.upload()
    assert after.states() == {State.SENT: 4}
    after.receiver.store.lose(before.picture(2).server_id or "")
    after.drain()
    assert after.held_once()
    assert after.calls()["send"] == 5


def test_cut_off(make: Make) -> None:
    """Cut off while it asks, it sends nothing, and goes on asking where it was."""
    two = drive(3) + drive(3, start=START.replace(hour=12), seed=50, group=2, first=4)
    make(entries=two).drain()
    after = make(entries=two)
    after.bring_in()
    listed = after.calls()["listing"]
    stop = threading.Event()
    after.parts.uploading.run(stop, alive=stop.set)
    assert (after.states(), after.calls()["listing"]) == ({State.QUEUED: 6}, listed + 1)
    after.restart()
    after.upload()
    assert (after.states(), after.calls()["listing"]) == ({State.SENT: 6}, listed + 2)
    after.drain()
    assert after.held_once()
    assert after.calls()["send"] == 6


def test_another_kit(make: Make) -> None:
    """Sets of another kit on the same account are not read; the same bytes are still not there twice."""
    before = make(entries=drive(3), upload=ONE)
    before.drain()
    for one in before.receiver.store.sets.values():
        one.asked["metadata"]["kit"] = "kit-99"
    after = make(entries=before.entries)
    after.drain()
    assert after.held_once()
    assert after.parts.catalogue.past.learnt() == set()


def test_a_former_set_that_others_can_see(make: Make) -> None:
    """A set that was made public behind our back is not gone on with: what is missing goes into a new one."""
    before = make(entries=drive(31), upload=ONE)
    before.bring_in()
    send(before, 12)
    (public,) = before.receiver.store.sets.values()
    public.asked["visibility"] = "anyone"
    after = make(entries=before.entries)
    after.drain()
    assert after.states() == {State.CONFIRMED: 31}
    assert after.calls()["send"] == 31
    assert sorted(len(one.files) for one in after.receiver.store.sets.values()) == [12, 19]


# -- more sets than the server lists -----------------------------------------------------------------------------------
class Many:
    """A server with so many sets that some are found by their sequences alone, newest first, as ``all_sets`` asks it.

    Attributes:
        filters: whether it knows the filter that turns the page.
        hrefs: where it says that the set of a sequence lies; else in its place.
        asked: paths, in their order.
    """

    def __init__(self, sets: int, *, filters: bool = True, hrefs: dict[int, str] | None = None) -> None:
        self.ids = [str(UUID(int=number)) for number in range(sets)]
        self.filters = filters
        self.hrefs = hrefs or {}
        self.asked: list[str] = []

    def _json(self, _method: str, path: str, _asked: str) -> Any:
        self.asked.append(path)
        said = parse_qs(urlsplit(path).query)
        if "upload_sets" in path:
            oldest = self.ids[: int(said["limit"][0])] if "TRUE" in path else []
            return {"upload_sets": [self._set(one) for one in oldest]}
        if (kind := path.split("/")[2]) == "collections":
            number = UUID(path.rpartition("/")[2]).int
            href = self.hrefs.get(number, f"https://x/api/upload_sets/{self.ids[number]}")
            return {"links": [{"rel": "upload_set", "href": href}]}
        assert kind == "users"
        newest = [(self._created(number), one) for number, one in enumerate(self.ids)][::-1]
        if self.filters and "filter" in said:
            newest = [one for one in newest if f"created < '{one[0]}'" < said["filter"][0]]
        page = newest[: int(said["limit"][0])]
        return {"links": [{"rel": "child", "id": one, "created": created} for created, one in page]}

    def upload_set(self, set_id: str) -> UploadSet:
        self.asked.append(set_id)
        if set_id not in self.ids:
            raise SetGone(set_id)
        return as_upload_set(Fields(self._set(set_id), "x"))

    def found(self, most: int) -> list[str]:
        return [one.id for one in all_sets(self, str(UUID(int=0)), most=most) if one]  # type: ignore[arg-type]

    @staticmethod
    def _created(number: int) -> str:
        return (START + timedelta(seconds=number)).isoformat()

    @staticmethod
    def _set(one: str) -> dict[str, Any]:
        return {"id": one, "account_id": one, "title": "x", "nb_items": 0, "associated_collections": []}


def test_all_sets_page_by_page() -> None:
    """However many the server lists at once, each set is found once."""
    for most in (1, 2, 3, 7, 8):
        assert sorted(Many(7).found(most)) == Many(7).ids


@pytest.mark.timeout(20)
def test_a_server_that_turns_no_page() -> None:
    """A server that ignores the filter, and so gives its first page for ever, is asked for it twice."""
    server = Many(7, filters=False)
    assert sorted(server.found(3)) == sorted(server.ids[:3] + server.ids[-3:])
    assert sum("sortby" in path for path in server.asked) == 2


def test_sets_that_lie_nowhere() -> None:
    """A sequence whose set lies at an odd place, or is gone, hides none of the others."""
    hrefs = {6: "https://x/api/upload_sets/", 5: "http://[x", 4: f"https://x/{UUID(int=99)}"}
    server = Many(7, hrefs=hrefs)
    assert sorted(server.found(2)) == server.ids[:4]


def test_between_two_requests_it_can_be_stopped() -> None:
    """Who looks for the sets behind the list is asked after each request whether to go on, also if nothing was new."""
    server = Many(50)
    looks = [len(server.asked) for _ in all_sets(server, str(UUID(int=0)), most=49)]  # type: ignore[arg-type]
    assert max(after - before for before, after in pairwise([*looks, len(server.asked)])) <= 4


# -- on the real server ------------------------------------------------------------------------------------------------
@pytest.mark.real
def test_a_lost_catalogue(real_kits: Callable[..., RealKit]) -> None:
    """Two drives on the server, a third half-way: the rebuilt kit sends the missing pictures, and no other."""
    before = real_kits("upload.connections = 1")
    drives = [
        list(pictures.drive(start=START.replace(hour=hour), n=25, seed=fresh(), group=hour, first=1 + 100 * hour))
        for hour in (6, 9)
    ]
    md5s = before.takes(*drives)
    before.settle()
    half = list(pictures.drive(start=START.replace(hour=12), n=25, seed=fresh(), group=12, first=1300))
    md5s += before.takes(half)
    for step in before.parts.importing:
        step.run(threading.Event())
    before.parts.sorting.run(threading.Event())
    send(before, 10)
    before.parts.close()

    after = real_kits()
    after.account = before.account
    after.new_token()
    after.takes(*drives, half)
    with after.running():
        after.wait(after.all_settled)
    after.assert_confirmed_once(md5s)
    assert after.sequences() == 3
    assert not after.events(Event.SET_CREATED)
    assert len(after.events(Event.SET_ADOPTED)) == 3
    rejected = [
        row
        for one in after.sets()
        for row in after.document(f"/api/upload_sets/{one}/files")["files"]
        if "rejected" in row
    ]
    assert rejected == []  # a picture that is sent a second time is listed as rejected


@pytest.mark.real
def test_more_sets_than_the_server_lists(real: Real, real_kits: Callable[..., RealKit], tmp_path: Path) -> None:
    """Of an account with more sets than one list holds, those behind are found by their sequences, page by page."""
    kit = real_kits()
    made = []
    with Panoramax(real.url, kit.token_file.read_text(), agent="ailasd/0 tests") as server:
        for number in range(7):
            one = server.create_set(SetWanted(f"t{number}", {"ailasd": f"u{number}"}, {}))
            data = pictures.jpeg(seed=fresh(), camera_time=START.replace(tzinfo=None), position=(-18.9, 47.5))
            file = tmp_path / "picture.jpg"
            file.write_bytes(data)
            server.send(
                one.id, file=file, name="a.jpg", size=len(data), md5=md5(data), picture_id=f"{fresh():032x}"
            )  # fmt: skip
            if number != 6:
                server.complete(one.id)
            made.append(one.id)
        kit.wait(lambda: kit.sequences() == 6)
        account = server.who_am_i().id
        for most in (1, 2, 3, 7, 1000):
            assert sorted(one.id for one in all_sets(server, account, most=most) if one) == sorted(made)
