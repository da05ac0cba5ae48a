"""Whether the way out costs money by the byte: routes as the kernel tells them, NetworkManager, real and played."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ailasd import metered
from ailasd.metered import LOOK_S, Metered, outer_interfaces

TESTS = Path(__file__).parent
HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
NONE = "0" * 32


def route(interface: str, *, goal: str = "00000000", flags: int = 3, metric: int = 0, mask: str = "00000000") -> str:
    return f"{interface}\t{goal}\t0101A8C0\t{flags:04X}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n"


def route_6(interface: str, *, goal: str = NONE, length: int = 0, flags: int = 3, metric: int = 1024) -> str:
    gateway = "fe80" + "0" * 27 + "1"
    return f"{goal} {length:02x} {NONE} 00 {gateway} {metric:08x} 00000001 00000000 {flags:08x} {interface:>8}\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc/net without a route, and a /sys/class/net beside it with a VPN of each kind."""
    (tmp_path / "net").mkdir()
    for name, file, content in (
        ("wg0", "uevent", "DEVTYPE=wireguard\nINTERFACE=wg0\n"),
        ("tun0", "tun_flags", "0x1001\n"),
        ("wlan0", "uevent", "DEVTYPE=wlan\nINTERFACE=wlan0\n"),
        ("ppp0", "uevent", "DEVTYPE=ppp\nINTERFACE=ppp0\n"),
    ):
        (tmp_path / "sys" / name).mkdir(parents=True)
        (tmp_path / "sys" / name / file).write_text(content)
    (tmp_path / "net" / "route").write_text(HEAD)
    return tmp_path / "net"


def outer(proc: Path) -> list[str]:
    return outer_interfaces(proc, proc.parent / "sys")


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        ("", []),
        (route("wlan0", goal="0001A8C0", flags=1, mask="00FFFFFF"), []),
        (route("wlan0", metric=600), ["wlan0"]),
        (route("wlan0", metric=600) + route("eth0", metric=100), ["eth0"]),
        (route("wlan0", metric=600) + route("eth0", metric=100, flags=0), ["wlan0"]),
        (route("*", metric=1, flags=0x201) + route("wlan0", metric=600), ["wlan0"]),
        (route("wg0", metric=50) + route("ppp0", metric=700), ["ppp0"]),
        (route("tun0") + route("wlan0", metric=600), ["wlan0"]),
        (route("tun0", mask="00000080") + route("wlan0", metric=600), ["wlan0"]),
    ],
)
def test_the_way_out(proc: Path, routes: str, found: list[str]) -> None:
    """It is the default route with the smallest metric that is up, rejects nothing and leads through no tunnel."""
    (proc / "route").write_text(HEAD + routes)
    assert outer(proc) == found


def test_the_way_out_by_ipv6(proc: Path) -> None:
    """IPv6 may leave elsewhere: both count. What the kernel rejects, and networks of one's own, lead nowhere."""
    (proc / "ipv6_route").write_text(
        route_6("lo", flags=0x200200, metric=0xFFFFFFFF) + route_6("eth0", goal="fe80" + "0" * 28, length=64)
        + route_6("wlan0", metric=600) + route_6("eth0", metric=1024)
    )  # fmt: skip
    assert outer(proc) == ["wlan0"]
    (proc / "route").write_text(HEAD + route("eth0"))
    assert outer(proc) == ["eth0", "wlan0"]


def test_this_machine_s_own_routes_can_be_read() -> None:
    """Whatever they are here: what the kernel writes is understood."""
    assert all(Path("/sys/class/net", name).exists() for name in outer_interfaces())


def test_listed_interfaces_need_no_bus(proc: Path, tmp_path: Path) -> None:
    """Without D-Bus the configuration's list counts, for the interface that leads out and no other."""
    (proc / "route").write_text(HEAD + route("wwan0"))
    how = {"proc": proc, "sys": proc.parent / "sys", "bus": f"unix:path={tmp_path}/none"}
    assert Metered(["usb0", "wwan*"], **how)() == "wwan0"  # type: ignore[arg-type]
    assert Metered(["wlan0"], **how)() is None  # type: ignore[arg-type]


def test_it_is_looked_at_again(proc: Path, tmp_path: Path) -> None:
    """A change is seen after some seconds, and not looked for before."""
    now = [100.0]
    bus = f"unix:path={tmp_path}/none"
    one = Metered(["wwan0"], proc=proc, sys=proc.parent / "sys", bus=bus, monotonic=lambda: now[0])
    assert one() is None
    (proc / "route").write_text(HEAD + route("wwan0"))
    now[0] += LOOK_S - 0.1
    assert one() is None
    now[0] += 0.2
    assert one() == "wwan0"


def test_a_manager_that_falls_silent_takes_nothing_back(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said last of the way out holds until it says something else, or until the way out is another one."""
    now, answers = [100.0], {"wwan0": True}
    monkeypatch.setattr(metered, "_says_network_manager", lambda *_: dict(answers))
    one = Metered(proc=proc, sys=proc.parent / "sys", monotonic=lambda: now[0])

    def look(way_out: str) -> str | None:
        (proc / "route").write_text(HEAD + route(way_out))
        now[0] += LOOK_S
        return one()

    assert look("wwan0") == "wwan0"
    answers.clear()
    assert look("wwan0") == "wwan0"
    assert look("eth0") is None
    assert look("wwan0") is None
    answers["wwan0"] = True
    assert look("wwan0") == "wwan0"
    answers["wwan0"] = False
    assert look("wwan0") is None


@pytest.mark.lab
@pytest.mark.skipif(
    os.geteuid() != 0 or not all(
        shutil.which(name, path=f"{os.environ.get('PATH')}:/usr/sbin")
        for name in ("unshare", "ip", "NetworkManager", "nmcli", "dbus-daemon")
    ),
    reason="needs root, unshare, ip, NetworkManager and dbus-daemon",
)  # fmt: skip
def test_network_manager_is_believed() -> None:
    """The real one's profile, a stand-in's five answers, one that hangs or is gone; and only the way out counts."""
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--uts", "--kill-child", "--fork"),
            *(sys.executable, TESTS / "metered_network.py"),
        ],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts.pop("a look takes ms") < 500
    assert facts == {
        "no route": [[], None],
        "a profile says yes": "up0",
        "it says unknown": None,
        "it says yes": "up0",
        "it says no": None,
        "listed": "up0",
        "it is gone": None,
        "it is gone, listed": "up0",
        "metered is 0": None,
        "metered is 1": "up0",
        "metered is 2": None,
        "metered is 3": "up0",  # a guess: a phone's hot-spot
        "metered is 4": None,
        "five looks at once ask": ["GetDeviceByIpIface", "Get"],
        "beside one that is not used": [["up0"], "up0"],
        "beside one that is used": [["other0"], None],
        "IPv6 goes elsewhere": [["up0", "other0"], "up0"],
        "through a tunnel": [["up0", "other0"], "up0"],
        "it hangs": None,
        "it hangs for s": 2,
        "it said yes": "up0",
        "then it hangs": "up0",
        "then it does not know it": None,
        "then it has gone": "up0",
    }
