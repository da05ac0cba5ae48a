"""What ailasd tells: one list of events, as JSON lines for support and as sentences for everybody.

``record(Event.CARD_SEEN, card=..., folder=...)`` writes one line; ``say`` makes the sentence of the same event from the
same values. Names of events and of their fields are stable: people search for them.

Two things never get out, however deep in a value or a traceback they sit: the token, and the position of a picture.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import string
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from contextlib import AbstractContextManager

    Line = MutableMapping[str, Any]


class Event(StrEnum):
    """Everything that is ever told: its name, how loud it is, and its sentence, whose fields each record must have.

    ``error`` means that a person must act, ``warning`` that something is not as it should be but goes on by itself.
    A field that ends in ``_s`` is in seconds, one that ends in ``bytes`` in bytes.
    """

    level: str
    sentence: str

    def __new__(cls, name: str, sentence: str, level: str = "info") -> Self:
        """Called once for each line of the list below."""
        member = str.__new__(cls, name)
        member._value_, member.level, member.sentence = name, level, sentence
        return member

    @classmethod
    def named(cls, name: str) -> Self:
        """The event of that name; raises ValueError if there is none."""
        return cls(name)  # type: ignore[call-arg]  # looked up, not made

    @property
    def fields(self) -> frozenset[str]:
        """The names of the values that the sentence needs."""
        return frozenset(field for _, field, _, _ in string.Formatter().parse(self.sentence) if field)

    # the daemon
    DAEMON_STARTED = "daemon_started", "ailasd {version} started as {kit}."
    CONFIG_LOADED = "config_loaded", "The configuration is {path}."
    CONFIG_DOUBT = "config_doubt", "The configuration deserves a second look: {problem}.", "warning"
    DAEMON_STOPPING = "daemon_stopping", "ailasd stops: {reason}."
    CLOCK_JUMPED = "clock_jumped", "This machine's own clock was changed by {jump_s}.", "warning"
    STEP_WAITS = "step_waits", "The step {step} waits for a person: {problem}.", "error"
    STEP_FAILED = "step_failed", "The step {step} failed; this is a fault of ailasd: {problem}.", "error"
    STEP_SILENT = (
        "step_silent",
        "The step {step} has given no sign of life for {silent_s}: systemd starts ailasd anew.",
        "error",
    )
    PAGE_UNHEARD = "page_unheard", "The page cannot release or retry pictures here: {problem}.", "warning"
    SLEEP_POSSIBLE = "sleep_possible", "This machine may fall asleep while a card is read: {problem}."
    SIGN_NOT_SHOWN = "sign_not_shown", "The sign is not shown by {by}: {problem}; all else goes on.", "warning"
    LIBRARY_MESSAGE = "library_message", "{library} says: {text}.", "warning"
    # card -> here
    CARD_SEEN = "card_seen", "{card} is here, at {folder}."
    MOUNT_RELEASED = "mount_released", "An earlier life left {place} mounted; it is not any more."
    NO_UDEV = (
        "no_udev",
        "There is no udev here, so that cards and cameras are not noticed; folders, inbox and `ailasd import` work.",
        "warning",
    )
    READER_EMPTY = "reader_empty", "{card} is empty: {problem}."
    CARD_UNREADABLE = "card_unreadable", "{card} cannot be read: {problem}.", "warning"
    CARD_IGNORED = "card_ignored", "{card} is left alone: {problem}."
    CARD_READY = "card_ready", "{card} is read to its end; it may be pulled out."
    MOUNT_HELPED = "mount_helped", "{card} is mounted by ailasd's own helper: {problem}."
    NOT_SWITCHED_OFF = "not_switched_off", "{card} is read, but its reader was not switched off: {problem}."
    IMPORT_STARTED = "import_started", "Reading {card}: {new} to copy ({new_bytes}), {known} already here."
    PICTURE_COPIED = "picture_copied", "{path} is copied ({bytes}).", "debug"
    PICTURE_KNOWN = "picture_known", "{path} is already here.", "debug"
    PICTURE_LEFT = "picture_left", "{path} is left on the card: {reason}."
    READ_ERROR = "read_error", "{path} cannot be read: {problem}; the rest goes on.", "warning"
    DISK_FULL = (
        "disk_full",
        "No room to copy: {free_bytes} free, {reserve_bytes} kept in reserve; copying waits.",
        "warning",
    )
    CANNOT_KEEP = "cannot_keep", "Nothing can be copied: {problem}; copying waits.", "error"
    ROOM_AGAIN = "room_again", "There is room again: {free_bytes} free."
    IMPORT_FINISHED = (
        "import_finished",
        "{card} is read: of {on_card} files {copied} copied, {known} known, {left} left with a reason.",
    )
    CARD_BUSY = "card_busy", "{card} is busy: {problem}; copying goes on by itself.", "warning"
    CARD_GONE = "card_gone", "{card} was pulled out too early; put it in again, and copying goes on.", "warning"
    CARD_REMOVED = "card_removed", "{card} was taken out; it had been read to its end."
    # here: which belong together, which are worth sending
    DRIVE_FOUND = "drive_found", "Drive {drive}: pictures of {camera}: {pictures}."
    CLOCK_CORRECTED = (
        "clock_corrected",
        "Drive {drive}: {clock}.",
        "warning",
    )
    CLOCK_UNCERTAIN = "clock_uncertain", "Drive {drive}: capture times are doubtful: {problem}.", "warning"
    TRACK_FOUND = "track_found", "Track {name}: {points} points from {first} to {last}."
    TRACK_UNREADABLE = "track_unreadable", "Track {name} cannot be read: {problem}.", "warning"
    POSITIONS_FROM_TRACK = (
        "positions_from_track",
        "Drive {drive}: {pictures} got their position from the track {name}.",
    )
    PICTURES_HELD = "pictures_held", "Drive {drive}: held here, not sent: {pictures} ({reason})."
    PICTURES_QUEUED = "pictures_queued", "Drive {drive}: waiting to be sent: {pictures} ({queued_bytes})."
    REPORT_FAILED = "report_failed", "The report of drive {drive} cannot be written: {problem}.", "warning"
    HAND_MOVED = "hand_moved", "By hand: {pictures} moved to {state}."
    HAND_PREFERRED = "hand_preferred", "By hand: drive {drive} is sent {preference}."
    # here -> server
    LINK_LOST = "link_lost", "The server cannot be reached: {problem}; sending waits.", "warning"
    LINK_BACK = "link_back", "The server is there again after {away_s}."
    LOGIN_NEEDED = "login_needed", "The server does not accept the token of this kit: {problem}.", "error"
    WRONG_SERVER = "wrong_server", "This server may not have our pictures: {problem}.", "error"
    SENDING_WAITS = "sending_waits", "Sending waits: {problem}."
    SENDING_GOES_ON = "sending_goes_on", "Sending goes on."
    SENDING_BY_HAND = "sending_by_hand", "By hand: sending has no limits for {for_s}."
    SENDING_BY_RULE = "sending_by_rule", "By hand: the limits of sending hold again."
    SERVER_TROUBLE = "server_trouble", "The server has trouble: {problem}; the next try is in {wait_s}.", "warning"
    UNEXPECTED_ANSWER = (
        "unexpected_answer",
        "The server's answer is not understood: {problem}; the next try is in {wait_s}.",
        "warning",
    )
    SET_CREATED = "set_created", "Drive {drive}: the server opened the upload set {upload_set}."
    PAST_REMEMBERED = (
        "past_remembered",
        "This catalogue is new, but the server has {pictures} of this kit in {sets} upload sets: not sent again.",
    )
    SET_ADOPTED = "set_adopted", "Drive {drive}: the server already had our upload set {upload_set}; going on with it."
    SET_VANISHED = (
        "set_vanished",
        "Drive {drive}: the upload set {upload_set} is gone from the server; starting it again.",
        "warning",
    )
    PICTURE_SENT = "picture_sent", "{picture} is sent ({bytes}).", "debug"
    PICTURE_ALREADY_THERE = "picture_already_there", "{picture} was on the server already.", "debug"
    PICTURE_POSTPONED = "picture_postponed", "{picture} is tried again in {wait_s}: {problem}."
    PICTURE_REFUSED = "picture_refused", "{picture} is refused by the server: {reason}; our copy is kept.", "warning"
    SEQUENCE_COMPLETED = (
        "sequence_completed",
        "Drive {drive}: everything is sent ({pictures}); the server publishes it now.",
    )
    # does the server have it?
    SEQUENCE_PUBLISHED_EARLY = (
        "sequence_published_early",
        "Drive {drive}: {confirmed} confirmed and to be seen all along the way, {to_come} follow; see {link}.",
    )
    PICTURE_CONFIRMED = "picture_confirmed", "{picture} is confirmed: the server holds it.", "debug"
    SEQUENCE_CONFIRMED = "sequence_confirmed", "Drive {drive}: {confirmed} confirmed, {refused} refused; see {link}."
    PICTURE_REPAIRED = "picture_repaired", "{picture}: the server was asked to process it once more."
    PICTURE_LOST = "picture_lost", "{picture} is no longer on the server: {problem}.", "warning"
    REPORTED = "reported", "Drive {drive}: somebody reported {what} on the server: {issue}.", "warning"
    HEARTBEAT_UNHEARD = "heartbeat_unheard", "Nobody hears this kit's heartbeat: {problem}.", "warning"
    # deleting, always with a proof
    CLEANING_CARD = "cleaning_card", "{card} is being cleared: {files} files ({bytes}), each {proof}."
    CARD_FILE_CLEARED = "card_file_cleared", "{path} is deleted from the card: it is {proof}.", "debug"
    CARD_CLEARED = "card_cleared", "{card} is cleared: {files} files deleted ({bytes}), {kept} kept."
    LOCAL_COPY_REMOVED = "local_copy_removed", "{picture}: our own copy is deleted; the server holds it."
    CLEANING_STOPPED = "cleaning_stopped", "Nothing is deleted: {problem}; to go on: {command}.", "warning"


_SENTENCES: Final = ("problem", "reason", "text")
"""Fields that hold a sentence of an error, whose full stop is not wanted in the middle of ours."""


# -- for people -------------------------------------------------------------------------------------------------------
class _Words(dict[str, Any]):
    """Values as people read them. What is missing is a question mark: an old line must still make a sentence."""

    def __missing__(self, key: str) -> str:
        return "?"


def say(event: Event, /, **values: object) -> str:
    """The sentence of an event; values it does not need are ignored, whatever is in them is made harmless."""
    return event.sentence.format_map(_Words({name: _word(name, value) for name, value in values.items()}))


def _word(name: str, value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if number and name.endswith("bytes"):
        return bytes_in_words(float(value))  # type: ignore[arg-type]
    if number and name.endswith("_s"):
        return span_in_words(float(value))  # type: ignore[arg-type]
    text = printable("?" if value is None else str(value))
    return text.rstrip(".") if name in _SENTENCES else text


def bytes_in_words(count: float) -> str:
    """``6_400_000`` -> "6.4 MB": decimal units, as on the card's label."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or abs(count) >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def span_in_words(seconds: float) -> str:
    """``-3725`` -> "-1 h 2 min": the two largest units that are there."""
    left, parts = abs(seconds), []
    if left < 10:
        return f"{seconds:.3g} s"
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(round(left), length)
        if count:
            parts.append(f"{count} {unit}")
    return ("-" if seconds < 0 else "") + " ".join(parts[:2])


