"""The daemon as a whole: real threads, real time, the receiver over a real socket."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from kit import Kit, drive, kits
from led import Led
from running import Slot, running

from ailasd import daemon as daemon_module
from ailasd.clock import SystemClock
from ailasd.daemon import Daemon, Slots, _Every
from ailasd.demo import pictures
from ailasd.errors import TryLater
from ailasd.importing import Importing
from ailasd.model import Round, State
from ailasd.parts import Ailasd
from ailasd.showing.sign_file import read
from ailasd.sign import Sign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from ailasd.cards import Medium

    Make = Callable[..., Kit]

SELDOM = {"sources": {"every": "1h"}, "upload": {"probe_every": "1h"}, "confirm": {"every": "1h"}}
"""Intervals so long that whatever happens in a test was woken by something else."""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with kits(tmp_path) as make:
        yield make


def soon(so: Callable[[], object], within_s: float = 15.0) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + within_s
    while not so():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_whole_card(make: Make) -> None:
    """A card in its folder comes to the server, proven, without anybody doing anything: each step wakes the next."""
    kit = make(entries=drive(20), **SELDOM)
    with running(kit):
        assert soon(kit.held_once)
    assert [name for name in kit.events() if name.startswith("daemon")] == ["daemon_started", "daemon_stopping"]


@pytest.mark.slow
def test_all_at_once(make: Make) -> None:
    """Two cards, with parked, broken and refused pictures: in the end all counts add up."""
    kit = make(entries=drive(30, speed_kmh=0) + drive(10, group=2, first=31, seed=100), sources={"every": "1s"})
    other = kit.tmp / "other"
    pictures.write_card(other, drive(5, seed=300), serial="C3531325999999")
    kit.tables = {"sources": {"folders": [kit.card, other], "every": "1s"}}
    kit.receiver.fault("send", "breaks")
    kit.receiver.fault("send", "status", code=400, body={"message": "no"})
    with running(kit):
        assert soon(lambda: kit.states().keys() == {State.CONFIRMED, State.HELD, State.REFUSED}, 40)
        assert soon(lambda: sum(kit.states().values()) == 45)
        totals = kit.parts.catalogue.telling.totals()
    assert totals["on_card"] == totals["copied"] + totals["known"] + sum(totals["left"].values())
    assert sum(kit.states().values()) == totals["copied"] == 45
    assert kit.states()[State.REFUSED] == 1
    assert len(kit.receiver.holds()) == kit.states()[State.CONFIRMED]


def test_second_daemon(make: Make) -> None:
    """A second daemon on the same folder is refused, and the first one goes on."""
    kit = make(**SELDOM)
    with running(kit):
        assert soon(lambda: "daemon_started" in kit.events())
        with Ailasd(kit.config()) as parts, pytest.raises(TryLater, match="another ailasd daemon"):
            Daemon(parts).run(threading.Event())
        assert soon(kit.held_once)


@pytest.mark.parametrize("call", ["send", "who"])
def test_stop_in_a_black_hole(make: Make, monkeypatch: pytest.MonkeyPatch, call) -> None:
    """While an upload or a probe hangs in a black hole, it still stops in less than five seconds, threads and all."""
    monkeypatch.setattr("kit.NO_PROGRESS_S", 60.0)
    kit = make(**SELDOM)
    before = set(threading.enumerate())
    kit.receiver.fault(call, "black_hole", times=None)
    with running(kit):
        assert soon(lambda: kit.states() == {State.QUEUED: 3})
        time.sleep(0.3)  # for the request to be on its way
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert soon(lambda: not {one for one in set(threading.enumerate()) - before if not one.daemon}, 2)
    assert kit.states() == {State.QUEUED: 3}


def test_step_failure(make: Make) -> None:
    """A step that fails by a bug of ours is told, with its name, and tried again; the others go on meanwhile."""
    kit = make(sources={"every": "1s"})
    with patched_start(kit) as failures, running(kit):
        assert soon(kit.held_once)
    assert failures == [1, 2]
    (told, _) = [row for row in kit.parts.catalogue.telling.timeline() if row["name"] == "step_failed"]
    assert told["detail"]["step"] == "sort"
    assert "ZeroDivisionError" in told["detail"]["problem"]


@contextmanager
def patched_start(kit: Kit) -> Iterator[list[int]]:
    """The sort step fails twice."""
    failures: list[int] = []
    start = kit.start

    def failing(clock: Any = None) -> Ailasd:
        parts = start(clock)
        run = parts.sorting.run

        def sort(stop: threading.Event, **_: Any) -> Round:
            if len(failures) < 2:
                failures.append(len(failures) + 1)
                raise ZeroDivisionError
            return run(stop)

        parts.sorting.run = sort  # type: ignore[method-assign]
        return parts

    kit.start = failing  # type: ignore[method-assign]
    yield failures


def test_nudged_while_running(make: Make) -> None:
    """A nudge that comes while the step runs is not lost, whoever started the step: it runs once more."""
    kit = make(**SELDOM)
    began, go_on, runs = threading.Event(), threading.Event(), []

    def slow(_stop: threading.Event, **_: Any) -> Round:
        runs.append(1)
        began.set()
        go_on.wait(5)
        return Round(worked=False)

    kit.parts.sorting.run = slow  # type: ignore[method-assign, assignment]
    one = Daemon(kit.parts)
    one._scheduler.start()
    one.nudge("sort")
    assert began.wait(5)
    for _ in range(5):
        one.nudge("sort")
        time.sleep(0.02)
    go_on.set()
    assert soon(lambda: len(runs) == 2, 3)
    time.sleep(0.3)
    assert len(runs) == 2
    one._scheduler.shutdown(wait=True)


class JumpingClock(SystemClock):
    """The machine's own, until it jumps."""

    off = timedelta()

    def now(self) -> datetime:
        return super().now() + self.off


