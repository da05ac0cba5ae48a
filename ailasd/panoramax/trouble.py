"""Every answer that is not the wanted one, and every silence, as one of our errors (law 6).

The table, as observed on a real 2.15.1; "JSON" means that the body is an object with a ``message``, which is how our
server speaks. What stands between us and it (proxy, captive portal) speaks HTML.

=====================================  ===========================================================================
no answer, reset, time-out, TLS        ``NoLink``
2xx that is not JSON                   ``NoLink``: a captive portal answers 200 with a page to anything
3xx                                    ``NotLoggedIn`` if to our own server's login, else ``NoLink``; never followed
400 JSON, 413                          ``Refused`` for a picture, ``NeedsHuman`` for a set, else ``UnexpectedAnswer``
401, 403 JSON                          ``NotLoggedIn`` (the client finds out whether it is rather ``NotOurs``), one
                                       sentence each for unclaimed (``Unclaimed``), revoked, expired, not its own
401, 403, 407, 511 not JSON            ``NoLink``
404 JSON                               ``SetGone``
408, 502, 504                          ``NoLink``: a proxy's words for "no answer from the server behind me"
409 JSON                               ``Conflict``
429, 503, 507 and other 5xx            ``ServerTrouble``, with Retry-After where given
anything else                          ``UnexpectedAnswer``
=====================================  ===========================================================================
"""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal
from urllib.parse import urljoin, urlsplit

import httpx

from ailasd.errors import (
    AilasdError,
    Conflict,
    NeedsHuman,
    NoLink,
    NotLoggedIn,
    Refused,
    ServerTrouble,
    SetGone,
    Unclaimed,
    UnexpectedAnswer,
)
from ailasd.panoramax.answer import Answer, foreign
from ailasd.panoramax.values import as_uuid, plain
from ailasd.panoramax.wire import NoInterface

MOST_SAID: Final = 200
"""Characters of the server's own words that we repeat: enough for its longest sentence, not for a page."""
MOST_COPIES: Final = 20
"""Copies in other sets that a 409 names and we look for, one request each: a kit sends nothing twenty times."""
LONGEST_SILENCE_S: Final = 86_400.0
"""A Retry-After beyond a day is a mistake, and would silence a kit for good."""

Asking = Literal["picture", "set", "else"]
"""What a 400 or 413 refuses: this picture, this set, or (a bug) our way of asking."""


def as_error(what: Answer | httpx.HTTPError, *, asked: str, asking: Asking = "else") -> AilasdError:
    """What went wrong, in one sentence and by remedy.

    Args:
        what: an answer that is not the wanted one, or the reason why there is none.
        asked: what we wanted, as in "Could not ...": no token and no query in it.
        asking: whom a 400 refuses.
    """
    if isinstance(what, Answer):
        return _from_answer(what, asked, asking)
    return NoLink(f"Could not {asked}: {_silence(what)}")


# -- silence -----------------------------------------------------------------------------------------------------------
_SILENCES: Final[tuple[tuple[type[httpx.HTTPError], str], ...]] = (
    (httpx.ConnectTimeout, "nobody answers there"),
    (httpx.PoolTimeout, "all connections are busy"),
    (httpx.WriteTimeout, "the link stopped taking data"),
    (httpx.TimeoutException, "the server stays silent"),
    (httpx.ConnectError, "there is no way to the server, or it does not listen"),
    (httpx.NetworkError, "the connection broke"),
    (httpx.RemoteProtocolError, "the connection was closed in the middle of the answer"),
    (httpx.DecodingError, "the answer is garbled"),
)


def _silence(error: httpx.HTTPError) -> str:
    if _caused_by(error, ssl.SSLCertVerificationError):
        return "the certificate shown there is not one we trust; is there a login page between, or is our clock wrong?"
    if _caused_by(error, socket.gaierror):
        return "its name cannot be looked up just now"
    if missing := _caused_by(error, NoInterface):
        return f"{missing}"
    return next((words for kind, words in _SILENCES if isinstance(error, kind)), "the connection failed")


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


# -- answers -----------------------------------------------------------------------------------------------------------
_BEHIND_A_PROXY: Final = frozenset({408, 502, 504})
_NOT_ALLOWED: Final = frozenset({401, 403, 407, 511})


def _from_answer(answer: Answer, asked: str, asking: Asking) -> AilasdError:  # noqa: PLR0911  (a table)
    status, document = answer.status, _object(answer)
    said = _plain(document.get("message"))
    could_not = f"Could not {asked}: "
    if 200 <= status < 300 and not document:
        return foreign(answer, asked)
    if 300 <= status < 400:
        return _redirected(answer, could_not)
    if status in _BEHIND_A_PROXY:
        return NoLink(f"{could_not}what stands before the server gets no answer from it ({status})")
    if status in _NOT_ALLOWED and not said:
        return NoLink(f"{could_not}something between us and the server does not let us through ({status})")
    if status == 429 or 500 <= status < 600:
        return ServerTrouble(
            f"{could_not}the server cannot just now ({status}{said and ': ' + said})", after=_after(answer)
        )
    if status == 413 or (status == 400 and said):
        return _refused(could_not, status, document, asking)
    if status in {401, 403} and said:
        return _not_accepted(could_not, _detail(document) or said)
    if status == 404 and said:
        return SetGone(f"{could_not}the server does not know it ({said})")
    if status == 409 and said:
        return _conflict(f"{could_not}{said}", document)
    return UnexpectedAnswer(
        f"{could_not}the server answered {status}{said and ' (' + said + ')'}, which we do not expect"
    )


