"""``python -m ailasd``."""

from ailasd.cli import main

main()
