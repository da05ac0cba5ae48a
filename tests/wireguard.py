"""WireGuard in the guest: the kernel's own, as systemd-networkd sets it up, with the server's side in a network apart.

The machine's only wire goes to that other network, so that whatever reaches the server came through the tunnel. The
tunnel's own packets pass over the loopback: WireGuard keeps the socket of an interface where that was made (its own
tests are built so). OpenSSL makes the keys: WireGuard's are X25519's.
"""

from __future__ import annotations

import base64
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from guest import SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guest import Guest

TUNNEL = "wg0"
THERE = "10.99.0.1"
"""The server, in the tunnel's network."""

NETDEV = """[NetDev]
Name={name}
Kind=wireguard
[WireGuard]
PrivateKey={private}
ListenPort={port}
[WireGuardPeer]
PublicKey={public}
AllowedIPs={allowed}
Endpoint=127.0.0.1:{peer_port}
PersistentKeepalive=5
"""
NETWORK = f"[Match]\nName={TUNNEL}\n[Network]\nAddress=10.99.0.2/24\n"
LAY = """
set -e
chown -R root:systemd-network /etc/systemd/network; chmod 640 /etc/systemd/network/*.netdev
ip netns add far
ip link set eth0 netns far
networkctl reload
for name in far0 wg0; do timeout 60 sh -c "until [ -e /sys/class/net/$name ]; do sleep 0.2; done"; done
ip link set far0 netns far
ip -n far address add 10.99.0.1/24 dev far0
ip -n far address add 10.0.2.15/24 dev eth0
for name in lo far0 eth0; do ip -n far link set $name up; done
systemd-run --quiet --unit=far -p NetworkNamespacePath=/run/netns/far \
    systemd-socket-activate -l {there}:{port} /lib/systemd/systemd-socket-proxyd {server}:{port}
"""
CLEAR = """
systemctl stop far
ip -n far link set eth0 netns 1
ip link delete wg0
ip netns delete far
rm /etc/systemd/network/*wireguard*
networkctl reload
"""


class WireGuard:
    """A tunnel that was laid: what can be done at its other end."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def far_end(self, state: str) -> None:
        """Let the server's side be "down" or "up": the kit's own interface stays up and notices nothing."""
        self._guest.run(f"ip -n far link set far0 {state}")


@contextmanager
def laid(guest: Guest, port: int) -> Iterator[WireGuard]:
    """Lay the tunnel; without it, and if that fails half-way, the guest's wire is where it was.

    Args:
        guest: where.
        port: the server's, at both ends.
    """
    (kit, kit_public), (far, far_public) = key_pair(), key_pair()
    ends = {
        "kit": NETDEV.format(name=TUNNEL, private=kit, port=51821, public=far_public, allowed="10.99.0.0/24",
                             peer_port=51820),
        "far": NETDEV.format(name="far0", private=far, port=51820, public=kit_public, allowed="10.99.0.2/32",
                             peer_port=51821),
    }  # fmt: skip
    try:
        for name, text in {f"{end}.netdev": text for end, text in ends.items()}.items() | {("kit.network", NETWORK)}:
            (guest.share / name).write_text(text)
            guest.run(f"cp /host/{name} /etc/systemd/network/20-wireguard-{name}; rm /host/{name}")
        guest.run(LAY.format(there=THERE, server=SERVER, port=port))
        yield WireGuard(guest)
    finally:
        guest.run(CLEAR, check=False)  # what was not laid yet is not there to be cleared
        guest.run("test -e /sys/class/net/eth0 -a ! -e /sys/class/net/wg0")


def key_pair() -> tuple[str, str]:
    """A private key and its public one, as WireGuard writes them."""

    def openssl(*arguments: str, key: bytes = b"") -> bytes:
        return subprocess.run(["openssl", *arguments], input=key, capture_output=True, check=True).stdout

    private = openssl("genpkey", "-algorithm", "X25519", "-outform", "DER")
    public = openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", key=private)
    return base64.b64encode(private[-32:]).decode(), base64.b64encode(public[-32:]).decode()
