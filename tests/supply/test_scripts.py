"""Every script is looked at by shellcheck, and the Dockerfile by hadolint."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.servers import REPOSITORY


def _lint() -> str:
    """What `make lint` runs."""
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "lint"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_shellcheck_sees_every_script() -> None:
    """Whatever is tracked and begins with a shell's name, or is sourced by one."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    shell = re.compile(r"#!/(usr/bin/env bash|bin/(ba)?sh)\b|# shellcheck shell=")
    scripts = set()
    for name in filter(None, tracked):
        path = REPOSITORY / name
        if path.suffix in {"", ".sh", ".tpl"} and path.is_file():
            with path.open(errors="replace", encoding="utf-8") as file:
                if shell.match(file.readline()):
                    scripts.add(name)
    (line,) = (each for each in _lint().splitlines() if "shellcheck" in each)
    seen = {str(each.relative_to(REPOSITORY)) for part in line.split()[1:] for each in REPOSITORY.glob(part)}

    assert len(scripts) > 8
    assert scripts <= seen


@pytest.mark.parametrize("program", ["shellcheck", "hadolint", "zizmor"])
def test_nothing_is_found(program: str) -> None:
    """The command of `make lint`, run: scripts by shellcheck, the Dockerfile by hadolint, the workflows by zizmor."""
    (line,) = (each for each in _lint().splitlines() if f"/{program} " in each)
    done = subprocess.run(["sh", "-c", line], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
