"""A laboratory for metered networks: a real NetworkManager, then a stand-in on the same bus; prints facts as JSON.

To be run as root inside ``unshare --net --mount --uts --kill-child --fork``. The uplink ``up0`` leads to a namespace
behind which there is nothing.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from gopro_network import Laboratory, isolate, run, wait_for
from jeepney import HeaderFields, MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

from ailasd.metered import LOOK_S, Metered, outer_interfaces

PROFILE = """[connection]
id=up0
type=ethernet
interface-name=up0
metered={metered}
[ipv4]
method=manual
address1=192.0.2.2/24,192.0.2.1
[ipv6]
method=disabled
"""
WORDS = {0: "unknown", 1: "yes", 2: "no"}
"""What a profile can say."""


def manager(laboratory: Laboratory, metered: int) -> None:
    """NetworkManager with an uplink of that kind."""
    profile = Path("/etc/NetworkManager/system-connections/up0.nmconnection")
    profile.parent.mkdir(exist_ok=True)
    profile.write_text(PROFILE.format(metered=metered))
    profile.chmod(0o600)
    Path("/etc/NetworkManager/NetworkManager.conf").write_text("[main]\nplugins=keyfile\ndns=none\n")
    laboratory.start("NetworkManager", "--no-daemon")


class StandIn:
    """NetworkManager as far as we ask it, on the real bus: ``metered`` is its answer, None: it says nothing."""

    def __init__(self) -> None:
        self.metered: int | None = 0
        self.known = "up0"
        self.asked: list[str] = []
        self._bus = open_dbus_connection("SYSTEM")
        self._bus.send_and_get_reply(message_bus.RequestName("org.freedesktop.NetworkManager"))
        threading.Thread(target=self._serve, daemon=True).start()

    def gone(self) -> None:
        """Its name is nobody's any more."""
        self._bus.send(message_bus.ReleaseName("org.freedesktop.NetworkManager"))
        time.sleep(0.5)

    def _serve(self) -> None:
        while True:
            try:
                call = self._bus.receive()
            except ConnectionResetError:  # the bus has ended
                return
            if call.header.message_type is not MessageType.method_call or self.metered is None:
                continue
            member = call.header.fields[HeaderFields.member]
            self.asked.append(member)
            if member == "GetDeviceByIpIface" and call.body == (self.known,):
                answer = new_method_return(call, "o", ("/org/freedesktop/NetworkManager/Devices/7",))
            elif member == "Get" and call.body == ("org.freedesktop.NetworkManager.Device", "Metered"):
                answer = new_method_return(call, "v", (("u", self.metered),))
            else:
                answer = new_error(call, "org.freedesktop.NetworkManager.UnknownDevice", "s", ("no such device",))
            self._bus.send(answer)


def look(*listed: str) -> str | None:
    return Metered(listed)()


def main() -> None:
    isolate()
    facts: dict[str, object] = {}
    with ExitStack() as stack:
        laboratory = Laboratory(stack)
        run("ip", "link", "set", "lo", "up")
        facts["no route"] = (outer_interfaces(), look("*"))
        laboratory.other("up0", "192.0.2.1/24")
        Path("/run/dbus").mkdir()
        bus = laboratory.start("dbus-daemon", "--system", "--nofork", "--nopidfile", "--print-address")
        assert bus.stdout is not None
        bus.stdout.readline()
        with ExitStack() as real:
            manager(Laboratory(real), 1)
            wait_for(lambda: outer_interfaces() == ["up0"] and look() is not None)  # it answers some time after that
            facts["a profile says yes"] = look()
            for value, word in WORDS.items():
                run("nmcli", "connection", "modify", "up0", "connection.metered", word)
                run("nmcli", "device", "reapply", "up0")
                wait_for(lambda value=value: (look() is not None) == (value == 1))  # type: ignore[misc]
                facts[f"it says {word}"] = look()
            began = time.monotonic()
            look()
            facts["a look takes ms"] = round(1000 * (time.monotonic() - began), 1)
            facts["listed"] = look("wwan*", "up?", "up*")
        run("ip", "address", "replace", "192.0.2.2/24", "dev", "up0")
        run("ip", "link", "set", "up0", "up")
        run("ip", "route", "replace", "default", "via", "192.0.2.1", "metric", "600")
        facts["it is gone"] = look()
        facts["it is gone, listed"] = look("up*")
        stand_in = StandIn()
        for value in range(5):
            stand_in.metered = value
            facts[f"metered is {value}"] = look()
        metered = Metered()
        stand_in.asked.clear()
        for _ in range(5):
            metered()
        facts["five looks at once ask"] = [*stand_in.asked]
        stand_in.metered = 1
        laboratory.other("other0", "198.51.100.1/24")
        run("ip", "link", "set", "other0", "up")
        run("ip", "route", "add", "default", "dev", "other0", "metric", "700")
        facts["beside one that is not used"] = (outer_interfaces(), look())
        run("ip", "route", "add", "default", "dev", "other0", "metric", "50")
        facts["beside one that is used"] = (outer_interfaces(), look())
        run("ip", "route", "del", "default", "dev", "other0", "metric", "50")
        run("ip", "-6", "route", "add", "default", "dev", "other0", "metric", "50")
        facts["IPv6 goes elsewhere"] = (outer_interfaces(), look())
        run("ip", "tuntap", "add", "tun0", "mode", "tun")
        run("ip", "address", "add", "10.9.0.2/24", "dev", "tun0")
        run("ip", "link", "set", "tun0", "up")
        run("ip", "route", "add", "default", "dev", "tun0", "metric", "1")
        facts["through a tunnel"] = (outer_interfaces(), look())
        stand_in.metered = None
        began = time.monotonic()
        facts["it hangs"] = look()
        facts["it hangs for s"] = round(time.monotonic() - began)
        now = [0.0]

        def later() -> str | None:
            now[0] += LOOK_S
            return watching()

        stand_in.metered, watching = 1, Metered(monotonic=lambda: now[0])
        facts["it said yes"] = later()
        stand_in.metered = None
        facts["then it hangs"] = later()
        stand_in.metered, stand_in.known = 1, ""
        facts["then it does not know it"] = later()
        stand_in.known = "up0"
        later()
        stand_in.gone()
        facts["then it has gone"] = later()
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
    sys.exit()
