"""Sending held to our manners, against the receiver over a real socket: rates, budgets, hours, metered networks."""

from __future__ import annotations

import threading
import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import START, Kit, SetClock, drive, kits

from ailasd.by_hand import ByHand
from ailasd.catalogue import Catalogue
from ailasd.clock import boot_id
from ailasd.errors import Damaged, NoLink, NotNow
from ailasd.manners import AROUND, Goodput, Rules
from ailasd.model import State
from ailasd.pacing import FASTEST_OF_ALL, SLOWEST_OF_ALL, Transfer, slowest
from ailasd.panoramax import SLOWEST, body
from ailasd.panoramax.body import PictureBody
from ailasd.status import summary
from ailasd.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., Kit]

BUDGET = 20_000_000
TODAY = date(2026, 11, 21)  # of the kits' clocks


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as make:
        yield make


def large(n: int, size: int = 300_000) -> list[tuple[str, bytes, float]]:
    return drive(n, pad_to=size)


def sent_today(kit: Kit) -> int:
    return kit.parts.catalogue.traffic.sent(TODAY)[0]


def arrived(kit: Kit) -> int:
    """Bytes of bodies that the receiver read."""
    return sum(request.received for request in kit.receiver.requests if request.call == "send")


def by_hand(kit: Kit) -> ByHand:
    return ByHand(kit.parts.catalogue, kit.parts.storage, kit.parts.sorting, kit.parts.journal)


def meanwhile(kit: Kit, after: Callable[[], bool], do: Callable[[], object]) -> float:
    """Upload; as soon as ``after`` is true ``do`` it. Returns the seconds from then until the step ended."""
    step = threading.Thread(target=kit.upload)
    step.start()
    give_up = time.monotonic() + 20
    while not after() and time.monotonic() < give_up:
        time.sleep(0.01)
    assert step.is_alive(), "it was over before"
    do()
    began = time.monotonic()
    step.join(20)
    assert not step.is_alive()
    return time.monotonic() - began


# -- rates ------------------------------------------------------------------------------------------------------------
def test_a_rate_holds_for_all_connections_together(make: Make) -> None:
    """Four pictures of 300 kB over two connections at 600 kB/s take 2 s, and all arrive."""
    kit = make(entries=large(4), upload={"metered": True, "rates": {"00:00-24:00": "600kB/s"}})
    kit.bring_in()
    began = time.monotonic()
    kit.upload()
    took = time.monotonic() - began
    assert kit.states() == {State.SENT: 4}
    assert took == pytest.approx(2.0, abs=0.5)


def test_a_slow_picture_shows_that_it_lives(make: Make) -> None:
    """A picture that takes long by our own will gives signs of life all the time, or systemd would start us anew."""
    kit = make(entries=large(1), upload={"metered": True, "rates": {"00:00-24:00": "75kB/s"}})
    kit.bring_in()
    signs: list[float] = [time.monotonic()]
    kit.parts.uploading.run(threading.Event(), alive=lambda: signs.append(time.monotonic()))
    assert kit.states() == {State.SENT: 1}
    assert len(signs) >= 4
    assert max(later - sooner for sooner, later in pairwise(signs)) < 2.5


def test_a_rate_that_changes_holds_for_what_is_under_way(make: Make) -> None:
    """A picture that would take five minutes is there at once when its hours end."""
    kit = make(entries=large(1), upload={"metered": True, "rates": {"00:00-12:00": "1kB/s"}})
    kit.bring_in()  # it is ten o'clock there
    throttle = kit.parts.pacing.throttle
    took = meanwhile(kit, lambda: throttle.passed > 0, lambda: kit.clock.advance(2 * 3600))
    assert took < 5
    assert kit.states() == {State.SENT: 1}


# -- hours ------------------------------------------------------------------------------------------------------------
def test_nothing_is_asked_of_the_server_while_it_is_off(make: Make) -> None:
    """In hours that are off there is no request; the step asks to be run again when they end, and then goes on."""
    kit = make(upload={"metered": True, "rates": {"07:00-19:00": "off"}})
    kit.bring_in()
    again_in = kit.upload().again_in
    assert again_in == pytest.approx(9 * 3600)
    assert again_in is not None
    assert not kit.receiver.requests
    assert "sending_waits" in kit.events()
    kit.clock.advance(again_in)
    kit.drain()
    assert kit.held_once()
    assert kit.events().count("sending_waits") == kit.events().count("sending_goes_on") == 1


