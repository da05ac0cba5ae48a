"""The command that makes a kit known to its server: ``ailasd login``."""

# ruff: noqa: PLC0415  (imports inside commands, as in ``commands``)

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import click

from ailasd import __version__
from ailasd.cli.commands import _config, _harmless, program
from ailasd.cli.exits import Exit
from ailasd.cli.program import Ended

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ailasd.config import Config
    from ailasd.panoramax import Account, Newcomer

NO_PROGRESS_S: Final = 10.0
"""Somebody waits, and Ctrl-C is heard between two requests."""


@program.command("login")
@click.argument("url", required=False)
@click.option("--token-stdin", is_flag=True, help="Read a token that there is already, instead of a new one.")
@click.option("--stdout", "to_stdout", is_flag=True, help="Write the token into a pipe, instead of the token file.")
def log_in(url: str | None, token_stdin: bool, to_stdout: bool) -> None:
    """Make this kit known to its server.

    URL is the server's address, unless the configuration has it. Shows a link: whoever opens it and logs in lends the
    kit that account. The token is named after the kit, and only stored when the server accepts it.
    """
    from ailasd import credential
    from ailasd.cli.stopping import stop_on_signals
    from ailasd.errors import TryLater

    config = _config()
    address = _address(url, config)
    if to_stdout and sys.stdout.isatty():
        raise click.UsageError("--stdout writes the token into a pipe, not onto a screen.")
    if not to_stdout:
        credential.refuse_unless_storable(config)
    with stop_on_signals() as stop:
        try:
            with _tokens(config, address, stop, from_stdin=token_stdin) as (token, account):
                if to_stdout:
                    click.echo(token)
                else:
                    credential.store(token, config)
        except TryLater as error:
            if stop.is_set():
                raise Ended(f"Interrupted: {error}.", Exit.INTERRUPTED) from None
            raise
    click.echo(f'{address} knows this kit as "{_harmless(account.name)}".', err=True)
    if to_stdout:
        return
    click.echo(
        f"The token is in {config.server.token_file}; a daemon that waits for it notices within 5 minutes.", err=True
    )
    if not config.server.url:
        click.echo(
            f'To send pictures there, put this into the configuration:\n\n[server]\nurl = "{address}"\n', err=True
        )


def _address(url: str | None, config: Config) -> str:
    """The instance: said, configured, or both alike. Else the daemon would show its token to another server."""
    from ailasd.config.values import address, in_the_clear
    from ailasd.errors import ConfigError

    configured = config.server.url
    if url is None:
        if not configured:
            raise click.UsageError("Say the server's address: ailasd login URL (or set server.url).")
        return configured
    try:
        said = address(url, plain_http=config.server.plain_http)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from None
    if fault := in_the_clear(said, config.vpn.interface):
        raise ConfigError(f"vpn: {fault}")
    if configured not in {"", said}:
        raise ConfigError(f"server.url is {configured} in the configuration: change it first, or log in there")
    return said


@contextmanager
def _tokens(config: Config, address: str, stop: threading.Event, *, from_stdin: bool) -> Iterator[tuple[str, Account]]:
    from ailasd import credential, login
    from ailasd.logs import hide
    from ailasd.panoramax import Newcomer
    from ailasd.recognising import recognise

    def connect(token: str | None) -> Newcomer:
        agent = f"ailasd/{__version__}"
        return Newcomer(address, token, agent=agent, way=config.way, no_progress_s=NO_PROGRESS_S)

    known = _known_account(config)
    if from_stdin:
        token = credential.checked(sys.stdin.buffer.read(credential.LARGEST + 1), "standard input")
        hide(token)
        with connect(token) as server:
            yield token, recognise(server, account=known)[0]
        return
    with login.claimed(connect, kit=config.kit, known=known, show=_show, stop=stop) as found:
        yield found


def _known_account(config: Config) -> str | None:
    """Whose our pictures are so far, as far as that can be seen."""
    from ailasd.catalogue import Catalogue
    from ailasd.clock import SystemClock
    from ailasd.errors import CatalogueError
    from ailasd.storage import Storage

    file = Storage(config.storage.folder).catalogue
    with suppress(OSError, CatalogueError):
        if file.exists() and os.access(file, os.W_OK):
            with Catalogue(file, SystemClock()) as catalogue:
                return catalogue.telling.fact("account")
    return None


def _show(link: str) -> None:
    """The link, and where it fits a picture of it for a phone, all on stderr: stdout may be a pipe for the token."""
    click.echo(f"Open this link and log in with the account that this kit shall have:\n\n  {link}\n", err=True)
    if sys.stderr.isatty():
        from qrcode import QRCode  # late: it imports Pillow, 0.1 s on a laptop
        from qrcode.constants import ERROR_CORRECT_L

        code = QRCode(error_correction=ERROR_CORRECT_L)  # the smallest: a screen has no scratches
        code.add_data(link)
        code.make(fit=True)
        width = code.modules_count + 2 * code.border
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # a serial line does not know
        if width <= columns and "utf" in (sys.stderr.encoding or "").lower():
            code.print_ascii(out=sys.stderr, tty=True)
    click.echo("Waiting until somebody does so (Ctrl-C ends it, and leaves nothing behind) ...", err=True)
