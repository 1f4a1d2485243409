"""What is installed comes from locks: each version, each artefact's hash, nothing of this week (reliability S13)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.servers import REPOSITORY

LOCKS = sorted((REPOSITORY / "requirements").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda each: each.stem)
def test_every_line_is_a_version_with_hashes(lock: Path) -> None:
    """No range, no address, no option; 64 digits for each artefact."""
    text = "\n".join(line for line in lock.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    entries = text.replace("\\\n", "").strip().splitlines()

    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==[\w.+!]+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+", entry.strip()), entry


def test_nothing_is_installed_beside_the_locks() -> None:
    """Images and environment take hashed locks only, or what was built from this tree, without dependencies."""
    for script in ("environment", "install-process"):
        text = (REPOSITORY / "scripts" / script).read_text(encoding="utf-8").replace("\\\n", " ")
        installs = [line for line in text.splitlines() if re.search(r"\bpip\b.*\binstall\b", line)]
        assert installs
        for line in installs:
            assert "--require-hashes" in line or "--no-deps" in line, line
    for line in (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if "pip install" in line:
            assert "--require-hashes" in line


def test_new_releases_wait_a_week(tmp_path: Path) -> None:
    """Every lock is compiled without what came out in the last seven days."""
    for part in ("scripts/lock", "requirements", "pyproject.toml"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (shutil.copytree if (REPOSITORY / part).is_dir() else shutil.copy)(REPOSITORY / part, tmp_path / part)
    noted = tmp_path / "calls"
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\necho "$*" >> {noted}\n', encoding="utf-8")
    uv.chmod(0o755)

    subprocess.run([tmp_path / "scripts" / "lock"], env={**os.environ, "UV": str(uv)}, check=True, timeout=30, input="")
    calls = noted.read_text(encoding="utf-8").splitlines()
    assert {match[1] for each in calls if (match := re.search(r"--output-file requirements/(\w+)\.txt", each))} == {
        each.stem for each in LOCKS
    }
    assert all("--exclude-newer 7 days" in each and "--generate-hashes" in each for each in calls)
