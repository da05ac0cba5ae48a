"""The sockets to the server: bound before anything is sent, and cut when it is said."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import httpcore
import pytest

from ailasd.demo.receiver import Receiver
from ailasd.errors import NoLink
from ailasd.panoramax import Panoramax
from ailasd.panoramax.wire import Wires
from ailasd.tunnel import Way

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def client(receiver: Receiver, interface: str) -> Panoramax:
    return Panoramax(receiver.url, receiver.token(), agent="ailasd/0 test", way=Way(interface))


def test_bound_to_its_interface(receiver: Receiver) -> None:
    """Through the named interface the server is reached; every socket of a client is bound to it."""
    with client(receiver, "lo") as ours:
        ours.who_am_i()
        bound = [
            one.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0")
            for one in ours._wires._open
            if one.fileno() >= 0
        ]
    assert bound == [b"lo"]


def test_no_interface_no_packet(receiver: Receiver) -> None:
    """Without the interface nothing is even connected, and the reason names it."""
    with client(receiver, "nosuch0") as ours, pytest.raises(NoLink, match="nosuch0"):
        ours.who_am_i()
    assert not receiver.requests


def test_a_name_that_cannot_be_looked_up(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up each time; if that fails, the server is where it was the last time."""
    look_up, dead = socket.getaddrinfo, threading.Event()

    def sometimes(host: str, *args: object, **kwargs: object) -> object:
        if dead.is_set():
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        assert host == "panoramax.example"
        return look_up("127.0.0.1", *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("ailasd.panoramax.wire.socket.getaddrinfo", sometimes)
    url = receiver.url.replace("127.0.0.1", "panoramax.example")
    with Panoramax(url, receiver.token(), agent="ailasd/0 test") as ours:
        assert ours.addresses() == ["127.0.0.1"]
        dead.set()
        ours.who_am_i()
    with Panoramax(url, receiver.token(), agent="ailasd/0 test") as ours:
        with pytest.raises(NoLink, match=r"panoramax\.example, cannot be looked up"):
            ours.addresses()
        with pytest.raises(NoLink, match="cannot be looked up"):
            ours.who_am_i()


def test_an_address_needs_no_name(receiver: Receiver) -> None:
    """With the server's address given its name is never looked up."""
    url = receiver.url.replace("127.0.0.1", "no-such-name.invalid")
    with Panoramax(url, receiver.token(), agent="ailasd/0 test", way=Way(address="127.0.0.1")) as ours:
        ours.who_am_i()
    assert len(receiver.requests) == 1


def test_the_second_address(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with two addresses, one of them dead, is reached at the other."""
    port = int(receiver.url.rsplit(":", 1)[1])
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.9", "127.0.0.1")]
    monkeypatch.setattr("ailasd.panoramax.wire.socket.getaddrinfo", lambda *_, **__: both)
    opened = Wires(Way()).connect_tcp("panoramax.example", port, timeout=2)
    assert opened.get_extra_info("socket").getpeername() == ("127.0.0.1", port)
    opened.close()


def test_cutting_ends_a_connect() -> None:
    """Whoever waits for a connection that nobody answers gets an error as soon as all is cut, and so does the next."""
    with socket.socket() as deaf:  # its queue of one is full: further packets are dropped
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            wires, ended = Wires(Way()), threading.Event()

            def connect() -> None:
                with pytest.raises(httpcore.ConnectError):
                    wires.connect_tcp("127.0.0.1", port, timeout=60)
                ended.set()

            waiting = threading.Thread(target=connect, daemon=True)
            waiting.start()
            assert not ended.wait(0.3)
            wires.cut()
            assert ended.wait(5)
            with pytest.raises(httpcore.ConnectError):
                wires.connect_tcp("127.0.0.1", port, timeout=60)
