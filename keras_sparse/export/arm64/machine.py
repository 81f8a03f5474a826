"""Put an emulated ARM64 machine with LiteRT into a folder, without root.

Debian's packages of QEMU and of Python for arm64, and two wheels, are
downloaded with apt and pip and unpacked; nothing is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_WHEELS = ("numpy==2.2.6", "ai-edge-litert==2.1.6")  # newer ones crash in QEMU
_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
_EMULATORS = ("qemu-user-static", "qemu-user")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64")
_TIMEOUT = 600  # seconds, for each command


class Arm64Unavailable(RuntimeError):
    """The emulated machine cannot be set up here; the message says why."""


def set_up(folder: Path) -> Path:
    """Fill `folder` with an emulated machine, unless it is there already.

    Args:
        folder: where it goes; its parents are made. About 200 MB.

    Returns:
        The folder.

    Raises:
        Arm64Unavailable: a tool or a package is out of reach.
    """
    if (folder / "ready").exists():
        return folder
    for tool in ("apt-get", "dpkg"):
        if not shutil.which(tool):
            raise Arm64Unavailable(
                f"An emulated ARM64 machine expected {tool} to fetch its "
                "packages with, found none. Debian and what derives from "
                "it have it."
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        made = Path(work) / "machine"
        made.mkdir()
        _fetch_packages(Path(work), made)
        _fetch_wheels(Path(work), made)
        (made / "ready").touch()
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return folder


def python_of(folder: Path) -> Path:
    """Return the emulated machine's Python."""
    found = sorted((folder / "root/usr/bin").glob("python3.*[0-9]"))
    if not found:
        raise Arm64Unavailable(
            f"Expected a Python for arm64 in {str(folder)!r}, found none. "
            "Remove the folder and set it up again."
        )
    return found[0]


def _fetch_packages(work: Path, made: Path) -> None:
    for name in ("lists/partial", "cache/archives/partial", "host"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": ("arm64", _host_architecture()),
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "1",
        "Dir::Cache": work / "cache",
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
    }
    command = ["apt-get", "-q"]
    for name, value in options.items():
        for each in value if isinstance(value, tuple) else (value,):
            command += ["-o", f"{name}={each}"]
    _call([*command, "update"])
    _call([*command, "-y", "--download-only", "install", *_PACKAGES])
    for package in (work / "cache/archives").glob("*.deb"):
        _call(["dpkg", "-x", str(package), str(made / "root")])
    _fetch_emulator(command, work / "host", made)


def _fetch_emulator(command: list[str], work: Path, made: Path) -> None:
    target = made / "qemu-aarch64"
    for name in _EMULATORS:
        wanted = f"{name}:{_host_architecture()}"
        done = subprocess.run(
            [*command, "download", wanted],
            cwd=work,
            capture_output=True,
            timeout=_TIMEOUT,
        )
        if done.returncode:
            continue
        for package in work.glob("*.deb"):
            _call(["dpkg", "-x", str(package), str(work / "unpacked")])
            package.unlink()
        for binary in ("qemu-aarch64-static", "qemu-aarch64"):
            found = work / "unpacked/usr/bin" / binary
            if found.exists():
                shutil.copy(found.resolve(), target)
                shutil.rmtree(work / "unpacked")
                return
    raise Arm64Unavailable(
        f"Expected one of the packages {list(_EMULATORS)}, found neither in "
        "the sources that apt knows."
    )


def _fetch_wheels(work: Path, made: Path) -> None:
    version = python_of(made).name.removeprefix("python")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", version]
    for platform in (*_PLATFORMS, "manylinux2014_aarch64"):
        command += ["--platform", platform]
    _call([*command, "-d", str(work / "wheels"), *_WHEELS])
    for wheel in (work / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(made / "site")


def _host_architecture() -> str:
    return _call(["dpkg", "--print-architecture"]).strip()


def _call(command: list[str]) -> str:
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Arm64Unavailable(f"{command[0]} failed: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-4:]
        raise Arm64Unavailable(
            f"{' '.join(command[:1] + command[-3:])} failed:\n"
            + "\n".join(said)
        )
    return done.stdout
