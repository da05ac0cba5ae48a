"""The one sign: every way from one to the next, and that there is always exactly one."""

from __future__ import annotations

import ast
import inspect
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import drive, kits

from ailasd import needs
from ailasd.attending import Stand
from ailasd.model import Card, State
from ailasd.needs import Need
from ailasd.sentence import Sentence
from ailasd.sign import Shown, Sign, shown
from ailasd.sign_wording import WORDS
from ailasd.status import CardStatus, Count, LinkStatus, MediumStatus, SendingStatus, Status, summary
from ailasd.waiting import FOR_A_PERSON, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kit import Kit

IDLE, SENDING = Waiting("nothing", "Nothing waits to be sent"), Waiting("sending", "Sending")
AWAY = Waiting("link_lost", "Waiting because the server cannot be reached")
TO_SEND = SendingStatus(0, 0, 0, None, None, None, None, None, "unknown", 0)
CARD = CardStatus(1, "card", "2026-11-21T07:00:00.000Z", "whole", 10, 8, 0, {"video": 2}, None, files=8)
SAFE = replace(CARD, confirmed=8)
GONE = replace(CARD, outcome="gone")
UNREAD = replace(SAFE, left={"video": 2, "unreadable": 1})
LOST = LinkStatus("link_lost", "no route", "2026-11-21T07:00:00.000Z")
READ = replace(CARD, outcome=None, copied=3, known=1, left_s=61.0)
NOW = Status(
    "kit", CARD.last_seen, True, True, None, IDLE, TO_SEND, 0, 0, (), (), (), (), (), (), None, None, None, None
)  # fmt: skip


def hours_later(hours: int) -> str:
    return f"2026-11-2{1 + (7 + hours) // 24}T{(7 + hours) % 24:02}:00:00.000Z"


def medium(state: str, problem: str | None = None, card: int | None = 1) -> MediumStatus:
    return MediumStatus("reader", state, problem, card, NOW.at)


def counts(**pictures: int) -> tuple[Count, ...]:
    return tuple(Count(state, "", number, number) for state, number in pictures.items())


