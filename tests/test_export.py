"""Exports of a real import, read by what others read them with: ogrinfo, gpxpy, pystac, ascmhl, a parser of CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpxpy
import pystac
import pytest
from click.testing import CliRunner, Result
from instance import default_home
from kit import START, Kit, drive, kits
from provision import judges
from pystac.extensions.file import FileExtension
from pystac.extensions.view import ViewExtension
from pystac.validation import validate_dict

from ailasd.cli import program
from ailasd.cli.exits import Exit
from ailasd.config.check import as_toml
from ailasd.exports import formats
from ailasd.journey import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MHL = "{urn:ASC:MHL:v2.0}"
EVIL = '=HYPERLINK("http://x")<&>\x1b[2J\n\x00é.JPG'


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    """Two drives, of 4 and 3 pictures; one has no position, one a name that means harm, one was sent."""
    with kits(tmp_path) as make:
        one = make(entries=[*drive(4), *drive(3, start=START.replace(hour=9), group=2)])
        one.bring_in()
        with one.parts.catalogue.writing() as db:
            db.conn.execute("UPDATE picture SET latitude = NULL, longitude = NULL WHERE id = 1")
            db.conn.execute("UPDATE picture SET name = ?, heading = 400 WHERE id = 2", (EVIL,))
            db.conn.execute("UPDATE picture SET position_override = '-18.5 47.25', position_from = 'gpx' WHERE id = 3")
            db.conn.execute("UPDATE picture SET web_link = 'https://p/viewer?a=1&b=2', server_id = 'x' WHERE id = 4")
        yield one


def export(kit: Kit, form: str, *words: str) -> Result:
    file = kit.tmp / "config.toml"
    file.write_text(as_toml(kit.config()))
    return CliRunner().invoke(program, ["--config", str(file), "export", "--format", form, *words])


def ogrinfo(text: str, name: str, folder: Path) -> dict[str, Any]:
    """What GDAL reads of it: its layers by name."""
    if shutil.which("ogrinfo") is None:
        pytest.skip("ogrinfo is missing: sudo apt-get install gdal-bin")
    (folder / name).write_text(text)
    words = ["ogrinfo", "-ro", "-al", "-so", str(folder / name)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "using driver" in done.stdout
    assert "Warning" not in done.stderr + done.stdout, done.stderr
    layers = done.stdout.split("\nLayer name: ")[1:]
    return {
        layer.splitlines()[0]: {
            key: value.strip() for key, _, value in (line.partition(":") for line in layer.splitlines())
        }
        for layer in layers
    }


@pytest.mark.parametrize("form", ["geojson", "gpx", "stac", "csv"])
def test_a_place_that_is_none_is_no_place(kit: Kit, form: str):
    """0, 0, which cameras without a fix write, and a position that cannot be true, are nobody's: see ``place_of``."""
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE picture SET latitude = 0, longitude = 0, verdict = 'no_position' WHERE id = 1")
        db.conn.execute("UPDATE picture SET latitude = 48.9, reason = 'position_untrusted' WHERE id = 2")
    text = export(kit, form).stdout
    assert not re.findall(r"\[0\.0, 0\.0|\b0\.0,0\.0\b|lat=\"0\.0|48\.9", text)
    assert place_of(kit.parts.catalogue.telling.pictures_of_drive(1)[0]) is None


def test_geojson(kit: Kit):
    """GDAL sees each picture, at its place; our place wins over the camera's, and one has none."""
    text = export(kit, "geojson").stdout
    (layer,) = ogrinfo(text, "x.geojson", kit.tmp).values()
    assert (layer["Feature Count"], layer["Geometry"]) == ("7", "3D Point")
    features = json.loads(text)["features"]
    assert features[0]["geometry"] is None
    assert features[2]["geometry"]["coordinates"][:2] == [47.25, -18.5]
    assert features[2]["properties"]["place_from"] == "gpx"
    assert text.isascii()


def test_gpx(kit: Kit):
    """Gpxpy and GDAL see a track for each drive, with times; what has no place is left out, and that is said."""
    done = export(kit, "gpx")
    assert done.stderr == "Left out: 1 without position or time.\n"
    tracks = gpxpy.parse(done.stdout).tracks
    assert [track.get_points_no() for track in tracks] == [3, 3]
    first = tracks[0].segments[0].points[0]
    assert first.time is not None
    assert first.name == EVIL.replace("\x1b", "\ufffd").replace("\x00", "\ufffd")
    assert ogrinfo(done.stdout, "x.gpx", kit.tmp)["track_points"]["Feature Count"] == "6"


