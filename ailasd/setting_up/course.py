"""How setting up goes, from the first look to the last sentence."""

from __future__ import annotations

import os
import pwd
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ailasd import config
from ailasd.errors import NeedsHuman
from ailasd.setting_up import edition, files, installing, plan
from ailasd.setting_up.machine import Machine, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ailasd.config import Config
    from ailasd.setting_up.edition import Origin
    from ailasd.setting_up.plan import Action, Wanted

NEXT: Final = f"""
Next:
  1. Name the server (server.url) in:    sudo nano {files.CONFIG}
  2. Make this kit known to it:          sudo ailasd login
  3. Let the service read it:            sudo systemctl restart ailasd
  4. See whether all is well:            sudo ailasd doctor
Then plug a card in; `sudo ailasd status` and `journalctl -u ailasd -f` tell how it goes."""

STOP_S: Final = 60.0
"""systemd itself kills the service after 10 s; a small machine may be slow to say so."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asked for.

    Attributes:
        kit: for a new configuration; None: the host's name.
        wheels: a folder of wheels; None: from where this ailasd came.
    """

    kit: str | None = None
    dry_run: bool = False
    upgrade: bool = False
    wheels: Path | None = None


# -- setting up -------------------------------------------------------------------------------------------------------
def set_up(machine: Machine, order: Order, say: Callable[[str], object]) -> None:
    """Make the machine as it should be; say each thing that is done, or would be.

    Raises:
        NeedsHuman, ConfigError: it cannot be done; what was done before stays, and the next run goes on from there.
    """
    machine.refuse_unfit()
    os.umask(0o022)  # sudo may hand on a stricter one, and the service could not read its own program
    made = _new_config(machine, order)
    settings = _settings(machine, made)
    wanted = _wanted(made, settings)
    if order.kit and settings.kit != order.kit and machine.path(files.CONFIG).exists():
        say(f"{files.CONFIG} is left as it is: this kit is called {settings.kit} there.")
    installed = _install(machine, order, settings, say) if machine.live else False
    actions = plan.setting_up(wanted, machine.look(wanted), str(machine.root))
    if order.dry_run:
        _tell(actions, say)
        if not actions and not installed:
            say("There is nothing to change.")
        return
    _do(machine, actions, say)
    if machine.live:
        installing.clear_out(machine.path(files.PROGRAMS), machine.path(files.VENV))
        _doubt_storage(settings, say)
    if not actions and not installed:
        say("There is nothing to change.")
    elif not machine.live:
        say("Its programs are missing yet: they are installed by `ailasd setup` on the machine itself.")
    else:
        say(NEXT if not settings.server.url else "`sudo ailasd status` and `journalctl -u ailasd -f` tell how it goes.")


def _new_config(machine: Machine, order: Order) -> bytes:
    """What a machine without a configuration gets."""
    led = files.PI_LIGHT if machine.live and machine.path(f"{files.LEDS}/{files.PI_LIGHT}").exists() else ""
    return files.example_config(order.kit or files.kit_from(socket.gethostname()), led)


def _settings(machine: Machine, made: bytes) -> Config:
    """The configuration that is there, or else the one that is ``made`` for it.

    Raises:
        ConfigError: it has faults; of what is made, the kit's name may be wrong.
    """
    new = config.parse(made.decode(), files.CONFIG)
    path = machine.path(files.CONFIG)
    return config.load(path) if path.exists() else new


def _wanted(made: bytes, settings: Config) -> Wanted:
    wanted = files.of_systemd()
    by_config = files.of_config(settings)
    elsewhere = str(settings.storage.folder)
    off = () if settings.web.listen else (files.PAGE,)
    return plan.Wanted(
        files=wanted | {path: content for path, content in by_config.items() if content is not None},
        config=made,
        units=tuple(unit for unit in files.to_enable(wanted) if unit not in off),
        off=off,
        absent=tuple(path for path, content in by_config.items() if content is None),
        storage=elsewhere if elsewhere != files.STATE else None,
    )


def _tell(actions: Sequence[Action], say: Callable[[str], object]) -> None:
    for action in actions:
        say(f"Would: {action.says}.")


def _do(machine: Machine, actions: Sequence[Action], say: Callable[[str], object]) -> None:
    if actions:
        machine.begin()
    for done, action in enumerate(actions):
        say(f"{action.says}.")
        try:
            machine.do(action)
        except NeedsHuman as error:
            raise NeedsHuman(
                f"{error}\n{done} of {len(actions)} things are done; when this is mended, the next run goes on here."
            ) from error
    machine.end()


def _doubt_storage(settings: Config, say: Callable[[str], object]) -> None:
    folder = settings.storage.folder
    if folder != Path(files.STATE) and folder.stat().st_uid != pwd.getpwnam(files.USER).pw_uid:
        say(f"{folder} is not the service's: say sudo chown -R {files.USER}: {folder}")


