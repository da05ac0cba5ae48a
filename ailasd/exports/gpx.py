"""GPX 1.1: a track for each drive, in segments where nothing was taken for a while."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from ailasd import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ailasd.exports import Shot

GAP: Final = timedelta(minutes=2)
"""A line across a longer pause would be a guess."""

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(value: str) -> str:
    """A text as XML can hold it: some characters it cannot hold at all."""
    return escape(_NOT_XML.sub("\ufffd", value), {'"': "&quot;"})


def write(shots: Iterable[Shot], kit: str, now: datetime) -> Iterator[str]:
    """The file; all shots have a place and a time."""
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<gpx version="1.1" creator="ailasd {__version__}" xmlns="http://www.topografix.com/GPX/1/1">\n'
        f"<metadata><name>{text(kit)}</name><time>{now:%Y-%m-%dT%H:%M:%SZ}</time></metadata>\n"
    )
    for drive, of_it in groupby(shots, key=lambda shot: shot.drive):
        yield f"<trk><name>drive {drive or '?'}</name>\n<trkseg>\n"
        last = None
        for shot in of_it:
            assert shot.taken is not None
            taken = datetime.fromisoformat(shot.taken)
            if last is not None and taken - last > GAP:
                yield "</trkseg>\n<trkseg>\n"
            last = taken
            yield _point(shot)
        yield "</trkseg>\n</trk>\n"
    yield "</gpx>\n"


def _point(shot: Shot) -> str:
    assert shot.place is not None
    latitude, longitude = shot.place
    height = "" if shot.altitude is None else f"<ele>{shot.altitude:.2f}</ele>"
    return (
        f'<trkpt lat="{latitude:.7f}" lon="{longitude:.7f}">{height}<time>{shot.taken}</time>'
        f"<name>{text(shot.name)}</name></trkpt>\n"
    )
