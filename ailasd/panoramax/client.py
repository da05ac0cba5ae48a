"""Asking the server: one method per call, thread-safe, nothing followed, nothing believed that was not checked."""

from __future__ import annotations

import json
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import httpcore
import httpx

from ailasd.errors import (
    AilasdError,
    ConfigError,
    Damaged,
    NoLink,
    NotLoggedIn,
    NotOurs,
    ServerTrouble,
    Unreadable,
    WrongServer,
)
from ailasd.panoramax.answer import Answer, document_of, read
from ailasd.panoramax.body import Pace, PictureBody
from ailasd.panoramax.trouble import Asking, as_error
from ailasd.panoramax.values import (
    VISIBILITY,
    Account,
    Fields,
    Instance,
    ItemStatus,
    Listed,
    Received,
    SetWanted,
    UploadSet,
    as_item_status,
    as_listed,
    as_upload_set,
    plain,
)
from ailasd.panoramax.wire import Wires
from ailasd.tunnel import Way

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CONNECT_S: Final = 10.0
"""To open a connection: a VSAT link needs three round trips of 0.7 s, an absent VPN never answers."""
NO_PROGRESS_S: Final = 30.0
"""Without one byte of progress in either direction. A black-holed link is noticed after this."""
KEEP_ALIVE_S: Final = 1.5
"""gunicorn closes idle connections after 2.0 s: we must be first, or a picture is sent into a closed one."""
MOST_SETS: Final = 1000
"""The most sets that the server lists at once; oldest first, without a way to ask for the next."""

ANY_WAY: Final = Way()

_WHO: Final = "/api/users/me"
"""What asks about the token alone."""

METHOD: Final = "override_Exif.GPSInfo.GPSProcessingMethod"
"""EXIF's own tag for how a position was found, which GoPros leave empty. The server writes it into the picture, and
shows it in the item's EXIF and in the viewer: in the same request, so that no position of ours is without it."""
METHODS: Final = {"interpolated": "charset=Ascii interpolated", "gpx": "charset=Ascii gpx track"}

