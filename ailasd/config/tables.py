"""The tables of the configuration: their keys, defaults and bounds, and why these."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  (pydantic reads it at run time)
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictBool,
    StrictStr,
    ValidationInfo,
    field_validator,
)
from pydantic.types import Strict

from ailasd.config.values import (
    FileSystem,
    Folder,
    Interface,
    Line,
    Period,
    RateLimits,
    Word,
    absolute_or_none,
    address,
    between,
    duration,
    interface_name,
    ip_or_none,
    led_name,
    listening,
    offset,
    pcm_name,
    size,
    title_template,
)

BY_CAR: Final = {"transport": "car"}
"""What the website calls "By car", all that the field manual asks for: there unless overridden."""


TOKEN_FILE: Final = Path("/etc/ailasd/token")
NO_LIMITS: Final[Mapping[str, int | None]] = {}
"""Of ``upload.rates``: at every hour as fast as the link takes it."""


class Table(BaseModel):
    """What all tables share: immutable, and an unknown key is a fault. Inputs never appear in pydantic's own errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Storage(Table):
    """Where our copies and the catalogue live."""

    folder: Folder = Path("/var/lib/ailasd")
    reserve: Annotated[int, size("10MB", "10TB")] = 2_000_000_000  # 10 MB: the catalogue must stay writable


