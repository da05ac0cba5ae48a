"""The only part of ailasd with a privilege: it mounts camera cards, and does nothing else.

systemd starts it, as root with CAP_SYS_ADMIN alone, for each request of the daemon (``ailasd-mount.socket``). It reads
one line, does what it says, answers with one line of JSON and ends:

=======================  ============================================================================================
``mount NAME TYPE``      mount the block device NAME ("sdb1") read-only, as a file system of TYPE
``bind NAME``            make somebody else's mount of it readable in our own folder, read-only
``writable NAME``        make it writable in a place of its own, as long as nobody but us has mounted it
``readonly NAME``        the end of that, everything written
``unmount NAME``         undo all of it
=======================  ============================================================================================

The daemon reads pictures of strangers, so whatever it says is doubted here. It cannot name a path; a device must be
removable and in use by nobody but people's desktops; only the kernel's own drivers for the file systems in
``AILASD_FILE_SYSTEMS`` are used, explicitly. Standard library only: there is little to go wrong, and it starts fast.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pwd
import re
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path("/run/ailasd-cards")
"""Mount points of our own: NAME, and NAME.rw while it is writable. Root's alone (``ailasd.tmpfiles``)."""
USER: Final = "ailasd"
OURS: Final = (FOLDER, Path("/media", USER), Path("/run/media", USER))
"""Whatever is mounted directly in one of these was mounted for us; the last two are UDisks2's folders for our user."""

SAFE: Final = "nosuid,nodev,noexec,nosymfollow"  # nosymfollow: Linux 5.10; util-linux 2.38 and Debian 12 have it
_FAT: Final = "uid={uid},gid={gid},umask=0027"  # files belong to nobody on it: the daemon's alone
OPTIONS: Final = {"vfat": f"{_FAT},utf8", "exfat": _FAT, "ntfs3": _FAT}

MOUNT_S: Final = 60.0
"""For one run of mount(8) or umount(8). A dying card is asked six times by the kernel; ours has long given up then."""
LONGEST: Final = 256  # bytes of a request
_NAME: Final = re.compile(r"[a-z][a-z0-9]{1,30}")  # of a block device in the kernel: sdb1, mmcblk0p1
_BLOCKS: Final = Path("/sys/class/block")


class Refused(Exception):
    """A request is not granted; ``why``, one word: "refused", "busy", "gone", "failed", "protected", "in_the_way"."""

    def __init__(self, text: str, why: str = "refused") -> None:
        super().__init__(text)
        self.why = why


# -- what is mounted --------------------------------------------------------------------------------------------------
class Mount(NamedTuple):
    """A line of mountinfo, proc_pid_mountinfo(5). ``device``: "8:17"; ``source``: "/dev/sdb1"."""

    device: str
    path: Path
    read_only: bool
    source: str

    @property
    def ours(self) -> bool:
        """Whether it was mounted for us."""
        return self.path.parent in OURS


def mounts() -> list[Mount]:
    """The mounts of whole file systems that this process sees, oldest first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        _, _, device, root, path, options = before.split(b" ")[:6]
        _, source, of_all = after.split(b" ", 2)
        if root == b"/":
            read_only = b"ro" in options.split(b",") or b"ro" in of_all.split(b",")
            found.append(Mount(device.decode(), Path(_unescaped(path)), read_only, _unescaped(source)))
    return found


def _unescaped(text: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), text))


# -- which devices ----------------------------------------------------------------------------------------------------
def _checked(name: str) -> str:
    """Give the device number ("8:17") of a block device that may be touched.

    Raises:
        Refused: it may not.
    """
    try:
        block = (_BLOCKS / name).resolve(strict=True)
        disk = block.parent if (block / "partition").exists() else block
        if not _removable(disk):
            raise Refused(f"{name} is no removable medium")
        if not int((block / "size").read_text()):
            raise Refused(f"there is no card in {name}", "gone")
        device = (block / "dev").read_text().strip()
        there = Path("/dev", name).lstat()
    except FileNotFoundError as error:
        raise Refused(f"there is no {name}", "gone") from error
    if not stat.S_ISBLK(there.st_mode) or f"{os.major(there.st_rdev)}:{os.minor(there.st_rdev)}" != device:
        raise Refused(f"/dev/{name} is not what the kernel calls {name}")
    for part in [block for block in disk.iterdir() if (block / "partition").exists()] or [disk]:
        if not _free(part.name) and not _explained((part / "dev").read_text().strip()):
            raise Refused(f"{part.name}, on the same disk, is in use by this machine itself")
    return device


def _removable(disk: Path) -> bool:
    """USB, or a medium that can be taken out of its drive, or an SD card in a slot (an eMMC is soldered in)."""
    if (disk / "removable").read_text().strip() == "1":
        return True
    kind = disk / "device/type"
    if disk.name.startswith("mmcblk") and kind.exists() and kind.read_text().strip() == "SD":
        return True
    return any((above / "subsystem").resolve().name == "usb" for above in disk.parents)


def _free(name: str) -> bool:
    """Whether nothing in any namespace holds it: a mount, swap, LVM, RAID, encryption. The kernel itself knows."""
    for wait_s in (0.1, 0.2, 0.4, 0.0):  # another one who asks the same holds it for an instant
        try:
            os.close(os.open(Path("/dev", name), os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise Refused(f"{name} does not answer: {error.strerror}", "gone") from error
            time.sleep(wait_s)
        else:
            return True
    return False


def _explained(device: str) -> bool:
    """Whether it is held by nothing but what we or a desktop's automounter mounted (/media/USER/LABEL)."""
    held = [mount for mount in mounts() if mount.device == device]
    return bool(held) and all(mount.ours or _is_desktop_s(mount.path) for mount in held)


