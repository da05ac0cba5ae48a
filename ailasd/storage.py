"""The folder where everything of ours lies, and who may touch what in it at the same time."""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ailasd.errors import CatalogueError, TryLater

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ailasd.model import Photo

_NOT_OURS: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Storage:
    """Where what lies.

    ::

    catalogue.db
    asked                where the page asks the daemon (a socket)
    incoming/            copies that are not verified yet
    pictures/2026-11-21/hero13-black-3456/g012/101502-0123456789ab.jpg
    """

    folder: Path

    @property
    def catalogue(self) -> Path:
        """The catalogue's file."""
        return self.folder / "catalogue.db"

    @property
    def asking(self) -> Path:
        """The socket on which a daemon hears wishes; see ``asking``."""
        return self.folder / "asked"

    @property
    def incoming(self) -> Path:
        """Where copies are made; on the same file system as their final place."""
        return self.folder / "incoming"

    def prepare(self) -> None:
        """Make the folders, readable by us alone: pictures show people.

        Raises:
            CatalogueError: they cannot be made.
        """
        try:
            for folder in (self.folder, self.incoming, self.folder / "pictures"):
                folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise CatalogueError(
                f"{error.filename or self.folder} cannot be made ({error.strerror}): "
                "give another storage.folder in the config, or let ailasd's user write there"
            ) from error

    def place(self, photo: Photo, recording: str | None, md5: str) -> str:
        """Where a copy belongs, relative to the folder. Of what cameras and cards say, only ``[a-z0-9-]`` gets in."""
        when = photo.camera_time or photo.gps_time
        date = f"{when:%Y-%m-%d}" if when else "no-date"
        camera = _slug(f"{photo.model or 'camera'} {(photo.serial or '')[-4:]}")
        drive = f"g{_slug(recording)}" if recording else "single"
        return f"pictures/{date}/{camera}/{drive}/{when:%H%M%S}-{md5[:12]}.jpg" if when else (
            f"pictures/{date}/{camera}/{drive}/{md5[:12]}.jpg"
        )  # fmt: skip

    def path_of(self, copy: str) -> Path:
        """The file of a ``copy`` as the catalogue names it."""
        return self.folder / copy

    def free(self) -> int:
        """Bytes that ailasd's user may still write."""
        about = os.statvfs(self.folder)
        return about.f_bavail * about.f_frsize

    # -- locks: the kernel lets go of them however a process ends ---------------------------------------------------
    @contextmanager
    def as_daemon(self) -> Iterator[None]:
        """Be the only daemon on this folder.

        Raises:
            TryLater: another one runs.
        """
        with _locked(self.folder / "daemon.lock", fcntl.LOCK_EX | fcntl.LOCK_NB) as got:
            if not got:
                raise TryLater(f"another ailasd daemon works in {self.folder}: stop it first, or leave the work to it")
            yield

    def daemon_runs(self) -> bool:
        """Whether a daemon works on this folder now. Only looks: trying the lock could keep a starting daemon out."""
        try:
            about = (self.folder / "daemon.lock").stat()
            held = Path("/proc/locks").read_text()
        except OSError:
            return False
        where = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
        return any(where in line.split() for line in held.splitlines())

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Pictures are coming in: nobody sorts meanwhile. Several may import at once."""
        with _locked(self.folder / "importing.lock", fcntl.LOCK_SH):
            yield

    @contextmanager
    def sorting(self) -> Iterator[bool]:
        """Yields whether one may sort now: no import runs, so that every drive is seen whole."""
        with _locked(self.folder / "importing.lock", fcntl.LOCK_EX | fcntl.LOCK_NB) as got:
            yield got


@contextmanager
def _locked(path: Path, how: int) -> Iterator[bool]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _slug(text: str) -> str:
    return _NOT_OURS.sub("-", text.lower())[:40].strip("-") or "unknown"
