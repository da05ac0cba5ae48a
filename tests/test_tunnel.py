"""What the kernel says of the tunnel, in a network of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ailasd.tunnel import SETTLE_S, NetworkNews, Tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

lab = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2")

PREPARE = """set -e
mount --make-rprivate / && mount -t sysfs none /sys
ip link set lo up
ip link add up0 type veth peer name far0
ip address add 198.51.100.2/24 dev up0
ip link set up0 up && ip link set far0 up
ip route add 10.0.0.0/8 via 198.51.100.1
ip tuntap add vpn0 mode tun
ip address add 10.99.0.2/32 dev vpn0
"""
SAY = """
from ailasd.tunnel import Tunnel
print(Tunnel("vpn0").missing(), "|", Tunnel("vpn0").bypassed(["10.99.0.1"]))
"""


def said(commands: str) -> tuple[str, str]:
    """What ``missing`` and ``bypassed`` say after some commands, in a network with a tunnel and a way past it."""
    script = f"{PREPARE}{commands}\nexec {sys.executable} -c '{SAY}'"
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    missing, bypassed = done.stdout.strip().split(" | ")
    return missing, bypassed


@lab
def test_a_tunnel_that_is_not_there() -> None:
    """Each way of being away is said in words of its own."""
    assert "not there" in said("ip link delete vpn0")[0]
    assert "is down" in said("")[0]
    assert "does not run" in said("ip link set vpn0 up")[0]


@lab
def test_the_way_leads_elsewhere() -> None:
    """A route past the tunnel is seen, and with the right route there is nothing to say."""
    link = "ip link add vpn1 type veth peer name vpn2 && ip link delete vpn0 && ip link set vpn1 name vpn0 && "
    up = f"{link} ip address add 10.99.0.2/32 dev vpn0 && ip link set vpn0 up && ip link set vpn2 up"
    assert said(up)[0] == "None"
    assert "does not lead through the tunnel vpn0" in said(up)[1]
    assert said(f"{up} && ip route add 10.99.0.0/24 dev vpn0") == ("None", "None")
    assert "does not lead" in said(f"{up} && ip route delete 10.0.0.0/8")[1]  # no way at all


def test_loopback_is_a_way() -> None:
    """What leads through the interface that is named has nothing to be said about, in both families."""
    assert Tunnel("lo").missing() is None
    assert Tunnel("lo").bypassed(["127.0.0.1", "::1"]) is None


@lab
def test_news_of_the_network() -> None:
    """A new address or route is heard at once, a burst of changes once, and it ends when told, without a timer."""
    script = f"""
import subprocess, threading, time
from ailasd.tunnel import NetworkNews
heard = []
news = NetworkNews()
listening = threading.Thread(target=news.watch, args=(lambda: heard.append(time.monotonic()),))
listening.start()
time.sleep(0.3)
for command in ("ip link set lo up", "ip address add 10.1.1.1/32 dev lo", "ip route add 10.2.0.0/16 dev lo") * 3:
    subprocess.run(command.split(), check=False, stderr=subprocess.DEVNULL)
time.sleep({3 * SETTLE_S})
first = len(heard)
subprocess.run("ip address delete 10.1.1.1/32 dev lo".split(), check=True)
time.sleep({3 * SETTLE_S})
news.end()
listening.join(2)
print(first, len(heard), listening.is_alive())
"""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.split() == ["1", "2", "False"], done.stderr


def test_no_news_after_the_end() -> None:
    """Ended before it began, it returns at once and tells nothing."""
    news, heard = NetworkNews(), threading.Event()
    news.end()
    changed: Callable[[], None] = heard.set
    news.watch(changed)
    assert not heard.is_set()
