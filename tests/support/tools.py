"""Programs that tests run and Python does not bring: Helm, actionlint, and their like."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kube.commands import await_program

TOOLS = Path(__file__).resolve().parents[2] / "scripts" / "tools.py"


def tool(name: str) -> str:
    """The path of a program of scripts/tools.py, never built here; without it the test is skipped, or fails with CI=true."""
    path, reason = _looked_for(name)
    if not path and await_program(name):  # it may be built beside the tests
        _looked_for.cache_clear()
        path, reason = _looked_for(name)
    if path:
        return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true: it must be there)")
    pytest.skip(reason)


@functools.cache
def _looked_for(name: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, TOOLS, "--find", name], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip(), done.stderr.strip()
