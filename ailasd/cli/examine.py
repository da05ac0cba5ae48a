"""The command that looks at everything: ``ailasd doctor``."""

# ruff: noqa: PLC0415  (imports inside commands, as in ``commands``)

from __future__ import annotations

from contextlib import ExitStack

import click

from ailasd.cli.commands import _config, _config_file, program
from ailasd.cli.exits import Exit


@program.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.option(
    "--sample", type=click.IntRange(0, 100), default=10, show_default=True, metavar="N",
    help="Pictures to fetch (6-12 MB each) and compare: does the server blur? Ends with the first that it changed.",
)  # fmt: skip
def doctor(as_json: bool, sample: int) -> None:
    """Look at everything that could be wrong, here and on the server.

    Each check is ok, a warning or a failure, with a way out. Exit code 1: at least one failure.
    """
    from ailasd.doctor import Level, as_line, every, examine, here, worst
    from ailasd.doctor import as_json as in_json
    from ailasd.errors import ConfigError

    results = []
    with ExitStack() as open_:
        try:
            checks = every.checks(_config(), _config_file(), open_, sample=sample)
        except ConfigError as error:
            checks = iter([here.unreadable(error)])
        for result in examine(checks):
            results.append(result)
            if not as_json:
                click.echo(as_line(result))
    if as_json:
        click.echo(in_json(results))
    raise click.exceptions.Exit(int(Exit.PERSON if worst(results) is Level.FAILURE else Exit.FINE))
