"""GeoJSON (RFC 7946): a point for each picture; one of which nobody knows where it was taken has no geometry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from ailasd.exports import Shot


def write(shots: Iterable[Shot], kit: str, now: datetime) -> Iterator[str]:  # noqa: ARG001  (all formats are alike)
    """The file."""
    yield from collection(map(_feature, shots))


def collection(features: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A FeatureCollection, one feature a line."""
    yield '{"type": "FeatureCollection", "features": [\n'
    for number, feature in enumerate(features):
        yield f"{',' if number else ''}{json.dumps(feature)}\n"  # ASCII: no name can hurt a terminal
    yield "]}\n"


def point(shot: Shot) -> dict[str, Any] | None:
    """Longitude first, and metres above the ellipsoid or the sea, as the camera has it."""
    if shot.place is None:
        return None
    latitude, longitude = shot.place
    height = [] if shot.altitude is None else [shot.altitude]
    return {"type": "Point", "coordinates": [longitude, latitude, *height]}


def _feature(shot: Shot) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": shot.id,
        "geometry": point(shot),
        "properties": {
            "name": shot.name,
            "md5": shot.md5,
            "taken": shot.taken,
            "taken_from": shot.taken_from,
            "place_from": shot.place_from,
            "heading": shot.heading,
            "camera": shot.camera,
            "drive": shot.drive,
            "sequence": shot.sequence,
            "state": shot.state,
            "reason": shot.reason,
            "server_id": shot.server_id,
            "web_link": shot.web_link,
        },
    }
