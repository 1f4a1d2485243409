"""The fenced blocks of a Markdown page, as a reader's program sees them: a fence that is left open swallows what follows."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^ *```(.*)$")


@dataclass(frozen=True)
class Fence:
    """One fenced block."""

    language: str
    mark: str
    """What follows the language; mostly nothing."""
    text: str
    begin: int
    """Where in the page it opens."""


class LeftOpen(Exception):
    """A fence opens inside one that is open, or the page ends in it; the message names the line of the open one."""


def fences(page: str) -> list[Fence]:
    """Every block of a page in order. Raises LeftOpen."""
    found: list[Fence] = []
    opened: tuple[int, int, str] | None = None
    begin = 0
    for number, line in enumerate(page.splitlines(keepends=True), 1):
        fence, begin = _FENCE.match(line), begin + len(line)
        if fence is None:
            continue
        if opened is None:
            opened = number, begin - len(line), fence[1].strip()
        elif fence[1].strip():
            raise LeftOpen(f"line {opened[0]}: ```{opened[2]} is still open where line {number} opens ```{fence[1]}")
        else:
            found.append(_closed(page, opened[1], opened[2], begin - len(line)))
            opened = None
    if opened is not None:
        raise LeftOpen(f"line {opened[0]}: ```{opened[2]} is still open at the end")
    return found


def _closed(page: str, begin: int, info: str, end: int) -> Fence:
    language, _, mark = info.partition(" ")
    return Fence(language, mark, page[page.index("\n", begin) + 1 : end], begin)
