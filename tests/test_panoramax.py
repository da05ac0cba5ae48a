"""The client against a server that misbehaves, and the table of errors."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import resource
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailasd.demo.pictures import jpeg
from ailasd.demo.receiver import Receiver
from ailasd.errors import (
    AilasdError,
    ConfigError,
    Conflict,
    Damaged,
    NeedsHuman,
    NoLink,
    NotLoggedIn,
    NotOurs,
    Refused,
    ServerTrouble,
    SetGone,
    UnexpectedAnswer,
    Unreadable,
    WrongServer,
)
from ailasd.panoramax import Answer, Panoramax, Received, SetWanted, UploadSet, answer, as_error, wire
from ailasd.panoramax.answer import MOST_BODY, document_of
from ailasd.panoramax.body import PictureBody
from ailasd.panoramax.examining import Examiner
from ailasd.panoramax.trouble import MOST_COPIES
from ailasd.panoramax.values import MOST_TEXT, Fields, as_item_status, as_listed, as_upload_set
from ailasd.tunnel import Way

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = "http://panoramax.example/api/x"
WANTED = SetWanted("drive", {"id": "1"}, {"transport": "car"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture
def client(receiver: Receiver) -> Iterator[Panoramax]:
    with Panoramax(receiver.url, receiver.token(), agent="ailasd/0 test", no_progress_s=1) as made:
        yield made


def send(client: Panoramax, to: UploadSet, folder: Path, data: bytes | None = None, **more: Any) -> Received:
    data = data if data is not None else jpeg(seed=7)
    file = folder / "picture"
    file.write_bytes(data)
    told = {
        "size": len(data),
        "md5": hashlib.md5(data).hexdigest(),
        "name": "a.jpg",
        "picture_id": str(uuid4()),
        **more,
    }
    return client.send(to.id, file=file, **told)


# -- the table of errors -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (301, "", NoLink),
        (400, {"message": "x"}, Refused),
        (400, "<h1>Bad Request</h1>", UnexpectedAnswer),
        (401, {"message": "x"}, NotLoggedIn),
        (401, "<h1>portal</h1>", NoLink),
        (403, {"message": "x"}, NotLoggedIn),
        (403, "<h1>portal</h1>", NoLink),
        (404, {"message": "x"}, SetGone),
        (404, "<h1>Not Found</h1>", UnexpectedAnswer),
        (405, {"message": "x"}, UnexpectedAnswer),
        (407, "", NoLink),
        (408, "", NoLink),
        (409, {"message": "x"}, Conflict),
        (409, "", UnexpectedAnswer),
        (413, "<h1>too large</h1>", Refused),
        (418, {"message": "x"}, UnexpectedAnswer),
        (429, "", ServerTrouble),
        (500, "<h1>Internal Server Error</h1>", ServerTrouble),
        (500, {"message": "x"}, ServerTrouble),
        (502, "<h1>Bad Gateway</h1>", NoLink),
        (503, "", ServerTrouble),
        (504, "", NoLink),
        (507, "", ServerTrouble),
        (511, "<h1>portal</h1>", NoLink),
        (200, "<h1>portal</h1>", NoLink),
        (200, {"message": "x"}, UnexpectedAnswer),
        (999, "", UnexpectedAnswer),
    ],
)
def test_table(status: int, body: Any, error: type[AilasdError]) -> None:
    """Each status, with JSON or a page, has exactly one remedy."""
    text = body if isinstance(body, str) else json.dumps(body)
    assert type(as_error(Answer(status, {}, text.encode(), URL), asked="send a.jpg", asking="picture")) is error


@given(
    st.integers(100, 999),
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode),
    st.dictionaries(st.sampled_from(["retry-after", "location", "date"]), st.text()),
    st.sampled_from(["picture", "set", "else"]),
)
def test_any_answer_is_an_error(status: int, body: bytes, headers: dict[str, str], asking: Any) -> None:
    """Whatever a server or somebody in between says, it becomes one error of one printable line."""
    error = as_error(Answer(status, headers, body, URL), asked="send a.jpg", asking=asking)
    assert isinstance(error, AilasdError)
    assert str(error).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "rejected", "files", "links", "message", "details", "existing_item", "upload_sets", "size"]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(JSON, st.sampled_from([as_upload_set, as_listed, as_item_status]))
def test_any_json_is_checked(document: Any, reader: Any) -> None:
    """JSON of a wrong shape is ``UnexpectedAnswer``, never an accident, and never passes."""
    with pytest.raises(UnexpectedAnswer):
        reader(Fields(document, "read it"))
    body = json.dumps(document).encode()
    for status in (400, 404, 409):
        assert as_error(Answer(status, {}, body, URL), asked="x", asking="picture")


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_kept(text: str) -> None:
    """Whatever a server calls itself can be written down, encoded and shown on one line."""
    kept = Fields({"name": text}, "x").text("name")
    assert kept.encode().decode() == kept
    assert kept.isprintable()


def test_texts_and_numbers_have_bounds() -> None:
    """A name of megabytes is cut; a number that no catalogue can hold, and a word with odd letters, are no answer."""
    assert len(Fields({"name": "x" * 8_000_000}, "x").text("name")) == MOST_TEXT
    assert Fields({"name": "\ud800Panoramax\nx\x1b[31m"}, "x").text("name") == "Panoramax x[31m"
    assert Fields({"size": 2**63 - 1}, "x").number("size") == 2**63 - 1
    for number in (2**63, 2**70, -1):
        with pytest.raises(UnexpectedAnswer, match="range"):
            Fields({"size": number}, "x").number("size")
    for word in ("logged-only\u200b", "x" * 10_000, "\ud800"):
        with pytest.raises(UnexpectedAnswer, match="no word"):
            Fields({"visibility": word}, "x").word("visibility")


def test_deep_json() -> None:
    """JSON nested a hundred thousand deep is not our server's."""
    with pytest.raises(NoLink):
        document_of(Answer(200, {}, b"[" * 100_000 + b"]" * 100_000, URL), "x")


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120),
        ({"retry-after": "9" * 5000}, 86_400),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 04 Mar 2026 06:32:00 GMT", "date": "Wed, 04 Mar 2026 06:30:00 GMT"}, 120),
        ({"retry-after": "Wed, 04 Mar 2026 06:28:00 GMT", "date": "Wed, 04 Mar 2026 06:30:00 GMT"}, 0),
        ({"retry-after": "Wed, 04 Mar 2026 06:32:00 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], after: float | None) -> None:
    """Both forms of Retry-After are understood, by the server's clock and not ours, and capped at a day."""
    error = as_error(Answer(503, headers, b"", URL), asked="x")
    assert isinstance(error, ServerTrouble)
    assert error.after == after


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (
            {"message": "Impossible to parse picture metadata", "details": {"missing_fields": ["location"]}},
            "no_position",
        ),
        ({"message": "Impossible to parse picture metadata", "details": {"missing_fields": ["datetime"]}}, "no_date"),
        ({"message": "Picture has invalid metadata", "details": {"error": "x"}}, "invalid_metadata"),
        ({"message": "Picture is located within an excluded area"}, "excluded_area"),
        ({"message": "Impossible to open file as image. The only supported image format is jpg."}, "invalid_file"),
        ({"message": "something new", "details": ["x"]}, "refused"),
    ],
)
def test_reasons(document: Any, reason: str) -> None:
    """A refused picture has a short stable reason for the catalogue, and the server's words for people."""
    error = as_error(Answer(400, {}, json.dumps(document).encode(), URL), asked="send a.jpg", asking="picture")
    assert isinstance(error, Refused)
    assert error.reason == reason
    assert document["message"] in str(error)


