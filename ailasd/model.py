"""The nouns, frozen. Times are aware UTC unless a name says otherwise; sizes are bytes; angles are degrees (WGS 84)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  (dataclass fields are read at run time by tests and tools)
from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """What a directory entry of a card is to us. Only ``PICTURE`` is copied; the others are counted and reported."""

    PICTURE = "picture"
    VIDEO = "video"
    RAW = "raw"
    SIDECAR = "sidecar"  # .THM .LRV .WAV and the like: the camera's own by-products
    EMPTY = "empty"  # a picture's name, zero bytes
    HIDDEN = "hidden"  # ._x.JPG (AppleDouble), dot files, system folders
    SPECIAL = "special"  # symlink, FIFO, socket, device node: never opened
    UNREADABLE = "unreadable"  # an entry or a whole folder that could not be looked at: pictures may be in it
    TOO_LARGE = "too_large"  # a picture's name, more bytes than any camera writes
    OTHER = "other"

    __hash__ = str.__hash__  # as a key of counts: Enum's own, in Python, is a third of the time of a listing


MAY_BE_PICTURES: Final = (Kind.UNREADABLE, Kind.TOO_LARGE, "read_error")
"""Reasons for leaving something on a card that may be a picture, or many: nobody may think the card safe to clear."""


class Verdict(StrEnum):
    """What the server's own reader would say of a picture (geopic-tag-reader), or that its body is damaged."""

    USABLE = "usable"
    NO_POSITION = "no_position"
    NO_DATE = "no_date"
    BROKEN = "broken"


class State(StrEnum):
    """Where a picture is in its life. What may follow what: ``lifecycle.MAY_BECOME``.

    There is no "found": before its bytes were read a picture has no identity (law 7), so a file that was only seen is a
    fact about the card (``CardFile``), not a picture.
    """

    COPIED = "copied"
    HELD = "held"
    QUEUED = "queued"
    SENT = "sent"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    CLEANED = "cleaned"


@dataclass(frozen=True, slots=True)
class Card:
    """A card, or a folder that looks like one. Nothing in here ever becomes part of a path of ours.

    Attributes:
        identity: our name for it: stable over re-insertion, different for different media.
        label: what to call it before people.
        camera_serial: of the camera that formatted it (``MISC/version.txt``), if known.
        by_content: another medium may have the same identity (a copied file system, the next card in the same camera,
            the same card formatted anew): they are told apart by the pictures on them.
    """

    identity: str
    label: str
    camera_serial: str | None = None
    camera_model: str | None = None
    by_content: bool = False


class CardFile(NamedTuple):
    r"""One directory entry of a card. A tuple, since 100 000 of them are made three times as fast as of a dataclass.

    Attributes:
        path: relative to the card, printable and reversible: control characters, backslashes and bytes that are no
            UTF-8 are written as ``\xNN``; so it can be stored, logged and shown as it is.
        mtime_ns: as the file system tells it.
    """

    path: str
    size: int
    mtime_ns: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Photo:
    """What a JPEG says about itself (``photo.read``). Texts are stripped, printable and at most 64 characters long.

    Attributes:
        tags: the verdict of the server's own reader on the metadata alone.
        damage: what is wrong with the body, or None: a sentence.
        problem: why ``tags`` is not usable, in the words of a person.
        camera_time: DateTimeOriginal with sub-seconds; aware if the picture tells its offset, else naive local time.
        gps_time: the satellite clock, aware UTC.
        server_takes: which of the two clocks the server would store: "camera", "gps" or None.
        heading: GPSImgDirection or GPSTrack.
        upside_down: the camera hung upside down and did not turn the picture itself.
        group: the recording's number in a GoPro's own path (``G012....JPG`` in ImageDescription): "012", or None.
    """

    tags: Verdict
    damage: str | None = None
    problem: str | None = None
    make: str | None = None
    model: str | None = None
    serial: str | None = None
    group: str | None = None
    camera_time: datetime | None = None
    gps_time: datetime | None = None
    server_takes: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude: float | None = None
    heading: float | None = None
    width: int | None = None
    height: int | None = None
    orientation: int = 1
    upside_down: bool = False

    @property
    def verdict(self) -> Verdict:
        """BROKEN if the body is damaged, else what the tags allow."""
        return Verdict.BROKEN if self.damage else self.tags

    @property
    def camera(self) -> str:
        """What tells one camera from another: the serial, else make and model, else "unknown"."""
        if self.serial:
            return self.serial
        return " ".join(part for part in (self.make, self.model) if part) or "unknown"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's row, as the steps that send, confirm and clean need it.

    Attributes:
        copy: our own copy, relative to the storage folder; None once it is cleaned.
        captured: UTC, the best truth; None if nobody knows.
        capture_override: ISO 8601 with offset, to be sent along; None: the server reads the right time itself.
        position_override: (latitude, longitude) to be sent along.
        position_from: how that was found: "interpolated" between the camera's own, or "gpx", from a track.
        asked: it was sent before, and the answer was lost or an error: look whether the server has it before sending.
        faults: how many of the attempts our server itself answered with an error.
        upload_set: where its proof lies: our sequence's set, or the one that had the same bytes before.
    """

    id: int
    md5: str
    size: int
    state: State
    reason: str | None
    trace: str
    name: str
    copy: str | None
    drive: int | None
    sequence: int | None
    captured: datetime | None
    capture_override: str | None
    position_override: tuple[float, float] | None
    position_from: str | None
    asked: bool
    attempts: int
    faults: int
    renames: int
    losses: int
    repairs: int
    upload_set: str | None
    server_id: str | None


@dataclass(frozen=True, slots=True)
class Sequence:
    """A drive, or a bounded part of one, as the server gets it: one upload set.

    Attributes:
        uid: our own id; travels in the set's metadata.
        asked: whether its creation was asked for before, so that it may exist though we have no answer.
        completed: the server was told that all is there, and nothing was sent since.
        to_publish: how many pictures the set held when the server was last asked to publish it; 0: never.
        all_sent: nothing of its pass can still be sent right away: of the thin one until that was published, then of
            the whole.
    """

    id: int
    uid: str
    drive: int
    part: int
    title: str
    camera: str
    card: str | None
    asked: bool
    upload_set: str | None
    completed: bool
    to_publish: int
    all_sent: bool
    pictures: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Round:
    """How a step's round went.

    Attributes:
        worked: it changed something, so that the step after it has something to do.
        again_in: seconds until it wants to be run again, if sooner than its interval.
    """

    worked: bool
    again_in: float | None = None