def test_what_is_under_way_ends_with_its_hours(make: Make) -> None:
    """When hours that are off begin, pictures are broken off within moments, blamed on nobody, and sent later."""
    kit = make(entries=large(2), upload={"metered": True, "rates": {"07:00-12:00": "20kB/s", "12:00-13:00": "off"}})
    kit.bring_in()
    throttle = kit.parts.pacing.throttle
    assert meanwhile(kit, lambda: throttle.passed > 20_000, lambda: kit.clock.advance(2 * 3600)) < 4
    assert kit.states() == {State.QUEUED: 2}
    assert {(row["attempts"], row["faults"], row["next_attempt_at"]) for row in kit.rows()} == {(0, 0, None)}
    assert "link_lost" not in kit.events()
    assert throttle.passed < 200_000
    kit.clock.advance(3600)
    kit.drain()
    assert kit.held_once()


# -- budgets ----------------------------------------------------------------------------------------------------------
def test_every_byte_is_counted(make: Make) -> None:
    """What is counted is what the receiver read, and the little around it; useful is what pictures have."""
    kit = make(entries=large(3), upload={"metered": True})
    kit.bring_in()
    kit.upload()
    assert sent_today(kit) == 3 * (300_000 + AROUND)
    assert sent_today(kit) - 3 * AROUND < arrived(kit) < sent_today(kit)
    (month,) = kit.parts.catalogue.traffic.months()
    assert month == {"month": "2026-11", "sent": sent_today(kit), "useful": 900_000}
    assert sent_today(kit) < 1.02 * 900_000


@pytest.mark.parametrize("kind", ["drop_before", "lose_answer", "status"])
def test_useless_bytes_are_counted_too(make: Make, kind: Any) -> None:
    """A picture that did not arrive, or whose answer did not, costs what went into the network."""
    kit = make(entries=large(1), upload={"metered": True})
    kit.receiver.fault("send", kind)
    kit.bring_in()
    kit.upload()
    assert kit.states() == {State.QUEUED: 1}
    assert AROUND <= sent_today(kit) <= 300_000 + 2 * AROUND
    assert sent_today(kit) > arrived(kit)
    (month,) = kit.parts.catalogue.traffic.months()
    assert month["useful"] == 0


def test_what_was_never_sent_is_not_counted(make: Make) -> None:
    """A picture whose copy is lost, and one that the server has already, cost nothing."""
    kit = make(entries=large(2), upload={"metered": True, "connections": 1})
    kit.bring_in()
    kit.copy(0).unlink()
    kit.upload()
    assert kit.states() == {State.HELD: 1, State.SENT: 1}
    assert sent_today(kit) == 300_000 + AROUND


def test_a_budget_is_never_overrun(make: Make) -> None:
    """With room for two and a half pictures two go, though two connections ask at once; the rest goes the next day."""
    kit = make(entries=large(4), upload={"metered": True, "per_day": BUDGET})
    kit.bring_in()
    kit.parts.catalogue.traffic.count(TODAY, sent=BUDGET - 750_000)
    again_in = kit.upload().again_in
    assert kit.states() == {State.SENT: 2, State.QUEUED: 2}
    assert sent_today(kit) <= BUDGET
    assert again_in == pytest.approx(14 * 3600)
    assert again_in is not None
    status = summary(kit.parts.catalogue, manners=kit.parts.config.manners)
    assert (status.waiting.word, status.sending.per_day, status.sending.sent_today) == ("day", BUDGET, sent_today(kit))
    assert status.waiting.text == "Waiting because today's budget (upload.per_day) is spent until 2026-11-22 00:00"
    for _ in range(3):  # told once, not at every round
        kit.upload()
    assert kit.events().count("sending_waits") == 1
    assert "sending_goes_on" not in kit.events()
    kit.clock.advance(again_in)
    kit.drain()
    assert kit.held_once()


def test_a_budget_that_is_spent_to_its_last_byte_breaks_nothing_off(make: Make) -> None:
    """Two pictures that just fit are both sent whole, though what is around them was only reckoned."""
    kit = make(entries=large(3), upload={"metered": True, "per_day": BUDGET, "rates": {"00:00-24:00": "300kB/s"}})
    kit.bring_in()
    kit.parts.catalogue.traffic.count(TODAY, sent=BUDGET - 2 * (300_000 + AROUND))
    kit.upload()
    assert kit.states() == {State.SENT: 2, State.QUEUED: 1}
    assert sent_today(kit) == BUDGET
    assert kit.calls()["send"] == 2


