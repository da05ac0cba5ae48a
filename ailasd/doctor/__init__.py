"""`ailasd doctor`: small checks, each with a verdict, a sentence and a way out. Nothing here knows what is checked.

``here`` has those of this machine, ``way`` those of the way, ``there`` those of the server, ``blur`` whether it
blurs, ``every`` all of them. Another one joins them as a ``Check``: a name, and a function that returns a ``Finding``
or raises one of our errors.
"""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ailasd.errors import AilasdError, NeedsHuman
from ailasd.logs import mask, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

WITHIN_S: Final = 30.0
"""For one check: as long as a link counts as alive without any progress."""


class Level(StrEnum):
    """A verdict. ``WARNING``: worth knowing, or it could not be found out; ``FAILURE``: somebody must act."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: one sentence, and unless all is well what to do about it."""

    level: Level
    says: str
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at. ``look`` may take ``within_s`` seconds; it is left behind then."""

    name: str
    look: Callable[[], Finding]
    within_s: float = WITHIN_S


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a check."""

    name: str
    level: Level
    says: str
    way_out: str


def ok(says: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, says)


def warning(says: str, way_out: str = "") -> Finding:
    """See ``Level``."""
    return Finding(Level.WARNING, says, way_out)


def failure(says: str, way_out: str) -> Finding:
    """See ``Level``."""
    return Finding(Level.FAILURE, says, way_out)


def examine(checks: Iterable[Check], *, within_s: float = math.inf) -> Iterator[Result]:
    """Look at one after the other, each in its time; nothing that goes wrong in one touches the others.

    Args:
        checks: are asked for one by one.
        within_s: seconds for all of them; those that have none left are not looked at, and that is said.
    """
    end = time.monotonic() + within_s
    for check in checks:
        left_s = end - time.monotonic()
        finding = _look(check, min(check.within_s, left_s)) if left_s > 0 else warning("there was no time for it")
        says, way_out = (printable(mask(text)).rstrip(".") for text in (finding.says, finding.way_out))
        yield Result(check.name, finding.level, says, way_out)


def _look(check: Check, within_s: float) -> Finding:
    found: list[Finding] = []

    def look() -> None:
        try:
            found.append(check.look())
        except NeedsHuman as error:
            found.append(failure(str(error), ""))
        except AilasdError as error:
            found.append(warning(f"this could not be found out: {error}", "say `ailasd doctor` again later"))
        except Exception as error:  # noqa: BLE001  (a bug here must not keep the other checks from being made)
            found.append(failure(f"the check itself failed ({type(error).__name__}: {error})", "report it"))

    thread = threading.Thread(target=look, name=check.name, daemon=True)
    thread.start()
    thread.join(within_s)
    if found:
        return found[0]
    return failure(f"this took longer than {within_s:.0f} s", "is the disk or the link dying?")


def worst(results: Iterable[Result]) -> Level:
    """The gravest verdict; ``OK`` if there is none."""
    return max((result.level for result in results), key=list(Level).index, default=Level.OK)


def as_line(result: Result) -> str:
    """For people."""
    way_out = f"\n{'':<24}{result.way_out}." if result.way_out else ""
    return f"{result.level:<9}{result.name:<15}{result.says}.{way_out}"


def as_json(results: Iterable[Result]) -> str:
    """For scripts: the gravest verdict, and each."""
    every = list(results)
    return json.dumps({"level": worst(every), "checks": [asdict(one) for one in every]}, indent=1)
