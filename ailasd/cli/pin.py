"""The command that lets people see the page with a PIN: ``ailasd pin``."""

# ruff: noqa: PLC0415  (imports inside commands, as in ``commands``)

from __future__ import annotations

import sys

import click

from ailasd.cli.commands import _config, program
from ailasd.cli.exits import Exit
from ailasd.cli.program import Ended

DIGITS = 6


@program.command()
@click.option("--stdin", "from_stdin", is_flag=True, help="Read one from standard input, instead of making one up.")
@click.option("--forget", is_flag=True, help="Have none any more.")
def pin(from_stdin: bool, forget: bool) -> None:
    """Make a PIN for the page.

    Shows it once; only its hash is stored. Whoever is logged in with an older one has to log in anew.
    """
    import secrets

    from ailasd.disk import write_whole
    from ailasd.web.admitting import Pin

    file = _config().web.pin_file
    try:
        if forget:
            file.unlink(missing_ok=True)
            click.echo("There is no PIN any more: other machines see the one sign, and nobody sees pictures.")
            return
        chosen = sys.stdin.readline().strip() if from_stdin else f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
        try:
            made = Pin.of(chosen)
        except ValueError as error:
            raise Ended(f"{error}.", Exit.USAGE) from None
        write_whole(file, made.to_text().encode(), mode=0o600)
    except OSError as error:
        raise Ended(f"{file} cannot be written ({error.strerror}): sudo ailasd pin", Exit.STORAGE) from None
    if not from_stdin:
        click.echo(chosen)
    click.echo("It counts as soon as the page is started anew: sudo systemctl stop ailasd-web", err=True)
