"""A session with a desktop: a private D-Bus, what stands for a notification daemon, and the real ``ailasd notify``.

To be run inside ``unshare --net --mount --pid``, with a folder of its own as argument; prints what was shown as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from jeepney import HeaderFields, MessageType, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

from ailasd.showing.sign_file import SignFile
from ailasd.sign import Shown, Sign

BUS = """<busconfig><type>session</type><listen>unix:path={socket}</listen><policy context="default">
<allow send_destination="*" eavesdrop="false"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>"""
NAME = "org.freedesktop.Notifications"


class Desktop:
    """As much of a notification daemon as the specification asks of one."""

    def __init__(self, address: str) -> None:
        self.shown: list[dict[str, Any]] = []
        self._bus = open_dbus_connection(address)
        self._bus.send_and_get_reply(message_bus.RequestName(NAME))
        threading.Thread(target=self._serve, daemon=True).start()

    def leave(self) -> None:
        self._bus.send(message_bus.ReleaseName(NAME))

    def _serve(self) -> None:
        while True:
            call = self._bus.receive()
            if call.header.message_type is not MessageType.method_call:
                continue
            if call.header.fields[HeaderFields.member] == "Notify":
                _, replaces, _, summary, body, _, hints, _ = call.body
                self.shown.append(
                    {"id": replaces, "summary": summary, "body": body, "urgency": hints["urgency"][1]}
                )  # fmt: skip
                self._bus.send(new_method_return(call, "u", (replaces or 1,)))
            else:
                self.shown.append({"id": "closed", "summary": call.body[0], "urgency": None})
                self._bus.send(new_method_return(call))


def wait_for(so: Any) -> None:
    end = time.monotonic() + 40
    while not so():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def main() -> None:
    here = Path(sys.argv[1])
    socket, config, run = here / "bus", here / "bus.conf", here / "run"
    run.mkdir()
    config.write_text(BUS.format(socket=socket))
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"]
    bus = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert bus.stdout
    bus.stdout.readline()  # from now on it listens
    address = f"unix:path={socket}"
    desktop = Desktop(address)
    file = SignFile(run / "sign.json")
    file.show(Shown(Sign.SAFE))
    environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": address, "LANG": "fr_FR.UTF-8"}
    environment |= {"LC_ALL": "", "LC_MESSAGES": "", "LANGUAGE": ""}
    notify = subprocess.Popen(
        [sys.executable, "-m", "ailasd", "notify", "--sign", str(run / "sign.json")], env=environment
    )  # fmt: skip
    threads = Path(f"/proc/{notify.pid}/task")
    wait_for(lambda: len(list(threads.iterdir())) > 3)  # it watches
    for number, shown in enumerate(
        [
            Shown(Sign.READING, 3, 9, 2), Shown(Sign.READING, 4, 9, 2), Shown(Sign.PULL), Shown(Sign.SENDING, 1, 9),
            Shown(Sign.WAITING, 1, 9, word="link_lost"), Shown(Sign.HELP, why="x", word="refused"),
        ]
    ):  # fmt: skip
        count = len(desktop.shown) + 1
        file.show(shown)
        if number not in {1, 4}:  # which nobody is told of
            wait_for(lambda count=count: len(desktop.shown) == count)
        time.sleep(0.2)
    notices = list(desktop.shown)
    desktop.leave()
    file.show(Shown(Sign.PULL))  # nobody is there to show it
    time.sleep(0.5)
    other = Desktop(address)
    file.show(Shown(Sign.PULL, 1, 9))
    wait_for(lambda: other.shown)
    notify.terminate()
    print(
        json.dumps(
            {"notices": notices, "after the desktop came back": other.shown[0]["summary"], "ended": notify.wait(10)}
        )
    )
    bus.kill()
    bus.wait()


main()
