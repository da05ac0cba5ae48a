"""Pictures and cards as a GoPro writes them, made in milliseconds: for ``ailasd demo`` and for the tests.

The layout follows real files of HERO6 to HERO11 and MAX: big-endian EXIF in APP1, an MPF index in APP2, settings in
APP6 (GPMF), then a small picture, then (MPO) a second JPEG as preview.
"""

from __future__ import annotations

import io
import math
import os
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from PIL.Image import Image

EARTH_RADIUS_M: Final = 6_371_000.0  # the server's own
FILES_PER_FOLDER: Final = 999  # then a GoPro opens the next folder
LAST_NUMBER: Final = 9999  # then the file number starts again at 1

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
_SIZE: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_CODE: Final = {SHORT: "H", LONG: "I", RATIONAL: "I"}


@dataclass(frozen=True, slots=True)
class Tag:
    """One TIFF entry as it is written, right or wrong: ``raw`` is its value in the block's byte order (big-endian).

    Attributes:
        count: how many values it claims; None: as many as ``raw`` holds.
    """

    kind: int
    raw: bytes
    count: int | None = None


def text(value: str | bytes) -> Tag:
    """An ASCII tag; bytes are taken as they are, a string is ended with NUL as EXIF wants it."""
    return Tag(ASCII, value if isinstance(value, bytes) else value.encode() + b"\0")


def numbers(kind: int, *values: int) -> Tag:
    """A SHORT or LONG tag; for RATIONAL: numerator, denominator, numerator, ..."""
    return Tag(kind, struct.pack(f">{len(values)}{_CODE[kind]}", *values))


