"""What a camera's network may do to this machine's: a laboratory of three network namespaces; prints facts as JSON.

To be run as root inside ``unshare --net --mount --uts --kill-child --fork``: this is the kit, with the interfaces
``gopro7`` (the cable) and ``up0`` (the uplink, with a default route). At the other end of the cable sits a camera that
offers by DHCP everything that it should not: a router, more routes, names, a domain, the time. Behind the uplink's
router waits another one with the camera's own address, that answers everything: the captive portal of a bad day.
Nothing here leads anywhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from ailasd.errors import AilasdError
from ailasd.setting_up.machine import kept_as
from ailasd.sources.gopro import GoProSource

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parent
SYSTEMD = TESTS.parent / "systemd"
CAMERA = "172.24.156.51"
"""Of a camera whose serial ends in 456."""
OFFERS = (
    f"3,{CAMERA}",
    f"6,{CAMERA}",
    "15,hotel.example",
    f"42,{CAMERA}",
    "119,hotel.example",
    f"121,0.0.0.0/0,{CAMERA},198.51.100.0/24,{CAMERA}",
)
"""DHCP options: router, names, domain, time, search list, classless routes."""
WAIT_S = 15.0


class Laboratory:
    """The three namespaces; everything in them ends with the context."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack

    def start(self, *command: str, within: int | None = None) -> subprocess.Popen[str]:
        """A program in the background, in the kit or in the namespace of another program."""
        enter = ["nsenter", "--net", f"--target={within}"] if within else []
        program = subprocess.Popen([*enter, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.stack.callback(program.wait)
        self.stack.callback(program.kill)
        return program

    def other(self, cable: str, address: str) -> int:
        """Another machine at the end of a cable, with a camera on it. Returns the id of its namespace's process."""
        far = self.start("unshare", "--net", "sh", "-c", "echo ready; exec sleep 300")
        assert far.stdout is not None
        far.stdout.readline()
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "far0", "netns", str(far.pid))
        for command in ("ip link set lo up", f"ip address add {address} dev far0", "ip link set far0 up"):
            run("nsenter", "--net", f"--target={far.pid}", *command.split())
        return far.pid

    def camera(self, within: int) -> subprocess.Popen[str]:
        """The stand-in, on the address of the camera."""
        camera = self.start(sys.executable, str(TESTS / "gopro_stand_in.py"), CAMERA, within=within)
        assert camera.stdout is not None
        assert camera.stdout.readline() == "ready\n"
        return camera


def times_asked(camera: subprocess.Popen[str]) -> int:
    assert camera.stdin is not None
    assert camera.stdout is not None
    camera.stdin.write("\n")
    camera.stdin.flush()
    return int(camera.stdout.readline())


def run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=30).stdout


def wait_for(what: Callable[[], object]) -> bool:
    give_up = time.monotonic() + WAIT_S
    while not what():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.1)
    return True


def address(interface: str) -> str | None:
    found = json.loads(run("ip", "-json", "-4", "address", "show", "dev", interface))
    return next((one["local"] for link in found for one in link.get("addr_info", ())), None)


def isolate() -> None:
    """Let nothing in here change the machine: /etc is a copy, what the managers keep is nowhere; sysfs is read-only.

    Raises:
        SystemExit: that did not work; NetworkManager would write the machine's own resolv.conf.
    """
    machine = Path("/etc").stat().st_dev, Path("/run").stat().st_dev
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "none", "/run")
    run("cp", "--archive", "/etc", "/run/etc")
    run("mount", "--bind", "/run/etc", "/etc")
    for folder in ("/var/lib/NetworkManager", "/var/lib/misc"):
        if Path(folder).exists():
            run("mount", "-t", "tmpfs", "-o", "mode=755", "none", folder)
    run("mount", "-t", "sysfs", "-o", "ro", "none", "/sys")
    resolv = Path("/etc/resolv.conf")
    resolv.unlink(missing_ok=True)  # it may be a link that leads out of the copy
    resolv.write_text("nameserver 192.0.2.1\n")
    ours = {Path(path).stat().st_dev for path in ("/etc", "/etc/resolv.conf", "/run")}
    if ours & set(machine) or len(list(Path("/sys/class/net").iterdir())) != 1:  # only lo
        raise SystemExit("this is not a laboratory, but the machine itself")
    for folder in ("/etc/systemd/network", "/etc/NetworkManager"):
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(parents=True)


def networkd(laboratory: Laboratory) -> None:
    for folder in ("", "/links", "/leases", "/lldp"):
        path = Path(f"/run/systemd/netif{folder}")
        path.mkdir(parents=True, exist_ok=True)
        shutil.chown(path, "systemd-network", "systemd-network")
    shutil.copy(SYSTEMD / "70-ailasd-gopro.network", "/etc/systemd/network")
    laboratory.start("/lib/systemd/systemd-networkd")


