"""The environment of ailasd's programs where a test starts them: this checkout, and no libraries that a kit has not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent


def environment(**more: str) -> dict[str, str]:
    """That of the test, and ``more``; ``on_a_kit/sitecustomize.py`` takes the libraries away."""
    return {**os.environ, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE / 'on_a_kit'}", **more}
