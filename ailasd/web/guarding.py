"""What every request must be before the page looks at it, and what every answer says to the browser."""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Final = {
    # nothing from anywhere else, no script or style inside a page, no form to elsewhere, in nobody's frame
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with "no-referrer" a form would not say where it comes from
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
NOT_KEPT: Final = "no-store"
"""What shows where a vehicle was, or who stood at the road, is in no cache of a phone that others use."""

LONGEST_BODY: Final = 4096
"""Bytes: our largest form has some 200."""

METHODS: Final = {"GET", "HEAD", "POST"}
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")


class Guard:
    """Stands before the app.

    Args:
        app: what it guards.
        asked: is called for each request: somebody looks.
    """

    def __init__(self, app: ASGIApp, asked: Callable[[], object] = lambda: None) -> None:
        self._app = app
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._asked()

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                message["headers"] += [
                    (name.encode(), value.encode())
                    for name, value in {"cache-control": NOT_KEPT, **HEADERS}.items()
                    if name.encode() not in names
                ]
            await send(message)

        if refusal := refused(scope):
            await PlainTextResponse(*refusal)(scope, receive, marked)
        else:
            await self._app(scope, receive, marked)


def refused(scope: Scope) -> tuple[str, int] | None:
    """Why a request is not looked at: words and HTTP's number; None: it is."""
    headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not is_our_name(hosts[0]):
        return "This machine has another name.", 421
    if scope["method"] not in METHODS:
        return "Nothing here does that.", 405
    return _refused_form(dict(headers), hosts[0]) if scope["method"] == "POST" else None


def _refused_form(values: Mapping[bytes, str], host: str) -> tuple[str, int] | None:
    length = values.get(b"content-length", "")
    # beside a transfer encoding the length says nothing (RFC 9112, 6.3)
    if not length.isdecimal() or len(length) > 9 or b"transfer-encoding" in values:
        return "Say how much it is.", 411
    if int(length) > LONGEST_BODY:
        return "That is too much.", 413
    origin = values.get(b"origin")
    if origin is not None and origin.partition("://")[2] != host:
        return "Another page has sent this.", 403
    if values.get(b"sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return "Another page has sent this.", 403
    return None


def is_our_name(host: str) -> bool:
    """Whether a Host header names this machine: by an address (no foreign name leads to one) or by its own name."""
    found = _HOST.fullmatch(host)
    if not found:
        return False
    name = found["name"].strip("[]").lower()
    try:
        ip_address(name)
    except ValueError:
        own = socket.gethostname().partition(".")[0].lower()
        return name in {"localhost", own, f"{own}.local"}
    return True
