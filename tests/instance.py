"""Our own real Panoramax on loopback, for the tests; importable, and usable by hand.

    python tests/instance.py start           an empty one; prints URL and the file that holds a token
    python tests/instance.py stop            ends all that was started
    python tests/instance.py token [NAME]    a fresh token for the account NAME
    python tests/instance.py sql TEXT        the answer of its database
    python tests/instance.py kill-api        SIGKILL, to see what a client makes of it
    python tests/instance.py restart-api     the data stay
    python tests/instance.py install         only what is missing; exit 69: not possible here
    python tests/instance.py run -- COMMAND  starts it, runs COMMAND, stops it whatever happens; COMMAND's exit code
    python tests/instance.py run --beside -- COMMAND    the same with a second server, of the same programs

Everything lies below AILASD_TEST_HOME (default ~/.cache/ailasd-tests; for root /var/cache/ailasd-tests, because
PostgreSQL's own user cannot enter /root). Each start gives an empty server, since tests that send the same bytes again
would meet the pictures of the run before: keep nothing there. A test run ends one started by hand in the same home.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from daemons import Daemons, wait
from oidc_provider import Provider
from provision import (
    SERVER,
    Unavailable,
    database_user,
    install,
    output_of,
    postgresql,
    provider_programs,
    server_programs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

EMPTY = "empty_" + re.sub(r"\W+", "_", SERVER)  # the migrated database that each start copies: 0.3 s instead of 8 s
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
START_S = 120.0  # two cores need 3 s; a Pi that reads all of it from its card the first time, a minute

SETTINGS = {
    "FLASK_APP": "geovisio",
    "API_FORCE_AUTH_ON_UPLOAD": "true",
    "API_REGISTRATION_IS_OPEN": "false",  # without it "logged-only" is refused
    "API_DEFAULT_PICTURE_VISIBILITY": "logged-only",
    "PICTURE_PROCESS_DERIVATES_STRATEGY": "ON_DEMAND",
    "PICTURE_PROCESS_THREADS_LIMIT": "0",  # pictures are processed by the worker, not inside the API
    "PYTHONUNBUFFERED": "1",
}
SUPERVISED = 'while :; do "$@"; sleep 0.5; done'
"""An undecodable JPEG ends the worker: it comes back, as a container would."""


def answers(url: str) -> bool:
    """Whether there is something."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def default_home() -> Path:
    """The folder for everything, shared by all test runs of this user."""
    if chosen := os.environ.get("AILASD_TEST_HOME"):
        return Path(chosen).absolute()
    return Path("/var/cache/ailasd-tests") if os.geteuid() == 0 else Path.home() / ".cache/ailasd-tests"


def beside(home: Path) -> Path:
    """The home of a second server; its programs, and the guests' disks, are those of the first."""
    second = home / "beside"
    for path in (server_programs(home).parent, provider_programs(home).parent, home / "guest"):
        path.mkdir(parents=True, exist_ok=True)
        same = second / path.name
        if not same.is_symlink():
            second.mkdir(exist_ok=True)
            same.symlink_to(path)
    return second


