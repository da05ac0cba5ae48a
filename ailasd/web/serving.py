"""The process: its sockets, what it grants a connection, and its end when nobody looks."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from starlette.middleware import Middleware
from uvicorn.protocols.http.h11_impl import H11Protocol

from ailasd import config as configuration
from ailasd import logs
from ailasd.clock import SystemClock
from ailasd.errors import AilasdError
from ailasd.web.admitting import Door, Tries, load_pin
from ailasd.web.app import Page
from ailasd.web.guarding import Guard
from ailasd.web.seeing import Seeing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ailasd.config import Config

SYSTEM_CONFIG: Final = Path("/etc/ailasd/config.toml")
IDLE_S: Final = 300.0
"""After so long without a request and with nobody who watches, the process ends; systemd keeps its socket."""
LOOK_EVERY_S: Final = 1.0

MOST_CONNECTIONS: Final = 40
"""Some phones with six each; more get 503."""
LARGEST_HEAD: Final = 16_384
"""Bytes of a request's head: a browser's has 1 000."""
HEAD_S: Final = 10.0
"""A head that takes longer to come is somebody who wants to keep us busy."""
THREADS: Final = 4
"""Looking at the catalogue is reading from one disk."""
FIRST_FD: Final = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)


class Connection(H11Protocol):
    """Uvicorn's, which by itself would wait for a head for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody comes."""
        super().connection_made(transport)
        self._hurry: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Something of a request, or the begin of the next one."""
        if self._hurry is None and (self.cycle is None or self.cycle.response_complete):
            self._hurry = self.loop.call_later(HEAD_S, self._too_slow)
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._in_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """They went."""
        self._in_time()
        super().connection_lost(exc)

    def _in_time(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None

    def _too_slow(self) -> None:
        self._hurry = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class _Server(uvicorn.Server):
    """Ends when nobody looks.

    Args:
        idle_s: infinite: never.
        page: knows who watches.
        tries: knows who tried a PIN.
    """

    def __init__(self, config: uvicorn.Config, *, idle_s: float, page: Page, tries: Tries) -> None:
        super().__init__(config)
        self._idle_s, self._page, self._tries = idle_s, page, tries

    async def main_loop(self) -> None:
        """As uvicorn's, which wakes ten times a second for nothing but this."""
        current_default_thread_limiter().total_tokens = THREADS
        counter = 0
        while not await self.on_tick(counter):
            await asyncio.sleep(LOOK_EVERY_S)
            counter += 10  # tenths of a second: the date of answers is made anew at each tenth one
            idle = self._page.idle_s() > self._idle_s and self._tries.none_lately()
            self.should_exit = self.should_exit or idle

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which waits until every answer is through."""
        self._page.end()
        await super().shutdown(sockets)


def serve(
    config: Config, sockets: Sequence[socket.socket], *, idle_s: float, config_file: Path | None = None
) -> None:  # fmt: skip
    """Serve until told to stop (SIGTERM, SIGINT), or until nobody looked for ``idle_s``.

    Raises:
        ConfigError: the PIN cannot be read.
    """
    door = Door(load_pin(config.web.pin_file), wall=time.time)
    tries = Tries(time.monotonic)
    page = Page(Seeing(config, SystemClock(), config_file), door, tries)
    app = page.app([Middleware(Guard, asked=page.asked)])
    settings: dict[str, Any] = {
        "http": Connection, "ws": "none", "lifespan": "off", "loop": "asyncio", "log_config": None,
        "access_log": False, "proxy_headers": False, "server_header": False, "limit_concurrency": MOST_CONNECTIONS,
        "h11_max_incomplete_event_size": LARGEST_HEAD, "timeout_graceful_shutdown": 2,
    }  # fmt: skip
    _Server(uvicorn.Config(app, **settings), idle_s=idle_s, page=page, tries=tries).run(sockets=list(sockets))


def handed_over() -> list[socket.socket]:
    """The sockets that systemd listens on for us (sd_listen_fds(3))."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    return [socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + int(count))]


def bound(listen: tuple[str, int]) -> socket.socket:
    """A socket of our own.

    Args:
        listen: address and port.
    """
    family = socket.AF_INET6 if ip_address(listen[0]).version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(listen)
    made.listen(64)
    return made


def main() -> None:
    """The command ``ailasd-web``."""
    parser = argparse.ArgumentParser(prog="ailasd-web", description="The page that shows how a kit stands.")
    parser.add_argument("--config", type=Path, help=f"configuration file (default: {SYSTEM_CONFIG} if it exists)")
    parser.add_argument(
        "--idle-s", type=float, default=IDLE_S, help="end after so many seconds if nobody looks, started by systemd"
    )
    given = parser.parse_args()
    logs.set_up("warning", sys.stderr, console=sys.stderr.isatty())
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # its warnings are other people's malformed requests
    try:
        file = given.config or (SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else None)
        config = configuration.load(file) if file else configuration.Config()
        sockets = handed_over()
        if sockets:
            serve(config, sockets, idle_s=given.idle_s, config_file=file)
        elif not config.web.listen:
            sys.exit('ailasd-web: web.listen is "" in the configuration: there is no page')
        else:
            own = bound(config.web.address)
            host, port = own.getsockname()[:2]
            sys.stdout.write(f"http://{f'[{host}]' if ':' in host else host}:{port}/\n")
            sys.stdout.flush()
            serve(config, [own], idle_s=float("inf"), config_file=file)
    except KeyboardInterrupt:
        pass
    except (AilasdError, OSError) as error:
        sys.exit(f"ailasd-web: {logs.printable(logs.mask(str(error)))}")


if __name__ == "__main__":
    main()