# -- the program ------------------------------------------------------------------------------------------------------
def _install(machine: Machine, order: Order, settings: Config, say: Callable[[str], object]) -> bool:
    """Have the ailasd that is asked for in force; returns whether that changes anything.

    If it is another one than this, it goes on in our place: it knows its own units.
    """
    venv = machine.path(files.VENV)
    there = edition.of_venv(venv) if venv.is_dir() else None
    works = there is not None and installing.works(venv)  # it does not once the system has another Python
    origin = _origin(order, venv)
    if origin is None:
        return False
    same = origin.edition == there
    if same and works and not (order.upgrade and order.wheels):  # a stick may have newer libraries
        return False
    if there is not None and not same and not order.upgrade:
        raise NeedsHuman(f"another ailasd is installed here: to replace it by {origin.words}, add --upgrade")
    python = installing.system_python()
    if order.dry_run:
        say(f"Would: Install ailasd from {origin.words} into {files.VENV}.")
        if there is not None:
            say("Would: Stop the service for it, and back the catalogue up.")
        return True
    say(f"Install ailasd from {origin.words} into {files.VENV} (a minute or more).")
    new = installing.make_venv(origin, machine.path(files.PROGRAMS), python, say)
    fresh = edition.of_venv(new)
    if works and fresh == there and edition.packages(new) == edition.packages(venv):  # nothing there was newer
        installing.clear_out(machine.path(files.PROGRAMS), venv)
        return False
    if there is not None:
        _refuse_unless_it_goes_on(machine, new, settings)
        _stop_and_back_up(machine, new, settings, say)
    machine.begin()
    installing.put_in_force(new, venv)
    if fresh != edition.of_running():
        _go_on_as(new, order)
    return True


def _origin(order: Order, venv: Path) -> Origin | None:
    """What to install; None: what runs is what is installed, and nothing else is asked for."""
    if order.wheels:
        return edition.from_wheels(order.wheels)
    if Path(sys.prefix).resolve() == venv.resolve():
        return edition.from_index() if order.upgrade else None
    return edition.from_where_this_came()


def _refuse_unless_it_goes_on(machine: Machine, new: Path, settings: Config) -> None:
    """The new version looks at what it would have to work with; the old one runs meanwhile.

    Raises:
        NeedsHuman: it cannot read the configuration, or the catalogue is of a newer version.
    """
    try:
        if machine.path(files.CONFIG).exists():
            run([str(new / "bin/ailasd"), "--config", files.CONFIG, "check-config"])
        _upkeep(machine, new, "check", str(settings.storage.folder / "catalogue.db"))
    except NeedsHuman as error:
        installing.clear_out(machine.path(files.PROGRAMS), machine.path(files.VENV))
        raise NeedsHuman(f"The new version cannot take over, so the old one goes on: {error}") from error


def _upkeep(machine: Machine, venv: Path, *words: str) -> str:
    """With the rights of the service: root has no business in a folder that somebody else may write to."""
    command = [str(venv / "bin/python"), "-I", "-m", "ailasd.catalogue.upkeep", *words]
    return run(command, user=files.USER if machine.has_user() else None, timeout=installing.INSTALL_S).strip()


def _stop_and_back_up(machine: Machine, new: Path, settings: Config, say: Callable[[str], object]) -> None:
    say("Stop the service.")
    run(["systemctl", "stop", files.SERVICE], timeout=STOP_S)
    catalogue = settings.storage.folder / "catalogue.db"
    if not catalogue.exists():
        return
    old = run([str(machine.path(files.VENV) / "bin/ailasd"), "--version"], must=False).split()
    try:
        copy = _upkeep(machine, new, "backup", str(catalogue), old[-1] if old else "unknown")
        say(f"The catalogue is backed up as {copy}.")
    except BaseException as error:  # Ctrl-C too
        run(["systemctl", "start", files.SERVICE])
        installing.clear_out(machine.path(files.PROGRAMS), machine.path(files.VENV))
        if isinstance(error, NeedsHuman):
            problem = f"Without a backup there is no upgrade, so the old version goes on: {error}"
            raise NeedsHuman(problem) from error
        raise


def _go_on_as(venv: Path, order: Order) -> None:
    kit = ["--kit", order.kit] if order.kit else []
    sys.stdout.flush()
    os.execv(venv / "bin/ailasd", ["ailasd", "setup", *kit])  # noqa: S606  (in our place, on purpose)


# -- taking away ------------------------------------------------------------------------------------------------------
def take_away(machine: Machine, order: Order, say: Callable[[str], object]) -> None:
    """Remove the service from the machine; pictures, catalogue and configuration stay.

    Raises:
        NeedsHuman: it cannot be done; the next run goes on.
    """
    machine.refuse_unfit()
    made = _new_config(machine, Order())
    try:
        settings = _settings(machine, made)
    except NeedsHuman:  # a configuration with faults is no reason to stay
        settings = config.Config()
    wanted = _wanted(made, settings)
    actions = plan.taking_away(wanted, machine.look(wanted), str(machine.root))
    if order.dry_run:
        _tell(actions, say)
    else:
        _do(machine, actions, say)
    if not actions:
        say("There is nothing to change.")
        return
    kept = (settings.storage.folder, files.INBOX, "/etc/ailasd")
    say(f"What stays: pictures and catalogue in {kept[0]}, the inbox {kept[1]}, configuration and token in {kept[2]}.")
