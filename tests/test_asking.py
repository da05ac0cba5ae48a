"""What the page may ask of the daemon, over the socket in the kit's folder, and what nobody may."""

from __future__ import annotations

import errno
import json
import socket
import sqlite3
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kit import Kit, drive, kits

from ailasd import asking
from ailasd.asking import RELEASE, RETRY, Asked, Wish, ask
from ailasd.by_hand import ByHand, Choice, Done
from ailasd.errors import NeedsHuman, TryLater

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    """Two pictures of four have no position and are held."""
    with kits(tmp_path) as make:
        one = make(entries=drive(4, no_fix=(0, 1)))
        one.bring_in()
        yield one


@pytest.fixture
def asked(kit: Kit) -> Iterator[Asked]:
    parts = kit.parts
    by_hand = ByHand(parts.catalogue, parts.storage, parts.sorting, parts.journal)
    one = Asked(parts.storage.asking, by_hand, parts.journal, lambda: None)
    one.start()
    yield one
    one.end()


@pytest.mark.usefixtures("asked")
def test_held_pictures_are_released(kit: Kit) -> None:
    """Those of that reason and drive; the answer says how many, and the history that a hand did it."""
    place = kit.parts.storage.asking
    assert ask(place, Wish(RELEASE, "parked")) == Done(0)
    assert ask(place, Wish(RELEASE, "no_position", drive=2)) == Done(0)
    assert ask(place, Wish(RELEASE, "no_position", drive=1)) == Done(2)
    assert kit.states() == {"queued": 4}
    assert "hand_moved" in kit.events()


@pytest.mark.usefixtures("asked")
def test_refused_pictures_are_tried_again(kit: Kit) -> None:
    """Those that the server refused for that reason."""
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE picture SET state = 'refused', reason = 'excluded_area' WHERE state = 'queued'")
    assert ask(kit.parts.storage.asking, Wish(RETRY, "excluded_area")) == Done(2)


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    "line",
    [
        {"do": "hold", "reason": "x", "drive": None},
        {"do": "release", "reason": None, "drive": None},
        {"do": "release", "reason": "no_position", "drive": "1"},
        {"do": "release", "reason": "no_position", "drive": True},
        {"do": "release", "reason": "no_position"},
        {"do": "release", "reason": "no_position", "drive": None, "all": True},
        ["release"],
        None,
    ],
)
def test_nothing_else_is_understood(kit: Kit, line: object) -> None:
    """Any other wish is answered, and moves nothing."""
    assert "not understood" in said(kit, json.dumps(line).encode() + b"\n")["problem"]
    assert kit.states() == {"queued": 2, "held": 2}


def said(kit: Kit, line: bytes) -> dict[str, str]:
    with socket.socket(socket.AF_UNIX) as to:
        to.settimeout(10)
        to.connect(str(kit.parts.storage.asking))
        to.sendall(line)
        to.shutdown(socket.SHUT_WR)
        answer: dict[str, str] = json.loads(to.recv(4096))
        return answer


@pytest.mark.usefixtures("asked")
def test_it_goes_on_after_nonsense(kit: Kit) -> None:
    """Half a line, a flood, no JSON, and a number that no drive has: the next wish is heard."""
    for line in (b'{"do"', b"x" * 100_000 + b"\n", b"\xff\n", b""):
        with suppress(OSError):  # it had closed already
            assert said(kit, line)["problem"]
    with pytest.raises(NeedsHuman):
        ask(kit.parts.storage.asking, Wish(RELEASE, "no_position", drive=10**30))
    assert ask(kit.parts.storage.asking, Wish(RELEASE, "no_position")) == Done(2)


def test_it_goes_on_after_a_locked_catalogue(kit: Kit, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be written into the catalogue who asks is told at once; the next wish is heard."""

    def locked(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(asked._by_hand, "release", locked)
        patch.setattr(kit.parts.catalogue.telling, "happened", locked)
        with pytest.raises(NeedsHuman, match="the log has it"):
            ask(kit.parts.storage.asking, Wish(RELEASE, "no_position"))
    assert ask(kit.parts.storage.asking, Wish(RELEASE, "no_position"), patience_s=5) == Done(2)


def test_nobody_can_be_let_in_for_a_while(kit: Kit, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, or somebody who is gone already, do not end the listening; the end of it does."""
    accept, troubles = socket.socket.accept, [errno.EMFILE, errno.ECONNABORTED]

    def sometimes(listening: socket.socket) -> object:
        if listening.family == socket.AF_UNIX and troubles:
            raise OSError(troubles.pop(), "x")
        return accept(listening)

    asked.end()
    monkeypatch.setattr(asking, "AGAIN_S", 0.05)
    monkeypatch.setattr(socket.socket, "accept", sometimes)
    asked.start()
    assert ask(kit.parts.storage.asking, Wish(RELEASE, "no_position"), patience_s=5) == Done(2)
    listeners = [one for one in threading.enumerate() if one.name == "asked"]
    asked.end()
    for one in listeners:
        one.join(5)
        assert not one.is_alive()


def test_only_our_group_may_ask(kit: Kit, asked: Asked) -> None:
    """The socket is for owner and group; it goes when the daemon does."""
    place = kit.parts.storage.asking
    assert stat.S_IMODE(place.stat().st_mode) == 0o660
    asked.end()
    assert not place.exists()
    with pytest.raises(TryLater):
        ask(place, Wish(RELEASE, "no_position"))


def test_it_may_take_long(kit: Kit, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not wait for the end is told that it goes on, and it does."""
    ended, release = threading.Event(), asked._by_hand.release

    def slowly(choice: Choice) -> Done:
        time.sleep(0.5)
        done = release(choice)
        ended.set()
        return done

    monkeypatch.setattr(asked._by_hand, "release", slowly)
    with pytest.raises(TryLater, match="what was asked for goes on"):
        ask(kit.parts.storage.asking, Wish(RELEASE, "no_position"), patience_s=0.1)
    assert ended.wait(10)
    assert kit.states() == {"queued": 4}


def test_a_dead_daemons_socket_is_no_hindrance(kit: Kit, asked: Asked) -> None:
    """What a power cut left is replaced; another file is not, and then only the page's buttons do not work."""
    asked.end()
    place = kit.parts.storage.asking
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
    asked.start()
    assert ask(place, Wish(RELEASE, "no_position")) == Done(2)
    asked.end()
    place.write_text("somebody's")
    asked.start()
    asked.end()
    assert place.read_text() == "somebody's"
    assert "page_unheard" in kit.events()
