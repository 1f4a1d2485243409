"""Which lines of a PDF are headings, and of which level."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from services.stage_worker.parsing.pdf_lines import Line
from services.stage_worker.parsing.plain import numbered_level

_LARGER = 1.1
"""Times the body's size from which a line is a heading by its size."""
_LONGEST = 160
_MOST_SIZES = 5
_LEAST_OUTLINE = 3
_MOST_HEADING_SHARE = 0.5
"""A size that more than this share of all lines has is no heading's size."""
_SENTENCE_END = (".", ",", ";", ":", "。")


class Headings:
    """Knows the level of each line that is a heading."""

    def __init__(self, body: float, sizes: dict[float, int], bold_level: int | None, outline: dict[str, int]) -> None:
        self.body_size = body
        self._sizes = sizes
        self._bold_level = bold_level
        self._outline = outline

    @classmethod
    def of(cls, lines: Sequence[Line], outline: Sequence[tuple[int, str, int | None]]) -> Headings:
        """Learn from all lines of the document what its headings look like."""
        body = _body_size(lines)
        counts = Counter(line.size for line in lines if _may_be(line) and line.size >= _LARGER * body)
        rare = [size for size, count in counts.items() if count <= max(2, _MOST_HEADING_SHARE * len(lines))]
        levels = {size: level for level, size in enumerate(sorted(rare, reverse=True)[:_MOST_SIZES], 1)}
        bold_level = min(6, len(levels) + 1) if _bold_marks_headings(lines, body) else None
        return cls(body, levels, bold_level, _outline_levels(lines, outline))

    def level(self, line: Line, *, alone: bool) -> int | None:
        """The level of a heading, or None for any other line; `alone` says that it has space above it."""
        if not _may_be(line) or line.fixed:
            return None
        if self._outline:
            named = self._outline.get(_key(line.text))
            if named:
                return named
        by_size = self._sizes.get(line.size)
        if by_size:
            return self._nested(line, by_size)
        if line.bold and self._bold_level and not line.text.endswith(_SENTENCE_END):
            return self._nested(line, self._bold_level)
        return numbered_level(line.text) if alone and self._numbered_only() else None

    def _nested(self, line: Line, level: int) -> int:
        """Numbers tell levels apart that are set alike: 2 and 2.1."""
        numbered = numbered_level(line.text)
        return min(6, max(level, numbered)) if numbered and numbered > 1 else level

    def _numbered_only(self) -> bool:
        return not self._sizes and self._bold_level is None


def _may_be(line: Line) -> bool:
    letters = sum(character.isalpha() for character in line.text)
    return len(line.text) <= _LONGEST and letters * 2 >= len(line.text.replace(" ", "")) and letters >= 2


def _body_size(lines: Sequence[Line]) -> float:
    counts: Counter[float] = Counter()
    for line in lines:
        counts[line.size] += len(line.text)
    return max(counts, key=lambda size: (counts[size], -size)) if counts else 0.0


def _bold_marks_headings(lines: Sequence[Line], body: float) -> bool:
    """Bold lines of the body's size are headings where they are rare and short."""
    bold = [line for line in lines if line.bold and abs(line.size - body) < 0.6]
    short = [line for line in bold if len(line.text) <= 90 and not line.text.endswith(_SENTENCE_END)]
    return bool(short) and len(short) * 4 >= len(bold) * 3 and len(bold) * 5 <= len(lines)


def _outline_levels(lines: Sequence[Line], outline: Sequence[tuple[int, str, int | None]]) -> dict[str, int]:
    """The levels the file's own outline gives, if it names lines that are really there."""
    wanted = {_key(title): level for level, title, _ in outline}
    present = {_key(line.text) for line in lines}
    found = {key: min(6, level) for key, level in wanted.items() if key in present and key}
    enough = len(found) >= _LEAST_OUTLINE and len(found) * 2 >= len(wanted)
    return found if enough else {}


def _key(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()
