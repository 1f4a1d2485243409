"""docs/DEPLOYMENT-CHECKLIST.md as data: its commands, and what it says that they print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.fences import fences
from tests.support.marked import commands_of
from tests.support.servers import REPOSITORY

PAGE: Path = REPOSITORY / "docs" / "DEPLOYMENT-CHECKLIST.md"
WORDS = "checklist-words"
"""Marks what the page says once: its variables and its words."""
READS = "checklist-reads"
"""Marks a block that changes nothing."""
CHOICE = (
    "above the last line, the last that is `superseded` or `deployed` and whose `CHART` or `APP VERSION` is another than"
    " that of the last line"
)
"""The page's words for the revision that level 3 goes back to."""
ROWS = "rows"
"""Marks output whose rows are always these: ```text rows."""

_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_STEP = re.compile(r"^\*\*([^*]+?)[.:]?\*\*", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block of commands, with the output printed below it."""

    where: str
    """The step or heading above it."""
    mark: str
    """Who types it: the name in its mark."""
    commands: str
    output: str | None
    """Nothing where nothing is printed."""
    rows_matter: bool


def text() -> str:
    """The whole page."""
    return PAGE.read_text(encoding="utf-8")


def blocks() -> list[Block]:
    """Every block of commands in the page's order. The first two are the page's own words: see `words`."""
    page = text()
    all_fences = fences(page)
    marks = {each.line: "".join(word for _, word in each.marks) for each in commands_of(PAGE)}
    found = []
    for fence, following in zip(all_fences, [*all_fences[1:], None], strict=True):
        if fence.language != "bash":
            continue
        printed = following if following is not None and following.language == "text" else None
        found.append(
            Block(
                _above(page, fence.begin),
                marks[page.count("\n", 0, fence.begin) + 1],
                fence.text,
                printed.text if printed else None,
                rows_matter=bool(printed and printed.mark == ROWS),
            )
        )
    return found


def words() -> str:
    """The variables and functions that all other blocks use."""
    variables, functions, *_ = blocks()
    return variables.commands + functions.commands


def chosen_revision(history: str) -> str:
    """The revision that a reader of level 3 chooses from what `helm history` prints, by `CHOICE`.

    Raises:
        AssertionError: there is none.
    """
    heading, *rows = ([part.strip() for part in line.split("\t")] for line in history.splitlines() if line.strip())
    *earlier, last = (dict(zip(heading, row, strict=True)) for row in rows)
    others = [
        each["REVISION"]
        for each in earlier
        if each["STATUS"] in {"superseded", "deployed"}
        and (each["CHART"], each["APP VERSION"]) != (last["CHART"], last["APP VERSION"])
    ]
    assert others, history
    return others[-1]


def readings() -> list[Block]:
    """The blocks that change nothing."""
    return [each for each in blocks() if each.mark == READS]


def unseen(block: Block, seen: str, name: str) -> list[str]:
    """The lines that a block should have printed and has not, in order.

    Loosely: what holds a digit may be anything; of a table only the heading counts, unless its rows matter; a line with an
    ellipsis is an example; `name` stands where the page has coursegen- at the beginning of a name.
    """
    left = iter([re.sub(r"\s+", " ", line).strip() for line in seen.splitlines()])
    missing = []
    for line in _wanted(block):
        pattern = re.compile(_pattern(line, name))
        kept = list(left)
        position = next((index for index, each in enumerate(kept) if pattern.fullmatch(each)), None)
        if position is None:
            missing.append(line)
            left = iter(kept)
        else:
            left = iter(kept[position + 1 :])
    return missing


def _above(page: str, position: int) -> str:
    heading = [each[1] for each in _HEADING.finditer(page, 0, position)][-1]
    begin = page.rindex(f"# {heading}", 0, position)
    steps = [each[1] for each in _STEP.finditer(page, begin, position)]
    return f"{heading}: {steps[-1]}" if steps else heading


def _wanted(block: Block) -> Iterator[str]:
    """The lines of the output that must be there."""
    lines = (block.output or "").splitlines()
    is_row = False
    for index, line in enumerate(lines):
        rule = re.fullmatch(r"[-+]*-[-+]*", line.strip()) is not None
        heads = index + 1 < len(lines) and re.fullmatch(r"[-+]*-[-+]*", lines[index + 1].strip()) is not None
        if not line.strip() or heads:
            is_row = False
        counts = not is_row or block.rows_matter
        if line.strip() and not rule and "…" not in line and counts:
            yield line
        is_row = is_row or rule


def _pattern(line: str, name: str) -> str:
    parts = []
    for token in re.sub(r"\s+", " ", line).strip().split(" "):
        if re.search(r"\d", token):
            parts.append(r"\S+")
        else:
            parts.append(re.escape(re.sub(r"^((?:.*/)?\"?)coursegen-", rf"\g<1>{name}-", token)))
    return r" ".join(parts)
