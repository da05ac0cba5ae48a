"""The calls of a Panoramax that ailasd uses, over HTTP/1.1 with keep-alive."""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from ailasd.demo.receiver_faults import PAGE, Fault
from ailasd.demo.receiver_multipart import BLOCK, CutOffError, Form, parse
from ailasd.demo.receiver_records import Account, AnswerError, Document, describe, describe_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from ailasd.demo.receiver import Receiver

IDLE_S: Final = 2.0
"""An idle connection is closed after this, as gunicorn does."""
STALLED_S: Final = 60.0
"""A sender that stops in the middle is given up after this."""
MOST_JSON: Final = 1024 * 1024

_ID: Final = "([0-9a-f-]{36})"
_CALLS: Final = tuple(
    (method, re.compile(pattern), call)
    for method, pattern, call in (
        ("GET", "/api/configuration", "instance"),
        ("GET", "/api/users/me", "who"),
        ("GET", "/api/users/me/reports", "reports"),
        ("POST", "/api/auth/tokens/generate", "new_token"),
        ("GET", f"/api/auth/tokens/{_ID}/claim", "claim"),
        ("DELETE", f"/api/users/me/tokens/{_ID}", "forget_token"),
        ("GET", "/api/users/me/upload_sets", "open_sets"),
        ("POST", "/api/upload_sets", "create"),
        ("GET", f"/api/upload_sets/{_ID}", "set"),
        ("DELETE", f"/api/upload_sets/{_ID}", "delete"),
        ("POST", f"/api/upload_sets/{_ID}/complete", "complete"),
        ("GET", f"/api/upload_sets/{_ID}/files", "listing"),
        ("POST", f"/api/upload_sets/{_ID}/files", "send"),
        ("GET", "/api/collections", "public"),
        ("GET", f"/api/pictures/{_ID}/(hd|thumb).jpg", "image"),
        ("GET", f"/api/collections/{_ID}/geovisio_status", "statuses"),
        ("POST", f"/api/collections/{_ID}/items/{_ID}/prepare", "prepare"),
    )
)
_NO_LOGIN: Final = "Authentication has not been activated in this instance, impossible to log in."


Reply = tuple[int, bytes, dict[str, str]]
"""Status, body, headers."""


@dataclass(slots=True)
class Request:
    """One request, as the log keeps it: ``status`` is None unless it was answered, ``received`` are bytes of body."""

    call: str
    path: str
    trace: str | None
    agent: str | None
    status: int | None = None
    received: int = 0


class DropError(Exception):
    """Close the connection without an answer."""