QUEUED = counts(confirmed=5, cleaned=1, queued=3, sent=1, copied=2, held=7, refused=9)
HELP = (Need("login_needed", Sentence("Sending waits"), "put a new one in"), Need("refused", Sentence("else")))
REPORTED = (Need("reported", Sentence("Reported on the server")),)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, Shown(Sign.NOTHING)),
        ({"cards": (CARD,)}, Shown(Sign.NOTHING, word="kept_here")),
        ({"cards": (CARD,), "at": hours_later(25)}, Shown(Sign.NOTHING)),
        ({"cards": (replace(CARD, outcome="stopped"),)}, Shown(Sign.NOTHING)),
        ({"cards": (replace(CARD, files=0),)}, Shown(Sign.NOTHING)),
        ({"cards": (SAFE,)}, Shown(Sign.SAFE)),
        ({"cards": (CARD, SAFE)}, Shown(Sign.NOTHING, word="kept_here")),  # the last card counts, not an earlier one
        ({"cards": (SAFE,), "at": hours_later(23)}, Shown(Sign.SAFE)),
        ({"cards": (SAFE,), "at": hours_later(25)}, Shown(Sign.NOTHING)),  # it may have new pictures by now
        ({"cards": (SAFE,), "at": hours_later(-1)}, Shown(Sign.NOTHING)),  # the clock was set back: nobody knows
        ({"cards": (SAFE,), "at": hours_later(25), "last_proven": hours_later(20)}, Shown(Sign.SAFE)),
        # a card is in
        ({"media": (medium("reading", card=None),)}, Shown(Sign.READING)),
        ({"media": (medium("reading"),), "cards": (READ,)}, Shown(Sign.READING, 4, 8, 2)),
        ({"media": (medium("reading"),), "cards": (READ,), "needs": HELP}, Shown(Sign.READING, 4, 8, 2)),
        ({"media": (medium("clearing"),), "cards": (SAFE,)}, Shown(Sign.READING, 8, 8, word="clearing")),
        ({"media": (medium("waiting", "busy"),), "cards": (READ,)}, Shown(Sign.READING, 4, 8, 2, word="busy")),
        ({"media": (medium("done"),), "cards": (CARD,)}, Shown(Sign.PULL)),
        ({"media": (medium("done"),), "cards": (CARD,), "needs": HELP}, Shown(Sign.PULL)),
        ({"media": (medium("done"),), "cards": (CARD,), "counts": QUEUED}, Shown(Sign.PULL, 6, 12)),
        ({"media": (medium("done"),), "cards": (SAFE,)}, Shown(Sign.SAFE)),
        ({"media": (medium("done", card=None),), "cards": (SAFE,)}, Shown(Sign.PULL)),  # a stick with tracks
        ({"media": (medium("done"), medium("reading", card=2))}, Shown(Sign.READING)),
        ({"media": (medium("done"), medium("done", card=2)), "cards": (SAFE,)}, Shown(Sign.PULL)),
        ({"media": (medium("done"),), "cards": (UNREAD,)}, Shown(Sign.PULL, word="unread")),
        ({"media": (medium("mounted", "/x"),), "cards": (SAFE,)}, Shown(Sign.READING, 8, 8, word="mounted")),
        ({"media": (medium("mounted", "/x"), medium("reading", card=2))}, Shown(Sign.READING)),
        ({"media": (medium("waiting", "no_room"),)}, Shown(Sign.HELP, why="no_room", word="card_no_room")),
        ({"media": (medium("waiting", "gone"),)}, Shown(Sign.HELP, why="gone", word="card_gone")),
        ({"media": (medium("unreadable", "damaged"),)}, Shown(Sign.HELP, why="damaged", word="card_unreadable")),
        ({"media": (medium("unreadable", "x"), medium("reading"))}, Shown(Sign.READING)),
        # what is no card
        ({"media": (medium("empty"),)}, Shown(Sign.NOTHING)),
        ({"media": (medium("ignored"),)}, Shown(Sign.NOTHING)),
        ({"media": (medium("empty"), medium("done")), "cards": (SAFE,)}, Shown(Sign.SAFE)),
        # none is in
        ({"daemon_runs": False}, Shown(Sign.HELP, why="ailasd does not run", word="no_daemon")),
        (
            {"needs": HELP, "waiting": AWAY},
            Shown(Sign.HELP, why=HELP[0].what, word="login_needed"),
        ),
        ({"cards": (GONE,), "needs": HELP}, Shown(Sign.HELP, why="card was pulled out too early", word="card_gone")),
        (
            {"cards": (UNREAD,), "waiting": SENDING},
            Shown(Sign.HELP, why="not all that is on card could be read", word="card_unread"),
        ),
        ({"cards": (SAFE, GONE)}, Shown(Sign.SAFE)),
        ({"waiting": AWAY, "counts": QUEUED}, Shown(Sign.WAITING, 6, 12, why=AWAY.text, word="link_lost")),
        ({"waiting": SENDING, "counts": QUEUED}, Shown(Sign.SENDING, 6, 12)),
        ({"waiting": SENDING, "sending": replace(TO_SEND, takes_s=61.0)}, Shown(Sign.SENDING, 0, 0, 2)),
        ({"counts": counts(sent=1, confirmed=1), "cards": (CARD,)}, Shown(Sign.SENDING, 1, 2, word="proving")),
        ({"counts": counts(sent=1), "link": LOST}, Shown(Sign.WAITING, 0, 1, why="no route", word="link_lost")),
        ({"counts": counts(copied=9), "cards": (CARD,)}, Shown(Sign.NOTHING, 0, 9)),
        ({"counts": counts(confirmed=8, held=3), "cards": (SAFE,)}, Shown(Sign.SAFE, 8, 8)),
    ],
)
def test_the_sign_of_a_status(how: dict[str, Any], expected: Shown) -> None:
    """What is in the hand comes first, then what is wrong, then what goes on."""
    assert shown(replace(NOW, **how)) == expected


@pytest.mark.parametrize(
    "how",
    [
        {"waiting": AWAY, "counts": QUEUED},
        {"waiting": SENDING, "counts": QUEUED},
        {"cards": (SAFE,)},
        {"needs": HELP},
    ],
)
def test_a_report_on_the_server_is_not_for_the_collector(how: dict[str, Any]) -> None:
    """What somebody reported on the server hides no other sign, and makes none: it is for the office."""
    assert shown(replace(NOW, **{**how, "needs": REPORTED + how.get("needs", ())})) == shown(replace(NOW, **how))


def test_every_need_has_words_for_the_collector() -> None:
    """Whatever makes the sign ask for help, the line below it says what it is; "tell your support" is not enough."""
    tree = ast.parse(inspect.getsource(needs))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Need"]
    found = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)} | FOR_A_PERSON
    assert len(found) > len(FOR_A_PERSON) + 2  # the calls were found
    assert {word for word in found - needs.FOR_THE_OFFICE if (Sign.HELP, word) not in WORDS} == set()


