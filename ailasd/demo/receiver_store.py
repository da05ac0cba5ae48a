"""What a private Panoramax knows and decides, in memory: the rules of the embedded receiver, without HTTP.

Each rule, status and sentence was observed on a real Panoramax 2.15.1, and the contract suite holds it there. Left out,
because ailasd never asks for it: splitting into sequences, PATCH, search, tiles, images.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from ailasd.demo.receiver_records import (
    Account,
    AnswerError,
    Document,
    File,
    Picture,
    Position,
    UploadSet,
    describe,
    describe_file,
)
from ailasd.demo.receiver_tokens import Tokens
from ailasd.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ailasd.demo.receiver_multipart import Form
    from ailasd.model import Photo

Box = tuple[float, float, float, float]
"""West, south, east, north, in degrees."""


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Store:
    """Everything that the receiver remembers. One lock: a request is decided as a whole."""

    def __init__(self, *, reader: Callable[[bytes], Photo], dispatch_after: float | None) -> None:
        """Start empty.

        Args:
            reader: the verdict on a picture, as the server's own reader would give it.
            dispatch_after: seconds from completion to dispatch; None: only when ``dispatch`` is called.
        """
        self.lock = threading.RLock()
        self.name = "ailasd demo"
        self.tokens = Tokens()
        self.visibilities = ["anyone", "logged-only", "owner-only"]
        self.read_only = False
        self.sets: dict[str, UploadSet] = {}
        self.pictures: dict[str, Picture] = {}
        self.excluded: list[Box] = []
        self.kept: dict[str, bytes] | None = None  # picture id -> what it shows; None: nothing is kept
        self.reports: list[dict[str, str]] = []  # open ones, of whoever asks
        self.blur: Callable[[bytes], bytes] = bytes  # what becomes of a picture before it is kept
        self._reader = reader
        self._dispatch_after = dispatch_after
        self._by_md5: dict[str, dict[str, str]] = {}  # md5 -> {picture id: set id}

    # -- what it decides ---------------------------------------------------------------------------------------------
    def create(self, owner: Account, asked: Document) -> Document:
        """Open an upload set. What it does not know it ignores; the echo has no semantics yet, as the real one's."""
        if "user_agent" in asked:
            raise AnswerError(500)
        if not isinstance(asked.get("title"), str):
            raise AnswerError(400, "Impossible to create an UploadSet", details=[{"fields": ["title"]}])
        if asked.get("no_split") and asked.keys() & {"split_distance", "split_time"}:
            raise AnswerError(400, "The `no_split` parameter is incompatible with `split_distance` / `split_duration`")
        visibility = asked.get("visibility", "logged-only")
        if visibility not in ("anyone", "logged-only", "owner-only"):
            raise AnswerError(400, "Impossible to create an UploadSet", details=[{"fields": ["visibility"]}])
        if visibility not in self.visibilities:
            raise AnswerError(400, f"The {visibility} visibility is not allowed on this instance")
        made = UploadSet(str(uuid4()), owner, _now(), {**asked, "visibility": visibility})
        self.sets[made.id] = made
        return {**describe(made), "semantics": []}

    def find(self, set_id: str, asker: Account | None) -> UploadSet:
        """The set, if the asker may see it: ``logged-only`` is 404 for strangers."""
        found = self.sets.get(set_id)
        if found is None or (asker is None and found.asked["visibility"] != "anyone"):
            raise AnswerError(404, "UploadSet doesn't exist")
        return found

    def find_own(self, set_id: str, asker: Account, to: str) -> UploadSet:
        """The set, if it is the asker's own."""
        found = self.sets.get(set_id)
        if found is None:
            raise AnswerError(404, f"UploadSet {set_id} does not exist")
        if found.owner is not asker:
            raise AnswerError(403, f"You're not authorized to {to} this upload set")
        return found

    def complete(self, found: UploadSet) -> Document:
        """All pictures are there, says the sender. The answer tells the state from before the next dispatch."""
        found.completed = True
        if found.waiting_since is None:
            found.waiting_since = time.monotonic()
        return describe(found)

    def delete(self, found: UploadSet) -> None:
        """The set and all its pictures are gone, and their contents may be sent again."""
        for file in found.files.values():
            self._forget(file)
        del self.sets[found.id]

    def lose(self, picture_id: str) -> None:
        """The picture was deleted later: its row has neither picture nor rejection."""
        with self.lock:
            for file in self.sets[self.pictures[picture_id].set_id].files.values():
                if file.picture_id == picture_id:
                    self._forget(file)

    def _forget(self, file: File) -> None:
        if file.picture_id is None:
            return
        picture = self.pictures.pop(file.picture_id)
        file.picture_id = None
        copies = self._by_md5[picture.md5]
        del copies[picture.id]
        if not copies:
            del self._by_md5[picture.md5]

    def receive(self, found: UploadSet, form: Form, *, breaks: bool = False, deleted_later: bool = False) -> Document:
        """One picture, judged in the real server's order: name, parameters, same bytes, metadata, id, name taken.

        Args:
            found: the set.
            form: what was sent.
            breaks: processing will fail until it is prepared again, though the picture is good.
            deleted_later: it will be taken for a duplicate and deleted at dispatch.
        """
        if not form.has_file:
            raise AnswerError(400, "No file was sent")
        file = File(form.file_name.rpartition("/")[2], _now())
        if not file.name.lower().endswith((".jpg", ".jpeg")):
            raise self._rejected(
                found, file, "invalid_file", "Picture file is in an unsupported format (should be jpg)"
            )
        file.md5, file.size = form.md5, form.size
        picture_id = _uuid(form.fields.get("picture_id"))
        self._refuse_same_bytes(found, file)
        position, damage = self._judged(found, file, form)
        if picture_id in self.pictures:
            raise self._rejected(found, file, "id_conflict", "A picture with the same ID already exists", status=409)
        file.picture_id = picture_id
        self._insert(found, file)
        damage = "the worker was interrupted" if breaks else damage
        self.pictures[picture_id] = Picture(
            picture_id, found.id, form.md5, damage, breaks, position, deleted_later, errors=int(bool(damage))
        )
        if self.kept is not None:
            self.kept[picture_id] = self.blur(form.content)
        self._by_md5.setdefault(form.md5, {})[picture_id] = found.id
        self._count(found)
        return describe_file(found, file, as_owner=True)

    def _refuse_same_bytes(self, found: UploadSet, file: File) -> None:
        copies = self._by_md5.get(file.md5 or "", {})
        for picture_id, set_id in copies.items():
            if set_id == found.id:
                existing = {"id": picture_id}
                raise AnswerError(409, "The item has already been added to this upload set", existing_item=existing)
        if copies:
            sets = [{"existing_item_id": picture, "upload_set_id": set_id} for picture, set_id in copies.items()]
            said = "The same picture has already been sent in a past upload"
            raise self._rejected(found, file, "file_duplicate", said, status=409, payload={"upload_sets": sets})

    def _judged(self, found: UploadSet, file: File, form: Form) -> tuple[Position, str | None]:
        """Where it was taken, after the overrides, and the damage further down, which passes here and breaks later."""
        photo = self._reader(form.content)
        if not form.content.startswith(b"\xff\xd8"):
            said = "Impossible to open file as image. The only supported image format is jpg."
            raise self._rejected(found, file, "invalid_file", said)
        if photo.tags is Verdict.BROKEN:
            raise self._unusable(found, file, photo.problem or "broken metadata", [])
        position = _position(photo, form)
        has_date = photo.server_takes is not None or "override_capture_time" in form.fields
        missing = [name for name, there in (("datetime", has_date), ("location", position)) if not there]
        if position is None or missing:
            raise self._unusable(found, file, photo.problem or "missing mandatory metadata", missing)
        if self._excluded(*position):
            raise self._rejected(found, file, "in_excluded_area", "Picture is located within an excluded area")
        return position, photo.damage

    def _excluded(self, latitude: float, longitude: float) -> bool:
        return any(w <= longitude <= e and s <= latitude <= n for w, s, e, n in self.excluded)

    @contextmanager
    def excluded_area(self, west: float, south: float, east: float, north: float) -> Iterator[None]:
        """Nobody may upload pictures from within this box as long as the context lasts."""
        box = (west, south, east, north)
        self.excluded.append(box)
        try:
            yield
        finally:
            self.excluded.remove(box)

    def _unusable(self, found: UploadSet, file: File, error: str, missing: list[str]) -> AnswerError:
        details = {"missing_fields": missing} if missing else {}
        self._rejected(found, file, "invalid_metadata", error, details=details)
        return AnswerError(400, "Impossible to parse picture metadata", details={"error": error, **details})

    def _rejected(
        self,
        found: UploadSet,
        file: File,
        reason: str,
        said: str,
        *,
        status: int = 400,
        details: Document | None = None,
        payload: Document | None = None,
    ) -> AnswerError:
        """The answer for a file that is not kept, but listed with the reason."""
        file.rejected = {
            "reason": reason,
            "severity": "error",
            "message": said,
            **({"details": details} if details else {}),
        }
        self._insert(found, file)
        self._count(found)
        return AnswerError(status, said, **(payload or {}))

    def _insert(self, found: UploadSet, file: File) -> None:
        """A name that holds a picture is taken; a rejected one may be used again."""
        before = found.files.get(file.name)
        if before is not None and before.picture_id is not None:
            said = "A different picture with the same name has already been added to this uploadset"
            raise AnswerError(409, said, existing_item={"id": before.picture_id})
        found.files[file.name] = file

    def _count(self, found: UploadSet) -> None:
        """A file opens a completed set again; its dispatch, if it waits for one, goes on with what is there by then."""
        found.completed = False

    # -- the worker --------------------------------------------------------------------------------------------------
    def work(self) -> None:
        """Dispatch what has waited long enough."""
        if self._dispatch_after is None:
            return
        until = time.monotonic() - self._dispatch_after
        for found in self.sets.values():
            if found.waiting_since is not None and found.waiting_since <= until:
                self._dispatch(found)

    def dispatch(self) -> None:
        """Dispatch every completed set now."""
        with self.lock:
            for found in self.sets.values():
                if found.waiting_since is not None:
                    self._dispatch(found)

    def _dispatch(self, found: UploadSet) -> None:
        before: Picture | None = None
        for file in found.files.values():
            picture = self.pictures.get(file.picture_id or "")
            if picture is None:
                continue
            if picture.gone_at_dispatch or (not found.asked.get("no_deduplication") and _same_place(before, picture)):
                said = "The picture is too similar to another one (nearby and taken almost at the same time)"
                file.rejected = {"reason": "capture_duplicate", "severity": "info", "message": said}
                self._forget(file)
            else:
                before = picture
        sequence = [file.picture_id for file in found.files.values() if file.picture_id]
        if set(sequence) - set(found.sequence):
            # The real server keeps the old sequence only if its first picture stays the first; this is the worse case.
            found.collection = str(uuid4())
        found.sequence = sequence
        found.dispatched, found.waiting_since = True, None

    def statuses(self, collection: str, asker: Account | None) -> Document:
        """How far each picture of a sequence is."""
        found = next((s for s in self.sets.values() if s.collection == collection), None)
        if found is None or (asker is None and found.asked["visibility"] != "anyone"):
            raise AnswerError(404, "Sequence doesn't exist")
        kept = [self.pictures[picture] for picture in found.sequence if picture in self.pictures]
        items = [
            {
                "id": p.id,
                "rank": rank,
                "status": "broken" if p.damage else "ready",
                "processing_in_progress": False,
                "nb_errors": p.errors,
                **({"process_error": p.damage} if p.damage else {}),
            }
            for rank, p in enumerate(kept, 1)
        ]
        return {"status": "ready", "items": items}

    def collections(self, asker: Account | None) -> list[str]:
        """The sequences that the asker may see."""
        return [
            one.collection
            for one in self.sets.values()
            if one.collection and (asker or one.asked["visibility"] == "anyone")
        ]

    def image(self, picture_id: str, asker: Account | None) -> bytes:
        """What a picture shows, if it was kept; there is none before its dispatch, nor for strangers."""
        picture = self.pictures.get(picture_id)
        found = self.sets[picture.set_id] if picture else None
        if found is None or not found.dispatched or (asker is None and found.asked["visibility"] != "anyone"):
            raise AnswerError(404, "Picture can't be found, you may check its ID")
        return (self.kept or {}).get(picture_id, b"\xff\xd8\xff\xd9")

    def prepare(self, collection: str, picture_id: str, asker: Account | None) -> None:
        """Process a picture again: helps if not the picture was the trouble."""
        picture = self.pictures.get(picture_id)
        if asker is None or picture is None or self.sets[picture.set_id].collection != collection:
            raise AnswerError(404, f"Picture {picture_id} wasn't found in database")
        if picture.mended_by_prepare:
            picture.damage = None
        picture.errors += bool(picture.damage)

    # -- what it tells -----------------------------------------------------------------------------------------------
    def holds(self) -> dict[str, int]:
        """How many copies of each content were accepted, by md5."""
        with self.lock:
            return {md5: len(copies) for md5, copies in self._by_md5.items()}

    def picture_of(self, md5: str) -> str:
        """The id of the (first) picture with this content."""
        return next(iter(self._by_md5[md5]))


def _uuid(text: str | None) -> str:
    try:
        return str(uuid4() if text is None else UUID(text))
    except ValueError:
        raise AnswerError(400, "Impossible to parse parameters", details=[{"fields": ["picture_id"]}]) from None


def _position(photo: Photo, form: Form) -> Position | None:
    if "override_latitude" in form.fields:
        return float(form.fields["override_latitude"]), float(form.fields["override_longitude"])
    if photo.tags is Verdict.NO_POSITION or photo.latitude is None or photo.longitude is None:
        return None
    return photo.latitude, photo.longitude


def _same_place(one: Picture | None, other: Picture) -> bool:
    """Within a metre (1e-5 degrees), the real server's default."""
    return one is not None and all(abs(a - b) < 1e-5 for a, b in zip(one.position, other.position, strict=True))
