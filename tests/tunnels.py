"""What the tunnel of ``roads`` is: WireGuard, OpenVPN, or the kernel's VXLAN.

WireGuard is the one in user space (Debian's wireguard-go), for the kernels of many CI machines have none; it speaks as
theirs does, and its interface stays up too when its other end is gone. Of OpenVPN's two ends each knows the other's
certificate by its fingerprint. VXLAN is packets inside packets without encryption: a benchmark's cores are for what it
measures.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from namespaces import inside, sh

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME: Final = "vpn0"
"""The interface, at both ends."""
MTU: Final = "1280"
NETWORK: Final = "10.99.0.0/24"


@dataclass(frozen=True)
class End:
    """One end of it.

    Attributes:
        pid: in whose namespaces it is.
        address: what the machine is called in the tunnel.
        here: and outside of it.
        there: the other end, outside of it.
        device: the interface that leads there.
        first: whether it is the one that waits for the other; the two ends differ in it.
    """

    pid: int
    address: str
    here: str
    there: str
    device: str
    first: bool

    def run(self, *command: str) -> str:
        return sh(*inside(self.pid), *command)


class Tunnel(Protocol):
    """A kind of tunnel, of which one is laid; what ``lay`` gives back takes that end away."""

    port: int
    """Of the UDP that its packets are in."""

    def __init__(self, folder: Path) -> None: ...
    def lay(self, end: End) -> Callable[[], object]: ...


class Vxlan:
    """The kernel's own."""

    port = 4789

    def __init__(self, folder: Path) -> None:
        pass

    def lay(self, end: End) -> Callable[[], object]:
        end.run("ip", "link", "add", NAME, "mtu", MTU, "type", "vxlan", "id", "7", "local", end.here,
                "remote", end.there, "dstport", str(self.port), "dev", end.device)  # fmt: skip
        addressed(end)
        return lambda: end.run("ip", "link", "delete", NAME)


class WireGuard:
    """As wg-quick would set it up."""

    port = 51820

    def __init__(self, folder: Path) -> None:
        self._private, self._public = {}, {}
        for first in (True, False):
            key = sh("wg", "genkey")
            self._private[first] = folder / f"wireguard-{first}"
            self._private[first].write_text(key)
            self._public[first] = sh("wg", "pubkey", said=key).strip()

    def lay(self, end: End) -> Callable[[], object]:
        program = started(end, "wireguard-go", "--foreground", NAME)
        until_there(end, "wg", "show", NAME)
        end.run("wg", "set", NAME, "private-key", str(self._private[end.first]), "listen-port", str(self.port),
                "peer", self._public[not end.first], "endpoint", f"{end.there}:{self.port}",
                "allowed-ips", NETWORK)  # fmt: skip
        end.run("ip", "link", "set", NAME, "mtu", MTU)
        addressed(end)
        return lambda: ended(program)


class OpenVpn:
    """Two ends, TLS between them, no server that gives addresses."""

    port = 1194

    def __init__(self, folder: Path) -> None:
        self._certificate = {first: folder / f"openvpn-{first}.pem" for first in (True, False)}
        self._fingerprint = {}
        for first, pem in self._certificate.items():
            sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc",
               "-days", "2", "-subj", f"/CN=end-{first}", "-keyout", f"{pem}.key", "-out", str(pem))  # fmt: skip
            said = sh("openssl", "x509", "-in", str(pem), "-noout", "-fingerprint", "-sha256")
            self._fingerprint[first] = said.strip().partition("=")[2]

    def lay(self, end: End) -> Callable[[], object]:
        pem = self._certificate[end.first]
        program = started(
            end, "openvpn", "--dev", NAME, "--dev-type", "tun", "--proto", "udp", "--remote", end.there,
            "--port", str(self.port), "--tun-mtu", MTU, "--topology", "subnet",
            "--ifconfig", end.address, "255.255.255.0", "--cert", str(pem), "--key", f"{pem}.key",
            "--peer-fingerprint", self._fingerprint[not end.first], "--keepalive", "10", "60",
            *(("--tls-server", "--dh", "none") if end.first else ("--tls-client",)),
        )  # fmt: skip
        until_there(end, "ip", "-oneline", "-4", "address", "show", "dev", NAME, "up")
        return lambda: ended(program)


def addressed(end: End) -> None:
    end.run("ip", "address", "add", f"{end.address}/24", "dev", NAME)
    end.run("ip", "link", "set", NAME, "up")


def started(end: End, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*inside(end.pid), *command], stdout=subprocess.DEVNULL)


def ended(program: subprocess.Popen[bytes]) -> None:
    """Its interface goes with it."""
    program.terminate()
    program.wait(10)


def until_there(end: End, *command: str) -> None:
    """Wait until that command succeeds and says something."""
    for _ in range(100):
        done = subprocess.run([*inside(end.pid), *command], capture_output=True, timeout=10, check=False)
        if done.returncode == 0 and done.stdout:
            return
        time.sleep(0.05)
    raise AssertionError(done.stderr)
