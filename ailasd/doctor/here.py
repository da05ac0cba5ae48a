"""Checks of this machine: configuration, token, clock, disk, catalogue."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Final

from ailasd import credential
from ailasd.catalogue import upkeep
from ailasd.config.check import doubts
from ailasd.disk import as_error
from ailasd.doctor import Check, Finding, failure, ok, warning
from ailasd.logs import bytes_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ailasd.clock import Clock
    from ailasd.config import Config
    from ailasd.errors import ConfigError
    from ailasd.storage import Storage

READ_S: Final = 300.0
"""To read a catalogue of a million pictures (600 MB) from an SD card."""


def checks(config: Config, config_file: Path | None, storage: Storage, clock: Clock) -> Iterator[Check]:
    """All of them."""
    yield Check("configuration", lambda: configuration(config, config_file))
    yield Check("token", lambda: token(config))
    yield Check("clock", lambda: trust(clock))
    yield Check("disk", lambda: disk(storage, config.storage.reserve))
    yield Check("catalogue", lambda: catalogue(storage), READ_S)


def unreadable(error: ConfigError) -> Check:
    """In the place of all checks, if there is no configuration to make them by."""

    def look() -> Finding:
        raise error

    return Check("configuration", look)


def configuration(config: Config, file: Path | None) -> Finding:
    """It could be read, or we would not be here: what deserves a second look?"""
    where = str(file) if file else "built in: there is no file"
    if found := doubts(config, token=False):
        return warning(f"{where}; {'; '.join(found)}", "see config.example.toml")
    return ok(where)


def token(config: Config) -> Finding:
    """There is one, from one place, and nobody else can read it."""
    if not config.server.url:
        return ok("none is needed, since nothing is sent")
    credential.load(config)
    return ok(f"from {credential.place(config).words}")


def trust(clock: Clock) -> Finding:
    """Does anybody vouch for our time? How far it is from the server's is another check."""
    if clock.trusted():
        return ok("the clock is synchronised")
    return warning(
        f"nobody vouches for this machine's time ({clock.now():%Y-%m-%d %H:%M} UTC)",
        "capture times come from the cameras all the same; `timedatectl` says who could set it",
    )


def disk(storage: Storage, reserve: int) -> Finding:
    """Is there room to copy, and may we write?"""
    if not storage.folder.exists():
        return warning(f"{storage.folder} is not there yet", "`ailasd run` or `ailasd import PATH` makes it")
    try:
        with tempfile.TemporaryFile(dir=storage.incoming if storage.incoming.exists() else storage.folder) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise as_error(error) from error
    free = storage.free()
    says = f"{bytes_in_words(free)} free in {storage.folder}, {bytes_in_words(reserve)} of them kept in reserve"
    if free < reserve:
        return failure(f"no room to copy: {says}", "make room, or let cleaning.local_after or local_below make some")
    return ok(says)


def catalogue(storage: Storage) -> Finding:
    """Is it whole, and of a schema that this version knows?"""
    if not storage.catalogue.exists():
        return warning("there is none yet", "`ailasd run` or `ailasd import PATH` makes one")
    upkeep.check(storage.catalogue)
    return ok(f"{storage.catalogue} is whole ({bytes_in_words(storage.catalogue.stat().st_size)})")
