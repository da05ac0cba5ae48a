"""Python reads this first where its folder is in PYTHONPATH: there are no libraries but a kit's, as far as it matters.

sqlite-utils and structlog load these if they can, in a third of a second of each process that a test starts.
"""

import sys

for not_on_a_kit in ("numpy", "rich"):
    sys.modules[not_on_a_kit] = None  # type: ignore[assignment]  # what makes the import an ImportError
