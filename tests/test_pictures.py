"""The picture generator: what it makes is what a GoPro makes, fast enough, and a real server takes it."""

from __future__ import annotations

import io
import json
import time
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from ailasd import photo
from ailasd.demo import pictures
from ailasd.model import Verdict


def test_pictures_differ_and_have_the_size_asked_for():
    """Each seed gives other bytes, the same seed the same, and ``pad_to`` is exact while both JPEGs still decode."""
    assert pictures.jpeg(seed=1) == pictures.jpeg(seed=1) != pictures.jpeg(seed=2)
    for size in (5000, 5001, 70_000, 1_000_003):
        for mpo in (True, False):
            data = pictures.jpeg(pad_to=size, mpo=mpo)
            assert len(data) == size
            with Image.open(io.BytesIO(data)) as picture:
                assert picture.format == ("MPO" if mpo else "JPEG")
                picture.load()
                if mpo:
                    picture.seek(1)
                    picture.load()
            assert photo.read(data).verdict is Verdict.USABLE
    with pytest.raises(ValueError, match="cannot pad"):
        pictures.jpeg(pad_to=100)


def test_drive_has_two_clocks_and_rolls_over_its_folders(tmp_path):
    """999 files fill a folder, the numbers go on; the camera's clock is off by its error, the GPS is not."""
    start = datetime(2026, 3, 4, 6, tzinfo=UTC)
    files = list(
        pictures.drive(start=start, n=1002, first=9000, clock_error=timedelta(hours=1), no_fix=[1], size=(16, 16))
    )
    assert [files[i][0] for i in (0, 998, 999, 1000)] == [
        "DCIM/100GOPRO/G0019000.JPG",
        "DCIM/100GOPRO/G0019998.JPG",
        "DCIM/101GOPRO/G0019999.JPG",
        "DCIM/101GOPRO/G0010001.JPG",
    ]
    third = photo.read(files[2][1])
    assert third.gps_time == start + timedelta(seconds=10)
    assert third.camera_time == datetime(2026, 3, 4, 10, 0, 10, 123000)  # 3 h east of Greenwich, 1 h wrong
    assert photo.read(files[1][1]).tags is Verdict.NO_POSITION
    pictures.write_card(tmp_path, files[:3])
    written = tmp_path / files[2][0]
    assert written.read_bytes() == files[2][1]
    assert written.stat().st_mtime == files[2][2]
    assert '"camera serial number":"C3531325123456"' in (tmp_path / "MISC" / "version.txt").read_text()


@pytest.mark.real
def test_a_real_server_publishes_what_is_generated(real):
    """Small, padded, multi-picture and plain ones all become ``ready``, at the time and place that they were given."""
    seed = uuid.uuid4().int % 2**32  # the server refuses bytes that it has seen
    start = datetime(2026, 3, 4, 6, tzinfo=UTC)
    files = [
        *pictures.drive(start=start, n=2, seed=seed),
        *pictures.drive(start=start, n=1, group=2, seed=seed + 2, pad_to=6_400_000),
        *pictures.drive(start=start, n=1, group=3, seed=seed + 3, pad_to=70_000, mpo=False, size=(640, 480)),
    ]
    wanted = {"title": "generated", "no_split": True, "no_deduplication": True, "visibility": "logged-only"}
    upload_set = ask(real, "/api/upload_sets", wanted)["id"]
    for name, data, _ in files:
        assert send(real, upload_set, name.rpartition("/")[2], data)["size"] == len(data)
    ask(real, f"/api/upload_sets/{upload_set}/complete", {})
    for _ in range(120):  # 60 s: the worker publishes several a second
        found = ask(real, f"/api/upload_sets/{upload_set}")
        if found["dispatched"] and found["ready"]:
            break
        time.sleep(0.5)
    (sequence,) = found["associated_collections"]
    status = ask(real, f"/api/collections/{sequence['id']}/geovisio_status")["items"]
    assert [item["status"] for item in status] == ["ready"] * len(files)
    items = ask(real, f"/api/collections/{sequence['id']}/items")["features"]
    assert {item["properties"]["datetime"] for item in items} == {
        "2026-03-04T06:00:00.123000+00:00",
        "2026-03-04T06:00:05.123000+00:00",
    }
    assert items[0]["geometry"]["coordinates"] == pytest.approx([47.5, -18.9], abs=1e-6)


def ask(real, path, body=None, kind="application/json"):
    """GET, or POST a body; the JSON answer."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    headers = {"Authorization": f"Bearer {real.token}", "Content-Type": kind}
    request = urllib.request.Request(real.url + path, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def send(real, upload_set, name, data):
    """Send one file as multipart/form-data."""
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    body = (head + "Content-Type: image/jpeg\r\n\r\n").encode() + data + f"\r\n--{mark}--\r\n".encode()
    return ask(real, f"/api/upload_sets/{upload_set}/files", body, f"multipart/form-data; boundary={mark}")
