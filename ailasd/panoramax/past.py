"""All upload sets of an account, however many: what a kit asks for that lost its catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ailasd.errors import SetGone
from ailasd.panoramax.client import MOST_SETS
from ailasd.panoramax.values import Fields, as_upload_set, as_uuid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ailasd.panoramax.client import Panoramax
    from ailasd.panoramax.values import UploadSet

_ASKED: Final = "list all our upload sets"


def all_sets(server: Panoramax, account_id: str, *, most: int = MOST_SETS) -> Iterator[UploadSet | None]:
    """Every set of this account, which must be the token's, once; open ones too.

    The server lists the ``most`` oldest sets, without a way to ask for the next. Those behind them are found by their
    sequences, which have pages: one more request for each. (Open sets behind them have no sequence, and are few.)
    None: a sequence led to nothing new, so that who goes on can stop between any two requests.
    """
    listed = _listed(server, "completed = TRUE OR completed = FALSE", most)
    yield from listed
    if len(listed) < most:
        return
    known = {one.id for one in listed}
    for one in _listed(server, "completed = FALSE", MOST_SETS):
        if one.id not in known:
            known.add(one.id)
            yield one
    for collection in _sequences(server, account_id, most):
        set_id = _set_of(server, collection)
        if set_id is None or set_id in known:
            yield None
            continue
        known.add(set_id)
        try:
            yield server.upload_set(set_id)
        except SetGone:  # by now
            yield None


def _listed(server: Panoramax, condition: str, most: int) -> list[UploadSet]:
    path = f"/api/users/me/upload_sets?filter={quote(condition)}&limit={most}"
    document = server._json("GET", path, _ASKED)  # noqa: SLF001  (the one way out of this package)
    return [as_upload_set(row) for row in Fields(document, _ASKED).rows("upload_sets")]


def _sequences(server: Panoramax, account_id: str, most: int) -> Iterator[str]:
    """Ids of all sequences of the account, the newest first, page by page."""
    path = f"/api/users/{account_id}/collection?limit={most}&sortby=-created"
    before, last = "", None
    while True:
        try:
            document = server._json("GET", path + before, _ASKED)  # noqa: SLF001
        except SetGone:  # the page behind the last one
            return
        children = [link for link in Fields(document, _ASKED).rows("links") if link.text("rel") == "child"]
        yield from (child.uuid("id") for child in children)
        if len(children) < most:
            return
        made = children[-1].moment("created")
        if last is not None and made >= last:  # a server that does not know the filter gives the same page for ever
            return
        last = made
        before = "&filter=" + quote(f"created < '{made.isoformat()}'", safe="")


def _set_of(server: Panoramax, collection: str) -> str | None:
    """The upload set of a sequence, or None: it was made in another way, or is gone by now."""
    asked = f"read sequence {collection}"
    try:
        document = server._json("GET", f"/api/collections/{collection}", asked)  # noqa: SLF001
    except SetGone:
        return None
    for link in Fields(document, asked).rows("links"):
        last = link.text("href").partition("?")[0].rpartition("/")[2] if link.text("rel") == "upload_set" else None
        if found := as_uuid(last):
            return found
    return None