words = st.sampled_from(["", "x", "gone", "busy", "no_room"])
media = st.builds(medium, st.sampled_from(Stand), words, st.none() | st.integers(1, 3))
cards = st.builds(
    CardStatus, st.integers(1, 3), words, st.just(NOW.at), st.none() | st.sampled_from(["whole", "gone"]),
    st.just(9), st.integers(0, 9), st.just(0), st.just({}), st.none() | words,
    st.none() | st.floats(0, 1e6), st.none() | st.just(9), confirmed=st.sampled_from([0, 9]),
)  # fmt: skip
statuses = st.builds(
    replace,
    st.just(NOW),
    daemon_runs=st.none() | st.booleans(),
    waiting=st.sampled_from([IDLE, SENDING, AWAY, Waiting("month", "Waiting because of the month")]),
    sending=st.builds(lambda takes_s: replace(TO_SEND, takes_s=takes_s), st.none() | st.floats(0, 1e9)),
    counts=st.lists(st.builds(Count, st.sampled_from(State), words, st.integers(0, 9), st.just(1))).map(tuple),
    media=st.lists(media, max_size=3).map(tuple),
    cards=st.lists(cards, max_size=3, unique_by=lambda card: card.id).map(tuple),
    needs=st.lists(st.builds(Need, words, st.builds(Sentence, words)), max_size=2).map(tuple),
)


@given(statuses)
def test_there_is_always_exactly_one_sign(status: Status) -> None:
    """Whatever comes together: one sign, with counts that fit; never "pull" or "safe" while a card is being read."""
    one = shown(status)
    assert isinstance(one.sign, Sign)
    assert 0 <= one.done <= one.of or one.sign is Sign.READING
    assert one.minutes_left is None or one.minutes_left >= 0
    states = {medium.state for medium in status.media}
    if status.daemon_runs is not False and states & {Stand.READING, Stand.CLEARING, Stand.MOUNTED}:
        assert one.sign is Sign.READING
    if one.sign is Sign.PULL:
        assert states - {Stand.IGNORED, Stand.EMPTY} == {Stand.DONE}
    if one.sign is Sign.SAFE:
        assert any(card.may_clear for card in status.cards)
        assert states <= {Stand.DONE, Stand.IGNORED, Stand.EMPTY}
    if one.sign in {Sign.HELP, Sign.WAITING}:
        assert one.word or status.needs


# -- a real life ------------------------------------------------------------------------------------------------------
@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    with kits(tmp_path) as make:
        yield make(entries=drive(20))


def test_the_last_card_is_the_one_in_the_hand(kit: Kit) -> None:
    """A clock that was set back in between makes no earlier card the last one."""
    kit.drain()
    cards = kit.parts.catalogue.cards
    assert shown(summary(kit.parts.catalogue)).sign is Sign.SAFE
    kit.clock.jump(timedelta(hours=-2))
    second = cards.seen(Card("B", "card B"))
    cards.in_hand(second)
    counts = {"on_card": 50, "copied": 0, "known": 0, "bytes_copied": 0, "bytes_known": 0}
    cards.end_visit(cards.begin_visit(second), outcome="gone", counts=counts, left={"gone": 50})
    assert shown(summary(kit.parts.catalogue)).word == "card_gone"


def test_progress_of_a_card_that_is_read(kit: Kit) -> None:
    """While a card is read the catalogue says how many of how many are here, and how long it takes yet."""
    catalogue = kit.parts.catalogue
    seen: list[Shown] = []

    class Watcher:
        def begins(self, files: int, bytes_: int) -> None:
            catalogue.media.stands("key", "reader", Stand.READING, card=1)

        def advances(self, bytes_: int) -> None:
            kit.clock.advance(3)
            if not seen or catalogue.telling.cards()[0]["copied"] != seen[-1].done:
                seen.append(shown(summary(catalogue)))

    (kit.card / "DCIM/100GOPRO/GX010001.MP4").write_bytes(b"video")
    kit.parts.importing[0].run(threading.Event(), progress=Watcher())
    catalogue.media.stands("key", "reader", Stand.DONE, card=1)
    assert {(one.sign, one.of) for one in seen} == {(Sign.READING, 20)}
    assert (seen[0].done, seen[0].minutes_left) == (0, None)
    assert len(seen) > 1
    assert all(one.minutes_left is not None and one.done in {8, 16, 20} for one in seen[1:])
    assert shown(summary(catalogue)).sign is Sign.PULL
    kit.drain()
    assert shown(summary(catalogue)) == Shown(Sign.SAFE, 20, 20)