def test_ids_of_a_conflict() -> None:
    """What a 409 names becomes part of addresses: only UUIDs pass, in their usual spelling, in pairs, and few."""
    item, there = str(uuid4()), str(uuid4())
    pairs: list[tuple[Any, Any]] = [(item.upper(), f"{{{there}}}"), (item, "../users/me?"), ("", there), (7, None)]
    rows = [{"existing_item_id": one, "upload_set_id": other} for one, other in [*pairs, *[(item, there)] * 1000]]

    def conflict(existing: str) -> Conflict:
        document = {"message": "x", "existing_item": {"id": existing}, "upload_sets": rows}
        error = as_error(Answer(409, {}, json.dumps(document).encode(), URL), asked="x")
        assert isinstance(error, Conflict)
        return error

    assert conflict(item.upper()).existing == item
    assert conflict("../x").existing is None
    assert conflict("\ud800").elsewhere == ((item, there),) * (MOST_COPIES - 3)


def test_words_of_others() -> None:
    """The server's words are repeated short, on one line, without terminal escapes."""
    said = json.dumps({"message": "\x1b[31mred\n" + "x" * 10_000}).encode()
    assert len(str(as_error(Answer(404, {}, said, URL), asked="x"))) < 300
    assert "\x1b" not in str(as_error(Answer(404, {}, said, URL), asked="x"))