class Listener:
    """A listening socket with its threads, until ``close``."""

    def __init__(self, receiver: Receiver, *, port: int) -> None:
        """Listen on 127.0.0.1; port 0 is any free one."""
        self.receiver = receiver
        self.gone = threading.Event()
        self.connections: set[socket.socket] = set()
        listener = self

        class Bound(_Handler):
            def setup(self) -> None:
                self.listener = listener
                super().setup()

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False  # close() drops the connections instead
            request_queue_size = 128

        self._server = Server(("127.0.0.1", port), Bound)
        self.port: int = self._server.server_address[1]
        # 20 ms: how long close() may take
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="receiver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Refuse new connections, drop the others, wake what waits."""
        self.gone.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in tuple(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    listener: Listener
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "gunicorn", ""
    timeout = IDLE_S
    wbufsize = -1  # one write an answer
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.listener.connections.add(self.connection)

    def finish(self) -> None:
        self.listener.connections.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def handle(self) -> None:
        with suppress(OSError):  # the other side left
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Say nothing: the requests are in ``Receiver.requests``."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    # -- one request -------------------------------------------------------------------------------------------------
    def _serve(self) -> None:
        self.connection.settimeout(STALLED_S)
        self._unread = self._length = self._content_length()
        path = urlsplit(self.path).path
        call, ids = _call(self.command, path)
        noted = Request(call, path, self.headers.get("X-Request-Id"), self.headers.get("User-Agent"))
        self.listener.receiver.note(noted)
        with suppress(DropError, CutOffError):
            reply = self._reply(call, ids, self.listener.receiver.fault_for(call))
            self._received(noted)
            noted.status = reply[0]
            self._write(*reply)
        if noted.status is None or self._unread:
            self._received(noted)
            self.close_connection = True
        self.connection.settimeout(IDLE_S)

    def _received(self, noted: Request) -> None:
        """Count before answering, so that whoever got the answer sees the count."""
        self.listener.receiver.count(self._length - self._unread - noted.received)
        noted.received = self._length - self._unread

    def _reply(self, call: str, ids: tuple[str, ...], fault: Fault | None) -> Reply:
        """Do it and say so, as far as the fault lets us."""
        if self.listener.gone.is_set():
            raise DropError
        if fault is not None and not fault.early:
            self._before(fault, ids)
        if fault is not None and fault.kind in _INSTEAD:
            if not fault.early:
                self._drain()
            return _INSTEAD[fault.kind](fault)
        status, document = self._do(call, ids, fault)
        if fault is not None and fault.kind == "lose_answer":
            raise DropError
        if fault is not None and fault.kind == "wrong_md5":
            document = _lie(document)
        if document is None:
            return _page(status)
        if isinstance(document, bytes):
            return status, document, {"Content-Type": "image/jpeg"}
        body = json.dumps(document).encode() if status != 204 else b""
        if fault is not None and fault.kind == "half_json":
            body = body[: len(body) // 2]
        return status, body, {}

    def _before(self, fault: Fault, ids: tuple[str, ...]) -> None:
        if fault.kind == "drop_before":
            raise DropError
        if fault.kind in ("slow", "black_hole"):
            self.listener.gone.wait(fault.seconds)
        if fault.kind == "black_hole" or self.listener.gone.is_set():
            raise DropError
        if fault.kind == "set_vanishes":
            store = self.listener.receiver.store
            with store.lock:
                found = store.sets.get(ids[0]) if ids else None
                if found is not None:
                    store.delete(found)

    def _do(self, call: str, ids: tuple[str, ...], fault: Fault | None) -> tuple[int, Any]:
        try:
            content = self._content(call)
            store = self.listener.receiver.store
            with store.lock:
                store.work()
                return self._calls(call, ids, content, fault)
        except AnswerError as answer:
            self._drain()
            return answer.status, answer.document

    def _calls(self, call: str, ids: tuple[str, ...], content: Any, fault: Fault | None) -> tuple[int, Any]:
        store = self.listener.receiver.store
        if call == "unknown":
            raise AnswerError(404)
        if call == "instance":
            offered = {
                "name": {"label": store.name, "langs": {"en": store.name}},
                "visibility": {"possible_values": store.visibilities},
                "auth": {"enabled": False},
                "version": "2.15.1",
            }
            return 200, {**offered, **({"is_read_only": True} if store.read_only else {})}
        asker = store.tokens.account_of(self.headers.get("Authorization"))
        if self.command != "GET" and store.read_only:
            raise _Short(401, "The instance is read only for the moment, no modification are authorized")
        if call == "new_token":
            description = parse_qs(urlsplit(self.path).query).get("description", [""])[0]
            return 200, store.tokens.generate(f"http://{self.headers.get('Host')}", description)
        if call in ("listing", "set", "statuses", "prepare", "public", "image"):
            return self._open_calls(call, ids, asker)
        if asker is None:
            login_page = self.command == "GET" or call == "forget_token"
            raise _Short(403, _NO_LOGIN) if login_page else _Short(401, "Authentication is mandatory")
        if call in ("who", "claim", "forget_token", "reports"):
            return self._personal_calls(call, ids, asker)
        return self._own_calls(call, ids, content, asker, fault)

    def _personal_calls(self, call: str, ids: tuple[str, ...], asker: Account) -> tuple[int, Any]:
        """Calls about the asker and the asker's tokens."""
        tokens = self.listener.receiver.store.tokens
        if call == "claim":
            tokens.claim(ids[0], asker)
            return 302, None  # to a page that says thank you
        if call == "reports":
            return 200, {"reports": self.listener.receiver.store.reports}
        if call == "forget_token":
            return 200, tokens.forget(ids[0], asker)
        return 200, {"id": asker.id, "name": asker.name, "default_visibility": "logged-only", "links": []}

    def _open_calls(self, call: str, ids: tuple[str, ...], asker: Account | None) -> tuple[int, Any]:
        """Calls that need no login; a stranger only sees less."""
        store = self.listener.receiver.store
        if call == "statuses":
            return 200, store.statuses(ids[0], asker)
        if call == "public":
            most = int(parse_qs(urlsplit(self.path).query)["limit"][0])
            return 200, {"collections": [{"id": one} for one in store.collections(asker)[:most]]}
        if call == "image":
            return 200, store.image(ids[0], asker)
        if call == "prepare":
            store.prepare(ids[0], ids[1], asker)
            return 202, {}
        if call == "set":
            return 200, describe(store.find(ids[0], asker))
        found = store.sets.get(ids[0])
        if found is None:
            raise AnswerError(404, "UploadSet doesn't exist")
        rows = [describe_file(found, file, as_owner=asker is found.owner) for file in found.files.values()]
        return 200, {"files": rows, "links": []}

    def _own_calls(
        self, call: str, ids: tuple[str, ...], content: Any, asker: Account, fault: Fault | None
    ) -> tuple[int, Any]:
        """Calls that need a login, and mostly ownership."""
        store = self.listener.receiver.store
        if call == "open_sets":
            return 200, {
                "upload_sets": [describe(s) for s in store.sets.values() if s.owner is asker and self._asked(s)]
            }
        if call == "create":
            return 200, store.create(asker, content)
        if call == "complete":
            return 200, store.complete(store.find_own(ids[0], asker, "complete"))
        if call == "delete":
            store.delete(store.find_own(ids[0], asker, "delete"))
            return 204, {}
        if call == "send":
            found = store.find_own(ids[0], asker, "add picture to")
            kind = fault.kind if fault else ""
            return 202, store.receive(
                found, content, breaks=kind == "breaks", deleted_later=kind == "deleted_at_dispatch"
            )
        raise AssertionError(call)

    def _asked(self, found: Any) -> bool:
        """The filter knows completed and dispatched only; without one: what is not dispatched."""
        asked = parse_qs(urlsplit(self.path).query).get("filter", ["dispatched = FALSE"])[0]
        parsed = [
            re.fullmatch(r"(completed|dispatched)\s*=\s*(TRUE|FALSE)", one.strip(), re.IGNORECASE)
            for one in re.split(r"\sOR\s", asked, flags=re.IGNORECASE)
        ]
        if None in parsed:
            raise AnswerError(400, "Unsupported filter parameter")
        return any(getattr(found, one[1].lower()) is (one[2].upper() == "TRUE") for one in parsed if one)

    # -- bytes -------------------------------------------------------------------------------------------------------
    def _content_length(self) -> int:
        text = self.headers.get("Content-Length", "0")
        return int(text) if text.isdigit() else 0

    def _read(self, size: int) -> bytes:
        block = self.rfile.read(min(size, self._unread))
        self._unread -= len(block)
        return block

    def _drain(self) -> None:
        while self._unread and self._read(BLOCK):
            pass

    def _content(self, call: str) -> Form | Document | None:
        if call == "send":
            return self._form()
        if call == "create":
            return self._json()
        self._drain()
        return None

    def _form(self) -> Form:
        boundary = re.search(r'multipart/form-data;.*boundary="?([^";]+)', self.headers.get("Content-Type", ""))
        if boundary is None:
            raise AnswerError(415, "Content type should be multipart/form-data")
        return parse(self._read, self._unread, boundary[1].encode())

    def _json(self) -> Document:
        text = self._read(MOST_JSON)
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise AnswerError(400)
        return document

    def _write(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class _Short(AnswerError):
    """Answers of the login have no ``status_code`` in them."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.document = {"message": message}


def _call(method: str, path: str) -> tuple[str, tuple[str, ...]]:
    for verb, pattern, call in _CALLS:
        found = pattern.fullmatch(path)
        if found and verb == method:
            return call, found.groups()
    return "unknown", ()


def _lie(document: Any) -> Any:
    """The same, with the last digit of every checksum changed."""
    if isinstance(document, list):
        return [_lie(value) for value in document]
    if not isinstance(document, dict):
        return document
    lied = {key: _lie(value) for key, value in document.items()}
    if "content_md5" in lied:
        md5 = lied["content_md5"]
        lied["content_md5"] = md5[:-1] + ("0" if md5[-1] != "0" else "1")
    return lied


def _page(status: int, **headers: str) -> Reply:
    return status, PAGE.encode(), {"Content-Type": "text/html; charset=utf-8", **headers}


def _as_told(fault: Fault) -> Reply:
    if isinstance(fault.body, dict):
        return fault.code, json.dumps(fault.body).encode(), fault.headers
    return fault.code, fault.body.encode(), {"Content-Type": "text/html; charset=utf-8", **fault.headers}


_INSTEAD: Final[dict[str, Callable[[Fault], Reply]]] = {
    "status": _as_told,
    "html_200": lambda _fault: _page(200),
    "redirect": lambda fault: _page(302, Location=fault.location),
}
"""Faults that answer instead of doing it."""
