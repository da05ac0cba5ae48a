"""The heartbeat on a real socket: what is told, when, to whom, and what a place that behaves badly can do."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest
from kit import Kit, kits
from place import Place, listening

from ailasd.config import parse
from ailasd.errors import ConfigError
from ailasd.panoramax.posting import Posting
from ailasd.tunnel import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def place() -> Iterator[Place]:
    with listening(Place()) as one:
        yield one


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    with kits(tmp_path) as make:
        yield make


def beat(kit: Kit) -> None:
    assert kit.parts.heartbeat is not None
    kit.parts.heartbeat.run(threading.Event())


def test_what_is_told(make: Callable[..., Kit], place: Place):
    """Kit, version, queue, age, card, clock, disk and the last error; no name, no position, no token of the server."""
    kit = make()
    kit.restart(heartbeat={"url": place.url})
    kit.bring_in()
    kit.receiver.fault("send", "status", code=500, body="DCIM/G0010001.JPG at -18.91372")
    kit.upload()
    kit.clock.advance(3600)
    beat(kit)
    (told,) = place.came
    assert (told["kit"], told["clock_trusted"], told["needs"]) == ("kit", True, 0)
    assert told["queue_bytes"] > 0
    assert 24 * 3600 < told["oldest_waiting_s"] < 26 * 3600
    assert told["last_card"] == {"id": 1, "seen": "2026-11-21T07:00:00.000Z", "outcome": "whole"}
    assert told["free_bytes"] > 0
    assert told["last_error"]
    said = json.dumps(told) + json.dumps(place.headers)
    assert not [secret for secret in ("G0010001", "18.9137", kit.token.read_text(), "Bearer") if secret in said]
    assert len(json.dumps(told)) < 1024


def test_only_while_the_gate_is_open(make: Callable[..., Kit], place: Place):
    """Without our server it does not beat; it does as soon as the server is there, and then in its time."""
    kit = make()
    kit.restart(heartbeat={"url": place.url})
    kit.receiver.fault("who", "drop_before", times=2)
    beat(kit)
    assert place.came == []
    kit.clock.advance(120)
    for _ in range(3):
        beat(kit)
    assert len(place.came) == 1
    kit.clock.advance(901)
    beat(kit)
    assert len(place.came) == 2


def test_its_own_token(make: Callable[..., Kit], place: Place):
    """A place that asks for a bearer token gets the one from its own file."""
    kit = make()
    (kit.tmp / "beat").write_text("place-token\n")
    kit.restart(heartbeat={"url": place.url, "token_file": kit.tmp / "beat"})
    beat(kit)
    assert place.headers[0]["Authorization"] == "Bearer place-token"


@pytest.mark.parametrize("status", [302, 401, 500])
def test_nobody_hears_it(make: Callable[..., Kit], status: int):
    """A refusal is told once, a redirect not followed, and the link to our server is none the worse."""
    with listening(Place(status=status)) as place:
        kit = make()
        kit.restart(heartbeat={"url": place.url})
        for _ in range(3):
            beat(kit)
            kit.clock.advance(901)
        assert len(place.came) == 3
        assert kit.events().count("heartbeat_unheard") == 1
        assert kit.parts.link.server() is not None


def test_a_place_that_drips():
    """An answer that never ends costs the time that it has, and not more."""
    with listening(Place(drips=True)) as place:
        began = time.monotonic()
        with pytest.raises(Exception, match="did not arrive"):
            Posting(place.url, Way(), agent="x", within_s=0.5).post({})
        assert time.monotonic() - began < 3


def test_it_leaves_through_the_tunnel_or_not_at_all(place: Place):
    """Its sockets are bound to the interface: through one that leads elsewhere nothing arrives."""
    with pytest.raises(Exception, match="nothing can be sent through nowhere0"):
        Posting(place.url, Way("nowhere0"), agent="x", within_s=2).post({})
    assert place.came == []
    Posting(place.url, Way("lo"), agent="x").post({})
    assert place.came == [{}]


def test_stopping_cuts_it():
    """Whoever stops the daemon does not wait for it."""
    with listening(Place(drips=True)) as place:
        posting, failed = Posting(place.url, Way(), agent="x"), threading.Event()

        def post() -> None:
            with pytest.raises(Exception, match="did not arrive"):
                posting.post({})
            failed.set()

        thread = threading.Thread(target=post)
        thread.start()
        while not place.came:
            time.sleep(0.01)
        posting.cut()
        assert failed.wait(3)
        thread.join()


def test_an_upload_does_not_wait_for_it(make: Callable[..., Kit]):
    """While a heartbeat hangs, pictures are sent."""
    with listening(Place(drips=True)) as place:
        kit = make()
        kit.restart(heartbeat={"url": place.url})
        hanging = threading.Thread(target=beat, args=(kit,))
        hanging.start()
        while not place.came:
            time.sleep(0.01)
        kit.drain()
        assert kit.held_once()
        assert hanging.is_alive()
        assert kit.parts.heartbeat is not None
        kit.parts.heartbeat.close()
        hanging.join()


def test_in_the_clear_only_through_a_tunnel():
    """http:// to another machine is refused without a tunnel, and taken with one."""
    text = '[heartbeat]\nurl = "http://10.8.0.1/beat"\n'
    with pytest.raises(ConfigError, match="heartbeat: must have a url that begins with https"):
        parse(text, "x")
    assert parse(f'[vpn]\ninterface = "wg0"\n{text}', "x").way_of_heartbeat == Way("wg0")
    same = '[server]\nurl = "https://p.example"\naddress = "10.8.0.1"\n[heartbeat]\nurl = "https://p.example/beat"\n'
    assert parse(same, "x").way_of_heartbeat.address == "10.8.0.1"
