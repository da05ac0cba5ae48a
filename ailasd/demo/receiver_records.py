"""What the embedded receiver remembers, and how a Panoramax tells it: its rows and its JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
Position = tuple[float, float]
"""Latitude, longitude, in degrees."""


class AnswerError(Exception):
    """An answer other than the good one: its status and its JSON, or the server's own HTML page if that is None."""

    def __init__(self, status: int, message: str | None = None, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.document = None if message is None else {**more, "message": message, "status_code": status}


@dataclass(slots=True)
class Account:
    """A person or a kit."""

    id: str
    name: str


@dataclass(slots=True)
class File:
    """One row of a set's listing. ``picture_id`` is None if there is no picture (any more)."""

    name: str
    inserted: str
    md5: str | None = None
    size: int | None = None
    picture_id: str | None = None
    rejected: Document | None = None


@dataclass(slots=True)
class Picture:
    """A picture that was accepted: what the receiver remembers of it. ``errors``: how often processing it failed."""

    id: str
    set_id: str
    md5: str
    damage: str | None
    mended_by_prepare: bool
    position: Position
    gone_at_dispatch: bool
    errors: int = 0


@dataclass(slots=True)
class UploadSet:
    """An upload set with its listing by file name, in the order of arrival."""

    id: str
    owner: Account
    created: str
    asked: Document
    files: dict[str, File] = field(default_factory=dict)
    completed: bool = False
    dispatched: bool = False
    waiting_since: float | None = None
    collection: str | None = None
    sequence: list[str] = field(default_factory=list)


def describe(found: UploadSet) -> Document:
    """The set as GET, POST and the list of sets tell it."""
    asked, held = found.asked, [file for file in found.files.values() if file.picture_id]
    sequence: Document = {"id": found.collection, "nb_items": len(found.sequence), "ready": True, "links": []}
    return {
        "id": found.id,
        "created_at": found.created,
        "completed": found.completed,
        "dispatched": found.dispatched,
        "account_id": found.owner.id,
        "title": asked["title"],
        **{key: asked[key] for key in ("no_split", "no_deduplication") if asked.get(key)},
        "metadata": asked.get("metadata"),
        "associated_collections": [sequence] if found.collection else [],
        "nb_items": len(held),
        "semantics": asked.get("semantics", []),
        "visibility": asked["visibility"],
        "links": [],
        "ready": found.dispatched,
    }


def describe_file(found: UploadSet, file: File, *, as_owner: bool) -> Document:
    """A row of the listing: anybody may read it, but only the owner sees picture ids."""
    row = {
        "picture_id": file.picture_id if as_owner else None,
        "file_name": file.name,
        "content_md5": file.md5,
        "inserted_at": file.inserted,
        "file_type": "picture",
        "size": file.size,
        "links": [{"rel": "parent", "type": "application/json", "href": f"/api/upload_sets/{found.id}"}],
        "rejected": file.rejected,
    }
    return {key: value for key, value in row.items() if value is not None}
