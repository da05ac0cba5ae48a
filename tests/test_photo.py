"""What a picture says about itself, against the server's own reader (geopic-tag-reader)."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from geopic_tag_reader import reader
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ailasd import photo
from ailasd.demo import pictures
from ailasd.demo.pictures import ASCII, BYTE, LONG, RATIONAL, SHORT, Tag, numbers, text
from ailasd.model import Verdict

NORTH, LAT, EAST, LON = ("gps", 1), ("gps", 2), ("gps", 3), ("gps", 4)
GPS_TIME, GPS_DATE, TAKEN, SUBSEC, OFFSET = (
    ("gps", 7),
    ("gps", 29),
    ("exif", 0x9003),
    ("exif", 0x9291),
    ("exif", 0x9011),
)


def server_says(data):
    """The verdict, and the tags as far as there are any, of the server's reader."""
    try:
        return Verdict.USABLE, reader.readPictureMetadata(data)
    except reader.PartialExifException as error:
        missing = error.missing_mandatory_tags
        return Verdict.NO_POSITION if missing & {"lat", "lon"} or missing == set() else Verdict.NO_DATE, error.tags
    except Exception:  # noqa: BLE001  (whatever it is, the server refuses the picture)
        return Verdict.BROKEN, None


def check(data):
    """Everything that the server would read from these bytes, we read the same."""
    verdict, tags = server_says(data)
    ours = photo.read(data)
    assert ours.tags is verdict, (ours.problem, tags)
    assert (ours.problem is None) == (verdict is Verdict.USABLE)
    if tags is None:
        return ours
    for mine, theirs in ((ours.latitude, tags.lat), (ours.longitude, tags.lon)):
        assert (mine is None) == (theirs is None)
        assert theirs is None or mine == pytest.approx(theirs, abs=1e-6)
    clocks = tags.ts_by_source or reader.TimeBySource()
    assert ours.gps_time == clocks.gps
    assert (ours.camera_time is None) == (clocks.camera is None)
    if ours.camera_time is not None and clocks.camera is not None:
        assert ours.camera_time.replace(tzinfo=None) == clocks.camera.replace(tzinfo=None)
        if ours.camera_time.tzinfo:
            assert ours.camera_time == clocks.camera
    best = clocks.getBest()
    assert ours.server_takes == (None if best is None else "camera" if best is clocks.camera else "gps")
    assert (ours.make, ours.model) == (photo._printable(tags.make), photo._printable(tags.model))
    assert (None if ours.heading is None else round(ours.heading)) == tags.heading
    assert (None if ours.altitude is None else round(ours.altitude)) == tags.altitude
    return ours


# -- real pictures: collected only where they are -------------------------------------------------------------------
REAL = Path(__file__).parents[2] / "shared" / "data"

if REAL.is_dir():
    JPEGS = sorted(str(path.relative_to(REAL)) for path in REAL.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})

    @pytest.mark.parametrize("name", JPEGS)
    def test_real_picture_is_judged_as_the_server_does(name):
        """On each real picture: verdict, position, clocks, camera and heading are the server's."""
        assert photo.read_file(REAL / name) == check((REAL / name).read_bytes())

    @pytest.mark.parametrize(
        ("name", "serial", "group"),
        [
            ("HERO6_GoPro.jpg", "C3221324657219", None),
            ("MAX_GSAG2002.JPG", "C3353424686268", None),
            ("HERO11_2024-04-30_G012.JPG", "C3471327755785", "012"),
        ],
    )
    def test_real_gopro_tells_its_serial_and_group(name, serial, group):
        """Serial from GPMF and group from the path, as exiftool shows them for these files."""
        ours = photo.read_file(REAL / "gopro" / name)
        assert (ours.serial, ours.group, ours.upside_down) == (serial, group, False)


# -- the reader's rules, one by one ------------------------------------------------------------------------------------
def test_good_gopro_picture():
    """A Hero 13 picture of Madagascar is usable, and the server takes the camera's clock because of its sub-seconds."""
    ours = check(pictures.jpeg())
    assert ours.verdict is Verdict.USABLE
    assert (ours.latitude, ours.longitude) == pytest.approx((-18.9, 47.5), abs=1e-6)
    assert ours.camera_time == datetime(2026, 3, 4, 9, 30, 5, 123000)
    assert ours.gps_time == datetime(2026, 3, 4, 6, 30, 5, tzinfo=UTC)
    assert (ours.server_takes, ours.camera, ours.group, ours.make, ours.model) == (
        "camera",
        "C3531325123456",
        "001",
        "GoPro",
        "HERO13 Black",
    )
    assert (ours.width, ours.height, ours.altitude, ours.heading) == (64, 48, 1275, None)


