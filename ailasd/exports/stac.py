"""STAC 1.1.0: an item for each picture, together a FeatureCollection of items. Where it was taken may be unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ailasd.exports.geojson import collection, point

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from ailasd.exports import Shot

EXTENSIONS: Final = (
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/view/v1.1.0/schema.json",
)

_MD5: Final = "d50110"
"""Of a multihash: the code of md5, and its length of 16 bytes."""


def write(shots: Iterable[Shot], kit: str, now: datetime) -> Iterator[str]:  # noqa: ARG001  (all formats are alike)
    """The file; all shots have a time."""
    yield from collection(map(_item, shots))


def _item(shot: Shot) -> dict[str, Any]:
    geometry = point(shot)
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [*EXTENSIONS[:1], *(EXTENSIONS[1:] if shot.heading is not None else ())],
        "id": shot.server_id or shot.md5,
        "geometry": geometry,
        "properties": {key: value for key, value in _properties(shot).items() if value is not None},
        "links": [] if shot.web_link is None else [{"rel": "alternate", "href": shot.web_link, "type": "text/html"}],
        "assets": _assets(shot),
    }
    if geometry is not None:
        place = geometry["coordinates"]
        item["bbox"] = [*place, *place]
    return item


def _properties(shot: Shot) -> dict[str, Any]:
    return {
        "datetime": shot.taken,
        "instruments": [shot.model] if shot.model else None,
        "platform": shot.camera or None,
        "view:azimuth": None if shot.heading is None else shot.heading % 360,
        "ailasd:name": shot.name,
        "ailasd:drive": shot.drive,
        "ailasd:state": shot.state,
        "ailasd:reason": shot.reason,
        "ailasd:datetime_from": shot.taken_from,
        "ailasd:position_from": shot.place_from,
    }


def _assets(shot: Shot) -> dict[str, Any]:
    """Our own copy, relative to the storage folder, if there is one."""
    if shot.copy is None:
        return {}
    return {
        "picture": {
            "href": shot.copy,
            "type": "image/jpeg",
            "roles": ["data"],
            "file:size": shot.size,
            "file:checksum": _MD5 + shot.md5,
        }
    }
