"""What `ailasd check-config` shows: the values in force, what deserves a second look, and what the server says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ailasd import __version__, credential
from ailasd.config import warnings
from ailasd.config.tables import Table
from ailasd.errors import ConfigError
from ailasd.logs import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ailasd.config import Config

_NONE: Final = {"token_file": "", "ca_file": "", "address": "", "folder": "", "file": "", "camera_offset": "auto"}
"""What None is called by keys that are not "off" then."""
_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def as_toml(config: Config) -> str:
    """All values in force, as a file that means the same."""
    return "\n".join(_lines(config))


def _lines(table: Table, name: str = "") -> Iterator[str]:
    values = {key: getattr(table, key) for key in type(table).model_fields}
    yield from (f"{key} = {_value(key, value)}" for key, value in values.items() if not isinstance(value, Table))
    for key, value in values.items():
        if isinstance(value, Table):
            path = f"{name}.{key}" if name else key
            yield f"\n[{path}]"
            yield from _lines(value, path)


def _value(key: str, value: Any) -> str:
    if value is None:
        return json.dumps(_NONE.get(key, "off"))
    if isinstance(value, timedelta):
        return f'"{_duration(value)}"'
    if isinstance(value, tuple):
        return f"[{', '.join(_value(key, one) for one in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(one)} = {_value(one, other)}" for one, other in value.items()) + "}"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    unit, length = next((unit, length) for unit, length in _UNITS if seconds % length == 0 or unit == "s")
    return f"{seconds / length:.15g}{unit}"


def doubts(config: Config, *, token: bool = True) -> list[str]:
    """What is allowed but deserves a second look, one sentence each; files and folders are looked at, not changed.

    Args:
        config: what is in force.
        token: look for it too.
    """
    found = warnings(config)
    try:
        if token:
            credential.load(config)
    except ConfigError as error:
        found.append(f"server: {error}")
    if not config.server.url:
        found.append("server.url: is empty, so pictures are copied and kept, and nothing is sent")
    if not (config.cards.watch or config.sources.folders or config.inbox.folder):
        found.append("cards.watch: is off, without sources.folders and inbox: nothing is read by itself")
    found += [f"sources.folders: {folder} is not there now" for folder in config.sources.folders if not folder.is_dir()]
    return found


def ask_server(config: Config) -> str:
    """Who we are there, in a sentence.

    Raises:
        ConfigError: no server is configured, or there is no token.
        NotLoggedIn, WrongServer, TryLater: it will not have us, may not have our pictures, or is not to be reached.
    """
    from ailasd.panoramax import Panoramax  # noqa: PLC0415  (httpx, only when somebody asks)
    from ailasd.recognising import recognise  # noqa: PLC0415

    if not config.server.url:
        raise ConfigError("server.url is empty: there is no server to ask")
    token, agent = credential.load(config), f"ailasd/{__version__}"
    with Panoramax(config.server.url, token, agent=agent, way=config.way) as server:
        account, _ = recognise(server)
    return f'{config.server.url} knows this kit as "{printable(account.name)}" and keeps pictures logged-only.'
