"""The configuration: TOML in, frozen models out, or every problem at once.

``Config()`` is what an empty file means. Texts such as ``"2min"``, ``"512MiB"`` and ``"off"`` become
``timedelta``, bytes and None here and nowhere else. There is no key for visibility, on purpose: all is ``logged-only``.

Importing this module imports pydantic (about 0.1 s on a laptop, ten times that on a small Pi): commands that need no
configuration import it late.
"""

from __future__ import annotations

import os
import stat
import tomllib
import zoneinfo
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    StrictStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from ailasd.config.faults import in_words, take_visibility
from ailasd.config.tables import (
    Cards,
    Cleaning,
    Confirm,
    Drives,
    Heartbeat,
    Inbox,
    Light,
    Logs,
    Metrics,
    Server,
    Sound,
    Sources,
    Storage,
    Table,
    Tracks,
    Triage,
    Upload,
    Vpn,
    Web,
)
from ailasd.config.values import (
    in_the_clear,
    kit_name,
    leads_here,
    shown,
    zone_name,
)
from ailasd.errors import ConfigError
from ailasd.manners import Rules, windows
from ailasd.tunnel import Way

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


LARGEST_FILE: Final = 1 << 20
"""Bytes. A configuration has some 2 KB: more than 1 MiB is another file by mistake."""


