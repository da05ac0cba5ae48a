"""A GoPro that offers a network over its USB cable ("GoPro Connect").

``camera`` asks its HTTP server, ``media`` reads its list of files; here they become a ``Source``.

The list has a time-lapse in one line, without the sizes of its pictures. Each is asked for on its own
(``/gopro/media/info``, documented for all models since HERO9; about a tenth of a second), but only once: a recording
that begins with a file that we know, made in the same second, is the same recording, so that of its pictures those that
we know need not be asked for again.
"""

from __future__ import annotations

import hashlib
import io
import stat
import threading
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ailasd.clock import SystemClock
from ailasd.errors import AilasdError, Changing, NeedsHuman, SourceBusy, SourceGone, UnexpectedAnswer, Unreadable
from ailasd.model import Card, CardFile, Kind
from ailasd.sources import kind_of, printable
from ailasd.sources.gopro.camera import BUSY, LONGEST_LIST, RECORDING, SWITCH_IT, Camera, is_there
from ailasd.sources.gopro.media import TOP, Shots, lines, number, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from http.client import HTTPResponse

    from typing_extensions import Buffer

    from ailasd.clock import Clock

__all__ = ["BUSY", "RECORDING", "SWITCH_IT", "GoProSource"]

MOST_FILES: Final = 200_000
"""Entries of a listing: a 1 TB card full of 6 MB pictures has 170 000."""
MOST_MISSING: Final = 100
"""Pictures of a listing that are not there after all: the list leaves out what was deleted, so this is no list."""
TRIES: Final = 5
"""Connections for one file: it is a cable, and a picture takes less than a second."""
WAIT_S: Final = 10.0
"""How long a camera that was just plugged in may take until it has given us an address."""
CLOCK_TOLERANCE: Final = timedelta(seconds=2)
"""The camera tells whole seconds, and takes part of one to answer."""
MAX_TEXT: Final = 64
"""Characters of what a camera says about itself, before people."""

_REGULAR: Final = stat.S_IFREG | 0o444
_SECOND: Final = 1_000_000_000  # nanoseconds


