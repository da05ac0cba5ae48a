"""The commands. One function each, without work in it; what only one of them needs is imported inside it."""

# ruff: noqa: PLC0415  (imports inside commands: `ailasd --help` must be there at once on a small Pi)

from __future__ import annotations

import os
import pwd
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ailasd import __version__
from ailasd.cli.exits import Exit, table
from ailasd.cli.program import Ended, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ailasd.by_hand import ByHand, Choice, Done
    from ailasd.catalogue import Catalogue
    from ailasd.config import Config
    from ailasd.model import Picture
    from ailasd.parts import Ailasd
    from ailasd.storage import Storage

SYSTEM_CONFIG: Final = Path("/etc/ailasd/config.toml")


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="\b\nExit codes:\n" + table(),
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="AILASD_CONFIG",
    show_envvar=True,
    help=f"Configuration file.  [default: {SYSTEM_CONFIG} if it exists, else built-in values]",
)
@click.pass_context
def program(ctx: click.Context, config_file: Path | None) -> None:
    """Bring the road pictures of a camera card, proven, to a private Panoramax."""
    ctx.obj = config_file


def main() -> None:
    """The command ``ailasd``."""
    program(prog_name="ailasd")


# -- what commands share ----------------------------------------------------------------------------------------------
def _config_file() -> Path | None:
    given = click.get_current_context().obj
    assert given is None or isinstance(given, Path)
    return given or (SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else None)


def _config() -> Config:
    """The configuration; without a file the built-in one, which an ordinary user can write to."""
    from ailasd.config import Config, load

    if path := _config_file():
        return load(path)
    config = Config()
    if os.geteuid() == 0:
        return config
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    folder = (state if state.is_absolute() else Path.home() / ".local" / "state") / "ailasd"
    return config.model_copy(update={"storage": config.storage.model_copy(update={"folder": folder})})


@contextmanager
def _looking(config: Config) -> Iterator[tuple[Catalogue, Storage]]:
    """The catalogue as it is, for commands that only look: nothing is made for them.

    Members of the service's group may read it, and nothing else.
    """
    from ailasd.catalogue import Catalogue
    from ailasd.clock import SystemClock
    from ailasd.storage import Storage

    storage = Storage(config.storage.folder)
    if not _may_look(storage):
        raise Ended(
            f"There is no catalogue in {storage.folder} yet: `ailasd import PATH` or `ailasd run` makes one.",
            Exit.NOT_FOUND,
        )
    only = not os.access(storage.catalogue, os.W_OK, effective_ids=True)
    with Catalogue(storage.catalogue, SystemClock(), read_only=only) as catalogue:
        yield catalogue, storage


def _may_look(storage: Storage) -> bool:
    """Whether there is a catalogue to look into.

    Raises:
        Ended: this user may not know, or may not read it.
    """
    try:
        storage.catalogue.stat()
        may = os.access(storage.catalogue, os.R_OK, effective_ids=True)
    except FileNotFoundError:
        return False
    except PermissionError:
        may = False
    if not may:
        command = f"sudo ailasd {click.get_current_context().info_name} ..."
        raise Ended(f"Only the service and root may look into {storage.folder}: say `{command}`.", Exit.STORAGE)
    return True


@contextmanager
def _all_parts(config: Config) -> Iterator[Ailasd]:
    """Everything connected, without the sources of the daemon; what it tells goes to stderr from warnings on."""
    from ailasd import logs
    from ailasd.parts import Ailasd

    _as_its_owner(config.storage.folder)
    logs.set_up("warning", sys.stderr, console=True)
    with Ailasd(config, sources=()) as parts:
        yield parts


def _as_its_owner(storage: Path) -> None:
    """From here on root is the service's user: what root makes in its folder the service could not change or clear.

    Raises:
        NeedsHuman: somebody else may make nothing there; or nobody knows whose it is.
    """
    from ailasd.errors import NeedsHuman

    if not storage.exists() or (owner := storage.stat().st_uid) == (us := os.geteuid()):
        return
    if us != 0:
        if os.access(storage, os.W_OK, effective_ids=True):
            return
        command = f"sudo ailasd {click.get_current_context().info_name} ..."
        raise NeedsHuman(f"{storage} belongs to another user: say `{command}`")
    try:
        user = pwd.getpwuid(owner)
    except KeyError:
        problem = f"{storage} belongs to a user who is not known here (#{owner})"
        raise NeedsHuman(f"{problem}: sudo chown -R ailasd: {storage}") from None
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(owner)
    os.umask(0o027)  # as the service has it


def _find(catalogue: Catalogue, name: str, config: Config) -> list[Picture]:
    """What a person may mean by ``name``: also our own copy's whole path."""
    ours = f"{config.storage.folder}/"
    return catalogue.pictures.find(name.removeprefix(ours))