class Instance:
    """A private Panoramax: database, API, one supervised worker. Any program may take it over by its ``home``."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or default_home()
        self.daemons = Daemons(self.home)
        self.pictures = self.home / "pictures"
        self.token_file = self.home / "token"

    @property
    def cluster(self) -> Path:
        """The database's files; another PostgreSQL cannot read them."""
        return self.home / f"cluster-{postgresql().parts[-2]}"

    @property
    def url(self) -> str:
        """Where it answers, once it was started."""
        return f"http://127.0.0.1:{self._port('api')}"

    # -- life --------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Start an empty server; what an earlier program left behind is ended first.

        Raises:
            Unavailable: something is missing here.
        """
        install(self.home)
        self.stop()
        (self.home / "ports.json").write_text(json.dumps({"api": free_port(), "database": free_port()}))
        try:
            self.start_database()
            self._empty()
            self.start_api()
        except BaseException:
            self.stop()
            raise
        self.token_file.touch(0o600)
        self.token_file.write_text(self.token())

    def stop(self) -> None:
        """End everything that was started below this home, by whichever program."""
        self.stop_api()
        self.stop_database()

    def start_database(self) -> None:
        """Start PostgreSQL on its own cluster, which is made if need be."""
        if not (self.cluster / "PG_VERSION").exists():
            self._make_cluster()
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": self._port("database"),
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [self._postgres("postgres"), "-D", str(self.cluster), *flags]
        self.daemons.spawn("database", command, env=os.environ, user=database_user())
        ready = [self._postgres("pg_isready"), "-q", "-h", "127.0.0.1", "-p", self._port("database")]
        self._await("database", lambda: subprocess.run(ready, check=False).returncode == 0)

    def stop_database(self) -> None:
        """SIGINT is PostgreSQL's fast shutdown: it does not wait for its clients."""
        self.daemons.end("database", signal.SIGINT)

    def start_api(self) -> None:
        """Start the API and the worker; returns when it answers."""
        # of a program that was killed in mid-start: nobody else would ever remove it (`yoyo break-lock`)
        self.sql("DELETE FROM yoyo_lock")
        env = self._environment("panoramax")
        size = ["--workers", "2", "--threads", "4", "--timeout", "120", "--graceful-timeout", "5"]
        bind = ["--bind", f"127.0.0.1:{self._port('api')}"]
        self.daemons.spawn("api", [self._server("gunicorn"), *bind, *size, "geovisio:create_api()"], env=env)
        worker = [self._server("panoramax_backend"), "picture-worker"]
        self.daemons.spawn("worker", ["bash", "-c", SUPERVISED, "worker", *worker], env=env)
        self._await("api", self.answers)

    def stop_api(self) -> None:
        """End the API and the worker; the database stays."""
        for name in ("worker", "api", "api-with-login", "provider"):
            self.daemons.end(name)

    def restart_api(self) -> None:
        """The same port, the same data."""
        self.stop_api()
        self.start_api()

    def kill_api(self) -> None:
        """SIGKILL for the API and all its processes, as a crash would; ``restart_api`` brings it back."""
        self.daemons.end("api", signal.SIGKILL)

    @contextlib.contextmanager
    def with_login(self) -> Iterator[str]:
        """A second API on the same data, whose people log in at an OpenID Connect provider; its URL."""
        port, provider_port, client = free_port(), free_port(), ("panoramax", secrets.token_hex(16))
        settings = {
            "OAUTH_PROVIDER": "oidc",
            "OAUTH_OIDC_URL": f"http://127.0.0.1:{provider_port}",
            "OAUTH_CLIENT_ID": client[0],
            "OAUTH_CLIENT_SECRET": client[1],
        }
        url = f"http://127.0.0.1:{port}"
        api = [self._server("gunicorn"), "--bind", f"127.0.0.1:{port}", "geovisio:create_api()"]
        folder = self.home / "provider"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            provider = Provider(provider_programs(self.home), folder, provider_port, client, f"{url}/api/auth/redirect")
            self.daemons.spawn("provider", provider.command, env=provider.env)
            self._await("provider", lambda: answers(f"{settings['OAUTH_OIDC_URL']}/.well-known/openid-configuration"))
            self.daemons.spawn("api-with-login", api, env={**self._environment("panoramax"), **settings})
            self._await("api-with-login", lambda: self.answers(url))
            yield url
        finally:
            for name in ("api-with-login", "provider"):
                self.daemons.end(name)

    def answers(self, url: str = "") -> bool:
        """Whether the API serves its configuration."""
        return answers(f"{url or self.url}/api/configuration")

    # -- what an administrator can do --------------------------------------------------------------------------------
    def sql(self, text: str, *, database: str = "panoramax", **values: str) -> str:
        """The answer: one row a line, columns parted by ``|``. ``:'name'`` in the text is that value, quoted."""
        at = ["-h", "127.0.0.1", "-p", self._port("database"), "-U", "postgres", "-d", database]
        given = [part for name, value in values.items() for part in ("-v", f"{name}={value}")]
        psql = [self._postgres("psql"), "--no-psqlrc", "-qtA", "-v", "ON_ERROR_STOP=1", *at, *given]
        return output_of(psql, stdin=text, cwd=self.home).strip()

    def token(self, account: str = "collector") -> str:
        """A fresh token for the account of that name, which is made if need be."""
        known = "SELECT FROM accounts WHERE name = :'name'"
        self.sql(f"INSERT INTO accounts (name) SELECT :'name' WHERE NOT EXISTS ({known})", name=account)
        owner = "SELECT id, 'tests' FROM accounts WHERE name = :'name'"
        return self._jwt(self.sql(f"INSERT INTO tokens (account_id, description) {owner} RETURNING id", name=account))

    def unclaimed_token(self) -> str:
        """A token that nobody took as theirs yet: 403 until then."""
        return self._jwt(self.sql("INSERT INTO tokens (description) VALUES ('unclaimed') RETURNING id"))

    @contextlib.contextmanager
    def excluded_area(self, west: float, south: float, east: float, north: float) -> Iterator[None]:
        """Nobody may upload pictures from within this box (degrees) as long as the context lasts."""
        box = f"ST_Multi(ST_MakeEnvelope({west}, {south}, {east}, {north}, 4326))"
        area = self.sql(f"INSERT INTO excluded_areas (label, geom) VALUES ('tests', {box}) RETURNING id")
        try:
            yield
        finally:
            self.sql("DELETE FROM excluded_areas WHERE id = :'id'", id=area)

    def lose(self, picture: str) -> None:
        """The picture is gone: its row of the set's listing has neither ``picture_id`` nor ``rejected``."""
        self.sql("DELETE FROM pictures WHERE id = :'id'", id=picture)

    def set_status(self, picture: str, status: str) -> None:
        """As if processing had come to this: ``broken``, ``ready``, ``waiting-for-process``, ..."""
        self.sql(
            "UPDATE pictures SET status = :'status', updated_at = now() WHERE id = :'id'", id=picture, status=status
        )

    # -- inside ------------------------------------------------------------------------------------------------------
    def _make_cluster(self) -> None:
        shutil.rmtree(self.cluster, ignore_errors=True)  # of an initdb that was killed
        self.cluster.mkdir(0o700)
        user = database_user()
        if user:
            shutil.chown(self.cluster, user, user)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        output_of([self._postgres("initdb"), *options, "-D", str(self.cluster)], cwd=self.home, user=user)

    def _empty(self) -> None:
        """No picture, no account: a copy of the migrated empty database, which is made at the first start."""
        if EMPTY not in self.sql("SELECT datname FROM pg_database WHERE datistemplate", database="postgres").split():
            self._migrate()
        self.sql("DROP DATABASE IF EXISTS panoramax WITH (FORCE)", database="postgres")
        self.sql(f"CREATE DATABASE panoramax OWNER panoramax TEMPLATE {EMPTY}", database="postgres")
        shutil.rmtree(self.pictures, ignore_errors=True)
        self.pictures.mkdir()

    def _migrate(self) -> None:
        for text in (
            "DROP DATABASE IF EXISTS panoramax",
            f"DROP DATABASE IF EXISTS {EMPTY}",  # of a first start that was killed
            "DROP ROLE IF EXISTS panoramax",
            "CREATE ROLE panoramax LOGIN",
            "ALTER ROLE panoramax SET timezone TO 'UTC'",
            "GRANT SET ON PARAMETER session_replication_role TO panoramax",  # the server's migrations set it
            f"CREATE DATABASE {EMPTY} OWNER panoramax",
        ):
            self.sql(text, database="postgres")
        self.sql("CREATE EXTENSION postgis", database=EMPTY)
        migrate = [self._server("panoramax_backend"), "db", "upgrade"]
        output_of(migrate, cwd=self.home, env=self._environment(EMPTY))
        self.sql(f"ALTER DATABASE {EMPTY} IS_TEMPLATE true", database="postgres")  # the mark that it is complete

    def _environment(self, database: str) -> Mapping[str, str]:
        url = f"postgres://panoramax@127.0.0.1:{self._port('database')}/{database}"
        own = {"DB_URL": url, "FS_URL": str(self.pictures), "FLASK_SECRET_KEY": self._secret()}
        return {**os.environ, **SETTINGS, **own}

    def _secret(self) -> str:
        file = self.home / "secret"
        if not file.exists():
            file.touch(0o600)
            file.write_text(secrets.token_hex(32))
        return file.read_text()

    def _jwt(self, token: str) -> str:
        """HS256 (RFC 7515), with what the server's own tokens say."""
        said = ({"alg": "HS256"}, {"iss": "geovisio", "sub": token})
        signed = ".".join(base64url(json.dumps(part).encode()) for part in said)
        return f"{signed}.{base64url(hmac.digest(self._secret().encode(), signed.encode(), hashlib.sha256))}"

    def _server(self, program: str) -> str:
        return str(server_programs(self.home) / program)

    def _postgres(self, program: str) -> str:
        return str(postgresql() / program)

    def _port(self, of: str) -> str:
        return str(json.loads((self.home / "ports.json").read_text())[of])

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        wait(lambda: ready() or not self.daemons.alive(name), START_S)
        if not ready():
            log = (self.home / f"{name}.log").read_text(errors="replace").splitlines()
            raise RuntimeError("\n".join([f"the {name} did not start:", *log[-15:]]))