class GoProSource:
    """A ``Source`` over a GoPro's network.

    The errors of every method may also be ``SourceBusy``: it is recording or busy.

    Args:
        interface: the network interface that the camera is.
        serial: as USB tells it, for a camera that does not tell it itself.
        address: of the camera; None: found by the interface's own.
        port: of its server.
        set_clock: set the camera's clock if it is wrong and ours is trusted.
        known: gives the files that we already have of the card of that identity (path, size, time), so that their sizes
            need not be asked for again.
        clock: ours.
    """

    def __init__(
        self,
        interface: str,
        serial: str | None,
        *,
        address: str | None = None,
        port: int = 8080,
        set_clock: bool = False,
        known: Callable[[str], Iterable[tuple[str, int, int]]] = lambda _: (),
        clock: Clock | None = None,
    ) -> None:
        self._interface, self._serial, self._address, self._port = interface, serial, address, port
        self._set_clock, self._known_of, self._clock = set_clock, known, clock or SystemClock()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._camera: Camera | None = None
        self._card: Card | None = None
        self._known: dict[str, tuple[int, int]] = {}  # path -> size and time
        self._listed: dict[str, tuple[tuple[str, str, int], CardFile]] = {}  # path -> its recording, and the file

    def close(self) -> None:
        """Let the camera go."""
        self._closed.set()

    def card(self) -> Card:
        """Tell which camera this is: see ``Source.card``.

        The API tells nothing of the card in it, so its cards are told apart by what is on them.

        Raises:
            NeedsHuman: its network is there, but nothing answers: it is not in the mode for this.
        """
        try:
            camera = self._here()
            if self._card is None:
                camera.take_control()
            self._card = self._named(camera)
        except SourceGone as error:
            if self._card is None and is_there(self._interface):
                raise NeedsHuman(f"the GoPro does not answer: {SWITCH_IT}") from error
            raise
        if self._set_clock:
            self._set_clock = False  # once a visit
            with suppress(SourceBusy, Unreadable):
                self._set_right()
        if not self._known:
            self._known = {path: (size, time) for path, size, time in self._known_of(self._card.identity)}
        return self._card

    def listing(self) -> Iterator[CardFile]:
        """Yield each file exactly once: see ``Source.listing``."""
        camera = self._here()
        camera.check_idle()  # while it records, the list is late or empty
        seen: set[str] = set()
        missing = 0
        for shots in self._list(camera):
            for file in self._files(camera, shots):
                missing += file is None
                if missing > MOST_MISSING:
                    raise Unreadable("the camera's list of its files does not fit what is on it")
                if file is None or file.path in seen:
                    continue
                if len(seen) >= MOST_FILES:
                    yield CardFile(f"{TOP}/", 0, 0, Kind.UNREADABLE)  # the rest is not looked into
                    return
                seen.add(file.path)
                yield file

    def open(self, file: CardFile) -> io.RawIOBase:
        """Open the bytes of a listed file: see ``Source.open``."""
        camera = self._here()
        listed = self._listed.get(file.path)
        there = listed[1] if listed else self._look_up(camera, file.path)[1]
        if there is None:
            raise Unreadable(f"{file.path} is not on the camera (any more)")
        _same_file(file, there)
        camera.keep_awake()
        return _CameraStream(camera, file)

    def writable(self) -> AbstractContextManager[GoProSource]:
        """The same: a camera lets its pictures be deleted at any time; see ``Source.writable``."""
        return nullcontext(self)

    def remove(self, file: CardFile) -> None:
        """Delete a listed file: see ``Source.remove``.

        Raises:
            NeedsHuman: the camera refuses.
            Unreadable: there is a raw picture beside it, which the camera might delete with it.
        """
        camera = self._here()
        self._listed.pop(file.path, None)
        shots, there = self._look_up(camera, file.path)
        if shots is None or there is None:
            return
        _same_file(file, there)
        if shots.raw:
            raise Unreadable(f"{file.path} stays: its raw picture might be deleted with it, which nobody else has")
        camera.check_idle()
        try:
            camera.ask(f"/gopro/media/delete/file?path={_query(file.path)}", f"delete {file.path}")
        except (Unreadable, UnexpectedAnswer) as error:
            if self._look_up(camera, file.path)[1] is not None:
                raise NeedsHuman(f"the camera does not let us delete {file.path}") from error

    def clock_offset(self) -> timedelta | None:
        """How far the camera's clock is ahead of ours; None if it does not tell, or not in which zone.

        Raises:
            SourceGone: no answer.
        """
        told = self._told_time(self._here())
        return told[0] if told else None

    # -- the camera ---------------------------------------------------------------------------------------------------
    def _here(self) -> Camera:
        """The camera, as soon as it has given us an address."""
        with self._lock:
            if self._camera is not None:
                return self._camera
            give_up = self._clock.monotonic() + WAIT_S
            while True:
                try:
                    self._camera = Camera(self._interface, self._address, self._port)
                except SourceGone:
                    raise
                except SourceBusy:
                    if self._clock.monotonic() >= give_up or self._closed.wait(0.5):
                        raise
                else:
                    return self._camera

    def _named(self, camera: Camera) -> Card:
        try:
            about = camera.ask("/gopro/camera/info", "which camera it is")
        except Unreadable:
            about = {}  # documented for HERO12 and later only
        nested = about.get("info")  # HERO9 to 11 put it one level deeper
        told = nested if isinstance(nested, dict) else about
        model = _text(told.get("model_name")) or "GoPro"
        serial = _text(told.get("serial_number")) or _text(self._serial)
        origin = f"gopro\0{serial or camera.address}"  # without a serial: its last three digits
        identity = hashlib.blake2b(origin.encode(), digest_size=8).hexdigest()
        return Card(identity, f"{model} ({serial[-4:]})" if serial else model, serial, model, by_content=True)

    def _list(self, camera: Camera) -> Iterator[Shots]:
        return lines(camera.ask("/gopro/media/list", "list its files", most=LONGEST_LIST))

    def _files(self, camera: Camera, shots: Shots) -> Iterator[CardFile | None]:
        """The files of a line; None for one that is not there after all."""
        if not shots.trusted:
            yield CardFile(f"{shots.folder}/{shots.names[0]}", 0, 0, Kind.UNREADABLE)
            return
        same = self._known.get(f"{shots.folder}/{shots.names[0]}", (0, -1))[1] == shots.made * _SECOND
        for path in shots.paths():
            key, file = self._listed.get(path, (None, None))
            if key != shots.key:
                known = self._known.get(path) if same and shots.size is None else None
                file = _file(path, *known) if known else self._described(camera, shots, path)
                if file is not None:
                    self._listed[path] = (shots.key, file)
            yield file
            if shots.raw and file is not None:
                yield CardFile(f"{path.rpartition('.')[0]}.GPR", 0, file.mtime_ns, Kind.RAW)

    def _described(self, camera: Camera, shots: Shots, path: str) -> CardFile | None:
        """A file of a line, of which the camera is asked what the line does not tell; None if it is not there."""
        if shots.size is not None:
            return _file(path, shots.size, shots.made * _SECOND)
        try:
            about = camera.ask(f"/gopro/media/info?path={_query(path)}", f"describe {path}")
        except Unreadable:
            return None
        size, made = number(about.get("s")), number(about.get("cre"), 2**33)
        if size is None:
            return None
        # The list's own time for the file that it names: by that the recording is known again.
        first = path == f"{shots.folder}/{shots.names[0]}" or made is None
        return _file(path, size, (shots.made if first else made or 0) * _SECOND)

    def _look_up(self, camera: Camera, path: str) -> tuple[Shots | None, CardFile | None]:
        """Ask the camera anew for one file: its line and itself; None if it is not there.

        Raises:
            Unreadable: no camera names a file so.
        """
        if split(path) is None:
            raise Unreadable(f"{path} is not a file's path on a camera")
        for shots in self._list(camera):
            if shots.trusted and path in shots.paths():
                return shots, self._described(camera, shots, path)
        return None, None

    # -- its clock ----------------------------------------------------------------------------------------------------
    def _told_time(self, camera: Camera) -> tuple[timedelta, int, int] | None:
        """Ask for the time.

        Returns:
            How far it is ahead of ours, its zone in minutes east (summer time included, as in GoPro's own SDK), and 1
            if that is summer time; None if the camera does not tell.
        """
        try:
            told = camera.ask("/gopro/camera/get_date_time", "tell the time")
            local = datetime.strptime(f"{told.get('date')} {told.get('time')}", "%Y_%m_%d %H_%M_%S").replace(tzinfo=UTC)
            zone = told.get("tzone")
            if isinstance(zone, int) and abs(zone) <= 14 * 60:
                return local - timedelta(minutes=zone) - self._clock.now(), zone, int(told.get("dst") in {1, "1"})
        except (Unreadable, UnexpectedAnswer, ValueError, OverflowError):
            pass
        return None

    def _set_right(self) -> None:
        """Set the camera's clock if it is wrong and ours is trusted; its zone is left as its owner set it."""
        camera = self._here()
        told = self._told_time(camera)
        if told is None or not self._clock.trusted() or abs(told[0]) <= CLOCK_TOLERANCE:
            return
        _, zone, dst = told
        local = self._clock.now() + timedelta(minutes=zone)
        date, time = f"{local.year}_{local.month}_{local.day}", f"{local.hour}_{local.minute}_{local.second}"
        path = f"/gopro/camera/set_date_time?date={date}&time={time}&tzone={zone}&dst={dst}"
        camera.ask(path, "set its clock")