# -- a server that misbehaves ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "details", "error"),
    [
        ("html_200", {}, NoLink),
        ("half_json", {}, NoLink),
        ("redirect", {}, NoLink),
        ("redirect", {"location": "/api/auth/login"}, NotLoggedIn),
        ("drop_before", {}, NoLink),
        ("lose_answer", {}, NoLink),
        ("black_hole", {}, NoLink),
        ("wrong_md5", {}, Damaged),
        ("set_vanishes", {}, SetGone),
        ("status", {"code": 413, "early": True}, Refused),
        ("status", {"code": 202, "body": {"picture_id": "../x", "content_md5": "0", "size": "1"}}, UnexpectedAnswer),
        ("status", {"code": 200, "body": {"picture_id": str(uuid4())}}, UnexpectedAnswer),
    ],
)
def test_send_faults(  # noqa: PLR0917
    receiver: Receiver, client: Panoramax, tmp_path: Path, kind: Any, details: dict[str, Any], error: type[AilasdError]
) -> None:
    """A lost, false, foreign or missing answer to a picture is an error, and a POST is never repeated by itself."""
    of = client.create_set(WANTED)
    receiver.fault("send", kind, **details)
    with pytest.raises(error):
        send(client, of, tmp_path)
    assert [request.call for request in receiver.requests].count("send") == 1


def test_portal(receiver: Receiver, client: Panoramax) -> None:
    """A captive portal that answers 200 with a page to everything is ``NoLink`` for every call."""
    receiver.fault("*", "html_200", times=None)
    for ask in (client.who_am_i, client.instance, client.open_sets, lambda: client.create_set(WANTED)):
        with pytest.raises(NoLink, match="login page"):
            ask()


def test_black_hole_is_noticed(receiver: Receiver, client: Panoramax) -> None:
    """Without any progress a call ends after ``no_progress_s``, not later."""
    receiver.fault("who", "black_hole")
    began = time.monotonic()
    with pytest.raises(NoLink, match="silent"):
        client.who_am_i()
    assert time.monotonic() - began < 4


def test_stalled_upload_is_noticed(tmp_path: Path) -> None:
    """A server that accepts the connection but takes no data ends the sending after ``no_progress_s``."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with Panoramax(url, "t", agent="x", no_progress_s=1) as client:
            data, began = os.urandom(16_000_000), time.monotonic()
            of = UploadSet(str(uuid4()), "", "", {}, False, False, False, None, True, True, 0, ())
            with pytest.raises(NoLink, match="stopped taking data"):
                send(client, of, tmp_path, data)
            assert time.monotonic() - began < 10


def test_get_is_repeated_once(receiver: Receiver, client: Panoramax) -> None:
    """A GET into a connection that was just closed is asked again once, and only once."""
    receiver.fault("who", "lose_answer")
    assert client.who_am_i()
    receiver.fault("who", "lose_answer", times=2)
    with pytest.raises(NoLink):
        client.who_am_i()


def test_after_a_pause(receiver: Receiver, client: Panoramax) -> None:
    """After a pause longer than the server keeps idle connections, a POST works at the first attempt."""
    of = client.create_set(WANTED)
    time.sleep(2.1)
    assert client.complete(of.id).completed


def test_read_only(receiver: Receiver, client: Panoramax) -> None:
    """A read-only instance answers 401 to a good token: that is for later, not for a human."""
    receiver.store.read_only = True
    with pytest.raises(ServerTrouble, match="read-only"):
        client.create_set(WANTED)
    assert client.instance().read_only


def test_a_403_is_not_always_the_token(receiver: Receiver, client: Panoramax) -> None:
    """What a good token is refused, looking or changing, is not ours; a token that nobody knows is no login."""
    of = client.create_set(WANTED)
    not_now: Any = {"code": 403, "body": {"message": "Picture is not available (currently in processing)"}}
    receiver.fault("set", "status", times=2, **not_now)
    receiver.fault("complete", "status", **not_now)
    for ask in (client.upload_set, client.complete):
        with pytest.raises(NotOurs):
            ask(of.id)
    with Panoramax(receiver.url, "nobody", agent="x") as stranger, pytest.raises(NotLoggedIn):
        stranger.upload_set(of.id)


def test_a_title_with_odd_spaces(client: Panoramax) -> None:
    """A title that is shown otherwise than it was given is still the one that we asked for."""
    assert client.create_set(SetWanted("RN7\u202f: x  y\t\u200b", {}, {})).title == "RN7 : x y"


@pytest.mark.parametrize("changed", ["visibility", "no_split", "no_deduplication", "metadata"])
def test_echo_is_checked(receiver: Receiver, client: Panoramax, changed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that is not as private or as whole as asked is deleted again, and the server is the wrong one."""
    values: dict[str, Any] = {"visibility": "anyone", "metadata": {}, "no_split": None, "no_deduplication": None}
    create = receiver.store.create
    monkeypatch.setattr(receiver.store, "create", lambda who, asked: create(who, {**asked, changed: values[changed]}))
    with pytest.raises(WrongServer, match=changed):
        client.create_set(WANTED)
    assert receiver.store.sets == {}


