"""What a single value of the configuration may be: durations, sizes, paths, names, the server's address.

Each is a check for pydantic that gives the value that the rest of ailasd works with, or one sentence about the fault.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import zoneinfo
from collections.abc import Mapping
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, StrictStr

from ailasd.manners import Window, windows

if TYPE_CHECKING:
    from collections.abc import Callable

TITLE_FIELDS: Final = ("kit", "date", "time", "camera")

_SECONDS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES: Final = (
    {"B": 1.0}
    | {f"{prefix}B": 1000.0**power for power, prefix in enumerate("kMGT", 1)}
    | {f"{prefix}iB": 1024.0**power for power, prefix in enumerate("KMGT", 1)}
)
_RATES: Final = {f"{unit}/s": count for unit, count in _BYTES.items()} | {"kbit/s": 125.0, "Mbit/s": 125_000.0}
_LIKE_A_DURATION: Final = 'a duration such as "30s", "2min", "1h" or "30d"'
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+(?:/s)?)")


def _amount(value: object, units: Mapping[str, float]) -> float | None:
    """The number of seconds or bytes that a value means, or None if it means none."""
    if isinstance(value, timedelta):
        return value.total_seconds() if units is _SECONDS else None
    if isinstance(value, int) and not isinstance(value, bool):
        return None if units is _SECONDS else float(value)  # 60 what? But a bare number of bytes is clear
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) * units[match[2]] if match and match[2] in units else None


def _quantity(
    units: Mapping[str, float], make: Callable[[float], Any], like: str, low: str, high: str, *, off: bool
) -> Callable[[object], Any]:
    or_off = ', or "off"' if off else ""
    least, most = _amount(low, units), _amount(high, units)
    assert least is not None
    assert most is not None

    def check(value: object) -> Any:
        if off and (value is None or value == "off"):
            return None
        amount = _amount(value, units)
        if amount is None:
            raise ValueError(f"must be {like}{or_off}, not {shown(value)}")
        if not least <= amount <= most:
            raise ValueError(f"must be between {low} and {high}{or_off}, not {shown(value)}")
        return make(amount)

    return check


def duration(low: str, high: str, *, off: bool = False) -> BeforeValidator:
    """A validator: ``"30s"``, ``"2min"``, ``"1h"``, ``"30d"`` -> timedelta; "off" -> None. The bounds are inclusive."""
    return BeforeValidator(_quantity(_SECONDS, _span, _LIKE_A_DURATION, low, high, off=off))


def span(text: str, low: str, high: str) -> timedelta:
    """A duration that a person typed; raises ValueError, a sentence, if it is none or not between these two."""
    found: timedelta = _quantity(_SECONDS, _span, _LIKE_A_DURATION, low, high, off=False)(text)
    return found


def _span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def offset(most: str, *, instead: str) -> BeforeValidator:
    """A validator: ``"+3600s"``, ``"-1h"`` -> timedelta, of at most ``most`` either way; ``instead`` -> None."""
    largest = _amount(most, _SECONDS)
    assert largest is not None

    def check(value: object) -> timedelta | None:
        if value is None or value == instead:
            return None
        sign = -1 if isinstance(value, str) and value.startswith("-") else 1
        amount = _amount(re.sub("^[+-]", "", value) if isinstance(value, str) else value, _SECONDS)
        if amount is None or abs(amount) > largest:
            raise ValueError(
                f'must be "{instead}" or a duration such as "+3600s" or "-1h", of at most {most}, not {shown(value)}'
            )
        return timedelta(seconds=sign * amount)

    return BeforeValidator(check)


def size(low: str, high: str, *, off: bool = False) -> BeforeValidator:
    """A validator: ``"2GB"`` (10^9), ``"512MiB"`` (2^20) or bytes -> int; "off" -> None. The bounds are inclusive."""
    return BeforeValidator(_quantity(_BYTES, round, 'a size such as "2GB" or "512MiB"', low, high, off=off))


def rate(low: str, high: str) -> BeforeValidator:
    """A validator: ``"200kB/s"``, ``"2Mbit/s"`` or bytes a second -> int; "off" -> None. The bounds are inclusive."""
    return BeforeValidator(_quantity(_RATES, round, 'a rate such as "200kB/s" or "2Mbit/s"', low, high, off=True))


def between(low: float, high: float) -> AfterValidator:
    """A validator of numbers; it refuses ``nan`` too, which TOML can write."""

    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"must be between {low} and {high}, not {value}")
        return value

    return AfterValidator(check)


def _absolute(value: object) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError(f"must be a path in quotes, not {shown(value)}")  # noqa: TRY004  (pydantic wants ValueError)
    if "\0" in str(value) or not Path(value).is_absolute():
        raise ValueError(f"must be an absolute path (beginning with /), not {shown(value)}")
    return Path(value)


def absolute_or_none(value: object) -> Path | None:
    """An absolute path, or "" for none."""
    return None if value in ("", None) else _absolute(value)


def kit_name(value: str) -> str:
    """A kit's name."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,40}", value):
        raise ValueError(f"must be 1 to 40 letters (a-z, A-Z), digits and -, not {shown(value)}")
    return value


def zone_name(value: str) -> str:
    """An IANA time zone that exists."""
    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # not found; not a relative name; a folder such as "Africa"
        zones = resources.files("tzdata").joinpath("zones").read_text().split()
        meant = did_you_mean(difflib.get_close_matches(value[:60], zones, 1, 0.8))
        raise ValueError(f"must be an IANA time zone such as Indian/Antananarivo, not {shown(value)}{meant}") from None
    return value


