"""What a private Panoramax does, row by row of what was observed on one: against the embedded receiver and a real one.

Whatever the embedded receiver answers otherwise than the real server makes a test here fail, so it cannot drift. Rows
that nobody can provoke on a real server without a proxy or a portal in front say so; they are only proven on the fake.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from ailasd.demo.pictures import jpeg
from ailasd.demo.receiver import Receiver
from ailasd.errors import (
    AilasdError,
    Conflict,
    NoLink,
    NotLoggedIn,
    NotOurs,
    Refused,
    ServerTrouble,
    SetGone,
    Unclaimed,
)
from ailasd.jpeg import coded as jpeg_coded
from ailasd.panoramax import Listed, Newcomer, NewToken, Panoramax, Received, SetWanted, UploadSet
from ailasd.panoramax.examining import Examiner
from ailasd.panoramax.past import all_sets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Seen = TypeVar("Seen")

DISPATCH_S = 60
"""A worker on a small, shared machine dispatches a set of three within 10 s."""


@dataclass(frozen=True)
class Server:
    """The one under test. ``instance`` is a ``Receiver``, or the real one's, with the same verbs where used here."""

    url: str
    token: str
    other_token: str
    instance: Any
    is_real: bool


@pytest.fixture(scope="module")
def fake() -> Iterator[Server]:
    with Receiver(dispatch_after=0.05) as receiver:
        yield Server(receiver.url, receiver.token("a"), receiver.token("b"), receiver, is_real=False)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
def server(request: pytest.FixtureRequest) -> Server:
    if request.param == "fake":
        found: Server = request.getfixturevalue("fake")
        return found
    real = request.getfixturevalue("real")
    return Server(real.url, real.token, real.instance.token("contract-other"), real.instance, is_real=True)


class Kit:
    """A client with pictures to send."""

    def __init__(self, server: Server, folder: Path, token: str | None) -> None:
        self.client = Panoramax(server.url, token, agent="ailasd/0 contract")
        self.http = httpx.Client(
            base_url=server.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            trust_env=False,
            timeout=30,
        )
        self._folder = folder

    def close(self) -> None:
        self.client.close()
        self.http.close()

    def open(self) -> UploadSet:
        return self.client.create_set(SetWanted("contract", {"id": str(uuid4())}, {"transport": "car"}))

    def send(self, to: UploadSet, data: bytes, name: str = "G0010001.JPG", **more: Any) -> Received:
        file = self._folder / secrets.token_hex(8)
        file.write_bytes(data)
        md5 = hashlib.md5(data).hexdigest()
        more = {"picture_id": str(uuid4()), **more}
        return self.client.send(to.id, file=file, name=name, size=len(data), md5=md5, **more)

    def row(self, of: UploadSet, name: str = "G0010001.JPG") -> Listed:
        return next(row for row in self.client.listing(of.id) if row.file_name == name)

    def completed(self, of: UploadSet) -> UploadSet:
        """Complete it and wait until it is ready."""
        self.client.complete(of.id)
        return wait_for(lambda: self.client.upload_set(of.id), lambda it: it.ready and bool(it.collections))


def wait_for(look: Callable[[], Seen], is_there: Callable[[Seen], bool]) -> Seen:
    until = time.monotonic() + DISPATCH_S
    while not is_there(seen := look()):
        assert time.monotonic() < until, f"still {seen}"
        time.sleep(0.1)
    return seen


def picture(**more: Any) -> bytes:
    """A good picture that nobody has sent before."""
    return jpeg(seed=secrets.randbelow(2**31), **more)


@pytest.fixture
def kit(server: Server, tmp_path: Path) -> Iterator[Kit]:
    made = Kit(server, tmp_path, server.token)
    yield made
    made.close()


@pytest.fixture
def other(server: Server, tmp_path: Path) -> Iterator[Kit]:
    """A second account."""
    made = Kit(server, tmp_path, server.other_token)
    yield made
    made.close()


@pytest.fixture
def stranger(server: Server, tmp_path: Path) -> Iterator[Kit]:
    """Somebody without a token."""
    made = Kit(server, tmp_path, None)
    yield made
    made.close()