@pytest.mark.parametrize("years", [-20, 20])
def test_clock_jump(make: Make, monkeypatch: pytest.MonkeyPatch, years: int) -> None:
    """When the machine's clock jumps by years every step is run at once, and its interval begins anew."""
    monkeypatch.setattr(daemon_module, "CLOCK_LOOK_S", 0.1)
    kit = make(**SELDOM)
    with running(kit, clock=JumpingClock()):
        assert soon(kit.held_once)
        monkeypatch.setattr(Daemon, "_something_arrived", lambda _: None)
        pictures.write_card(kit.card, drive(2, seed=50, group=2, first=4))
        assert not soon(lambda: len(kit.rows()) > 3, 0.5)
        monkeypatch.setattr(JumpingClock, "off", timedelta(days=365 * years))
        assert soon(lambda: len(kit.rows()) == 5)


def test_a_jump_over_years_is_one_missed_run() -> None:
    """However far the clock jumps, what would have run meanwhile is not counted up: an interval begins anew."""
    every, now = _Every(timedelta(seconds=15)), datetime.now(UTC)
    for years in (-20, -3, 0, 20):
        assert every.get_next_fire_time(now + timedelta(days=365 * years), now) == now + timedelta(seconds=15)


def test_folder_appears_later(make: Make) -> None:
    """A source folder that is not there at the start is no fault; when it appears its card is imported."""
    kit = make(sources={"every": "1s"})
    away = kit.tmp / "away"
    kit.card.rename(away)
    with running(kit):
        time.sleep(0.5)
        assert kit.states() == {}
        away.rename(kit.card)
        assert soon(kit.held_once)


@pytest.mark.slow
def test_card_comes_back(make: Make) -> None:
    """A card that was taken out and comes back, mounted anew, is read again by the same daemon."""
    kit = make(entries=drive(3), sources={"every": "1s"})
    with running(kit):
        assert soon(kit.held_once)
        kit.card.rename(kit.tmp / "gone")
        time.sleep(1.5)
        kit.entries = kit.entries + drive(2, seed=50, group=2, first=4)
        pictures.write_card(kit.card, kit.entries)  # another folder of that name
        assert soon(kit.held_once)


def test_watched(make: Make) -> None:
    """A file that is put into a source folder is imported within seconds, by being seen, not by the interval."""
    kit = make(entries=drive(3), **SELDOM)
    with running(kit):
        assert soon(kit.held_once)
        time.sleep(0.5)
        kit.entries = kit.entries + drive(2, seed=50, group=2, first=4)
        pictures.write_card(kit.card, kit.entries[3:])
        assert soon(kit.held_once, 10)


@pytest.mark.slow
def test_one_missing_folder_of_two(make: Make) -> None:
    """A source folder that is missing does not cost the other one its being watched."""
    kit = make(entries=drive(3), **SELDOM)
    kit.tables["sources"] = {"every": "1h", "folders": [kit.tmp / "missing", kit.card]}
    with running(kit):
        assert soon(kit.held_once)
        time.sleep(0.5)
        kit.entries = kit.entries + drive(2, seed=50, group=2, first=4)
        pictures.write_card(kit.card, kit.entries[3:])
        assert soon(kit.held_once, 10)


def test_away_and_back(make: Make) -> None:
    """With the server away everything is copied and waits; when it is back it goes on by itself."""
    kit = make(upload={"probe_every": "1s"})
    kit.receiver.away()
    with running(kit):
        assert soon(lambda: kit.states() == {State.QUEUED: 3})
        kit.receiver.back()
        assert soon(kit.held_once)
    assert "link_back" in kit.events()


