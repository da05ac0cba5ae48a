"""The real Panoramax of the tests, and what the test command promises."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from daemons import Daemons, stat_of, wait
from instance import free_port, locked
from PIL import Image
from provision import Unavailable, install_postgresql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Real

HERE = Path(__file__).parent


# -- processes ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    found = Daemons(tmp_path)
    yield found
    found.end("sleeper", signal.SIGKILL)


def test_daemons_of_a_killed_program_are_found_and_ended_by_the_next(tmp_path: Path, daemons: Daemons) -> None:
    """A test run that got SIGKILL leaves nothing that the next one does not end."""
    killed = (
        "import os, signal; from pathlib import Path; from daemons import Daemons;"
        f"Daemons(Path({str(tmp_path)!r})).spawn('sleeper', ['sleep', '60'], env=os.environ);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", killed], cwd=HERE, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(daemons.alive("sleeper")) == 1
    daemons.end("sleeper")
    assert daemons.alive("sleeper") == []


def test_a_process_number_that_was_used_again_is_not_ours(tmp_path: Path, daemons: Daemons) -> None:
    """Only number, start time and working folder together make a process ours to end."""
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True, cwd="/")
    try:
        born = int(stat_of(stranger.pid)[19])
        for age in (born, born - 1):
            (tmp_path / "sleeper.pid").write_text(f"{stranger.pid} {age}")
            daemons.end("sleeper", signal.SIGKILL)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_does_not_listen_is_killed_with_its_children(daemons: Daemons) -> None:
    """A leader that ignores SIGTERM and its child are both gone after the patience."""
    stubborn = 'trap "" TERM; sleep 60 & wait'
    daemons.spawn("sleeper", ["bash", "-c", stubborn], env=os.environ)
    assert wait(lambda: len(daemons.alive("sleeper")) == 2, 10)
    daemons.end("sleeper", patience=0.3)
    assert daemons.alive("sleeper") == []


def test_a_child_outlives_its_leader_and_still_is_ours(daemons: Daemons) -> None:
    """A supervisor killed alone does not leave its worker behind."""
    daemons.spawn("sleeper", ["bash", "-c", "sleep 60; true"], env=os.environ)
    assert wait(lambda: len(daemons.alive("sleeper")) == 2, 10)
    leader, child = daemons.alive("sleeper")
    os.kill(leader, signal.SIGKILL)
    assert wait(lambda: daemons.alive("sleeper") == [child], 10)
    daemons.end("sleeper")
    assert not Path(f"/proc/{child}/cwd").exists()


def test_ports_lie_below_those_given_to_clients() -> None:
    """No client is given the port of a dead server, which would let it talk to itself."""
    given_to_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1024 <= free_port() < given_to_clients for _ in range(20))


def test_a_second_run_waits_for_the_first(tmp_path: Path) -> None:
    """Two runs of the tests on one machine do not take each other's server."""
    entered: list[float] = []

    def second() -> None:
        with locked(tmp_path):
            entered.append(time.monotonic())

    with locked(tmp_path):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.3)
        assert not entered
        left = time.monotonic()
    other.join(10)
    assert entered[0] >= left


def test_what_cannot_be_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without apt-get the reason names what is missing and that nothing can install it."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match="PostgreSQL with PostGIS is missing, and there is no apt-get"):
        install_postgresql("PostgreSQL with PostGIS is missing")


# -- what CI may not leave out -----------------------------------------------------------------------------------------
LEFT_OUT = """
import pytest

def test_skips(): pytest.skip("no")

@pytest.mark.skip
def test_marked(): pass

@pytest.mark.xfail(strict=False)
def test_lenient(): assert False

@pytest.mark.xfail(strict=False)
def test_lenient_passes(): pass

def test_gives_up(): pytest.xfail("no")
"""
LEFT_OUT_FILE = "import pytest; pytest.skip('no', allow_module_level=True)"
HONEST = """
import pytest

def test_it(): pass

@pytest.mark.xfail(strict=True)
def test_known(): assert False
"""


