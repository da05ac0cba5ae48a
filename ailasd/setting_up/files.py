"""What belongs where on a machine: the files of ``systemd/``, the configuration, and what follows from it."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import ailasd
from ailasd.config.tables import Cards
from ailasd.errors import NeedsHuman

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ailasd.config import Config

CONFIG: Final = "/etc/ailasd/config.toml"
TOKEN: Final = "/etc/ailasd/token"  # noqa: S105  (where it lies, not what it is)
INBOX: Final = "/var/lib/ailasd-inbox"
STATE: Final = "/var/lib/ailasd"
PROGRAMS: Final = "/opt/ailasd"
VENV: Final = f"{PROGRAMS}/venv"
COMMAND: Final = "/usr/local/bin/ailasd"
USER: Final = "ailasd"
INBOX_GROUP: Final = "ailasd-inbox"
SERVICE: Final = "ailasd.service"
LIGHT_DROP_IN: Final = "/etc/systemd/system/ailasd.service.d/50-light.conf"
LIGHT_RULES: Final = "/etc/udev/rules.d/73-ailasd-light.rules"
PI_LIGHT: Final = "ACT"
"""The green one of a Raspberry Pi, beside its card: nobody misses what it shows otherwise."""
LEDS: Final = "/sys/class/leds"
STORAGE_DROP_IN: Final = "/etc/systemd/system/ailasd.service.d/50-storage.conf"
PAGE: Final = "ailasd-web.socket"
LISTEN_DROP_IN: Final = f"/etc/systemd/system/{PAGE}.d/50-listen.conf"
LISTEN: Final = "127.0.0.1:8040"
"""What ``ailasd-web.socket`` itself says."""
FILE_SYSTEMS_DROP_IN: Final = "/etc/systemd/system/ailasd-mount@.service.d/50-file-systems.conf"
DROP_INS: Final = {SERVICE: {STORAGE_DROP_IN, LIGHT_DROP_IN, FILE_SYSTEMS_DROP_IN}, PAGE: {LISTEN_DROP_IN}}
"""Unit -> what is written from the configuration, if that leads away from what is shipped, and starts it anew: the
service itself reads cards.file_systems only when it starts, too."""

UNITS: Final = "/etc/systemd/system"
SESSION_UNITS: Final = "/etc/systemd/user"
UDEV: Final = "/etc/udev/rules.d"
POLKIT: Final = "/etc/polkit-1/rules.d"
SYSUSERS: Final = "/etc/sysusers.d/ailasd.conf"
TMPFILES: Final = "/etc/tmpfiles.d/ailasd.conf"
MODULES: Final = "/etc/modules-load.d/ailasd.conf"
SYSCTL: Final = "/etc/sysctl.d/50-ailasd.conf"
NETWORKD: Final = "/etc/systemd/network"
NETWORK_MANAGER: Final = "/etc/NetworkManager/system-connections"

PLACES: Final = (
    ("ailasd-notify.service", f"{SESSION_UNITS}/"),
    ("*.service", f"{UNITS}/"),
    ("*.socket", f"{UNITS}/"),
    ("*.sysusers", SYSUSERS),
    ("*.tmpfiles", TMPFILES),
    ("*.modules", MODULES),
    ("*.sysctl", SYSCTL),
    ("50-ailasd.rules", f"{POLKIT}/"),
    ("*.rules", f"{UDEV}/"),
    ("*.network", f"{NETWORKD}/"),
    ("*.link", f"{NETWORKD}/"),
    ("*.nmconnection", f"{NETWORK_MANAGER}/"),
)
"""Name in ``systemd/`` -> where it goes, the first that fits; a place that ends in / is a folder."""


def place(name: str) -> str:
    """Where a file of ``systemd/`` goes.

    Raises:
        KeyError: the table has no place for it.
    """
    where = next((where for pattern, where in PLACES if fnmatch(name, pattern)), None)
    if where is None:
        raise KeyError(name)
    return where + name if where.endswith("/") else where


def mode(path: str) -> int:
    """Who may read a file of ours: NetworkManager wants its profiles to be root's alone; nothing else is secret."""
    return 0o600 if path.startswith(NETWORK_MANAGER) else 0o644


def shipped(name: str) -> Path:
    """A file or folder that is installed with the package: in it, or beside it in a checkout.

    Raises:
        NeedsHuman: it is in neither.
    """
    package = Path(ailasd.__file__).parent
    for candidate in (package / name, package.parent / name):
        if candidate.exists():
            return candidate
    raise NeedsHuman(f"{name} is missing in {package}: install ailasd from its wheel")


def of_systemd() -> dict[str, bytes]:
    """Where -> what, for every file of ``systemd/``."""
    return {place(file.name): file.read_bytes() for file in sorted(shipped("systemd").iterdir())}


def example_config(kit: str, led: str = "") -> bytes:
    """A configuration for this kit and its light, with all keys and their defaults."""
    text = shipped("config.example.toml").read_text(encoding="utf-8")
    for key, value in (("kit", kit), ("led", led)):
        text = re.sub(rf'^{key} = ".*"$', f'{key} = "{value}"', text, count=1, flags=re.MULTILINE)
    return text.encode()


