"""Where a picture ends, against Pillow's decoder: the one with which the server's worker opens it."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ailasd import jpeg
from ailasd.demo import pictures
from ailasd.demo.pictures import Tag


def decodes(data):
    """Whether Pillow, and so the server's worker, decodes the whole main picture."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    except Exception:  # noqa: BLE001  (whatever it is, the worker fails)
        return False
    return True


REAL = Path(__file__).parents[2] / "shared" / "data"

if REAL.is_dir():  # not collected elsewhere
    JPEGS = sorted(str(path.relative_to(REAL)) for path in REAL.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})

    @pytest.mark.parametrize("name", JPEGS)
    def test_real_picture_is_damaged_if_pillow_cannot_decode_it(name):
        """Neither a whole real picture is called damaged nor a broken one whole."""
        data = (REAL / name).read_bytes()
        assert (jpeg.damage(data) is None) == decodes(data)


THUMBNAIL = {("0th", 0x9999): Tag(7, pictures.body(9, (32, 24)))}
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"mpo": False},
    "multi-picture": {"mpo": True},
    "progressive": {"mpo": False, "save": {"progressive": 1}},
    "progressive multi-picture": {"mpo": True, "save": {"progressive": 1, "optimize": 1}},
    "restart markers": {"mpo": False, "save": {"restart_marker_blocks": 2}},
    "thumbnail": {"exif_extra": THUMBNAIL},
}
WHOLE = {name: pictures.jpeg(size=(160, 120), seed=1, **shape) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("shape", WHOLE)
def test_whole_picture_is_not_damaged(shape):
    """No structure that a camera writes is taken for damage."""
    assert decodes(WHOLE[shape])
    assert jpeg.damage(WHOLE[shape]) is None


@settings(max_examples=250)
@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1), st.sampled_from([None, b"\0", b"\xff"]))
def test_damage_is_seen_whenever_the_server_could_not_decode(shape, where, fill):
    """A picture cut, or with its tail overwritten by zeros or erased flash, is damaged whenever Pillow refuses it."""
    whole = WHOLE[shape]
    at = int(where * len(whole))
    data = whole[:at] + (fill * (len(whole) - at) if fill else b"")
    damage = jpeg.damage(data)
    if not decodes(data):
        assert damage
    if damage is None:  # nothing of the main picture is missing
        assert at >= whole.index(b"\xff\xd9", jpeg.header(whole).scan) + 2 or data == whole


def test_lost_preview_is_no_damage():
    """A cut that only loses the appended preview leaves a picture that is worth sending."""
    whole = WHOLE["multi-picture"]
    main = whole.index(b"\xff\xd9", jpeg.header(whole).scan) + 2
    assert jpeg.damage(whole[:main]) is None
    assert jpeg.damage(whole[: main - 1]) is not None


@pytest.mark.timeout(60)  # walking takes 7 ms
def test_damage_is_found_without_decoding():
    """Twelve megabytes of noise, which no decoder could make a picture of, are whole if their markers are."""
    picture = WHOLE["plain"]
    scan = jpeg.header(picture).scan
    noise = random.Random(1).randbytes(12_000_000).replace(b"\xff", b"\xff\0")
    assert jpeg.damage(picture[:scan] + noise + b"\xff\xd9") is None
    assert jpeg.damage(picture[:scan] + noise) is not None
