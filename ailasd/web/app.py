"""Which address shows what. Thin: what is shown comes from ``seeing``, who may see it from ``admitting``."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from contextlib import suppress
from functools import cache, partial
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import jinja2
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from ailasd import asking
from ailasd.errors import AilasdError
from ailasd.language import LANGUAGES, preferred
from ailasd.showing.card import card
from ailasd.sign import Shown, Sign
from ailasd.web import drawing, thumbnail
from ailasd.web.admitting import LASTS_S, Door, Sees, Tries
from ailasd.web.saying import Saying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from gettext import NullTranslations

    from starlette.middleware import Middleware

    from ailasd.web.seeing import Seeing

SESSION: Final = "ailasd"
LANGUAGE: Final = "language"
BODY_S: Final = 10.0
"""A form of 200 bytes that takes longer is somebody who wants to keep us busy."""

LIVE_EVERY_S: Final = 1.0
LIVE_CALM_EVERY_S: Final = 3.0
"""How often those who watch are told, while something is going on and else."""
LIVE_MOST: Final = 8
"""Who watch at a time; others load the page again every ten seconds (live.js)."""
LIVE_S: Final = 600.0
"""Then a browser asks anew by itself; one that has gone silently is not served for ever."""
SIGN_OF_LIFE_S: Final = 15.0

_BUSY: Final = {Sign.READING, Sign.SENDING}
STATIC: Final = {"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}


@cache
def _static(name: str) -> tuple[bytes, str]:
    """A file of ours, and a mark that changes with it."""
    content = resources.files("ailasd.web").joinpath("static", name).read_bytes()
    return content, _mark(content.decode())


def _mark(text: str) -> str:
    """Another one for another text."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def templates(language: NullTranslations) -> jinja2.Environment:
    """Ours, in that language: everything that is put in is escaped, and what is missing is a fault."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("ailasd.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.policies["ext.i18n.trimmed"] = True
    made.install_gettext_translations(language, newstyle=True)  # type: ignore[attr-defined]  # the extension's
    return made


class Page:
    """The app.

    Args:
        seeing: looks at the kit.
        door: who may see what.
        tries: how often the PIN may be tried.
    """

    def __init__(self, seeing: Seeing, door: Door, tries: Tries) -> None:
        self._seeing = seeing
        self._door = door
        self._tries = tries
        self._one_try = asyncio.Lock()
        self._one_bundle = asyncio.Lock()
        self._watching = 0
        self._ends = asyncio.Event()
        self._last = time.monotonic()
        sayings = {code: Saying(code, seeing.config.zone) for code in LANGUAGES}
        self._templates = {code: (templates(saying.translations), saying) for code, saying in sayings.items()}

    def asked(self) -> None:
        """Somebody looks."""
        self._last = time.monotonic()

    def end(self) -> None:
        """The process ends: those who watch are let go, and ask anew."""
        self._ends.set()

    def idle_s(self) -> float:
        """Seconds since somebody looked; 0 while somebody watches."""
        if self._watching:
            self.asked()
        return time.monotonic() - self._last

    def routes(self) -> list[Route]:
        """Every address that there is."""
        return [
            Route("/", self._main),
            Route("/live", self._live),
            Route("/card", self._card),
            Route("/drive/{drive}", self._drive),
            Route("/picture/{picture}.jpg", self._picture),
            Route("/pin", self._enter, methods=["POST"]),
            Route("/leave", self._leave, methods=["POST"]),
            Route("/ask", self._ask, methods=["POST"]),
            Route("/bundle", self._bundle, methods=["POST"]),
            Route("/language/{code}", self._language),
            Route("/static/{name}", self._file),
        ]

    def app(self, middleware: list[Middleware]) -> Starlette:
        """For a server."""
        return Starlette(
            routes=self.routes(),
            middleware=middleware,
            exception_handlers={404: self._nothing, 405: self._nothing, 500: self._broken},
        )

    # -- pages --------------------------------------------------------------------------------------------------------
    def _main(self, request: Request) -> Response:
        """The sign and the last drives; on further pages older drives."""
        templates_, saying = self._words(request)
        sees = self._sees(request)
        page = _number(request.query_params.get("page", "")) or 1
        if page == 1 or sees < Sees.ALL:
            return self._first(request, 200)
        try:
            drives, pages = self._seeing.drives(page)
        except AilasdError as error:
            return self._trouble(request, error)
        common = self._common(request, sees, saying)
        return HTMLResponse(
            templates_.get_template("older.html").render(**common, drives=drives, page=page, pages=pages)
        )

    def _first(self, request: Request, status: int) -> Response:
        templates_, saying = self._words(request)
        sees = self._sees(request)
        try:
            now = self._seeing.now()
            drives, pages = self._seeing.drives(1) if sees >= Sees.ALL else ([], 1)
        except AilasdError as error:
            return self._trouble(request, error)
        common = self._common(request, sees, saying) | {"status": now.status, "shown": now.shown}
        part = templates_.get_template("now.html").render(**common)
        text = templates_.get_template("page.html").render(
            **common,
            now=Markup(part),  # noqa: S704  (a template of ours made it, and escaped what it was given)
            seen=_mark(part),
            drives=drives,
            page=1,
            pages=pages,
        )
        return HTMLResponse(text, status)

    def _drive(self, request: Request) -> Response:
        if self._sees(request) < Sees.ALL:
            return self._first(request, 403)
        number = _number(request.path_params["drive"])
        try:
            found = self._seeing.drive(number) if number else None
        except AilasdError as error:
            return self._trouble(request, error)
        if found is None:
            return self._nothing(request, None)
        templates_, saying = self._words(request)
        common = self._common(request, self._sees(request), saying)
        text = templates_.get_template("drive.html").render(**common, **found._asdict())
        return HTMLResponse(text)

    def _card(self, request: Request) -> Response:
        """What light and sound mean: for anybody, since nothing of this kit is on it."""
        templates_, saying = self._words(request)
        common = self._common(request, self._sees(request), saying)
        rows = list(card(saying.translations))
        return HTMLResponse(templates_.get_template("card.html").render(**common, rows=rows))

    def _trouble(self, request: Request, error: AilasdError) -> Response:
        templates_, saying = self._words(request)
        common = self._common(request, self._sees(request), saying)
        shown = Shown(Sign.HELP, why=str(error))
        return HTMLResponse(templates_.get_template("trouble.html").render(**common, shown=shown), 503)

    def _common(self, request: Request, sees: Sees, saying: Saying) -> dict[str, Any]:
        return {
            "say": saying,
            "kit": self._seeing.config.kit,
            "languages": LANGUAGES,
            "sees": sees,
            "Sees": Sees,
            "Sign": Sign,
            "sheet": drawing,
            "has_pin": self._door.pin is not None,
            "form": self._door.form(_cookie(request)),
            "file": {name: f"/static/{name}?{_static(name)[1]}" for name in STATIC},
        }

    def _words(self, request: Request) -> tuple[jinja2.Environment, Saying]:
        wanted = request.cookies.get(LANGUAGE, "")
        code = wanted if wanted in LANGUAGES else preferred(request.headers.get("accept-language", ""))
        return self._templates[code]

    def _sees(self, request: Request) -> Sees:
        client = request.client.host if request.client else ""
        server = (request.scope.get("server") or ("",))[0]
        return self._door.sees(client=client, server=server, cookie=_cookie(request))

    def _nothing(self, request: Request, _error: Exception | None) -> Response:
        templates_, saying = self._words(request)
        common = self._common(request, self._sees(request), saying)
        return HTMLResponse(templates_.get_template("nothing.html").render(**common), 404)

    def _broken(self, _request: Request, _error: Exception) -> Response:
        return PlainTextResponse("This is a fault of ailasd; the journal of ailasd-web has it.", 500)

    # -- what goes on -------------------------------------------------------------------------------------------------
    async def _live(self, request: Request) -> Response:
        if self._watching >= LIVE_MOST:
            return PlainTextResponse("Too many watch.", 503, {"retry-after": "60"})
        render = partial(self._fragment, request)
        return StreamingResponse(
            self._changes(request, render), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
        )

    async def _changes(self, request: Request, render: Callable[[], tuple[str, bool]]) -> AsyncIterator[str]:
        """The part of the page that changes, whenever it does."""
        self._watching += 1
        try:
            last, told, ends = request.query_params.get("seen", ""), time.monotonic(), time.monotonic() + LIVE_S
            yield "retry: 3000\n\n"
            while time.monotonic() < ends and not (self._ends.is_set() or await request.is_disconnected()):
                text, busy = await run_in_threadpool(render)
                if (mark := _mark(text)) != last:
                    last, told = mark, time.monotonic()
                    yield "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"
                elif time.monotonic() - told > SIGN_OF_LIFE_S:
                    told = time.monotonic()
                    yield ": still here\n\n"
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ends.wait(), LIVE_EVERY_S if busy else LIVE_CALM_EVERY_S)
        finally:
            self._watching -= 1

    def _fragment(self, request: Request) -> tuple[str, bool]:
        templates_, saying = self._words(request)
        common = self._common(request, self._sees(request), saying)
        try:
            now = self._seeing.now()
        except AilasdError as error:
            shown = Shown(Sign.HELP, why=str(error))
            return templates_.get_template("sign.html").render(**common, shown=shown), False
        text = templates_.get_template("now.html").render(**common, status=now.status, shown=now.shown)
        return text, now.shown.sign in _BUSY

    def _picture(self, request: Request) -> Response:
        if self._sees(request) < Sees.PICTURES:
            return PlainTextResponse("Only with the PIN.", 403)
        number = _number(request.path_params["picture"])
        try:
            copy = self._seeing.copy_of(number) if number else None
            if copy is not None:
                return Response(thumbnail.thumbnail(copy), media_type="image/jpeg")
        except (AilasdError, thumbnail.NoPicture):
            pass
        return self._nothing(request, None)

    # -- forms --------------------------------------------------------------------------------------------------------
    async def _enter(self, request: Request) -> Response:
        """Somebody types the PIN."""
        form = await _form(request)
        pin = self._door.pin
        if pin is None or not self._door.is_our_form(form.get("form", ""), _cookie(request)):
            return await self._say(request, "again", 403)
        async with self._one_try:  # each takes 16 MB, and a quarter of a small machine's second
            if not self._tries.take():
                return await self._say(request, "too_often", 429)
            if not await run_in_threadpool(pin.fits, form.get("pin", "")):
                return await self._say(request, "wrong_pin", 403)
            self._tries.give_back()
        answer = RedirectResponse("/", 303)
        answer.set_cookie(SESSION, self._door.open(), max_age=int(LASTS_S), httponly=True, samesite="strict")
        return answer

    async def _leave(self, request: Request) -> Response:
        form = await _form(request)
        if not self._door.is_our_form(form.get("form", ""), _cookie(request)):
            return await self._say(request, "again", 403)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(SESSION, httponly=True, samesite="strict")
        return answer

    async def _ask(self, request: Request) -> Response:
        """Somebody wants pictures released, or tried again."""
        form = await _form(request)
        if self._sees(request) < Sees.ALL or not self._door.is_our_form(form.get("form", ""), _cookie(request)):
            return await self._say(request, "again", 403)
        wish = asking.Wish(form.get("do", ""), form.get("reason", ""), _number(form.get("drive", "")))
        try:
            done = await run_in_threadpool(asking.ask, self._seeing.storage.asking, wish)
        except AilasdError as error:
            return await self._say(request, "not_now", 503, why=str(error))
        self._seeing.look_again()
        return await self._say(request, "moved", 200, moved=done.moved, without_copy=done.without_copy)

    async def _bundle(self, request: Request) -> Response:
        """Somebody wants the file for support."""
        form = await _form(request)
        if self._sees(request) < Sees.ALL or not self._door.is_our_form(form.get("form", ""), _cookie(request)):
            return await self._say(request, "again", 403)
        if self._one_bundle.locked():  # each takes memory, and a small machine's whole processor
            return await self._say(request, "bundling", 503)
        async with self._one_bundle:
            name, whole = await run_in_threadpool(self._seeing.bundle)
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(whole, media_type="application/zip", headers=headers)

    async def _say(self, request: Request, word: str, status: int, **values: Any) -> Response:
        templates_, saying = self._words(request)
        common = self._common(request, self._sees(request), saying)
        values = {"moved": 0, "without_copy": 0, "why": "", **values}
        return HTMLResponse(templates_.get_template("said.html").render(**common, word=word, **values), status)

    # -- the rest -----------------------------------------------------------------------------------------------------
    def _language(self, request: Request) -> Response:
        code = request.path_params["code"]
        answer = RedirectResponse(_came_from(request), 303)
        if code in LANGUAGES:
            answer.set_cookie(LANGUAGE, code, max_age=365 * 86_400, httponly=True, samesite="strict")
        return answer

    def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return self._nothing(request, None)
        content, _ = _static(name)
        return Response(content, media_type=STATIC[name], headers={"cache-control": "max-age=31536000, immutable"})


def _number(text: str) -> int | None:
    """A number of ours, from 1 to what SQLite can hold; None: it is none."""
    return int(text) or None if text.isascii() and text.isdecimal() and len(text) <= 15 else None


def _came_from(request: Request) -> str:
    """The page of ours that led here; the first one if the browser does not say, or names anything else."""
    with suppress(ValueError):
        path = urlsplit(request.headers.get("referer", "")).path
        return path if re.fullmatch("/card|/drive/[0-9]{1,15}", path) else "/"
    return "/"


def _cookie(request: Request) -> str:
    return request.cookies.get(SESSION, "")


async def _form(request: Request) -> dict[str, str]:
    """The first value of each field; the guard has seen to it that it is small. Empty if it comes too slowly."""
    try:
        body = await asyncio.wait_for(request.body(), BODY_S)
    except (TimeoutError, ClientDisconnect):
        return {}
    try:
        said = parse_qs(body.decode("utf-8", errors="replace"), max_num_fields=20, keep_blank_values=True)
    except ValueError:  # more fields than that
        return {}
    return {name: values[0] for name, values in said.items()}