def title_template(value: str) -> str:
    """A template with known fields only."""
    rest = re.sub(r"\{(" + "|".join(TITLE_FIELDS) + r")\}", "", value)
    if "{" in rest or "}" in rest:
        allowed = ", ".join(f"{{{field}}}" for field in TITLE_FIELDS)
        raise ValueError(f"may have only the fields {allowed}, written just so, not {shown(value)}")
    return _line(value)


def _line(value: str) -> str:
    if not value.strip() or len(value) > 200 or not value.isprintable():  # people read it on the server's pages
        raise ValueError(f"must be one line of 1 to 200 characters, not {shown(value)}")
    return value


def _interface(value: str) -> str:
    if not re.fullmatch(r"[^\s/]{1,15}", value):
        raise ValueError(f'must name an interface, such as "wwan0" or "wwan*", not {shown(value)}')
    return value


def _hours(value: str) -> str:
    Window.of(value, None)
    return value


def _apart(value: Mapping[str, int | None]) -> Mapping[str, int | None]:
    windows(value)  # raises ValueError, a sentence
    return value


def _file_system(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_+-]{1,15}", value):
        raise ValueError(f'must name file systems as the kernel does, such as "vfat", not {shown(value)}')
    return value


def _word(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError(f"must hold no empty text and no zero byte, not {shown(value)}")
    if "eyJ" in value:  # see ``shown``
        raise ValueError("must not hold the token itself: everybody can read this file, and the list of processes")
    return value


Line = Annotated[StrictStr, AfterValidator(_line)]
Period = Annotated[timedelta, duration("1s", "1d")]  # below 1 s it spins; above a day nobody would see it work
Word = Annotated[StrictStr, AfterValidator(_word)]
Folder = Annotated[Path, BeforeValidator(_absolute)]
_Rate = Annotated[int | None, rate("1kB/s", "1GB/s")]  # slower, and proxies before the server give up
RateLimits = Annotated[Mapping[Annotated[StrictStr, AfterValidator(_hours)], _Rate], AfterValidator(_apart)]
Interface = Annotated[StrictStr, AfterValidator(_interface)]
FileSystem = Annotated[StrictStr, AfterValidator(_file_system)]


# -- the address ------------------------------------------------------------------------------------------------------
def address(value: str, *, plain_http: bool) -> str:
    """The address without a slash at its end. Its faults never show it: it may hold a password."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError as error:
        raise ValueError(f"is not an address ({error})") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError("must begin with https:// and name a host, such as https://panoramax.example.org")
    if "@" in parts.netloc or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", value):
        raise ValueError("must be a plain address: no login, no ?, no #, no spaces; the token has its own file")
    if parts.path.rstrip("/").endswith("/api"):
        raise ValueError("must be the address of the instance, without /api at the end")
    if parts.scheme == "http" and not plain_http and not _is_loopback(host):
        raise ValueError(
            "must begin with https://, since http:// shows token and pictures to everybody on the way; "
            "if only the VPN leads to this server, say so with server.plain_http = true"
        )
    return value.rstrip("/")


def leads_here(url: str) -> bool:
    """Whether a checked address is one of this machine's own: nothing leaves it."""
    return _is_loopback(urlsplit(url).hostname or "")


def in_the_clear(url: str, interface: str) -> str | None:
    """Why a checked address may not be used without a tunnel; None: it may."""
    if not url.startswith("http://") or leads_here(url) or interface:
        return None
    return (
        "must have interface, the tunnel that the server's http:// is sent through: without it token and pictures "
        "would go in the clear to whoever answers"
    )


def ip_or_none(value: object) -> object:
    """An IP address as text; None for ""."""
    if value == "":
        return None
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(f'must be an IP address such as "10.8.0.1", not {shown(value)}') from None


def listening(value: str) -> str:
    """An IP address of this machine and a port, such as "127.0.0.1:8040" or "[::]:8040"; or ""."""
    if not value:
        return value
    host, _, port = value.rpartition(":")
    try:
        version = ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).version
        fits = (version == 6) == host.startswith("[") == host.endswith("]") and re.fullmatch(r"\d{1,5}", port)
    except ValueError:
        fits = None
    if not fits or int(port) > 65_535:
        raise ValueError(f'must be an address and a port, such as "127.0.0.1:8040" or "[::1]:8040", not {shown(value)}')
    return value


def interface_name(value: str) -> str:
    """The name of a network interface as Linux allows it (15 bytes), or ""."""
    if value and not re.fullmatch(r"(?!\.{1,2}$)[!-.0-9;-~]{1,15}", value):
        raise ValueError(f'must be the name of a network interface, such as "wg0", not {shown(value)}')
    return value


def led_name(value: str) -> str:
    """The name of a light below /sys/class/leds, or ""."""
    if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9:_.-]{0,62}", value):
        raise ValueError(f'must be the name of a light in /sys/class/leds, such as "ACT", not {shown(value)}')
    return value


def pcm_name(value: str) -> str:
    """A device of ALSA as `aplay -L` lists them, or ""."""
    if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9:=,_.-]{0,99}", value):
        raise ValueError(f'must be a device of ALSA, such as "default" or "hw:1", not {shown(value)}')
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown(value: object) -> str:
    """A value as a fault may show it: one short printable line that holds no token."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    text = str(value)
    if "eyJ" in text:  # how each JWT begins: somebody wrote the token in the place of something else
        return "what looks like a token"
    text = text if len(text) <= 60 else text[:57] + "..."
    return repr(text) if isinstance(value, str | Path) else text


def did_you_mean(names: list[str]) -> str:
    """The end of a fault that offers what was meant."""
    return f"; did you mean {' or '.join(names)}?" if names else ""
