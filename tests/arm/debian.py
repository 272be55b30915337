"""A small Arm system with LiteRT, and the qemu that runs it.

Debian's packages are unpacked into a private folder by an ordinary user: the
lists, packages and settings of the system stay as they are.
"""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys

from keras_nonconvex import files

SUITE = "trixie"
MIRROR = "http://deb.debian.org/debian"
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Unavailable(RuntimeError):
    """Why Arm code cannot be run here."""


def root(cache):
    """The folder of the system: whole, or not there."""
    litert = importlib.metadata.version("ai-edge-litert")
    return pathlib.Path(cache).absolute() / f"{SUITE}-litert-{litert}"


def install(cache):
    """Makes the system if it is not there; returns its folder.

    It holds `qemu-aarch64`, an arm64 Debian with Python in `debian`, and the
    LiteRT of this environment's version in `packages`.

    Raises:
        Unavailable: Where it cannot be made.
    """
    made = root(cache)
    if not made.exists():
        _check_tools()
        with files.replacing(made) as unfinished:
            unfinished.mkdir()
            _install(unfinished)
    return made


def _check_tools():
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unavailable(
                "Arm code runs in a small Debian, which needs apt-get and "
                f"dpkg-deb to be unpacked; {tool} is not there"
            )
    if not KEYRING.exists():
        raise Unavailable(
            "Debian's packages cannot be verified without its keys "
            f"(package debian-archive-keyring); {KEYRING} is not there"
        )


def _install(root):
    host = _run("dpkg", "--print-architecture").strip()
    _unpack(root, "qemu", host, ["qemu-user"])
    shutil.move(root / "qemu/usr/bin/qemu-aarch64", root / "qemu-aarch64")
    shutil.rmtree(root / "qemu")
    _unpack(root, "debian", "arm64", ["python3", "libstdc++6"])
    # Debian makes this link in a script, which does not run here.
    (root / "debian/lib").symlink_to("usr/lib")
    python = (root / "debian/usr/bin/python3").readlink().name
    # One version on both sides.
    litert = importlib.metadata.version("ai-edge-litert")
    platforms = ("manylinux_2_28", "manylinux_2_27", "manylinux2014")
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"),
        *("--target", root / "packages", "--only-binary", ":all:"),
        *("--python-version", python.removeprefix("python")),
        *(f"--platform={name}_aarch64" for name in platforms),
        *(f"ai-edge-litert=={litert}", "numpy"),
    )


def _unpack(root, name, architecture, packages):
    """Unpacks Debian packages, and all that they need, into `root/name`."""
    apt = root / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial", "none"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(
        f"deb [signed-by={KEYRING}] {MIRROR} {SUITE} main\n"
    )
    # Proxies and the like are as the system has them, its hooks are not.
    acquire = [
        line
        for line in _run("apt-config", "dump").splitlines()
        if line.startswith("Acquire::")
    ]
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Dir::Etc::Main": apt / "none/apt.conf",
        "Dir::Etc::Parts": apt / "none",
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": apt / "none",
        "Dir::State": apt / "state",
        "Dir::State::Status": apt / "status",
        "Dir::Cache": apt / "cache",
    }
    settings = [f'{key} "{value}";' for key, value in settings.items()]
    (apt / "apt.conf").write_text("\n".join([*acquire, *settings, ""]))
    environment = {"APT_CONFIG": str(apt / "apt.conf")}
    _run("apt-get", "-qq", "update", **environment)
    _run(
        *("apt-get", "-qq", "--yes", "--download-only", "install"),
        *packages,
        **environment,
    )
    for package in sorted((apt / "cache/archives").glob("*.deb")):
        _run("dpkg-deb", "--extract", package, root / name)
    shutil.rmtree(apt)


def _run(*command, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "LC_ALL": "C", **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        errors = [line for line in lines if line.startswith(("E:", "ERROR:"))]
        raise Unavailable(
            f"{pathlib.Path(command[0]).name} failed: {(errors or lines)[0]}"
        )
    return done.stdout
