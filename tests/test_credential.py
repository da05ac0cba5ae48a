"""The token: it comes from one place, nobody else can read it, and nothing shows it."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kit import held_to_permissions

from ailasd import credential
from ailasd.config import Config, parse
from ailasd.config.tables import Server
from ailasd.errors import ConfigError, NeedsHuman
from ailasd.logs import mask

if TYPE_CHECKING:
    from collections.abc import Callable

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJnZW92aXNpbyJ9.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def kit(tmp_path: Path, content: bytes | None = None, *, mode: int = 0o600, **more: Any) -> Config:
    """A configuration with a token file."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    server = Server(url="https://panoramax.example.org", token_file=path)
    return Config(server=server.model_copy(update=more))


def fault(config: Config) -> str:
    """Why there is no token; that it shows nothing of one is held here for every test."""
    with pytest.raises(ConfigError) as caught:
        credential.load(config)
    assert "eyJ" not in str(caught.value)
    cause = caught.value.__context__
    assert cause is None or "eyJ" not in repr(cause)
    return mask(str(caught.value))  # which must leave the path and the way out


# -- the file ---------------------------------------------------------------------------------------------------------
def test_the_token_is_stripped(tmp_path: Path) -> None:
    """A newline or spaces around the token, as editors leave them, do not matter."""
    assert credential.load(kit(tmp_path, f"  {JWT}\r\n".encode())) == JWT


@pytest.mark.parametrize(
    "content",
    [
        *[None, b"", b" \n", JWT.encode() + b"\nX-Other: 1", b"Bearer " + JWT.encode(), JWT.encode() + b"\x00"],
        *[JWT.encode() + b"\xff", JWT.encode() * 200, "é".encode() + JWT.encode()],
    ],
)
def test_what_is_no_token_is_refused_without_showing_it(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty, torn or overlong token file is a ConfigError that shows nothing of it, nor does its cause."""
    assert str(tmp_path / "token") in fault(kit(tmp_path, content))


def test_without_a_server_no_token_is_needed() -> None:
    """With server.url empty nothing is looked for."""
    assert credential.load(Config()) == ""


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """Any right of the group or of others is one too many, and the command to type is said."""
    assert f"chmod 600 {tmp_path}/token" in fault(kit(tmp_path, JWT.encode(), mode=mode))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Whoever owns it could have put another token there; of root's own and the service's none is refused to root."""
    config = kit(tmp_path, JWT.encode())
    os.chown(config.server.token_file, 1234, 1234)
    assert credential.load(config) == JWT
    os.seteuid(4321)
    try:
        with pytest.raises(ConfigError, match="belongs to another user"):
            credential._Ours(config.server.token_file)(os.stat_result((0o100600, 0, 0, 0, 1234, *[0] * 5)))
        credential._Ours(config.server.token_file)(os.stat_result((0o100600, 0, 0, 0, 0, *[0] * 5)))
    finally:
        os.seteuid(0)


# -- the other places -------------------------------------------------------------------------------------------------
def test_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What systemd hands over is used, with the mode that systemd gives it (0440 with an ACL)."""
    (tmp_path / credential.NAME).write_text(JWT)
    (tmp_path / credential.NAME).chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert credential.load(kit(tmp_path)) == JWT
    assert credential.place(kit(tmp_path)).of_systemd


@pytest.mark.parametrize("pair", [("credential", "file"), ("credential", "command"), ("command", "file")])
def test_two_places_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str]) -> None:
    """Nobody can tell which token counts, so none does, and both places are named."""
    if "credential" in pair:
        (tmp_path / credential.NAME).write_text(JWT)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    more: dict[str, Any] = {"token_command": ("true",)} if "command" in pair else {}
    said = fault(kit(tmp_path, JWT.encode() if "file" in pair else None, **more))
    words = {
        "credential": "systemd's credential ailasd-token",
        "command": "server.token_command",
        "file": f"{tmp_path}/token",
    }
    assert all(words[one] in said for one in pair)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('token_command = "pass show kit"', "must be a list"),
        ('token_command = ["pass", ""]', "empty text"),
        (f'token_command = ["echo", "{JWT}"]', "must not hold the token itself"),
        ('token_command = ["pass"]\ntoken_file = "/somewhere"', "cannot be together with server.token_file"),
    ],
)
def test_a_command_that_cannot_be_one(text: str, fault: str) -> None:
    """No shell's line, no empty word, no token in the configuration, no second source."""
    with pytest.raises(ConfigError, match=fault) as caught:
        parse(f"[server]\n{text}", "here")
    assert "eyJ" not in str(caught.value)


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_a_command_prints_it(tmp_path: Path) -> None:
    """What it says on stderr meanwhile does not matter, nor does something that it leaves running."""
    printing = python(f"import sys; print('unlocking', file=sys.stderr); print('{JWT}')")
    assert credential.load(kit(tmp_path, token_command=printing)) == JWT


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("/nonexistent/pass",), "cannot be started: No such file"),
        (python(f"import sys; print('{JWT}'); sys.exit('no key for {JWT}')"), "failed (1): no key for ***"),
        (python("print('tok' + 'en'); raise SystemExit('about token, too')"), "failed (1): about ***, too"),
        (python("print('x' * 9000)"), "more than 8 KiB"),
        (python("pass"), "is empty"),
        (python("print('two words')"), "alone"),
    ],
)
def test_a_command_that_fails(tmp_path: Path, command: tuple[str, ...], words: str) -> None:
    """It is named with its last words on stderr, but for the token."""
    said = fault(kit(tmp_path, token_command=command))
    assert "server.token_command" in said
    assert words in said


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(60)",
        "os.close(1), os.close(2), time.sleep(60)",
        "os.fork() and os._exit(0); time.sleep(60)",
        "while True: os.write(2, b'x' * 100)",
    ],
)
def test_a_command_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """It is ended with all that it has started, whether it is silent, deaf, forks or talks for ever."""
    monkeypatch.setattr(credential, "COMMAND_S", 0.5)
    began = time.monotonic()
    assert "does not end within" in fault(kit(tmp_path, token_command=python(f"import os, time\n{code}")))
    assert time.monotonic() - began < 10


