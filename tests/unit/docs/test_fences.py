"""Every page closes what it opens: else the rest of it is shown as a program's output, and no test sees its commands."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.fences import Fence, LeftOpen, fences
from tests.support.servers import REPOSITORY

_PAGES = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=REPOSITORY, capture_output=True, text=True, check=True
).stdout.split()


@pytest.mark.parametrize("page", _PAGES)
def test_what_is_opened_is_closed(page: str) -> None:
    """And each block of commands is one."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")

    seen = [each for each in fences(text) if each.language == "bash"]
    assert len(seen) == len(re.findall(r"^ *```bash\b", text, re.MULTILINE))


def test_there_are_pages() -> None:
    """Those of the folder docs, and the README."""
    assert {"README.md", "docs/DEPLOYMENT-CHECKLIST.md", "charts/coursegen/README.md"} < set(_PAGES)


def test_what_is_left_open_shows() -> None:
    """Where another opens, though the fences are even in number; and at the end."""
    with pytest.raises(LeftOpen, match="line 2: ```text is still open where line 4 opens ```bash"):
        fences("a\n```text\nb\n```bash\nc\n```\n```text\nd\n```\n")
    with pytest.raises(LeftOpen, match="line 1: ```bash is still open at the end"):
        fences("```bash\na\n")


def test_blocks_are_what_stands_between() -> None:
    """With language and mark, also in a list."""
    assert fences("a\n```bash reads\nb\n```\n- c\n  ```\n  d\n  ```\n") == [
        Fence("bash", "reads", "b\n", 2),
        Fence("", "", "  d\n", 26),
    ]
