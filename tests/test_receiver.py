"""The embedded receiver: what it offers to the tests and the demo beyond being like a Panoramax."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailasd.demo.pictures import jpeg
from ailasd.demo.receiver import MOST_REQUESTS, Receiver
from ailasd.demo.receiver_multipart import CutOffError, parse
from ailasd.errors import NoLink, ServerTrouble
from ailasd.model import Photo, Verdict
from ailasd.panoramax import Panoramax, SetWanted, UploadSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WANTED = SetWanted("drive", {}, {})


def usable(_: bytes) -> Photo:
    return Photo(tags=Verdict.USABLE, server_takes="gps", latitude=-18.9, longitude=47.5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(reader=usable, dispatch_after=None) as made:
        yield made


@pytest.fixture
def client(receiver: Receiver) -> Iterator[Panoramax]:
    with Panoramax(receiver.url, receiver.token(), agent="x", no_progress_s=5) as made:
        yield made


def send(client: Panoramax, of: UploadSet, folder: Path, number: int = 0) -> str:
    """Send a picture of that number; returns its md5."""
    data = b"\xff\xd8 picture %d" % number
    file = folder / str(number)
    file.write_bytes(data)
    md5 = hashlib.md5(data).hexdigest()
    client.send(of.id, file=file, name=f"{number}.jpg", size=len(data), md5=md5, picture_id=str(uuid4()))
    return md5


def test_holds(receiver: Receiver, client: Panoramax, tmp_path: Path) -> None:
    """It knows how many copies of each content it has, and forgets a lost one; bytes received include the envelope."""
    of = client.create_set(WANTED)
    first, second = (send(client, of, tmp_path, number) for number in (1, 2))
    assert receiver.holds() == {first: 1, second: 1}
    receiver.lose_picture(first)
    assert receiver.holds() == {second: 1}
    assert receiver.bytes_received > 2 * len(b"\xff\xd8 picture 1")


def test_away_and_back(receiver: Receiver, client: Panoramax, tmp_path: Path) -> None:
    """While away connections are refused, open ones too; back on the same port nothing is forgotten."""
    of, url = client.create_set(WANTED), receiver.url
    md5 = send(client, of, tmp_path)
    receiver.away()
    receiver.away()
    with pytest.raises(NoLink):
        client.who_am_i()
    receiver.back()
    receiver.back()
    assert receiver.url == url
    assert [row.md5 for row in client.listing(of.id)] == [md5]


def test_close_wakes_what_waits(receiver: Receiver, client: Panoramax) -> None:
    """Closing ends a black hole at once and leaves no thread behind."""
    receiver.fault("who", "black_hole", times=None)
    waiting = threading.Thread(target=ignoring(client.who_am_i))
    waiting.start()
    until = time.monotonic() + 5
    while not receiver.requests:
        assert time.monotonic() < until
        time.sleep(0.01)
    began = time.monotonic()
    receiver.close()
    waiting.join(5)
    assert time.monotonic() - began < 2
    until = time.monotonic() + 2
    while any("process_request" in thread.name or thread.name == "receiver" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)


def ignoring(ask: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        with pytest.raises(NoLink):
            ask()

    return run


def test_faults_in_order(receiver: Receiver, client: Panoramax) -> None:
    """Faults strike in the order they were asked for, as often as asked, only the calls that they match."""
    receiver.fault("who", "status", times=2, code=500)
    receiver.fault("*", "status", times=None, code=503, headers={"Retry-After": "7"})
    for after in (None, None, 7, 7):
        with pytest.raises(ServerTrouble) as trouble:
            client.who_am_i()
        assert trouble.value.after == after
    receiver.clear_faults()
    assert client.who_am_i().name == "collector"


def test_slow(receiver: Receiver, client: Panoramax) -> None:
    """A slow call is answered all the same."""
    receiver.fault("who", "slow", seconds=0.3)
    began = time.monotonic()
    assert client.who_am_i()
    assert time.monotonic() - began >= 0.3


def test_lost_answer_was_done(receiver: Receiver, client: Panoramax, tmp_path: Path) -> None:
    """A lost answer was a done deed; a dropped request was not."""
    of = client.create_set(WANTED)
    receiver.fault("send", "drop_before")
    receiver.fault("send", "lose_answer")
    for number, held in ((1, 0), (2, 1)):
        with pytest.raises(NoLink):
            send(client, of, tmp_path, number)
        assert len(receiver.holds()) == held


def test_dispatch(receiver: Receiver, client: Panoramax, tmp_path: Path) -> None:
    """Nothing is dispatched before completion and worker; then a duplicate is gone, and a broken one mends."""
    of = client.create_set(WANTED)
    receiver.fault("send", "deleted_at_dispatch")
    receiver.fault("send", "breaks")
    gone, broken, good = (send(client, of, tmp_path, number) for number in range(3))
    receiver.dispatch()
    client.complete(of.id)
    assert not client.upload_set(of.id).dispatched
    receiver.dispatch()
    assert receiver.holds() == {broken: 1, good: 1}
    rows = {row.md5: row for row in client.listing(of.id)}
    assert rows[gone].rejected is not None
    sequence = client.upload_set(of.id).collections[0].id
    ids = [rows[md5].picture_id or "" for md5 in (broken, good)]
    assert [client.item_statuses(sequence)[picture].status for picture in ids] == ["broken", "ready"]
    client.prepare(sequence, ids[0])
    assert [client.item_statuses(sequence)[picture].status for picture in ids] == ["ready", "ready"]


def test_requests(receiver: Receiver, client: Panoramax) -> None:
    """The log of requests is bounded and never holds a token."""
    client.who_am_i(trace="t-1")
    (request,) = receiver.requests
    assert (request.call, request.trace, request.status, request.received) == ("who", "t-1", 200, 0)
    assert receiver.requests.maxlen == MOST_REQUESTS
    assert not any(token in repr(request) for token in receiver.store.tokens)


def test_many(receiver: Receiver, client: Panoramax, tmp_path: Path) -> None:
    """Two hundred pictures over one client: each is there once, whatever connections were reused."""
    of = client.create_set(WANTED)
    for number in range(200):
        send(client, of, tmp_path, number)
    assert len(client.listing(of.id)) == 200


def test_real_pictures(tmp_path: Path) -> None:
    """With our own reader: a good picture is taken, one without position or date is not, a damaged one breaks later."""
    whole = jpeg(size=(320, 240), mpo=False)
    with Receiver() as receiver:
        read = receiver.store._reader
        assert read(whole).verdict is Verdict.USABLE
        assert read(jpeg(position=None)).tags is Verdict.NO_POSITION
        assert read(whole[: len(whole) // 2]).damage
        assert read(b"garbage").tags is Verdict.BROKEN


# -- the multipart reader ----------------------------------------------------------------------------------------------
def body(content: bytes, boundary: bytes) -> bytes:
    return (
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="picture_id"\r\n\r\nabc\r\n'
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + content + b"\r\n--" + boundary + b"--\r\n"
    )  # fmt: skip


@given(st.binary(max_size=300), st.integers(1, 70))
def test_multipart(content: bytes, step: int) -> None:
    """Any content comes out as it went in, however the bytes arrive."""
    whole = iter_blocks(body(content, b"bound"), step)
    form = parse(lambda _size: next(whole, b""), 10**6, b"bound")
    assert (form.content, form.size, form.md5) == (content, len(content), hashlib.md5(content).hexdigest())
    assert (form.file_name, form.fields) == ("a.jpg", {"picture_id": "abc"})


@given(st.data())
def test_multipart_cut(data: st.DataObject) -> None:
    """A body that ends before its last boundary is never taken for a whole one."""
    whole = body(b"picture", b"bound")
    cut = iter([whole[: data.draw(st.integers(0, len(whole) - len(b"--\r\n") - 1))]])
    with pytest.raises(CutOffError):
        parse(lambda _size: next(cut, b""), 10**6, b"bound")


def iter_blocks(whole: bytes, step: int) -> Iterator[bytes]:
    return (whole[at : at + step] for at in range(0, len(whole), step))