# -- identity and tokens -----------------------------------------------------------------------------------------------
def test_who(kit: Kit, other: Kit) -> None:
    """``users/me`` tells whose token it is."""
    assert kit.client.who_am_i().id != other.client.who_am_i().id


def test_no_token(stranger: Kit) -> None:
    """Without a token: 403 or 401 with JSON, which is ``NotLoggedIn``, for reading and for writing."""
    with pytest.raises(NotLoggedIn):
        stranger.client.who_am_i()
    with pytest.raises(NotLoggedIn):
        stranger.open()
    answers = [stranger.http.get("/api/users/me"), stranger.http.post("/api/upload_sets", json={"title": "x"})]
    assert [(answer.status_code, answer.json()["message"]) for answer in answers] == [
        (403, "Authentication has not been activated in this instance, impossible to log in."),
        (401, "Authentication is mandatory"),
    ]


BAD_TOKENS = {
    "garbage": (401, NotLoggedIn, "none of this server's"),
    "revoked": (403, NotLoggedIn, "was revoked"),
    "unclaimed": (403, Unclaimed, "nobody has claimed"),
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_bad_token(server: Server, tmp_path: Path, kind: str) -> None:
    """401 ``Token not valid`` for a garbage token; 403 for a revoked or unclaimed one: each has its own sentence."""
    status, error, words = BAD_TOKENS[kind]
    bad = Kit(server, tmp_path, bad_token(server, kind))
    with pytest.raises(error, match=words):
        bad.client.who_am_i()
    with pytest.raises(error, match=words):
        bad.open()
    answer = bad.http.get("/api/users/me")
    assert (answer.status_code, answer.json()["message"]) == (status, "Token not valid")
    bad.close()


def test_expired_token(fake: Server, tmp_path: Path) -> None:
    """So has one that has expired. Fake only: 2.15.1 knows no such tokens."""
    token = fake.instance.token("expired")
    fake.instance.let_expire(token)
    kit = Kit(fake, tmp_path, token)
    with pytest.raises(NotLoggedIn, match="our token has expired"):
        kit.client.who_am_i()
    kit.close()


def bad_token(server: Server, kind: str) -> str:
    if kind == "garbage":
        return "abc"
    if kind == "unclaimed":
        return str(server.instance.unclaimed_token())
    made = claimed(server, server.token)
    with Newcomer(server.url, made.jwt, agent="ailasd/0 contract") as client:
        client.forget_token(made.id)
    return made.jwt


def claimed(server: Server, by: str) -> NewToken:
    """A new token that the owner of another one has claimed: the server takes that instead of a browser's session."""
    with Newcomer(server.url, None, agent="ailasd/0 contract") as client:
        made = client.new_token("kit 07 & co")
    assert click(made.link, by) == 302
    return made


def click(link: str, by: str | None) -> int:
    """What opening the link gives to somebody who is logged in by this token."""
    headers = {"Authorization": f"Bearer {by}"} if by else {}
    return httpx.get(link, headers=headers, trust_env=False).status_code


def test_claim(server: Server, kit: Kit) -> None:
    """A token is made for strangers; it is 403 until somebody claims it, once, and then it is theirs until deleted."""
    with Newcomer(server.url, None, agent="ailasd/0 contract") as stranger:
        made = stranger.new_token("kit-07")
    assert made.jwt not in repr(made)
    assert made.link == f"{server.url}/api/auth/tokens/{made.id}/claim"
    with Newcomer(server.url, made.jwt, agent="ailasd/0 contract") as client:
        with pytest.raises(Unclaimed):
            client.who_am_i()
        with pytest.raises(Unclaimed):
            client.forget_token(made.id)
        assert [click(made.link, by) for by in (None, server.token, server.token, server.other_token)] == [
            403, 302, 403, 403,
        ]  # fmt: skip
        assert client.who_am_i() == kit.client.who_am_i()
        client.forget_token(made.id)
        with pytest.raises(NotLoggedIn, match="was revoked"):
            client.who_am_i()
    assert click(made.link, server.token) == 404
    with Newcomer(server.url, server.token, agent="ailasd/0 contract") as owner, pytest.raises(SetGone):
        owner.forget_token(made.id)


def test_not_ours(kit: Kit, other: Kit) -> None:
    """403 for somebody else's set is ``NotOurs``: the token is good, other sets can go on."""
    of = kit.open()
    for forbidden in (
        lambda: other.send(of, picture()),
        lambda: other.client.complete(of.id),
        lambda: other.client.delete_set(of.id),
    ):
        with pytest.raises(NotOurs):
            forbidden()
    assert kit.client.listing(of.id) == []


def test_login_page(fake: Server, tmp_path: Path) -> None:
    """302 to the server's own login page is ``NotLoggedIn``, elsewhere ``NoLink``. Fake only: needs OAuth, a portal."""
    kit = Kit(fake, tmp_path, fake.token)
    for location, error in (("/api/auth/login?next_url=x", NotLoggedIn), ("http://portal.example/login", NoLink)):
        fake.instance.fault("who", "redirect", location=location)
        with pytest.raises(error):
            kit.client.who_am_i()
    kit.close()


def test_configuration(kit: Kit) -> None:
    """A private instance offers ``logged-only``; ``is_read_only`` may be absent."""
    instance = kit.client.instance()
    assert instance.is_private
    assert not instance.read_only


# -- upload sets -------------------------------------------------------------------------------------------------------
def test_create(kit: Kit) -> None:
    """A new set is empty, open, logged-only, unsplit, undeduplicated; GET and the list give its metadata."""
    metadata = {"id": str(uuid4()), "nested": {"list": [1, 2.5, None, True, "é"]}}
    made = kit.client.create_set(SetWanted("title é", metadata, {"transport": "car", "ailas|campaign": "x"}))
    assert made == kit.client.upload_set(made.id)
    assert made in kit.client.open_sets()
    assert (made.title, made.metadata, made.visibility) == ("title é", metadata, "logged-only")
    assert (made.no_split, made.no_deduplication, made.completed, made.collections) == (True, True, False, ())
    assert made.account_id == kit.client.who_am_i().id
    semantics = kit.http.get(f"/api/upload_sets/{made.id}").json()["semantics"]
    assert {tag["key"]: tag["value"] for tag in semantics} == {"transport": "car", "ailas|campaign": "x"}


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"unheard_of": 1}, 200),
        ({"user_agent": "x"}, 500),
        ({"split_distance": 5}, 400),
        ({"visibility": "world"}, 400),
        ({"title": None}, 400),
    ],
)
def test_create_by_hand(kit: Kit, more: dict[str, Any], status: int) -> None:
    """Unknown keys are ignored, a key ``user_agent`` gives 500, contradictions and bad values 400."""
    body = {"title": "by hand", "no_split": True, "visibility": "logged-only", **more}
    answer = kit.http.post("/api/upload_sets", json=body)
    assert answer.status_code == status
    assert "unheard_of" not in answer.text or status == 400


