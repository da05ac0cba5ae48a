"""Every check that makes sense for a configuration, in the order in which one thing hangs on another."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ailasd import __version__
from ailasd.catalogue import Catalogue
from ailasd.clock import SystemClock
from ailasd.doctor import blur, here, there, way
from ailasd.errors import CatalogueError
from ailasd.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from ailasd.config import Config
    from ailasd.doctor import Check


def checks(config: Config, config_file: Path | None, open_: ExitStack, *, sample: int) -> Iterator[Check]:
    """All of them. Nothing is made for them; what one opens is closed with ``open_``.

    Args:
        config: that of the kit.
        config_file: where it came from; None: built in.
        open_: of the caller.
        sample: so many pictures are fetched and compared, to see whether the server blurs.
    """
    clock, storage = SystemClock(), Storage(config.storage.folder)
    yield from here.checks(config, config_file, storage, clock)
    if not config.server.url:
        return
    catalogue = None
    with suppress(CatalogueError, OSError):  # the check of the catalogue has said why
        if storage.catalogue.exists():
            catalogue = open_.enter_context(Catalogue(storage.catalogue, clock))
    clients = there.Clients(config, f"ailasd/{__version__} doctor")
    yield from way.checks(clients, clock)
    yield from there.checks(clients, catalogue, clock)
    yield blur.check(clients, catalogue, storage, expected=config.server.expect_blur, sample=sample)