def degrees(value: float) -> Tag:
    """An angle without its sign as EXIF's degrees, minutes and seconds (to 1/10 000 s, 3 mm)."""
    total = round(abs(value) * 36_000_000)
    minutes, parts = divmod(total, 600_000)
    return numbers(RATIONAL, minutes // 60, 1, minutes % 60, 1, parts, 10_000)


Tags = dict[tuple[str, int], Tag]
"""What an EXIF block holds: (``"0th"``, ``"exif"`` or ``"gps"``, tag number) -> tag."""


def exif(tags: Mapping[tuple[str, int], Tag]) -> bytes:
    """A big-endian TIFF block of the main, the EXIF and (if it has any tag) the GPS directory."""
    pointers = {"exif": 0x8769, "gps": 0x8825}
    parts = {name: {n: tag for (where, n), tag in tags.items() if where == name} for name in ("0th", "exif", "gps")}
    for name, number in pointers.items():
        if parts[name] and number not in parts["0th"]:
            parts["0th"][number] = numbers(LONG, 0)
    at, block = 8, b""
    offsets: dict[str, int] = {}
    for name in ("exif", "gps", "0th"):  # the main one last: it must know where the others are
        for other, number in pointers.items():
            if name == "0th" and parts["0th"].get(number) == numbers(LONG, 0) and other in offsets:
                parts["0th"][number] = numbers(LONG, offsets[other])
        if parts[name] or name == "0th":
            offsets[name] = at
            block += directory(parts[name], at)
            at = 8 + len(block)
    return b"MM\0*" + struct.pack(">I", offsets["0th"]) + block


def directory(tags: Mapping[int, Tag], at: int) -> bytes:
    """One TIFF directory with its values behind it, to lie at offset ``at``."""
    table, values = struct.pack(">H", len(tags)), b""
    behind = at + 2 + 12 * len(tags) + 4
    for number, tag in sorted(tags.items()):
        count = len(tag.raw) // _SIZE.get(tag.kind, 1) if tag.count is None else tag.count
        table += struct.pack(">HHI", number, tag.kind, count)
        if len(tag.raw) <= 4:
            table += tag.raw.ljust(4, b"\0")
        else:
            table += struct.pack(">I", behind + len(values))
            values += tag.raw + b"\0" * (len(tag.raw) % 2)
    return table + b"\0\0\0\0" + values


def segment(marker: int, payload: bytes) -> bytes:
    """One JPEG marker segment (payload at most 65 533 bytes)."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def klv(key: str, kind: str, payload: bytes, *, size: int | None = None) -> bytes:
    """One GPMF item, padded to 32 bits; ``kind`` "" makes a container."""
    size = size or 1
    head = key.encode() + struct.pack(">BBH", ord(kind) if kind else 0, size, len(payload) // size)
    return head + payload + b"\0" * (-len(payload) % 4)


def settings(*, model: str, serial: str, auto_rotation: str | None, seed: int = 0) -> bytes:
    """What a GoPro tells of itself in APP6: its serial (CASN), model (MINF), auto rotation (OREN: U, D, A)."""
    stream = klv("FMWR", "c", b"H24.01.02.02.00") + klv("CASN", "c", serial.encode())
    stream += klv("MINF", "c", model.encode().ljust(30, b"\0"))
    stream += klv("MUID", "L", _noise(seed, 32), size=4)
    if auto_rotation:
        stream += klv("OREN", "c", auto_rotation[:1].encode())
    stream += klv("DZOM", "c", b"N") + klv("PRES", "c", b"27MP_W")
    device = klv("DVID", "L", b"\0\0\0\1", size=4) + klv("DVNM", "c", b"Global Settings") + klv("STRM", "", stream)
    return b"GoPro\0" + klv("DEVC", "", device)


def tags_of(
    *,
    camera_time: datetime | None,
    subsec: str | None,
    offset: str | None,
    gps_time: datetime | None,
    position: tuple[float, float] | None,
    heading: float | None,
    make: str | None,
    model: str | None,
    serial: str | None,
    group_path: str | None,
    orientation: int | None,
) -> Tags:
    """The tags that a GoPro writes for these facts; without a fix it writes no GPS directory at all."""
    tags: Tags = {}
    for key, value in ((0x010E, group_path), (0x010F, make), (0x0110, model)):
        if value is not None:
            tags["0th", key] = text(value)
    if orientation is not None:
        tags["0th", 0x0112] = numbers(SHORT, orientation)
    if camera_time is not None:
        stamp = text(camera_time.strftime("%Y:%m:%d %H:%M:%S"))
        tags |= {("0th", 0x0132): stamp, ("exif", 0x9003): stamp, ("exif", 0x9004): stamp}
    tags["exif", 0x920A] = numbers(RATIONAL, 271, 100)  # focal length in mm
    for number, value in ((0x9011, offset), (0x9291, subsec), (0xA431, serial)):
        if value is not None:
            tags["exif", number] = text(value)
    if position is not None:
        latitude, longitude = position
        tags["gps", 1] = text("S" if latitude < 0 else "N")
        tags["gps", 2] = degrees(latitude)
        tags["gps", 3] = text("W" if longitude < 0 else "E")
        tags["gps", 4] = degrees(longitude)
        tags |= {("gps", 5): Tag(BYTE, b"\0"), ("gps", 6): numbers(RATIONAL, 1_275_000, 1000)}
    if gps_time is not None:
        utc = gps_time.astimezone(UTC)
        tags["gps", 7] = numbers(RATIONAL, utc.hour, 1, utc.minute, 1, utc.second, 1)
        tags["gps", 29] = text(utc.strftime("%Y:%m:%d"))
    if heading is not None:
        tags["gps", 17] = numbers(RATIONAL, round(heading * 100), 100)
    return tags


def _noise(seed: int, length: int) -> bytes:
    """Always the same bytes for a seed."""
    return Random(seed).randbytes(length)  # noqa: S311  (nothing secret about it)


@lru_cache(maxsize=4)  # a preview is the same for a whole drive
def body(seed: int, size: tuple[int, int], options: tuple[tuple[str, int], ...] = ()) -> bytes:
    """A decodable JPEG without metadata, different for each seed: coloured noise, so that the scan is not trivial."""
    made = io.BytesIO()
    kept = {"quality": 75, **dict(options)}
    _colours(seed, size).save(made, "JPEG", **kept)
    data = made.getvalue()
    return data[:2] + data[4 + int.from_bytes(data[4:6], "big") :]  # without its JFIF segment, as cameras write it


def _colours(seed: int, size: tuple[int, int]) -> Image:
    from PIL import Image  # noqa: PLC0415  (costs 60 ms and 8 MB: only when a picture is made)

    # 64 x 48 samples whatever the size: making a large picture must not cost more random numbers
    small = Image.frombytes("RGB", (64, 48), _noise(seed, 64 * 48 * 3))
    return small if size == small.size else small.resize(size)


def jpeg(
    *,
    camera_time: datetime | None = datetime(2026, 3, 4, 9, 30, 5),  # noqa: DTZ001  (a GoPro writes naive local time)
    subsec: str | None = "123",
    offset: str | None = None,
    gps_time: datetime | None = datetime(2026, 3, 4, 6, 30, 5, tzinfo=UTC),
    position: tuple[float, float] | None = (-18.9, 47.5),
    heading: float | None = None,
    make: str | None = "GoPro",
    model: str | None = "HERO13 Black",
    serial: str | None = "C3531325123456",
    group_path: str | None = "DCIM/100GOPRO/G0010001.JPG",
    auto_rotation: str | None = "Up",
    orientation: int | None = 1,
    size: tuple[int, int] = (64, 48),
    seed: int = 0,
    mpo: bool = True,
    pad_to: int | None = None,
    save: Mapping[str, int] | None = None,
    exif_extra: Mapping[tuple[str, int], Tag | None] | None = None,
    exif_block: bytes | None = None,
    xmp: str | bytes | None = None,
) -> bytes:
    """A picture as a Hero 13 takes it on a road of Madagascar; None leaves a fact out.

    Args:
        camera_time: written as it reads, without conversion (naive local time for a GoPro).
        subsec: decimal places of ``camera_time``, as text.
        offset: of ``camera_time`` to UTC ("+03:00"); a Hero 10 writes none, a Hero 11 does.
        gps_time: aware; written as UTC in whole seconds, as GoPros do.
        position: latitude, longitude in degrees.
        heading: degrees from north; GoPros write none.
        make: of the camera; "GoPro" with a ``serial`` also writes GoPro's own settings (APP6).
        model: of the camera.
        serial: of the camera.
        group_path: ImageDescription: where a GoPro stored the picture.
        auto_rotation: "Up", "Down" or "Auto", in the settings.
        orientation: EXIF's, 1 to 8.
        size: width, height in pixels.
        seed: pictures of different seeds have different bytes.
        mpo: append a second, smaller JPEG and an MPF index, as GoPros do.
        pad_to: exact size of the file in bytes. The filler is random APP15 segments of the last JPEG in the file:
            legal, skipped by every decoder, incompressible.
        save: options for Pillow's JPEG writer (``progressive``, ``restart_marker_blocks``, ``optimize``, ...).
        exif_extra: tags to set (or, with None, to leave out) by (directory, number): see ``Tags``.
        exif_block: a whole TIFF block instead, however broken.
        xmp: an XMP packet.

    Raises:
        ValueError: ``pad_to`` is smaller than the picture, or 1 to 3 bytes larger.
    """
    if exif_block is None:
        tags = tags_of(
            camera_time=camera_time,
            subsec=subsec,
            offset=offset,
            gps_time=gps_time,
            position=position,
            heading=heading,
            make=make,
            model=model,
            serial=serial,
            group_path=group_path,
            orientation=orientation,
        )
        tags |= {key: tag for key, tag in (exif_extra or {}).items() if tag is not None}
        for key in (key for key, tag in (exif_extra or {}).items() if tag is None):
            tags.pop(key, None)
        exif_block = exif(tags)
    before = segment(0xE1, b"Exif\0\0" + exif_block) if exif_block else b""
    if xmp is not None:
        packet = xmp if isinstance(xmp, bytes) else xmp.encode()
        before += segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)
    after = b""
    if make == "GoPro" and serial is not None:
        after = segment(0xE6, settings(model=model or "", serial=serial, auto_rotation=auto_rotation, seed=seed))
    picture = body(seed, size, tuple(sorted((save or {}).items())))
    return assemble(before, after, picture, preview=body(0, (16, 12)) if mpo else b"", pad_to=pad_to, seed=seed)


def assemble(before: bytes, after: bytes, picture: bytes, *, preview: bytes, pad_to: int | None, seed: int) -> bytes:
    """Put the parts together: ``before``, MPF index (if there is a preview), ``after``, the picture, the preview."""
    index = segment(0xE2, mpf(0, 0, 0)) if preview else b""
    length = 2 + len(before) + len(index) + len(after) + len(picture) - 2
    filler = padding(pad_to - length - len(preview), seed) if pad_to is not None else b""
    parts = [picture[:2], before, index, after]
    if preview:
        # an MPF offset counts from its own TIFF header, which is 8 bytes into its segment
        parts[2] = segment(0xE2, mpf(length, len(preview) + len(filler), length - (2 + len(before) + 8)))
        parts += [picture[2:], preview[:2], filler, preview[2:]]
    else:
        parts += [filler, picture[2:]]
    return b"".join(parts)


def mpf(first: int, second: int, second_at: int) -> bytes:
    """The MPF index (CIPA DC-007) of a main picture of ``first`` bytes and a preview of ``second`` bytes."""
    entries = struct.pack(">IIIHH", 0xA0030000, first, 0, 2, 0) + struct.pack(
        ">IIIHH", 0x40010001, second, second_at, 0, 0
    )
    tags = {0xB000: Tag(UNDEFINED, b"0100"), 0xB001: numbers(LONG, 2), 0xB002: Tag(UNDEFINED, entries)}
    return b"MPF\0MM\0*\0\0\0\x08" + directory(tags, 8)


def padding(length: int, seed: int) -> bytes:
    """APP15 segments of exactly ``length`` bytes (0, or 4 and more)."""
    if length < 0 or 0 < length < 4:
        raise ValueError(f"cannot pad by {length} bytes")
    pieces, at = [], 0
    noise = _noise(seed, min(length, 1 << 20))  # repeats beyond the reach of a compressor, and costs 3 ms, not 20
    while at < length:
        take = min(length - at, 65_537)
        if 0 < length - at - take < 4:  # what remains must hold at least a segment's head
            take -= 4
        begin = at % max(1, len(noise) - take + 1)
        pieces.append(segment(0xEF, noise[begin : begin + take - 4]))
        at += take
    return b"".join(pieces)


def drive(
    *,
    start: datetime,
    n: int,
    every_s: float = 5,
    speed_kmh: float = 40,
    origin: tuple[float, float] = (-18.9, 47.5),
    bearing: float = 200,
    clock_error: timedelta = timedelta(0),
    utc_offset: timedelta = timedelta(hours=3),
    group: int = 1,
    folder: int = 100,
    first: int = 1,
    seed: int = 0,
    no_fix: Sequence[int] = (),
    **facts: object,
) -> Iterator[tuple[str, bytes, float]]:
    """One press of the shutter: ``n`` time-lapse pictures along a straight road.

    Args:
        start: aware; when the first picture was really taken.
        n: how many pictures.
        every_s: seconds between two of them.
        speed_kmh: 0 is a parked vehicle.
        origin: latitude, longitude of the first one.
        bearing: degrees from north.
        clock_error: how far the camera's clock is ahead of the truth.
        utc_offset: of the place; the camera's clock shows local time.
        group: number of this recording on the card.
        folder: number of the first folder, taken to be empty.
        first: number of the first file; goes on across folders and after 9999 begins again at 1.
        seed: of the first picture; one more for each.
        no_fix: indices of the pictures that have neither position nor GPS time.
        facts: anything else that ``jpeg`` takes.

    Yields:
        Path relative to the card, the bytes, and the time of change as a card tells it (local time read as UTC).
    """
    for i in range(n):
        taken = start.astimezone(UTC) + timedelta(seconds=i * every_s)
        shown = (taken + clock_error + utc_offset).replace(tzinfo=None)
        number = (first - 1 + i) % LAST_NUMBER + 1
        name = f"DCIM/{folder + i // FILES_PER_FOLDER}GOPRO/G{group:03d}{number:04d}.JPG"
        fix = i not in no_fix
        made = {
            "camera_time": shown,
            "subsec": f"{shown.microsecond // 1000 or 123:03d}",
            "gps_time": taken if fix else None,
            "position": along(origin, bearing, i * every_s * speed_kmh / 3.6) if fix else None,
            "group_path": name,
            "seed": seed + i,
        }
        yield name, jpeg(**(made | facts)), shown.replace(tzinfo=UTC).timestamp()  # type: ignore[arg-type]


def along(origin: tuple[float, float], bearing: float, metres: float) -> tuple[float, float]:
    """Where one is after so many metres: flat-earth, right to 1 m over the 50 km of a demo drive's leg."""
    north = metres * math.cos(math.radians(bearing)) / EARTH_RADIUS_M
    east = metres * math.sin(math.radians(bearing)) / (EARTH_RADIUS_M * math.cos(math.radians(origin[0])))
    return origin[0] + math.degrees(north), origin[1] + math.degrees(east)


def write_card(
    folder: Path,
    entries: Iterable[tuple[str, bytes, float]],
    *,
    model: str = "HERO13 Black",
    serial: str = "C3531325123456",
) -> None:
    """Write files with their times below ``folder``, and ``MISC/version.txt`` in GoPro's nearly-JSON."""
    for name, data, mtime in entries:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (mtime, mtime))
    version = folder / "MISC" / "version.txt"
    version.parent.mkdir(parents=True, exist_ok=True)
    version.write_text(
        "{\n"
        '"info version":"2.0"\n'
        ',"firmware version":"H24.01.02.02.00"\n'
        f',"camera type":"{model}"\n'
        f',"camera serial number":"{serial}"\n'
        "}\n"
    )