def printable(text: str) -> str:
    """The text on one line with control characters, terminal escapes and direction marks written out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# -- what never leaves ------------------------------------------------------------------------------------------------
MASK: Final = "***"
LONGEST_TEXT: Final = 8000
"""Characters. A server's error page must not fill the journal; journald itself cuts lines at 48 KiB."""

_HIDDEN_NAMES: Final = "token|jwt|authorization|password|passwd|secret|cookie|api[_-]?key"
_SECRET_KEY: Final = re.compile(rf"({_HIDDEN_NAMES})s?$", re.IGNORECASE)
_POSITION_KEY: Final = re.compile(
    r"(^|[^a-z])(lat|lon|lng|latitude|longitude)($|[^a-z])|^(positions?|coordinates?|coords|geometry|bbox)$",
    re.IGNORECASE,
)
_SECRET_TEXT: Final = re.compile(
    r"eyJ[\w-]{8,}(\.[\w-]*)*"  # a JWT: what every JSON object that starts with {" is in base64
    r"|(?i:(?<=bearer )\S+)"
    r"|(?<=://)[^/@\s]+(?=@)"  # a login in an address
)
_NAMED_TEXT: Final = re.compile(  # latitude=-18.91 in the repr of a Photo, 'token': 'abc' in that of some headers
    rf"\b((?:\w*_)?(?:lat|lon|lng|latitude|longitude|{_HIDDEN_NAMES})s?['\"]?\s*[=:]\s*)"
    r"(?:['\"]?(?:basic|bearer)\s+)?[^\s,;)}\]]+",
    re.IGNORECASE,
)
_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Mask this text from now on wherever it would be told: call it with the token as soon as it is loaded."""
    if secret:
        _hidden.add(secret)


def mask(text: str) -> str:
    """The text without hidden secrets, tokens, logins and positions, and not longer than ``LONGEST_TEXT``."""
    for secret in tuple(_hidden):  # another thread may be adding one
        text = text.replace(secret, MASK)
    text = _NAMED_TEXT.sub(rf"\1{MASK}", _SECRET_TEXT.sub(MASK, text))
    half = LONGEST_TEXT // 2  # the end of a traceback says more than its middle
    return text if len(text) <= LONGEST_TEXT else f"{text[:half]} ... {text[-half:]}"


def _harmless(value: object, depth: int = 0) -> Any:
    """The value as JSON can write it, without secrets and positions."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if depth < 6 and isinstance(value, Mapping):  # deeper is a loop, or nothing that a log should hold
        return {
            mask(str(key)): MASK if _SECRET_KEY.search(str(key)) else _harmless(each, depth + 1)
            for key, each in value.items()
            if not _POSITION_KEY.search(str(key))
        }
    if depth < 6 and isinstance(value, list | tuple | set | frozenset):
        return [_harmless(each, depth + 1) for each in value]
    try:
        return mask(value.isoformat() if isinstance(value, datetime) else str(value))
    except Exception as error:  # noqa: BLE001  (whatever a foreign __str__ does, telling must not stop a step)
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


