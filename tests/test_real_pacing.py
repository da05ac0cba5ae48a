"""Our manners on a real Panoramax: it waits for slow bodies, and what was broken off is there once in the end."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from real_kit import Kit, fresh, opened_kits

from ailasd.demo import pictures
from ailasd.manners import AROUND, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Real

pytestmark = pytest.mark.real

START = datetime.now(UTC).replace(hour=4, minute=0, second=0, microsecond=0) - timedelta(days=2)
SIZE = 400_000


@pytest.fixture
def kit(real: Real, tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    """Makes a kit."""
    with opened_kits(real, tmp_path) as make:
        yield make


def at(kit: Kit, rate: int) -> None:
    pacing = kit.parts.pacing
    pacing._rules = replace(pacing._rules, windows=windows({"00:00-24:00": rate}))


def test_broken_off_twice_and_there_once(kit):
    """A network that becomes metered in the middle, twice: every picture is confirmed once, and every byte counted."""
    kit = kit()
    metered: list[str | None] = [None]
    pacing = kit.parts.pacing
    pacing._rules, pacing._metered = replace(pacing._rules, metered=False), lambda: metered[0]
    at(kit, 100_000)
    md5s = kit.takes(pictures.drive(start=START, n=4, seed=fresh(), pad_to=SIZE))
    with kit.running():
        for _ in range(2):
            goal = pacing.throttle.passed + SIZE // 2
            kit.wait(lambda goal=goal: pacing.throttle.passed > goal)
            metered[0] = "wwan0"
            time.sleep(3)
            stopped = pacing.throttle.passed
            time.sleep(1)
            assert pacing.throttle.passed == stopped
            metered[0] = None
        kit.wait(kit.all_settled)
    kit.assert_confirmed_once(md5s)
    assert pacing.throttle.passed < 4 * SIZE + 4 * SIZE + 10_000  # twice two in flight
    (month,) = kit.parts.catalogue.traffic.months()
    assert month["useful"] == 4 * SIZE
    assert month["sent"] <= pacing.throttle.passed + 8 * AROUND


@pytest.mark.slow
def test_the_server_waits_for_a_slow_body(kit):
    """At 10 kB/s two pictures at once take more than a minute, and both arrive with the first try."""
    kit = kit()
    at(kit, 10_000)
    md5s = kit.takes(pictures.drive(start=START, n=2, seed=fresh(), pad_to=SIZE))
    began = time.monotonic()
    kit.settle()
    assert time.monotonic() - began > 75
    kit.assert_confirmed_once(md5s)
    assert kit.parts.pacing.throttle.passed < 2 * SIZE + 5_000
