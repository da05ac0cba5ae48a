"""The commands that tell others what happened here: ``ailasd log``, ``ailasd bundle``, ``ailasd export``."""

# ruff: noqa: PLC0415  (imports inside commands, as in ``commands``)

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ailasd.cli.commands import _config, _config_file, _harmless, _looking, _may_look, _one, program
from ailasd.cli.exits import Exit
from ailasd.cli.program import Ended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ailasd.catalogue import Catalogue
    from ailasd.config import Config
    from ailasd.exports import Shot

MOST_EVENTS: Final = 1000
_SINCE: Final = "Such as 30min, 2h, 3d, 2026-11-21 or 2026-11-21T10:15 (local time)."


@program.command()
@click.option("--card", metavar="LABEL|ID", help="Of one card and the drives that began on it.")
@click.option("--drive", type=int, metavar="N", help="Of one drive.")
@click.option("--picture", metavar="FILE|MD5", help="Of one picture, its moves too.")
@click.option("--since", metavar="2h|DATE", help=_SINCE)
@click.option("--until", metavar="2h|DATE", help="The same, for the end.")
@click.option(
    "--level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True,
    help="Only what is at least so loud; debug: the moves of all pictures too.",
)  # fmt: skip
@click.option(
    "--last", type=click.IntRange(1), metavar="N", default=MOST_EVENTS, show_default=True,
    help="Of all these the last so many.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and event, as it was written down.")
def log(  # noqa: PLR0917  (click passes them by name)
    card: str | None,
    drive: int | None,
    picture: str | None,
    since: str | None,
    until: str | None,
    level: str,
    last: int,
    as_json: bool,
) -> None:
    """Tell what happened, oldest first.

    The reading of a card is one paragraph. What happened to a single picture is told by `ailasd why`, too. ~ in front
    of a time: this machine's clock could not be believed then. That there are older events than --last shows is said on
    stderr.
    """
    from ailasd import diary, story
    from ailasd.wording import number

    config = _config()
    with _looking(config) as (catalogue, _):
        events = catalogue.telling.timeline(
            card=_card(catalogue, card) if card else None, drive=drive,
            picture=_one(catalogue, picture, config).id if picture else None,
            since=_moment("--since", since, config), until=_moment("--until", until, config),
            without=() if picture else story.quieter_than(level), moves=level == "debug", limit=last + 1,
        )  # fmt: skip
        older, events = len(events) > last, events[-last:]
        visits = {} if as_json else catalogue.telling.visits(filter(None, map(diary.visit_of, events)))
    for line in map(story.as_json, events) if as_json else diary.diary(events, visits, config.zone):
        click.echo(line)
    if older:
        click.echo(f"These are the last {number(last)}; there are older ones: --last shows more of them.", err=True)


def _card(catalogue: Catalogue, wanted: str) -> int:
    cards = catalogue.telling.cards()
    found = [one for one in cards if wanted in (str(one["id"]), one["label"])]
    if len(found) == 1:
        return int(found[0]["id"])
    known = ", ".join(f"{one['id']} ({_harmless(one['label'])})" for one in found or cards) or "none"
    if found:
        raise Ended(f"Several cards are called {_harmless(wanted)}: say which by its number: {known}.", Exit.USAGE)
    raise Ended(f"No card called {_harmless(wanted)} is known; there are: {known}.", Exit.NOT_FOUND)


def _moment(option: str, text: str | None, config: Config) -> str | None:
    from datetime import UTC, datetime

    from ailasd.story import since

    if text is None:
        return None
    try:
        return since(text, datetime.now(UTC), config.zone)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


@program.command()
@click.option("--with-positions", is_flag=True, help="With positions and the names of files too.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Where to.  [default: ailasd-KIT-DATE-TIME.zip here]",
)  # fmt: skip
def bundle(with_positions: bool, output: Path | None) -> None:
    """Put all that support needs into one file.

    Less than 5 MB: configuration, status, doctor, diary, an excerpt of the catalogue, versions, the end of the
    service's log. No secrets, no pictures; no positions and names of files unless you say so. Needs no network.
    """
    from ailasd import bundle as bundling
    from ailasd.disk import write_whole
    from ailasd.logs import bytes_in_words
    from ailasd.storage import Storage

    config = _config()
    _may_look(Storage(config.storage.folder))  # without one, the file says so; half a bundle helps nobody
    whole = bundling.bundle(config, _config_file(), private=with_positions)
    to = output or Path(bundling.file_name(config))
    write_whole(to.absolute(), whole, mode=0o600)
    click.echo(f"{to} ({bytes_in_words(len(whole))}) has everything; send it to whoever helps.")


@program.command()
@click.option(
    "--format", "form", type=click.Choice(["geojson", "gpx", "csv", "stac", "mhl"]), required=True,
    help="GeoJSON points, GPX tracks, a table, STAC items, or an ASC Media Hash List of our copies.",
)  # fmt: skip
@click.option("--drive", "drives", type=int, multiple=True, metavar="N", help="Of this drive; may be said again.")
@click.option("--card", "cards", multiple=True, metavar="LABEL|ID", help="Of this card; may be said again.")
@click.option("--since", metavar="2h|DATE", help=f"Taken from then on. {_SINCE}")
@click.option("--until", metavar="2h|DATE", help="Taken before then.")
@click.option("--output", type=click.Path(dir_okay=False), default="-", metavar="FILE", help="Instead of stdout.")
def export(  # noqa: PLR0917  (click passes them by name)
    form: str, drives: tuple[int, ...], cards: tuple[str, ...], since: str | None, until: str | None, output: str
) -> None:
    """Write pictures for other programs.

    Their data, not the pictures themselves, and positions among them: all, or of some drives, cards or times.
    """
    from ailasd.exports import Shot, formats

    config, how = _config(), formats()[form]
    left_out = 0

    def fit(shots: Iterator[Shot]) -> Iterator[Shot]:
        nonlocal left_out
        for shot in shots:
            if how.takes(shot):
                yield shot
            else:
                left_out += 1

    with _looking(config) as (catalogue, _):
        rows = catalogue.extracts.pictures(
            drives=drives, cards=[_card(catalogue, card) for card in cards],
            since=_moment("--since", since, config), until=_moment("--until", until, config),
        )  # fmt: skip
        if (first := next(rows, None)) is None:
            raise Ended("There is no such picture.", Exit.NOT_FOUND)
        shots = fit(map(Shot.of, chain([first], rows)))
        with click.open_file(output, "w", encoding="utf-8", atomic=output != "-") as file:
            file.writelines(how.write(shots, config.kit, catalogue.clock.now()))
    if left_out:
        click.echo(f"Left out: {left_out} {how.lacks}.", err=True)
