"""Images of cards with one partition, as cameras format them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hostile_mounts import exfat_filled, run

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
START = MIB
"""Where the partition begins."""


def make_card(card: Path, folder: Path, *, fs: str = "exfat", size: int = 64 * MIB, label: str = "GOPRO") -> None:
    """An image with all of ``folder`` on it, with no more blocks than that takes."""
    part = card.with_suffix(".part")
    for image, length in ((card, size), (part, size - START)):
        with image.open("wb") as file:
            file.truncate(length)
    if fs == "exfat":
        run("mkfs.exfat", "-L", label, part)
        exfat_filled(part, folder)
    else:
        run("mkfs.vfat", "-F", "32", "-n", label, part)
        run("mcopy", "-s", "-m", "-i", part, *sorted(folder.iterdir()), "::", env={"MTOOLS_SKIP_CHECK": "1"})
    run("sfdisk", "--quiet", "--label", "dos", card, stdin=f"start=1MiB, type={'7' if fs == 'exfat' else 'c'}")
    with part.open("rb") as from_there, card.open("r+b") as there:
        for number, block in enumerate(iter(partial(from_there.read, MIB), b"")):
            if block.strip(b"\0"):
                there.seek(START + number * MIB)
                there.write(block)
    part.unlink()


def assert_sound(card: Path, fs: str) -> None:
    """Its file system has nothing to put right, not even a mark that it was not unmounted.

    Raises:
        RuntimeError: it has; with what fsck says.
    """
    part = card.with_suffix(".part")
    with card.open("rb") as file:
        file.seek(START)
        part.write_bytes(file.read())
    try:
        run(f"fsck.{fs}", "-n", part)
    finally:
        part.unlink()
