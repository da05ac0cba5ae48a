"""What a real Panoramax needs on this machine: PostgreSQL with PostGIS from Debian, the server in a venv of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SERVER = "geovisio==2.15.1"
MHL = "ascmhl==1.2"  # the reference of the Media Hash List (test_export)
PROVIDER = "canaille[front,oidc,sqlite,server]==0.3.6"  # an OpenID Connect provider (test_login)
AXE = "axe-playwright-python==0.1.8"  # of it only axe-core, which judges pages (test_web_seen)
POSTGIS = r"postgresql-([0-9]+)-postgis-3"  # Debian's name of it; 15 in Debian 12, 17 in Debian 13


class Unavailable(Exception):
    """A real Panoramax cannot be had here; the text says precisely what is missing and what to type."""


def install(home: Path) -> None:
    """Have everything, below ``home`` or as Debian packages.

    Raises:
        Unavailable: something is missing and may not be installed here.
    """
    home.mkdir(parents=True, exist_ok=True)
    try:
        postgresql()
    except Unavailable as missing:
        install_postgresql(str(missing))
    install_strace()
    install_lab_programs()
    install_apart(server_programs(home), ["install", SERVER])
    install_apart(provider_programs(home), ["install", PROVIDER])
    install_judges(home)
    user = database_user()
    if user and subprocess.run(["test", "-x", home], user=user, check=False).returncode:
        raise Unavailable(f"the user {user} cannot enter {home}; set AILASD_TEST_HOME to a folder that it can")


def database_user() -> str | None:
    """Whom the database runs as: PostgreSQL refuses to be root."""
    return "postgres" if os.geteuid() == 0 else None


def postgresql() -> Path:
    """The folder of the newest PostgreSQL's programs (Debian's layout) that has PostGIS.

    Raises:
        Unavailable: there is none.
    """
    versions = [
        int(initdb.parts[-3])
        for initdb in Path("/usr/lib/postgresql").glob("[0-9][0-9]/bin/initdb")
        if Path(f"/usr/share/postgresql/{initdb.parts[-3]}/extension/postgis.control").exists()
    ]
    if not versions:
        raise Unavailable("PostgreSQL with PostGIS is missing")
    return Path(f"/usr/lib/postgresql/{max(versions)}/bin")


def install_postgresql(missing: str) -> None:
    """Have Debian's own PostgreSQL and PostGIS, without a database server of Debian's.

    Raises:
        Unavailable: no Debian, not root, or apt failed.
    """
    if not shutil.which("apt-get"):
        raise Unavailable(f"{missing}, and there is no apt-get to install it")
    if os.geteuid() != 0:
        raise Unavailable(
            f"{missing}, and only root may install it: sudo apt-get install postgresql postgresql-postgis"
        )
    checked(["apt-get", "--quiet", "update"])
    offered = checked(["apt-cache", "search", "--names-only", f"^{POSTGIS}$"])
    versions = re.findall(rf"^{POSTGIS} ", offered, re.MULTILINE)
    if not versions:
        raise Unavailable(f"{missing}, and apt-cache knows no package {POSTGIS}")
    newest = max(versions, key=int)
    packages = [f"postgresql-{newest}", f"postgresql-{newest}-postgis-3"]
    with no_main_cluster():
        checked(["apt-get", "--quiet", "install", "--yes", "--no-install-recommends", *packages])
    postgresql()


def install_strace() -> None:
    """Have the program that kills our processes at chosen system calls (test_kill)."""
    if not shutil.which("strace"):
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise Unavailable("strace is missing: sudo apt-get install strace")
        checked(["apt-get", "--quiet", "install", "--yes", "--no-install-recommends", "strace"])


def install_guest_programs() -> None:
    """Have QEMU, and what builds the Debian that runs in it (guest_image).

    Raises:
        Unavailable: something is missing and may not be installed here.
    """
    programs = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "mmdebstrap": "mmdebstrap"}
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable("a guest is built by root on Debian alone: sudo tests/run -m guest")
    if missing:
        checked(["apt-get", "--quiet", "update"])
        checked(["apt-get", "--quiet", "install", "--yes", "--no-install-recommends", *missing])


LAB = [
    "alsa-utils",
    "udev",
    "dbus",
    "polkitd",
    "udisks2",
    "util-linux",
    "mount",
    "fdisk",
    "iproute2",
    "procps",
    "umockdev",
    "gir1.2-umockdev-1.0",
    "python3-gi",
    "dosfstools",
    "exfatprogs",
    "e2fsprogs",
    "mtools",
    "fusefat",
    "exfat-fuse",
    "dnsmasq-base",
    "network-manager",
    "systemd",
    "nftables",
    "socat",
    "tcpdump",
    "wireguard-go",
    "wireguard-tools",
    "openvpn",
    "gcc",
    "libc6-dev",
    "chromium",
    "chromium-driver",
    "prometheus",
    "gdal-bin",
]
"""What tests marked "lab", "roads" or "web" run in namespaces of their own; umockdev's binding is for Debian's own
Python. Of Prometheus only promtool is run (test_metrics), of GDAL ogrinfo (test_export)."""


UNWANTED = {"network-manager": "NetworkManager.service", "prometheus": "prometheus.service"}
"""Services that come with them and must not run: a machine that has another network manager must not get a second."""


def install_lab_programs() -> None:
    """Have what plays a whole machine on this one: udev, D-Bus, polkit, UDisks2, network managers, FAT and exFAT.

    Raises:
        Unavailable: something is missing and may not be installed here.
    """
    if not shutil.which("dpkg-query"):
        raise Unavailable("the lab needs Debian")
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n", *LAB]
    known = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    installed = {line.removeprefix("installed ") for line in known.splitlines() if line.startswith("installed ")}
    if not (missing := [package for package in LAB if package not in installed]):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"for the lab are missing: sudo apt-get install {' '.join(missing)}")
    for package, unit in UNWANTED.items():
        if package in missing:
            mask = Path("/etc/systemd/system", unit)
            mask.parent.mkdir(parents=True, exist_ok=True)
            if not mask.is_symlink():
                mask.symlink_to("/dev/null")
    checked(["apt-get", "--quiet", "update"])
    checked(["apt-get", "--quiet", "install", "--yes", "--no-install-recommends", *missing])


@contextlib.contextmanager
def no_main_cluster() -> Iterator[None]:
    """Keep Debian's package from making and starting a database server of its own; leaves no trace in /etc."""
    drop_in = Path("/etc/postgresql-common/createcluster.d/ailasd-tests.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text("create_main_cluster = false\n")
    try:
        yield
    finally:
        drop_in.unlink()
        with contextlib.suppress(OSError):  # others' files are in it
            drop_in.parent.rmdir()


def server_programs(home: Path) -> Path:
    """The folder of the server's programs; a venv for each Python, so that changing it is no surprise."""
    return home / f"venv-{sys.version_info.major}.{sys.version_info.minor}/bin"


def provider_programs(home: Path) -> Path:
    """The folder of the programs of the OpenID Connect provider."""
    return home / f"provider-{sys.version_info.major}.{sys.version_info.minor}/bin"


def install_apart(programs: Path, *wanted: list[str]) -> None:
    """Have in a venv of its own what pip makes of these words: its pins (Pillow, pydantic, click) are not ours.

    Raises:
        Unavailable: no venv module, or pip failed.
    """
    stamp = programs.parent / "installed"  # written last: a killed installation starts again
    if stamp.exists() and stamp.read_text() == str(wanted):
        return
    checked([sys.executable, "-m", "venv", "--clear", str(programs.parent)])
    for words in wanted:
        checked([str(programs / "pip"), "--quiet", "--disable-pip-version-check", *words])
    stamp.write_text(str(wanted))


def judges(home: Path) -> Path:
    """The folder of what judges our exports and pages: ``bin/ascmhl-debug``, ``ASCMHL.xsd``, ``axe.min.js``."""
    return home / f"judges-{sys.version_info.major}.{sys.version_info.minor}"


def install_judges(home: Path) -> None:
    """Have them in a venv of their own; of axe the script alone, without the browsers' driver that it comes with.

    Raises:
        Unavailable: no venv module, or pip failed.
    """
    folder = judges(home)
    source_of_mhl = ["download", "--no-deps", "--no-binary=ascmhl", f"--dest={folder}", MHL]  # only there its schema is
    install_apart(folder / "bin", ["install", MHL], ["install", "--no-deps", AXE], source_of_mhl)
    (source,) = folder.glob("ascmhl-*.tar.gz")
    name = source.name.removesuffix(".tar.gz")
    with tarfile.open(source) as archive:
        schema = archive.extractfile(f"{name}/xsd/ASCMHL.xsd")
        assert schema
        (folder / "ASCMHL.xsd").write_bytes(schema.read())
    (axe,) = folder.glob("lib/python3*/site-packages/axe_playwright_python/axe.min.js")
    shutil.copyfile(axe, folder / "axe.min.js")


def checked(command: Sequence[str]) -> str:
    """What the command prints; it is shown to the person who waits, and must need no answers.

    Raises:
        Unavailable: it failed, with its last words.
    """
    print("+", *command, file=sys.stderr, flush=True)
    try:
        return output_of(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    except RuntimeError as failed:
        raise Unavailable(str(failed)) from failed


def output_of(
    command: Sequence[str],
    *,
    stdin: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
) -> str:
    """What the command prints.

    Raises:
        RuntimeError: it failed, with its last 15 lines: what a person needs of a long output.
    """
    done = subprocess.run(
        list(command),
        input=stdin,
        cwd=cwd,
        env=env,
        user=user,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)} failed ({done.returncode}):\n{said}")
    return done.stdout
