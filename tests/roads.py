"""A kit on the road: networks of its own, a tunnel through them, and a real Panoramax at the tunnel's other end.

Two network namespaces. The kit has an uplink and, through it, the tunnel ``vpn0``. The world at the other end of the
uplink has the tunnel's other end, with the server behind it. The kit also has a route to the server's address in the
clear, which the kernel takes as soon as the tunnel is away, and at whose end the same server answers: whoever leaks is
not even punished by silence. There is no default route, and nothing here leads anywhere else.

TCP is as Debian has it, with cubic, or where that is not allowed in a namespace with reno. As root on Linux, with
iproute2, nftables, socat, tcpdump, and what the tunnel needs (``tunnels``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import tunnels
from doorway import Doorway
from namespaces import inside, sh

if TYPE_CHECKING:
    from collections.abc import Iterator

    from instance import Instance
    from tunnels import Tunnel

TUNNEL = tunnels.NAME
SERVER = "10.99.0.1"
"""The server's address, in the tunnel's network."""
NAME = "panoramax.test"
"""Its name, which the kit knows as long as its file of hosts does."""
UPLINK_END = "198.51.100.1"
"""The other end of the uplink: what goes past the tunnel goes there."""

PREPARE = """
mount --make-rprivate / && mount -t sysfs none /sys && mount -t tmpfs none /run && ip link set lo up || exit
for file in hosts resolv.conf nsswitch.conf; do mount --bind {folder}/$file /etc/$file || exit; done
pace=/proc/sys/net/ipv4/tcp_congestion_control
echo cubic 2>/dev/null > $pace || echo reno > $pace || exit
echo ready && exec sleep 3600
"""
NETWORKS = """
ip link add up0 netns {kit} mtu 1400 type veth peer name far0 netns {world} mtu 1400
{in_kit} ip address add 198.51.100.2/24 dev up0
{in_kit} ip link set up0 up
{in_world} ip address add 198.51.100.1/24 dev far0
{in_world} ip link set far0 up
{in_kit} ip route add 10.99.0.0/24 via 198.51.100.1 metric 2000
{in_world} nft add table inet road
{in_world} nft add chain inet road arrive {{ type filter hook prerouting priority -400 ; }}
{in_kit} nft add table inet road
{in_kit} nft add chain inet road arrive {{ type filter hook prerouting priority -400 ; }}
"""

BEYOND = """
ip link add far1 netns {world} mtu 1400 type veth peer name end0 netns {end} mtu 1400
{in_world} ip address add 203.0.113.1/24 dev far1
{in_world} ip link set far1 up
{in_end} ip address add 203.0.113.2/24 dev end0
{in_end} ip link set end0 up
"""


class Roads:
    """The two namespaces and what is between them; all of it ends with the context.

    Args:
        instance: the server at the tunnel's other end.
        folder: for sockets, captures, keys, files of /etc.
        tunnel: the kind of tunnel.
        delay_s: how much later everything arrives that goes through the tunnel, each way. With it the tunnel's other
            end is one machine further away, and nobody answers in the clear.
    """

    def __init__(
        self, instance: Instance, folder: Path, *, tunnel: type[Tunnel] = tunnels.WireGuard, delay_s: float = 0.0
    ) -> None:
        self._instance = instance
        self._folder = folder
        self._tunnel = tunnel(folder)
        self._delay_s = delay_s
        self._stack = ExitStack()
        self._near = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            self.names_known()
            # nobody is at that address: who asks there waits as long as with a resolver that is silent
            (self._folder / "resolv.conf").write_text("nameserver 10.99.0.53\n")
            (self._folder / "nsswitch.conf").write_text("hosts: files dns\n")
            self.kit, self.world = self._machine(), self._machine()
            self._lay(NETWORKS)
            self.end = self.world
            if self._delay_s:
                self.end = self._machine()
                self._lay(BEYOND)
                far = tunnels.End(self.end, SERVER, "203.0.113.2", "203.0.113.1", "end0", first=True)
                delay = [sys.executable, str(Path(__file__).with_name("delay.py"))]
                for machine, device in ((self.kit, "up0"), (self.end, "end0")):
                    sh(*inside(machine), *delay, device)
                self._start(*inside(self.world), *delay, str(self._delay_s), UPLINK_END, "203.0.113.1", "203.0.113.2")
            else:
                far = tunnels.End(self.end, SERVER, UPLINK_END, "198.51.100.2", "far0", first=True)
            stack.enter_context(self._tunnel.end(far))
            door = self._folder / "door"  # a socket in the file system leads out of a network namespace
            port = self._instance.url.rsplit(":", 1)[1]
            self.doorway = stack.enter_context(Doorway(door, int(port)))
            self.lead_to(door)
            stack.enter_context(self._near)
            self.tunnel_on()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _lay(self, lines: str) -> None:
        machines = {name: getattr(self, name) for name in ("kit", "world", "end") if hasattr(self, name)}
        inner = {f"in_{name}": " ".join(inside(pid)) for name, pid in machines.items()}
        for line in lines.strip().splitlines():
            sh(*line.format(**machines, **inner).split())

    def _machine(self) -> int:
        holder = self._start("unshare", "--net", "--mount", "sh", "-c", PREPARE.format(folder=self._folder))
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        return holder.pid

    def _start(self, *command: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self._stack.callback(program.wait)
        self._stack.callback(os.killpg, program.pid, signal.SIGKILL)  # with what it forked
        return program

    def lead_to(self, front: Path, address: str = SERVER) -> None:
        """Whoever asks at port 80 of that address, beyond the tunnel, finds the doorway with that front."""
        if address != SERVER:
            sh(*inside(self.end), "ip", "address", "add", f"{address}/24", "dev", TUNNEL)
        self._start(*inside(self.end), "socat", f"TCP-LISTEN:80,bind={address},fork,reuseaddr", f"UNIX-CONNECT:{front}")

    # -- what happens to it -------------------------------------------------------------------------------------------
    def tunnel_on(self) -> None:
        """Switch the VPN on."""
        near = tunnels.End(self.kit, "10.99.0.2", "198.51.100.2", UPLINK_END, "up0", first=False)
        self._near.enter_context(self._tunnel.end(near))

    def tunnel_off(self) -> None:
        """Switch the VPN off: its interface is gone, as with wg-quick."""
        self._near.close()

    def tunnel_down(self, *, down: bool = True) -> None:
        """Let the interface be there, but down."""
        self.in_kit("ip", "link", "set", TUNNEL, "down" if down else "up")

    def weather(self, *, lost_percent: int = 0, rate: str | None = None) -> None:
        """How the uplink is from now on, both ways: what it loses without a word, and how slow it is (tc's "1mbit")."""
        for pid, device in ((self.kit, "up0"), (self.world, "far0")):
            sh(*inside(pid), "nft", "flush", "chain", "inet", "road", "arrive")
            if lost_percent:
                some = ["numgen", "random", "mod", "100", "<", str(lost_percent)] if lost_percent < 100 else []
                sh(*inside(pid), "nft", "add", "rule", "inet", "road", "arrive", "iifname", device, *some, "drop")
            subprocess.run(
                [*inside(pid), "tc", "qdisc", "delete", "dev", device, "root"], stderr=subprocess.DEVNULL, check=False
            )
            if rate:
                how = ["tbf", "rate", rate, "burst", "16kb", "latency", "400ms"]
                sh(*inside(pid), "tc", "qdisc", "add", "dev", device, "root", *how)

    def names_known(self, *, known: bool = True) -> None:
        """Whether the kit can look up the server's name; if not, its resolver is silent."""
        (self._folder / "hosts").write_text("127.0.0.1 localhost\n" + (f"{SERVER} {NAME}\n" if known else ""))

    def in_kit(self, *command: str) -> str:
        """What a command says, in the kit's network."""
        return sh(*inside(self.kit), *command)

    # -- what is seen of it -------------------------------------------------------------------------------------------
    @contextmanager
    def heard_in_the_clear(self) -> Iterator[list[str]]:
        """What crosses the uplink, either way, outside the tunnel (ICMP quotes its packets); there after the block."""
        heard: list[str] = []
        capture = self._folder / "uplink.pcap"
        quiet = ["tcpdump", "-n", "--immediate-mode"]
        listening = subprocess.Popen(
            [*inside(self.kit), *quiet, "-U", "-i", "up0", "-w", str(capture), "-Z", "root", "ip"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert listening.stderr is not None
        while "listening on" not in listening.stderr.readline():
            assert listening.poll() is None
        try:
            yield heard
        finally:
            listening.terminate()
            assert "dropped by kernel" in listening.communicate()[1]
            clear = f"not udp port {self._tunnel.port} and not icmp"
            heard += sh("tcpdump", "-n", "-r", str(capture), clear).splitlines()


def ailasd(roads: Roads, *arguments: str) -> list[str]:
    """The command line that runs ailasd in the kit's network."""
    return [*inside(roads.kit), sys.executable, "-m", "ailasd", *arguments]