# -- the way of a line ------------------------------------------------------------------------------------------------
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def record(event: Event, /, **values: Any) -> None:
    """Tell an event at its own level. Before ``set_up`` nothing is told: ailasd used as a library is silent.

    Args:
        event: what happened.
        **values: at least ``event.fields``, unless they are bound; ``exc_info=True`` adds the traceback.
    """
    if structlog.is_configured():
        getattr(structlog.get_logger(), event.level)(event, **values)


def bind(**values: Any) -> AbstractContextManager[None]:
    """A context whose events all carry these values, such as ``bind(trace=..., card=...)``.

    Values belong to the thread that bound them: one that is started inside must bind them again.
    """
    return structlog.contextvars.bound_contextvars(**values)


def set_up(
    level: str,
    stream: TextIO,
    *,
    console: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock_trusted: Callable[[], bool] | None = None,
    strict: bool = False,
) -> None:
    """Send everything told from now on to ``stream``, and what libraries warn of too. May be called again.

    Args:
        level: debug, info, warning or error; libraries are heard from warning on.
        stream: where lines go; if it breaks, lines are lost, never the work that they tell of.
        console: sentences for a terminal rather than JSON lines for the journal.
        clock: the time of a line, aware; it is written in UTC.
        clock_trusted: whether that clock can be believed (a Pi has none of its own); each line then says so.
        strict: raise ValueError when an event is not in ``Event`` or lacks a field; else it is told as it is.
    """

    def stamp(_logger: Any, method: str, line: Line) -> Line:
        head: dict[str, Any] = {"at": clock().astimezone(UTC).isoformat(timespec="milliseconds")}
        head |= {} if clock_trusted is None else {"clock_trusted": clock_trusted()}
        head |= {"level": method, "event": line["event"]}
        return head | dict(line) | head  # first in order, and never overwritten by a value of the same name

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *([_check] if strict else []),
            structlog.processors.format_exc_info,
            stamp,
            lambda _logger, _method, line: _harmless(line),
            _as_sentence if console else _as_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_Lines(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _FromLibraries)]
    root.addHandler(_FromLibraries())
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def _check(_logger: Any, _method: str, line: Line) -> Line:
    missing = Event.named(line["event"]).fields - line.keys()  # a ValueError by itself if there is no such event
    if missing:
        raise ValueError(f"{line['event']} needs {', '.join(sorted(missing))}")
    return line