# -- cards -------------------------------------------------------------------------------------------------------------
def test_a_card_is_read_cleared_and_let_go(make: Make) -> None:
    """From the event to an empty card: read at once, cleared when the server has it, unmounted after each."""
    kit = make(sources={"folders": [], "every": "1h"}, confirm={"every": "1s"}, cleaning={"card": "confirmed"})
    slot = Slot(kit.card)
    with running(kit, slots=Slots(slot, slot)):  # type: ignore[arg-type]
        assert slot.listens.wait(5)
        slot.plug()
        assert soon(kit.held_once)
        assert soon(lambda: not [*kit.card.rglob("*.JPG")])
        assert soon(lambda: [row["state"] for row in kit.parts.catalogue.media.all()] == ["done"])
        assert slot.mounted_now == 0
    assert {"card_seen", "card_ready", "card_cleared"} <= set(kit.events())


def test_a_known_card_is_cleared_as_soon_as_it_is_back(make: Make) -> None:
    """A card of which the server has everything is cleared when it is plugged in, not at the next hour's look."""
    kit = make(
        sources={"folders": [], "every": "1h"}, cleaning={"card": "confirmed", "every": "1h"}, confirm={"every": "1s"}
    )
    slot = Slot(kit.card)
    with running(kit, slots=Slots(slot, slot)):  # type: ignore[arg-type]
        assert slot.listens.wait(5)
        slot.plug()
        assert soon(lambda: not [*kit.card.rglob("*.JPG")])
        slot.card = None
        slot.wake()
        assert soon(lambda: not kit.parts.catalogue.media.all())
        pictures.write_card(kit.card, kit.entries)  # as if it had been yanked before the deletion was on it
        slot.plug()
        assert soon(lambda: not [*kit.card.rglob("*.JPG")])


@pytest.mark.parametrize("why", ["it cannot be switched off", None])
def test_a_reader_is_switched_off_when_its_card_is_read(
    make: Make, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cards.power_off it is asked to; if it does not, the log says why."""
    kit = make(sources={"folders": [], "every": "1h"}, cards={"power_off": True})
    slot = Slot(kit.card)
    asked: list[object] = []

    def power_off(_: Slot, medium: Medium) -> str | None:
        asked.append(medium)
        return why

    monkeypatch.setattr(Slot, "power_off", power_off, raising=False)
    with running(kit, slots=Slots(slot, slot)):  # type: ignore[arg-type]
        assert slot.listens.wait(5)
        slot.plug()
        assert soon(lambda: "card_ready" in kit.events())
    assert asked == [slot.card]
    assert ("not_switched_off" in kit.events()) is (why is not None)


# -- the sign ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_sign_of_a_card_is_shown_as_it_changes(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Light, sound, buzzer and file: leave it in, you may pull it out, safe; in the end the light is what it was."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(daemon_module, "LEDS", tmp_path)
    program = tmp_path / "aplay"
    program.write_text(f"#!/bin/sh\ncat > /dev/null\necho >> {tmp_path}/played\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    may_read, read_it = threading.Event(), Importing.run

    def slowly(self: Importing, *how: Any, **more: Any) -> Any:
        assert may_read.wait(10)
        return read_it(self, *how, **more)

    monkeypatch.setattr(Importing, "run", slowly)
    kit = make(
        sources={"folders": [], "every": "1h"},
        confirm={"every": "1s"},
        light={"led": "ACT"},
        sound={"device": "x", "buzzer": "buzzer"},
    )
    kit.receiver.away()
    slot, led, file = Slot(kit.card), Led(tmp_path / "ACT"), tmp_path / "run/sign.json"
    buzzer = Led(tmp_path / "buzzer", trigger="none")

    def shows(sign: Sign, blinks: str) -> bool:
        return soon(lambda: (one := read(file)) is not None and one.sign is sign and led.does()[1] == blinks)

    try:
        with running(kit, slots=Slots(slot, slot)):  # type: ignore[arg-type]
            assert slot.listens.wait(5)
            assert shows(Sign.NOTHING, "50")
            slot.plug()
            assert shows(Sign.READING, "250")
            may_read.set()
            assert shows(Sign.PULL, "255")
            slot.card = None
            slot.wake()
            assert shows(Sign.WAITING, "100")
            kit.receiver.back()
            kit.parts.link.network_changed()
            assert shows(Sign.SAFE, "1900")
            assert soon(lambda: len(buzzer.beeps) >= 2 + 4)
        assert soon(lambda: led.does()[0] == "mmc0")
        assert soon(lambda: buzzer.does() == ("none", "7"))
    finally:
        led.close()
        buzzer.close()
    assert not file.exists()
    assert (tmp_path / "played").read_text() == "\n" * 3
    assert "sign_not_shown" not in kit.events()