def test_create_lost_answer(kit: Kit, other: Kit) -> None:
    """A set whose answer was lost is found by our own id among our open sets, not among others'."""
    made = kit.open()
    assert [it.id for it in kit.client.open_sets() if it.metadata == made.metadata] == [made.id]
    assert made.id not in [it.id for it in other.client.open_sets()]
    kit.client.complete(made.id)
    assert made.id not in [it.id for it in kit.client.open_sets()]


def test_filter(kit: Kit) -> None:
    """The list's filter knows completed and dispatched only: anything else is 400."""
    answer = kit.http.get("/api/users/me/upload_sets", params={"filter": "title = 'x'"})
    assert (answer.status_code, answer.json()["message"]) == (400, "Unsupported filter parameter")


def test_all_sets(kit: Kit, other: Kit) -> None:
    """Open or completed, our sets are listed once, others' are not; each tells how many pictures it holds."""
    open_one, done, theirs = kit.open(), kit.open(), other.open()
    kit.send(done, picture())
    kit.client.complete(done.id)
    found = [it.id for it in all_sets(kit.client, kit.client.who_am_i().id) if it]
    assert (found.count(open_one.id), found.count(done.id), found.count(theirs.id)) == (1, 1, 0)
    assert (kit.client.upload_set(open_one.id).pictures, kit.client.upload_set(done.id).pictures) == (0, 1)


