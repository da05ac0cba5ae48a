"""What an answer of the server may become: frozen values, every field of which was checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from ailasd.errors import UnexpectedAnswer

VISIBILITY: Final = "logged-only"
"""Everything that ailasd uploads is visible to people who are logged in to the instance, and to nobody else."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose token it is."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Instance:
    """What the instance offers and calls itself, from ``/api/configuration``."""

    visibilities: tuple[str, ...]
    read_only: bool
    name: str
    version: str

    @property
    def is_private(self) -> bool:
        """It can keep pictures among people who are logged in: the only kind of instance that may have ours."""
        return VISIBILITY in self.visibilities


@dataclass(frozen=True, slots=True)
class SetWanted:
    """An upload set to open. It is always ``logged-only``, never split and never thinned out by the server.

    It has no estimated number of files: with one the server completes the set by itself, and if ours is said while its
    worker is at that, the two lock each other out in the database until the statement time-out (five minutes, seen on
    2.15.1).

    Attributes:
        metadata: any JSON object; the server gives it back with the set and in the list of sets.
        semantics: tags that the server copies to each sequence, as ``{"transport": "car"}``.
    """

    title: str
    metadata: dict[str, Any]
    semantics: dict[str, str]


@dataclass(frozen=True, slots=True)
class Collection:
    """A sequence that the server made of a set. ``href`` is where the server itself says it lies (JSON), if it does."""

    id: str
    href: str | None


@dataclass(frozen=True, slots=True)
class UploadSet:
    """An upload set as the server tells it.

    ``ready`` and ``dispatched`` are stale after pictures were added to a set that was dispatched before, and ``ready``
    is true with broken pictures too: neither proves anything about a picture.

    Attributes:
        account_id: whose set it is. Anybody but the owner sees a listing without picture ids.
        pictures: how many it holds.
    """

    id: str
    account_id: str
    title: str
    metadata: dict[str, Any]
    completed: bool
    dispatched: bool
    ready: bool
    visibility: str | None
    no_split: bool
    no_deduplication: bool
    pictures: int
    collections: tuple[Collection, ...]

    @property
    def is_private_and_whole(self) -> bool:
        """Nobody who is not logged in sees it, and the server neither splits nor thins it: the only kind we use."""
        return self.visibility == VISIBILITY and self.no_split and self.no_deduplication


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why the server does not keep a file: its word (``file_duplicate``, ``capture_duplicate``, ...) and sentence."""

    reason: str
    severity: str
    message: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of a set's listing. md5 and size are of the bytes that the server received.

    md5 and size are None for a file that was turned away by its name alone.
    """

    file_name: str
    md5: str | None
    size: int | None
    picture_id: str | None
    rejected: Rejected | None
    inserted: datetime

    @property
    def is_held(self) -> bool:
        """The server says that it has this picture. With neither id nor rejection it was deleted later."""
        return self.picture_id is not None and self.rejected is None


@dataclass(frozen=True, slots=True)
class Received:
    """The receipt for one picture: the id under which it is kept, and what arrived."""

    picture_id: str
    md5: str
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class ItemStatus:
    """How far the server is with a picture: ``ready``, ``broken`` (then with the error), or a word for "not yet".

    ``errors``: how many times processing it failed; it stays ``broken`` while another try waits for its turn.
    """

    id: str
    status: str
    process_error: str | None
    errors: int | None = None

    @property
    def is_ready(self) -> bool:
        """It was decoded and published."""
        return self.status == "ready"

    @property
    def is_broken(self) -> bool:
        """It could not be decoded or published."""
        return self.status == "broken"


# -- from JSON ---------------------------------------------------------------------------------------------------------
MOST_TEXT: Final = 2000
"""Characters of one text: titles and names have tens, a sentence of the server's hundreds."""
MOST_NUMBER: Final = 2**63
"""From here on SQLite has no place for it; and no file is so large."""

_MD5: Final = re.compile(r"[0-9a-f]{32}")


def plain(text: str, most: int = MOST_TEXT) -> str:
    """Words of others, on one line, printable (so also encodable) and short."""
    shown = "".join(c for c in text[: 4 * most] if c.isprintable() or c.isspace())
    return " ".join(shown.split())[:most]


def as_uuid(text: object) -> str | None:
    """An id in its usual spelling, or None. It will be part of addresses, so nothing but a UUID passes."""
    try:
        return str(UUID(text)) if isinstance(text, str) else None
    except ValueError:
        return None