def pytest_run(folder: Path, *texts: str, ci: bool) -> tuple[int, list[str]]:
    """Run a pytest of its own with our conftest; its exit code and what it says was left out."""
    (folder / "conftest.py").write_text((HERE / "conftest.py").read_text())
    (folder / "pytest.ini").write_text("[pytest]\nxfail_strict = true\n")
    for number, text in enumerate(texts):
        (folder / f"test_{number}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", str(folder)]
    env = {**os.environ, "CI": str(ci).lower(), "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)
    named = [line for line in done.stdout.partition(" left out")[2].splitlines() if line.startswith("test_")]
    return done.returncode, sorted(named)


ALL_LEFT_OUT = [
    "test_0.py::test_gives_up",
    "test_0.py::test_lenient",
    "test_0.py::test_lenient_passes",
    "test_0.py::test_marked",
    "test_0.py::test_skips",
    "test_1.py",
]


@pytest.mark.parametrize("ci", [True, False])
def test_what_proves_nothing_is_named_and_fails_in_ci(ci: bool, tmp_path: Path) -> None:
    """Whatever way a test or file is left out, it is named; in CI the run is red though nothing else failed."""
    code, named = pytest_run(tmp_path, LEFT_OUT, LEFT_OUT_FILE, HONEST, ci=ci)
    assert named == ALL_LEFT_OUT
    assert code == (pytest.ExitCode.TESTS_FAILED if ci else pytest.ExitCode.OK)


def test_in_ci_a_strict_expected_failure_is_no_gap(tmp_path: Path) -> None:
    """A strict xfail asserts something: it would turn red on the day it passes."""
    assert pytest_run(tmp_path, HONEST, ci=True) == (pytest.ExitCode.OK, [])


# -- the server --------------------------------------------------------------------------------------------------------
def client(real: Real, token: str | None = None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token or real.token}"}
    return httpx.Client(base_url=real.url, headers=headers, timeout=30, trust_env=False)


def picture(latitude: int, *, shade: int = 0) -> bytes:
    """A small JPEG taken at that many degrees north, 7 degrees east."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "ACME", "One"
    exif.get_ifd(0x8769)[0x9003] = "2025:06:01 10:00:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (latitude, 0, 0), 3: "E", 4: (7, 0, 0)})
    file = io.BytesIO()
    Image.effect_noise((640, 480), 40 + shade).convert("RGB").save(file, "JPEG", exif=exif)
    return file.getvalue()


def send(to: httpx.Client, upload_set: str, name: str, content: bytes) -> httpx.Response:
    return to.post(f"/api/upload_sets/{upload_set}/files", files={"file": (name, content, "image/jpeg")})


def new_set(to: httpx.Client) -> str:
    made = to.post("/api/upload_sets", json={"title": "tests", "no_split": True, "no_deduplication": True})
    return str(made.raise_for_status().json()["id"])


def files(of: httpx.Client, upload_set: str) -> dict[str, Any]:
    rows = of.get(f"/api/upload_sets/{upload_set}/files").raise_for_status().json()["files"]
    return {row["file_name"]: row for row in rows}


@pytest.mark.real
def test_it_is_private_and_knows_its_accounts(real: Real) -> None:
    """It offers logged-only, and each token is its own account's; an unclaimed or garbled one is nobody's."""
    with client(real) as collector, client(real, real.instance.token("other")) as other:
        offered = collector.get("/api/configuration").json()["visibility"]["possible_values"]
        names = [someone.get("/api/users/me").json()["name"] for someone in (collector, other)]
    assert "logged-only" in offered
    assert names == ["collector", "other"]
    with client(real, real.instance.unclaimed_token()) as unclaimed, client(real, real.token + "x") as garbled:
        assert [nobody.get("/api/users/me").status_code for nobody in (unclaimed, garbled)] == [403, 401]


@pytest.mark.real
def test_an_excluded_area_lasts_as_long_as_its_context(real: Real) -> None:
    """A picture from within is refused, and taken afterwards."""
    with client(real) as collector:
        upload_set = new_set(collector)
        with real.instance.excluded_area(6.9, 42.9, 7.1, 43.1):
            assert send(collector, upload_set, "in.jpg", picture(43)).status_code == 400
        assert send(collector, upload_set, "out.jpg", picture(43, shade=1)).status_code == 202


@pytest.mark.real
def test_the_worker_comes_back_after_an_undecodable_picture(real: Real) -> None:
    """A JPEG cut in half ends the worker; the picture after it is processed nevertheless."""

    def done() -> bool:
        rest = (
            f"SELECT count(*) FROM pictures WHERE upload_set_id = '{upload_set}' AND status NOT IN ('ready', 'broken')"
        )
        return real.instance.sql(rest) == "0"

    with client(real) as collector:
        upload_set = new_set(collector)
        whole = picture(44)
        cut = picture(44, shade=1)
        sent = [
            send(collector, upload_set, "cut.jpg", cut[: len(cut) // 2]),
            send(collector, upload_set, "w.jpg", whole),
        ]
        assert [answer.status_code for answer in sent] == [202, 202]
        collector.post(f"/api/upload_sets/{upload_set}/complete").raise_for_status()
        assert wait(done, 90)
        identities = [answer.json()["picture_id"] for answer in sent]
        states = [real.instance.sql("SELECT status FROM pictures WHERE id = :'id'", id=one) for one in identities]
        assert states == ["broken", "ready"]

        real.instance.set_status(identities[0], "ready")
        assert real.instance.sql("SELECT status FROM pictures WHERE id = :'id'", id=identities[0]) == "ready"
        real.instance.lose(identities[1])
        lost = files(collector, upload_set)["w.jpg"]
        assert lost.get("picture_id") is None
        assert lost.get("rejected") is None


@pytest.mark.real
def test_a_killed_api_comes_back_with_its_data(real: Real) -> None:
    """After SIGKILL nobody answers; after the restart the same port serves the same sets."""
    with client(real) as collector:
        upload_set = new_set(collector)
        real.instance.kill_api()
        try:
            with pytest.raises(httpx.TransportError):  # refused, or a kept connection that is reset
                collector.get("/api/configuration")
        finally:
            real.instance.restart_api()
        assert collector.get(f"/api/upload_sets/{upload_set}").json()["id"] == upload_set