def test_delete(kit: Kit) -> None:
    """DELETE is 204, and then every call for that set is ``SetGone``."""
    of = kit.open()
    kit.client.delete_set(of.id)
    client = kit.client
    for gone in (
        client.upload_set,
        client.complete,
        client.delete_set,
        client.listing,
        lambda _: kit.send(of, picture()),
    ):
        with pytest.raises(SetGone):
            gone(of.id)


# -- sending -----------------------------------------------------------------------------------------------------------
def test_send(kit: Kit) -> None:
    """202 echoes md5 and size of the bytes received and honours our picture id; the listing says the same."""
    of, data, ours = kit.open(), picture(), str(uuid4())
    received = kit.send(of, data, picture_id=ours)
    assert received == Received(ours, hashlib.md5(data).hexdigest(), len(data), "G0010001.JPG")
    row = kit.row(of)
    assert (row.picture_id, row.md5, row.size, row.rejected) == (ours, received.md5, len(data), None)
    assert row.is_held


def test_overrides(kit: Kit) -> None:
    """Time and position may be overridden where the picture has none; md5 and size are of the bytes before that."""
    data = picture(camera_time=None, gps_time=None, position=None)
    received = kit.send(kit.open(), data, capture_time="2026-03-04T09:30:05.123+03:00", position=(-18.9, 47.5))
    assert (received.md5, received.size) == (hashlib.md5(data).hexdigest(), len(data))


def test_same_bytes_same_set(kit: Kit) -> None:
    """Same bytes, same set: 409 naming the existing item; it is listed once, under its first name."""
    of, data = kit.open(), picture()
    first = kit.send(of, data)
    with pytest.raises(Conflict) as conflict:
        kit.send(of, data, "G0010002.JPG")
    assert (conflict.value.existing, conflict.value.elsewhere) == (first.picture_id, ())
    assert [row.file_name for row in kit.client.listing(of.id)] == ["G0010001.JPG"]


def test_same_bytes_other_set(kit: Kit, other: Kit) -> None:
    """Same bytes, other set, ours or not: 409 naming it; listed here as rejected file_duplicate, with the md5."""
    first, data = kit.open(), picture()
    received = kit.send(first, data)
    for again in (kit, other):
        of = again.open()
        with pytest.raises(Conflict) as conflict:
            again.send(of, data)
        assert (conflict.value.existing, conflict.value.elsewhere) == (None, ((received.picture_id, first.id),))
        row = again.row(of)
        assert row.rejected is not None
        assert (row.picture_id, row.md5, row.rejected.reason) == (None, received.md5, "file_duplicate")


def test_name_taken(kit: Kit) -> None:
    """Other bytes, name taken: 409 that also names an existing item, but the listing has only the first one's md5."""
    of, data = kit.open(), picture()
    first = kit.send(of, data)
    with pytest.raises(Conflict, match="different picture with the same name") as conflict:
        kit.send(of, picture())
    assert conflict.value.existing == first.picture_id
    assert [row.md5 for row in kit.client.listing(of.id)] == [first.md5]


def test_same_picture_id(kit: Kit) -> None:
    """Same picture id, other bytes: 409 that names nothing; listed as rejected id_conflict."""
    of, ours = kit.open(), str(uuid4())
    kit.send(of, picture(), picture_id=ours)
    with pytest.raises(Conflict, match="same ID") as conflict:
        kit.send(of, picture(), "G0010002.JPG", picture_id=ours)
    assert (conflict.value.existing, conflict.value.elsewhere) == (None, ())
    rejected = kit.row(of, "G0010002.JPG").rejected
    assert rejected is not None
    assert rejected.reason == "id_conflict"


