"""Make a card readable without the daemon having any privilege: somebody else's mount, UDisks2, or our own helper.

What is mounted is read from the kernel's own list each time: others mount and unmount too, and a card may be gone.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ailasd.cards import MediumKind, udisks
from ailasd.cards.privileged import OURS, Mount, mounts
from ailasd.cards.udisks import Unwilling
from ailasd.errors import AilasdError, NeedsHuman, SourceGone, TryLater, Unreadable
from ailasd.logs import Event, record
from ailasd.sources import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ailasd.cards import Medium

HELPER: Final = Path("/run/ailasd-mount.sock")
"""Where ``privileged`` listens (``ailasd-mount.socket``)."""
HELPER_S: Final = 60.0
"""For an answer of it. It mounts a card of 1 TB in seconds, but a small Pi under load takes seconds to start it, and a
slow card to write out what was deleted."""
LONGEST: Final = 4096  # bytes of an answer of it

ATTEMPTS: Final = 3
"""A desktop's automounter and we see a card at the same moment: who comes second looks again."""
BLOCKS: Final = Path("/sys/class/block")


class HelperRefused(Exception):
    """The helper did not; ``why`` as it says, or "away" if it does not answer."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(text)
        self.why = why


class Mounting:
    """Mounts and unmounts cards.

    Args:
        helper: the socket of our privileged helper.
    """

    def __init__(self, *, helper: Path = HELPER) -> None:
        self._helper = helper

    @contextmanager
    def mounted(self, medium: Medium) -> Iterator[Path]:
        """The card's file system, readable, as long as the context lasts.

        Read-only, nosuid, nodev, noexec and nosymfollow, unless a desktop mounted it first: its mount is used as it is,
        and left alone until ``let_go``. Whatever happens, ours is unmounted at the end.

        Args:
            medium: a card without a ``problem``.

        Raises:
            Unreadable: it cannot be mounted; a sentence that names the way out.
            SourceGone: it was pulled out meanwhile.
            TryLater: after the context, it could not be unmounted.
        """
        self._release(medium.node)  # of an earlier life, or of the card before it in this reader
        path, is_ours = self._readable(medium)
        try:
            yield path
        except BaseException:
            if is_ours:
                self._release(medium.node, path)
            raise
        if is_ours and (left := self._release(medium.node, path)):
            raise TryLater(f"{medium.label} was read, but it is still mounted at {printable(str(left))}")

    @contextmanager
    def writable(self, medium: Medium) -> Iterator[Path]:
        """The same card, inside ``mounted``, writable as long as the context lasts; then everything is written out.

        Yields:
            Where it is writable, which may be another place.

        Raises:
            NeedsHuman: it is write protected, or somebody else mounted it; a sentence that names the way out.
            SourceGone: it was pulled out.
        """
        there = self._there(medium)
        if medium.write_protected:
            raise NeedsHuman(f"{medium.label} is write protected: move the little switch on it, or clear it elsewhere")
        for mount in there:
            if not mount.read_only and os.access(mount.path, os.W_OK | os.X_OK):
                yield mount.path  # somebody else's, but as good as ours
                return
        name = _name(medium)
        try:
            path = Path(self._ask("writable", name))
        except HelperRefused as error:
            raise self._not_writable(medium, there, error) from error
        try:
            yield path
        finally:
            with suppress(HelperRefused):  # it is unmounted soon in any case, and that writes everything out too
                self._ask("readonly", name)

    def let_go(self, medium: Medium) -> str | None:
        """Undo what a desktop mounted, before anybody is told to pull the card out: what is mounted may be written to.

        To be called when all is read. The desktop's user may ask UDisks2 for that, and our helper may do it for the
        service; neither does it while somebody has anything on the card open.

        Returns:
            Where it is still mounted, printable; None: nowhere.
        """
        if medium.kind is not MediumKind.CARD:
            return None
        try:
            if self._there(medium):
                with suppress(Unwilling):
                    udisks.unmount(medium.node, force=False)
            if self._there(medium):
                with suppress(HelperRefused):
                    self._ask("eject", _name(medium))
            return next((printable(str(mount.path)) for mount in self._there(medium)), None)
        except SourceGone:
            return None

    def release_leftovers(self) -> list[str]:
        """Unmount what an earlier life of ours left mounted. To be called before anything is mounted.

        Returns:
            The places, printable.
        """
        left = [mount for mount in mounts() if mount.ours]
        for node in {mount.source for mount in left}:
            self._release(node)
        still = {mount.path for mount in mounts()}
        return [printable(str(mount.path)) for mount in left if mount.path not in still]

    def power_off(self, medium: Medium) -> str | None:
        """Switch the reader or stick off, if nothing else is in it.

        A reader that is switched off sees no further card until it is plugged in again.

        Returns:
            Why it was not switched off, a sentence; or None.
        """
        why = udisks.power_off(medium.node)
        return None if why is None else printable(why)

    # -- mount, unmount -----------------------------------------------------------------------------------------------
    def _readable(self, medium: Medium) -> tuple[Path, bool]:
        """Where it can be read, and whether that mount is ours to undo."""
        for _ in range(ATTEMPTS):
            there = self._there(medium)
            try:
                if not there:
                    return self._mount(medium), True
                for mount in there:
                    if os.access(mount.path, os.R_OK | os.X_OK):
                        return mount.path, False
                return Path(self._ask("bind", _name(medium))), True
            except Unwilling as error:  # AlreadyMounted
                problem = str(error)
            except HelperRefused as error:
                if error.why not in ("busy", "gone"):
                    raise Unreadable(f"{medium.label} cannot be mounted: {error}") from error
                problem = str(error)
        raise Unreadable(f"{medium.label} cannot be mounted: {problem}; take it out and put it in again")

    def _mount(self, medium: Medium) -> Path:
        assert medium.fs is not None  # or it has a problem
        try:
            udisks.mount(medium.node, medium.fs)
        except Unwilling as error:
            if error.name == "AlreadyMounted":
                raise
            self._there(medium)  # or it is gone, which explains everything
            problem = printable(str(error))
            try:
                path = Path(self._ask("mount", _name(medium), medium.fs))
            except HelperRefused as refused:
                if refused.why == "busy":
                    raise
                self._there(medium)
                raise Unreadable(f"{medium.label} cannot be mounted: {_way_out(refused, problem)}") from refused
            record(Event.MOUNT_HELPED, card=medium.label, problem=problem)
            return path
        mine = self._there(medium)
        if not mine:  # it was pulled out at this very moment, and UDisks2 has tidied up
            raise SourceGone(f"{medium.label} was pulled out while it was being mounted")
        return mine[-1].path

    def _release(self, node: str, path: Path | None = None) -> Path | None:
        """Undo what is mounted of a device for us; whether it is still there does not matter.

        Args:
            node: "/dev/sdb1".
            path: this one is ours too.

        Returns:
            Where it is still mounted, if nobody would unmount it.
        """
        if not (left := _ours(node, path)):
            return None
        if any(one.parent != OURS[0] for one in left):
            with suppress(Unwilling):
                udisks.unmount(node)
        if _ours(node, path):
            with suppress(HelperRefused):
                self._ask("unmount", node.removeprefix("/dev/"))
        return next(iter(_ours(node, path)), None)

    def _there(self, medium: Medium) -> list[Mount]:
        """Where the card is mounted now, by whomever; raises SourceGone if another one or none is in its place."""
        try:
            block = BLOCKS / _name(medium)
            device, size = (block / "dev").read_text().strip(), 512 * int((block / "size").read_text())
        except OSError as error:
            raise SourceGone(f"{medium.label} is not there any more") from error
        if not size or (medium.size and size != medium.size):
            raise SourceGone(f"{medium.label} is not there any more, its reader is")
        return [mount for mount in mounts() if mount.device == device]

    def _not_writable(self, medium: Medium, there: list[Mount], error: HelperRefused) -> AilasdError:
        if error.why == "gone":
            return SourceGone(f"{medium.label} is not there any more")
        if error.why == "protected":
            return NeedsHuman(f"{medium.label} is write protected: move the little switch on it, or clear it elsewhere")
        if strangers := [mount for mount in there if not mount.ours]:
            where = printable(str(strangers[0].path))
            return NeedsHuman(
                f"{medium.label} is mounted by somebody else, at {where}, so ailasd may not delete on it: "
                "eject it there, take it out, and put it in again"
            )
        return NeedsHuman(f"{medium.label} cannot be made writable: {error}")

    def _ask(self, *words: str) -> str:
        """What the helper answers: a path."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as to:
                to.settimeout(HELPER_S)
                to.connect(str(self._helper))
                to.sendall(" ".join(words).encode() + b"\n")
                answer = json.loads(to.makefile("rb").readline(LONGEST))
        except (OSError, ValueError) as error:
            raise HelperRefused(f"ailasd's own helper does not answer ({error})", "away") from error
        if "path" in answer:
            return str(answer["path"])
        raise HelperRefused(printable(str(answer.get("problem"))), str(answer.get("why")))


def _name(medium: Medium) -> str:
    return medium.node.removeprefix("/dev/")


def _ours(node: str, path: Path | None) -> list[Path]:
    return [mount.path for mount in mounts() if mount.source == node and (mount.ours or mount.path == path)]


def _way_out(refused: HelperRefused, problem: str) -> str:
    """Why neither UDisks2 nor the helper mounted it, and what to do."""
    if refused.why == "away":
        return f"{problem}; {refused}: `sudo ailasd setup` puts that right"
    if refused.why == "failed":
        return f"{refused}; it may be damaged: see whether the camera still shows its pictures"
    return str(refused)
