"""Pictures that lie: JPEG files made to stop, mislead or bloat whoever reads them, each by its name."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ailasd.demo import pictures
from ailasd.demo.pictures import ASCII, LONG, RATIONAL, SHORT, Tag, klv, numbers, segment, text

if TYPE_CHECKING:
    from collections.abc import Callable

IFD0, EXIF, GPS = "0th", "exif", "gps"


def picture(seed: int = 71, **how: Any) -> bytes:
    """A picture that is good but for what ``how`` says."""
    return pictures.jpeg(seed=seed, **how)


@dataclass(frozen=True, slots=True)
class Lie:
    """``data`` makes the file; ``held``: whether it must be held, may be queued (False), or either (None)."""

    data: Callable[[], bytes]
    held: bool | None = None


def tagged(**tags: Any) -> Callable[[], bytes]:
    """A picture with these tags: ``gps_2=...`` is number 2 of the GPS directory."""
    extra = {
        (name.partition("_")[0].replace("main", IFD0), int(name.partition("_")[2], 0)): tag
        for name, tag in tags.items()
    }
    return lambda: picture(exif_extra=extra)


def tiff(*directories: bytes) -> bytes:
    """A big-endian TIFF block of these directories, as they are."""
    return b"MM\0*\0\0\0\x08" + b"".join(directories)


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    """One entry of a directory, without its value."""
    return struct.pack(">HHII", tag, kind, count, value)


def directory(*entries: bytes, after: int = 0) -> bytes:
    """A directory of these entries, then the offset of the next one."""
    return struct.pack(">H", len(entries)) + b"".join(entries) + struct.pack(">I", after)


def block(*directories: bytes) -> Callable[[], bytes]:
    """A picture with that TIFF block for its EXIF."""
    return lambda: picture(exif_block=tiff(*directories))


def inserted(*segments: bytes) -> bytes:
    """A good picture with segments more, right at its beginning."""
    whole = picture()
    return whole[:2] + b"".join(segments) + whole[2:]


def sized(width: int, height: int) -> bytes:
    """A good picture whose frame says that it is as large as that."""
    whole = bytearray(picture(mpo=False))
    at = whole.index(b"\xff\xc0")
    whole[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(whole)


def with_settings(payload: bytes) -> bytes:
    """A GoPro's picture with that GPMF block."""
    whole = picture(serial=None)
    return whole[:2] + segment(0xE6, b"GoPro\0" + payload) + whole[2:]


def rational(*values: int) -> Tag:
    """Numerators and denominators."""
    return numbers(RATIONAL, *values)


def mpf(offset: int, size: int) -> bytes:
    """A picture whose index of further pictures points there."""
    whole = picture(mpo=False)
    return whole[:2] + segment(0xE2, pictures.mpf(len(whole), size, offset)) + whole[2:]


HUGE: Final = 0xFFFFFFFF
XMP_BOMB: Final = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><a>&b;&b;&b;</a>'

