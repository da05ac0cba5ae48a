"""The commands that tell people of their drives and cards: ``ailasd report``, ``ailasd notify``."""

# ruff: noqa: PLC0415  (imports inside commands, as in ``commands``)

from __future__ import annotations

import os
import threading
from pathlib import Path

import click

from ailasd.cli.commands import _config, _looking, program
from ailasd.cli.exits import Exit
from ailasd.cli.program import Ended


@program.command()
@click.argument("drive", type=int)
@click.option("--language", type=click.Choice(["fr", "mg", "en"]), help="[default: as configured]")
def report(drive: int, language: str | None) -> None:
    """Tell how good a drive was.

    DRIVE is its number, as `ailasd status` names it. The same lies beside its pictures as it was when they came in.
    """
    from ailasd.reports import text

    config = _config()
    with _looking(config) as (catalogue, _):
        said = text(catalogue, drive, language or config.language, config.zone)
    if said is None:
        raise Ended(f"There is no drive {drive}.", Exit.NOT_FOUND)
    click.echo(said, nl=False)


@program.command()
@click.option("--sign", type=click.Path(dir_okay=False, path_type=Path), help="The service's file.")
def notify(sign: Path | None) -> None:
    """Show on the desktop when a card may be pulled out.

    For a person's own session, in the language of that: `systemctl --user enable --now ailasd-notify`.
    """
    from ailasd.cli.stopping import stop_on_signals
    from ailasd.language import translations
    from ailasd.showing.notice import Notice, follow, language_of
    from ailasd.showing.sign_file import PLACE

    notice = Notice(translations(language_of(os.environ)))
    with stop_on_signals() as stop:
        threading.Thread(target=follow, args=(sign or PLACE, notice), daemon=True).start()
        stop.wait()