def network_manager(laboratory: Laboratory) -> None:
    Path("/run/dbus").mkdir()
    bus = laboratory.start("dbus-daemon", "--system", "--nofork", "--nopidfile", "--print-address")
    assert bus.stdout is not None
    bus.stdout.readline()
    profiles = Path("/etc/NetworkManager/system-connections")
    profiles.mkdir()
    shutil.copy(SYSTEMD / "ailasd-gopro.nmconnection", profiles)
    (profiles / "ailasd-gopro.nmconnection").chmod(0o600)
    old = kept_as(profiles / "ailasd-gopro.nmconnection")  # what set-up replaced must not count any more
    old.write_text(
        "[connection]\nid=old\ntype=ethernet\nautoconnect-priority=950\n[match]\ninterface-name=gopro*;\n"
        "[ipv4]\nmethod=auto\n"
    )
    old.chmod(0o600)
    Path("/etc/NetworkManager/NetworkManager.conf").write_text(
        "[main]\nplugins=keyfile\ndns=default\nrc-manager=file\n[device]\nmatch-device=interface-name:up0\nmanaged=0\n"
    )
    laboratory.start("NetworkManager", "--no-daemon")


MANAGERS = {"networkd": networkd, "NetworkManager": network_manager}


def asked(interface: str) -> str:
    """Whether the camera answers over this interface: how many pictures it has, or why not."""
    with closing(GoProSource(interface, None, address=None if interface == "gopro7" else CAMERA)) as source:
        try:
            return f"{source.card().label}: {len(list(source.listing()))}"
        except AilasdError as error:
            return type(error).__name__


def main(manager: str) -> None:
    isolate()
    with ExitStack() as stack:
        laboratory = Laboratory(stack)
        run("ip", "link", "set", "lo", "up")
        for of in ("all", "default"):  # as Debian has it; strict, no answer would come back over the cable below
            Path(f"/proc/sys/net/ipv4/conf/{of}/rp_filter").write_text("2")
        elsewhere = laboratory.other("up0", "192.0.2.1/24")
        run("ip", "address", "add", "192.0.2.2/24", "dev", "up0")
        run("ip", "link", "set", "up0", "up")
        run("ip", "route", "add", "default", "via", "192.0.2.1", "metric", "600")
        run("nsenter", "--net", f"--target={elsewhere}", "ip", "address", "add", f"{CAMERA}/32", "dev", "lo")
        run("nsenter", "--net", f"--target={elsewhere}", "ip", "route", "add", "172.24.156.0/24", "dev", "far0")
        portal = laboratory.camera(elsewhere)
        MANAGERS[manager](laboratory)

        far = laboratory.other("gopro7", f"{CAMERA}/24")
        laboratory.camera(far)
        offers = [f"--dhcp-option-force={offer}" for offer in OFFERS]
        laboratory.start(
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=far0", "--no-ping",
            "--dhcp-range=172.24.156.52,172.24.156.60,2h", "--dhcp-leasefile=/run/leases", "--user=root",
            "--dhcp-authoritative", "--log-facility=-", *offers, within=far,
        )  # fmt: skip
        began = time.monotonic()
        facts: dict[str, object] = {
            "address": wait_for(lambda: address("gopro7")) and address("gopro7"),
            "seconds": round(time.monotonic() - began, 1),
        }
        time.sleep(1)  # routes come after the address
        facts["routes"] = [
            {key: route.get(key) for key in ("dst", "dev", "gateway", "metric")}
            for route in json.loads(run("ip", "-json", "route", "show", "table", "all", "type", "unicast"))
        ]
        facts["resolv.conf"] = Path("/etc/resolv.conf").read_text()
        # an uplink with the same addresses, which the kernel prefers: only what is bound to the cable goes there
        run("ip", "route", "add", "172.24.156.0/24", "via", "192.0.2.1", "metric", "10")
        facts["cable"] = asked("gopro7")
        run("ip", "address", "flush", "dev", "gopro7")
        run("ip", "address", "add", f"{facts['address']}/32", "dev", "gopro7")
        facts["no route"] = asked("gopro7")
        run("ip", "link", "delete", "gopro7")
        facts["pulled out"] = asked("gopro7")
        facts["asked elsewhere"] = times_asked(portal)
        facts["elsewhere answers"] = asked("up0")  # it would have: what kept us from it is that we did not ask
    print(json.dumps(facts))


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(TESTS.parent)
    main(sys.argv[1])
