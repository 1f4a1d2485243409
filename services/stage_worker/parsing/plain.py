"""Plain text: paragraphs, and the headings, lists and code that people mark by habit.

A heading is a line alone that is underlined, numbered, in capitals, or called a chapter. Nothing else is guessed:
a heading that is missed costs less than a sentence taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.stage_worker.parsing.blocks import Block, code, heading, item, paragraph
from services.stage_worker.parsing.characters import clean_lines

_UNDERLINE = re.compile(r"^(=|-|~|\*|#)\1{2,}$")
_NUMBERED = re.compile(r"^((?:\d{1,3}\.)*\d{1,3})[.)]?\s+(?=[^\W\d_])(.{2,100})$")
_CHAPTER = re.compile(
    r"^(?:chapter|part|section|appendix|глава|часть|раздел|приложение|kapitel|teil|abschnitt|chapitre|partie|capítulo|"
    r"parte)\s+[\dIVXLC]+\b.{0,100}$",
    re.IGNORECASE,
)
_OUTER = re.compile(r"^(?:part|часть|teil|partie|parte)\b", re.IGNORECASE)
_ITEM = re.compile(r"^(\s*)(?:[-*•‣▪●–—]|(\d{1,3})[.)]|[a-zа-я]\))\s+(\S.*)$")
_INDENTED = re.compile(r"^(?: {4}|\t)")
_SENTENCE_END = (".", "!", "?", ":", ";", ",", "…", "。", "！", "？")
_CODE_LINE = re.compile(
    r"[{};]\s*$|^\s*(?:def|class|import|from|return|if|for|while|function|var|let|const|#include)\b.*"
)
_LONGEST_HEADING = 100


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a plain text."""
    for lines in _chunks(text):
        yield from _chunk(lines)


def numbered_level(line: str) -> int | None:
    """The level a numbered or chapter heading has by its own words, or None if it is no such heading."""
    if _CHAPTER.match(line):
        return 1 if _OUTER.match(line) else 2
    found = _NUMBERED.match(line)
    if not found or line.endswith(_SENTENCE_END) or ". " in found.group(2):
        return None
    return found.group(1).count(".") + 1


def _chunks(text: str) -> Iterator[list[str]]:
    """Runs of lines between empty ones, with their indentation."""
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n\n").split("\n"):
        if line.strip():
            lines.append(line)
        elif lines:
            yield lines
            lines = []
    if lines:
        yield lines


def _chunk(lines: list[str]) -> Iterator[Block]:
    if _is_code(lines):
        yield code("\n".join(lines))
        return
    first = clean_lines(lines[0])
    if len(lines) >= 2 and _UNDERLINE.match(lines[1].strip()) and len(first) <= _LONGEST_HEADING:
        yield heading(first, 1 if lines[1].strip()[0] in "=#*" else 2)
        yield from _chunk(lines[2:]) if lines[2:] else ()
        return
    level = _heading_level(first) if len(lines) == 1 else None
    if level is not None:
        yield heading(first, level)
        return
    yield from _prose(lines)


def _heading_level(line: str) -> int | None:
    numbered = numbered_level(line)
    if numbered is not None:
        return numbered
    letters = [character for character in line if character.isalpha()]
    if len(letters) >= 4 and len(line) <= _LONGEST_HEADING and all(each.isupper() for each in letters):
        return 2
    return None


def _is_code(lines: list[str]) -> bool:
    if len(lines) < 2:
        return False
    marked = sum(1 for line in lines if _CODE_LINE.search(line))
    indented = sum(1 for line in lines if _INDENTED.match(line))
    return marked * 2 >= len(lines) or (indented == len(lines) and marked > 0)


def _prose(lines: list[str]) -> Iterator[Block]:
    """List items begin at their marks; other lines continue what stands before them."""
    running: list[str] = []
    current: tuple[int, str] | None = None
    for line in [*lines, None]:
        found = _ITEM.match(line) if line is not None else None
        if (line is None or found) and running:
            text = clean_lines(" ".join(running))
            yield item(text, current[0], current[1]) if current else paragraph(text)
            running = []
        if found:
            current = (len(found.group(1).expandtabs(4)) // 2, f"{found.group(2)}." if found.group(2) else "-")
            running.append(found.group(3))
        elif line is not None:
            running.append(line.strip())