class Server(Table):
    """The one private Panoramax. ``url`` is "" (send nothing), or has no slash at its end."""

    plain_http: StrictBool = False  # before url, whose check reads it
    url: StrictStr = ""
    address: Annotated[str | None, BeforeValidator(ip_or_none)] = None
    token_file: Folder = TOKEN_FILE
    token_command: tuple[Word, ...] = ()
    expect_blur: StrictBool = False
    ca_file: Annotated[Path | None, BeforeValidator(absolute_or_none)] = None

    @field_validator("url")
    @classmethod
    def _checkaddress(cls, value: str, info: ValidationInfo) -> str:
        return address(value, plain_http=info.data.get("plain_http", False)) if value else value

    @field_validator("token_command")
    @classmethod
    def _check_command(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and info.data.get("token_file", TOKEN_FILE) != TOKEN_FILE:
            raise ValueError("cannot be together with server.token_file: the token comes from one place")
        return value


class Vpn(Table):
    """What every byte to the server leaves through. "": through anything, unprotected."""

    interface: Annotated[StrictStr, AfterValidator(interface_name)] = ""
    dwell: Annotated[timedelta, duration("0s", "5min")] = timedelta(seconds=5)  # longer than a handshake on VSAT


class Sources(Table):
    """Folders that are looked at like cards, and how often."""

    folders: tuple[Folder, ...] = ()
    every: Period = timedelta(seconds=60)


class Cards(Table):
    """What is read when it is plugged in. Without ``watch`` only ``sources.folders`` and the inbox are."""

    watch: StrictBool = True
    file_systems: tuple[FileSystem, ...] = ("vfat", "exfat")
    power_off: StrictBool = False  # a reader that was switched off does not see its next card
    set_camera_clock: StrictBool = False


class Inbox(Table):
    """The folder into which phones and laptops drop pictures and GPX tracks. None: there is none."""

    folder: Annotated[Path | None, BeforeValidator(absolute_or_none)] = Path("/var/lib/ailasd-inbox")


class Drives(Table):
    """What belongs together, and what it is called on the server. ``semantics`` always has ``transport``."""

    gap: Annotated[timedelta, duration("1s", "1d")] = timedelta(minutes=2)
    most_pictures: Annotated[int, Strict(), between(2, 5000)] = 1000  # a sequence needs two; listings have no pages
    title: Annotated[StrictStr, AfterValidator(title_template)] = "{kit} {date} {time} {camera}"
    semantics: Annotated[Mapping[Line, Line], AfterValidator(BY_CAR.__or__)] = BY_CAR


class Triage(Table):
    """Which pictures are worth sending, and when they were really taken."""

    clock_tolerance: Annotated[timedelta, duration("1s", "1h")] = timedelta(
        seconds=3
    )  # satellite time has whole seconds
    parked_after: Annotated[timedelta, duration("1s", "1d")] = timedelta(seconds=60)
    parked_within_m: Annotated[float, Strict(), between(1, 1000)] = 15.0
    parked_keep_every: Annotated[timedelta, duration("1s", "1d")] = timedelta(minutes=5)
    fill_gap: Annotated[timedelta | None, duration("1s", "10min", off=True)] = None  # longer is a guess, not a position
    fastest_kmh: Annotated[float, Strict(), between(20, 1000)] = 200.0


class Tracks(Table):
    """Positions from GPX tracks, for pictures without one. None: ``max_gap`` never, ``camera_offset`` estimated."""

    max_gap: Annotated[timedelta | None, duration("1s", "10min", off=True)] = timedelta(seconds=30)
    camera_offset: Annotated[timedelta | None, offset("3650d", instead="auto")] = None


class Upload(Table):
    """How pictures are sent."""

    connections: Annotated[int, Strict(), between(1, 8)] = 2  # two hide the latency, more gain little (measured)
    most_attempts: Annotated[int, Strict(), between(1, 1000)] = 30  # hourly at last: about a day of trying
    order: Literal["newest", "oldest"] = "newest"
    thin: Annotated[int, Strict(), between(1, 1000)] = 10  # one in ten at 5 s and 40 km/h: every half kilometre
    probe_every: Period = timedelta(seconds=15)
    probe_most: Period = timedelta(minutes=5)
    rates: RateLimits = NO_LIMITS
    per_day: Annotated[int | None, size("20MB", "10TB", off=True)] = None  # a picture has up to 12 MB
    per_month: Annotated[int | None, size("20MB", "100TB", off=True)] = None
    metered: StrictBool = False
    metered_interfaces: tuple[Interface, ...] = ()


class Confirm(Table):
    """How often the server is asked whether it holds what we sent."""

    every: Period = timedelta(seconds=60)


class Cleaning(Table):
    """What may be deleted, and after which proof. None: never."""

    card: Literal["off", "copied", "confirmed"] = "off"
    local_after: Annotated[timedelta | None, duration("1h", "3650d", off=True)] = None
    local_below: Annotated[int | None, size("10MB", "10TB", off=True)] = None
    every: Annotated[timedelta, duration("1min", "1d")] = timedelta(hours=1)  # it asks the server again before deleting


class Web(Table):
    """The page (``ailasd-web``); beyond the sign others see only with a PIN.

    Attributes:
        listen: an IP address and a port. "": there is no page.
    """

    listen: Annotated[StrictStr, AfterValidator(listening)] = "127.0.0.1:8040"
    pin_file: Folder = Path("/etc/ailasd/pin")

    @property
    def address(self) -> tuple[str, int]:
        """Address and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Metrics(Table):
    """Where Prometheus' text file goes. None: nowhere."""

    file: Annotated[Path | None, BeforeValidator(absolute_or_none)] = None


class Heartbeat(Table):
    """Where a few figures go while the server is there. "": nowhere. ``token_file`` is that place's own."""

    url: StrictStr = ""
    every: Annotated[timedelta, duration("1min", "1d")] = timedelta(minutes=15)
    token_file: Annotated[Path | None, BeforeValidator(absolute_or_none)] = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return address(value, plain_http=True) if value else value


class Light(Table):
    """A light of this machine that shows the sign. "": none does."""

    led: Annotated[StrictStr, AfterValidator(led_name)] = ""


class Sound(Table):
    """A short tone when the sign changes, from a sound card or a buzzer. "": none."""

    device: Annotated[StrictStr, AfterValidator(pcm_name)] = ""
    buzzer: Annotated[StrictStr, AfterValidator(led_name)] = ""


class Logs(Table):
    """How much is told."""

    level: Literal["debug", "info", "warning", "error"] = "info"