def base64url(value: bytes) -> str:
    """As JSON Web Tokens want it: without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def free_port() -> int:
    """A port that nobody listens on, below the kernel's range for clients (32768 and up).

    A client that knocks at a dead server's port could else be given that very port, and talk to itself.
    """
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise Unavailable("1000 ports between 20000 and 32000 were tried, all are in use")


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """One test run at a time in one home; the next one waits."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for the test run that uses {home}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def running(home: Path | None = None) -> Iterator[Instance]:
    """An empty server for as long as the context lasts.

    Raises:
        Unavailable: something is missing here.
    """
    instance = Instance(home)
    with locked(instance.home):
        try:
            instance.start()
            yield instance
        finally:
            instance.stop()


def run(command: Sequence[str], home: Path | None = None) -> int:
    """Run a command that finds the server by AILASD_TEST_URL and AILASD_TEST_TOKEN_FILE; returns its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    began = time.monotonic()
    with running(home) as instance:
        print(f"real Panoramax at {instance.url}, ready after {time.monotonic() - began:.1f} s", flush=True)
        found_by = {
            "AILASD_TEST_HOME": str(instance.home),
            "AILASD_TEST_URL": instance.url,
            "AILASD_TEST_TOKEN_FILE": str(instance.token_file),
        }
        child = subprocess.Popen(command, env={**os.environ, **found_by})
        try:
            code = child.wait()
        except KeyboardInterrupt:  # the terminal told the child as well: let it say its last words
            code = child.wait(30)
        finally:
            child.terminate()
    return code if code >= 0 else 128 - code


def main(arguments: Sequence[str]) -> int:
    """What the module's text says."""
    instance = Instance()
    match list(arguments):
        case ["start"]:
            with locked(instance.home):
                instance.start()
            print(f"URL={instance.url}\nTOKEN_FILE={instance.token_file}")
        case ["stop"]:
            instance.stop()
        case ["install"]:
            install(instance.home)
        case ["token", *name]:
            print(instance.token(*name[:1]))
        case ["sql", text]:
            print(instance.sql(text))
        case ["kill-api"]:
            instance.kill_api()
        case ["restart-api"]:
            instance.restart_api()
        case ["run", "--", *command] if command:
            return run(command)
        case ["run", "--beside", "--", *command] if command:
            return run(command, beside(instance.home))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Unavailable as missing:
        print(missing, file=sys.stderr)
        sys.exit(EXIT_UNAVAILABLE)
