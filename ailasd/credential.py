"""The token that the server knows us by: where it comes from, and where a new one goes. Nothing here ever shows it.

It comes from exactly one of three places: the credential ``ailasd-token`` that systemd hands over (LoadCredential=, see
systemd.exec(5)), the file ``server.token_file``, or what ``server.token_command`` prints.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ailasd.config import read_file
from ailasd.disk import write_whole
from ailasd.errors import ConfigError, NeedsHuman
from ailasd.logs import MASK, hide, mask, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ailasd.config import Config

NAME: Final = "ailasd-token"
"""Of the credential, for systemd."""

LARGEST: Final = 8 << 10
"""Bytes. Servers refuse longer header lines (gunicorn: 8190)."""

COMMAND_S: Final = 8.0
"""For the command: a smart card needs two, nobody is there to type a passphrase, and stopping may have to wait for it
(systemd gives up after 10)."""

MOST_SAID: Final = 200
"""Characters of the command's last words that are repeated."""

SHORTEST_PATH: Final = 8
"""Characters of a path that may be a secret, such as /ping/UUID; a shorter one may be in any text."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the token comes from: a file (systemd's too), or a command. ``words`` are for people."""

    words: str
    file: Path | None = None
    command: tuple[str, ...] = ()
    of_systemd: bool = False


def place(config: Config) -> Place:
    """The one place that the token comes from; the token file if nothing is anywhere yet.

    Raises:
        ConfigError: there are several, so that nobody knows which one counts.
    """
    found = []
    if (folder := os.environ.get("CREDENTIALS_DIRECTORY")) and (handed := Path(folder, NAME)).exists():
        found.append(Place(f"systemd's credential {NAME}", handed, of_systemd=True))
    if command := config.server.token_command:
        found.append(Place("server.token_command", command=command))
    file = Place(str(config.server.token_file), config.server.token_file)
    if _has_something(config.server.token_file):
        found.append(file)
    if len(found) > 1:
        places = " and ".join(one.words for one in found)
        raise ConfigError(f"the token comes from {places}, and nobody can tell which one counts: keep one of them")
    return found[0] if found else file


def load(config: Config) -> str:
    """The token, hidden from all that is told from now on; "" if there is no server. No error shows any part of it.

    Raises:
        ConfigError: ``server.url`` is set, but there is no token, or several, or one that others could read or change.
    """
    if not config.server.url:
        return ""
    source = place(config)
    if source.command:
        said = _printed_by(source.command)
    else:
        assert source.file is not None
        # what systemd hands over is guarded by systemd, in other ways than by mode and owner
        said = read_file(source.file, LARGEST, **({} if source.of_systemd else {"fit": _Ours(source.file)}))
    token = checked(said, source.words)
    hide(token)
    return token


def for_heartbeat(config: Config) -> str | None:
    """The token of the place that the heartbeat goes to, hidden as ours is; None: it has none.

    What follows the host in its address is hidden too: such places often know a caller by nothing else.

    Raises:
        ConfigError: there is none in its file.
    """
    if len(path := urlsplit(config.heartbeat.url).path) >= SHORTEST_PATH:
        hide(path)
    if (file := config.heartbeat.token_file) is None:
        return None
    token = checked(read_file(file, LARGEST), str(file))
    hide(token)
    return token


def checked(said: bytes, words: str) -> str:
    """The token that is in ``said``, alone but for white space around it.

    Raises:
        ConfigError: there is none, or more than that; the text begins with ``words`` and shows nothing of ``said``.
    """
    token = said.strip()
    if not token:
        raise ConfigError(f"{words} is empty; `ailasd login` gets a token for this kit and puts it there")
    if len(token) > LARGEST:
        raise ConfigError(f"{words} is larger than 8 KiB, so it is not a token")
    if not re.fullmatch(rb"[!-~]+", token):  # one word of ASCII: nothing else may go into a request header
        raise ConfigError(f'{words} must hold the token alone, one line without spaces (and without "Bearer")')
    return token.decode("ascii")


def _has_something(path: Path) -> bool:
    """Whether there is a token in it, for all one can see from outside."""
    with suppress(OSError, ValueError):
        return path.stat().st_size > 0
    return False


@dataclass(frozen=True, slots=True)
class _Ours:
    """Refuses a token file that others could read, or could have put there."""

    path: Path

    def __call__(self, about: os.stat_result) -> None:
        if about.st_mode & 0o077:
            raise ConfigError(f"others may read or change {self.path} (say chmod 600 {self.path})")
        us = os.geteuid()
        if us and about.st_uid not in {0, us}:  # root looks on behalf of the service, whose file it is
            raise ConfigError(f"{self.path} belongs to another user (say sudo chown {us} {self.path})")