@pytest.mark.parametrize(
    ("left_out", "reason", "missing"),
    [
        ({"position": None}, "no_position", ["location"]),
        ({"position": (0.0, 0.0)}, "no_position", ["location"]),
        ({"camera_time": None, "gps_time": None}, "no_date", ["datetime"]),
        ({"camera_time": None, "gps_time": None, "position": None}, "no_position", ["datetime", "location"]),
    ],
)
def test_missing_fields(kit: Kit, left_out: dict[str, Any], reason: str, missing: list[str]) -> None:
    """No GPS, no date or 0,0: 400 with missing_fields, ``Refused``; listed as invalid_metadata."""
    of = kit.open()
    with pytest.raises(Refused) as refused:
        kit.send(of, picture(**left_out))
    assert refused.value.reason == reason
    row = kit.row(of)
    assert row.rejected is not None
    assert (row.picture_id, row.rejected.reason) == (None, "invalid_metadata")
    assert sorted(row.rejected.details["missing_fields"]) == missing


@pytest.mark.parametrize(
    ("data", "name"), [(b"garbage" * 99, "a.jpg"), (b"", "a.jpg"), (b"\x89PNG\r\n\x1a\n", "a.png")]
)
def test_not_a_jpeg(kit: Kit, data: bytes, name: str) -> None:
    """Garbage, nothing, not called JPEG: 400, ``Refused``; listed as invalid_file."""
    of = kit.open()
    with pytest.raises(Refused) as refused:
        kit.send(of, data, name)
    assert refused.value.reason == "invalid_file"
    row = kit.row(of, name)
    assert row.rejected is not None
    assert (row.is_held, row.rejected.reason) == (False, "invalid_file")


def test_rejected_name_is_free(kit: Kit) -> None:
    """The name of a rejected file may be used again."""
    of = kit.open()
    with pytest.raises(Refused):
        kit.send(of, picture(position=None))
    kit.send(of, picture())
    assert kit.row(of).is_held


def test_excluded_area(server: Server, kit: Kit) -> None:
    """In an excluded area: 400, ``Refused``; listed as in_excluded_area."""
    of = kit.open()
    with server.instance.excluded_area(10.0, 40.0, 10.1, 40.1), pytest.raises(Refused) as refused:
        kit.send(of, picture(position=(40.05, 10.05)))
    assert refused.value.reason == "excluded_area"
    rejected = kit.row(of).rejected
    assert rejected is not None
    assert rejected.reason == "in_excluded_area"


def test_bad_parameters(kit: Kit) -> None:
    """A picture id that is no UUID is 400, and the file is not listed."""
    of = kit.open()
    with pytest.raises(Refused, match="parse parameters"):
        kit.send(of, picture(), picture_id="x")
    assert kit.client.listing(of.id) == []


def test_not_multipart(kit: Kit) -> None:
    """A body that is not multipart is 415."""
    assert kit.http.post(f"/api/upload_sets/{kit.open().id}/files", json={}).status_code == 415


def test_answer_lost(server: Server, kit: Kit) -> None:
    """All bytes sent, connection lost before the answer: the picture IS stored, and sending again is a 409."""
    of, data = kit.open(), picture()
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 80), timeout=10) as raw:
        raw.sendall(as_request(f"/api/upload_sets/{of.id}/files", server.token, data))
    until = time.monotonic() + 10
    while not kit.client.listing(of.id):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert kit.row(of).is_held
    with pytest.raises(Conflict):
        kit.send(of, data)


def as_request(path: str, token: str, data: bytes) -> bytes:
    body = (
        b'--xx\r\nContent-Disposition: form-data; name="file"; filename="G0010001.JPG"\r\n\r\n'
        + data
        + b"\r\n--xx--\r\n"
    )
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: multipart/form-data; boundary=xx\r\n\r\n" + body


def test_cut_request(server: Server, kit: Kit) -> None:
    """A request that ends before its last byte leaves nothing in the listing."""
    of, data = kit.open(), picture()
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 80), timeout=10) as raw:
        raw.sendall(as_request(f"/api/upload_sets/{of.id}/files", server.token, data)[:-20])
        raw.shutdown(socket.SHUT_WR)
        raw.recv(1)
    assert kit.client.listing(of.id) == []
    kit.send(of, data)


