"""A whole Debian machine in QEMU: start it, cut its power, run commands in it, put cards and cameras into it.

Software emulation: it runs everywhere, some ten times slower than the machine it runs on. Nothing leads out of it but
one port of this machine's loopback, which it finds as ``SERVER``.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemons import Daemons, wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest_image import Image

SERVER = "10.0.2.100"
RELAY = Path(__file__).parent / "guest" / "relay.py"
KERNEL_SAYS = (
    "root=/dev/vda console=ttyS0 quiet net.ifnames=0 mitigations=off systemd.show_status=false panic=-1 "
    # where QEMU has to wait for a processor, the kernel takes its timer for a broken one, and panics; and misjudges how
    # fast the processor's clock goes (once 17 times: all its seconds were that short), so it asks the chipset's
    "no_timer_check clocksource=acpi_pm"
)
BOOT_S = 600.0
"""A cold boot takes 36 to 50 s on an idle machine; on one that does a lot beside it, minutes."""
QEMU_S = 30.0
"""For QEMU itself to be there, on a machine that does a lot beside it."""
COPY_S = 120.0
"""A few hundred MB from disk to disk."""


class GuestError(Exception):
    """The guest, or QEMU, did not do what it was told; the text says what came back."""


class Wire:
    """A conversation in JSON lines with QEMU (QMP) or with the guest's agent, over a socket that QEMU made."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rwb")
        self.events: list[str] = []

    def say(self, command: str, arguments: dict[str, Any], *, within: float = 20.0) -> Any:
        """The answer to a command; events that come meanwhile are kept."""
        self._send(command, arguments)
        while True:
            answer = self.hear(within)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise GuestError(f"{command} {arguments}: {answer['error']['desc']}")

    def agree(self, number: int) -> None:
        """Begin anew with the agent, whatever an earlier conversation left half said or unheard."""
        self._file.write(b"\xff")  # an error to its parser, which forgets all before it
        self._send("guest-sync-delimited", {"id": number})
        while self.hear(5).get("return") != number:
            pass

    def _send(self, command: str, arguments: dict[str, Any]) -> None:
        line = {"execute": command, **({"arguments": arguments} if arguments else {})}
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def hear(self, within: float) -> dict[str, Any]:
        """The next line, be it an answer or an event."""
        self._socket.settimeout(within)
        try:
            line = self._file.readline()
        except OSError as error:
            raise GuestError(f"no answer in {within:g} s: {error}") from error
        if not line:
            raise GuestError("QEMU hung up")
        heard: dict[str, Any] = json.loads(line.rsplit(b"\xff", 1)[-1])  # the agent marks a fresh beginning so
        if "event" in heard:
            self.events.append(f"{heard['event']} {heard.get('data', {}).get('device', '')}")
        return heard

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Guest:
    """One machine, with its disk below ``home``; several may run at once.

    Attributes:
        share: a folder of this machine that the guest sees as /host.
        disk: what is on it beside what is on the disk that it was started upon.
    """

    def __init__(self, home: Path, image: Image, *, server_port: int) -> None:
        self.home = home
        self.share = home / "share"
        self.disk = home / "disk.qcow2"
        self._image = image
        self._port = server_port
        self._daemons = Daemons(home)
        self._qmp: Wire | None = None
        self._observer: Wire | None = None
        self._media: dict[str, list[str]] = {}  # what is plugged in -> the block nodes of the card in it
        self._limits: dict[str, str] = {}  # what a slow card is in -> what slows it down
        self._numbers = itertools.count()

    # -- power --------------------------------------------------------------------------------------------------------
    def renew(self, disk: Path) -> None:
        """Make it another machine, with what is on that disk, which is only read; its share is empty then."""
        self.power_cut()
        shutil.rmtree(self.home, ignore_errors=True)
        self.share.mkdir(parents=True)
        kind = {".qcow2": "qcow2", ".ext4": "raw"}[disk.suffix]
        made = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(disk), str(self.disk)]
        subprocess.run(made, check=True)

    def start(self) -> None:
        """Power on, and wait until its services are up. Its disk is as the last power cut left it."""
        self.switch_on()
        self.await_services()

    def switch_on(self) -> None:
        """Power on: what is plugged in now was there before the kernel looked."""
        self.power_cut()
        self._daemons.spawn("qemu", self._command(), env=os.environ)
        self._await((self.home / "qmp").exists, QEMU_S)
        self._qmp = Wire(self.home / "qmp")
        self._qmp.hear(QEMU_S)  # its greeting
        self.qmp("qmp_capabilities")

    def await_services(self) -> None:
        """Wait until all that starts at boot is up."""
        self._await(self._agent_answers, BOOT_S)
        self.run("systemctl is-system-running --wait; systemctl is-active multi-user.target", within=BOOT_S)

    def power_cut(self) -> None:
        """Nobody in the guest hears of it. What it had not flushed is gone: its own caches, and QEMU's disk maps."""
        self._daemons.end("qemu", signal.SIGKILL)
        for wire in filter(None, (self._qmp, self._observer)):
            wire.close()
        self._qmp = self._observer = None
        self._media.clear()
        for name in ("qmp", "agent", "observer"):
            (self.home / name).unlink(missing_ok=True)

    def copy_disk(self, copy: Path) -> None:
        """The disk as it is at this moment, for others to start upon; as after a power cut, but all is flushed."""
        self.run("sync")
        assert self._qmp is not None
        self._qmp.events.clear()
        target = {"target": str(copy), "format": "qcow2", "mode": "absolute-paths", "sync": "top"}
        self.qmp("drive-backup", job_id="copy", device="root", **target)
        self._hear_of("BLOCK_JOB_COMPLETED copy", COPY_S)

    def running(self) -> bool:
        """Whether it has power."""
        return bool(self._daemons.alive("qemu"))

    def plugged(self) -> list[str]:
        """The names of what is plugged in."""
        return [*self._media]

    def _command(self) -> list[str]:
        server = f"guestfwd=tcp:{SERVER}:{self._port}-cmd:{sys.executable} -S {RELAY} {self._port}"
        return [
            "setpriv", "--pdeathsig", "KILL",  # a guest ends with its test process, however that ends
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-machine", "q35,vmport=off,hpet=off", "-accel", "tcg,thread=multi", "-cpu", "qemu64",
            "-smp", "1", "-m", "1024", "-kernel", str(self._image.kernel), "-initrd", str(self._image.first_root),
            "-append", KERNEL_SAYS,
            # a disk with a cache of its own that is lost at a power cut, but for what was flushed
            "-drive", f"file={self.disk},if=none,id=root,format=qcow2,cache=writeback",
            "-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci",
            "-device", "virtio-scsi-pci,id=fixed", "-device", "qemu-xhci,id=usb,p2=8,p3=8",
            "-drive", "if=none,id=slot", "-device", "sdhci-pci", "-device", "sd-card,id=sd,drive=slot",
            "-netdev", f"user,id=net,ipv6=off,restrict=on,{server}", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-fsdev", f"local,id=host,path={self.share},security_model=none,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
            "-chardev", f"socket,id=agent,path={self.home}/agent,server=on,wait=off", "-device", "virtio-serial-pci",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
            "-chardev", f"socket,id=observer,path={self.home}/observer,server=on,wait=off",
            "-device", "virtserialport,chardev=observer,name=observer",
            "-chardev", f"socket,id=qmp,path={self.home}/qmp,server=on,wait=off", "-mon", "chardev=qmp,mode=control",
            "-chardev", f"file,id=console,path={self.home}/console.log", "-serial", "chardev:console",
        ]  # fmt: skip

    def _await(self, ready: Any, seconds: float) -> None:
        if not wait(lambda: ready() or not self._daemons.alive("qemu"), seconds) or not self._daemons.alive("qemu"):
            said = (self.home / "qemu.log").read_text(errors="replace").splitlines()[-5:]
            console = (self.home / "console.log").read_text(errors="replace").splitlines()[-15:]
            raise GuestError("\n".join(["the guest did not start:", *said, *console]))

    # -- commands -----------------------------------------------------------------------------------------------------
    def qmp(self, command: str, **arguments: Any) -> Any:
        """Tell QEMU something."""
        assert self._qmp is not None, "the guest is not running"
        return self._qmp.say(command, {name.replace("_", "-"): value for name, value in arguments.items()})

    @contextlib.contextmanager
    def _agent(self) -> Iterator[Wire]:
        wire = Wire(self.home / "agent")
        try:
            wire.agree(next(self._numbers))
            yield wire
        finally:
            wire.close()

    def _agent_answers(self) -> bool:
        try:
            with self._agent():
                return True
        except (GuestError, OSError, ValueError):
            return False

    def run(self, command: str, *, within: float = 120.0, check: bool = True) -> str:
        """What a shell command prints (both streams), run as root.

        Raises:
            GuestError: it failed (unless ``check`` is off) or took longer.
        """
        shell = ["-k", "5", str(within), "sh", "-c", f"exec 2>&1; {command}"]
        with self._agent() as agent:
            about = {
                "path": "timeout",
                "arg": shell,
                "capture-output": True,
                "env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin", "HOME=/root", "LANG=C.UTF-8"],
            }
            number = agent.say("guest-exec", about)["pid"]
            pause, end = 0.01, time.monotonic() + within + 30
            while not (done := agent.say("guest-exec-status", {"pid": number}))["exited"]:
                assert time.monotonic() < end, command
                time.sleep(pause)
                pause = min(2 * pause, 0.3)
        said = base64.b64decode(done.get("out-data", "")).decode(errors="replace")
        code = done.get("exitcode", 128 + done.get("signal", 0))
        if check and code:
            raise GuestError(f"{command}\nfailed ({code}):\n{said}")
        return said

    def observe(self, how: str) -> Any:
        """What guest/look.py finds, which must be in the share."""
        if self._observer is None:
            self.run("systemd-run --quiet --unit=observer python3 -B /host/look.py")
            self._observer = Wire(self.home / "observer")
        return self._observer.say(how, {}, within=120)

    # -- cards --------------------------------------------------------------------------------------------------------
    def plug(self, name: str, card: Path | None, *, beside: Path | None = None, **how: Any) -> None:
        """A stick, or a reader with a card in it (None: with none).

        Args:
            name: what it is called here.
            card: in its first slot.
            beside: in its second one; None: it has only one.
            how: as for ``insert``.
        """
        nodes = self._nodes(name, card, **how) if card else self._add([], name, driver="null-co", size=1 << 20)
        self.qmp(
            "device_add", driver="usb-bot", id=name, bus="usb.0", serial=f"4C5300{len(name):04}{name}", attached=False
        )
        self.qmp(
            "device_add", driver="scsi-hd", id=f"{name}-card", bus=f"{name}.0", drive=nodes[-1], removable=True,
            vendor="Generic", product="MassStorageClass",
        )  # fmt: skip
        if beside:
            second = self._nodes(name, beside)
            self.qmp("device_add", driver="scsi-hd", bus=f"{name}.0", lun=1, drive=second[-1], removable=True)
            nodes += second
        self._media[name] = nodes
        if card is None:  # QEMU wants one to begin with
            self.eject(name)
        self.qmp("qom-set", path=f"/machine/peripheral/{name}", property="attached", value=True)

    def yank(self, name: str) -> None:
        """Pull stick, reader or camera out of its socket: nobody in the guest is asked."""
        self._gone(name)
        self._drop(self._media.pop(name))

    def insert(self, name: str, card: Path, **how: Any) -> None:
        """Put a card into a reader that is plugged in.

        Args:
            name: the reader's.
            card: its image.
            how: protected (its switch is on "lock"), bad_sector (reading it is an error), bytes_per_s (a slow card, for
                which ``slow_down`` may be said).
        """
        nodes = self._nodes(name, card, **how)
        self.qmp("blockdev-insert-medium", id=f"{name}-card", node_name=nodes[-1])
        self.qmp("blockdev-close-tray", id=f"{name}-card")
        self._media[name] = nodes

    def eject(self, name: str) -> None:
        """Take the card out of its reader by hand: nobody in the guest is asked."""
        with contextlib.suppress(GuestError):  # one with a medium that is locked says so, and opens all the same
            self.qmp("blockdev-open-tray", id=f"{name}-card", force=True)
        self.qmp("blockdev-remove-medium", id=f"{name}-card")
        self._drop(self._media[name])
        self._media[name] = []

    def slow_down(self, name: str, bytes_per_s: int) -> None:
        """From now on the slow card there gives so much a second."""
        self.qmp("qom-set", path=f"/objects/{self._limits[name]}", property="limits", value={"bps-total": bytes_per_s})

    def slot(self, card: Path | None) -> None:
        """Put a card into the built-in SD slot, or take it out; its size must be a power of two."""
        if card:
            self.qmp("blockdev-change-medium", id="sd", filename=str(card), format="raw")
        else:
            self.qmp("eject", id="sd", force=True)

    def plug_camera(self, name: str, folder: Path, *, serial: str = "C3531325123456", writable: bool = False) -> None:
        """A camera in MTP mode, with what is in ``folder`` on its card."""
        about = {"rootdir": str(folder), "desc": "HERO13 Black", "serial": serial}
        self.qmp("device_add", driver="usb-mtp", id=name, bus="usb.0", readonly=not writable, **about)
        self._media[name] = []

    # -- inside -------------------------------------------------------------------------------------------------------
    def _nodes(
        self, name: str, card: Path, *, protected: bool = False, bad_sector: int | None = None, bytes_per_s: int = 0
    ) -> list[str]:
        """The layers of a card, the one that a device sees last."""
        how = {"read-only": protected}
        nodes = self._add([], name, driver="file", filename=str(card), **how)
        if bad_sector is not None:
            error = {"event": "none", "iotype": "read", "errno": 5, "sector": bad_sector, "once": False}
            self._add(nodes, name, driver="blkdebug", image=nodes[-1], inject_error=[error], **how)
        self._add(nodes, name, driver="raw", file=nodes[-1], **how)
        if bytes_per_s:
            group = f"limit-{name}-{next(self._numbers)}"
            self.qmp("object-add", qom_type="throttle-group", id=group, limits={"bps-total": bytes_per_s})
            self._add(nodes, name, driver="throttle", file=nodes[-1], throttle_group=group, **how)
            self._limits[name] = group
        return nodes

    def _add(self, nodes: list[str], name: str, **about: Any) -> list[str]:
        nodes.append(f"{name}-{next(self._numbers)}")
        self.qmp("blockdev-add", node_name=nodes[-1], **about)
        return nodes

    def _gone(self, device: str) -> None:
        assert self._qmp is not None
        self._qmp.events.clear()
        self.qmp("device_del", id=device)
        self._hear_of(f"DEVICE_DELETED {device}", 20)

    def _hear_of(self, event: str, within: float) -> None:
        assert self._qmp is not None
        end = time.monotonic() + within
        while event not in self._qmp.events:
            self._qmp.hear(max(0.1, end - time.monotonic()))

    def _drop(self, nodes: list[str]) -> None:
        for node in reversed(nodes):
            while True:  # a request that was on its way may hold it for a moment
                try:
                    self.qmp("blockdev-del", node_name=node)
                    break
                except GuestError as error:
                    if "in use" not in str(error):
                        raise
                    time.sleep(0.05)