# -- the command ------------------------------------------------------------------------------------------------------
def _printed_by(command: Sequence[str]) -> bytes:
    """What it prints, at most a little more than ``LARGEST``; its words on stderr become those of the error.

    Raises:
        ConfigError: it cannot be started, fails, prints without end, or does not end.
    """
    try:
        running = subprocess.Popen(  # noqa: S603  (a list of words that the configuration names)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise _failed(command, f"cannot be started: {why}") from None
    with running:
        try:
            until = time.monotonic() + COMMAND_S
            printed, said = _drain(running, until)
            code = running.wait(max(0.1, until - time.monotonic()))
        except BaseException as error:
            with suppress(ProcessLookupError):  # with all that it has started
                os.killpg(running.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise _failed(command, f"does not end within {COMMAND_S:.0f} s") from None
            if isinstance(error, OverflowError):
                raise _failed(command, "prints more than 8 KiB, so it is no token") from None
            raise
    if code:
        words = said.replace(printed.strip() or MASK.encode(), MASK.encode()).decode(errors="replace").split()
        last = mask(printable(" ".join(words)))[-MOST_SAID:]
        raise _failed(command, f"failed ({code}){f': {last}' if last else ''}")
    return printed


def _drain(running: subprocess.Popen[bytes], until: float) -> tuple[bytes, bytes]:
    """All that it prints, and the last that it says.

    Raises:
        subprocess.TimeoutExpired: ``until`` (monotonic) it has not closed both.
        OverflowError: it prints too much.
    """
    assert running.stdout is not None
    assert running.stderr is not None
    printed, said = bytearray(), bytearray()
    with selectors.DefaultSelector() as waiting:
        waiting.register(running.stdout, selectors.EVENT_READ, printed)
        waiting.register(running.stderr, selectors.EVENT_READ, said)
        while waiting.get_map():
            ready = waiting.select(max(0.0, until - time.monotonic()))
            if not ready or time.monotonic() > until:
                raise subprocess.TimeoutExpired(running.args, COMMAND_S)
            for key, _ in ready:
                block = os.read(key.fd, LARGEST)
                key.data.extend(block)
                if not block:
                    waiting.unregister(key.fileobj)
            del said[:-LARGEST]
            if len(printed) > LARGEST:
                raise OverflowError
    return bytes(printed), bytes(said)


def _failed(command: Sequence[str], how: str) -> ConfigError:
    return ConfigError(f"server.token_command ({printable(command[0])}) {how}")  # its other words may be telling


# -- a new one --------------------------------------------------------------------------------------------------------
def refuse_unless_storable(config: Config) -> Path:
    """The file that a new token goes into; looked at before there is one, since a token that is lost stays valid.

    Raises:
        NeedsHuman: it cannot go there; the text says how else.
    """
    path = config.server.token_file
    by_pipe = (
        "`ailasd login --stdout | ...` hands it on, to systemd as in "
        f"`... | sudo systemd-creds encrypt --name={NAME} - /etc/credstore.encrypted/{NAME}`"
        f" with LoadCredentialEncrypted={NAME} in a drop-in of the service"
    )
    if config.server.token_command:
        raise NeedsHuman(f"the token comes from server.token_command, so only you can put a new one there: {by_pipe}")
    if not path.parent.is_dir():
        raise NeedsHuman(f"there is no folder {path.parent}: make it; or {by_pipe}")
    if not os.access(path.parent, os.W_OK, effective_ids=True):
        raise NeedsHuman(f"{path} cannot be written by you: say `sudo ailasd login`; or {by_pipe}")
    return path


def store(token: str, config: Config) -> None:
    """Put a token into the token file, for the eyes of whoever runs the daemon alone; whole or not at all.

    Raises:
        NeedsHuman: it cannot be written; what was there is there still.
    """
    path, owner = config.server.token_file, None
    if os.geteuid() == 0:  # the service, whose user owns the storage, could not read a file of root's
        with suppress(OSError):
            owner = config.storage.folder.stat().st_uid
    try:
        write_whole(path, f"{token}\n".encode(), mode=0o600, owner=owner)
    except OSError as error:
        raise NeedsHuman(f"{path} cannot be written: {error.strerror or error}") from error
