"""A long road for the packets of a tunnel: each arrives so much later, both ways. Kernels without netem need it.

    python tests/delay.py SECONDS NEAR FAR BEYOND     IPv4 addresses: two of this machine, and the tunnel's other end

    python tests/delay.py DEVICE                      makes its packets fit for that: a kernel leaves checksums undone

What comes to NEAR is sent from FAR to BEYOND, what comes to FAR goes back to whoever came last. UDP, the tunnel's port.
"""

from __future__ import annotations

import array
import fcntl
import select
import socket
import struct
import sys
import time
from collections import deque

PORT = 4789
SO_RCVBUFFORCE = 33  # socket(7)
BUFFER = 4 << 20
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17


def finish_checksums(device: str) -> None:
    """As ``ethtool --offload DEVICE tx off``."""
    value = array.array("I", [ETHTOOL_STXCSUM, 0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("16sP", device.encode(), value.buffer_info()[0])
        fcntl.ioctl(asking, SIOCETHTOOL, request.ljust(40, b"\0"))


def main(seconds: float, near: str, far: str, beyond: str) -> None:
    """For ever."""
    sides = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for side, address in zip(sides, (near, far), strict=True):
        side.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        side.bind((address, PORT))
        side.setblocking(False)
    goals: list[tuple[str, int] | None] = [(beyond, PORT), None]
    on_the_way: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait = max(0.0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
        for side in select.select(sides, [], [], wait)[0]:
            number = sides.index(side)
            packet, sender = side.recvfrom(65536)
            if number == 0:
                goals[1] = (sender[0], PORT)
            on_the_way.append((time.monotonic() + seconds, number, packet))
        while on_the_way and on_the_way[0][0] <= time.monotonic():
            _, number, packet = on_the_way.popleft()
            if (goal := goals[number]) is not None:
                sides[1 - number].sendto(packet, goal)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [device]:
            finish_checksums(device)
        case [seconds, *addresses]:
            main(float(seconds), *addresses)