def test_a_picture_larger_than_any_budget_does_not_block_the_rest(make: Make) -> None:
    """It waits with its reason; the others go."""
    small = drive(2, start=START - timedelta(hours=5), first=4, group=2, seed=10, pad_to=200_000)
    kit = make(entries=large(1, 900_000) + small, upload={"metered": True, "connections": 1})
    kit.parts.pacing._rules = Rules(kit.parts.config.zone, per_day=600_000, metered=True)
    kit.bring_in()
    kit.upload()
    assert kit.states() == {State.QUEUED: 1, State.SENT: 2}
    assert kit.picture(0).attempts == 1
    (error,) = [row["last_error"] for row in kit.rows() if row["last_error"]]
    assert error == "it is larger than the whole of upload.per_day"


def test_a_kill_counts_too_much_rather_than_too_little(make: Make) -> None:
    """A picture's bytes are on the disk before the first of them goes."""
    kit = make(upload={"metered": True, "per_day": BUDGET})
    assert isinstance(kit.parts.pacing.transfer(123_456), Transfer)
    with Catalogue(kit.parts.catalogue.path, kit.clock) as after_the_kill:
        assert after_the_kill.traffic.sent(TODAY) == (123_456 + AROUND, 123_456 + AROUND)


def test_a_budget_survives_a_reboot(make: Make) -> None:
    """What was spent before is spent after it."""
    kit = make(entries=large(1), upload={"metered": True, "per_month": BUDGET})
    kit.bring_in()
    kit.parts.catalogue.traffic.count(TODAY - timedelta(days=20), sent=BUDGET)
    kit.restart()
    kit.upload()
    assert kit.states() == {State.QUEUED: 1}
    assert summary(kit.parts.catalogue, manners=kit.parts.config.manners).waiting.word == "month"


# -- clocks -----------------------------------------------------------------------------------------------------------
def test_bytes_of_a_wrong_clock_are_today_s(make: Make) -> None:
    """What was counted in 1970 or in 2036, before NTP, counts for the day on which the clock can be believed."""
    kit = make(upload={"metered": True})
    traffic = kit.parts.catalogue.traffic
    for wrong in (date(1970, 1, 1), date(2036, 5, 5)):
        traffic.count(wrong, sent=1000, useful=900)
    traffic.count(TODAY - timedelta(days=1), sent=7)
    kit.clock.believed = False
    kit.parts.pacing.look()
    assert traffic.sent(TODAY) == (0, 7)
    kit.clock.believed = True
    kit.parts.pacing.look()
    assert traffic.sent(TODAY) == (2000, 2007)
    assert [row["month"] for row in traffic.months()] == ["2026-11"]


def test_a_kit_without_a_clock_sends(make: Make) -> None:
    """In 1970, which nobody believes, pictures go within the budget; three years later, at NTP, it is the same one."""
    kit = make(entries=large(2), upload={"metered": True, "per_day": BUDGET})
    kit.bring_in()
    kit.clock.believed, kit.clock.wall = False, datetime(1970, 1, 1, tzinfo=UTC)
    kit.upload()
    assert kit.states() == {State.SENT: 2}
    kit.clock.believed, kit.clock.wall = True, datetime(2026, 11, 21, 7, tzinfo=UTC)
    kit.parts.pacing.look()
    assert sent_today(kit) == 2 * (300_000 + AROUND)


# -- metered ----------------------------------------------------------------------------------------------------------
def test_a_metered_network_gets_no_byte(make: Make) -> None:
    """Nothing is asked of the server as long as the way out is metered; then it goes on, and status knew why."""
    kit = make(upload={"metered": False})
    kit.parts.pacing._metered = lambda: "wwan0"
    kit.bring_in()
    kit.upload()
    assert not kit.receiver.requests
    waiting = summary(kit.parts.catalogue, manners=kit.parts.config.manners).waiting
    assert waiting.word == "metered"
    assert waiting.text == "Waiting because the network at wwan0 is metered, and upload.metered is false"
    kit.parts.pacing._metered = lambda: None
    kit.drain()
    assert kit.held_once()