def test_three_at_once(kit: Kit) -> None:
    """The same picture three times at once under the same name and id: held once, whatever the others are told.

    Under three names the real server keeps all three: nothing of it is unique but name and id.
    """
    of, data, ours = kit.open(), picture(), str(uuid4())

    def attempt(_: int) -> str:
        try:
            kit.send(of, data, picture_id=ours)
        except (Conflict, ServerTrouble):
            return "turned away"
        return "sent"

    with ThreadPoolExecutor(3) as pool:
        outcomes = sorted(pool.map(attempt, range(3)))
    held = [row for row in kit.client.listing(of.id) if row.is_held]
    assert len(held) == 1
    assert outcomes == ["sent", "turned away", "turned away"]


def test_idle_connection(server: Server) -> None:
    """The server closes an idle connection after 2.0 s, so ours must be given up before."""
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 80), timeout=10) as raw:
        raw.sendall(b"GET /api/configuration HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(65536)
        answered = time.monotonic()
        while raw.recv(65536):
            pass
    assert 1.5 < time.monotonic() - answered < 5  # later on a busy machine; earlier would break our keep-alive


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (500, {"message": "Picture wasn't correctly saved in filesystem", "status_code": 500}, ServerTrouble),
        (500, "<h1>Internal Server Error</h1>", ServerTrouble),
        (502, "<h1>Bad Gateway</h1>", NoLink),
        (504, "<h1>Gateway Time-out</h1>", NoLink),
        (503, "<h1>Service Unavailable</h1>", ServerTrouble),
        (507, "<h1>Insufficient Storage</h1>", ServerTrouble),
        (429, "<h1>Too Many Requests</h1>", ServerTrouble),
        (413, "<h1>Request Entity Too Large</h1>", Refused),
    ],
)
def test_trouble(fake: Server, tmp_path: Path, code: int, body: Any, error: type[AilasdError]) -> None:
    """Storage or database down, over 180 MP, a proxy's words: later; but a picture that is too large: never.

    Fake only: they need a full disk, a proxy, or 700 MB of memory for one picture.
    """
    kit = Kit(fake, tmp_path, fake.token)
    of = kit.open()
    fake.instance.fault("send", "status", code=code, body=body)
    with pytest.raises(error):
        kit.send(of, picture())
    assert kit.client.listing(of.id) == []
    kit.close()


def test_api_killed(server: Server, kit: Kit) -> None:
    """Nobody listens: ``NoLink``; and afterwards all that was acknowledged is still there."""
    of = kit.open()
    kit.send(of, picture())
    down, up = ("kill_api", "restart_api") if server.is_real else ("away", "back")
    getattr(server.instance, down)()
    try:
        with pytest.raises(NoLink):
            kit.client.who_am_i()
        with pytest.raises(NoLink):
            kit.send(of, picture(), "G0010002.JPG")
    finally:
        getattr(server.instance, up)()
    assert [row.is_held for row in kit.client.listing(of.id)] == [True]


@pytest.mark.real
@pytest.mark.slow
def test_database_down(real: Any, tmp_path: Path) -> None:
    """Database down: silence or 500 HTML after 30-60 s: later, nothing is stored. Real only: the fake has none."""
    server = Server(real.url, real.token, real.token, real.instance, is_real=True)
    kit = Kit(server, tmp_path, real.token)
    of, data = kit.open(), picture()
    real.instance.stop_database()
    try:
        with pytest.raises((ServerTrouble, NoLink)):
            kit.send(of, data)
    finally:
        real.instance.start_database()
        real.instance.restart_api()
    kit.send(of, data)
    kit.close()


# -- completing, dispatch, ready ---------------------------------------------------------------------------------------
def test_complete(kit: Kit) -> None:
    """Completing may be said any number of times, of an empty set too."""
    of = kit.open()
    assert kit.client.complete(of.id).completed
    assert kit.client.complete(of.id).completed


def test_never_completed_by_itself(kit: Kit) -> None:
    """However many files came, refused ones included: only we complete a set."""
    of = kit.open()
    kit.send(of, picture())
    with pytest.raises(Refused):
        kit.send(of, picture(position=None), "G0010002.JPG")
    assert not kit.client.upload_set(of.id).completed


