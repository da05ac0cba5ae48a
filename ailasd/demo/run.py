"""``ailasd demo``: the real daemon over a card, in a temporary place, to a server of its own or a real one."""

from __future__ import annotations

import hashlib
import json
import signal
import tempfile
import threading
import uuid
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, cast

from ailasd import credential, logs
from ailasd.cli.exits import Exit
from ailasd.config import parse
from ailasd.demo import card as demo_card
from ailasd.demo.checking import faults, held_by, read_again
from ailasd.demo.receiver import Receiver
from ailasd.demo.screen import Progress, Screen
from ailasd.demo.summary import summary
from ailasd.demo.watch import ON_THE_WAY, Now, Watch, all_done, only_sending_waits, working
from ailasd.errors import ConfigError, NeedsHuman, NoRoom
from ailasd.logs import bytes_in_words as in_bytes
from ailasd.model import Kind
from ailasd.panoramax import Panoramax, SetWanted
from ailasd.parts import Ailasd
from ailasd.sources.folder import FolderSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from ailasd.config import Config
    from ailasd.demo.card import Fate, Sizes

PATIENCE_S: Final = 420.0
"""Without any progress for so long: give up. Longer than the longest pause that confirming makes (300 s)."""
AWAY_S: Final = 2.0
"""Long enough to read a line or two."""
DISPATCH_S: Final = 0.5
"""What a real server's worker takes at least."""
RESERVE: Final = 100_000_000

_CONFIG: Final = """\
# Written by `ailasd demo`.
kit = "demo"

[storage]
folder = {storage}
reserve = "{reserve}B"

[server]
url = {url}
token_file = {token_file}

[sources]
folders = [{card}]
every = "30s"

[cards]
watch = false

[inbox]
folder = ""

# the field's intervals are half a minute and more; nobody wants to watch that
[upload]
probe_every = "1s"
metered = true  # it stays on this machine, or goes where somebody just said

[confirm]
every = "1s"
"""


def demo(
    *,
    keep: Path | None = None,
    card: Path | None = None,
    server: str | None = None,
    token_file: Path | None = None,
    out: TextIO,
    sizes: Sizes | None = None,
    patience_s: float = PATIENCE_S,
    away_s: float = AWAY_S,
) -> int:
    """Show the whole path. Nothing is written to ``card``; all else happens in ``keep`` or a temporary folder.

    Args:
        keep: a folder that is made for all of it and stays.
        card: the user's own pictures instead of the demo's card.
        server: address of a real Panoramax instead of the embedded receiver.
        token_file: the token for ``server``.
        out: where it is shown.
        sizes: how large the demo's own card is.
        patience_s: seconds without progress after which it gives up.
        away_s: seconds for which the viewer sees that sending waits, after all else is done.

    Returns:
        Exit code: 0 if the counts add up and every good picture is proven to be on the server exactly once, 1 if not,
        75 if it gave up waiting, 130 if it was interrupted.

    Raises:
        NeedsHuman: it cannot start so (its text says why), or the server will have nothing of us.
        TryLater: no room, or a real server that went away at the very end.
    """
    if (server is None) != (token_file is None):
        raise ConfigError("--server and --token-file belong together: an address, and the file with the token for it")
    screen = Screen(out)
    with _interruptible(), ExitStack() as stack:
        try:
            home = keep.absolute() if keep else Path(stack.enter_context(_temporary()))
            receiver = stack.enter_context(Receiver(dispatch_after=DISPATCH_S)) if server is None else None
            show = _Demo(home, screen, card=card, receiver=receiver, server=server, token_file=token_file)
            show.prepare(sizes or demo_card.Sizes())
            code = show.run(patience_s, away_s)
        except KeyboardInterrupt:
            screen.live("")
            screen.say("Stopped.")
            code = Exit.INTERRUPTED
        if keep and (home / "config.toml").exists():
            _say_where(home, screen)
    return code


