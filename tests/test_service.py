"""What systemd and logind are told of us, and that the unit says what it must."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ailasd.service import LONGEST_S, Pulse, Sleep, notify

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "systemd/ailasd.service"


class Systemd:
    """The receiving end of sd_notify(3)."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """Every message since the last look."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    """A socket as systemd hands one to its services, of both kinds that there are."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@ailasd-test-{os.getpid()}-{tmp_path.name}"
    end = Systemd(name.replace("@", "\0"))
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    yield end
    end.socket.close()


@pytest.fixture
def watched(systemd, monkeypatch):
    """As if started with WatchdogSec=2min."""
    monkeypatch.setenv("WATCHDOG_USEC", "120000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    return systemd


class Time:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_is_told_arrives_as_one_message(systemd):
    """Several states go together, as sd_notify wants them."""
    assert notify("READY=1", "STATUS=No card is here.")
    assert systemd.heard() == ["READY=1\nSTATUS=No card is here."]


def test_a_status_cannot_smuggle_in_another_state(systemd):
    """A card's label with a newline stays one line."""
    notify("STATUS=Reading X\nWATCHDOG=1")
    assert systemd.heard() == ["STATUS=Reading X\\nWATCHDOG=1"]


@pytest.mark.parametrize("address", [None, "", "relative", "/nobody/listens", "@nobody-listens"])
def test_without_systemd_nothing_is_told_and_nothing_fails(address, monkeypatch):
    """A shell, a container, a socket that is gone."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


def test_an_idle_daemon_feeds_at_half_the_watchdogs_time(watched):
    """Not at every look of the main loop, and never too late."""
    clock = Time()
    pulse = Pulse(monotonic=clock)
    assert pulse.every_s == 60
    fed = []
    for _ in range(61):  # five minutes, a look each five seconds
        pulse.feed()
        fed += [clock.now] * len(watched.heard())
        clock.now += 5
    assert [at - 1000 for at in fed] == [0, 60, 120, 180, 240, 300]


def test_a_step_that_hangs_ends_the_feeding(watched):
    """Silence for longer than allowed is no life, however well the main loop does."""
    clock = Time()
    pulse = Pulse(monotonic=clock)
    with pulse.working("import"):
        pulse.feed()
        clock.now += LONGEST_S - 1
        pulse.feed()
        assert watched.heard() == ["WATCHDOG=1"] * 2
        clock.now += 200
        pulse.feed()
        assert watched.heard() == []
    pulse.feed()  # it ended after all
    assert watched.heard() == ["WATCHDOG=1"]


def test_a_slow_step_that_gets_on_is_fed_for(watched):
    """Hours of work are fine as long as there are signs of life; another step's signs do not count for it."""
    clock = Time()
    pulse = Pulse(monotonic=clock)
    with pulse.working("slow card") as alive, pulse.working("upload") as other:
        for _ in range(100):
            clock.now += LONGEST_S / 2
            alive()
            other()
            pulse.feed()
            assert watched.heard() == ["WATCHDOG=1"]
        clock.now += LONGEST_S + 1
        other()
        pulse.feed()
        assert watched.heard() == []


def test_two_of_one_name_are_two(watched):
    """One card that is read on does not hide that another one hangs."""
    clock = Time()
    pulse = Pulse(monotonic=clock)
    with pulse.working("card"), pulse.working("card") as second:
        clock.now += LONGEST_S + 1
        second()
        pulse.feed()
        assert watched.heard() == []


def test_a_sign_of_life_after_the_end_is_nothing(watched):
    """A thread that is a little late cannot break the step after it."""
    pulse = Pulse()
    with pulse.working("card") as alive:
        pass
    thread = threading.Thread(target=alive)
    thread.start()
    thread.join(5)
    pulse.feed()
    assert watched.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize(("usec", "pid"), [(None, None), ("0", None), ("x", None), ("120000000", "1")])
def test_without_a_watchdog_of_ours_nothing_is_fed(systemd, monkeypatch, usec, pid):
    """None is set, or it is that of another process."""
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    pulse = Pulse()
    pulse.feed()
    assert pulse.every_s == float("inf")
    assert systemd.heard() == []


# -- logind -----------------------------------------------------------------------------------------------------------
def test_without_logind_cards_are_read_all_the_same(monkeypatch, tmp_path):
    """No bus, no lock, no error; the work inside is done."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/no-bus")
    with Sleep().inhibited("reading a card") as held:
        assert held is False


def test_a_bus_that_hangs_does_not_keep_a_card_from_being_read(monkeypatch, tmp_path):
    """Nobody answers: reading begins within a few seconds."""
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(tmp_path / "bus"))
    silent.listen()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    began = time.monotonic()
    with Sleep().inhibited("reading a card") as held:
        assert held is False
    assert time.monotonic() - began < 8
    silent.close()


LOGIND = """
import os, sys
from jeepney import DBusAddress, MessageType, new_method_return, new_error, message_bus
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection("SYSTEM", enable_fds=True)
bus.send_and_get_reply(message_bus.RequestName("org.freedesktop.login1"))
print("there", flush=True)
for wanted in sys.argv[1:]:
    while (call := bus.receive()).header.message_type is not MessageType.method_call:
        pass
    print(*call.body, sep="|", flush=True)
    if wanted == "refuse":
        bus.send(new_error(call, "org.freedesktop.DBus.Error.AccessDenied", "s", ("Permission denied",)))
        continue
    ours, theirs = os.pipe()
    bus.send(new_method_return(call, "h", (theirs,)))
    os.close(theirs)
    os.read(ours, 1)  # until they let go of it
    print("let go", flush=True)
"""
"""The one method of logind that we use, on a real bus: who calls it gets a real file descriptor."""


@pytest.fixture
def bus(tmp_path, monkeypatch):
    """A D-Bus of its own."""
    if not shutil.which("dbus-daemon"):
        pytest.skip("dbus-daemon is missing: apt-get install dbus")
    config = tmp_path / "bus.conf"
    config.write_text(
        '<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"'
        ' "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd"><busconfig><type>system</type>'
        f'<listen>unix:path={tmp_path}/bus</listen><policy context="default"><allow own="*"/>'
        '<allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>'
    )
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"]
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert daemon.stdout
    daemon.stdout.readline()  # from now on it listens
    yield
    daemon.kill()
    daemon.wait()


def logind(*answers: str) -> subprocess.Popen[str]:
    """Somebody who answers like logind; it is there when this returns."""
    process = subprocess.Popen([sys.executable, "-c", LOGIND, *answers], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


@pytest.mark.lab
def test_the_machine_stays_awake_exactly_as_long_as_a_card_is_read(bus):
    """Sleep is blocked with its reason, and the descriptor is closed at the end, even by an error."""
    process = logind("grant", "grant")
    assert process.stdout is not None
    for _ in range(2):
        with suppress(ZeroDivisionError), Sleep().inhibited("reading card\n1") as held:
            assert held
            assert process.stdout.readline() == "sleep|ailasd|reading card\\n1|block\n"
            raise ZeroDivisionError
        assert process.stdout.readline() == "let go\n"
    process.wait(5)


@pytest.mark.lab
def test_logind_may_refuse(bus):
    """Without a polkit rule a service without a seat gets no lock, and reads all the same."""
    process = logind("refuse")
    with Sleep().inhibited("reading") as held:
        assert held is False
    process.wait(5)


# -- the unit ---------------------------------------------------------------------------------------------------------
def unit() -> configparser.ConfigParser:
    """The unit's last value of each key."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_the_service_comes_back_for_ever_and_stops_soon():
    """No limit of starts, no waiting for a network, no capability; systemd kills it well after it stops by itself."""
    service, about = unit()["Service"], unit()["Unit"]
    assert service["Restart"] == "always"
    assert about["StartLimitIntervalSec"] == "0"
    assert "network" not in about.get("After", "") + about.get("Wants", "") + about.get("Requires", "")
    assert service["TimeoutStopSec"] == "10s"
    assert service["CapabilityBoundingSet"] == ""
    assert service["User"] == "ailasd"
    assert "--config /etc/ailasd/config.toml run" in service["ExecStart"]


def test_the_page_ends_with_what_it_depends_on():
    """Else its socket could not be started anew elsewhere while somebody looks (systemd refuses that)."""
    page = (UNIT.parent / "ailasd-web.service").read_text()
    assert "PartOf=ailasd.service ailasd-web.socket" in page.splitlines()


def test_every_line_of_the_sandbox_has_its_reason():
    """Each stands below a comment of its own."""
    lines = UNIT.read_text().partition("# -- its places")[2].partition("[Install]")[0].splitlines()
    settings = [number for number, line in enumerate(lines) if re.match(r"[A-Z]\w+=", line)]
    assert len(settings) > 25
    assert not [lines[number] for number in settings if not lines[number - 1].startswith("# ")]


@pytest.mark.lab
def test_systemd_finds_nothing_wrong_with_the_unit_and_little_open(tmp_path):
    """``systemd-analyze security`` says at most 2.0 of 10, and ``verify`` knows every line."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(UNIT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"exposure level for ailasd.service: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= 2.0
    assert done.returncode == 0
    # its program is not installed here, so only what it says of lines counts
    copy = tmp_path / "ailasd.service"
    copy.write_text(re.sub(r"ExecStart=.*", "ExecStart=/bin/true", UNIT.read_text()))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False, timeout=60
    )
    assert [line for line in done.stderr.splitlines() if "ailasd.service:" in line and "nknown" in line] == []
