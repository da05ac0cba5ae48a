"""The machine itself: what is on it, and the hand that changes it. Below a root folder: the system of an image."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ailasd.disk import fsync_folder, write_whole
from ailasd.errors import NeedsHuman
from ailasd.setting_up import files
from ailasd.setting_up.plan import Action, Found, Link, Remove, Run, Wanted, Write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNFINISHED: Final = "/run/ailasd-setting-up"
"""Is there while things are changed. In /run, since a reboot brings into force what is on the disk anyway."""

COMMAND_S: Final = 600.0
"""For a command of the system: as long as the unit gives the service to start, which flushes a whole SD card first."""

LARGEST_FILE: Final = 1 << 20
"""Bytes. Whatever is in the place of one of our files of some kB: more than that is not read, only kept."""


class Machine:
    """A system: the running one, or one that lies in a folder (an image that is being made).

    Args:
        root: "/" is the running one.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root.absolute()
        self.live: Final = self.root == Path("/")

    def path(self, inside: str) -> Path:
        """Where a path of the system lies."""
        return self.root / inside.lstrip("/")

    def refuse_unfit(self) -> None:
        """Look before anything is changed.

        Raises:
            NeedsHuman: this is not root, or there is no systemd.
        """
        if self.live and os.geteuid() != 0:
            raise NeedsHuman("only root can set a machine up: sudo ailasd setup")
        if self.live and not self.path("/run/systemd/system").is_dir():  # sd_booted(3)
            raise NeedsHuman(
                "this machine does not run systemd, which starts the service: "
                "run `ailasd run` yourself, or set an image up with --root DIR"
            )

    # -- looking ------------------------------------------------------------------------------------------------------
    def look(self, wanted: Wanted) -> Found:
        """How it is, as far as that matters for ``wanted``."""
        paths = (*wanted.files, *wanted.absent, files.CONFIG)
        units = (*wanted.units, *wanted.off)
        folders = [*files.folders_of(wanted.files[files.TMPFILES]), files.STATE, "/etc/ailasd", files.PROGRAMS]
        return Found(
            files={path: self._content(path) for path in paths if os.path.lexists(self.path(path))},
            there=frozenset(path for path in (*folders, wanted.storage) if path and self.path(path).exists()),
            links=dict(self._links(files.COMMAND)),
            user=self.has_user(),
            enabled=frozenset(unit for unit in units if self._systemctl("is-enabled", unit) == "enabled"),
            states={unit: self._systemctl("is-active", unit) for unit in units} if self.live else {},
            unfinished=self.live and self.path(UNFINISHED).exists(),
            live=self.live,
        )

    def _content(self, inside: str) -> bytes | None:
        path = self.path(inside)
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST_FILE:
            return None
        return path.read_bytes()

    def _links(self, inside: str) -> Iterator[tuple[str, str]]:
        with suppress(OSError):
            yield inside, str(self.path(inside).readlink())

    def has_user(self) -> bool:
        """Whether the service's user is there."""
        with suppress(OSError):
            lines = self.path("/etc/passwd").read_text(errors="replace").splitlines()
            return any(line.startswith(f"{files.USER}:") for line in lines)
        return False

    def _systemctl(self, question: str, unit: str) -> str:
        at = [] if self.live else [f"--root={self.root}"]
        return run(["systemctl", *at, question, unit], must=False).strip()

    # -- changing -----------------------------------------------------------------------------------------------------
    def begin(self) -> None:
        """From now on things are changed."""
        if self.live:
            self.path(UNFINISHED).touch()

    def end(self) -> None:
        """All that was planned is done."""
        if self.live:
            self.path(UNFINISHED).unlink(missing_ok=True)

    def do(self, action: Action) -> None:
        """Do one thing.

        Raises:
            NeedsHuman: it cannot be done; the text says why.
        """
        try:
            match action:
                case Write():
                    self._write(action.path, action.content, action.mode)
                case Link():
                    self._link(action.path, action.target)
                case Remove():
                    self._remove(action.path)
                case Run():
                    run(action.command, must=action.must)
        except OSError as error:
            raise NeedsHuman(f"{error.filename or self.root} cannot be changed: {error.strerror or error}") from error

    def _write(self, inside: str, content: bytes, mode: int) -> None:
        write_whole(self._room_for(inside), content, mode=mode)

    def _link(self, inside: str, target: str) -> None:
        path = self._room_for(inside)
        replace_link(path, target)

    def _room_for(self, inside: str) -> Path:
        """The path, with its folder; what is there with other content is kept beside it, as it is."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            raise NeedsHuman(f"{path} is a folder, where a file of ailasd belongs: move it away")
        if os.path.lexists(path):
            old = kept_as(path)
            old.unlink(missing_ok=True)
            # a second name, so that the place is never empty
            os.link(path, old, follow_symlinks=False)
        return path

    def _remove(self, inside: str) -> None:
        path = self.path(inside)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # a folder of drop-ins that is empty now
            if path.parent.name.endswith(".d") and path.parent.name.startswith("ailasd"):
                path.parent.rmdir()


def kept_as(path: Path) -> Path:
    """Where what was at that path is kept; NetworkManager takes any other name in its folder for a connection."""
    return path.with_name(f"{path.name}.ailasd-old~")


def replace_link(path: Path, target: str) -> None:
    """Let a symlink show somewhere else; a power cut leaves it as it was or as it is to be."""
    new = path.with_name(f"{path.name}.ailasd-new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)
    fsync_folder(path.parent)


def run(
    command: Sequence[str], *, must: bool = True, user: str | None = None, timeout: float | None = COMMAND_S
) -> str:
    """What a command of the system prints; "" if there is none.

    Args:
        command: found as root's shell would find it; its words are never a shell's.
        must: else a failure, or that there is no such command, does not matter.
        user: whose rights it has, with the group of the same name; None: ours.
        timeout: seconds.

    Raises:
        NeedsHuman: it failed, with its last words.
    """
    printed, failed, said = "", "", ""
    try:
        done = subprocess.run(  # noqa: S603  (a list of words that we chose)
            list(command), capture_output=True, text=True, errors="replace", check=False, timeout=timeout, user=user,
            group=user, extra_groups=None if user is None else [], stdin=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        printed, said = done.stdout, (done.stdout + done.stderr).strip()
        failed = f"failed ({done.returncode})" if done.returncode else ""
    except FileNotFoundError:
        failed = "is not installed"
    except subprocess.TimeoutExpired:
        failed = f"did not end within {timeout:.0f} s"
    if failed and must:
        last = "\n".join(said.splitlines()[-15:])  # what a person needs of a long output
        raise NeedsHuman(f"{' '.join(command)} {failed}{f': {last}' if last else ''}")
    return printed
