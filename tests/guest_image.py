"""A Debian guest that can be started in QEMU, built once and kept: disk, kernel, a tiny first root.

What is in it is a stock headless Debian 12: systemd as PID 1, udev, D-Bus, polkit, UDisks2, Python with venv; and the
QEMU guest agent, by which the tests act in it. Its network has neither a default route nor a name server.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from provision import checked, install_guest_programs, output_of

SUITE = "bookworm"
PACKAGES = """
    busybox-static dbus dosfstools e2fsprogs exfatprogs fdisk iproute2 kmod polkitd procps python3 python3-venv
    qemu-guest-agent systemd-sysv udev udisks2
    """
DISK_SIZE = "4G"  # sparse: 700 MB of Debian, the rest for the kit's pictures
UNREAD = ("doc", "man", "locale", "info", "i18n")  # of /usr/share: a third of what would have to be written

MODULES = """
    arch crypto lib block mm fs virt drivers/block drivers/char drivers/cdrom drivers/hid drivers/input
    drivers/leds drivers/mmc drivers/scsi drivers/usb drivers/virtio
    drivers/net/virtio_net.ko drivers/net/net_failover.ko drivers/net/wireguard
    net/9p net/core net/802 net/unix net/ipv4/tcp_bbr.ko net/ipv4/tcp_diag.ko net/ipv4/inet_diag.ko
    net/ipv4/udp_tunnel.ko net/ipv6/ip6_udp_tunnel.ko
    """
"""Of the kernel's module tree: a fifth of its 400 MB, in which everything is that QEMU's devices want."""
FIRST_MODULES = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")  # until the disk can be mounted

MASKED = """
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    getty@tty1.service serial-getty@ttyS0.service systemd-networkd-wait-online.service systemd-timesyncd.service
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount modprobe@drm.service modprobe@efi_pstore.service
    dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount systemd-fsckd.service systemd-fsckd.socket
    """
"""What a kit has too, but only costs time here, or has nobody to talk to."""

FIRST = """
    #!/bin/busybox sh
    busybox() { /bin/busybox "$@"; }
    busybox mount -t devtmpfs dev /dev
    for module in $(busybox cat /modules/order); do busybox insmod "/modules/$module"; done
    until [ -b /dev/vda ]; do busybox usleep 10000; done
    busybox mount -t ext4 -o ro /dev/vda /root && busybox mount --move /dev /root/dev
    exec /bin/busybox switch_root /root /sbin/init
    """

ETC = {
    "hostname": "kit\n",
    "hosts": "127.0.0.1 localhost kit\n",
    "fstab": """
        /dev/vda / ext4 noatime 0 1
        host /host 9p trans=virtio,msize=262144,nofail 0 0
        """,
    "resolv.conf": "",
    "machine-id": "",  # each first boot gives it one of its own
    "systemd/network/10-wired.network": """
        [Match]
        Name=eth0
        [Network]
        Address=10.0.2.15/24
        LinkLocalAddressing=no
        """,
    "systemd/journald.conf.d/guest.conf": "[Journal]\nStorage=persistent\n",
}


class Image:
    """The files that QEMU starts; ``have`` makes them if need be."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.disk = home / "root.ext4"
        self.kernel = home / "vmlinuz"
        self.first_root = home / "first-root"
        self._stamp = home / "built"

    def have(self) -> None:
        """Build, unless what is there was built by this very text.

        Raises:
            Unavailable: something is missing here.
        """
        install_guest_programs()
        made_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        if self._stamp.exists() and self._stamp.read_text() == made_by:
            return
        began = time.monotonic()
        self._stamp.unlink(missing_ok=True)
        self.home.mkdir(parents=True, exist_ok=True)
        tree = self.home / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        self._bootstrap(tree)
        self._add_kernel(tree)
        settle(tree)
        self.disk.unlink(missing_ok=True)
        checked(["/sbin/mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", str(tree), str(self.disk), DISK_SIZE])
        shutil.rmtree(tree)
        self._stamp.write_text(made_by)  # last: a build that was killed starts again
        print(f"+ the guest's disk was built in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    def _bootstrap(self, tree: Path) -> None:
        """Debian itself, and the kernel's package beside it: unpacked below, since installing it takes a minute."""
        fetch = "apt-get -q install --yes --no-install-recommends --download-only linux-image-amd64"
        take = f'cp "$1"/var/cache/apt/archives/linux-image-[0-9]*.deb {self.home}/kernel.deb'
        checked([
            "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory",
            f"--include={','.join(PACKAGES.split())}",
            "--aptopt=Acquire::Retries 5",  # a mirror's bad moment is no reason to fail
            *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in UNREAD),
            *(f"--customize-hook={hook}" for hook in (f'chroot "$1" {fetch}', take)),
            SUITE, str(tree),
        ])  # fmt: skip

    def _add_kernel(self, tree: Path) -> None:
        patterns = [
            "./boot/vmlinuz-*",
            "./lib/modules/*/modules.*",
            *(f"./lib/modules/*/kernel/{m}*" for m in MODULES.split()),
        ]
        contents = ["dpkg-deb", "--fsys-tarfile", str(self.home / "kernel.deb")]
        unpack = [
            "tar",
            "-x",
            "-C",
            str(tree),
            "--keep-directory-symlink",
            "--wildcards",
            "--exclude=*/kvm/*",
            *patterns,
        ]
        with subprocess.Popen(contents, stdout=subprocess.PIPE) as package:
            subprocess.run(unpack, stdin=package.stdout, check=True)
        (version,) = (path.name for path in (tree / "usr/lib/modules").iterdir())
        shutil.move(tree / f"boot/vmlinuz-{version}", self.kernel)
        inside(tree, f"depmod {version}")
        self._make_first_root(tree, version)
        (self.home / "kernel.deb").unlink()

    def _make_first_root(self, tree: Path, version: str) -> None:
        """An initramfs of a shell and five modules: Debian's own takes 10 s of software emulation at each boot."""
        first = tree / "boot/first"
        for folder in ("bin", "dev", "root", "modules"):
            (first / folder).mkdir(parents=True)
        shutil.copy(tree / "bin/busybox", first / "bin")
        wanted = inside(tree, f"modprobe -S {version} --show-depends -a {' '.join(FIRST_MODULES)}")
        order = dict.fromkeys(line.split()[1] for line in wanted.splitlines() if line.startswith("insmod"))
        for path in order:
            shutil.copy(tree / path.lstrip("/"), first / "modules")
        (first / "modules/order").write_text("\n".join(Path(path).name for path in order))
        (first / "init").write_text(textwrap.dedent(FIRST).lstrip())
        (first / "init").chmod(0o755)
        inside(tree, "cd /boot/first && find . | busybox cpio -o -H newc > ../first-root")
        shutil.move(tree / "boot/first-root", self.first_root)
        shutil.rmtree(first)


def settle(tree: Path) -> None:
    """Write the guest's own settings into its file system."""
    for name, text in ETC.items():
        path = tree / "etc" / name
        path.unlink(missing_ok=True)  # resolv.conf may be a link to somewhere
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    (tree / "host").mkdir()
    inside(
        tree, f"systemctl mask {' '.join(MASKED.split())}; systemctl enable systemd-networkd qemu-guest-agent || true"
    )
    inside(tree, "systemctl set-default multi-user.target")
    shutil.rmtree(tree / "var/lib/apt/lists", ignore_errors=True)


def inside(tree: Path, command: str) -> str:
    """What a shell command prints that is run with ``tree`` as its root."""
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return output_of(["/usr/sbin/chroot", str(tree), "sh", "-ec", command], env={**os.environ, **path})


if __name__ == "__main__":
    from instance import default_home

    Image(default_home() / "guest").have()