class Fields:
    """A JSON object of which each field is checked as it is read; a wrong one raises ``UnexpectedAnswer``."""

    def __init__(self, document: object, asked: str) -> None:
        if not isinstance(document, dict):
            raise UnexpectedAnswer(f"Could not {asked}: the answer holds {_kind(document)} where an object should be")
        self._document: dict[str, Any] = document
        self._asked = asked

    def _is(self, key: str, wanted: type, value: object) -> Any:
        # bool is a kind of int in Python, but not in JSON
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise UnexpectedAnswer(f"Could not {self._asked}: {key!r} is {_kind(value)}, not {wanted.__name__}")
        return value

    def text(self, key: str) -> str:
        """A text that must be there, for people: as much of it as is ``plain``."""
        return plain(self._is(key, str, self._document.get(key)))

    def word(self, key: str) -> str:
        """A text that must be there, for us: as it is, or none of our server's."""
        value: str = self._is(key, str, self._document.get(key))
        if len(value) > MOST_TEXT or not value.isascii() or not value.isprintable():
            raise UnexpectedAnswer(f"Could not {self._asked}: {key!r} is no word")
        return value

    def flag(self, key: str) -> bool:
        """True or false; false if absent, as the server leaves out what is not set."""
        value: bool = self._is(key, bool, self._document.get(key)) if key in self else False
        return value

    def number(self, key: str) -> int:
        """A whole number of things, or of bytes, that must be there."""
        value: int = self._is(key, int, self._document.get(key))
        if not 0 <= value < MOST_NUMBER:
            raise UnexpectedAnswer(f"Could not {self._asked}: {key!r} is out of range")
        return value

    def uuid(self, key: str) -> str:
        """See ``as_uuid``."""
        if (value := as_uuid(self.word(key))) is None:
            raise UnexpectedAnswer(f"Could not {self._asked}: {key!r} is no UUID")
        return value

    def md5(self, key: str) -> str:
        """Thirty-two hexadecimal digits."""
        value = self.word(key)
        if not _MD5.fullmatch(value):
            raise UnexpectedAnswer(f"Could not {self._asked}: {key!r} is no md5")
        return value

    def moment(self, key: str) -> datetime:
        """An instant with its offset, as UTC."""
        try:
            moment = datetime.fromisoformat(self.word(key))
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise UnexpectedAnswer(f"Could not {self._asked}: {key!r} is no instant")

    def object(self, key: str) -> dict[str, Any]:
        """An object; empty if absent or null."""
        value: dict[str, Any] = self._is(key, dict, self._document.get(key)) if key in self else {}
        return value

    def fields(self, key: str) -> Fields:
        """The object under this key, to be read in the same way."""
        return Fields(self.object(key), self._asked)

    def rows(self, key: str) -> list[Fields]:
        """The objects of a list that must be there."""
        return [Fields(row, self._asked) for row in self._is(key, list, self._document.get(key))]

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts of a list that must be there."""
        return tuple(self._is(key, str, text) for text in self._is(key, list, self._document.get(key)))

    def __contains__(self, key: str) -> bool:
        return self._document.get(key) is not None


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def as_upload_set(fields: Fields) -> UploadSet:
    """An upload set from the object that GET, POST and the list of sets give alike."""
    return UploadSet(
        id=fields.uuid("id"),
        account_id=fields.uuid("account_id"),
        title=fields.text("title"),
        metadata=fields.object("metadata"),
        completed=fields.flag("completed"),
        dispatched=fields.flag("dispatched"),
        ready=fields.flag("ready"),
        visibility=fields.word("visibility") if "visibility" in fields else None,
        no_split=fields.flag("no_split"),
        no_deduplication=fields.flag("no_deduplication"),
        pictures=fields.number("nb_items"),
        collections=tuple(_as_collection(row) for row in fields.rows("associated_collections")),
    )


def _as_collection(fields: Fields) -> Collection:
    links = fields.rows("links") if "links" in fields else []
    itself = [link.text("href") for link in links if link.text("rel") == "self"]
    return Collection(id=fields.uuid("id"), href=itself[0] if itself else None)


def as_listed(fields: Fields) -> Listed:
    """One row of a listing."""
    return Listed(
        file_name=fields.text("file_name"),
        md5=fields.md5("content_md5") if "content_md5" in fields else None,
        size=fields.number("size") if "size" in fields else None,
        picture_id=fields.uuid("picture_id") if "picture_id" in fields else None,
        rejected=_as_rejected(fields.fields("rejected")) if "rejected" in fields else None,
        inserted=fields.moment("inserted_at"),
    )


def _as_rejected(fields: Fields) -> Rejected:
    return Rejected(
        reason=fields.text("reason"),
        severity=fields.text("severity"),
        message=fields.text("message") if "message" in fields else "",
        details=fields.object("details"),
    )


def as_item_status(fields: Fields) -> ItemStatus:
    """One item of a collection's status."""
    return ItemStatus(
        id=fields.uuid("id"),
        status=fields.word("status"),
        process_error=fields.text("process_error") if "process_error" in fields else None,
        errors=fields.number("nb_errors") if "nb_errors" in fields else None,
    )
