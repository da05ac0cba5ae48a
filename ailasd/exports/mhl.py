"""ASC Media Hash List 2.0: the checksum of each copy, with its path below the storage folder."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from ailasd import __version__
from ailasd.exports.gpx import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from ailasd.exports import Shot


def write(shots: Iterable[Shot], kit: str, now: datetime) -> Iterator[str]:
    """The file; of all shots we have a copy. The hashes are those with which the copies were verified."""
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<hashlist version="2.0" xmlns="urn:ASC:MHL:v2.0">\n'
        f"<creatorinfo><creationdate>{now:%Y-%m-%dT%H:%M:%S+00:00}</creationdate>"
        f"<hostname>{text(platform.node() or kit)}</hostname>"
        f'<tool version="{__version__}">ailasd</tool><comment>{text(kit)}</comment></creatorinfo>\n'
        "<processinfo><process>in-place</process></processinfo>\n"
    )
    opened = False
    for shot in shots:
        assert shot.copy is not None
        yield "" if opened else "<hashes>\n"  # which may not be there without any
        opened = True
        yield (
            f'<hash><path size="{shot.size}">{text(shot.copy)}</path><md5 action="original">{shot.md5}</md5></hash>\n'
        )
    yield "</hashes>\n</hashlist>\n" if opened else "</hashlist>\n"
