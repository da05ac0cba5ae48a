"""The promise, over everything that may happen: nothing is lost, nothing is sent twice, nothing goes without proof.

Hypothesis invents days of a kit: cards, yanks, kills, a server that fails, clocks that jump, people. After each event
the invariants hold; when all trouble is over, every good picture is on the server exactly once.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from world import CAMERAS, GOOD, LENGTH, TRIPS, World, shots

from ailasd.by_hand import BY_HAND, Choice
from ailasd.lifecycle import LIVES_HERE
from ailasd.model import State

STEPS = ("import", "sort", "upload", "confirm", "clean")
DEATHS = [
    *(("import", kind) for kind in ("write", "flush", "rename", "unlink", "commit", "committed")),
    *(("sort", kind) for kind in ("commit", "committed")),
    *((step, kind) for step in ("upload", "confirm") for kind in ("commit", "committed", "ask", "answered")),
    *(("clean", kind) for kind in ("unlink", "flush", "commit", "committed", "ask", "answered")),
]
"""Every kind of effect that each step has."""
CLEANING: list[dict[str, str]] = [
    {},
    {"card": "confirmed"},
    {"card": "copied"},
    {"card": "confirmed", "local_after": "1h"},
    {"local_below": "10TB"},  # always
    {"card": "copied", "local_below": "10TB"},
]

cards = st.integers(0, len(CAMERAS) - 1)
trips = st.integers(0, len(TRIPS) - 1)
steps = st.sampled_from(STEPS)
any_of_them = st.integers(0, 30)

FAULTS: list[dict[str, Any]] = [
    {"kind": "lose_answer"},
    {"kind": "drop_before"},
    {"kind": "half_json"},
    {"kind": "html_200"},
    {"kind": "redirect"},
    {"kind": "status", "code": 500},
    {"kind": "status", "code": 429, "headers": {"Retry-After": "100"}},
    {"kind": "status", "code": 502},
    {"kind": "status", "code": 507, "body": {"message": "no room"}},
]
"""What may go wrong with every call."""
OF_SETS = [{"kind": "set_vanishes"}]
OF_PICTURES = [{"kind": "wrong_md5"}, {"kind": "breaks"}, {"kind": "deleted_at_dispatch"}]
CALLS = ("who", "instance", "create", "open_sets", "set", "complete", "listing", "send", "statuses", "prepare", "*")
faults = st.one_of(
    st.tuples(st.sampled_from(CALLS), st.sampled_from(FAULTS)),
    st.tuples(st.sampled_from(("set", "complete", "listing", "send")), st.sampled_from(OF_SETS)),
    st.tuples(st.just("send"), st.sampled_from(OF_PICTURES + FAULTS)),
)


class Days(RuleBasedStateMachine):
    """One kit, some days."""

    world: World

    @initialize(
        cleaning=st.sampled_from(CLEANING),
        connections=st.sampled_from((1, 1, 2)),
        most_attempts=st.sampled_from((2, 10)),
    )
    def begin(self, cleaning: dict[str, str], connections: int, most_attempts: int) -> None:
        self.world = World(cleaning, connections=connections, most_attempts=most_attempts)
        self.most_attempts = most_attempts

    # -- cards --------------------------------------------------------------------------------------------------------
    @rule(card=cards, trip=trips, first=st.integers(0, LENGTH - 1), many=st.integers(1, LENGTH), copied=st.booleans())
    def shoot(self, card: int, trip: int, first: int, many: int, copied: bool) -> None:
        self.world.shoot(card, trip, first, first + many, copied=copied)

    @rule(card=cards, trip=trips, until=steps)
    def usual_day(self, card: int, trip: int, until: str) -> None:
        """A trip, its card put in, and the steps up to one of them: what other rules then disturb."""
        self._day(card, trip, STEPS[: STEPS.index(until) + 1])

    def _day(self, card: int, trip: int, day: tuple[str, ...]) -> None:
        self.world.shoot(card, trip, 0, LENGTH, copied=False)
        self.world.insert(card)
        for name in day:
            self.world.step(name)

    @rule(card=cards, how=st.sampled_from(("insert", "insert", "take out", "format")))
    def handle(self, card: int, how: str) -> None:
        match how:
            case "insert":
                self.world.insert(card)
            case "take out":
                self.world.take_out()
            case "format":
                self.world.format(card)

    # -- steps --------------------------------------------------------------------------------------------------------
    @rule(names=st.one_of(steps.map(lambda name: (name,)), st.just(STEPS)))
    def step(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.world.step(name)

    @rule(card=cards, trip=trips, after=st.integers(1, LENGTH), yanked=st.booleans())
    def cut_short(self, card: int, trip: int, after: int, yanked: bool) -> None:
        """In the middle of an import the card is pulled out, or the daemon told to stop."""
        self._day(card, trip, ())
        self.world.import_and_yank(after) if yanked else self.world.import_and_stop(after)

    @rule(card=cards, trip=trips, where=st.sampled_from(DEATHS), nth=st.integers(1, 6), new=st.booleans())
    def killed(self, card: int, trip: int, where: tuple[str, str], nth: int, new: bool) -> None:
        """At an effect of one step, on a usual day or with what there is."""
        step, kind = where
        if new:
            self._day(card, trip, STEPS[: STEPS.index(step)])
        self.world.kill(step, kind, nth)

    # -- time ---------------------------------------------------------------------------------------------------------
    @rule(by=st.sampled_from((timedelta(seconds=40), timedelta(minutes=6), timedelta(hours=2), timedelta(days=400))))
    def time_passes(self, by: timedelta) -> None:
        self.world.pass_time(by)

    @rule(years=st.sampled_from((-10, -1, 0, 0, 1, 10)), trusted=st.booleans())
    def clock_jumps(self, years: int, trusted: bool) -> None:
        self.world.set_clock(timedelta(days=365 * years), trusted=trusted)

    # -- the server ---------------------------------------------------------------------------------------------------
    @rule(fault=faults, times=st.integers(1, 3))
    def goes_wrong(self, fault: tuple[Any, dict[str, Any]], times: int) -> None:
        call, how = fault
        self.world.receiver.fault(call, times=times, **how)

    @rule(well=st.booleans(), there=st.booleans(), token=st.booleans())
    def server_is(self, well: bool, there: bool, token: bool) -> None:
        """Faults end; the network comes and goes; the token is revoked, or a new one is there."""
        if well:
            self.world.receiver.clear_faults()
        self.world.receiver.back() if there else self.world.receiver.away()
        self.world.give_token() if token else self.world.take_token()

    @rule(nth=any_of_them)
    def server_loses(self, nth: int) -> None:
        self.world.lose(nth)

    @rule(trip=trips, number=st.integers(0, LENGTH - 1), completed=st.booleans())
    def somebody_uploads(self, trip: int, number: int, completed: bool) -> None:
        self.world.somebody_uploads(trip, number, completed=completed)

    # -- people -------------------------------------------------------------------------------------------------------
    @rule(what=st.sampled_from(("hold", "release", "retry", "clean on")), nth=any_of_them)
    def somebody_acts(self, what: str, nth: int) -> None:
        match what:
            case "hold":
                self.world.by_hand("hold", nth, State.COPIED, State.QUEUED, State.REFUSED)
            case "release":
                self.world.by_hand("release", nth, State.HELD)
            case "retry":
                self.world.by_hand("retry", nth, State.REFUSED, State.QUEUED)
            case "clean on":
                self.world.hand.let_cleaning_go_on()

    # -- what always holds --------------------------------------------------------------------------------------------
    @invariant()
    @precondition(lambda self: hasattr(self, "world"))
    def no_promise_was_broken(self) -> None:
        check(self.world)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            check_the_end(self.world, self.most_attempts)
        finally:
            self.world.close()


def check(world: World) -> None:
    """What holds after everything that may happen."""
    assert not world.ledger.broken
    assert {path: md5_of(path) for path in world.ledger.card} == world.ledger.card, "a file of the card changed"
    rows = world.kit.rows()
    check_counts(world, rows)
    check_copies(world, rows)
    holds = world.receiver.holds()
    assert set(holds.values()) <= {1}, "the server has a content twice"
    assert {found.asked["visibility"] for found in world.receiver.store.sets.values()} <= {"logged-only"}
    proven = {row["md5"] for row in rows if row["state"] in (State.CONFIRMED, State.CLEANED)}
    for content in proven - world.proven - holds.keys():
        assert world.ledger.forgotten[content] > world.forgotten[content], "confirmed, but the server never had it"
    world.proven, world.forgotten = proven, world.ledger.forgotten.copy()


def check_counts(world: World, rows: list[dict[str, Any]]) -> None:
    """Law 11."""
    told = {(row["state"], row["reason"]): row["pictures"] for row in world.kit.parts.catalogue.telling.tally()}
    assert told == Counter((row["state"], row["reason"] or "") for row in rows)
    with world.kit.parts.catalogue.writing() as db:
        for visit in db["visit"].rows:
            if visit["ended"]:
                left = sum(json.loads(visit["left_there"]).values())
                assert visit["on_card"] == visit["copied"] + visit["known"] + left


def check_copies(world: World, rows: list[dict[str, Any]]) -> None:
    """Of every picture that is not cleaned we have a copy with its very bytes."""
    for row in rows:
        if row["state"] not in LIVES_HERE:
            assert row["copy"] is None
            continue
        path = world.kit.parts.storage.path_of(row["copy"])
        went = row["state"] == State.CONFIRMED and path in world.ledger.by_proof  # a kill came between deed and note
        assert md5_of(path) == row["md5"] or (went and not path.exists()), f"{row['name']} has no copy"


def check_the_end(world: World, most_attempts: int) -> None:
    """All trouble is over: every good picture that was ever seen is confirmed, and the server has it once."""
    world.all_well()
    world.drain()
    check(world)
    for row in world.kit.rows():
        if row["md5"] in GOOD and row["state"] == State.REFUSED:
            check_refusal(world, row, most_attempts)
    for _ in range(2):  # the second for those that were put on hold before anybody looked at them
        world.hand.retry(Choice())
        world.hand.release(Choice(reason=BY_HAND))
        world.kit.drain(rounds=200)
    check(world)
    rows = {row["md5"]: row for row in world.kit.rows()}
    on_cards = {md5_of(path) for card in range(len(CAMERAS)) for path in world.folder(card).rglob("*.JPG")}
    assert on_cards <= rows.keys(), "a picture on a card was never copied"
    assert all(found.completed for found in world.receiver.store.sets.values()), "a set was forgotten"
    holds = world.receiver.holds()
    for content in GOOD & rows.keys():
        assert rows[content]["state"] in (State.CONFIRMED, State.CLEANED), rows[content]
        assert content in holds or world.ledger.forgotten[content], rows[content]
        times = sum(
            event["name"] == "picture_confirmed"
            for event in world.kit.parts.catalogue.telling.timeline(picture=rows[content]["id"])
        )
        assert 1 <= times <= 1 + world.ledger.forgotten[content]


def check_refusal(world: World, row: dict[str, Any], most_attempts: int) -> None:
    """A good picture waits for a person only where the server did what only a person can judge."""
    forgotten = world.ledger.forgotten[row["md5"]]
    match row["reason"]:
        case "lost":
            assert forgotten >= 2 or row["md5"] in world.ledger.others
        case "capture_duplicate":
            assert forgotten
        case "gave_up":
            assert most_attempts == 2
        case _:
            raise AssertionError(row)


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else ""


FEW = settings(
    max_examples=8,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.mark.timeout(900)  # in which Hypothesis can also make a failure small
def test_the_promise_holds_over_some_kits_lives() -> None:
    """Whatever happened, in the end every good picture is confirmed once, and nothing went without proof."""
    run_state_machine_as_test(Days, settings=FEW)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_promise_holds_over_many_kits_lives() -> None:
    """The same over more and longer lives."""
    run_state_machine_as_test(Days, settings=settings(FEW, max_examples=120, stateful_step_count=50))


def test_what_another_account_deleted_again_before_we_confirmed_it_is_sent_after_all() -> None:
    """A proof that lay in another's set is gone without a trace in the listing; the picture does not wait for ever."""
    world = World({})
    try:
        world.somebody_uploads(0, 1, completed=True)
        world.shoot(0, 0, 0, LENGTH, copied=False)
        world.insert(0)
        for name in ("import", "sort", "upload"):
            world.step(name)
        world.receiver.lose_picture(shots(0)[1].md5)
        check_the_end(world, most_attempts=10)
        assert world.receiver.holds() == dict.fromkeys([shot.md5 for shot in shots(0) if shot.good], 1)
    finally:
        world.close()
