"""Reports over our pictures: asked for once a day, told once, in the status as long as they are open."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from kit import Kit, SetClock, kits
from real_kit import fresh, opened_kits

from ailasd.demo import pictures
from ailasd.logs import Event
from ailasd.status import summary
from ailasd.wording import of_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Real


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    with kits(tmp_path) as make:
        yield make


def look(kit: Kit) -> list[str]:
    """What the status needs of people after one more look, a day later."""
    kit.clock.advance(86_400)
    kit.parts.reported.run(threading.Event())
    return [need.what for need in summary(kit.parts.catalogue).needs]


def report(kit: Kit, index: int, issue: str = "privacy") -> dict[str, str]:
    return {"id": str(uuid.uuid4()), "issue": issue, "status": "open", "picture_id": kit.picture(index).server_id or ""}


def test_a_report_is_in_the_status_until_it_is_closed(make: Callable[..., Kit]):
    """Each issue is one need, which names the first picture and says whether it is hidden; closed it is gone."""
    kit = make()
    kit.drain()
    assert look(kit) == []
    name = kit.picture(0).name
    kit.receiver.store.reports = [report(kit, 0), report(kit, 1), report(kit, 2, "mislocated")]
    assert look(kit) == [
        f"Reported on the server (privacy): {name} of drive 1, and 1 more, which hides it there",
        f"Reported on the server (in the wrong place): {kit.picture(2).name} of drive 1",
    ]
    assert f"ailasd why {kit.picture(0).md5[:12]}" in of_status(summary(kit.parts.catalogue), kit.config().zone)
    assert look(kit)
    assert kit.events().count(Event.REPORTED) == 3
    kit.receiver.store.reports = []
    assert look(kit) == []


def test_a_whole_sequence(make: Callable[..., Kit]):
    """A report over a sequence names it."""
    kit = make()
    kit.drain()
    (collection,) = kit.parts.catalogue.drives.collections()
    kit.receiver.store.reports = [{"id": str(uuid.uuid4()), "issue": "other", "sequence_id": collection}]
    (need,) = look(kit)
    assert need.startswith("Reported on the server (other): the sequence kit 2026-11-20")


def test_of_another_kit(make: Callable[..., Kit]):
    """Reports over pictures that another kit of the same account sent are none of ours."""
    kit = make()
    kit.drain()
    kit.receiver.store.reports = [{"id": str(uuid.uuid4()), "issue": "privacy", "picture_id": str(uuid.uuid4())}]
    assert look(kit) == []


def test_how_often_it_asks(make: Callable[..., Kit]):
    """Once a day; not before anything of ours is there; a dead link is tried again at once, a refusal tomorrow."""
    kit = make()
    kit.parts.reported.run(threading.Event())
    assert kit.calls()["reports"] == 0
    kit.drain()
    kit.receiver.fault("reports", "drop_before", times=2)
    kit.parts.reported.run(threading.Event())
    asked = kit.calls()["reports"]
    kit.clock.advance(60)
    kit.receiver.fault("reports", "status", code=404)
    for _ in range(3):
        kit.parts.reported.run(threading.Event())
    assert kit.calls()["reports"] == asked + 1
    assert kit.parts.link.server() is not None


@pytest.mark.real
def test_on_a_real_server(real: Real, tmp_path: Path):
    """What a stranger reports of our picture on a real Panoramax is in our status, until it is closed there."""
    with opened_kits(real, tmp_path) as made:
        kit = made()
        (md5, *_) = kit.takes(pictures.drive(n=3, start=SetClock().wall - timedelta(days=30), seed=fresh()))
        kit.settle()
        body = {"issue": "privacy", "picture_id": kit.picture(md5).server_id}
        answer = httpx.post(f"{real.url}/api/reports", json=body)
        assert answer.status_code == 200, answer.text
        kit.parts.reported.run(threading.Event())
        (need,) = summary(kit.parts.catalogue).needs
        assert f"(privacy): {kit.picture(md5).name} of drive" in need.what
