"""The folder tells a picture's life: who may import whom, and who owns which technology (law 9)."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import ailasd

ROOT = Path(ailasd.__file__).parent
MODULES = {".".join(("ailasd", *path.relative_to(ROOT).with_suffix("").parts)): path for path in ROOT.rglob("*.py")}

OWNERS = {
    "httpx": {"ailasd.panoramax"},
    "httpcore": {"ailasd.panoramax"},
    "sqlite3": {"ailasd.catalogue"},
    "sqlite_utils": {"ailasd.catalogue"},
    "apscheduler": {"ailasd.daemon"},
    "watchdog": {"ailasd.watching"},
    "pydantic": {"ailasd.config"},
    "structlog": {"ailasd.logs"},
    "click": {"ailasd.cli"},
    "PIL": {"ailasd.demo", "ailasd.web.thumbnail"},
    "qrcode": {"ailasd.cli"},
    "xxhash": {"ailasd.copying"},
    "xml.parsers": {"ailasd.tracks"},
    "jeepney": {"ailasd.cards", "ailasd.service", "ailasd.metered", "ailasd.showing.notice"},
    "gphoto2": {"ailasd.sources.ptp"},
    "pyudev": {"ailasd.cards"},
    "starlette": {"ailasd.web"},
    "uvicorn": {"ailasd.web.serving"},
    "jinja2": {"ailasd.web.app"},
    "markupsafe": {"ailasd.web.app"},
}
"""Technology -> the only ones who know of it."""

STEPS = {
    f"ailasd.{name}"
    for name in (
        "attending",
        "importing",
        "tracking",
        "sorting",
        "uploading",
        "confirming",
        "blurring",
        "reported",
        "heartbeat",
        "cleaning",
    )
}

PURE = {
    f"ailasd.{name}"
    for name in (
        "lifecycle",
        "planning",
        "sequencing",
        "triage",
        "capture",
        "camera_clock",
        "journey",
        "tracks",
        "offsets",
        "ordering",
        "manners",
        "sentence",
        "amounts",
        "waiting",
        "needs",
        "refusals",
        "report",
        "model",
        "errors",
    )
}
IMPURE = {
    "os",
    "io",
    "pathlib",
    "socket",
    "sqlite3",
    "time",
    "threading",
    "subprocess",
    "tempfile",
    "shutil",
    "logging",
}


@cache  # each is asked for a hundred times
def imports(module: str, *, with_types: bool = False) -> frozenset[str]:
    """What ``module`` imports, at its top or inside functions; not what only type checkers see, unless asked."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING" and not with_types:
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module} imports relatively"
                found.update(f"{child.module}.{alias.name}" for alias in child.names)
            walk(child)

    walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    return frozenset(found)


def within(module: str, owner: str) -> bool:
    """Whether ``module`` is ``owner`` or lies in it."""
    return module == owner or module.startswith(f"{owner}.")


def uses(module: str, technology: str, *, with_types: bool = False) -> bool:
    """Whether ``module`` imports it or something in it."""
    return any(within(one, technology) for one in imports(module, with_types=with_types))


@pytest.mark.parametrize("technology", OWNERS)
def test_one_owner_per_technology(technology: str):
    """Only its owners import a technology."""
    others = {module for module in MODULES if uses(module, technology, with_types=True)}
    strangers = {module for module in others if not any(within(module, owner) for owner in OWNERS[technology])}
    assert not strangers


@pytest.mark.parametrize("step", sorted(STEPS))
def test_steps_never_import_each_other(step: str):
    """Steps meet in the catalogue only."""
    assert not {other for other in STEPS - {step} if uses(step, other, with_types=True)}


@pytest.mark.parametrize("module", sorted(PURE))
def test_the_pure_core_does_nothing(module: str):
    """Modules that judge import nothing that could touch the world, and no step or catalogue."""
    assert not {name for name in IMPURE if uses(module, name)}
    assert not {other for other in MODULES if other not in PURE | {"ailasd.__init__"} and uses(module, other)}


@pytest.mark.parametrize("root", ["ailasd.parts", "ailasd.daemon"])
def test_nobody_imports_what_composes(root: str):
    """Nobody but the people's entrances imports what builds all parts, or what runs them."""
    entrances = ("ailasd.cli", "ailasd.demo", "ailasd.__main__")
    others = {module for module in MODULES if uses(module, root)}
    assert not {module for module in others if not any(within(module, entrance) for entrance in entrances)}


def test_only_cleaning_deletes_pictures():
    """No other module removes files, but those that deal with their own temporary ones."""
    deletes = {
        module
        for module, path in MODULES.items()
        if any(
            isinstance(node, ast.Attribute) and node.attr in {"unlink", "remove", "rmtree", "rmdir", "removedirs"}
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    }
    temporary = {
        "ailasd.disk",
        "ailasd.copying",
        "ailasd.asking",  # its socket
        "ailasd.cli.pin",  # the PIN
        "ailasd.importing",
        "ailasd.cards.privileged",  # its mount points, which are empty
        "ailasd.setting_up",  # what it put on the machine itself
        "ailasd.catalogue.upkeep",  # backups older than the last three
        "ailasd.showing",  # what it keeps in memory for as long as it runs
    }  # copies that are not (or need not be) in the catalogue
    others = {one for one in deletes if not within(one, "ailasd.demo") and not within(one, "ailasd.sources")}
    others = {one for one in others if not any(within(one, allowed) for allowed in temporary)}
    assert others <= {"ailasd.cleaning"}


def test_the_map_names_every_module():
    """The package's docstring has every module of the folder, and no other."""
    listed = {word.rstrip("/") for word in (ailasd.__doc__ or "").replace("`", " ").split()}
    there = {path.name.removesuffix(".py") for path in ROOT.iterdir() if not path.name.startswith(("_", "py.typed"))}
    assert not {name for name in there if name not in listed}


def test_no_file_that_nobody_can_hold_in_their_head():
    """No module has more than 450 lines."""
    long = {module: lines for module, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > 450}
    assert not long
