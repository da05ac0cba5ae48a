"""What the tunnel of ``roads`` is: WireGuard, OpenVPN, or the kernel's VXLAN.

WireGuard is the one in user space (Debian's wireguard-go), for the kernels of many CI machines have none; it speaks as
theirs does, and its interface stays up too when its other end is gone. Of OpenVPN's two ends each knows the other's
certificate by its fingerprint. VXLAN is packets inside packets without encryption: a benchmark's cores are for what it
measures.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from daemons import wait
from namespaces import inside, sh

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
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

    def addressed(self) -> None:
        """The interface is there: give it its address, and have it up."""
        self.run("ip", "address", "add", f"{self.address}/24", "dev", NAME)
        self.run("ip", "link", "set", NAME, "up")

    @contextmanager
    def program(self, *command: str, there: tuple[str, ...]) -> Iterator[None]:
        """Runs until the block ends, and its interface with it; begins when ``there`` has something to say."""
        words = ["setpriv", "--pdeathsig", "KILL", *inside(self.pid)]  # it ends with the tests, however they end
        says = [*inside(self.pid), *there]
        with subprocess.Popen([*words, *command], stdout=subprocess.DEVNULL) as running:
            try:
                assert wait(lambda: bool(subprocess.run(says, capture_output=True, check=False).stdout), 10), command
                yield
            finally:
                running.terminate()


class Tunnel(Protocol):
    """A kind of tunnel, of which one is laid, end by end."""

    port: int
    """Of the UDP that its packets are in."""

    def __init__(self, folder: Path) -> None: ...
    def end(self, end: End, /) -> AbstractContextManager[None]:
        """It is there until the block ends."""


class Vxlan:
    """The kernel's own."""

    port = 4789

    def __init__(self, folder: Path) -> None:
        pass

    @contextmanager
    def end(self, end: End) -> Iterator[None]:
        end.run("ip", "link", "add", NAME, "mtu", MTU, "type", "vxlan", "id", "7", "local", end.here,
                "remote", end.there, "dstport", str(self.port), "dev", end.device)  # fmt: skip
        end.addressed()
        yield
        end.run("ip", "link", "delete", NAME)


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

    @contextmanager
    def end(self, end: End) -> Iterator[None]:
        with end.program("wireguard-go", "--foreground", NAME, there=("wg", "show", NAME)):
            end.run("wg", "set", NAME, "private-key", str(self._private[end.first]), "listen-port", str(self.port),
                    "peer", self._public[not end.first], "endpoint", f"{end.there}:{self.port}",
                    "allowed-ips", NETWORK)  # fmt: skip
            end.run("ip", "link", "set", NAME, "mtu", MTU)
            end.addressed()
            yield


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

    def end(self, end: End) -> AbstractContextManager[None]:
        pem = self._certificate[end.first]
        return end.program(
            "openvpn", "--dev", NAME, "--dev-type", "tun", "--proto", "udp", "--remote", end.there,
            "--port", str(self.port), "--tun-mtu", MTU, "--topology", "subnet",
            "--ifconfig", end.address, "255.255.255.0", "--cert", str(pem), "--key", f"{pem}.key",
            "--peer-fingerprint", self._fingerprint[not end.first], "--keepalive", "10", "60",
            *(("--tls-server", "--dh", "none") if end.first else ("--tls-client",)),
            there=("ip", "-oneline", "-4", "address", "show", "dev", NAME, "up"),
        )  # fmt: skip
