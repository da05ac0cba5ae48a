"""``ailasd-web`` as a process on a kit's folder, visited over a socket; and a kit as it is when it shows a sign."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from as_on_a_kit import environment
from kit import START, Kit, drive

from ailasd.attending import Stand
from ailasd.clock import iso
from ailasd.demo.pictures import along
from ailasd.sign import Sign
from ailasd.web.admitting import Pin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKOUT: Final = Path(__file__).parents[1]
PIN: Final = "271828"


@dataclass
class Visitor:
    """Somebody with a browser, or without one.

    Attributes:
        port: where the page is, on loopback.
        headers: sent with every request.
        cookies: as they were set.
    """

    port: int
    process: subprocess.Popen[str]
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, Any, str]:
        """One request: status, headers, text."""
        status, about, content = self.fetch(method, path, body, **headers)
        return status, about, content.decode("utf-8", errors="replace")

    def fetch(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, Any, bytes]:
        """The same with what it brought as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        content = answer.read()
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        connection.close()
        return answer.status, answer.headers, content

    def get(self, path: str = "/", **headers: str) -> str:
        """The text of a page that is there."""
        status, _, text = self.ask("GET", path, **headers)
        assert status == 200, (status, text)
        return text

    def post(self, path: str, **fields: str) -> tuple[int, Any, str]:
        """A form."""
        return self.ask("POST", path, urlencode(fields))

    def form(self) -> str:
        """What a form on the main page carries."""
        found = re.search(r'name="form" value="([0-9a-f]+)"', self.get())
        assert found
        return found[1]

    def another(self) -> Visitor:
        """Somebody else."""
        return Visitor(self.port, self.process)

    def enter(self, pin: str = PIN) -> int:
        """Type the PIN; returns the status."""
        return self.post("/pin", form=self.form(), pin=pin)[0]


@contextmanager
def visited(kit: Kit, *, pin: bool = False, language: str = "en", **how: Any) -> Iterator[Visitor]:
    """The page of a kit, by itself; what it wrote on stderr must be nothing."""
    config, pin_file = kit.tmp / f"page-{pin}.toml", kit.tmp / f"pin-{pin}"
    if pin:
        pin_file.write_text(Pin.of(PIN).to_text())
    config.write_text(
        f'kit = "kit-07"\n[storage]\nfolder = "{kit.tmp}/state"\nreserve = "10MB"\n'
        f'[server]\nurl = "{kit.receiver.url}"\n'
        f'[inbox]\nfolder = ""\n[web]\nlisten = "127.0.0.1:0"\npin_file = "{pin_file}"\n[upload]\nmetered = true\n'
    )
    command = [sys.executable, "-m", "ailasd.web.serving", "--config", str(config)]
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    ) as process:
        try:
            assert process.stdout
            said = process.stdout.readline()
            assert said, process.stderr and process.stderr.read()
            yield Visitor(int(said.rpartition(":")[2].strip("/\n")), process, {"Accept-Language": language})
        finally:
            process.terminate()
            _, wrote = process.communicate(timeout=20)
        assert wrote == ""


def as_somebody_else(group: int, look: Callable[[], str]) -> str:
    """What ``look`` gives, or how it fails, in a process of a user who is only in that group."""
    reads, writes = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([group])
            os.setgid(4244)
            os.setuid(4244)
            said = look()
        except BaseException as error:  # noqa: BLE001  (it is the result)
            said = f"{type(error).__name__}: {error}"
        os.write(writes, said.encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


# -- a kit in each of its states --------------------------------------------------------------------------------------
def told(kit: Kit, state: str, why: str = "") -> None:
    """What was last found out about the link."""
    fact = json.dumps({"state": state, "why": why, "at": iso(kit.clock.now())})
    kit.parts.catalogue.telling.remember("link", fact)


@contextmanager
def showing(kit: Kit, sign: Sign) -> Iterator[None]:
    """The kit as it is while it shows this; a daemon seems to run."""
    catalogue = kit.parts.catalogue
    with ExitStack() as stack:
        if sign is not Sign.NOTHING:
            kit.bring_in()
        if sign is Sign.SAFE:  # which it is for a day: the page's clock is the real one
            kit.clock.jump(datetime.now(UTC) - timedelta(hours=12) - kit.clock.now())
            kit.drain()
        if sign in {Sign.READING, Sign.PULL}:
            stand = Stand.READING if sign is Sign.READING else Stand.DONE
            catalogue.media.stands("reader", "HERO13 Black (3456)", stand, card=1)
        if sign is Sign.WAITING:
            told(kit, "link_lost", "nobody answers")
        if sign is Sign.SENDING:
            told(kit, "link_back")
        if sign is Sign.HELP:
            told(kit, "login_needed", "the token was revoked")
        stack.enter_context(kit.parts.storage.as_daemon())
        yield


def day(**facts: Any) -> list[tuple[str, bytes, float]]:
    """A drive that has everything: a way, pictures without a fix, a stop of three minutes, a gap, and a bend."""
    bend = along((-18.9, 47.5), 200, 30 * 5 * 40 / 3.6)
    stop = {"start": START + timedelta(seconds=150), "first": 31, "origin": bend, "speed_kmh": 0, "seed": 100}
    on = {"start": START + timedelta(seconds=420), "first": 67, "origin": along(bend, 110, 900), "bearing": 110}
    return [
        *drive(30, every_s=5, no_fix=(0, 1, 12, 13, 14), **facts),
        *drive(36, every_s=5, **stop, **facts),
        *drive(30, every_s=5, seed=200, **on, **facts),
    ]