def test_public_instance(receiver: Receiver, client: Panoramax) -> None:
    """An instance that does not offer logged-only refuses the set, and a human must look."""
    receiver.store.visibilities.remove("logged-only")
    assert not client.instance().is_private
    with pytest.raises(NeedsHuman, match="not allowed"):
        client.create_set(WANTED)


def test_secrets_stay(receiver: Receiver, tmp_path: Path) -> None:
    """No error shows the token, and the public configuration is asked without it."""
    token = "secret-token-of-nobody"
    errors = []
    with Panoramax(receiver.url, token, agent="x") as client:
        for ask in (client.who_am_i, client.open_sets, lambda: client.create_set(WANTED)):
            with pytest.raises(AilasdError) as caught:
                ask()
            errors.append(caught.value)
        client.instance()  # the receiver would answer 401 to this token
    with pytest.raises(ConfigError) as refused:
        Panoramax(receiver.url, token + "\n", agent="x")
    assert not any(token in repr(error) or "filter" in str(error) for error in [*errors, refused.value])


def test_headers(receiver: Receiver, client: Panoramax, tmp_path: Path) -> None:
    """The trace is sent as X-Request-Id, the agent as User-Agent."""
    send(client, client.create_set(WANTED, trace="card-1"), tmp_path, trace="card-1/p-2")
    assert [(r.call, r.trace, r.agent) for r in receiver.requests] == [
        ("create", "card-1", "ailasd/0 test"),
        ("send", "card-1/p-2", "ailasd/0 test"),
    ]


def test_environment_is_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment are not used."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Panoramax(receiver.url, receiver.token(), agent="x") as client:
        assert client.who_am_i().name == "collector"


@pytest.mark.parametrize("url", ["", "panoramax.example", "ftp://x", "http://", "http://x/?a=b"])
def test_addresses(url: str) -> None:
    """What is no address of a server is a fault of the configuration."""
    with pytest.raises(ConfigError):
        Panoramax(url, "t", agent="x")


