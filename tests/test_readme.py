"""README: what it says is what there is."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution

from as_on_a_kit import environment
from readme import README, as_it_should_be

from ailasd.config import parse

TEXT = README.read_text()


def test_generated_parts_are_up_to_date():
    """Exit codes, state diagram and schema in the README are those of the code (``python tests/readme.py``)."""
    assert as_it_should_be(TEXT) == TEXT


def test_what_is_compiled_is_named():
    """Of all that is installed with ailasd and its camera, just what the README's table names is not pure Python."""
    project = tomllib.loads((README.parent / "pyproject.toml").read_text())["project"]
    todo = [*project["dependencies"], *project["optional-dependencies"]["camera"]]
    wheels: dict[str, str] = {}
    while todo:
        name, _, marker = todo.pop().partition(";")
        name = re.split(r"[^\w.-]", name.strip())[0].lower().replace("_", "-")
        if name in wheels or re.search(r"extra|win32|Windows|emscripten|python_version <", marker):
            continue
        try:
            about = distribution(name)
        except PackageNotFoundError:
            assert marker, f"{name} is not installed"
            continue
        wheels[name] = about.read_text("WHEEL") or ""
        todo += about.requires or []
    assert len(wheels) > 20
    compiled = {name for name, wheel in wheels.items() if "-none-any" not in wheel}
    table = TEXT.partition("| compiled |")[2].partition("\n\n")[0]
    assert compiled == {name.lower() for name in re.findall(r"^\| ([\w-]+)", table, re.MULTILINE)}


COMMANDS = set(re.findall(r"(?<!-u )ailasd (?:--config \S+ )?([a-z-]+)", TEXT)) - {"is"}
OTHERS = {  # of pip, apt-get, rsync, our tests
    *("--quick", "--yes", "--quiet", "--mb", "--rounds", "--checksum"),
    *("--dest", "--find-links", "--implementation", "--no-deps", "--no-index", "--only-binary", "--platform"),
    *("--python-version", "--wheel-dir", "--ingroup"),
}
OPTIONS = set(re.findall(r"(?<![-\w])--[a-z][a-z-]+", TEXT)) - OTHERS


def help_of(*command: str) -> str:
    """What ``ailasd COMMAND --help`` prints."""
    words = [sys.executable, "-m", "ailasd", *command, "--help"]
    return subprocess.run(words, env=environment(), capture_output=True, text=True, check=True).stdout


def test_each_command_and_option_exists():
    """Every ``ailasd COMMAND`` that the README names has its help, and every long option is known to one of them."""
    assert {"run", "import", "status", "demo"} <= COMMANDS
    helps = "\n".join([help_of(), *(help_of(command) for command in sorted(COMMANDS))])
    assert not {option for option in OPTIONS if option not in helps}


def test_the_example_config_is_one():
    """Each configuration shown loads, and the first is that of a kit."""
    blocks = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert all(tomllib.loads(block) for block in blocks)
    assert [parse(block, "README").kit for block in blocks] == ["kit-07", "kit", "kit"]
