"""A kit becomes known to its server: the command as people type it, somebody's click, and what is left of it."""

from __future__ import annotations

import os
import pty
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
from as_on_a_kit import environment
from click.testing import CliRunner, Result
from oidc_provider import ADDRESS, NAME, PASSWORD, forms_of

from ailasd import login
from ailasd.catalogue import Catalogue
from ailasd.cli import program
from ailasd.cli.exits import Exit
from ailasd.clock import SystemClock
from ailasd.demo.receiver import Receiver
from ailasd.errors import NotLoggedIn, TryLater, WrongServer
from ailasd.panoramax import Newcomer, Panoramax

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Real

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"http://\S+/claim")


class Kit(NamedTuple):
    """A kit that its server does not know yet."""

    home: Path
    url: str

    @property
    def token(self) -> Path:
        return self.home / "token"

    def command(self, *words: str, configured: str = "", config: Path | None = None) -> list[str]:
        config = config or self.home / "config.toml"
        config.write_text(
            f'kit = "kit-07"\n[storage]\nfolder = "{self.home}/state"\n'
            f'[server]\nurl = "{configured}"\ntoken_file = "{self.token}"\n'
        )
        return [sys.executable, "-m", "ailasd", "--config", str(config), "login", *words]

    def spawn(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        command = self.command(*words, **how)
        return subprocess.Popen(
            command, cwd=ROOT, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *words: str, said: str = "", **how: Any) -> Result:
        """In this process."""
        return CliRunner().invoke(program, self.command(*words, **how)[3:], input=said)

    def knows(self, account: str) -> None:
        """Its pictures went to that account before."""
        (self.home / "state").mkdir()
        with Catalogue(self.home / "state/catalogue.db", SystemClock()) as catalogue:
            catalogue.telling.remember("account", account)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def kit(tmp_path: Path, receiver: Receiver) -> Kit:
    return Kit(tmp_path, receiver.url)


def link_shown(running: subprocess.Popen[str]) -> str:
    """The link, as soon as it is there."""
    assert running.stderr is not None
    while line := running.stderr.readline():
        if found := LINK.search(line):
            return found[0]
    raise AssertionError(f"ended without showing a link: {running.wait()}")


def click(link: str, token: str) -> None:
    """Open the link as somebody who is logged in; the server takes a token instead of a browser's session."""
    answer = httpx.get(link, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert answer.status_code == 302


def account_of(url: str, token: str) -> str:
    with Panoramax(url, token, agent="test") as server:
        return server.who_am_i().name


def claim(kit: Kit, token: str, *words: str, **how: Any) -> tuple[int, str, str]:
    """Log the kit in, with somebody who clicks; exit code, stdout, the rest of stderr."""
    running = kit.spawn(*words, **how)
    click(link_shown(running), token)
    out, said = running.communicate(timeout=60)
    return running.returncode, out, said


# -- all is well ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("server", ["fake", pytest.param("real", marks=pytest.mark.real)])
def test_claimed(request: pytest.FixtureRequest, tmp_path: Path, server: str) -> None:
    """A link is shown, somebody opens it, the token is stored for us alone, and what to configure is said."""
    there: Any = request.getfixturevalue("receiver" if server == "fake" else "real")
    mine = there.token("somebody") if server == "fake" else there.instance.token("somebody")
    kit = Kit(tmp_path, there.url)
    code, out, said = claim(kit, mine, there.url)
    assert (code, out) == (0, "")
    assert f'{there.url} knows this kit as "somebody"' in said
    assert f'[server]\nurl = "{there.url}"' in said
    token = kit.token.read_text().strip()
    assert stat.S_IMODE(kit.token.stat().st_mode) == 0o600
    assert account_of(there.url, token) == "somebody"
    assert token not in said


@pytest.mark.real
def test_claimed_by_somebody_who_logs_in(real: Real, tmp_path: Path) -> None:
    """Whoever opens the link logs in at the server's OpenID Connect provider; the kit has that account then."""
    with real.instance.with_login() as url:
        kit = Kit(tmp_path, url)
        running = kit.spawn(url)
        with httpx.Client(trust_env=False) as browser:
            page = followed(browser, browser.get(link_shown(running)))
            for field, text in (("login", NAME), ("password", "?"), ("password", PASSWORD), ("answer", "accept")):
                assert running.poll() is None
                (form,) = forms_of(page.text)
                assert field in form  # a wrong password leads to the same form again
                page = followed(browser, browser.post(page.url, data={**form, field: text}))
        out, said = running.communicate(timeout=60)
        assert (running.returncode, out) == (0, "")
        assert f'{url} knows this kit as "{ADDRESS}"' in said
        assert account_of(url, kit.token.read_text().strip()) == ADDRESS


def followed(browser: httpx.Client, answer: httpx.Response) -> httpx.Response:
    """Where redirects lead, on this machine."""
    for _ in range(10):
        if answer.next_request is None or answer.next_request.url.host != "127.0.0.1":
            break
        answer = browser.send(answer.next_request)
    return answer


def test_named_after_the_kit(kit: Kit, receiver: Receiver) -> None:
    """Whoever looks at the list of tokens sees which kit has which."""
    descriptions = []
    generate = receiver.store.tokens.generate

    def noting(url: str, description: str) -> Any:
        descriptions.append(description)
        return generate(url, description)

    receiver.store.tokens.generate = noting  # type: ignore[method-assign]
    assert claim(kit, receiver.token(), configured=kit.url)[0] == 0
    assert descriptions == ["kit-07"]


def test_into_a_pipe(kit: Kit, receiver: Receiver) -> None:
    """With --stdout the token is the only thing on stdout, and no file is written."""
    code, out, said = claim(kit, receiver.token("somebody"), kit.url, "--stdout")
    assert code == 0
    assert account_of(kit.url, out.removesuffix("\n")) == "somebody"
    assert out.strip() not in said
    assert not kit.token.exists()


def test_a_token_from_stdin(kit: Kit, receiver: Receiver) -> None:
    """A token that an administrator made is tried, and stored if it is good."""
    token = receiver.token("somebody")
    done = kit.run(kit.url, "--token-stdin", said=f"{token}\n")
    assert done.exit_code == 0, done.stderr
    assert kit.token.read_text() == f"{token}\n"
    receiver.revoke(token)
    kit.token.unlink()
    done = kit.run(kit.url, "--token-stdin", said=token)
    assert done.exit_code == Exit.NO_LOGIN
    assert "was revoked" in done.stderr
    assert token not in done.stderr
    assert not kit.token.exists()


def test_a_picture_of_the_link(kit: Kit, receiver: Receiver) -> None:
    """On a terminal the link is also a QR code of its own width, in its own colours."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        kit.command(kit.url), cwd=ROOT, stdout=theirs, stderr=theirs, env=environment(PYTHONIOENCODING="utf-8")
    )
    os.close(theirs)
    shown = b""
    try:
        while b"Waiting" not in shown:
            shown += os.read(ours, 4096)
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(30)
        os.close(ours)
    assert running.returncode == Exit.INTERRUPTED
    assert len(re.findall("\x1b\\[[0-9;]+m[ ▀▄█\u00a0]{30,}", shown.decode())) >= 15


# -- all is not well --------------------------------------------------------------------------------------------------
def test_interrupted(kit: Kit) -> None:
    """Ctrl-C while it waits: 130, no file, no token."""
    running = kit.spawn(kit.url)
    link_shown(running)
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=30)[1]
    assert running.returncode == Exit.INTERRUPTED
    assert "nothing is changed" in said
    assert not kit.token.exists()


def test_another_account(kit: Kit, receiver: Receiver) -> None:
    """Claimed for another account than the pictures': 77, the old token stays, and the new one is deleted there."""
    with Panoramax(kit.url, receiver.token("first"), agent="test") as server:
        kit.knows(server.who_am_i().id)
    kit.token.write_text("old")
    running = kit.spawn(kit.url)
    link = link_shown(running)
    somebody = receiver.token("second")
    click(link, somebody)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == Exit.NO_LOGIN
    assert 'another account ("second")' in said
    assert kit.token.read_text() == "old"
    with pytest.raises(AssertionError):  # 404: there is no such token
        click(link, somebody)


def test_the_right_account(kit: Kit, receiver: Receiver) -> None:
    """Claimed for the account that has our pictures, it is stored."""
    mine = receiver.token("first")
    with Panoramax(kit.url, mine, agent="test") as server:
        kit.knows(server.who_am_i().id)
    assert claim(kit, mine, kit.url)[0] == 0


def test_a_public_instance(kit: Kit, receiver: Receiver) -> None:
    """Where our pictures would be public no token is asked for."""
    receiver.store.visibilities.remove("logged-only")
    done = kit.run(kit.url)
    assert done.exit_code == Exit.NO_LOGIN
    assert "logged-only" in done.stderr
    assert [request.call for request in receiver.requests] == ["instance"]


@pytest.mark.parametrize(
    ("words", "configured", "code", "says"),
    [
        ((), "", Exit.USAGE, "ailasd login URL"),
        (("panoramax.example.org",), "", Exit.USAGE, "must begin with https://"),
        (("http://panoramax.example.org",), "", Exit.USAGE, "server.plain_http"),
        (("https://a.example.org",), "https://b.example.org", Exit.CONFIG, "server.url is https://b.example.org"),
    ],
)
def test_which_server(kit: Kit, words: tuple[str, ...], configured: str, code: int, says: str) -> None:
    """No address, a bad one, or another than the configured one: nothing is asked anywhere."""
    done = kit.run(*words, configured=configured)
    assert done.exit_code == code
    assert says in done.stderr


def test_nowhere_to_store_it(kit: Kit, receiver: Receiver) -> None:
    """Where the token could not be stored there is not even one made."""
    nowhere = Kit(kit.home / "nowhere", kit.url)
    done = nowhere.run(kit.url, config=kit.home / "config.toml")
    assert done.exit_code == Exit.PERSON
    assert "systemd-creds" in done.stderr
    assert not receiver.requests


def test_redirected(kit: Kit, receiver: Receiver) -> None:
    """A portal that sends us on is not followed."""
    receiver.fault("instance", "redirect", location=f"{kit.url}/api/users/me", times=None)
    done = kit.run(kit.url)
    assert done.exit_code == Exit.TEMPORARY
    assert {request.call for request in receiver.requests} == {"instance"}


# -- waiting ----------------------------------------------------------------------------------------------------------
def waited(receiver: Receiver, *, patience_s: float = 5.0, shown: Any = lambda _: None) -> str:
    """The token that ``claimed`` gives."""

    def connect(token: str | None) -> Newcomer:
        return Newcomer(receiver.url, token, agent="test")

    stop = threading.Event()
    how: dict[str, Any] = {"kit": "kit", "known": None, "show": shown, "stop": stop, "patience_s": patience_s}
    with login.claimed(connect, **how) as (token, _):
        return token


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "LOOK_S", 0.05)


@pytest.mark.usefixtures("quick")
def test_a_link_that_comes_and_goes(receiver: Receiver) -> None:
    """While it waits the server may be away: that is no reason to begin again."""

    def show(link: str) -> None:
        receiver.fault("who", "drop_before", times=4)  # two looks: a GET is asked again
        receiver.fault("who", "status", code=502, times=2)
        click(link, receiver.token())

    assert waited(receiver, shown=show)


@pytest.mark.usefixtures("quick")
def test_nobody_comes(receiver: Receiver) -> None:
    """It gives up after a while, having asked a few times, ever more seldom."""
    with pytest.raises(TryLater, match="nobody claimed the token"):
        waited(receiver, patience_s=1.0)
    asked = sum(request.call == "who" for request in receiver.requests)
    assert 4 <= asked <= 12


@pytest.mark.usefixtures("quick")
def test_a_server_that_wants_to_be_left_alone(receiver: Receiver) -> None:
    """Retry-After is heeded; beyond our patience it ends the waiting at once."""
    receiver.fault("who", "status", code=503, headers={"Retry-After": "60"}, times=None)
    began = time.monotonic()
    with pytest.raises(TryLater):
        waited(receiver)
    assert time.monotonic() - began < 2


@pytest.mark.usefixtures("quick")
def test_deleted_while_waiting(receiver: Receiver) -> None:
    """A token that the server does not know any more ends it."""

    def show(_: str) -> None:
        (token,) = receiver.store.tokens
        receiver.revoke(token)

    with pytest.raises(NotLoggedIn, match="was revoked"):
        waited(receiver, shown=show)


@pytest.mark.usefixtures("quick")
def test_what_may_not_be_used_is_deleted(receiver: Receiver) -> None:
    """The instance became public while somebody clicked: the token is not left behind."""

    def show(link: str) -> None:
        receiver.store.visibilities.remove("logged-only")
        click(link, receiver.token())

    with pytest.raises(WrongServer):
        waited(receiver, shown=show)
    assert receiver.requests[-1].call == "forget_token"
    assert receiver.requests[-1].status == 200


# -- the link ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("theirs", "shown"),
    [
        ("http://panoramax.example.org/api/x/claim", "https://panoramax.example.org:8443/api/x/claim"),
        ("https://login.example.org/api/x/claim", "https://login.example.org/api/x/claim"),
        ("http://login.example.org/api/x/claim", None),
        ("https://panoramax.example.org", None),
        ("javascript:alert(1)", None),
        ("https://[panoramax/api/x/claim", None),
        ("https://panoramax.example.org/\x1b[2J", None),
    ],
)
def test_whose_link(theirs: str, shown: str | None) -> None:
    """A proxy's http and port become ours; to another host only https leads; anything else is not shown."""
    with Newcomer("https://panoramax.example.org:8443", None, agent="test") as server:
        if shown is not None:
            assert server._ours(theirs, "x") == shown
            return
        with pytest.raises(TryLater):
            server._ours(theirs, "x")
