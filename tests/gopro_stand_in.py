"""A stand-in for a GoPro on its USB cable: what the documented Open GoPro HTTP API 2.0 says it answers. No real camera.

It closes each connection after one answer and refuses an escaped slash in a query's path, as cameras were seen to do.
Faults are attributes, to be set at any time.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

SERIAL = "C3531325213456"
MADE = 1_767_000_000
"""When the first file was made: seconds, local time counted as UTC."""
_GROUPED = re.compile(r"(G[0-9]{3})([0-9]{4})\.JPG")
_addresses = count(2)


class StandIn:
    """A camera with files in it, on an address of its own on the loopback interface.

    Attributes:
        files: path on the card -> content.
        made: path -> seconds.
        asked: the requests, as they came.
        recording, busy: its state; it gives no list then.
        keeps_files: it refuses to delete.
        model: what it says of itself; None: it does not know the question.
        list_answer: instead of its list.
        breaks: how many transfers break off, after ``breaks_at`` bytes of each.
        pauses: as ``breaks``, but the connection stays open and silent.
        longer: how many bytes more than it has it promises of each file.
        no_ranges: it answers a range with the whole file.
        redirects: every answer sends us elsewhere.
        html: every answer is a page, with status 200.
        status: of every answer to a file, instead of 200.
        raw: each picture has a raw one beside it.
        time: what get_date_time answers.
        set_to: what its clock was set to.
        connections: those that are open.
    """

    def __init__(self, files: dict[str, bytes], *, address: str | None = None, port: int = 0) -> None:
        self.address = address or f"127.0.5.{next(_addresses)}"
        self.files = dict(files)
        self.made = {path: MADE + 5 * number for number, path in enumerate(sorted(files))}
        self.asked: list[str] = []
        self.recording = self.busy = self.no_ranges = self.html = self.keeps_files = self.raw = False
        self.list_answer: bytes | None = None
        self.redirects: str | None = None
        self.status: int | None = None
        self.breaks = self.breaks_at = self.pauses = self.longer = 0
        self.model: dict[str, Any] | None = {"model_name": "HERO13 Black", "serial_number": SERIAL}
        self.time: dict[str, Any] = {}
        self.set_to: dict[str, str] | None = None
        self.connections: set[socket.socket] = set()
        self.server = ThreadingHTTPServer((self.address, port), type("Handler", (_Handler,), {"camera": self}))
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def yank(self) -> None:
        """Pull the cable: nobody is there any more, and what was on its way is lost."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()
        for one in list(self.connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def asked_for(self) -> Counter[str]:
        """How often each path was asked for, without its query."""
        return Counter(urlsplit(one).path for one in self.asked)

    def media(self) -> dict[str, Any]:
        """The media list: the pictures of a time-lapse in one line."""
        folders: dict[str, list[str]] = {}
        for path in sorted(self.files):
            top, folder, name = path.split("/", 2)
            assert top == "DCIM"
            folders.setdefault(folder, []).append(name)
        return {
            "id": "2530266050123724003",
            "media": [{"d": folder, "fs": list(self._lines(folder, names))} for folder, names in folders.items()],
        }

    def _lines(self, folder: str, names: list[str]) -> Iterator[dict[str, Any]]:
        def group_of(name: str) -> str:
            grouped = _GROUPED.fullmatch(name)
            return grouped[1] if grouped else name

        for group, members in groupby(names, group_of):
            them = list(members)
            made = str(self.made[f"DCIM/{folder}/{them[0]}"])
            line: dict[str, Any] = {"n": them[0], "cre": made, "mod": made}
            line["s"] = str(sum(len(self.files[f"DCIM/{folder}/{name}"]) for name in them))
            if self.raw:
                line["raw"] = "1"
            if group != them[0]:
                numbers = [int(name[4:8]) for name in them]
                gone = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
                line |= {"g": str(int(group[1:])), "t": "t", "b": str(numbers[0]), "l": str(numbers[-1])}
                line["m"] = [str(number) for number in gone]
            yield line


class _Handler(BaseHTTPRequestHandler):
    camera: StandIn
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.camera.connections.add(self.connection)

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        self.camera.connections.discard(self.connection)

    def handle(self) -> None:
        with suppress(OSError):
            super().handle()

    def do_GET(self) -> None:
        camera, url = self.camera, urlsplit(self.path)
        camera.asked.append(self.path)
        if camera.html:
            self.answer(200, b"<html>Log in to the hotel's network", "text/html")
        elif camera.redirects:
            self.answer(302, b"", more={"Location": camera.redirects})
        elif url.path.startswith("/videos/"):
            self.give_file(unquote(url.path).removeprefix("/videos/"))
        elif url.path == "/gopro/media/list":
            self.give_list()
        elif url.path.startswith("/gopro/media/"):
            self.about_file(url.path, url.query, f"DCIM/{self.query(url.query).get('path')}")
        elif (document := self.told(url.path, url.query)) is not None:
            self.say(document)
        else:
            self.answer(404, b"{}")

    def query(self, text: str) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(text).items()}

    def told(self, path: str, query: str) -> dict[str, Any] | None:
        """The answers about the camera itself, and what it does without saying anything."""
        camera = self.camera
        if path == "/gopro/camera/set_date_time":
            camera.set_to = self.query(query)
        return {
            "/gopro/camera/state": {"status": {"8": int(camera.busy), "10": int(camera.recording)}, "settings": {}},
            "/gopro/camera/info": camera.model,
            "/gopro/camera/get_date_time": camera.time,
            "/gopro/camera/set_date_time": {},
            "/gopro/camera/keep_alive": {},
            "/gopro/camera/control/wired_usb": {},
        }.get(path)

    def give_list(self) -> None:
        camera = self.camera
        if camera.recording or camera.busy:
            self.answer(503, b'{"error": 1}')
        elif camera.list_answer is not None:
            self.answer(200, camera.list_answer)
        else:
            self.say(camera.media())

    def about_file(self, what: str, query: str, path: str) -> None:
        camera = self.camera
        if "%2f" in query.lower() or path not in camera.files:
            self.answer(400, b"{}")
        elif what == "/gopro/media/info":
            self.say({"ct": "6", "cre": str(camera.made[path]), "s": str(len(camera.files[path])), "us": "0"})
        elif what != "/gopro/media/delete/file" or camera.keeps_files:
            self.answer(500, b"{}")
        else:
            del camera.files[path]
            self.say({})

    def give_file(self, path: str) -> None:
        camera = self.camera
        content = camera.files.get(path)
        if content is None or camera.status:
            self.answer(camera.status or 404, b"")
            return
        wanted = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and not camera.no_ranges else 0
        length = len(content) + camera.longer
        more = {"Content-Range": f"bytes {start}-{length - 1}/{length}"} if start else {}
        self.answer(206 if start else 200, content[start:], "image/jpeg", more, length=length - start)

    def say(self, document: dict[str, Any]) -> None:
        self.answer(200, json.dumps(document).encode())

    def answer(
        self,
        status: int,
        body: bytes,
        kind: str = "application/json",
        more: dict[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> None:
        camera = self.camera
        self.close_connection = True
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Connection": "close", **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.path.startswith("/videos/") and (camera.breaks or camera.pauses):
            self.wfile.write(body[: camera.breaks_at])
            if camera.breaks:
                camera.breaks -= 1
            else:
                camera.pauses -= 1
                with suppress(OSError):
                    self.connection.recv(1)  # until the other side gives up
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests look at ``asked``."""


@contextmanager
def standing_in(files: dict[str, bytes]) -> Iterator[StandIn]:
    """A camera, as long as the context lasts."""
    camera = StandIn(files)
    try:
        yield camera
    finally:
        camera.yank()


if __name__ == "__main__":  # in a network namespace of its own, until its standard input is closed
    pictures = {f"DCIM/100GOPRO/G00100{n:02d}.JPG": b"x" * 100_000 for n in range(1, 21)}
    stand_in = StandIn(pictures, address=sys.argv[1], port=8080)
    print("ready", flush=True)
    for _ in sys.stdin:  # each line asks how often it was asked
        print(len(stand_in.asked), flush=True)
