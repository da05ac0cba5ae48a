"""Mounts for hostile cards: in a mount namespace of our own, so that nothing of them is left whatever happens.

FAT and exFAT are mounted by the kernel where it can, else by drivers in user space (fusefat, exfat-fuse).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CLONE_NEWNS: Final = 0x20000
OPTIONS: Final = "ro,nosuid,nodev,noexec"
PROGRAMS: Final = {
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "mkfs.exfat": "exfatprogs",
    "mke2fs": "e2fsprogs",
    "fusefat": "fusefat",
    "mount.exfat-fuse": "exfat-fuse",
    "losetup": "mount",
    "partx": "util-linux",
    "sfdisk": "fdisk",
}
"""What these tests need -> Debian's package with it."""


def missing() -> str:
    """What these tests lack here, as a sentence; empty: nothing."""
    if os.geteuid() != 0:
        return "mounting needs root"
    lacking = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    return f"apt-get install {' '.join(lacking)}" if lacking else ""


class NotMounted(Exception):
    """No driver takes this file system."""


def guarded(base: Path) -> None:
    """Let this process write nowhere but below ``base`` (and to devices), as far as it has root's power to begin with.

    It gets a mount namespace of its own (``os.unshare`` is of Python 3.12) in which all else is read-only: a case that
    goes wrong as root must not cost the machine its files.
    """
    os.environ["TMPDIR"] = tempfile.tempdir = str(base)
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "no mount namespace is to be had")
    run("mount", "--make-rprivate", "/")
    run("mount", "--bind", base, base)
    kept = ("/proc", "/sys", "/dev", str(base))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        there = line.split()[4].encode().decode("unicode_escape")  # as the kernel writes blanks: \040
        if there not in kept and not there.startswith(("/proc/", "/sys/")):
            run("mount", "-o", "remount,bind,ro", there)
    for outside in ("/", "/etc", "/tmp"):  # seen to be so, not hoped
        if os.access(outside, os.W_OK):
            raise OSError(f"{outside} can still be written")


def run(*command: str | Path, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
    """Run a program, for 30 s at the most; what it prints.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(
        command, capture_output=True, input=stdin, text=True, timeout=30, check=False, env={**os.environ, **(env or {})}
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


def in_the_kernel(fs: str) -> bool:
    """Whether the kernel has that file system."""
    with suppress(OSError, RuntimeError):
        run("modprobe", "-q", fs)
    return any(line.split()[-1] == fs for line in Path("/proc/filesystems").read_text().splitlines())


@contextmanager
def looped(image: Path) -> Iterator[str]:
    """A loop device over ``image``."""
    device = ""
    for _ in range(10):  # somebody else may take the free one that was found
        with suppress(RuntimeError):
            device = run("losetup", "--show", "-f", image).strip()
            break
        time.sleep(0.2)
    if not device:
        raise OSError("no loop device is to be had")
    try:
        yield device
    finally:
        run("losetup", "-d", device)


Mount: TypeAlias = "tuple[Path, subprocess.Popen[bytes] | None]"
"""Where it is mounted, and its driver if that is in user space."""


@contextmanager
def attached(device: str, fs: str, there: Path, *, options: str = OPTIONS, user_space: bool = False) -> Iterator[Mount]:
    """Mount a device or an image, as the service mounts cards; with a driver in ``user_space`` in any case.

    Raises:
        NotMounted: no driver takes it.
    """
    there.mkdir(exist_ok=True)
    driver = None
    if in_the_kernel(fs) and not user_space:
        try:
            run("mount", "-t", fs, "-o", options, device, there)
        except RuntimeError as error:
            raise NotMounted(str(error)) from error
    else:
        program = {"vfat": ["fusefat", "-f"], "exfat": ["mount.exfat-fuse", "-d"]}[fs]
        driver = subprocess.Popen(
            [*program, "-o", options, device, there], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 10
        while not there.is_mount():
            if driver.poll() is not None or time.monotonic() > end:
                driver.kill()
                raise NotMounted(f"{program[0]} ended with {driver.wait()}")
            time.sleep(0.01)
    try:
        yield there, driver
    finally:
        run("umount", "-l", there)
        if driver:
            with suppress(subprocess.TimeoutExpired):
                driver.wait(5)
            driver.kill()


@contextmanager
def mounted(image: Path, fs: str, base: Path, *, cut: int | None = None, user_space: bool = False) -> Iterator[Mount]:
    """Mount an image of a card, or the first partition of a disk that can be mounted.

    Args:
        image: is changed by ``cut``.
        fs: its file system, or "disk".
        base: a folder for the mount point.
        cut: reading from this byte on gives an I/O error: the kernel gives it where a loop device's file has no end yet
            no data.
        user_space: the driver must not be the kernel's own.

    Raises:
        NotMounted: no driver takes it.
    """
    there = base / "mounted"
    with ExitStack() as stack:
        if fs == "vfat" and not in_the_kernel(fs):  # this driver takes the image itself, and shows a shorter one's end
            yield stack.enter_context(attached(str(image), fs, there))
            return
        device = stack.enter_context(looped(image))
        if cut is not None:
            os.truncate(image, cut)
        if fs != "disk":
            yield stack.enter_context(attached(device, fs, there, user_space=user_space))
            return
        with suppress(RuntimeError):
            run("partx", "-a", device)
        stack.callback(_without_partitions, device)
        for node in (*sorted(Path("/dev").glob(f"{Path(device).name}p*")), device):
            with suppress(NotMounted):
                there_and_driver = stack.enter_context(attached(str(node), "vfat", there))
                break
        else:
            raise NotMounted("no partition can be mounted")
        yield there_and_driver


def _without_partitions(device: str) -> None:
    with suppress(RuntimeError):
        run("partx", "-d", device)


def ext4_of(folder: Path, image: Path) -> None:
    """An ext4 image of what lies in ``folder``, device nodes and all."""
    with image.open("wb") as stream:
        stream.truncate(256 << 20)
    run("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-N", "16384", "-d", folder, image)


def exfat_filled(image: Path, folder: Path) -> None:
    """Copy what lies in ``folder`` onto an empty exFAT image."""
    there = image.with_suffix(".filling")
    with looped(image) as device, attached(device, "exfat", there, options="rw") as (root, _):
        shutil.copytree(folder, root, dirs_exist_ok=True)
    there.rmdir()
