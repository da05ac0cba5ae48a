"""A camera that speaks PTP or MTP over USB.

A camera is no disk: it is asked for one thing after the other, and whoever asks has it to himself. So there is one
``session`` with it, one call at a time, and ``close`` ends it: nothing keeps the camera from being unplugged then.

Within a session a file is what the camera calls an object, whose handle never stands for another one (PTP, ISO 15740):
no file can take another's place while it is read. A new session looks at everything anew.
"""

from __future__ import annotations

import io
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ailasd.errors import Changing, Unreadable
from ailasd.model import Card, CardFile, Kind
from ailasd.sources import MAX_PICTURE, is_system_folder, kind_of, unreadable
from ailasd.sources.ptp.places import Store, folder_of, identity_of, place_of, shown, speakable, text_of
from ailasd.sources.ptp.session import SWITCH, Session, exists, facts_of, is_missing, names_of, read_part, read_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Buffer

MAX_DEPTH: Final = 32
"""Folders in folders. DCF has two; each level costs the camera some answers, and a broken one may never end."""
MAX_ENTRIES: Final = 200_000
"""What is listed of one camera: twice the pictures of a full card of 1 TB."""
AHEAD: Final = 1024 * 1024
"""Bytes asked for at once: each question costs the camera some milliseconds (measured: 16 MB/s, with 64 KiB 7)."""

_REGULAR: Final = stat.S_IFREG | 0o444


class PtpSource:
    """A ``Source`` over a camera.

    Besides what ``Source`` says, ``card`` and ``listing`` raise ``SourceBusy`` if another program uses the camera,
    ``NeedsHuman`` if we are not allowed to, and ``Unreadable`` if it cannot be read that way; each says what to do.

    It speaks of one camera with the same storages in it until ``card`` is asked again. A second source on the same
    camera finds it in use until this one is closed.

    Args:
        node: "usb:001,004" (bus, device).
        sysfs: where the kernel describes devices.
    """

    def __init__(self, node: str, *, sysfs: Path = Path("/sys")) -> None:
        self._session = Session(node, sysfs)

    def card(self) -> Card:
        """Tell which card this is: see ``Source.card``.

        Its identity is, hashed: serial and model of the camera, and its storages (name, label, capacity). Two cards of
        the same make in the same camera have the same, so it is ``by_content``.
        """
        self._session.look_anew()
        with self._session.speaking() as camera:
            model = self._session.told("product") or text_of(camera.get_abilities().model)
        serial = self._session.told("serial")
        label = f"{model} ({serial[-4:]})" if serial else model
        return Card(identity_of(serial, model, self._session.stores), label, serial, model, by_content=True)

    def listing(self) -> Iterator[CardFile]:
        """Yield each entry exactly once: see ``Source.listing``.

        Paths are relative to the storage; if there are several, each begins with its storage's name.
        """
        with self._session.speaking():
            stores = self._session.stores
        room = MAX_ENTRIES
        for store in stores:
            above = f"{store.name}/" if len(stores) > 1 else ""
            for file in self._listing_of(store, room):
                room -= 1
                yield file._replace(path=above + file.path)

    def open(self, file: CardFile) -> io.RawIOBase:
        """Open the bytes of a listed file: see ``Source.open``."""
        with self._session.speaking(file.path) as camera:
            folder, name = place_of(file.path, self._session.stores)
            _same_file(file, facts_of(camera, folder, name))
        return _CameraStream(self._session, file, folder, name)

    def writable(self) -> AbstractContextManager[PtpSource]:
        """The camera itself decides what may be deleted: see ``Source.writable``."""
        return nullcontext(self)

    def remove(self, file: CardFile) -> None:
        """Delete a listed file: see ``Source.remove``. The camera answers when it is done."""
        with self._session.speaking(file.path, deleting=True) as camera:
            folder, name = place_of(file.path, self._session.stores)
            if exists(camera, folder, name):
                _same_file(file, facts_of(camera, folder, name))
                camera.file_delete(folder, name)

    def close(self) -> None:
        """End the session: the camera may be unplugged. What is asked afterwards begins a new one."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- what the listing is made of ----------------------------------------------------------------------------------
    def _listing_of(self, store: Store, room: int) -> Iterator[CardFile]:
        """The entries of one storage, at most ``room`` and those of one folder more; paths are relative to it."""
        only_dcim: bool | None = None
        pending: list[tuple[str, ...]] = [()]
        while pending:
            parts = pending.pop()
            above = "".join(f"{shown(part)}/" for part in parts)
            try:
                if len(parts) > MAX_DEPTH or room < 0:
                    raise Unreadable(f"there is too much in {above}")  # noqa: TRY301
                files, folders = self._look_into(store, parts)
            except Unreadable:
                if not parts:
                    raise
                yield CardFile(above, 0, 0, unreadable(above, only_dcim=bool(only_dcim)))
                continue
            room -= len(files) + len(folders)
            if only_dcim is None:
                only_dcim = any(name.lower() == "dcim" for name in folders)
            for name in folders:
                if is_system_folder(name) or not speakable(name):
                    path = f"{above}{shown(name)}/"
                    kind = Kind.HIDDEN if speakable(name) else unreadable(path, only_dcim=only_dcim)
                    yield CardFile(path, 0, 0, kind)
                else:
                    pending.append((*parts, name))
            for name in files:
                if file := self._file(store, parts, name, only_dcim=only_dcim):
                    yield file

    def _look_into(self, store: Store, parts: tuple[str, ...]) -> tuple[list[str], list[str]]:
        """The names of a folder's files and of its folders."""
        folder = folder_of(store, parts)
        with self._session.speaking(shown(folder)) as camera:
            return names_of(camera.folder_list_files(folder)), names_of(camera.folder_list_folders(folder))

    def _file(self, store: Store, parts: tuple[str, ...], name: str, *, only_dcim: bool) -> CardFile | None:
        """Describe a file; None if it vanished since its folder was read."""
        path = "/".join(shown(part) for part in (*parts, name))
        if not speakable(name):
            return CardFile(path, 0, 0, unreadable(path, only_dcim=only_dcim))
        try:
            with self._session.speaking(path) as camera:
                size, mtime_ns = facts_of(camera, folder_of(store, parts), name)
        except Unreadable as error:
            kind = unreadable(path, only_dcim=only_dcim)
            return None if is_missing(error.__cause__) else CardFile(path, 0, 0, kind)
        return CardFile(path, size, mtime_ns, kind_of(path, size, _REGULAR, only_dcim=only_dcim))


