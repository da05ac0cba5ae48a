"""What stands before the server at the far end of a road: passes everything on and counts it, or answers in its place.

Its front is a socket in the file system, which leads out of a network namespace.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def page(status: str, *headers: str, body: str = "<html><body>Welcome to our hotel!</body></html>") -> bytes:
    """A whole answer as people see it in a browser."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/html", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, *headers, "", body]).encode()


SILENT_S: Final = 15.0
"""A client that says nothing for so long is given up, as proxies do after a minute: behind a link that was cut it never
says goodbye, and each would keep one of the server's eight threads for ever."""

PORTAL: Final = page("200 OK")
PORTAL_ELSEWHERE: Final = page("302 Found", "Location: http://login.hotel.example/")
BAD_GATEWAY: Final = page("502 Bad Gateway", body="<html><body><h1>502 Bad Gateway</h1></body></html>")


class Doorway:
    """As long as its context lasts.

    Attributes:
        port: of loopback, where it passes everything on to.
        says: what it answers to everything instead; None: it passes on. Counts for new connections.
        received: bytes that came from clients so far: requests with all their headers, but nothing of TCP's own.
    """

    def __init__(self, front: Path, port: int) -> None:
        self.port = port
        self.says: bytes | None = None
        self.received = 0
        self._front = front
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        self._listener.bind(str(self._front))
        self._listener.listen(64)
        self._start(self._listen)
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._front.unlink(missing_ok=True)  # another may come here

    def _start(self, what: Callable[..., None], *given: object) -> None:
        threading.Thread(target=what, args=given, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.says is not None:
                self._answer(client, self.says)
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                self._answer(client, BAD_GATEWAY)
                return
            client.settimeout(SILENT_S)
            with server:
                back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
                back.start()
                self._pump(client, server, count=True)
                back.join()

    def _answer(self, client: socket.socket, answer: bytes) -> None:
        client.settimeout(5)
        self._count(client.recv(65536))
        client.sendall(answer)
        client.shutdown(socket.SHUT_WR)
        while block := client.recv(65536):  # closed with something unread, it would never see the answer
            self._count(block)

    def _pump(self, source: socket.socket, sink: socket.socket, *, count: bool = False) -> None:
        try:
            while block := source.recv(256 * 1024):
                if count:
                    self._count(block)
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # one side is gone: so is the other
            for one in (source, sink):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _count(self, block: bytes) -> None:
        with self._lock:
            self.received += len(block)