def packet(body):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        f'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" {body}</rdf:RDF></x:xmpmeta>'
    )


BARE: dict[str, Any] = {"position": None, "gps_time": None, "camera_time": None}
PLACE = 'exif:GPSLatitude="18.9" exif:GPSLongitude="47.5" exif:GPSLatitudeRef="S"'
MAPILLARY = (
    '{"MAPLatitude": -18.9, "MAPLongitude": 47.5, "MAPGpsTime": "2026_03_04_06_30_05_120", '
    '"MAPDeviceMake": "Acme", "MAPDeviceModel": "Acme One", "MAPCompassHeading": {"TrueHeading": 12.6}}'
)
EMPTY_GPS = b"MM\0*\0\0\0\x08" + pictures.directory({0x8825: numbers(LONG, 26)}, 8) + b"\0\0"  # a count of 0 at 26
N, P, D, B = Verdict.USABLE, Verdict.NO_POSITION, Verdict.NO_DATE, Verdict.BROKEN
CASES: dict[str, tuple[Verdict, dict[str, Any]]] = {
    "no latitude reference is north": (N, {"exif_extra": {NORTH: None, EAST: None}}),
    "south west": (N, {"position": (-18.9, -47.5)}),
    "odd references": (N, {"exif_extra": {NORTH: text("South"), EAST: text("x")}}),
    "reference of the wrong type": (N, {"exif_extra": {NORTH: Tag(BYTE, b"S")}}),
    "no position": (P, {"position": None}),
    "neither position nor date": (P, BARE),
    "zero and zero": (P, {"position": (0.0, 0.0)}),
    "on the equator": (N, {"position": (0.0, 47.5)}),
    "on the meridian": (N, {"position": (51.0, 0.0)}),
    "rationals 0/1": (P, {"exif_extra": {LAT: numbers(RATIONAL, *[0, 1] * 3), LON: numbers(RATIONAL, *[0, 1] * 3)}}),
    "rationals 0/0": (P, {"exif_extra": {LAT: numbers(RATIONAL, *[0, 0] * 3)}}),
    "denominator 0 in the seconds": (P, {"exif_extra": {LAT: numbers(RATIONAL, 18, 1, 54, 1, 5, 0)}}),
    "no seconds in the latitude": (P, {"exif_extra": {LAT: numbers(RATIONAL, 18, 1, 54, 1)}}),
    "no seconds in the longitude": (B, {"exif_extra": {LON: numbers(RATIONAL, 47, 1, 30, 1)}}),
    "one rational each": (N, {"exif_extra": {LAT: numbers(RATIONAL, 189, 10), LON: numbers(RATIONAL, 475, 10)}}),
    "latitude out of bounds": (B, {"exif_extra": {LAT: numbers(RATIONAL, 91, 1, 0, 1, 0, 1)}}),
    "longitude out of bounds": (B, {"exif_extra": {LON: numbers(RATIONAL, 181, 1, 0, 1, 0, 1)}}),
    "position as text": (N, {"exif_extra": {LAT: text("18.9"), LON: text("47.5")}}),
    "position as bytes": (P, {"exif_extra": {LAT: Tag(BYTE, b"\x01\x02\x03\x04\x05")}}),
    "position claims more than there is": (P, {"exif_extra": {LAT: Tag(RATIONAL, b"\0" * 24, count=0x0FFFFFFF)}}),
    "empty GPS directory": (P, {"exif_block": EMPTY_GPS}),
    "GPS directory at 0": (P, {"position": None, "gps_time": None, "exif_extra": {("0th", 0x8825): numbers(LONG, 0)}}),
    "only XMP": (
        N,
        BARE | {"xmp": packet(f'{PLACE} exif:DateTimeOriginal="2026:03:04 09:30:05" exif:SubsecTimeOriginal="5"/>')},
    ),
    "XMP in Adobe's notation": (P, BARE | {"xmp": packet('exif:GPSLatitude="18,54S" exif:GPSLongitude="47,30E"/>')}),
    "XMP with GPS time": (
        N,
        BARE
        | {
            "xmp": packet(
                f"{PLACE}><exif:GPSDateStamp>2026-03-04</exif:GPSDateStamp><exif:GPSTimeStamp>09:30:05</exif:GPSTimeStamp></rdf:Description>"
            )
        },
    ),
    "XMP with GPS time without seconds": (
        B,
        BARE | {"xmp": packet(f'{PLACE} exif:GPSDateStamp="2026-03-04" exif:GPSTimeStamp="09:30"/>')},
    ),
    "GPano date": (
        N,
        {
            "camera_time": None,
            "gps_time": None,
            "xmp": packet('GPano:SourceImageCreateTime="2026-03-04T09:30:05.25"/>'),
        },
    ),
    "GPano date with zone": (
        D,
        {"camera_time": None, "gps_time": None, "xmp": packet('GPano:SourceImageCreateTime="2026-03-04T09:30:05Z"/>')},
    ),
    "half a crop": (B, {"xmp": packet('GPano:CroppedAreaLeftPixels="5"/>')}),
    "a whole crop": (
        N,
        {
            "xmp": packet(
                "".join(f'GPano:CroppedArea{x}Pixels="8" ' for x in ("ImageWidth", "ImageHeight", "Left", "Top"))
                + 'GPano:FullPanoWidthPixels="64"/>'
            )
        },
    ),
    "malformed XMP": (N, {"xmp": "<x:xmpmeta"}),
    "Mapillary": (N, BARE | {"make": None, "model": None, "group_path": MAPILLARY}),
    "Mapillary with a date that is none": (D, BARE | {"group_path": MAPILLARY.replace("2026_03", "2026_13")}),
    "JSON that is a list": (N, {"group_path": "[1, 2]"}),
    "only DateTime": (N, {"gps_time": None, "exif_extra": {TAKEN: None}}),
    "only DateTimeDigitized": (D, {"gps_time": None, "exif_extra": {TAKEN: None, ("0th", 0x0132): None}}),
    "empty texts": (
        D,
        {"gps_time": None, "make": "", "model": "", "exif_extra": {TAKEN: text(""), ("0th", 0x0132): text(" ")}},
    ),
    "date of zeros": (D, {"gps_time": None, "exif_extra": {TAKEN: text("0000:00:00 00:00:00"), ("0th", 0x0132): None}}),
    "30 February": (N, {"exif_extra": {TAKEN: text("2024:02:30 10:00:00"), ("0th", 0x0132): None}}),
    "first day of the calendar": (B, {"exif_extra": {TAKEN: text("0001:01:01 00:00:00")}}),
    "last day of the calendar": (B, {"exif_extra": {TAKEN: text("9999:12:31 23:59:59")}}),
    "date with slashes": (
        D,
        {"gps_time": None, "exif_extra": {TAKEN: text("2026/03/04 10:00:00"), ("0th", 0x0132): None}},
    ),
    "an hour and no minutes": (B, {"exif_extra": {TAKEN: text("2026:03:04 10")}}),
    "no seconds": (N, {"exif_extra": {TAKEN: text("2026:03:04 10:20")}}),
    "decimals in the seconds": (N, {"exif_extra": {TAKEN: text("2026:03:04 10:20:30.75")}}),
    "two dates": (N, {"exif_extra": {TAKEN: Tag(ASCII, b"2026:03:04 10:20:30\0", count=19)}}),
    "sub-seconds of zero": (N, {"subsec": "0000"}),
    "sub-seconds of blanks": (N, {"subsec": "   "}),
    "sub-seconds below zero": (N, {"subsec": "-1"}),
    "sub-seconds with a point": (N, {"subsec": "5.0"}),
    "long sub-seconds": (N, {"subsec": "123456789"}),
    "sub-seconds that are letters": (N, {"subsec": "abc"}),
    "offset": (N, {"offset": "+03:00"}),
    "offset without colon": (N, {"offset": "+0300"}),
    "offset Z": (N, {"offset": "Z"}),
    "offset of blanks": (N, {"offset": "   :  "}),
    "offset of a day": (N, {"offset": "+24:00"}),
    "GPS date without time": (D, {"camera_time": None, "exif_extra": {GPS_TIME: None}}),
    "GPS time without date": (D, {"camera_time": None, "exif_extra": {GPS_DATE: None}}),
    "GPS time of two": (B, {"exif_extra": {GPS_TIME: numbers(RATIONAL, 6, 1, 30, 1)}}),
    "GPS time 24:00": (D, {"camera_time": None, "exif_extra": {GPS_TIME: numbers(RATIONAL, 24, 1, 0, 1, 0, 1)}}),
    "GPS time with fractions": (N, {"exif_extra": {GPS_TIME: numbers(RATIONAL, 6, 1, 30, 1, 5123, 1000)}}),
    "GPS time of tiny fractions": (N, {"exif_extra": {GPS_TIME: numbers(RATIONAL, 6, 1, 30, 1, 1, 100_000)}}),
    "heading": (N, {"heading": 271.4}),
    "heading over 0": (N, {"exif_extra": {("gps", 17): numbers(RATIONAL, 5, 0)}}),
    "track": (N, {"exif_extra": {("gps", 15): numbers(RATIONAL, 100, 1)}}),
    "below the sea": (N, {"exif_extra": {("gps", 5): Tag(BYTE, b"\1")}}),
    "not ASCII": (N, {"make": "Caméra", "model": "Caméra Ñ"}),
    "latin-1": (N, {"exif_extra": {("0th", 0x010F): text(b"Cam\xe9ra\0")}}),
    "make twice in the model": (N, {"make": "NIKON", "model": "NIKON D70"}),
    "make of numbers": (N, {"exif_extra": {("0th", 0x010F): Tag(BYTE, b"abc")}}),
    "orientation as text": (N, {"exif_extra": {("0th", 0x0112): text("upside")}}),
    "no EXIF": (P, {"exif_block": b""}),
    "EXIF that is none": (B, {"exif_block": b"nothing at all"}),
    "EXIF that points out of itself": (B, {"exif_block": b"MM\0*\0\0\xff\xff"}),
    "EXIF in a loop": (P, {"exif_block": b"MM\0*\0\0\0\x08" + struct.pack(">HHHIII", 1, 0x8769, 4, 1, 8, 8)}),
}


