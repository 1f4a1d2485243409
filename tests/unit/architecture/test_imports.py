"""Dependencies point one way; a breach fails here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]


def test_the_import_contracts_of_pyproject_hold() -> None:
    """Layers, one module per foreign library, a pure core (docs/ARCHITECTURE.md)."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