class Config(Table):
    """All of it. Every table has its defaults, so ``Config()`` is complete."""

    kit: Annotated[StrictStr, AfterValidator(kit_name)] = "kit"
    timezone: Annotated[StrictStr, AfterValidator(zone_name)] = "Indian/Antananarivo"
    language: Literal["fr", "mg", "en"] = "fr"
    storage: Storage = Storage()
    server: Server = Server()
    vpn: Annotated[Vpn, Field(validate_default=True)] = Vpn()
    sources: Sources = Sources()
    inbox: Inbox = Inbox()
    cards: Cards = Cards()
    drives: Drives = Drives()
    triage: Triage = Triage()
    tracks: Tracks = Tracks()
    upload: Upload = Upload()
    confirm: Confirm = Confirm()
    cleaning: Cleaning = Cleaning()
    web: Web = Web()
    metrics: Metrics = Metrics()
    light: Light = Light()
    sound: Sound = Sound()
    heartbeat: Heartbeat = Heartbeat()
    logs: Logs = Logs()

    @field_validator("vpn")
    @classmethod
    def _check_vpn(cls, value: Vpn, info: ValidationInfo) -> Vpn:
        if fault := in_the_clear(info.data.get("server", Server()).url, value.interface):
            raise ValueError(fault)
        return value

    @field_validator("sound")
    @classmethod
    def _check_sound(cls, value: Sound, info: ValidationInfo) -> Sound:
        if value.buzzer and value.buzzer == info.data.get("light", Light()).led:
            raise ValueError("buzzer must not be light.led: one thing cannot be both")
        return value

    @field_validator("heartbeat")
    @classmethod
    def _check_heartbeat(cls, value: Heartbeat, info: ValidationInfo) -> Heartbeat:
        if in_the_clear(value.url, info.data.get("vpn", Vpn()).interface):
            raise ValueError("must have a url that begins with https://: no tunnel (vpn.interface) is named to hide it")
        return value

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, value: Sources, info: ValidationInfo) -> Sources:
        ours = info.data.get("storage", Storage()).folder
        for folder in value.folders:
            if folder.is_relative_to(ours) or ours.is_relative_to(folder):
                raise ValueError(
                    f"must not hold {shown(folder)}: it overlaps storage.folder, we would import our own copies"
                )
        return value

    @field_validator("inbox")
    @classmethod
    def _check_inbox(cls, value: Inbox, info: ValidationInfo) -> Inbox:
        ours = info.data.get("storage", Storage()).folder
        cards = info.data.get("sources", Sources()).folders
        for name, why, folders in (
            ("storage.folder", "we would import our own copies", (ours,)),
            ("sources.folders", "files would be read from there while they are still being written", cards),
        ):
            for folder in folders:
                if value.folder and (value.folder.is_relative_to(folder) or folder.is_relative_to(value.folder)):
                    raise ValueError(f"must not have the folder {shown(value.folder)}: it overlaps {name}, {why}")
        return value

    @property
    def way(self) -> Way:
        """How the server is reached."""
        return Way(self.vpn.interface, self.server.address, self.server.ca_file)

    @property
    def way_of_heartbeat(self) -> Way:
        """How the heartbeat's place is reached: through the same tunnel, and by name unless it is the server's own."""
        same = urlsplit(self.heartbeat.url).hostname == urlsplit(self.server.url).hostname
        return Way(self.vpn.interface, self.server.address if same else None, self.server.ca_file)

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The time zone of naive camera times and of dates shown to people."""
        return zoneinfo.ZoneInfo(self.timezone)

    @property
    def manners(self) -> Rules:
        """When something may be sent, and how fast."""
        upload = self.upload
        return Rules(self.zone, windows(upload.rates), upload.per_day, upload.per_month, upload.metered)


# -- reading ----------------------------------------------------------------------------------------------------------
def _refuse_endless_keys(text: str) -> None:
    """For a key ``a.a.a...`` tomllib needs memory by the square of its parts: gigabytes for 60 000 of them."""
    if any(line.count(".") > 100 for line in text.splitlines() if not line.lstrip().startswith("#")):
        raise RecursionError


def parse(text: str, where: str) -> Config:
    """Read TOML.

    Args:
        text: the whole file; a byte order mark in front is allowed, as Windows editors write one.
        where: what faults call the file.

    Raises:
        ConfigError: with every fault, one a line, each with the path of its key.
    """
    try:
        _refuse_endless_keys(text)
        data = tomllib.loads(text.removeprefix("\ufeff"))
        faults = list(take_visibility(data))
    except RecursionError:
        raise ConfigError(f"{where}: is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:  # it names line and column
        raise ConfigError(f"{where}: is not valid TOML: {error}") from None
    except ValueError:  # Python's own limit
        raise ConfigError(f"{where}: holds a number of more than 4300 digits") from None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        faults += [in_words(each, Config) for each in error.errors(include_url=False)]
    if faults:
        raise ConfigError(f"{where}: {len(faults)} fault{'s' * (len(faults) > 1)}\n" + "\n".join(faults))
    return config


def read_file(path: Path, most: int, *, fit: Callable[[os.stat_result], object] = lambda _: None) -> bytes:
    """The bytes of a regular file, at most ``most`` + 1 of them. A FIFO or a device is refused, not waited for.

    Args:
        path: of the file.
        most: bytes; to see that a file is larger is the caller's.
        fit: is shown what file it is, before any of it is read, and may raise.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123  (an fd)
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ConfigError(f"{path} is not a regular file")
            fit(about)
            return file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path} cannot be read: {why}") from None


def load(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: the file is missing, unreadable, over 1 MiB, not UTF-8, not TOML; or every fault that it has.
    """
    data = read_file(path, LARGEST_FILE)
    if len(data) > LARGEST_FILE:
        raise ConfigError(f"{path}: is larger than 1 MiB, so it is not a configuration of ailasd")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: is not UTF-8 (line {line}); save it again as UTF-8") from None
    return parse(text, str(path))


def warnings(config: Config) -> list[str]:
    """What is allowed but worth a second look, one sentence each."""
    found = []
    if config.server.url and not config.vpn.interface and not leads_here(config.server.url):
        found.append(
            "vpn.interface: UNPROTECTED: no tunnel is named, so token and pictures go to the server over any network "
            'there is; name the VPN\'s interface, such as "wg0"'
        )
    if config.server.url.startswith("http://") and config.server.plain_http:
        found.append("server.plain_http: the token and the pictures go unencrypted; only a VPN may carry them")
    if config.cleaning.card == "copied":
        found.append(
            'cleaning.card: "copied" clears a card when the only other copy is here; "confirmed" waits for the server'
        )
    if config.cards.power_off and config.cleaning.card != "off":
        found.append(
            "cards.power_off: switches a reader off as soon as its card is read, before cleaning.card could clear it"
        )
    return found