@pytest.mark.parametrize("case", CASES)
def test_verdict_is_the_servers_on(case):
    """For each odd shape of metadata we know what the server will say."""
    expected, facts = CASES[case]
    data = pictures.jpeg(**facts)
    assert server_says(data)[0] is expected, "the case is not what its name says"
    check(data)


ODD_TEXT = st.one_of(
    st.sampled_from(
        ["", " ", "0", "12", "120", "0000", "-1", "1.5", "2.0", "nan", "+03:00", "-0330", "Z", "S", "W", "N", "E"]
    ),
    st.sampled_from(
        ["2026:03:04", "2026:03:04 10:20:30", "2026-03-04T10:20:30.5", "0000:00:00 00:00:00", "2024:02:30 1:2:3"]
    ),
    st.sampled_from(["2026:03:04 10", "2026:03:04 10:20", "2026:03:04 25:00:00", "1980:01:06 00:00:00", "20260304"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
SMALL = st.sampled_from([0, 1, 5, 18, 47, 59, 60, 90, 91, 180, 181, 1000, 4_294_967_295])
TAG = st.one_of(
    ODD_TEXT.map(text),
    st.lists(SMALL, min_size=2, max_size=8).filter(lambda x: len(x) % 2 == 0).map(lambda x: numbers(RATIONAL, *x)),
    st.tuples(SMALL, st.just(1), SMALL, st.just(1), SMALL, st.sampled_from([1, 7, 100])).map(
        lambda x: numbers(RATIONAL, *x)
    ),
    st.lists(st.integers(0, 255), max_size=6).map(lambda x: Tag(BYTE, bytes(x))),
    st.lists(st.integers(0, 65535), max_size=3).map(lambda x: numbers(SHORT, *x)),
    st.none(),
)
WHERE = st.sampled_from(
    [NORTH, LAT, EAST, LON, GPS_TIME, GPS_DATE, TAKEN, SUBSEC, OFFSET, ("exif", 0x9004)]
    + [("gps", tag) for tag in (5, 6, 15, 17)]
    + [("0th", tag) for tag in (0x010E, 0x010F, 0x0110, 0x0112, 0x0132, 0x9003)]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(WHERE, TAG, min_size=1, max_size=5))
def test_verdict_is_the_servers_on_any_metadata(extra):
    """Whatever the tags hold, we read what the server reads."""
    check(pictures.jpeg(exif_extra=extra))


@settings(max_examples=200)
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=8), st.booleans())
@example(0, b"", False)
def test_hostile_bytes_never_raise(at, noise, cut):
    """Bytes overwritten or cut anywhere give a value, never an exception."""
    data = bytearray(pictures.jpeg(xmp=packet(f"{PLACE}/>")))
    data[at : at + len(noise)] = noise
    photo.read(bytes(data[:at] if cut else data))


@pytest.mark.timeout(60)  # the worst took 0.1 s; what is quadratic or worse in 10 MB never ends
def test_a_hostile_file_costs_little():
    """10 MB of FF (erased flash), of tiny segments, entity bombs, numbers as long as a book: all come to an end."""
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><a>&b;</a>'
    for data in (
        b"\xff\xd8" + b"\xff" * 10_000_000,
        pictures.jpeg()[:2500] + b"\xff" * 10_000_000,
        b"\xff\xd8" + b"\xff\xe0\0\2" * 2_500_000,
        pictures.jpeg(xmp=bomb),
        pictures.jpeg(exif_extra={LAT: text("1e999999999"), LON: text("1")}),
        b"\xff\xd8" + pictures.segment(0xE6, b"GoPro\0" + b"DEVC\0\0\0\0" * 8000),
    ):
        assert photo.read(data).verdict in Verdict


def test_any_buffer_will_do(tmp_path):
    """Bytes, a memoryview and a mapped file give the same; an empty file is broken, not an error."""
    data = pictures.jpeg()
    (tmp_path / "a.jpg").write_bytes(data)
    (tmp_path / "b.jpg").write_bytes(b"")
    assert photo.read(data) == photo.read(memoryview(data)) == photo.read_file(tmp_path / "a.jpg")
    assert photo.read_file(tmp_path / "b.jpg").problem == "an empty file"


# -- camera ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("DCIM/100GOPRO/G0128330.JPG", "012"),
        ("DCIM\\100GOPRO\\G0020061.JPG", "002"),
        ("DCIM/100GOPRO/G0128330.   ", "012"),
        ("DCIM/100GOPRO/GOPR1785.JPG", None),
        ("DCIM/101GOPRO/GSAG2002.JPG", None),
        ("", None),
    ],
)
def test_group_comes_from_the_path_inside_the_picture(path, group):
    """The recording's number is read from GoPro's own path, whatever slash and tail it has."""
    assert photo.read(pictures.jpeg(group_path=path)).group == group


