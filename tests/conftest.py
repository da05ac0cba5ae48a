"""What all tests share: the real Panoramax, how hard Hypothesis tries, and that CI leaves nothing out."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import settings
from instance import Instance, running
from provision import Unavailable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

CI = os.environ.get("CI") == "true"

# No deadlines: the machines are small and shared, and a slow example is no wrong one.
settings.register_profile("dev", deadline=None, max_examples=30)  # found at random, others each time
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=300, print_blob=True)
settings.load_profile("ci" if CI else "dev")


class Real(NamedTuple):
    """A running real Panoramax.

    Attributes:
        url: without a slash at its end.
        token: of the account "collector".
        instance: more tokens, SQL, faults; whoever breaks it makes it whole again.
    """

    url: str
    token: str
    instance: Instance


@pytest.fixture(scope="session")
def real() -> Iterator[Real]:
    """The server that tests/run started, else one of our own for this session."""
    if url := os.environ.get("AILASD_TEST_URL"):
        yield Real(url, Path(os.environ["AILASD_TEST_TOKEN_FILE"]).read_text(), Instance())
        return
    try:
        with running() as instance:
            yield Real(instance.url, instance.token_file.read_text(), instance)
    except Unavailable as missing:
        pytest.skip(f"no real Panoramax: {missing}")


def pytest_configure() -> None:
    """Told to end, as with Ctrl-C: tests clear away what they began, networks and servers among it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


# -- what CI may not leave out -----------------------------------------------------------------------------------------
left_out: list[str] = []
"""Tests and files that were skipped, or that may fail without anybody noticing (a lenient xfail)."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note each test that proved nothing."""
    report = yield
    expected = item.get_closest_marker("xfail")
    strict = expected is not None and expected.kwargs.get("strict", item.config.getini("xfail_strict"))
    if report.skipped if not hasattr(report, "wasxfail") else not strict:
        left_out.append(report.nodeid)
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note each file that was skipped as a whole."""
    if report.skipped:
        left_out.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a run that left something out has failed; a worker of several only tells the one that leads them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = left_out
    elif CI and left_out and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker left out; both tell of a file that was skipped as a whole."""
    left_out.extend(name for name in getattr(node, "workeroutput", {}).get("left_out", ()) if name not in left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the figures that tests gave by ``record_property``, and name what was left out."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    if figures := [(one.nodeid, *figure) for one in reports if one.when == "call" for figure in one.user_properties]:
        terminalreporter.section("measured")
        for test, what, figure in figures:
            terminalreporter.write_line(f"{figure}  {what.replace('_', ' ')}  {test}")
    if left_out:
        terminalreporter.section("left out" + (": CI=true does not allow that" if CI else ""))
        for name in left_out:
            terminalreporter.write_line(name)
