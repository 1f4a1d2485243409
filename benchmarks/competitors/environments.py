"""Makes the competitors' environments: node modules and one virtual environment per Python queue, kept between runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PYTHON_PACKAGES = {
    "pgqueuer": ("pgqueuer[asyncpg]==1.6.0", "uvloop==0.23.0"),
    "procrastinate": ("procrastinate==3.10.0", "psycopg[binary]==3.3.9", "uvloop==0.23.0"),
}


def cache() -> Path:
    """Where the environments lie."""
    return Path(tempfile.gettempdir()) / f"coursegen-competitors-{os.getuid()}"


def node_folder() -> Path | None:
    """A folder with the node modules and the scripts; None without Node."""
    if shutil.which("npm") is None:
        return None
    folder = cache() / "node"
    folder.mkdir(parents=True, exist_ok=True)
    for source in [*HERE.glob("*.mjs"), HERE / "package.json"]:
        shutil.copy(source, folder)
    wanted = (folder / "package.json").read_text(encoding="utf-8")
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"], folder)
        stamp.write_text(wanted, encoding="utf-8")
    return folder


def python_of(name: str) -> Path:
    """The interpreter of one Python queue's environment."""
    folder = cache() / name
    stamp, wanted = folder / "installed.txt", "\n".join(PYTHON_PACKAGES[name])
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(folder)], HERE)
        run([str(folder / "bin" / "pip"), "install", "--quiet", *PYTHON_PACKAGES[name]], HERE)
        stamp.write_text(wanted, encoding="utf-8")
    return folder / "bin" / "python"


def run(argv: list[str], folder: Path) -> str:
    """Run a command; its output.

    Raises:
        RuntimeError: it failed; shows what it said.
    """
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv[:4])}… failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout
