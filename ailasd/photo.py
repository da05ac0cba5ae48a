"""What a JPEG says about itself; bytes in, values out. Never raises on hostile content, never decodes the picture.

The rules are those of the server's own reader, so that we know before sending what it will say: geopic-tag-reader
1.10.1 (``reader.getPictureMetadata``) over Exiv2, which the tests use as oracle. Facts are kept under Exiv2's names.

Known to differ: a focal length of 0 from a camera in the reader's own list makes the reader fail (we say USABLE), and
so may an EXIF block whose inner offsets are corrupt.
"""

from __future__ import annotations

import json
import math
import mmap
import re
import struct
from contextlib import suppress
from datetime import UTC, date, datetime, time, tzinfo
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

from ailasd import jpeg
from ailasd.model import Photo, Verdict

if TYPE_CHECKING:
    from pathlib import Path

Facts = dict[str, Any]
"""Exiv2's name of a tag -> its text; a list if the picture has it twice; anything if it comes from JSON."""

LONGEST_TEXT: Final = 64  # of make, model, serial: enough for any real one, short enough for a line of a log

_IMAGE: Final = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0112: "Orientation",
    0x0132: "DateTime",
    0x9003: "DateTimeOriginal",
}
_PHOTO: Final = {
    0x9003: "DateTimeOriginal",
    0x9011: "OffsetTimeOriginal",
    0x9291: "SubSecTimeOriginal",
    0xA431: "BodySerialNumber",
}
_GPS: Final = {
    1: "GPSLatitudeRef",
    2: "GPSLatitude",
    3: "GPSLongitudeRef",
    4: "GPSLongitude",
    5: "GPSAltitudeRef",
    6: "GPSAltitude",
    7: "GPSTimeStamp",
    15: "GPSTrack",
    17: "GPSImgDirection",
    29: "GPSDateStamp",
}
_SUBDIRECTORIES: Final = {0x8769: ("Exif.Photo", _PHOTO), 0x8825: ("Exif.GPSInfo", _GPS)}
_XMP_SPACES: Final = {
    "http://ns.adobe.com/exif/1.0/": "Xmp.exif",
    "http://ns.google.com/photos/1.0/panorama/": "Xmp.GPano",
}
_RDF: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_CLOCKS: Final = (  # where the reader looks for the camera's time, in this order; DateTimeDigitized is not enough
    ("Exif.Photo", "DateTimeOriginal", "SubSecTimeOriginal", "OffsetTimeOriginal"),
    ("Exif.Image", "DateTimeOriginal", "SubSecTimeOriginal", "OffsetTimeOriginal"),
    ("Exif.Image", "DateTime", "SubSecTimeOriginal", "OffsetTime"),
    ("Xmp.GPano", "SourceImageCreateTime", "SubSecTimeOriginal", "OffsetTime"),
    ("Xmp.exif", "DateTimeOriginal", "SubsecTimeOriginal", "OffsetTimeOriginal"),
)

# what the server's reader lets escape on a strange value; the server answers with a refusal, we say BROKEN
_ESCAPES: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error, RecursionError)


def read_file(path: Path) -> Photo:
    """What the picture in that file says about itself.

    Raises:
        OSError: the file cannot be opened or mapped. (A medium that fails under the map ends the process with SIGBUS:
            read our own copy, not the card.)
    """
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return read(b"")  # an empty file cannot be mapped
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return read(data)


def read(data: jpeg.Buffer) -> Photo:
    """What these bytes say about themselves. Never raises: what is no picture is ``BROKEN`` with a ``problem``."""
    header = jpeg.header(data)
    known: dict[str, Any] = {"damage": jpeg.damage(data, header)}
    known["width"], known["height"] = header.size(data) or (None, None)
    if header.scan is None and header.fault:
        return Photo(tags=Verdict.BROKEN, problem=header.fault, **known)
    try:
        facts = _facts(data, header)
        known |= _camera(data, header, facts)
        known |= _place_and_time(facts)
    except _ESCAPES as error:
        problem = str(error) if isinstance(error, _Invalid) else "a value in the metadata makes no sense"
        return Photo(tags=Verdict.BROKEN, problem=problem, **known)
    return Photo(**known)


class _Invalid(ValueError):
    """The reader refuses the picture with these words."""


# -- facts: all tags that matter, as text ------------------------------------------------------------------------------
def _facts(data: jpeg.Buffer, header: jpeg.Header) -> Facts:
    facts: Facts = {}
    block = header.payload(data, jpeg.APP1, jpeg.EXIF)
    if block:
        tiff = jpeg.Tiff.read(block)
        if tiff is None:
            raise _Invalid("the EXIF block is unreadable")
        _collect(facts, tiff, tiff.first, "Exif.Image", _IMAGE)
    facts |= _xmp(header.payload(data, jpeg.APP1, jpeg.XMP) or b"")
    # Mapillary's apps keep everything as JSON in the description, and it wins over the tags
    with suppress(*_ESCAPES):
        facts.update(json.loads(facts["Exif.Image.ImageDescription"]))
    return {name: _without_charset(value) if isinstance(value, str) else value for name, value in facts.items()}


def _without_charset(value: str) -> str:
    return re.sub(r"charset=\S+", "", value).strip()


def _collect(facts: Facts, tiff: jpeg.Tiff, at: int, space: str, names: dict[int, str]) -> None:
    """Add the named tags of one directory, and of those below it: only the main one has any, each once, so no loops."""
    below = dict(_SUBDIRECTORIES) if space == "Exif.Image" else {}
    for entry in tiff.directory(at):
        if entry.tag in below and (pointer := tiff.pointer(entry)) is not None:
            _collect(facts, tiff, pointer, *below.pop(entry.tag))
        if entry.tag in names:
            name, value = f"{space}.{names[entry.tag]}", tiff.words(entry)
            seen = facts.get(name)
            facts[name] = value if seen is None else [*(seen if isinstance(seen, list) else [seen]), value]


def _xmp(packet: bytes) -> Facts:
    """The simple properties of an XMP packet (at most 64 KB: it is one JPEG segment); none if it is malformed."""
    if b"<!" in packet.replace(b"<!--", b""):  # no real packet declares anything; entities are only good for attacks
        return {}
    try:
        root = ET.fromstring(packet.strip(b"\0 \t\r\n"))  # noqa: S314  (declarations were refused just above)
    except (ET.ParseError, ValueError, LookupError):
        return {}
    facts: Facts = {}
    for node in root.findall(f".//{_RDF}RDF/{_RDF}Description") + root.findall(f"{_RDF}Description"):
        for name, value in (*node.items(), *((child.tag, child.text or "") for child in node if not len(child))):
            space, _, local = name.lstrip("{").partition("}")
            if space in _XMP_SPACES:
                facts[f"{_XMP_SPACES[space]}.{local}"] = value
    return facts


# -- reading one value -------------------------------------------------------------------------------------------------
def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.replace("\0", "").strip() else None


def _number(value: Any) -> float | None:
    """A decimal number, or None. A list or an object where a number should be is an escape (TypeError)."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _fraction(value: Any) -> float | None:
    if isinstance(value, str) and len(value.lower().partition("e")[2]) > 4:
        return None  # no number, or "1e999999999", over which Fraction would sit for hours
    try:
        return float(Fraction(value))
    except (ValueError, TypeError, ZeroDivisionError):
        return None


def _fractions(value: Any) -> list[float] | None:
    """Numbers with a blank between ("47/1 30/1 0/1"), or None: one that is no number spoils all."""
    found = [_fraction(word) for word in value.split(" ")] if isinstance(value, str) else []
    return None if None in found else [x for x in found if x is not None] or None


# -- position ----------------------------------------------------------------------------------------------------------
def _position(facts: Facts) -> tuple[float, float] | None:
    """Latitude and longitude in degrees: EXIF first, then XMP, then Mapillary's."""
    found = _degrees(facts, "Exif.GPSInfo") or _degrees(facts, "Xmp.exif")
    if found is None:
        latitude, longitude = _number(facts.get("MAPLatitude")), _number(facts.get("MAPLongitude"))
        found = (latitude, longitude) if latitude is not None and longitude is not None else None
    if found and (abs(found[0]) > 90 or abs(found[1]) > 180):
        raise _Invalid("the position is outside of the world")
    return found


def _degrees(facts: Facts, space: str) -> tuple[float, float] | None:
    """One namespace's position: three fractions each, or one decimal number, or one fraction.

    A missing reference silently means north or east, as the reader has it. One number of exactly zero is no position.
    """
    raw = [facts.get(f"{space}.GPS{axis}") for axis in ("Latitude", "Longitude")]
    signs = [
        -1 if (_text(facts.get(f"{space}.GPS{axis}Ref")) or "").startswith(minus) else 1
        for axis, minus in (("Latitude", "S"), ("Longitude", "W"))
    ]
    latitude, longitude = _fractions(raw[0]), _fractions(raw[1])
    if latitude and longitude and len(latitude) == 3:
        if len(longitude) != 3:
            raise _Invalid("the longitude is broken")
        values = [d + m / 60 + s / 3600 for d, m, s in (latitude, longitude)]
        return signs[0] * values[0], signs[1] * values[1]
    for as_number in (_number, _fraction):
        single = [as_number(value) for value in raw]
        if single[0] is not None and single[1] is not None:
            return (signs[0] * single[0], signs[1] * single[1]) if single[0] and single[1] else None
    return None