# -- a new one --------------------------------------------------------------------------------------------------------
def test_a_new_one_is_stored_for_us_alone(tmp_path: Path) -> None:
    """It replaces what is there, has mode 0600 whatever the other had, and leaves nothing beside it."""
    config = kit(tmp_path, b"old", mode=0o644)
    assert credential.refuse_unless_storable(config) == tmp_path / "token"
    credential.store(JWT, config)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert credential.load(config) == JWT
    assert list(tmp_path.iterdir()) == [tmp_path / "token"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a service to give it to")
def test_root_stores_it_for_the_service(tmp_path: Path) -> None:
    """It belongs to whoever the pictures belong to."""
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 1234, 1234)
    config = kit(tmp_path)
    config = config.model_copy(update={"storage": config.storage.model_copy(update={"folder": tmp_path / "state"})})
    credential.store(JWT, config)
    assert (tmp_path / "token").stat().st_uid == 1234


def nowhere(config: Config) -> Config:
    return config.model_copy(
        update={"server": config.server.model_copy(update={"token_file": Path("/nonexistent/token")})}
    )


def commanded(config: Config) -> Config:
    return config.model_copy(update={"server": config.server.model_copy(update={"token_command": ("pass",)})})


@pytest.mark.parametrize("how", [nowhere, commanded])
def test_where_it_cannot_be_stored_another_way_is_said(tmp_path: Path, how: Callable[[Config], Config]) -> None:
    """Before there is a token: how to hand it to systemd."""
    with pytest.raises(NeedsHuman, match="LoadCredentialEncrypted=ailasd-token"):
        credential.refuse_unless_storable(how(kit(tmp_path)))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root's rights away")
def test_a_folder_of_others(tmp_path: Path) -> None:
    """Without the right to write there nothing changes, and sudo is named."""
    config = kit(tmp_path, b"old")
    tmp_path.chmod(0o500)
    with held_to_permissions():
        with pytest.raises(NeedsHuman, match="sudo ailasd login"):
            credential.refuse_unless_storable(config)
        with pytest.raises(NeedsHuman, match="cannot be written"):
            credential.store(JWT, config)
    tmp_path.chmod(0o700)
    assert (tmp_path / "token").read_bytes() == b"old"
