"""The sockets to the server: each leaves through the tunnel or is never connected, and all can be cut at once.

The binding is set before the first packet (``SO_BINDTODEVICE``, which any user may set since Linux 5.7), so the kernel
itself sees to it: a route that changes in mid-picture, a tunnel that goes away, a gateway that answers in the server's
place get nothing, the token included. httpx would set socket options only after connecting: hence a backend of ours.
"""

from __future__ import annotations

import errno
import select
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import httpcore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator

    from ailasd.tunnel import Way

Address = tuple[Any, ...]
"""As ``socket.connect`` takes it: (address, port) and for IPv6 two more."""

ADDRESS_HOLDS_S: Final = 300.0
"""So long connections go where the last one went, before the server's name is looked up again."""

HEAD_S: Final = 120.0
"""From the last byte of a request to the whole head of its answer: who says "wait" for ever (1xx), or drips a header,
makes progress at each look, and would hold us for good."""

_STALE_MS: Final = 30_000
"""The kernel gives up data that nobody acknowledges after so long; without it: 15 minutes."""
_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # While we wait for an answer nothing is sent: these probes tell a dead link (10 s + 4 x 5 s) from a busy server.
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALE_MS),
    # Only this much may wait unsent in the kernel, so that "the socket took it" means that the link took it. Else
    # megabytes drain silently on a slow link while we already wait for the answer, and a good upload looks dead.
    (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 128 * 1024),
)

_PACE: Final = b"bbr"
"""How fast to send: by what arrives. Other ways slow down for each packet that is lost, as if the road were full.

Measured at 10 Mbit/s, 80 ms and 2 % loss: 7.6 Mbit/s with one connection; with "cubic", Debian's own choice, 1.6, and
5.1 with eight."""


class NoInterface(OSError):
    """The tunnel is not there, or may not be used; the text says which."""

    def __str__(self) -> str:
        """The sentence, without the number."""
        return str(self.strerror)


class Wires(httpcore.NetworkBackend):
    """Opens the connections of one client. May be used by several threads at once."""

    def __init__(self, way: Way) -> None:
        self._interface = way.interface
        self._address = way.address
        self._lock = threading.Lock()
        self._open: WeakSet[socket.socket] = WeakSet()
        self._cut = False
        self._found = [one for address in way.known for one in _resolved(address)]
        self._ask_again = float("-inf")

    def cut(self) -> None:
        """End every connection, for good: whoever reads, writes or connects gets an error at once.

        Closing a socket does not wake a thread that waits for it, shutting it down does.
        """
        with self._lock:
            self._cut = True
            for one in self._open:
                _shut(one)

    def track(self, one: socket.socket) -> None:
        """Remember it for ``cut``; if that was said already, it is cut now."""
        with self._lock:
            self._open.add(one)
            if self._cut:
                _shut(one)

    def addresses(self, host: str) -> list[str]:
        """Where connections to ``host`` would go, as IP literals.

        Raises:
            OSError: it cannot be looked up, and never could.
        """
        return [address[0] for _, address in self._look_up(host, 0)]

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002  (httpcore's interface; never asked for)
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """A connection to the first of the server's addresses that answers.

        Raises:
            httpcore.ConnectError: no such name, no such tunnel, no way, refused, cut.
            httpcore.ConnectTimeout: nobody answered in ``timeout`` seconds, over all addresses.
        """
        with _as(httpcore.ConnectTimeout, httpcore.ConnectError):
            addresses = self._look_up(host, port)
            end = None if timeout is None else time.monotonic() + timeout
            for number, (family, address) in enumerate(addresses, 1):
                left = None if end is None else (end - time.monotonic()) / (len(addresses) - number + 1)
                try:
                    one = self._connected(family, address, left)
                except OSError:
                    self._ask_again = float("-inf")
                    if number == len(addresses):
                        raise
                else:
                    return _Wire(self, one)
        raise AssertionError("getaddrinfo gives at least one address")

    def _look_up(self, host: str, port: int) -> list[tuple[int, Address]]:
        """Where the server may be. A name that cannot be looked up just now is where it was last time.

        It is asked for after a connection failed, and seldom otherwise: a silent resolver costs 10 s a question.
        """
        if not self._found or time.monotonic() >= self._ask_again:
            try:
                self._found = _resolved(self._address or host)
            except socket.gaierror:
                if not self._found:
                    raise
            self._ask_again = time.monotonic() + ADDRESS_HOLDS_S
        return [(family, (address[0], port, *address[2:])) for family, address in self._found]

    def _connected(self, family: int, address: Address, timeout: float | None) -> socket.socket:
        if self._cut:
            raise OSError(errno.ESHUTDOWN, "the connections were cut on our side")
        one = socket.socket(family, socket.SOCK_STREAM)
        try:
            if self._interface:  # before anything is sent
                _bind(one, self._interface)
            for level, option, value in _OPTIONS:
                one.setsockopt(level, option, value)
            with suppress(OSError):  # this kernel does not have it, or not for us
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _PACE)
            self.track(one)
            one.settimeout(None if timeout is None else max(timeout, 0.001))
            one.connect(address)
        except BaseException:
            one.close()
            raise
        return one


def _resolved(host: str) -> list[tuple[int, Address]]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


class _Wire(httpcore.NetworkStream):
    """One connection, as httpcore wants it."""

    def __init__(self, wires: Wires, one: socket.socket) -> None:
        self._wires = wires
        self._socket = one
        self._head_until = float("inf")
        wires.track(one)  # a second time: it may have been cut while it was connecting

    def head_is_there(self) -> None:
        """How long the rest of an answer may take is ``answer``'s business."""
        self._head_until = float("inf")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _as(httpcore.ReadTimeout, httpcore.ReadError):
            left = min(float("inf") if timeout is None else timeout, self._head_until - time.monotonic())
            if left <= 0:  # which sockets take for "do not wait"
                raise TimeoutError
            self._socket.settimeout(None if left == float("inf") else left)
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _as(httpcore.WriteTimeout, httpcore.WriteError):
            self._socket.settimeout(timeout)
            left = memoryview(buffer)
            while left:  # not sendall, whose time-out is for all of it: any progress counts
                left = left[self._socket.send(left) :]
        self._head_until = time.monotonic() + HEAD_S

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        with _as(httpcore.ConnectTimeout, httpcore.ConnectError):
            try:
                self._socket.settimeout(timeout)
                return _Wire(self._wires, ssl_context.wrap_socket(self._socket, server_hostname=server_hostname))
            except BaseException:
                self.close()
                raise

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "socket":
                return self._socket
            case "ssl_object":  # only asked for to choose HTTP/2, which is off
                return None
            case "is_readable":  # an idle connection that says something was closed
                return _readable(self._socket)
        return None


def _bind(one: socket.socket, interface: str) -> None:
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    except OSError as error:
        raise NoInterface(error.errno, f"nothing can be sent through {interface}: {error.strerror}") from error


def _readable(one: socket.socket) -> bool:
    if one.fileno() < 0:
        return True
    look = select.poll()
    look.register(one, select.POLLIN)
    return bool(look.poll(0))


def _shut(one: socket.socket) -> None:
    """End both directions. Not by the TLS socket's own method, which takes the ground from under its reader."""
    with suppress(OSError):
        socket.socket.shutdown(one, socket.SHUT_RDWR)


@contextmanager
def _as(timed_out: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Errors of sockets in httpcore's words, which httpx turns into its own."""
    try:
        yield
    except TimeoutError as error:
        raise timed_out(error) from error
    except OSError as error:
        raise failed(error) from error
