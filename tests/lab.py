"""A machine in a machine: udev, D-Bus, polkit, UDisks2 and our helper, all real, in namespaces of their own.

Loop devices are its cards. A file that says "1" lies over their ``removable`` in sysfs, so that everybody in there,
from UDisks2 to our helper, believes that they can be taken out. The kernels of many CI machines have neither FAT nor
exFAT, so cards have ext4; the guest (``guest.py``) has the real ones.

Nothing of it reaches the machine around: its /etc and /run are its own, and what runs in it ends with it. As root on
Debian; ``TOOLS`` lists the packages.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ailasd.cards import Medium, MediumKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKOUT: Final = Path(__file__).resolve().parent.parent
TOOLS: Final = {
    "/lib/systemd/systemd-udevd": "udev",
    "/usr/libexec/udisks2/udisksd": "udisks2",
    "/usr/lib/polkit-1/polkitd": "polkitd",
    "/usr/bin/dbus-daemon": "dbus",
    "/usr/bin/systemd-socket-activate": "systemd",
    "/usr/bin/unshare": "util-linux",
    "/usr/sbin/losetup": "mount",
    "/usr/sbin/mke2fs": "e2fsprogs",
    "/usr/sbin/ip": "iproute2",
}
"""What must be there, and the Debian package that has it."""

USER: Final = "ailasd"
UID: Final = 64_199  # nobody's on this machine, whoever else has an account here
FIRST_LOOP: Final = 200  # cards are loop devices from this number on: `losetup -f` of others gives lower ones
ADD, REMOVE = 0x4C80, 0x4C81  # LOOP_CTL_ of linux/loop.h

PREPARE: Final = """set -eu
ip link set lo up
mount --make-rprivate /
{uncover}
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lab /run/dbus /run/lock /run/udev/rules.d /run/ailasd-cards
mkdir -p /var/lib/udisks2 /dev/disk /dev/block /dev/char
for folder in /media /opt /var/lib/udisks2 /dev/disk /dev/block /dev/char; do
    mount -t tmpfs -o mode=755 tmpfs $folder
done
# of the helper: nothing is in it but ailasd
{python} -m venv --without-pip --symlinks /opt/ailasd/venv
ln -s {checkout}/ailasd /opt/ailasd/venv/lib/python3*/site-packages/
cp -a /etc /run/lab/etc
mount --bind /run/lab/etc /etc
sed -i '/^{user}:/d' /etc/passwd /etc/group
echo '{user}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin' >> /etc/passwd
echo '{user}:x:{uid}:' >> /etc/group
cp {checkout}/systemd/50-ailasd.rules /etc/polkit-1/rules.d/
echo 'SUBSYSTEM=="block", KERNEL=="loop*", ENV{{UDISKS_SYSTEM}}="0"' > /run/udev/rules.d/10-lab.rules
echo 1 > /run/lab/removable
mount --make-rshared /
/lib/systemd/systemd-udevd --daemon --resolve-names=never
dbus-daemon --system --fork --nopidfile
systemd-socket-activate --accept --inetd --listen=/run/ailasd-mount.sock -E "AILASD_FILE_SYSTEMS=vfat exfat ext4" \\
    setpriv --bounding-set=-all,+sys_admin --inh-caps=-all --no-new-privs \\
    /opt/ailasd/venv/bin/python -I -m ailasd.cards.privileged 2>/dev/null &
