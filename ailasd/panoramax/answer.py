"""An answer, read to its end but never further: nobody can make us hold more, or wait longer, than stated here."""

from __future__ import annotations

import json
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ailasd.errors import NoLink, UnexpectedAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx

MOST_BODY: Final = 16 * 1024 * 1024
"""Bytes of an answer, unpacked: a listing of 5 000 rows is 2 MB."""
WHOLE_ANSWER_S: Final = 120.0
"""Seconds to read it: the largest listing, packed, needs 1 KiB/s for that; a server that drips is given up."""
SLOWEST_PICTURE: Final = 16 * 1024
"""Bytes per second below which reading a picture, of 6-12 MB, is given up: the largest answer has 17 minutes then."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: ``headers`` have lower-case names, ``url`` is what was asked, without its query."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    def document(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is not JSON, or half of it, or nested beyond reason.
        """
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def document_of(answer: Answer, asked: str) -> Any:
    """The JSON of an answer with a good status.

    Raises:
        NoLink: it is not JSON, so it does not come from our server.
    """
    try:
        return answer.document()
    except ValueError:
        raise foreign(answer, asked) from None


def foreign(answer: Answer, asked: str) -> NoLink:
    """A good status, but not our server's words: a captive portal answers 200 with a page to anything."""
    return NoLink(
        f"Could not {asked}: the answer ({answer.status}) is not our server's; is there a login page between?"
    )


def read(response: httpx.Response) -> Answer:
    """Read a streamed response.

    Raises:
        UnexpectedAnswer: it is larger than ``MOST_BODY`` or packed in a way that we did not offer.
        NoLink: it takes longer than ``WHOLE_ANSWER_S`` (a picture: than its size allows), or is garbled.
        httpx.HTTPError: the connection failed.
    """
    until = time.monotonic() + _allowed_s(response)
    body = bytearray()
    for block in _unpacked(response):
        body += block
        if len(body) > MOST_BODY:
            raise UnexpectedAnswer(f"The server's answer is longer than {MOST_BODY >> 20} MiB")
        if time.monotonic() > until:
            raise NoLink("The server's answer comes too slowly")
    url = str(response.request.url.copy_with(query=None))
    return Answer(response.status_code, dict(response.headers), bytes(body), url)


def _allowed_s(response: httpx.Response) -> float:
    """More for a picture, which nothing waits for; but only where one was asked for."""
    stated = response.headers.get("content-length", "")
    if "image/" not in response.request.headers["accept"] or not (stated.isascii() and stated.isdigit()):
        return WHOLE_ANSWER_S
    return max(WHOLE_ANSWER_S, min(int(stated[:9]), MOST_BODY) / SLOWEST_PICTURE)


def _unpacked(response: httpx.Response) -> Iterator[bytes]:
    """Unpack by ourselves: httpx would make any number of bytes of one block at once; this makes 16 MiB at most."""
    packing = response.headers.get("content-encoding", "identity").lower()
    if packing == "identity":
        yield from response.iter_raw()
        return
    if packing != "gzip":
        raise UnexpectedAnswer("The server's answer is packed in a way that we did not offer")
    unpack = zlib.decompressobj(wbits=31)  # 31: a gzip stream
    try:
        for block in response.iter_raw():
            yield unpack.decompress(block, MOST_BODY + 1)
            if unpack.unused_data:  # it keeps all that follows, however much
                raise NoLink("The server's answer goes on behind its end")
    except zlib.error as error:
        raise NoLink("The server's answer is garbled") from error