class _Demo:
    """One demo: its folder, its card, its server."""

    def __init__(
        self,
        home: Path,
        screen: Screen,
        *,
        card: Path | None,
        receiver: Receiver | None,
        server: str | None,
        token_file: Path | None,
    ) -> None:
        self._home = home
        self._own_card = card is None
        self._card = (card or home / "card").resolve()
        self._receiver = receiver
        self._token_file = token_file.absolute() if token_file else home / "token"
        self._screen = screen
        self._fates: dict[str, Fate] | None = None
        text = _CONFIG.format(
            storage=_quoted(home / "state"), reserve=RESERVE, url=_quoted(server or (receiver.url if receiver else "")),
            token_file=_quoted(self._token_file), card=_quoted(self._card),
        )  # fmt: skip
        # checked before anything is made: a folder to keep must not lie on the card
        self._config: Config = parse(text, "the demo's configuration")
        self._config_text = text

    # -- before -------------------------------------------------------------------------------------------------------
    def prepare(self, sizes: Sizes) -> None:
        """Make folders, card, token and configuration."""
        if not self._own_card and not self._card.is_dir():
            raise NeedsHuman(f"{self._card} is not a folder")
        if self._receiver is None:
            credential.load(self._config)  # a wrong token file is said before anything is made
        _make(self._home)
        if self._receiver:
            _write_private(self._token_file, self._receiver.token("demo"))
        (self._home / "config.toml").write_text(self._config_text, encoding="utf-8")
        if self._own_card:
            self._fates = demo_card.write(self._card, sizes, day=datetime.now(UTC) - timedelta(days=1))
        if self._receiver and self._own_card:
            _upload_through_website(self._receiver, self._card / demo_card.EARLIER)

    # -- the show -----------------------------------------------------------------------------------------------------
    def run(self, patience_s: float, away_s: float) -> int:
        """From the first look at the card to the verdict."""
        logs.set_up("info", cast("TextIO", self._screen), console=True)
        with Ailasd(self._config) as parts:
            source = FolderSource(self._card)  # a view of our own, apart from the daemon's
            pictures = self._introduce(source, parts)
            if self._receiver:
                self._receiver.away()
            with working(parts) as daemon:
                watch = Watch(parts, daemon, self._screen, patience_s, pictures)
                if self._receiver and watch.until(only_sending_waits, linger_s=away_s):
                    self._screen.say("-- The network is back.")
                    self._receiver.back()
                done = watch.until(all_done)
            self._screen.live("")
            if not done:
                return self._give_up(parts, patience_s)
            return self._verdict(parts, source)

    def _introduce(self, source: FolderSource, parts: Ailasd) -> int:
        """Say what is going to happen; returns how many pictures there are to read."""
        sizes = [file.size for file in source.listing() if file.kind is Kind.PICTURE]
        if parts.storage.free() < sum(sizes) + RESERVE:
            raise NoRoom(
                f"the pictures need {in_bytes(sum(sizes))}, and {self._home} has no room for them: "
                "give a folder on a larger disk with --keep"
            )
        what = "a day on the road with a Hero 13" if self._own_card else "your pictures (only read)"
        self._screen.say(f"The card: {self._card}: {what}; {len(sizes)} pictures, {in_bytes(sum(sizes))}.")
        if self._receiver:
            self._screen.say("The server: one of its own, on this machine. The network is away at first.")
        else:
            self._screen.say(f"The server: {self._config.server.url}.")
        return len(sizes)

    # -- after --------------------------------------------------------------------------------------------------------
    def _give_up(self, parts: Ailasd, patience_s: float) -> int:
        now = Now.of(parts)
        waiting = ", ".join(f"{now.by_state[state]} {state}" for state in ON_THE_WAY if now.by_state[state])
        self._screen.say(f"Giving up: nothing went on for {patience_s:.0f} s. Still waiting: {waiting or '?'}.")
        if now.why:
            self._screen.say(f"The link: {now.why}")
        if (error := parts.catalogue.telling.latest_error()) is not None:
            self._screen.say(f"For example {error['name']}: {error['last_error']}")
        return Exit.TEMPORARY

    def _verdict(self, parts: Ailasd, source: FolderSource) -> int:
        progress = Progress("read again to check")
        on_card = read_again(source, lambda done, of: self._screen.live(progress.line(done, of)))
        self._screen.live("")
        if self._receiver:
            holds = self._receiver.holds()
        else:
            with Panoramax(
                self._config.server.url, credential.load(self._config), agent="ailasd-demo", way=self._config.way
            ) as server:
                holds = held_by(server, parts.catalogue)
        good, found = faults(parts.catalogue, on_card, holds, self._fates)
        self._screen.say()
        received = self._receiver.bytes_received if self._receiver else None
        for line in summary(parts.catalogue, source, received):
            self._screen.say(line)
        self._screen.say()
        for fault in found:
            self._screen.say(f"WRONG: {fault}.")
        if found:
            return Exit.PERSON
        self._screen.say(
            f"Checked against the card, read anew: each of its {good} good pictures is on the server exactly once."
        )
        return Exit.FINE


# -- around it --------------------------------------------------------------------------------------------------------
@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal all end the demo by one KeyboardInterrupt, so that nothing is left behind.

    Further ones are ignored: the daemon stops within seconds, and must have stopped before its catalogue is closed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are another's business then
        return
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ailasd-demo-")


def _make(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = any(home.iterdir())
    except OSError as error:
        raise NeedsHuman(f"{home} cannot be used: {error.strerror}; give another folder with --keep") from error
    if used:
        raise NeedsHuman(f"{home} is not empty: give a new folder with --keep, for a demo begins from nothing")


def _quoted(value: Path | str) -> str:
    """As a TOML string; JSON's are the same for all that a path can hold but lone bytes, which TOML cannot say."""
    text = json.dumps(str(value), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{text.encode(errors='backslashreplace').decode()} is not UTF-8; rename it") from None
    return text


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _upload_through_website(receiver: Receiver, file: Path) -> None:
    """Somebody was quicker: one picture of the card is on the server already, under another name."""
    data = file.read_bytes()
    with Panoramax(receiver.url, receiver.token("somebody"), agent="website") as website:
        made = website.create_set(SetWanted("Through the website", {}, {}))
        website.send(
            made.id, file=file, name="holiday.jpg", size=len(data), picture_id=str(uuid.uuid4()),
            md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        )  # fmt: skip
        website.complete(made.id)
        website.complete(made.id)


def _say_where(home: Path, screen: Screen) -> None:
    screen.say(f"All of it is kept in {home}. To look at it:")
    screen.say(f"  ailasd --config {home / 'config.toml'} status")
    screen.say(f"  datasette {home / 'state' / 'catalogue.db'}")