# -- raw answers -------------------------------------------------------------------------------------------------------
@contextmanager
def answering(raw: bytes, certificate: Path | None = None, *, again: bytes = b"") -> Iterator[str]:
    """A server that says just this to everybody, over TLS if it has a certificate; ``again``: then this, for ever."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate:
        tls.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with (
                    suppress(OSError),
                    tls.wrap_socket(connection, server_side=True) if certificate else connection as it,
                ):
                    it.recv(65536)
                    it.sendall(raw)
                    while again:
                        time.sleep(0.1)
                        it.sendall(again)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http{'s' if certificate else ''}://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


BOMB = gzip.compress(b" " * (MOST_BODY + 1000))


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", NoLink),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", NoLink),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot gzip", NoLink),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n{}", UnexpectedAnswer),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MOST_BODY + 1000), UnexpectedAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + BOMB, UnexpectedAnswer),
        (b'HTTP/1.1 200 OK\r\n\r\n{"id": "\xff"}', NoLink),
        (b'HTTP/1.1 200 OK\r\n\r\n{"id": "x", "name": "x"}', UnexpectedAnswer),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", UnexpectedAnswer),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", NoLink),
        (b"", NoLink),
    ],
    ids=["ssh", "short", "no-gzip", "brotli", "endless", "bomb", "no-utf8", "no-uuid", "list", "upgrade", "nothing"],
)
def test_raw_answers(raw: bytes, error: type[AilasdError]) -> None:
    """Another protocol, a cut, endless, packed or foreign answer is a clear error."""
    with answering(raw) as url, Panoramax(url, "t", agent="x", no_progress_s=3) as client, pytest.raises(error):
        client.who_am_i()


@pytest.mark.parametrize(
    ("first", "again"),
    [(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), (b"HTTP/1.1 200 OK\r\nX-A: ", b"a")],
    ids=["wait", "header"],
)
def test_a_head_that_never_ends(first: bytes, again: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says "wait" for ever, or drips a header, is given up, though something comes all the time."""
    monkeypatch.setattr(wire, "HEAD_S", 0.5)
    with (
        answering(first, again=again) as url,
        Panoramax(url, "t", agent="x", no_progress_s=3) as client,
        pytest.raises(NoLink, match="silent"),
    ):
        client.who_am_i()


def test_only_the_head_is_hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes behind a head in time may take as long as an answer may."""
    monkeypatch.setattr(wire, "HEAD_S", 0.5)
    body = json.dumps({"id": str(uuid4()), "name": "x"}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) + 10)
    with answering(head + body, again=b" ") as url, Panoramax(url, "t", agent="x", no_progress_s=3) as client:
        began = time.monotonic()
        assert client.who_am_i().name == "x"
        assert time.monotonic() - began > 0.5


def test_a_picture_has_time_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large picture that comes slowly is read to its end; any other answer, and one of no known size, is not."""
    monkeypatch.setattr(answer, "WHOLE_ANSWER_S", 0.3)
    monkeypatch.setattr(answer, "SLOWEST_PICTURE", 4)
    sized = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n\xff\xd8" + b"x" * 8
    with answering(sized, again=b"x") as url, Examiner(url, "t", agent="x", no_progress_s=3) as client:
        assert len(client.picture(str(uuid4()))) == 20
    with (
        answering(sized, again=b"x") as url,
        Examiner(url, "t", agent="x", no_progress_s=3) as client,
        pytest.raises(NoLink, match="slowly"),
    ):
        client.who_am_i()
    with (
        answering(sized.replace(b"Content-Length: 20\r\n", b""), again=b"x") as url,
        Examiner(url, "t", agent="x", no_progress_s=3) as client,
        pytest.raises(NoLink, match="slowly"),
    ):
        client.picture(str(uuid4()))


def test_nothing_behind_the_end_is_kept() -> None:
    """What follows the end of a packed answer, for ever, is not gathered: the answer is given up at once."""
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}")
    began = time.monotonic()
    with (
        answering(packed, again=b"\0" * 65536) as url,
        Panoramax(url, "t", agent="x", no_progress_s=3) as client,
        pytest.raises(NoLink, match="behind its end"),
    ):
        client.who_am_i()
    assert time.monotonic() - began < 2


