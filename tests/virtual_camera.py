"""The virtual camera that comes with libgphoto2: its driver speaks real PTP with it, over no wire.

It cannot give parts of a file and has one storage; a real MTP device is what the tests marked ``ptp`` talk to.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import gphoto2

from ailasd.sources.ptp import PtpSource

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = "usb:001,001"
"""Where the virtual camera says it is."""
SERIAL = "C3471325208017"
DRIVERS = Path(gphoto2.__file__).parent / "libgphoto2"


def described(sysfs: Path, **about: str) -> Path:
    """Write down a device at ``NODE`` as the kernel would; deleting the folder that is returned unplugs it."""
    device = sysfs / "dev" / "char" / "189:0"
    device.mkdir(parents=True)
    for attribute, text in about.items():
        (device / attribute).write_text(f"{text}\n")
    return device


@contextmanager
def virtual_camera(root: Path, folder: Path) -> Iterator[PtpSource]:
    """A camera whose storage is ``root``, its source, and in ``folder`` the rest that it needs."""
    # it reads its folder once in a process; a copy under another name is another camera
    drivers = folder / "drivers"
    drivers.mkdir()
    shutil.copy(DRIVERS / "vusb" / "vusb.so", drivers)
    described(folder / "sys", product="HERO11 Black", serial=SERIAL)
    with (
        patch.dict(os.environ, {"IOLIBS": str(drivers), "VCAMERADIR": str(root)}),
        PtpSource(NODE, sysfs=folder / "sys") as source,
    ):
        yield source
