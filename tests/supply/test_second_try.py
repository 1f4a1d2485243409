"""SECOND_TRY of scripts/test.sh: who has had bad luck may try again, but nobody who has lost something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.supply.tree import Tree
from tests.support.servers import REPOSITORY

_TESTS = """
from pathlib import Path
import pytest

def _succeeds(name, after):
    tries = Path(__file__).with_name(name)
    tries.write_text(tries.read_text() + "." if tries.exists() else ".")
    assert len(tries.read_text()) > after

def test_unlucky():
    _succeeds("unlucky", {unlucky})

@pytest.mark.no_second_try
def test_lossless():
    _succeeds("lossless", {lossless})
"""
_AGAIN = "What failed is tried once more"


class Luck(Tree):
    """Two tests that fail some times before they pass."""

    def try_them(
        self, *, unlucky: int = 0, lossless: int = 0, second_try: str = "1"
    ) -> subprocess.CompletedProcess[str]:
        """The script's first part, with tests that fail so many times."""
        self.put("test_luck.py", _TESTS.format(unlucky=unlucky, lossless=lossless))
        return self.run(PART="local", SECOND_TRY=second_try)

    def tries(self, name: str) -> int:
        """How often a test was run."""
        return len((self.folder / "tests" / name).read_text(encoding="utf-8"))


@pytest.fixture
def luck(tmp_path: Path) -> Luck:
    """One that nothing has run in."""
    return Luck(tmp_path)


def test_what_failed_may_pass_the_second_time(luck: Luck) -> None:
    """Alone: what has passed is not run again."""
    done = luck.try_them(unlucky=1)

    assert done.returncode == 0, done.stdout
    assert _AGAIN in done.stdout
    assert (luck.tries("unlucky"), luck.tries("lossless")) == (2, 1)


def test_what_fails_again_has_failed(luck: Luck) -> None:
    """There is no third time."""
    assert luck.try_them(unlucky=2).returncode == 1
    assert luck.tries("unlucky") == 2


def test_what_may_lose_nothing_is_not_tried_again(luck: Luck) -> None:
    """Though it would pass."""
    done = luck.try_them(lossless=1)

    assert done.returncode == 1
    assert "\n1 of what failed gets no second try" in done.stdout
    assert "tests/test_luck.py::test_lossless\n" in done.stdout
    assert luck.tries("lossless") == 1


def test_the_luck_of_others_does_not_help_it(luck: Luck) -> None:
    """They are tried again, and pass; the run has failed."""
    done = luck.try_them(unlucky=1, lossless=1)

    assert done.returncode == 1
    assert "1 passed" in done.stdout[done.stdout.index(_AGAIN) :]
    assert (luck.tries("unlucky"), luck.tries("lossless")) == (2, 1)


def test_without_being_asked_for_there_is_none(luck: Luck) -> None:
    """One failure is one."""
    done = luck.try_them(unlucky=1, second_try="")

    assert done.returncode == 1
    assert _AGAIN not in done.stdout
    assert luck.tries("unlucky") == 1


def test_whatever_disturbs_courses_gets_none() -> None:
    """Restarts and upgrades under load, pods killed and drained, changes of the leader."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "--collect-only", "-q", "-m", "no_second_try", "tests/e2e", "tests/cluster"],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "TEST_DEPTH"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    found = set(re.findall(r"^(tests/\S+)::", done.stdout, re.MULTILINE))
    disturbing = {
        str(path.relative_to(REPOSITORY))
        for folder in ("e2e", "cluster")
        for path in (REPOSITORY / "tests" / folder).rglob("test_*.py")
        if re.search(r"mark\.(rolling|disruptive)\b", path.read_text(encoding="utf-8"))
    }

    for each in ("upgrade", "scaling", "messages"):  # nobody is disturbed, and nothing may be lost
        disturbing.add(f"tests/e2e/kubernetes/test_{each}.py")
    assert len(disturbing) > 4
    assert found >= disturbing | {
        f"tests/cluster/test_{each}.py" for each in ("relay_lease", "relay_pods", "leader_changes")
    }