def test_nobody_there() -> None:
    """A refused connection is ``NoLink``, at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        Panoramax(f"http://127.0.0.1:{port}", "t", agent="x") as client,
        pytest.raises(NoLink, match="no way to the server"),
    ):
        client.who_am_i()


OWN_CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpcNPu95xzO8XX6pg
oeFNHkcn0UaCtuJ8QEXroHyZkr6hRANCAAT1UNLS90Gj12lv+qrohfYcQYl1GL/+
0ZM7wPsebd5neYy7R5lcp2q8egHr2MZiaIcmnvi+y0Aoh63h4GlwjDP1
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBhjCCASygAwIBAgIUebb+cyKa9JLrJpsrk886+4xz6yowCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjIwODQzMjdaGA8yMTI2MTAyOTA4NDMy
N1owDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPVQ
0tL3QaPXaW/6quiF9hxBiXUYv/7RkzvA+x5t3md5jLtHmVynarx6AevYxmJohyae
+L7LQCiHreHgaXCMM/WjZDBiMB0GA1UdDgQWBBThW+Ft1bmGdxo0IUtyko9EQeqn
QTAfBgNVHSMEGDAWgBThW+Ft1bmGdxo0IUtyko9EQeqnQTAPBgNVHRMBAf8EBTAD
AQH/MA8GA1UdEQQIMAaHBH8AAAEwCgYIKoZIzj0EAwIDSAAwRQIgDblBe4PAEaKd
c8zdLDBbvO9FY33vXyMNAXc/FaOlaGYCIQCuEZ1wB7mx1Wr7IM0Vc3rxReUxPIhY
X8Y/J0hXYJdlBw==
-----END CERTIFICATE-----
"""
"""Self-signed for 127.0.0.1 until 2126, made for this test, with its key."""


def test_certificate(tmp_path: Path) -> None:
    """An untrusted certificate is ``NoLink`` and the sentence says so; with ``ca_file`` it is trusted."""
    pem = tmp_path / "own.pem"
    pem.write_text(OWN_CERTIFICATE)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"id": str(uuid4()), "name": "x"}).encode(), pem) as url:
        with Panoramax(url, "t", agent="x") as client, pytest.raises(NoLink, match="certificate"):
            client.who_am_i()
        with Panoramax(url, "t", agent="x", way=Way(ca_file=pem)) as client:
            assert client.who_am_i().name == "x"
    with pytest.raises(ConfigError, match="certificates"):
        Panoramax("https://x", "t", agent="x", way=Way(ca_file=tmp_path / "none.pem"))


# -- the picture as it is sent -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("change", ["shorter", "longer", "other"])
def test_changed_file(receiver: Receiver, client: Panoramax, tmp_path: Path, change: str) -> None:
    """A file that is not what was copied is ``Damaged``, and the server never gets a whole request with it."""
    data = jpeg(seed=1, pad_to=300_000)
    changed = {"shorter": data[:-1], "longer": data + b"x", "other": data[:-1] + bytes([data[-1] ^ 1])}[change]
    of = client.create_set(WANTED)
    with pytest.raises(Damaged):
        send(client, of, tmp_path, changed, size=len(data), md5=hashlib.md5(data).hexdigest())
    assert receiver.holds() == {}
    assert client.listing(of.id) == []


def test_shrinking_while_sent(tmp_path: Path) -> None:
    """A file that becomes shorter while it is sent is ``Damaged``, not a hang."""
    file = tmp_path / "x"
    file.write_bytes(b"x" * 500_000)
    with file.open("rb", buffering=0) as opened:
        blocks = iter(PictureBody(opened, {}, name="a.jpg", size=500_000, md5="0" * 32))
        next(blocks)
        os.truncate(file, 200_000)
        with pytest.raises(Damaged, match="shorter"):
            list(blocks)


def test_missing_file(client: Panoramax, tmp_path: Path) -> None:
    """A copy of ours that cannot be opened is ``Unreadable``."""
    of = client.create_set(WANTED)
    with pytest.raises(Unreadable):
        client.send(of.id, file=tmp_path / "none", name="a.jpg", size=1, md5="0" * 32, picture_id=str(uuid4()))


@pytest.mark.parametrize("name", ["", 'a".jpg', "a\r\nb.jpg", "../a.jpg", "a\\b.jpg"])
def test_names(client: Panoramax, tmp_path: Path, name: str) -> None:
    """A name that could break out of its header is never sent."""
    with pytest.raises(ValueError, match="safe file name"):
        send(client, client.create_set(WANTED), tmp_path, name=name)


def test_memory(receiver: Receiver, client: Panoramax, tmp_path: Path) -> None:
    """Preparing and reading a body of 64 MB takes no memory for it."""
    file = tmp_path / "large"
    with file.open("wb") as made:
        made.truncate(64_000_000)
    md5 = hashlib.file_digest(file.open("rb"), "md5").hexdigest()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with file.open("rb") as opened:
        body = PictureBody(opened, {}, name="a.jpg", size=64_000_000, md5=md5)
        assert sum(map(len, body)) == int(body.headers["Content-Length"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 5_000  # KiB
