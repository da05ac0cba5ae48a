"""The command that puts ailasd on a machine: ``sudo ailasd setup``."""

# ruff: noqa: PLC0415  (imports inside commands, as in ``commands``)

from __future__ import annotations

from pathlib import Path

import click

from ailasd.cli.commands import program


@program.command("setup")
@click.option("--kit", metavar="NAME", help="This kit's name, for a new configuration.  [default: the host's name]")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--upgrade", is_flag=True, help="Replace the version that is installed, backing the catalogue up first.")
@click.option("--uninstall", is_flag=True, help="Remove the service; pictures, catalogue and configuration stay.")
@click.option(
    "--wheels",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Install from this folder (of a stick), without any network.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("/"),
    help="Set up the system in this folder, such as an image, but for its programs.",
)
def set_up(  # noqa: PLR0917  (click passes them by name)
    kit: str | None, dry_run: bool, upgrade: bool, uninstall: bool, wheels: Path | None, root: Path
) -> None:
    """Make this machine a kit: user, folders, service.

    Run it as root. A second run changes nothing; one that was cut off goes on where it was.
    """
    from ailasd.setting_up.course import Order, set_up, take_away
    from ailasd.setting_up.machine import Machine

    if uninstall and (upgrade or kit or wheels):
        raise click.UsageError("--uninstall goes with --dry-run and --root only.")
    if root.resolve() != Path("/") and (upgrade or wheels):
        raise click.UsageError("--root installs no programs, so --upgrade and --wheels do not go with it.")
    order = Order(kit=kit, dry_run=dry_run, upgrade=upgrade, wheels=wheels)
    (take_away if uninstall else set_up)(Machine(root.resolve()), order, click.echo)