# -- time --------------------------------------------------------------------------------------------------------------
def _clock(day: str, hour: int, minute: int, seconds: str, subsec: str = "0") -> datetime:
    """Put a naive time together; decimals of the seconds and sub-seconds: the larger counts. Raises ValueError."""
    micro = int(subsec.removesuffix(".0")[:6].ljust(6, "0"))
    whole, point, decimals = seconds.partition(".")
    if point:
        micro = max(micro, int(decimals.split(".")[0][:6].ljust(6, "0")))
    return datetime.combine(date.fromisoformat(day), time(hour, minute, int(whole), micro))


def _camera_time(facts: Facts) -> datetime | None:
    """The camera's clock: naive, or aware if the picture tells the offset."""
    for space, stamp, subsec, offset in _CLOCKS:
        raw = _text(facts.get(f"{space}.{stamp}"))
        if raw is None:
            continue
        with suppress(ValueError):  # not IndexError: an hour without minutes escapes the server's reader too
            parts = raw[11:].split(":")
            hour, minute = int(parts[0]), int(parts[1])
            fine: Any = facts.get(f"{space}.{subsec}")
            fine = fine if _number(fine) is not None else "0"
            shown = _clock(raw[:10].replace(":", "-"), hour, minute, parts[2] if len(parts) > 2 else "0", fine)
            return shown.replace(tzinfo=_offset(facts.get(f"{space}.{offset}")))
    return None


def _offset(value: Any) -> tzinfo | None:
    try:
        return datetime.fromisoformat(f"2020-01-01T00:00:00{value}").tzinfo
    except ValueError:
        return None


def _gps_time(facts: Facts) -> datetime | None:
    """The satellite clock, aware UTC: EXIF, then XMP, then Mapillary's."""
    for space in ("Exif.GPSInfo", "Xmp.exif"):
        day = _text(facts.get(f"{space}.GPSDateStamp"))
        parts = _gps_clock(facts, space) if day else None
        if day and parts:
            with suppress(ValueError):
                seconds = str(float(parts[2]))
                day = day.replace(":", "-").replace("\0", "").replace("/", "-")
                return _clock(day, int(float(parts[0])), int(float(parts[1])), seconds).replace(tzinfo=UTC)
    with suppress(ValueError, OverflowError):
        year, month, day_of_month, hour, minute, second, milli = map(
            int, (_text(facts.get("MAPGpsTime")) or "").split("_")
        )
        return datetime(year, month, day_of_month, hour, minute, second, milli * 1000, tzinfo=UTC)
    return None


def _gps_clock(facts: Facts, space: str) -> list[float] | list[str] | None:
    """Hours, minutes, seconds, as fractions or as ISO text; or None."""
    stamp = facts.get(f"{space}.GPSTimeStamp")
    found = _fractions(stamp)
    if found is None and isinstance(stamp, str):
        with suppress(ValueError):
            time.fromisoformat(stamp)
            return stamp.split(":")
    return found or _fractions(facts.get(f"{space}.GPSDateTime"))


def _server_takes(camera: datetime | None, gps: datetime | None) -> str | None:
    """The reader's choice (``TimeBySource.getBest``): the GPS, unless only the camera has fractions of a second."""
    if gps is None:
        return "camera" if camera else None
    return "camera" if camera and camera.microsecond > 0 and gps.microsecond == 0 else "gps"


def _place_and_time(facts: Facts) -> dict[str, Any]:
    """All that decides the verdict."""
    position = _position(facts)
    gps, camera = _gps_time(facts), _camera_time(facts)
    if position and camera and not camera.tzinfo and camera.date() in (date.min, date.max):
        raise _Invalid("the date is at the end of time")  # finding its zone overflows in the reader
    heading = _heading(facts)
    _check_panorama(facts)
    altitude = _fraction(facts.get("Exif.GPSInfo.GPSAltitude"))
    below = facts.get("Exif.GPSInfo.GPSAltitudeRef") == "1"
    found: dict[str, Any] = {
        "gps_time": gps,
        "camera_time": camera,
        "server_takes": _server_takes(camera, gps),
        "heading": heading,
        "altitude": -altitude if altitude is not None and below else altitude,
    }
    if position is not None:
        found["latitude"], found["longitude"] = position
    if position is None or position == (0, 0):
        problem = "it has no position" if found["server_takes"] else "it has neither a position nor a date"
        return found | {"tags": Verdict.NO_POSITION, "problem": problem}
    if found["server_takes"] is None:
        return found | {"tags": Verdict.NO_DATE, "problem": "it has no date"}
    return found | {"tags": Verdict.USABLE}