def _one(catalogue: Catalogue, name: str, config: Config) -> Picture:
    """The one picture of that name.

    Raises:
        Ended: there is none, or several.
    """
    from ailasd.story import briefly
    from ailasd.wording import harmless

    found = _find(catalogue, name, config)
    if not found:
        raise Ended(f"No picture called {harmless(name)} is known.", Exit.NOT_FOUND)
    if len(found) > 1:
        lines = [f"Several pictures are called {harmless(name)}: say which by the digits in front."]
        raise Ended("\n  ".join([*lines, *(briefly(one, config.zone) for one in found)]), Exit.USAGE)
    return found[0]


# -- commands ---------------------------------------------------------------------------------------------------------
@program.command()
def run() -> None:
    """Run the daemon until it is stopped.

    SIGTERM or Ctrl-C stop it cleanly; a second one ends it at once.
    """
    from ailasd import logs
    from ailasd.cli.stopping import stop_on_signals
    from ailasd.clock import SystemClock
    from ailasd.config.check import doubts
    from ailasd.daemon import Daemon
    from ailasd.parts import Ailasd

    config = _config()
    logs.set_up(config.logs.level, sys.stderr, console=sys.stderr.isatty(), clock_trusted=SystemClock().trusted)
    logs.record(logs.Event.CONFIG_LOADED, path=str(_config_file() or "built in"))
    for problem in doubts(config):  # without a token, say, cards are read all the same
        logs.record(logs.Event.CONFIG_DOUBT, problem=problem)
    with stop_on_signals() as stop, Ailasd(config) as parts:
        ended = Daemon(parts).run(stop)
    if not ended:  # a thread hangs in a driver: waiting for it could take for ever, and nothing of ours is open
        sys.stderr.flush()
        os._exit(int(Exit.FINE))


