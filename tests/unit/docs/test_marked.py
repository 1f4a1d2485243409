"""Every block of docs/MESSAGES.md that says it is tested is one, and a test types it."""

from __future__ import annotations

import re

import pytest

from tests.support.marked import MESSAGES, marked
from tests.support.servers import REPOSITORY

_MARKS = re.findall(r"<!-- tested: (\S+) -->", MESSAGES.read_text(encoding="utf-8"))


@pytest.mark.parametrize("mark", _MARKS)
def test_a_test_types_it(mark: str) -> None:
    """By its name, or by what follows `messages-` in it."""
    folders = (REPOSITORY / "tests" / each for each in ("acceptance", "e2e"))
    tests = "\n".join(path.read_text(encoding="utf-8") for each in folders for path in each.rglob("test_*.py"))

    assert marked(MESSAGES, mark)
    assert re.search(rf"""["'](messages-)?{mark.removeprefix("messages-")}["']""", tests)


def test_there_are_marks() -> None:
    """For each of the seven commands but the second, and for the ways out and back."""
    assert {"messages-send", "messages-zero", "messages-rollout", "messages-back", "messages-repair"} <= set(_MARKS)


def test_a_block_in_a_list_loses_its_indentation() -> None:
    """And one that is not there is missed."""
    assert marked(MESSAGES, "messages-zero").startswith("make down; ")
    with pytest.raises(AssertionError, match="has 0 blocks marked"):
        marked(MESSAGES, "messages-nothing")
