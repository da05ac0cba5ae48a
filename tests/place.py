"""Where heartbeats go, as people would have it: a small HTTP server on loopback that keeps what came."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Place:
    """What came, and how it answers.

    Attributes:
        drips: its answer never ends.
    """

    status: int = 204
    drips: bool = False
    came: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def listening(place: Place) -> Iterator[Place]:
    """It answers as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            place.came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            place.headers.append(dict(self.headers))
            while place.drips and not place.over.wait(0.05):
                self.wfile.write(b"H")
                self.wfile.flush()
            if not place.drips:
                self.send_response(place.status)
                self.send_header("Location", place.url)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        place.url = f"http://127.0.0.1:{server.server_address[1]}/beat"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield place
        finally:
            place.over.set()
            server.shutdown()
            thread.join()