while [ ! -S /run/ailasd-mount.sock ]; do sleep 0.05; done
chown {user}:{user} /run/ailasd-mount.sock
chmod 600 /run/ailasd-mount.sock
echo ready
exec sleep infinity
"""


def missing() -> str | None:
    """Why there can be no lab here, a sentence; or None."""
    if os.geteuid() != 0:
        return "the lab needs root: namespaces, loop devices, mounts"
    if packages := sorted({package for tool, package in TOOLS.items() if not Path(tool).exists()}):
        return f"the lab needs {' '.join(packages)}: apt-get install them"
    return None


@dataclass(frozen=True)
class LabCard:
    """A card that is plugged in."""

    medium: Medium
    image: Path
    device: str

    def yank(self) -> None:
        """The card leaves its reader: its size is 0 from now on, and reading gives EIO."""
        os.truncate(self.image, 0)
        run("losetup", "--set-capacity", self.device)


class Lab:
    """The machine, as long as its context lasts.

    Args:
        base: a folder for images.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._loops: list[int] = []

    def __enter__(self) -> Self:
        script = PREPARE.format(
            user=USER, uid=UID, checkout=CHECKOUT, python=sys.executable,
            uncover=_uncovering(Path(sys.prefix), Path(sys.base_prefix), CHECKOUT, self._base),
        )  # fmt: skip
        log = self._base / "lab.log"
        self._unshare = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-c", script],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdout=subprocess.PIPE,
            stderr=log.open("wb"),
            text=True,
        )
        assert self._unshare.stdout
        assert self._unshare.stdout.readline() == "ready\n", f"the lab did not start: {log.read_text()}"
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        self.pid = int(children.read_text().split()[0])
        return self

    def __exit__(self, *exc: object) -> None:
        os.kill(self.pid, signal.SIGKILL)  # the first of its PID namespace: everything in it ends, and every mount
        self._unshare.wait(30)
        assert self._unshare.stdout
        self._unshare.stdout.close()
        for number in self._loops:
            subprocess.run(["losetup", "--detach", f"/dev/loop{number}"], capture_output=True, check=False)
            with suppress(OSError):
                _control(REMOVE, number)

    # -- doing something in it ----------------------------------------------------------------------------------------
    def command(self, *command: str | Path, user: str | None = None, daemon_s_namespace: bool = False) -> list[str]:
        """The command line that runs it in here.

        Args:
            *command: the program and its arguments.
            user: as whom, and in that group of the same name; None: root.
            daemon_s_namespace: in a mount namespace of its own below the machine's, as a sandboxed service has it.
        """
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--"]
        if daemon_s_namespace:
            inside += ["unshare", "--mount", "--propagation", "slave", "--"]
        if user:
            inside += ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--bounding-set=-all", "--"]
        return inside + [str(word) for word in command]

    def run(self, *command: str | Path, user: str | None = None) -> str:
        """What a command prints in here; it must succeed within 60 s."""
        return run(*self.command(*command, user=user))

    def python(self, code: str, *arguments: str, user: str | None = USER, **how: bool) -> subprocess.Popen[str]:
        """Start a Python program in here that can import ailasd and the tests, with pipes to talk to it."""
        words = ["env", f"PYTHONPATH={CHECKOUT}:{CHECKOUT}/tests", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"]
        words += [sys.executable, "-c", code, *arguments]
        return subprocess.Popen(
            self.command(*words, user=user, **how), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def signal(self, program: str, number: int) -> None:
        """Send a signal to a program in here, by its name; it is fine if it does not run."""
        subprocess.run(self.command("pkill", f"-{number}", "-x", program), check=False)

    def mounts(self, text: str) -> list[str]:
        """The lines of mountinfo in here with this text."""
        return [line for line in self.run("cat", "/proc/1/mountinfo").splitlines() if text in line]

    # -- cards --------------------------------------------------------------------------------------------------------
    @contextmanager
    def card(
        self, fill: Callable[[Path], None], *, size: int = 32 << 20, write_protected: bool = False
    ) -> Iterator[LabCard]:
        """A card with ext4 that holds what ``fill`` puts into a folder; plugged in until the end of the context."""
        number = next(number for number in range(FIRST_LOOP, FIRST_LOOP + 800) if _added(number))
        self._loops.append(number)
        content, image = self._base / f"card-{number}", self._base / f"card-{number}.img"
        content.mkdir()
        fill(content)
        for path in (content, *content.rglob("*")):
            os.chown(path, UID, UID, follow_symlinks=False)
        image.write_bytes(b"")
        os.truncate(image, size)
        run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", f"root_owner={UID}:{UID}", "-d", content, image)
        name = f"loop{number}"
        self.run("mount", "--bind", "/run/lab/removable", f"/sys/devices/virtual/block/{name}/removable")
        self.run("losetup", *(["--read-only"] if write_protected else []), f"/dev/{name}", image)
        self.run("udevadm", "settle", "--timeout=20")
        medium = Medium(
            f"{name}-1", MediumKind.CARD, f"/dev/{name}", "Lab Reader", name, "ext4", size=size,
            write_protected=write_protected,
        )  # fmt: skip
        try:
            yield LabCard(medium, image, f"/dev/{name}")
        finally:
            for line in reversed(self.mounts(f"/dev/{name} ")):
                subprocess.run(self.command("umount", "--lazy", line.split()[4]), check=False)
            self.run("losetup", "--detach", f"/dev/{name}")
            shutil.rmtree(content)
            image.unlink()


def run(*command: str | Path) -> str:
    """What a command prints; it must succeed within 60 s."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def _uncovering(*folders: Path) -> str:
    """Shell commands that let every user into these folders, which may lie in somebody's home."""
    closed = {above for folder in folders for above in folder.parents if not above.stat().st_mode & 0o001}
    tops = [one for one in closed if not closed & set(one.parents)]
    keep = [f"mkdir -p /mnt/{number}; mount --rbind '{folder}' /mnt/{number}" for number, folder in enumerate(folders)]
    hide = [f"mount -t tmpfs -o mode=755 tmpfs '{top}'" for top in tops]
    back = [f"mkdir -p '{folder}'; mount --rbind /mnt/{number} '{folder}'" for number, folder in enumerate(folders)]
    return "\n".join(["mount -t tmpfs -o mode=755 tmpfs /mnt", *keep, *hide, *back])


def _control(request: int, number: int) -> None:
    with Path("/dev/loop-control").open("rb") as control:
        fcntl.ioctl(control, request, number)


def _added(number: int) -> bool:
    """Whether that loop device is ours now."""
    try:
        _control(ADD, number)
    except FileExistsError:
        return False
    return True