def _heading(facts: Facts) -> float | None:
    """Degrees from north: GPSImgDirection, else Mapillary's compass, else GPSTrack."""
    found = _fraction(facts.get("Exif.GPSInfo.GPSImgDirection"))
    if found is None and "MAPCompassHeading" in facts:
        compass = facts["MAPCompassHeading"]
        found = _number(compass["TrueHeading"]) if "TrueHeading" in compass else None
    if found is None:
        found = _fraction(facts.get("Exif.GPSInfo.GPSTrack"))
    if found is not None and not math.isfinite(found):
        raise _Invalid("the heading makes no sense")
    return found


def _check_panorama(facts: Facts) -> None:
    """Refuse a panorama that tells only in part how it was cropped, as the reader does."""
    crop = [facts.get(f"Xmp.GPano.CroppedArea{x}Pixels") for x in ("ImageWidth", "ImageHeight", "Left", "Top")]
    full = [facts.get(f"Xmp.GPano.FullPano{x}Pixels") for x in ("Width", "Height")]
    has_crop, has_full = [_number(x) is not None for x in crop], [_number(x) is not None for x in full]
    if any(has_full) and all(has_crop):
        for value in (*crop, *(x for x, has in zip(full, has_full, strict=True) if has)):
            int(value)  # type: ignore[arg-type]  # "1.5" escapes
    elif all(has_crop[:2]) and all(has_full) and [int(x) for x in crop[:2]] == [int(x) for x in full]:  # type: ignore[arg-type]
        return
    elif any(has_crop):
        raise _Invalid("it tells only in part how the panorama was cropped")


# -- camera ------------------------------------------------------------------------------------------------------------
def _camera(data: jpeg.Buffer, header: jpeg.Header, facts: Facts) -> dict[str, Any]:
    """Which camera took it, in which recording, and how it was held."""
    own: dict[str, str] = {}
    for key, raw in jpeg.gpmf(header.payload(data, jpeg.APP6, jpeg.GOPRO) or b""):
        own.setdefault(key, raw.split(b"\0", 1)[0].decode("latin-1"))
    make, model = _make_and_model(facts)
    orientation = _number(_text(facts.get("Exif.Image.Orientation"))) or 1
    orientation = int(orientation) if orientation in range(1, 9) else 1
    return {
        "make": _printable(make),
        "model": _printable(model),
        "serial": _printable(own.get("CASN")) or _printable(facts.get("Exif.Photo.BodySerialNumber")),
        "group": _group(facts.get("Exif.Image.ImageDescription")),
        "orientation": orientation,
        # OREN is a GoPro's "auto rotation" at the time: it knew that it hung head down. Since HERO7 it says so to
        # everybody with Orientation 3, which viewers and the server (ImageOps.exif_transpose) obey: then all is well.
        # Without that tag nobody will turn the picture. (Locked to "Up" it does not know: no tag can tell.)
        "upside_down": own.get("OREN") == "D" and orientation != 3,
    }


def _make_and_model(facts: Facts) -> tuple[str | None, str | None]:
    """As the server shows them: "NIKON CORPORATION", "NIKON D70"; but "GoPro", "Max", not "GoPro Max"."""
    make, model = (
        value.replace("\0", "").strip() if (value := facts.get(tag) or facts.get(other)) is not None else None
        for tag, other in (("Exif.Image.Make", "MAPDeviceMake"), ("Exif.Image.Model", "MAPDeviceModel"))
    )
    if make is not None and model is not None and model.startswith(make) and len(model) > len(make):
        model = model.replace(make, "").strip()
    return make, model


_GROUP: Final = re.compile(r"[\\/]G(\d{3})\d{4}\.(?:JPG|GPR)?[.\s]*$", re.IGNORECASE)


def _group(description: Any) -> str | None:
    """The recording's number in the path that a GoPro writes: ``DCIM/100GOPRO/G0128330.JPG`` -> "012"."""
    found = _GROUP.search(description) if isinstance(description, str) else None
    return found[1] if found else None


def _printable(value: Any) -> str | None:
    """A short line without control characters, or None."""
    if not isinstance(value, str):
        return None
    line = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return line[:LONGEST_TEXT].strip() or None