def test_csv(kit: Kit):
    """A line a picture; what a spreadsheet would run as a formula is a text."""
    rows = list(csv.DictReader(io.StringIO(export(kit, "csv").stdout)))
    assert [row["drive"] for row in rows] == ["1"] * 4 + ["2"] * 3
    assert rows[1]["name"] == f"'{EVIL}"
    assert (rows[2]["latitude"], rows[2]["longitude"], rows[2]["place_from"]) == ("-18.5", "47.25", "gpx")
    assert (rows[0]["latitude"], rows[0]["place_from"]) == ("", "")


class Offline(pystac.StacIO):
    """Schemas that pystac does not bring along would be asked of the Internet."""

    def read_text(self, source: Any, *_: Any, **__: Any) -> str:
        raise AssertionError(source)

    write_text = read_text  # type: ignore[assignment]


def test_stac(kit: Kit, monkeypatch: pytest.MonkeyPatch):
    """Items validate with pystac and STAC's own schema, and have our copy's multihash; bounds only where a place is."""
    monkeypatch.setattr(pystac.StacIO, "_default_io", Offline)
    text = export(kit, "stac").stdout
    items = json.loads(text)["features"]
    for item in items:
        (schema,) = validate_dict(item, extensions=[])
        assert schema == "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"
        assert item["properties"]["datetime"].endswith("Z")
        assert ("bbox" in item) == (item["geometry"] is not None)
        assert len(item.get("bbox", [])) in {0, 4, 6}
        asset = item["assets"]["picture"]
        copy = kit.parts.storage.path_of(asset["href"]).read_bytes()
        assert asset["file:size"] == len(copy)
        assert asset["file:checksum"] == "d50110" + hashlib.md5(copy).hexdigest()
    read = pystac.Item.from_dict(items[1])
    assert ViewExtension.ext(read).azimuth == 40
    assert FileExtension.ext(read.assets["picture"]).size == kit.picture(1).size
    assert len(read.stac_extensions) == 2
    assert items[3]["id"] == "x"
    assert items[3]["links"][0]["href"] == "https://p/viewer?a=1&b=2"
    assert len({item["id"] for item in items}) == 7
    (layer,) = ogrinfo(text, "x.json", kit.tmp).values()
    assert layer["Feature Count"] == "7"


def ascmhl(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """What the Media Hash List's reference says."""
    program = judges(default_home()) / "bin/ascmhl-debug"
    if not program.exists():
        pytest.skip("ascmhl is missing: python tests/instance.py install")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


def test_mhl(kit: Kit):
    """The reference finds the list valid and each hash that of the file at its path; of another file it does not."""
    kit.copy(0).unlink()
    with kit.parts.catalogue.writing() as db:
        db.conn.execute("UPDATE picture SET copy = NULL WHERE id = 1")
    done = export(kit, "mhl")
    assert done.stderr == "Left out: 1 of which we have no copy any more.\n"
    hashes = ET.fromstring(done.stdout).findall(f"{MHL}hashes/{MHL}hash")
    assert len(hashes) == 6
    for one in hashes:
        path, md5 = one
        copy = kit.parts.storage.path_of(path.text or "").read_bytes()
        assert (int(path.get("size") or 0), md5.text) == (len(copy), hashlib.md5(copy).hexdigest())
    file = kit.tmp / "copies.mhl"
    file.write_text(done.stdout)
    schema = judges(default_home()) / "ASCMHL.xsd"
    assert ascmhl("xsd-schema-check", "-xsd", schema, file).stdout == f"validated: {file}\n"
    ours = [word for name in ("*.db*", "*.lock", "*.txt") for word in ("-i", name)]
    verify: list[str | Path] = ["verify", *ours, "-pl", file, kit.parts.storage.folder]
    assert ascmhl(*verify).returncode == 0
    kit.copy(1).write_bytes(kit.copy(2).read_bytes())
    said = ascmhl(*verify)
    assert said.returncode != 0
    assert said.stderr.count("hash mismatch") == 1


@pytest.mark.parametrize("form", formats())
def test_choices(kit: Kit, form: str):
    """By drive, card and time of taking; into a file that is whole or not there; nothing found is said so."""
    to = kit.tmp / "out"
    assert export(kit, form, "--drive", "2", "--output", str(to)).exit_code == 0
    assert sum(kit.picture(index).md5 in to.read_text() for index in (4, 5, 6)) == (0 if form == "gpx" else 3)
    assert kit.picture(1).md5 not in to.read_text()
    made = re.compile("<creationdate>[^<]*")  # of a Media Hash List: now
    assert made.sub("", export(kit, form, "--card", "1").stdout) == made.sub("", export(kit, form).stdout)
    late = export(kit, form, "--since", "2026-11-20T08:30Z", "--until", "2026-11-20T10:00Z").stdout
    assert kit.picture(1).md5 not in late
    for nothing in (["--drive", "77"], ["--since", "2200-01-01"], ["--card", "9"]):
        assert export(kit, form, *nothing).exit_code == Exit.NOT_FOUND