_CLOSED_WHILE_IDLE: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""What a keep-alive connection that the server closed at this moment looks like. A GET is asked again, once."""


class Panoramax:
    """One instance, one token. May be used by several threads at once.

    Every method may raise ``NoLink``, ``ServerTrouble``, ``UnexpectedAnswer`` and ``NotLoggedIn`` (see ``trouble``);
    the others are named at the method. ``trace`` is sent as ``X-Request-Id``, to find a picture in the server's logs.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        agent: str,
        way: Way = ANY_WAY,
        connect_s: float = CONNECT_S,
        no_progress_s: float = NO_PROGRESS_S,
    ) -> None:
        """Nothing is asked yet.

        Args:
            url: of the instance, without ``/api``.
            token: JSON Web Token; None asks as a stranger.
            agent: User-Agent, such as ``ailasd/0.1.0 kit-07``.
            way: to it.
            connect_s: seconds to open a connection.
            no_progress_s: seconds without any progress until the link counts as dead.

        Raises:
            ConfigError: the address, the token or the certificates cannot be used.
        """
        self.url = url.rstrip("/")
        headers = {
            "User-Agent": agent,
            "Accept": "application/json",
            "Accept-Language": "en",
            "Accept-Encoding": "gzip",
        }
        self._authorization = {} if token is None else {"Authorization": f"Bearer {_checked_token(token)}"}
        trusted = trust(self.url, way.ca_file)
        self._wires = Wires(way)
        transport = httpx.HTTPTransport(verify=trusted, trust_env=False)
        # httpcore takes sockets of our making, httpx 0.28 has no parameter to hand them on; a test proves they are used
        transport._pool = httpcore.ConnectionPool(  # noqa: SLF001
            ssl_context=trusted, keepalive_expiry=KEEP_ALIVE_S, network_backend=self._wires
        )
        self._client = httpx.Client(
            transport=transport,
            headers=headers,
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(no_progress_s, connect=connect_s),
        )

    def close(self) -> None:
        """Close all connections. Requests that other threads wait for end at once, with ``NoLink``."""
        self._wires.cut()
        self._client.close()  # last: a socket that is closed can no longer be shut down

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def addresses(self) -> list[str]:
        """The IP addresses that connections would go to.

        Raises:
            NoLink: the server's name cannot be looked up.
        """
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        try:
            return self._wires.addresses(parts.hostname)
        except OSError as error:
            raise NoLink(f"the server's name, {parts.hostname}, cannot be looked up: {error.strerror}") from error

    # -- who and what ------------------------------------------------------------------------------------------------
    def who_am_i(self, *, trace: str | None = None) -> Account:
        """Whose token this is: the cheap check of link, server and login at once."""
        asked = "ask the server who we are"
        fields = Fields(self._json("GET", _WHO, asked, trace=trace), asked)
        return Account(id=fields.uuid("id"), name=fields.text("name"))

    def instance(self, *, trace: str | None = None) -> Instance:
        """What the instance offers. Asked without the token: it can be asked before there is one."""
        asked = "read what the server offers"
        fields = Fields(self._json("GET", "/api/configuration", asked, trace=trace, as_stranger=True), asked)
        offered = fields.fields("visibility").texts("possible_values")
        name = fields.fields("name").text("label")
        return Instance(offered, fields.flag("is_read_only"), name=name, version=fields.text("version"))

    # -- upload sets -------------------------------------------------------------------------------------------------
    def create_set(self, wanted: SetWanted, *, trace: str | None = None) -> UploadSet:
        """Open an upload set, and make sure that it is the one we wanted: the server ignores what it does not know.

        Raises:
            WrongServer: the set is not as private or as whole as asked; it was deleted again.
            NeedsHuman: the server refuses such a set (its words tell why).
        """
        asked = f"open the upload set {wanted.title!r}"
        body = {
            "title": wanted.title,
            "no_split": True,
            "no_deduplication": True,
            "metadata": wanted.metadata,
            "semantics": [{"key": key, "value": value} for key, value in wanted.semantics.items()],
            "visibility": VISIBILITY,
        }
        document = self._json("POST", "/api/upload_sets", asked, trace=trace, send=body, asking="set")
        made = as_upload_set(Fields(document, asked))
        differing = _differing(wanted, made)
        if differing:
            with suppress(AilasdError):  # what matters is to say that this server is wrong
                self.delete_set(made.id, trace=trace)
            raise WrongServer(
                f"The server opened an upload set with another {' and '.join(differing)} than we asked for"
            )
        return made

    def open_sets(self, *, trace: str | None = None) -> list[UploadSet]:
        """Our own sets that are not completed, at most the ``MOST_SETS`` oldest."""
        asked = "list our open upload sets"
        path = f"/api/users/me/upload_sets?filter=completed%20%3D%20FALSE&limit={MOST_SETS}"
        document = self._json("GET", path, asked, trace=trace)
        return [as_upload_set(row) for row in Fields(document, asked).rows("upload_sets")]

    def upload_set(self, set_id: str, *, trace: str | None = None) -> UploadSet:
        """One set.

        Raises:
            SetGone: there is none, or not for our eyes.
        """
        asked = f"read upload set {set_id}"
        return as_upload_set(Fields(self._json("GET", f"/api/upload_sets/{set_id}", asked, trace=trace), asked))

    def complete(self, set_id: str, *, trace: str | None = None) -> UploadSet:
        """Say that all its pictures are there. May be said again at any time.

        Raises:
            SetGone, NotOurs: see there.
        """
        asked = f"complete upload set {set_id}"
        document = self._json("POST", f"/api/upload_sets/{set_id}/complete", asked, trace=trace)
        return as_upload_set(Fields(document, asked))

    def delete_set(self, set_id: str, *, trace: str | None = None) -> None:
        """Delete it with all its pictures.

        Raises:
            SetGone, NotOurs: see there.
        """
        self._ask("DELETE", f"/api/upload_sets/{set_id}", f"delete upload set {set_id}", wanted=204, trace=trace)

    def listing(self, set_id: str, *, trace: str | None = None) -> list[Listed]:
        """What the server received in this set: the ground of every decision. All rows, in the order of arrival.

        Anybody may read it, even without a token; but only the owner sees picture ids, so to another account every
        picture looks deleted: compare ``UploadSet.account_id`` with ``who_am_i`` before concluding that.

        Raises:
            SetGone: there is no such set.
        """
        asked = f"list the files of upload set {set_id}"
        document = self._json("GET", f"/api/upload_sets/{set_id}/files", asked, trace=trace)
        return [as_listed(row) for row in Fields(document, asked).rows("files")]

    # -- pictures ----------------------------------------------------------------------------------------------------
    def send(
        self,
        set_id: str,
        *,
        file: Path,
        name: str,
        size: int,
        md5: str,
        picture_id: str,
        capture_time: str | None = None,
        position: tuple[float, float] | None = None,
        position_from: str | None = None,
        pace: Pace | None = None,
        trace: str | None = None,
    ) -> Received:
        """Send one picture, once. Silence proves nothing: the server may have it; the listing tells.

        Send it again only under the same name and ``picture_id``: two requests with the same bytes at the same time but
        different names are both kept (seen on the real server), and a request that we gave up may still be running.

        Args:
            set_id: where to.
            file: our copy.
            name: unique in the set; anybody may read it.
            size: bytes.
            md5: of the file, hexadecimal.
            picture_id: a UUID of ours under which the server shall keep it.
            capture_time: ISO 8601 with offset, to override the picture's own.
            position: latitude and longitude in degrees, to override the picture's own.
            position_from: how that was found, one of ``METHODS``; None: "interpolated".
            pace: how fast it may go; the time allowed follows from its ``slowest``, if no ``no_progress_s`` is silent.
            trace: see the class.

        Raises:
            Refused: this picture will never be taken.
            Conflict: something is in the way; the listing tells what.
            SetGone, NotOurs: see there.
            Damaged: the file is not what it was, or what arrived is not what was sent.
            Unreadable: the file cannot be read.
            NotNow: the pace says so, and the request was broken off.
        """
        asked = f"send {name}"
        fields = _overrides(picture_id, capture_time, position, position_from or "interpolated")
        try:
            opened = file.open("rb")
        except OSError as error:
            raise Unreadable(f"{name} cannot be opened on our own disk: {error.strerror}") from error
        with opened:
            body = PictureBody(opened, fields, name=name, size=size, md5=md5, pace=pace)
            path = f"/api/upload_sets/{set_id}/files"
            answer = self._ask(
                "POST", path, asked, wanted=202, trace=trace, content=body, headers=body.headers, asking="picture"
            )
        echo = Fields(document_of(answer, asked), asked)
        received = Received(
            echo.uuid("picture_id"), echo.md5("content_md5"), echo.number("size"), echo.text("file_name")
        )
        if (received.md5, received.size) != (md5, size):
            raise Damaged(
                f"{name} did not arrive as it was sent: the server received {received.size} bytes, {received.md5}"
            )
        return received

    def item_statuses(self, collection_id: str, *, trace: str | None = None) -> dict[str, ItemStatus]:
        """How far the server is with each picture of a sequence, by picture id.

        Raises:
            SetGone: there is no such sequence, or not for our eyes.
        """
        asked = f"read the status of sequence {collection_id}"
        document = self._json("GET", f"/api/collections/{collection_id}/geovisio_status", asked, trace=trace)
        return {status.id: status for status in map(as_item_status, Fields(document, asked).rows("items"))}

    def prepare(self, collection_id: str, item_id: str, *, trace: str | None = None) -> None:
        """Ask the server to process a picture once more.

        Raises:
            SetGone: there is no such picture in that sequence.
        """
        path = f"/api/collections/{collection_id}/items/{item_id}/prepare"
        self._ask("POST", path, f"have picture {item_id} processed again", wanted=202, trace=trace, send={})

    def picture_web_link(self, picture_id: str) -> str:
        """Where a person who is logged in sees the picture: the viewer that comes with the server."""
        return f"{self.url}/viewer?focus=pic&pic={picture_id}"

    def sequence_web_link(self, collection_id: str) -> str:
        """Where the sequence lies (STAC; the viewer has no address for a whole sequence)."""
        return f"{self.url}/api/collections/{collection_id}"

    # -- the one way out ---------------------------------------------------------------------------------------------
    def _json(self, method: str, path: str, asked: str, **how: Any) -> Any:
        return document_of(self._ask(method, path, asked, **how), asked)

    def _ask(
        self,
        method: str,
        path: str,
        asked: str,
        *,
        wanted: int = 200,
        trace: str | None = None,
        send: Any = None,
        content: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        asking: Asking = "else",
        as_stranger: bool = False,
    ) -> Answer:
        """The answer with the wanted status, or one of our errors."""
        request = self._client.build_request(method, self.url + path, json=send, content=content, headers=headers)
        if trace is not None:
            request.headers["X-Request-Id"] = trace
        if not as_stranger:
            request.headers.update(self._authorization)
        answer = self._exchange(request, asked)
        if answer.status == wanted:
            return answer
        error = as_error(answer, asked=asked, asking=asking)
        if isinstance(error, NotLoggedIn) and answer.status in {401, 403} and not as_stranger and path != _WHO:
            error = self._why_not(error, answer.status, request, asked)
        raise error

    def _exchange(self, request: httpx.Request, asked: str) -> Answer:
        try:
            return self._once(request)
        except httpx.HTTPError as error:
            if request.method != "GET" or not isinstance(error, _CLOSED_WHILE_IDLE):
                raise as_error(error, asked=asked) from error
        try:
            return self._once(request)
        except httpx.HTTPError as error:
            raise as_error(error, asked=asked) from error

    def _once(self, request: httpx.Request) -> Answer:
        try:
            response = self._client.send(request, stream=True)
        except RuntimeError:
            if self._client.is_closed:  # by another thread
                raise NoLink("The connections to the server were closed on our side") from None
            raise
        try:
            response.extensions["network_stream"].head_is_there()
            return read(response)
        finally:
            response.close()

    def _why_not(self, error: NotLoggedIn, status: int, request: httpx.Request, asked: str) -> AilasdError:
        """The same two statuses say: bad token, not for us, read-only. Told apart by asking, not by words."""
        trace, looking = request.headers.get("X-Request-Id"), request.method == "GET"
        self.who_am_i(trace=trace)  # raises if it is the token
        if not looking and self.instance(trace=trace).read_only:
            return ServerTrouble(f"Could not {asked}: the server takes nothing for the moment, it is read-only")
        if status != 403:
            return error
        why = "the server does not let our account see it" if looking else "it belongs to another account"
        return NotOurs(f"Could not {asked}: {why}")