@program.command("import")
@click.argument("path", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--verify", is_flag=True, help="Read files again that are known already.")
@click.option("--send", is_flag=True, help="Send now, without the daemon, until all is confirmed or the link is away.")
def import_(path: Path, verify: bool, send: bool) -> None:
    """Copy the pictures of a card, verified.

    PATH is the card's or any folder. A running daemon may go on meanwhile; files that are known are not read again.
    """
    from ailasd.cli import at_once
    from ailasd.cli.stopping import stop_on_signals

    config = _config()
    with stop_on_signals() as stop, _all_parts(config) as parts:
        code = at_once.bring_in(parts, path, stop, verify=verify, then_send=send, say=click.echo)
        if send and code in (Exit.FINE, Exit.PERSON):
            code = max(code, at_once.send(parts, stop, say=click.echo))
    raise click.exceptions.Exit(int(code))


@program.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.option("--trip", "whole_trip", is_flag=True, help="What became of all that ever was on the cards, as sums.")
def status(as_json: bool, whole_trip: bool) -> None:
    """Tell how everything stands.

    Exit code 1: something needs a person; the status says what, and the command to type.
    """
    from ailasd import status as summary
    from ailasd import wording
    from ailasd.trip import trip

    config = _config()
    with _looking(config) as (catalogue, storage):
        if whole_trip:
            sums = trip(catalogue)
            click.echo(wording.of_trip(sums))
            raise click.exceptions.Exit(int(Exit.FINE if sums.adds_up else Exit.BUG))
        now = summary.standing(config, catalogue, storage)
    click.echo(summary.as_json(now) if as_json else wording.of_status(now, config.zone))
    raise click.exceptions.Exit(int(Exit.PERSON if now.needs or now.wrong else Exit.FINE))


@program.command()
@click.argument("file_or_md5")
def why(file_or_md5: str) -> None:
    """Tell what became of a picture.

    FILE_OR_MD5 is its name, a path that ends in it, or the first six or more digits of its md5.
    """
    from ailasd import story

    config = _config()
    with _looking(config) as (catalogue, _):
        lines = story.answer(catalogue, _find(catalogue, file_or_md5, config), file_or_md5, config.zone)
    if not lines:
        raise Ended(f"Nothing called {_harmless(file_or_md5)} was ever seen.", Exit.NOT_FOUND)
    click.echo("\n".join(lines))


def _harmless(text: str) -> str:
    from ailasd.wording import harmless

    return harmless(text)


# -- by hand ----------------------------------------------------------------------------------------------------------
def _choosing(command: Callable[..., None]) -> Callable[..., None]:
    """The ways to say which pictures."""
    for add in (
        click.option("--all", "everything", is_flag=True, help="All that can be."),
        click.option("--reason", metavar="WORD", help="Those with this reason, as `ailasd status --json` names it."),
        click.option("--drive", type=int, metavar="N", help="Those of one drive."),
        click.argument("names", nargs=-1, metavar="[FILE|MD5]..."),
    ):
        command = add(command)
    return command


def _chosen(
    parts: Ailasd, names: tuple[str, ...], *, drive: int | None, reason: str | None, everything: bool
) -> Choice:
    from ailasd.by_hand import Choice

    ways = [bool(names), drive is not None or reason is not None, everything]
    if sum(ways) != 1:
        raise click.UsageError("Say which pictures: either FILE or MD5, or --drive and --reason, or --all.")
    return Choice(tuple(_one(parts.catalogue, name, parts.config) for name in names), drive, reason)


def _by_hand(parts: Ailasd) -> ByHand:
    from ailasd.by_hand import ByHand

    return ByHand(parts.catalogue, parts.storage, parts.sorting, parts.journal)


def _report(done: Done, choice: Choice, did: str, can: str) -> None:
    """Say what was done, or why nothing was."""
    from ailasd.wording import pictures

    if done.without_copy:
        click.echo(f"We have no copy of {pictures(done.without_copy)} any more: put their card in again.", err=True)
    if done.moved:
        click.echo(f"{pictures(done.moved)} {did}.")
        return
    are = "; ".join(f"{_harmless(one.name)} is {one.state}" for one in choice.pictures)
    raise Ended(f"Nothing was changed: {can}{f', and {are}' if are else ''}.", Exit.NOT_FOUND)


@program.command()
@_choosing
def hold(names: tuple[str, ...], drive: int | None, reason: str | None, everything: bool) -> None:
    """Keep pictures here, do not send them.

    Holds copied and queued pictures, and puts refused ones to rest, so that they no longer ask for a person.
    """
    with _all_parts(_config()) as parts:
        choice = _chosen(parts, names, drive=drive, reason=reason, everything=everything)
        can = "only pictures that are copied, queued or refused can be held"
        _report(_by_hand(parts).hold(choice), choice, "held here from now on", can)


@program.command()
@_choosing
@click.option("--cleaning", is_flag=True, help="Let cleaning go on after it stopped by itself.")
@click.option("--server", is_flag=True, help="Go on with the token's other account.")
@click.option("--unblurred", is_flag=True, help="Go on although the server does not seem to blur.")
def release(  # noqa: PLR0917  (click passes them by name)
    names: tuple[str, ...],
    drive: int | None,
    reason: str | None,
    everything: bool,
    cleaning: bool,
    server: bool,
    unblurred: bool,
) -> None:
    """Send held pictures all the same.

    With --cleaning, --server or --unblurred: go on where ailasd stopped until a person says so.
    """
    with _all_parts(_config()) as parts:
        by_hand = _by_hand(parts)
        if cleaning:
            by_hand.let_cleaning_go_on()
            click.echo("Cleaning may go on.")
        if server:
            by_hand.accept_other_account()
            click.echo("The account of the token as it is now will be believed.")
        if unblurred:
            by_hand.accept_unblurred()
            click.echo("Pictures are sent although the server does not seem to blur them.")
        if not (cleaning or server or unblurred) or names or everything or drive is not None or reason is not None:
            choice = _chosen(parts, names, drive=drive, reason=reason, everything=everything)
            _report(by_hand.release(choice), choice, "will be sent", "only held pictures can be released")


@program.command()
@_choosing
def retry(names: tuple[str, ...], drive: int | None, reason: str | None, everything: bool) -> None:
    """Send refused pictures once more.

    Queued pictures that failed before, and wait for another try, are tried now.
    """
    with _all_parts(_config()) as parts:
        choice = _chosen(parts, names, drive=drive, reason=reason, everything=everything)
        can = "only refused pictures, and queued ones that failed before, can be tried again"
        _report(_by_hand(parts).retry(choice), choice, "will be sent now", can)


@program.command()
@click.argument("drive", type=int)
@click.argument("place", type=click.Choice(["first", "normal", "last"]))
def prefer(drive: int, place: str) -> None:
    """Send a drive first, or last.

    DRIVE is its number, as `ailasd log` names it. Every tenth picture is of the drive that waited longest all the same.
    """
    from ailasd.ordering import Preference

    with _all_parts(_config()) as parts:
        if not _by_hand(parts).prefer(drive, Preference[place.upper()]):
            raise Ended(f"There is no drive {drive}.", Exit.NOT_FOUND)
    said = {"first": "before all others", "normal": "in its turn", "last": "behind all others"}[place]
    click.echo(f"Drive {drive} is sent {said}.")


# -- about the configuration, and a show ------------------------------------------------------------------------------
@program.command("check-config")
@click.option("--online", is_flag=True, help="Also ask the server whether it knows and may have this kit.")
def check_config(online: bool) -> None:
    """Show the configuration, or all its faults."""
    from ailasd.config import check

    config = _config()
    click.echo(f"# {_config_file() or 'no file: built-in values'}")
    click.echo(check.as_toml(config))
    for doubt in check.doubts(config):
        click.echo(f"Second look: {_harmless(doubt)}", err=True)
    if online:
        click.echo(check.ask_server(config), err=True)


@program.command()
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep it all in this folder.")
@click.option(
    "--card", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Your own pictures; only read."
)
@click.option("--server", metavar="URL", help="A real private Panoramax rather than the embedded one.")
@click.option(
    "--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="For --server: holds its token."
)
def demo(keep: Path | None, card: Path | None, server: str | None, token_file: Path | None) -> None:
    """Show the whole path on a made-up card.

    Needs no camera, VPN, server or root. Runs the real daemon in a temporary place against an embedded receiver.
    """
    from ailasd.demo.run import demo as show

    if (server is None) != (token_file is None):
        raise click.UsageError("--server and --token-file go together.")
    raise click.exceptions.Exit(show(keep=keep, card=card, server=server, token_file=token_file, out=sys.stdout))