def test_a_network_that_becomes_metered_ends_what_is_under_way(make: Make) -> None:
    """Within moments, without blame for picture or link, and what was sent is counted."""
    kit = make(entries=large(2), upload={"metered": False, "rates": {"00:00-24:00": "20kB/s"}})
    metered: list[str | None] = [None]
    kit.parts.pacing._metered = lambda: metered[0]
    kit.bring_in()
    throttle = kit.parts.pacing.throttle
    assert meanwhile(kit, lambda: throttle.passed > 20_000, lambda: metered.__setitem__(0, "wwan0")) < 4
    assert kit.states() == {State.QUEUED: 2}
    assert {(row["attempts"], row["next_attempt_at"]) for row in kit.rows()} == {(0, None)}
    assert sent_today(kit) == throttle.passed + 2 * AROUND


# -- a person says "now" ----------------------------------------------------------------------------------------------
def test_by_hand_lifts_hours_budgets_and_bills(make: Make) -> None:
    """While a person's word holds everything goes, at full speed; its bytes are counted all the same."""
    kit = make(
        entries=large(2), upload={"metered": False, "rates": {"00:00-24:00": "off"}, "per_day": BUDGET}
    )  # fmt: skip
    kit.parts.pacing._metered = lambda: "wwan0"
    kit.parts.catalogue.traffic.count(TODAY, sent=BUDGET)
    kit.bring_in()
    by_hand(kit).send_now(timedelta(hours=2))
    kit.upload()
    assert kit.states() == {State.SENT: 2}
    assert sent_today(kit) > BUDGET
    status = summary(kit.parts.catalogue, manners=kit.parts.config.manners)
    assert (status.waiting.word, status.sending.by_hand_s) == ("nothing", 7200)


def test_by_hand_ends(make: Make) -> None:
    """After its time, whatever the wall clock did meanwhile, the limits hold again."""
    kit = make(upload={"metered": True, "rates": {"00:00-24:00": "off"}})
    by_hand(kit).send_now(timedelta(hours=2))
    for jump, advance, may in ((-1000, 0, True), (2000, 7199, True), (0, 2, False)):
        kit.clock.believed = False  # NTP comes in between
        kit.clock.jump(timedelta(days=jump))
        kit.clock.advance(advance)
        assert (kit.parts.pacing.look().why is None) is may