def _is_desktop_s(path: Path) -> bool:
    return path.parent.parent in (Path("/media"), Path("/run/media"))


# -- what is done -----------------------------------------------------------------------------------------------------
def _mount(name: str, kind: str) -> Path:
    if kind not in os.environ.get("AILASD_FILE_SYSTEMS", "vfat exfat").split():
        raise Refused(f"the file system {kind} is not one of AILASD_FILE_SYSTEMS of ailasd-mount@.service")
    device = _checked(name)
    if there := [mount for mount in mounts() if mount.device == device]:
        raise Refused(f"{name} is mounted already, at {there[0].path}", "busy")
    us = pwd.getpwnam(USER)
    options = f"ro,{SAFE},{OPTIONS.get(kind, '').format(uid=us.pw_uid, gid=us.pw_gid)}".rstrip(",")
    with _place(name) as place:
        # --internal-only: no other program (mount.exfat, say) is ever started by it
        _run("mount", "--internal-only", "-t", kind, "-o", options, f"/dev/{name}", place)
        if not any(mount.device == device and mount.path == place for mount in mounts()):
            _let_go(place)  # the next card took its name meanwhile
            raise Refused(f"{name} was pulled out", "gone")
    return place


def _bind(name: str) -> Path:
    device = _checked(name)
    theirs = [mount for mount in mounts() if mount.device == device and not mount.ours]
    if not theirs:
        raise Refused(f"nobody else has mounted {name}", "gone")
    with _place(name) as place:
        _clone(theirs[-1].path, place, read_only=True)
    return place


def _writable(name: str) -> Path:
    device = _checked(name)
    there = [mount for mount in mounts() if mount.device == device]
    if not there or not all(mount.ours for mount in there):
        raise Refused(f"{name} is not mounted by ailasd alone", "busy")
    if (_BLOCKS / name / "ro").read_text().strip() != "0":
        raise Refused(f"{name} is write protected", "protected")
    # A remount is not seen in the daemon's own mount namespace, a new mount is; so it gets one that is writable.
    with _place(f"{name}.rw") as place:
        _run("mount", "--options-mode=ignore", "-o", f"remount,rw,{SAFE}", there[0].path)
        _clone(there[0].path, place, read_only=False)
    return place


def _readonly(name: str) -> Path:
    _cleared(FOLDER / f"{name}.rw")
    for mount in mounts():
        if mount.ours and mount.source == f"/dev/{name}":
            _run("mount", "--options-mode=ignore", "-o", f"remount,ro,{SAFE}", mount.path)  # writes everything out
    return FOLDER / name


def _unmount(name: str) -> Path:
    """By name, since the device may be gone."""
    _cleared(FOLDER / f"{name}.rw")
    for mount in mounts():
        if mount.ours and mount.path.parent != FOLDER and mount.source == f"/dev/{name}":  # UDisks2 is not there
            _let_go(mount.path)
    return _cleared(FOLDER / name)


def _eject(name: str) -> Path:
    """Unmount what a desktop mounted, as its own "eject" does: not while anybody has something on it open."""
    device = _checked(name)
    for mount in mounts():
        if mount.device == device and _is_desktop_s(mount.path):
            _run("umount", "--internal-only", mount.path)
    return FOLDER / name