def kit_from(hostname: str) -> str:
    """A kit's name as the configuration allows it; "kit" if nothing is left of the host's."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", hostname.partition(".")[0])[:40].strip("-") or "kit"


def storage_drop_in(config: Config) -> bytes | None:
    """What the service needs where the configuration leads out of its own folders; None: nothing."""
    writes = [str(config.storage.folder)] if config.storage.folder != Path(STATE) else []
    needs = list(writes)
    if config.cleaning.card != "off":
        writes += [str(folder) for folder in config.sources.folders]
    if not writes:
        return None
    lines = ["# Written by `ailasd setup` from /etc/ailasd/config.toml: run it again when storage.folder changes."]
    if needs:  # else a disk that is not mounted yet would be taken for an empty one
        lines += ["[Unit]", *(f"RequiresMountsFor={_quoted(path)}" for path in needs)]
    lines += ["[Service]", *(f"ReadWritePaths={_quoted('-' + path)}" for path in writes)]
    return ("\n".join(lines) + "\n").encode()


def listen_drop_in(config: Config) -> bytes | None:
    """Where else than on this machine alone the page is to be seen; None: nowhere."""
    if config.web.listen in {LISTEN, ""}:
        return None
    lines = [
        "# Written by `ailasd setup` from /etc/ailasd/config.toml: run it again when web.listen changes.",
        "[Socket]",
        "ListenStream=",  # no longer where the unit itself says
        f"ListenStream={config.web.listen}",
    ]
    return ("\n".join(lines) + "\n").encode()


def file_systems_drop_in(config: Config) -> bytes | None:
    """What else our helper is to mount, where there is no UDisks2; None: what its unit says."""
    if config.cards.file_systems == Cards().file_systems:
        return None
    lines = [
        "# Written by `ailasd setup` from /etc/ailasd/config.toml: run it again when cards.file_systems changes.",
        "[Service]",
        f'Environment="AILASD_FILE_SYSTEMS={" ".join(config.cards.file_systems)}"',
    ]
    return ("\n".join(lines) + "\n").encode()


def of_config(config: Config) -> dict[str, bytes | None]:
    """Where -> what, for all that is written from the configuration; None: it must not be there."""
    return {
        STORAGE_DROP_IN: storage_drop_in(config),
        LISTEN_DROP_IN: listen_drop_in(config),
        FILE_SYSTEMS_DROP_IN: file_systems_drop_in(config),
        **of_light(config),
    }


def of_light(config: Config) -> dict[str, bytes | None]:
    """What gives the service leave for its light and its buzzer: where -> what; None: it must not be there."""
    leds = [led for led in (config.light.led, config.sound.buzzer) if led]
    if not leds:
        return {LIGHT_RULES: None, LIGHT_DROP_IN: None}
    written = (
        "# Written by `ailasd setup` from /etc/ailasd/config.toml: run it again when light.led or\n"
        "# sound.buzzer changes.\n"
    )
    rules = "".join(map(_leave_for, leds))
    writes = "".join(f"ReadWritePaths={_quoted(f'-{LEDS}/{led}')}\n" for led in leds)
    drop_in = f"[Service]\n# sysfs is read-only for it but there\n{writes}"
    return {LIGHT_RULES: (written + rules).encode(), LIGHT_DROP_IN: (written + drop_in).encode()}


def _leave_for(led: str) -> str:
    """Rules of udev with which the service may write to one of ``LEDS``."""
    match = f'SUBSYSTEM=="leds", KERNEL=="{led}", ACTION!="remove"'

    def leave(*names: str) -> str:
        paths = " ".join(f"$sys$devpath/{name}" for name in names)
        return f'RUN+="/bin/chgrp {USER} {paths}", RUN+="/bin/chmod g+w {paths}"'

    return (
        f"{match}, {leave('trigger', 'brightness')}\n"
        "# the files of a trigger appear with it\n"
        f'{match}, ENV{{TRIGGER}}=="timer", {leave("delay_on", "delay_off")}\n'
        f'{match}, ENV{{TRIGGER}}=="oneshot", {leave("delay_on", "delay_off", "shot")}\n'
    )


def _quoted(path: str) -> str:
    r"""As systemd.syntax(7) reads it: % is a specifier, " and \ are escapes."""
    return '"' + path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"') + '"'


def folders_of(tmpfiles: bytes) -> Iterator[str]:
    """The paths that a tmpfiles.d(5) file makes; ours have no spaces."""
    for line in tmpfiles.decode().splitlines():
        words = line.split()
        if len(words) > 1 and words[0] in ("d", "f"):
            yield words[1]


def to_enable(files: dict[str, bytes]) -> list[str]:
    """The units that say how they are enabled: sockets first, so that the service finds them."""
    names = [
        PurePosixPath(path).name
        for path, content in files.items()
        if path.startswith(UNITS) and b"[Install]" in content
    ]
    return sorted(names, key=lambda name: (not name.endswith(".socket"), name))