PICTURES: Final[dict[str, Lie]] = {
    # tables that lead nowhere, or round and round
    "exif_next_directory_loops": Lie(block(directory(entry(0x0112, SHORT, 1, 1 << 16), after=8)), held=True),
    "exif_subdirectory_is_the_main_one": Lie(
        block(directory(entry(0x8769, LONG, 1, 8), entry(0x8825, LONG, 1, 8))), held=True
    ),
    "exif_pointers_in_a_circle": Lie(
        block(directory(entry(0x8769, LONG, 1, 26)), directory(entry(0x8769, LONG, 1, 8), after=8)), held=True
    ),
    "exif_huge_counts": Lie(
        block(
            directory(*(entry(tag, kind, HUGE, HUGE) for tag, kind in ((0x010F, ASCII), (0x0110, 12), (0x8825, LONG))))
        ),
        held=True,
    ),
    "exif_65535_entries": Lie(
        lambda: picture(exif_block=tiff(b"\xff\xff" + b"\x01\x0f\0\2\0\0\0\4abcd" * 5000)), held=True
    ),
    "exif_256_times_the_same": Lie(
        block(directory(*(entry(0x0110, ASCII, 3000, 26) for _ in range(256))), b"A" * 9000), held=True
    ),
    "exif_offsets_outside": Lie(
        block(directory(entry(0x8769, LONG, 1, HUGE), entry(0x0110, ASCII, 90, HUGE - 8))), held=True
    ),
    "exif_no_tiff": Lie(lambda: picture(exif_block=b"\0" * 4000), held=True),
    "exif_cut_in_its_first_entry": Lie(lambda: picture(exif_block=b"MM\0*\0\0\0\x08\0\x09\x01"), held=True),
    "index_points_outside": Lie(lambda: mpf(HUGE, HUGE), held=False),
    "index_points_at_itself": Lie(lambda: mpf(0, 1 << 31), held=False),
    "index_of_4_billion": Lie(
        lambda: inserted(
            segment(0xE2, b"MPF\0" + tiff(directory(entry(0xB001, LONG, 1, HUGE), entry(0xB002, 7, HUGE, 50))))
        )
    ),
    # values that make no sense
    "gps_denominators_of_zero": Lie(
        tagged(gps_2=rational(18, 0, 54, 0, 0, 0), gps_4=rational(47, 0, 30, 0, 0, 0)), held=True
    ),
    "gps_zero_by_zero": Lie(
        tagged(gps_2=rational(0, 0, 0, 0, 0, 0), gps_6=rational(0, 0), gps_7=rational(0, 0, 0, 0, 0, 0))
    ),
    "gps_out_of_the_world": Lie(tagged(gps_2=rational(4_000_000_000, 1, 0, 1, 0, 1)), held=True),
    "gps_not_a_number": Lie(tagged(gps_2=text("nan"), gps_4=text("inf"))),
    "gps_time_of_99_hours": Lie(tagged(gps_7=rational(99, 1, 99, 1, 99, 1), gps_29=text("9999:99:99"))),
    "gps_direction_infinite": Lie(tagged(gps_17=rational(1, 0), gps_15=text("1e999"))),
    "altitude_1e400": Lie(tagged(gps_6=text("1e400"))),
    "date_9999": Lie(tagged(main_0x132=text("9999:12:31 23:59:59"), exif_0x9003=text("9999:12:31 23:59:59"))),
    "date_0001": Lie(tagged(main_0x132=text("0001:01:01 00:00:00"), exif_0x9003=text("0001:01:01 00:00:00"))),
    "date_0001_with_offset": Lie(
        tagged(exif_0x9003=text("0001:01:01 00:00:00"), exif_0x9011=text("+14:00")),
    ),
    "date_9999_with_offset": Lie(
        tagged(exif_0x9003=text("9999:12:31 23:59:59"), exif_0x9011=text("-14:00"), gps_29=text("9999:12:31")),
    ),
    "date_0002_both_clocks": Lie(tagged(exif_0x9003=text("0002:01:01 00:00:00"), gps_29=text("0001:01:01"))),
    "date_0000": Lie(tagged(main_0x132=text("0000:00:00 00:00:00"), exif_0x9003=text("0000:00:00 00:00:00"))),
    "date_clocks_8000_years_apart": Lie(tagged(exif_0x9003=text("9998:12:31 23:59:59"), gps_29=text("2026:03:04"))),
    "date_of_words": Lie(
        tagged(exif_0x9003=text("\x1b[2Jyesterday..............."), main_0x132=text("::::::::::::::::"))
    ),
    "date_of_bytes": Lie(tagged(exif_0x9003=Tag(7, b"\xff" * 20), exif_0x9291=Tag(ASCII, b"\xff" * 400))),
    "subseconds_of_a_book": Lie(tagged(exif_0x9291=text("9" * 5000))),
    "offset_of_99_hours": Lie(tagged(exif_0x9011=text("+99:99"))),
    "orientation_65535": Lie(tagged(main_0x112=numbers(SHORT, 65535)), held=False),
    # texts that want to be something else
    "description_path_traversal": Lie(lambda: picture(group_path="../../../../etc/cron.d/G0020001.JPG"), held=False),
    "description_terminal_escapes": Lie(lambda: picture(group_path="\x1b]0;x\x07\x1b[2J\r\n/G0020001.JPG"), held=False),
    "description_deep_json": Lie(lambda: picture(group_path='{"a":' * 3000 + "1" + "}" * 3000)),
    "description_json_of_positions": Lie(
        lambda: picture(group_path='{"MAPLatitude": 1e308, "MAPLongitude": [], "MAPCompassHeading": 7}'), held=True
    ),
    "description_json_large_number": Lie(lambda: picture(group_path='{"MAPLatitude": ' + "9" * 5000 + "}")),
    "maker_is_a_path": Lie(lambda: picture(make="../../etc", model="/root/.ssh", serial="a/../b\n"), held=False),
    "model_terminal_escapes": Lie(lambda: picture(model="\x1b[2J\x07\x9b\u202e", serial="\x1b[31mC1"), held=False),
    "serial_of_60_kilobytes": Lie(
        lambda: picture(make="X", exif_extra={(EXIF, 0xA431): text("S" * 50_000)}), held=False
    ),
    "texts_in_invalid_utf8": Lie(
        tagged(main_0x10F=Tag(ASCII, b"\xff\xfe\x80" * 50), main_0x110=Tag(ASCII, b"\xed\xa0\x80"))
    ),
    "maker_note_garbage": Lie(tagged(exif_0x927C=Tag(7, bytes(range(256)) * 100)), held=False),
    "xmp_entity_bomb": Lie(lambda: picture(xmp=XMP_BOMB), held=False),
    "xmp_deeply_nested": Lie(lambda: picture(xmp=b"<a>" * 15_000), held=False),
    "xmp_external_entity": Lie(
        lambda: picture(xmp=b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'), held=False
    ),
    # GoPro's own settings
    "gpmf_bad_sizes": Lie(lambda: with_settings(b"DEVC\0\xff\xff\xff" + b"CASNc\xff\xff\xffC1"), held=False),
    "gpmf_of_zero_sizes": Lie(lambda: with_settings(b"DEVC\0\0\0\0" * 8000), held=False),
    "gpmf_containers_in_containers": Lie(lambda: with_settings(_nested(40)), held=False),
    "gpmf_serial_of_escapes": Lie(lambda: with_settings(klv("CASN", "c", b"\x1b[2J\n\xff" * 20)), held=False),
    # bodies
    "bomb_65535_by_65535": Lie(lambda: sized(65535, 65535), held=False),
    "of_no_size": Lie(lambda: sized(0, 0), held=True),
    "comment_of_100_megabytes": Lie(lambda: inserted(*[segment(0xFE, b"c" * 65_533)] * 1600), held=False),
    "ten_thousand_segments": Lie(lambda: inserted(*[segment(0xE0, b"")] * 12_000), held=True),
    "all_ff": Lie(lambda: b"\xff\xd8" + b"\xff" * 8_000_000, held=True),
    "zero_tail": Lie(lambda: _tail(b"\0"), held=True),
    "erased_tail": Lie(lambda: _tail(b"\xff"), held=True),
    "cut_off": Lie(lambda: picture()[:1500], held=True),
    "one_byte": Lie(lambda: b"\xff", held=True),
    "is_an_html_page": Lie(lambda: b"<html><script>alert(1)</script>" * 100, held=True),
    "is_a_zip_behind_a_picture": Lie(lambda: picture() + b"PK\3\4" + b"z" * 4000 + b"PK\5\6" + b"\0" * 18, held=False),
    "is_a_program": Lie(lambda: b"#!/bin/sh\nreboot\n" + picture(), held=True),
    "is_a_png": Lie(lambda: b"\x89PNG\r\n\x1a\n" + bytes(2000), held=True),
}


def _tail(filler: bytes) -> bytes:
    """A picture whose last two thirds were never written: a card pulled too early."""
    whole = picture(mpo=False)
    return whole[: len(whole) // 3] + filler * (len(whole) * 2 // 3)


def _nested(levels: int) -> bytes:
    payload = klv("CASN", "c", b"C1")
    for _ in range(levels):
        payload = klv("STRM", "", payload)
    return payload
