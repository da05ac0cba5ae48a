"""The parts of the README that the code knows better: ``python tests/readme.py`` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from ailasd import lifecycle
from ailasd.catalogue import Catalogue
from ailasd.cli.exits import Exit
from ailasd.clock import SystemClock
from ailasd.language import LANGUAGES, translations
from ailasd.showing.card import card

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def exits() -> str:
    """The table of exit codes."""
    rows = "\n".join(f"| {code.value} | {code.text} |" for code in Exit)
    return f"| code | meaning |\n|---|---|\n{rows}\n"


def states() -> str:
    """The diagram of the state machine."""
    return f"```mermaid\n{lifecycle.as_mermaid()}\n```\n"


def schema() -> str:
    """The schema of a catalogue that was just built."""
    with TemporaryDirectory() as folder, Catalogue(Path(folder, "catalogue.db"), SystemClock()) as catalogue:
        return f"```sql\n{catalogue.schema()}\n```\n"


def light() -> str:
    """The card that explains light and sound, in each language."""
    tables = []
    for code, name in LANGUAGES.items():
        rows = "\n".join(f"| **{row.says}** | {row.light} | {row.sound} |" for row in card(translations(code)))
        tables.append(f"| {name} | 💡 | ♪ |\n|---|---|---|\n{rows}\n")
    return "\n".join(tables)


def as_it_should_be(text: str) -> str:
    """``text`` with every generated block as the code has it now."""
    made = {"exits": exits, "states": states, "schema": schema, "light": light}
    return BLOCK.sub(lambda found: f"{found[1]}{made[found[2]]()}{found[3]}", text)


if __name__ == "__main__":
    README.write_text(as_it_should_be(README.read_text()))