@pytest.mark.parametrize(
    ("rotation", "orientation", "upside_down"),
    [("Up", 1, False), ("Down", 1, True), ("Down", 3, False), ("Up", 3, False), (None, 1, False), ("Auto", 1, False)],
)
def test_upside_down_is_what_nobody_will_turn(rotation, orientation, upside_down):
    """A camera that knew it hung head down but did not write Orientation 3 leaves an upside-down picture."""
    ours = photo.read(pictures.jpeg(auto_rotation=rotation, orientation=orientation))
    assert (ours.upside_down, ours.orientation) == (upside_down, orientation)


def test_serial_of_other_makers():
    """Without GoPro's settings the EXIF body serial number tells one camera from another; without it make and model."""
    assert photo.read(pictures.jpeg(make="SONY", model="FDR-X1000V", serial="S01-42")).camera == "S01-42"
    assert photo.read(pictures.jpeg(make="SONY", model="FDR-X1000V", serial=None)).camera == "SONY FDR-X1000V"


def test_texts_are_one_short_printable_line():
    """Terminal escapes, newlines and a kilobyte of model name do not get through."""
    ours = photo.read(pictures.jpeg(make="\x1b[31mEvil\nMake", model="x" * 1000, serial="\x07 1"))
    assert (ours.make, ours.model, ours.serial) == ("[31mEvil Make", "x" * 64, "1")
