"""The commands on the pages, each with its mark: who types them, or what they need that the tests have not.

A mark is a comment on the line before a block, which a reader of the page does not see:

    <!-- tested: NAME -->      a test types the block; NAME stands in it. Blocks of a page typed together share one
    <!-- needs: WORD -->       nobody can type it here; docs/DEVELOPMENT.md lists it, and its words are checked
"""

from __future__ import annotations

import re
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.fences import Fence, fences
from tests.support.servers import REPOSITORY

DOCS: Final = REPOSITORY / "docs"
MESSAGES: Final = DOCS / "MESSAGES.md"

LANGUAGES: Final = ("bash", "sh", "console")
"""What a block of commands calls itself. In one of `console` they stand behind a `$`, with what they print below them."""
NEEDS: Final = {
    "cloud": "a registry or a cluster of somebody else's",
    "docker": "a Docker engine",
    "itself": "the whole run of tests, of which these tests are a part",
    "kafka": "Kafka, with Java 17 and Maven",
    "kind": "kind, with a Docker engine",
    "operator": "a cluster whose operator nobody else uses",
    "second-node": "a cluster with a second node",
}
"""What commands may need that the tests have not, as the pages say it: no other word is a mark."""

_MARK = re.compile(r"^ *<!-- (tested|needs): (\S+) -->$")


@dataclass(frozen=True)
class Commands:
    """A block of commands on a page."""

    page: str
    """From the repository's folder."""
    line: int
    """Where its fence opens."""
    marks: tuple[tuple[str, str], ...]
    """One, if the page is in order: `tested` or `needs`, and its word."""
    text: str
    """As it is to be typed, without the indentation that a list gives it."""
    printed: tuple[str, ...]
    """What the page says that each command prints, in a block of `console`; else what the block below has, if one follows."""

    @property
    def where(self) -> str:
        """For people, and for the names of tests."""
        return f"{self.page}:{self.line}"

    def is_marked(self, kind: str, word: str) -> bool:
        """Whether it has this mark."""
        return (kind, word) in self.marks


def pages() -> list[Path]:
    """Every page for readers: README.md, docs and the runbooks. What was decided, and why, has no commands to type."""
    return [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "runbooks").glob("*.md"))]


def commands_of(page: Path) -> list[Commands]:
    """Every block of commands of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = fences(text)
    return [
        _block(page, text, fence, following)
        for fence, following in zip(found, [*found, None][1:], strict=True)
        if fence.language in LANGUAGES
    ]


def typed_as(page: Path, name: str) -> list[Commands]:
    """The blocks of a page that are typed together under this mark.

    Raises:
        AssertionError: there is none.
    """
    found = [each for each in commands_of(page) if each.is_marked("tested", name)]
    assert found, f"{page.name} has 0 blocks marked <!-- tested: {name} -->"
    return found


def marked(page: Path, name: str) -> str:
    """The one block of a page with this mark, as it is to be typed.

    Raises:
        AssertionError: the page has no such block, or more than one.
    """
    found = typed_as(page, name)
    assert len(found) == 1, f"{page.name} has {len(found)} blocks marked <!-- tested: {name} -->"
    return found[0].text


def faults_of(block: Commands, checker: Path) -> str:
    """What bash and shellcheck find in a block that nobody can type here; nothing when it is whole."""
    parsed = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, timeout=60, check=False)
    checked = subprocess.run(
        [checker, "--shell=bash", "--norc", "--exclude=SC2034,SC2154", "-"],
        input=block.text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return parsed.stderr + checked.stdout


def _block(page: Path, text: str, fence: Fence, following: Fence | None) -> Commands:
    before = text[: fence.begin].splitlines()
    marks = []
    while before and (mark := _MARK.match(before.pop())):
        marks.append((mark[1], mark[2]))
    lines = textwrap.dedent(fence.text)
    printed: tuple[str, ...] = (following.text,) if following is not None and following.language == "text" else ()
    if fence.language == "console":
        lines, printed = _console(lines)
    where = page.relative_to(REPOSITORY).as_posix()
    return Commands(where, text.count("\n", 0, fence.begin) + 1, tuple(marks), lines, printed)


def _console(text: str) -> tuple[str, tuple[str, ...]]:
    """The commands behind a `$`, and what stands below each of them."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
    return "".join(f"{line}\n" for line in parts[1::2]), tuple(parts[2::2])
