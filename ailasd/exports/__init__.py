"""`ailasd export`: drives, cards and times in formats that other programs read. Pure: rows in, text out.

``geojson``, ``gpx``, ``table`` (CSV), ``stac`` and ``mhl`` have a format each; ``FORMATS`` names them. Every one takes
shots and yields text piece by piece, so that a million of them need no memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ailasd.journey import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture as others may want it.

    Attributes:
        taken: the best truth of when (ISO, UTC); None: nobody knows.
        place: latitude and longitude in degrees, as the server has them; None: nobody knows (``journey.place_of``).
        place_from: "camera", or how it was found: "interpolated", "gpx".
        copy: our copy, relative to the storage folder; None: there is none any more.
    """

    id: int
    md5: str
    size: int
    name: str
    state: str
    reason: str | None
    why: str | None
    taken: str | None
    taken_from: str | None
    place: tuple[float, float] | None
    place_from: str | None
    altitude: float | None
    heading: float | None
    camera: str
    make: str | None
    model: str | None
    width: int | None
    height: int | None
    drive: int | None
    sequence: str | None
    copy: str | None
    server_id: str | None
    web_link: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """From a row of ``Extracts.pictures``."""
        place = place_of(row)
        found = None if place is None else "camera"
        if row["position_override"]:
            found = row["position_from"] or "interpolated"
        same = (
            "id", "md5", "size", "name", "state", "reason", "why", "altitude", "heading", "camera", "make", "model",
            "width", "height", "drive", "copy", "server_id", "web_link",
        )  # fmt: skip
        return cls(
            **{name: row[name] for name in same},
            taken=row["captured"],
            taken_from=row["captured_from"],
            place=place,
            place_from=found,
            sequence=row["sequence_title"],
        )


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write shots.

    Attributes:
        write: yields the text; also given are the kit's name and the time of now.
        takes: whether a shot can be in it at all.
        lacks: of those that cannot, what they have not: "without ...".
    """

    write: Callable[[Iterable[Shot], str, datetime], Iterator[str]]
    takes: Callable[[Shot], bool]
    lacks: str


def formats() -> Mapping[str, Format]:
    """By their names."""
    from ailasd.exports import geojson, gpx, mhl, stac, table  # noqa: PLC0415  (they import from here)

    return {
        "geojson": Format(geojson.write, lambda _: True, ""),
        "gpx": Format(gpx.write, _where_and_when, "without position or time"),
        "csv": Format(table.write, lambda _: True, ""),
        "stac": Format(stac.write, lambda shot: shot.taken is not None, "without time"),
        "mhl": Format(mhl.write, lambda shot: shot.copy is not None, "of which we have no copy any more"),
    }


def _where_and_when(shot: Shot) -> bool:
    return shot.place is not None and shot.taken is not None