def test_life_of_a_set(kit: Kit, other: Kit, stranger: Kit) -> None:
    """One sequence for the set; a good picture gets ready, a cut one was taken (202) and gets broken with its error.

    Before dispatch even the owner gets 404 for a picture. ``ready`` is true although one is broken. The sequence is 404
    to strangers, but not to another account. A broken picture may be prepared again (202); an unknown one is 404.
    """
    of = kit.open()
    whole = picture(size=(640, 480), mpo=False)
    good = kit.send(of, picture())
    cut = kit.send(of, whole[: len(whole) * 2 // 3], "G0010002.JPG")
    assert kit.http.get(f"/api/pictures/{good.picture_id}/hd.jpg").status_code == 404
    done = kit.completed(of)
    assert (done.dispatched, done.ready, len(done.collections)) == (True, True, 1)
    sequence = done.collections[0].id
    statuses = kit.client.item_statuses(sequence)
    assert statuses == other.client.item_statuses(sequence)
    assert {id_: status.status for id_, status in statuses.items()} == {
        good.picture_id: "ready",
        cut.picture_id: "broken",
    }
    assert statuses[cut.picture_id].process_error
    assert statuses[good.picture_id].process_error is None
    assert all(row.is_held for row in kit.client.listing(of.id))
    with pytest.raises(SetGone):
        stranger.client.item_statuses(sequence)
    kit.client.prepare(sequence, cut.picture_id)
    with pytest.raises(SetGone):
        kit.client.prepare(sequence, str(uuid4()))
    with pytest.raises(SetGone):
        kit.client.item_statuses(str(uuid4()))


def test_adding_to_a_completed_set(kit: Kit) -> None:
    """Adding opens it again; completed once more it is ``ready`` and ``dispatched`` at once, which is stale.

    The sequence of both that comes later may be another one, with another id.
    """
    of = kit.open()
    first = kit.send(of, picture())
    before = kit.completed(of)
    second = kit.send(of, picture(), "G0010002.JPG")
    stale = kit.client.upload_set(of.id)
    assert (stale.completed, stale.dispatched, stale.ready) == (False, True, True)
    again = kit.client.complete(of.id)
    assert (again.completed, again.dispatched, again.ready) == (True, True, True)
    both = {first.picture_id, second.picture_id}
    wait_for(lambda: kit.client.upload_set(of.id), lambda it: items(kit, it) == both)
    assert [row.is_held for row in kit.client.listing(of.id)] == [True, True]
    assert before.collections


def test_adding_while_it_waits_for_its_dispatch(kit: Kit) -> None:
    """Adding opens the set again, but its dispatch goes on; what no dispatch took waits until we complete it again."""
    of = kit.open()
    sent = {kit.send(of, picture()).picture_id}
    kit.client.complete(of.id)
    sent.add(kit.send(of, picture(), "G0010002.JPG").picture_id)
    early = wait_for(lambda: kit.client.upload_set(of.id), lambda it: bool(items(kit, it)))
    assert not early.completed
    sent.add(kit.send(of, picture(), "G0010003.JPG").picture_id)
    assert items(kit, kit.client.upload_set(of.id)) < sent
    kit.client.complete(of.id)
    wait_for(lambda: kit.client.upload_set(of.id), lambda it: items(kit, it) == sent)


def items(kit: Kit, of: UploadSet) -> set[str]:
    """The pictures in all sequences of a set; one that goes away at this moment has none."""
    with suppress(SetGone):
        return {picture for sequence in of.collections for picture in kit.client.item_statuses(sequence.id)}
    return set()


def test_capture_duplicate(kit: Kit) -> None:
    """With the server's deduplication on: 202, then deleted at dispatch: rejected capture_duplicate, not held."""
    body = {"title": "with deduplication", "no_split": True, "visibility": "logged-only"}
    of = kit.client.upload_set(kit.http.post("/api/upload_sets", json=body).json()["id"])
    assert not of.no_deduplication
    at = datetime(2026, 3, 4, 6, 30, 5, tzinfo=UTC)
    for second in range(3):
        when = at.replace(second=second)
        local = when.replace(tzinfo=None, hour=9)
        assert kit.send(of, picture(camera_time=local, gps_time=when, heading=90.0), f"G001000{second}.JPG")
    kit.completed(of)
    reasons = sorted(row.rejected.reason if row.rejected else "" for row in kit.client.listing(of.id))
    assert reasons == ["", "capture_duplicate", "capture_duplicate"]
    assert sum(row.is_held for row in kit.client.listing(of.id)) == 1


def test_deleted_later(server: Server, kit: Kit) -> None:
    """A row with neither picture nor rejection was deleted later: not held, though md5 and size are still listed."""
    of = kit.open()
    sent = kit.send(of, picture())
    server.instance.lose(sent.picture_id)
    row = kit.row(of)
    assert (row.md5, row.picture_id, row.rejected, row.is_held) == (sent.md5, None, None, False)


# -- who sees what -----------------------------------------------------------------------------------------------------
def test_visibility(kit: Kit, other: Kit, stranger: Kit) -> None:
    """``logged-only``: a stranger gets 404 for the set, any account sees it."""
    of = kit.open()
    assert other.client.upload_set(of.id) == kit.client.upload_set(of.id)
    with pytest.raises(SetGone):
        stranger.client.upload_set(of.id)


def test_listing_is_public(kit: Kit, other: Kit, stranger: Kit) -> None:
    """Anybody may read the listing, even without a token; but only the owner sees picture ids."""
    of = kit.open()
    sent = kit.send(of, picture())
    for reader in (other, stranger):
        row = reader.row(of)
        assert (row.md5, row.size, row.picture_id, row.is_held) == (sent.md5, sent.size, None, False)


def test_what_strangers_see(server: Server, kit: Kit, tmp_path: Path) -> None:
    """Pictures are shown to us only, byte by byte as they were sent; the list for strangers has none of our sequences.

    The server tells its version and its time.
    """
    of, data = kit.open(), picture()
    sent = kit.send(of, data)
    sequence = kit.completed(of).collections[0].id
    with Examiner(server.url, server.token, agent="ailasd/0 contract") as examiner:
        wait_for(lambda: kit.client.item_statuses(sequence), lambda it: it[sent.picture_id].is_ready)
        seen = [examiner.shows(sent.picture_id, to_strangers=strangers) for strangers in (False, True)]
        assert seen == [True, False]
        if server.is_real:  # the fake forgets the bytes
            assert jpeg_coded(examiner.picture(sent.picture_id)) == jpeg_coded(data)
        assert not examiner.shows(str(uuid4()), to_strangers=False)
        with pytest.raises(SetGone):
            examiner.picture(str(uuid4()))
        assert sequence not in examiner.public_collections()
        assert not examiner.is_public(sequence)
        found = examiner.settings()
    assert (found.version[:5], found.is_private, found.registration_open, found.read_only) == (
        "2.15.", True, None, False,
    )  # fmt: skip
    assert found.said_at is not None
    assert abs(found.said_at - datetime.now(UTC)) < timedelta(minutes=1)


# -- the answers as they are -------------------------------------------------------------------------------------------
def test_bodies(kit: Kit) -> None:
    """The documents have the same keys on both servers, so that both are read by the same code."""
    of = kit.open()
    kit.send(of, picture())
    with pytest.raises(Refused):
        kit.send(of, picture(position=None), "G0010002.JPG")
    rows = kit.http.get(f"/api/upload_sets/{of.id}/files").json()["files"]
    everywhere = {"file_name", "content_md5", "inserted_at", "file_type", "size", "links"}
    assert [row.keys() - everywhere for row in rows] == [{"picture_id"}, {"rejected"}]
    assert rows[1]["rejected"].keys() == {"reason", "severity", "message", "details"}
    described = kit.http.get(f"/api/upload_sets/{of.id}").json()
    assert described.keys() >= {
        "id",
        "account_id",
        "completed",
        "dispatched",
        "ready",
        "associated_collections",
        "links",
    }