def _as_json(_logger: Any, _method: str, line: Line) -> str:
    return json.dumps(line)  # ASCII only: newlines, terminal escapes and lone surrogates are escaped


def _as_sentence(_logger: Any, _method: str, line: Line) -> str:
    at = datetime.fromisoformat(line.pop("at")).astimezone().strftime("%H:%M:%S")
    name, level, traceback = line.pop("event"), line.pop("level"), line.pop("exception", "")
    loud = f"{level.upper()}: " if level in ("warning", "error") else ""
    known = name in Event.__members__.values()
    sentence = say(Event.named(name), **line) if known else printable(f"{name} {line or ''}".strip())
    return "\n    ".join([f"{at} {loud}{sentence}", *map(printable, traceback.splitlines())])


class _Lines:
    """The last step: one whole line at a time, from any thread. Also its own factory, as structlog asks for one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, *_args: object) -> _Lines:
        return self

    def _write(self, line: str) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):  # full, closed, or a pipe that nobody reads any more
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = _write


class _FromLibraries(logging.Handler):
    """What libraries tell through the standard library goes the same way, past the same mask."""

    def emit(self, record: logging.LogRecord) -> None:
        """Tell it as ``library_message``, as a warning or an error."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  (arguments that do not fit their format; logging would print them unmasked)
            text = str(record.msg)
        logger = structlog.get_logger(library=record.name, text=text, exc_info=record.exc_info)
        (logger.error if record.levelno >= logging.ERROR else logger.warning)(Event.LIBRARY_MESSAGE)