class _CameraStream(io.RawIOBase):
    """The bytes of one file: at most ``AHEAD`` of them in memory, if the camera gives parts of files."""

    def __init__(self, session: Session, file: CardFile, folder: str, name: str) -> None:
        self._session = session
        self._file = file
        self._place = folder, name
        self._buffer = bytearray(min(AHEAD, file.size))
        self._ahead = memoryview(b"")
        self._at = 0  # of the next byte that the camera is asked for

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        if not self._ahead and self._at < self._file.size:
            self._fetch()
        into = memoryview(buffer).cast("B")
        count = min(len(into), len(self._ahead))
        into[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def close(self) -> None:
        self._ahead, self._buffer = memoryview(b""), bytearray()
        super().close()

    def _fetch(self) -> None:
        wanted = memoryview(self._buffer)[: self._file.size - self._at]
        with self._session.speaking(self._file.path) as camera:
            count = read_part(camera, *self._place, self._at, wanted)
            if count is not None:
                self._ahead, self._at = wanted[:count], self._at + count
                return
            if self._file.size > MAX_PICTURE:
                raise Unreadable(f"{self._file.path} is too large for a camera that gives whole files only: {SWITCH}")
            content = memoryview(read_whole(camera, *self._place, self._file.size))
            self._ahead, self._at = content[self._at :], len(content)


def _same_file(file: CardFile, found: tuple[int, int]) -> None:
    if found != (file.size, file.mtime_ns):
        raise Changing(f"{file.path} changed since it was listed")
