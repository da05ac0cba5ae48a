"""The command that lifts the limits of sending for a while: ``ailasd upload --now``."""

# ruff: noqa: PLC0415  (imports inside commands, as in ``commands``)

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ailasd.cli.commands import _all_parts, _by_hand, _config, program

if TYPE_CHECKING:
    from datetime import timedelta


@program.command()
@click.option("--now", is_flag=True, help="Send without limits; never past the VPN.")
@click.option("--for", "span", metavar="2h", default="1h", show_default=True, help="How long: 1min to 7d.")
@click.option("--stop", is_flag=True, help="Let the limits count again, at once.")
def upload(now: bool, span: str, stop: bool) -> None:
    """Lift the limits of sending for a while.

    Hours (upload.rates), budgets and metered networks then do not count. A running daemon follows when it looks at the
    server next (upload.probe_every). It ends by itself, and with a reboot unless the clock could be believed.
    """
    if now == stop:
        raise click.UsageError("Say either --now, for how long if you like, or --stop.")
    lasts = _span(span)
    config = _config()
    with _all_parts(config) as parts:
        if stop:
            _by_hand(parts).hold_to_manners()
            click.echo("Hours, budgets and metered networks count again.")
            return
        from ailasd.logs import span_in_words
        from ailasd.wording import at

        until = _by_hand(parts).send_now(lasts)
        click.echo(
            f"Hours, budgets and metered networks do not count for {span_in_words(lasts.total_seconds())}, until "
            f"{at(until, config.zone, trusted=parts.clock.trusted())}; `ailasd upload --stop` ends that."
        )
        if not parts.storage.daemon_runs():
            click.echo("No daemon runs: `ailasd run` sends.", err=True)


def _span(text: str) -> timedelta:
    from ailasd.config.values import span

    try:
        return span(text, "1min", "7d")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from None