def test_by_hand_is_taken_back_at_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way beyond a limit ends when the person says so."""
    kit = make(entries=large(1), upload={"metered": True, "rates": {"00:00-24:00": "off"}})
    kit.bring_in()
    hand, throttle = by_hand(kit), kit.parts.pacing.throttle
    hand.send_now(timedelta(hours=2))
    monkeypatch.setattr(throttle, "open", lambda _: Throttle.open(throttle, 20_000))  # else it is over in a moment
    assert meanwhile(kit, lambda: throttle.passed > 10_000, hand.hold_to_manners) < 4
    assert kit.states() == {State.QUEUED: 1}


def test_by_hand_never_opens_the_gate(make: Make) -> None:
    """The way to the server is looked for as ever: what is no server of ours gets nothing."""
    kit = make(upload={"metered": True})
    kit.receiver.fault("who", "html_200", times=None)
    kit.bring_in()
    by_hand(kit).send_now(timedelta(hours=2))
    kit.upload()
    assert kit.calls()["send"] == 0


def test_a_boot_has_its_name() -> None:
    """It is the same for everybody until the next boot."""
    assert boot_id() == boot_id() != ""


# -- what is too slow -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("usual", "least"),
    [(0, SLOWEST), (125_000, 125_000 / 16), (5_000, SLOWEST_OF_ALL), (20_000_000, FASTEST_OF_ALL)],
)
def test_what_is_given_up_depends_on_what_is_usual(usual: float, least: float) -> None:
    """On a link that has always been slow a slow picture is no dead link; where nobody knows, 8 KiB/s are the least."""
    assert slowest(Goodput(usual, 900.0)) == least


class Held:
    """A pace that holds each block back for so long, by its own word."""

    slowest = 1e12  # so that nothing of the allowed time depends on the size

    def __init__(self, seconds: float) -> None:
        self.held_s = 0.0
        self._seconds = seconds

    def __call__(self, block: bytes) -> Iterator[bytes]:
        time.sleep(0.05)
        self.held_s += self._seconds
        yield block


@pytest.mark.parametrize(("held_s", "given_up"), [(0.0, True), (0.06, False)])
def test_our_own_holding_back_is_no_dead_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_s: float, given_up: bool
) -> None:
    """The same picture in the same time is given up, or not if it was us who held it back."""
    monkeypatch.setattr(body, "PATIENCE_S", 0.1)
    file = tmp_path / "x"
    file.write_bytes(bytes(400_000))
    with file.open("rb") as opened:
        md5 = "a" * 32
        blocks = PictureBody(opened, {}, name="a.jpg", size=400_000, md5=md5, pace=Held(held_s))
        with pytest.raises(NoLink if given_up else Damaged):  # what is wrong with its end is seen last
            list(blocks)


def test_a_closed_throttle_ends_a_body_at_its_next_block(tmp_path: Path, make: Make) -> None:
    """Not one block more goes, and the last boundary never."""
    kit = make(upload={"metered": True})
    transfer = kit.parts.pacing.transfer(400_000)
    assert isinstance(transfer, Transfer)
    file = tmp_path / "x"
    file.write_bytes(bytes(400_000))
    with file.open("rb") as opened, pytest.raises(NotNow), transfer:  # noqa: PT012
        blocks = iter(PictureBody(opened, {}, name="a.jpg", size=400_000, md5="a" * 32, pace=transfer))
        next(blocks)
        kit.parts.pacing.throttle.close("it is night")
        next(blocks)
    assert sent_today(kit) == transfer.sent + AROUND < 200_000


# -- what was measured ------------------------------------------------------------------------------------------------
def test_what_was_measured_outlives_us(make: Make) -> None:
    """After a restart the estimate is there at once."""
    kit = make(entries=large(4), upload={"metered": True})
    kit.bring_in()
    assert summary(kit.parts.catalogue).sending.estimate == "unknown"
    kit.upload()
    before = kit.parts.catalogue.traffic.goodput()
    assert before.rate > 0
    kit.restart()
    assert kit.parts.pacing._goodput == kit.parts.catalogue.traffic.goodput() == before
    assert summary(kit.parts.catalogue).sending.measured == before.rate


def test_our_own_limit_does_not_look_like_a_slow_link(make: Make) -> None:
    """After a picture at 100 kB/s by our own will, the link counts for at least what it was before."""
    kit = make(entries=large(1), upload={"metered": True, "rates": {"00:00-24:00": "200kB/s"}})
    kit.parts.catalogue.traffic.measured(Goodput(3_000_000, 100.0))
    kit.restart()
    kit.bring_in()
    kit.upload()
    assert kit.states() == {State.SENT: 1}
    assert kit.parts.catalogue.traffic.goodput().rate == 3_000_000


def test_what_fails_slows_the_estimate(make: Make) -> None:
    """Time in which nothing arrived counts: an estimate is for what arrives, not for what is tried."""
    kit = make(entries=large(1), upload={"metered": True})
    kit.parts.catalogue.traffic.measured(Goodput(3_000_000, 1.0))
    kit.restart()
    kit.receiver.fault("send", "black_hole", seconds=5)
    kit.bring_in()
    kit.upload()
    assert 0 < kit.parts.catalogue.traffic.goodput().rate < 2_500_000


@given(st.lists(st.tuples(st.dates(date(2025, 6, 1), date(2027, 6, 1)), st.integers(0, 10**7)), max_size=30))
def test_no_byte_is_ever_forgotten(counted: list[tuple[date, int]]) -> None:
    """Whatever days bytes were counted on, after a clock that can be believed all are in a month that has been."""
    catalogue = in_memory()
    with catalogue.writing() as db:
        db.execute("DELETE FROM traffic")
    for day, sent in counted:
        catalogue.traffic.count(day, sent=sent)
    catalogue.traffic.gather(TODAY)
    months = catalogue.traffic.months(limit=100)
    assert sum(row["sent"] for row in months) == sum(sent for _, sent in counted)
    assert all("2026-01" <= row["month"] <= "2026-11" for row in months)
    assert catalogue.traffic.sent(TODAY)[1] == sum(row["sent"] for row in months if row["month"] == "2026-11")


@cache
def in_memory() -> Catalogue:
    return Catalogue(Path(":memory:"), SetClock())