_TOKENS: Final[tuple[tuple[str, type[NotLoggedIn], str], ...]] = (
    ("not yet claimed", Unclaimed, "nobody has claimed our token yet: open its link, or say `ailasd login` once more"),
    ("not exist anymore", NotLoggedIn, "our token was revoked: `ailasd login` gets a new one"),
    ("expired", NotLoggedIn, "our token has expired: `ailasd login` gets a new one"),
    ("is mandatory", NotLoggedIn, "it wants a token, and we have none: `ailasd login` gets one"),
    ("to log in", NotLoggedIn, "it wants a token, and we have none: `ailasd login` gets one"),
    ("", NotLoggedIn, "our token is none of this server's: `ailasd login` gets one"),
)
"""Words of the server (in English, which we ask for) to what became of the token: the first that fit. 2.15.1 itself
knows no tokens that expire."""


def _not_accepted(could_not: str, said: str) -> NotLoggedIn:
    _, kind, words = next(one for one in _TOKENS if one[0] in said)
    return kind(f"{could_not}{words} (the server says: {said})")


def _object(answer: Answer) -> dict[str, Any]:
    try:
        document = answer.document()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _plain(text: object) -> str:
    """What was said; "" if it is no text."""
    return plain(text, MOST_SAID) if isinstance(text, str) else ""


def _detail(document: dict[str, Any]) -> str:
    details = document.get("details")
    return _plain(details.get("error")) if isinstance(details, dict) else ""


def _redirected(answer: Answer, could_not: str) -> AilasdError:
    """A login page of our own server means: no token. Any other goal means: somebody in between.

    The server's is ``/api/auth/login`` (seen with OAuth on).
    """
    try:
        goal = urlsplit(urljoin(answer.url, answer.headers.get("location", "")))
    except ValueError:
        goal = urlsplit("")
    ours = urlsplit(answer.url)
    if (goal.scheme, goal.netloc) == (ours.scheme, ours.netloc) and goal.path.startswith("/api/auth/"):
        return NotLoggedIn(f"{could_not}the server sends us to its login page: `ailasd login` gets a token")
    return NoLink(
        f"{could_not}we are sent on to {_plain(goal.netloc) or 'another page'}; is there a login page between?"
    )


def _after(answer: Answer) -> float | None:
    """Retry-After in seconds from now, in either of its forms (RFC 9110, 10.2.3), never above a day.

    A date is read against the ``Date`` of the same answer: a kit's own clock may be years off.
    """
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_SILENCE_S)  # nine digits are 31 years
    then, now = http_date(text), http_date(answer.headers.get("date", ""))
    if then is None or now is None:
        return None
    return min(max((then - now).total_seconds(), 0.0), LONGEST_SILENCE_S)


def http_date(text: str) -> datetime | None:
    """An instant as headers write it (RFC 9110, 5.6.7), aware; None: it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


_REASONS: Final = (
    ("open file as image", "invalid_file"),
    ("unsupported format", "invalid_file"),
    ("excluded area", "excluded_area"),
    ("metadata", "invalid_metadata"),
)
"""Words of the server (in English, which we ask for) to reasons of ours. Only a label: the remedy is the same."""


def _refused(could_not: str, status: int, document: dict[str, Any], asking: Asking) -> AilasdError:
    said = _plain(document.get("message")) or "too large"
    detail = _detail(document)
    message = f"{could_not}{said}{detail and ' (' + detail + ')'}"
    if asking == "picture":
        return Refused(message, reason="too_large" if status == 413 else _reason(document, said))
    if asking == "set":
        return NeedsHuman(message)
    return UnexpectedAnswer(message)


def _reason(document: dict[str, Any], said: str) -> str:
    details = document.get("details")
    missing = details.get("missing_fields") if isinstance(details, dict) else None
    if isinstance(missing, list):
        if "location" in missing:
            return "no_position"
        if "datetime" in missing:
            return "no_date"
    return next((reason for words, reason in _REASONS if words in said), "refused")


def _conflict(message: str, document: dict[str, Any]) -> Conflict:
    existing = document.get("existing_item")
    sets = document.get("upload_sets")
    named = [
        (as_uuid(row.get("existing_item_id")), as_uuid(row.get("upload_set_id")))
        for row in (sets[:MOST_COPIES] if isinstance(sets, list) else [])
        if isinstance(row, dict)
    ]
    return Conflict(
        message,
        existing=as_uuid(existing.get("id")) if isinstance(existing, dict) else None,
        elsewhere=tuple((item, upload_set) for item, upload_set in named if item and upload_set),
    )