@contextmanager
def _place(name: str) -> Iterator[Path]:
    """A mount point to use: a folder of our own, free, and gone again if it does not become one."""
    above = FOLDER.lstat()
    if not stat.S_ISDIR(above.st_mode) or above.st_uid != 0 or above.st_mode & 0o022:
        raise Refused(f"{FOLDER} is not a folder of root's alone: systemd-tmpfiles --create puts that right")
    place = FOLDER / name
    _let_go(place)  # of an earlier card of this name
    place.mkdir(mode=0o755, exist_ok=True)  # raises if it is anything but a folder, or a symlink to one
    if place.is_symlink() or any(place.iterdir()):
        raise Refused(f"{place} is in the way: it should be an empty folder, or not there", "in_the_way")
    try:
        yield place
    except BaseException:
        place.rmdir()
        raise


def _cleared(place: Path) -> Path:
    """A mount point of ours, unmounted and gone."""
    _let_go(place)
    if place.is_dir():
        place.rmdir()
    return place


def _let_go(path: Path) -> None:
    """Unmount whatever is mounted there; lazily if somebody still looks at it or it does not answer."""
    for mount in mounts():
        if mount.path == path:
            try:
                _run("umount", "--internal-only", path)
            except Refused:
                _run("umount", "--internal-only", "--lazy", path)


def _run(*command: str | Path) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    process = subprocess.Popen(  # noqa: S603  (mount and umount; what comes from outside was checked)
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, said = process.communicate(timeout=MOUNT_S)
    except subprocess.TimeoutExpired as error:
        process.kill()  # not waited for: what the kernel does not let go of stays until it does
        raise Refused(f"{command[0]} gave no answer within {MOUNT_S:.0f} s", "failed") from error
    if process.returncode:
        text = " ".join(said.decode(errors="backslashreplace").split())
        raise Refused(text or f"{command[0]} failed", "protected" if "write-protected" in text else "failed")


# A mount's clone with other attributes, attached whole: mount(8) of Debian 12 does it in two steps, and the daemon's
# namespace would get what is there after the first. Numbers: linux/mount.h, and system calls are the same on all.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_RDONLY, _SAFE = 0x1, 0x2 | 0x4 | 0x8 | 0x200000  # MOUNT_ATTR_: RDONLY; NOSUID, NODEV, NOEXEC, NOSYMFOLLOW
_HERE, _EMPTY_PATH, _CLONE, _FROM_EMPTY = -100, 0x1000, 1 | os.O_CLOEXEC, 0x4


def _clone(source: Path, place: Path, *, read_only: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def call(*arguments: object) -> int:
        result: int = libc.syscall(*arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), f"{source} at {place}: {os.strerror(ctypes.get_errno())}")
        return result

    attributes = (ctypes.c_uint64 * 4)(_SAFE | (_RDONLY if read_only else 0), 0 if read_only else _RDONLY, 0, 0)
    tree = call(_OPEN_TREE, _HERE, os.fsencode(source), _CLONE)
    try:
        call(_MOUNT_SETATTR, tree, b"", _EMPTY_PATH, attributes, ctypes.sizeof(attributes))
        call(_MOVE_MOUNT, tree, b"", _HERE, os.fsencode(place), _FROM_EMPTY)
    finally:
        os.close(tree)


# -- one request ------------------------------------------------------------------------------------------------------
_VERBS: Final = {
    "mount": _mount,
    "bind": _bind,
    "writable": _writable,
    "readonly": _readonly,
    "unmount": _unmount,
    "eject": _eject,
}


def answer(request: bytes) -> dict[str, str]:
    """Do what a line says; ``{"path": ...}``, or ``{"why": ..., "problem": a sentence}``."""
    verb, *words = request.decode("ascii", "replace").split() or [""]
    if verb not in _VERBS or len(words) != (2 if verb == "mount" else 1) or not _NAME.fullmatch(words[0]):
        return {"why": "refused", "problem": "this is no request"}
    try:
        return {"path": str(_VERBS[verb](*words))}  # type: ignore[operator]
    except Refused as refused:
        return {"why": refused.why, "problem": str(refused)}
    except OSError as error:
        return {"why": "failed", "problem": str(error)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(sys.stdin.buffer.readline(LONGEST))) + "\n")
