"""What has to be done on a machine, from what should be and what is there. Pure: it only decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ailasd.setting_up import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RUNNING: Final = ("active", "activating", "reloading")


# -- what can be done -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Write:
    """A file gets its content, whole or not at all; what is there instead is kept as ``.ailasd-old~``."""

    path: str
    content: bytes
    says: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symlink; what is there instead is kept as ``.ailasd-old~``."""

    path: str
    target: str
    says: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A file, a link, or a whole folder of ours goes away."""

    path: str
    says: str


@dataclass(frozen=True, slots=True)
class Run:
    """A command of the system; ``must``: its failure ends everything."""

    command: tuple[str, ...]
    says: str
    must: bool = True


Action = Write | Link | Remove | Run


# -- what should be, what is ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Wanted:
    """How a machine should be.

    Attributes:
        files: where -> what.
        config: what a new configuration would hold; one that is there is left alone.
        units: what systemd shall start, now and at each boot.
        off: units of ours that it shall not.
        absent: files that must not be there (any more).
        storage: a folder outside of our own that pictures go to, or None.
    """

    files: Mapping[str, bytes]
    config: bytes
    units: tuple[str, ...]
    off: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    storage: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """How a machine is.

    Attributes:
        files: where -> what, for all that were asked for; None: it is there, but no regular file.
        there: which of the folders asked for are there.
        links: path -> target.
        unfinished: an earlier run was cut off, so what is on the disk may not be what is in force.
        states: unit -> "active", "inactive", ...
        live: this is the running system, not a folder that holds one.
    """

    files: Mapping[str, bytes | None]
    there: frozenset[str]
    links: Mapping[str, str]
    user: bool
    enabled: frozenset[str]
    states: Mapping[str, str]
    unfinished: bool = False
    live: bool = True


# -- setting up -------------------------------------------------------------------------------------------------------
def setting_up(wanted: Wanted, found: Found, root: str = "/") -> list[Action]:
    """What makes the machine as it should be, in order; nothing if it is."""
    changed = {path for path, content in wanted.files.items() if found.files.get(path) != content}
    changed |= {path for path in wanted.absent if path in found.files}
    if found.unfinished:
        changed |= wanted.files.keys() | set(wanted.absent)
    return [
        *_writes(wanted, found),
        *(Remove(path, f"Remove {path}") for path in wanted.absent if path in found.files),
        *_accounts(wanted, found, changed, root),
        *(_reloads(changed) if found.live else ()),
        *_units(wanted, found, changed, root),
    ]


def _writes(wanted: Wanted, found: Found) -> Iterator[Action]:
    for path, content in wanted.files.items():
        if path not in found.files:
            yield Write(path, content, f"Install {path}", files.mode(path))
        elif found.files[path] != content:
            says = f"Replace {path}, keeping what is there as {path}.ailasd-old~"
            yield Write(path, content, says, files.mode(path))
    if files.CONFIG not in found.files:
        yield Write(files.CONFIG, wanted.config, f"Write the configuration {files.CONFIG}")
    if found.links.get(files.COMMAND) != f"{files.VENV}/bin/ailasd":
        yield Link(files.COMMAND, f"{files.VENV}/bin/ailasd", f"Make the command {files.COMMAND}")


def _accounts(wanted: Wanted, found: Found, changed: set[str], root: str) -> Iterator[Run]:
    at = () if found.live else (f"--root={root}",)
    if not found.user or files.SYSUSERS in changed:
        yield Run(("systemd-sysusers", *at, "ailasd.conf"), f"Make the user {files.USER}")
    missing = [path for path in files.folders_of(wanted.files[files.TMPFILES]) if path not in found.there]
    if missing or files.TMPFILES in changed:
        yield Run(
            ("systemd-tmpfiles", *at, "--create", "ailasd.conf"), f"Make {', '.join(missing) or 'folders as they are'}"
        )
    if wanted.storage and wanted.storage not in found.there and found.live:
        command = ("install", "-d", "-o", files.USER, "-g", files.USER, "-m", "0750", wanted.storage)
        yield Run(command, f"Make {wanted.storage}")


def _reloads(changed: set[str]) -> Iterator[Run]:
    """What reads files only when it is told to. Only systemd is always there."""

    def any_in(folder: str) -> bool:
        return any(path.startswith(f"{folder}/") for path in changed)

    if any_in(files.UNITS):
        yield Run(("systemctl", "daemon-reload"), "Have systemd read its units")
    if any_in(files.UDEV):
        yield Run(("udevadm", "control", "--reload"), "Have udev read its rules", must=False)
        for subsystem in ("usb", "net", *(["leds"] if files.LIGHT_RULES in changed else [])):
            trigger = ("udevadm", "trigger", f"--subsystem-match={subsystem}", "--action=change")
            yield Run(trigger, f"Apply them to what is plugged in ({subsystem})", must=False)
    if any_in(files.POLKIT):
        yield Run(("systemctl", "try-restart", "polkit.service"), "Have polkit read its rules", must=False)
    if {files.MODULES, files.SYSCTL} & changed:
        services = ("systemd-modules-load.service", "systemd-sysctl.service")
        yield Run(
            ("systemctl", "restart", *services), "Allow the service to send at the pace of what arrives", must=False
        )
    if any_in(files.NETWORKD):
        yield Run(("networkctl", "reload"), "Have networkd read its files", must=False)
    if any_in(files.NETWORK_MANAGER):
        yield Run(("nmcli", "connection", "reload"), "Have NetworkManager read its profiles", must=False)


def _units(wanted: Wanted, found: Found, changed: set[str], root: str) -> Iterator[Run]:
    at = () if found.live else (f"--root={root}",)
    for unit in wanted.units:
        if unit not in found.enabled:
            yield Run(("systemctl", *at, "enable", "--quiet", unit), f"Start {unit} at every boot")
    for unit in wanted.off:
        if unit in found.enabled:
            yield Run(("systemctl", *at, "disable", "--quiet", unit), f"Do not start {unit}")
        if found.live and found.states.get(unit) in RUNNING:
            yield Run(("systemctl", "stop", unit), f"Stop {unit}")
    if not found.live:
        return
    for unit in wanted.units:
        own = {f"{files.UNITS}/{unit}"} | files.DROP_INS.get(unit, set())
        if found.states.get(unit) not in RUNNING:
            yield Run(("systemctl", "start", unit), f"Start {unit}")
        elif own & changed:
            yield Run(("systemctl", "restart", unit), f"Start {unit} anew")


# -- taking away ------------------------------------------------------------------------------------------------------
def taking_away(wanted: Wanted, found: Found, root: str = "/") -> list[Action]:
    """What leaves the machine as if ailasd had never been there, but for pictures, catalogue and configuration."""
    at = () if found.live else (f"--root={root}",)
    actions: list[Action] = []
    running = [unit for unit in (*wanted.off, *wanted.units) if found.states.get(unit) in RUNNING]
    if running and found.live:
        # the service first: it unmounts its cards through the socket
        names = (*reversed(running), "ailasd-mount@*.service")
        actions.append(Run(("systemctl", "stop", *names), f"Stop {', '.join(running)}"))
    if enabled := [unit for unit in (*wanted.off, *wanted.units) if unit in found.enabled]:
        actions.append(Run(("systemctl", *at, "disable", "--quiet", *enabled), f"Do not start {', '.join(enabled)}"))
    ours = [path for path in (*wanted.files, *wanted.absent) if path in found.files]
    actions += [Remove(path, f"Remove {path}") for path in ours]
    if found.live:
        actions += list(_reloads(set(ours)))
    if found.user and found.live:
        kept = [path for path in (files.STATE, files.INBOX, "/etc/ailasd", wanted.storage) if path in found.there]
        if kept:  # a later user could get the same number, and with it the pictures
            # not a must: a file system may know no owners
            give = ("chown", "-R", "-h", "root:root", *map(str, kept))
            actions.append(Run(give, f"Give {', '.join(map(str, kept))} to root", must=False))
        actions.append(Run(("userdel", files.USER), f"Remove the user {files.USER}"))
        # not a must: somebody's own user may live by it
        actions.append(Run(("groupdel", files.INBOX_GROUP), f"Remove the group {files.INBOX_GROUP}", must=False))
    # late: what fails, or is cut off, before can be said again with it
    if files.COMMAND in found.links and found.links[files.COMMAND].startswith(f"{files.PROGRAMS}/"):
        actions.append(Remove(files.COMMAND, f"Remove {files.COMMAND}"))
    if files.PROGRAMS in found.there:
        actions.append(Remove(files.PROGRAMS, f"Remove {files.PROGRAMS}"))
    return actions