def _differing(wanted: SetWanted, made: UploadSet) -> list[str]:
    """Names of what the server did not take over."""
    metadata = json.loads(json.dumps(wanted.metadata))  # tuples are lists by now, and keys are texts
    pairs = {
        "visibility": (VISIBILITY, made.visibility),
        "no_split": (True, made.no_split),
        "no_deduplication": (True, made.no_deduplication),
        "title": (plain(wanted.title), made.title),
        "metadata": (metadata, made.metadata),
    }
    return [name for name, (asked_for, got) in pairs.items() if asked_for != got]


def _overrides(
    picture_id: str, capture_time: str | None, position: tuple[float, float] | None, found: str
) -> dict[str, str]:
    fields = {"picture_id": picture_id}
    if capture_time is not None:
        fields["override_capture_time"] = capture_time
    if position is not None:
        latitude, longitude = position
        fields |= {
            "override_latitude": f"{latitude:.7f}",
            "override_longitude": f"{longitude:.7f}",
            METHOD: METHODS[found],
        }  # 1e-7 degrees: 1 cm
    return fields


def _checked_token(token: str) -> str:
    """A token that can stand in a header. The message never shows it."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError("The token is empty or holds characters that no token has")
    return token


def trust(url: str, ca_file: Path | None) -> ssl.SSLContext:
    """Whom to believe that it is that address: the system's authorities, or those in ``ca_file``."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"{url!r} is not the address of a server, such as https://panoramax.example")
    if parts.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, costs nothing: never used
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigError(f"The certificates in {ca_file} cannot be used: {error}") from error