class _CameraStream(io.RawIOBase):
    """The bytes of one file, over as many connections as it takes."""

    def __init__(self, camera: Camera, file: CardFile) -> None:
        self._camera, self._file = camera, file
        self._at = self._tries = 0
        self._left = memoryview(b"")
        self._response: HTTPResponse | None = None
        self._blocks: Iterator[bytes] = iter(())
        self._connect()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        if not self._left:
            self._left = memoryview(self._next_block())
        into = memoryview(buffer).cast("B")
        count = min(len(into), len(self._left))
        into[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None
        super().close()

    def _next_block(self) -> bytes:
        """The next bytes from the camera; none at the end of the file."""
        while self._at < self._file.size:
            try:
                if self._response is None:
                    self._connect()
                if block := next(self._blocks, b""):
                    self._at += len(block)
                    return block
                error = SourceGone("it broke off")
            except SourceGone as broken:
                error = broken
            self._disconnect()
            if self._tries >= TRIES or not self._camera.is_plugged_in():
                raise self._given_up(error) from error
        return b""

    def _connect(self) -> None:
        folder, _, name = self._file.path.removeprefix(f"{TOP}/").partition("/")
        path = f"/videos/{TOP}/{quote(folder)}/{quote(name)}"
        self._tries += 1
        self._response = self._camera.file(path, self._at, self._file.size, self._file.path)
        self._blocks = self._camera.blocks(self._response)

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _given_up(self, error: SourceGone) -> AilasdError:
        """One file that does not come costs that file only, as long as the camera answers."""
        try:
            self._camera.check_idle()
        except AilasdError as trouble:
            return trouble
        return Unreadable(f"{self._file.path} cannot be read to its end: {error}")


def _same_file(file: CardFile, there: CardFile) -> None:
    if (there.size, there.mtime_ns) != (file.size, file.mtime_ns):
        raise Changing(f"{file.path} changed since it was listed")


def _file(path: str, size: int, mtime_ns: int) -> CardFile:
    return CardFile(path, size, mtime_ns, kind_of(path, size, _REGULAR))


def _query(path: str) -> str:
    """A file's path as the API wants it: without DCIM, its slash as it is."""
    return quote(path.removeprefix(f"{TOP}/"), safe="/")


def _text(value: object) -> str | None:
    """What a camera says of itself, for people."""
    if not isinstance(value, str):
        return None
    return printable(value.encode(errors="surrogatepass")).strip()[:MAX_TEXT] or None
