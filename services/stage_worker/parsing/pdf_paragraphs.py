"""Paragraphs of a PDF: lines that belong together are joined, list items and code are kept apart."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from services.stage_worker.parsing.blocks import Block, code, heading, item, paragraph, row
from services.stage_worker.parsing.pdf_headings import Headings
from services.stage_worker.parsing.pdf_lines import Line
from services.stage_worker.parsing.pdf_tables import Table, with_tables

_BULLET = re.compile(r"^(?:[•‣▪●◦○■□–—·*➢➤✓\uf0b7\uf0a7]|-(?=\s))\s*(\S.*)$")
_NUMBER = re.compile(r"^(\d{1,3})[.)]\s+(\S.*)$")
_LONE_MARK = re.compile(r"^(?:[•‣▪●◦○■□–—·➢➤\uf0b7\uf0a7]|-|\d{1,3}[.)])$")
_SENTENCE_END = re.compile(r"[.!?…:;。！？]['\"”»)\]]*$")
_GAP = 1.55
"""Of the letters' size: line distance from which a new paragraph begins."""
_FULL_LINE = 0.65
"""Of the widest line: a heading's line that ends before this is not continued on the next."""
_SHORT_LINE = 0.8
"""Of the widest line: a line that ends before this ends its paragraph if a sentence ends with it."""


def flow(lines: Sequence[Line], headings: Headings) -> Iterator[Block]:
    """The blocks these lines make."""
    yield from _Flow(_with_marks_joined(lines), headings).blocks()


class _Flow:
    def __init__(self, lines: list[Line], headings: Headings) -> None:
        self._lines = lines
        self._headings = headings
        self._widest = _usual_right_end(lines)
        self._width = self._widest - min((line.x for line in lines), default=0.0)
        self._gap = _usual_gap(lines)
        self._open: list[Line] = []
        self._item: str | None = None
        self._table_head: tuple[str, ...] = ()
        self._table_end: Line | None = None

    def blocks(self) -> Iterator[Block]:
        previous: Line | None = None
        pending: tuple[int, Line] | None = None
        for line in with_tables(self._lines):
            if isinstance(line, Table):
                if pending:
                    yield heading(pending[1].text, pending[0], pending[1].page)
                    pending = None
                yield from self._flush()
                yield from self._table(line, previous)
                previous = line.last
                continue
            new = previous is None or self._starts_new(previous, line)
            level = self._headings.level(line, alone=new)
            if pending and (level != pending[0] or not _continues_heading(pending[1], line, previous, self._width)):
                yield heading(pending[1].text, pending[0], pending[1].page)
                pending = None
            if level:
                yield from self._flush()
                pending = (level, _joined_heading(pending[1], line) if pending else line)
            else:
                yield from self._body(line, new)
            previous = line
        if pending:
            yield heading(pending[1].text, pending[0], pending[1].page)
        yield from self._flush()

    def _table(self, table: Table, previous: Line | None) -> Iterator[Block]:
        """The rows; a head that is printed again on the next page is left out."""
        continued = previous is self._table_end and previous is not None and table.rows[0] == self._table_head
        self._table_head, self._table_end = table.rows[0], table.last
        yield from (row(cells, table.page) for cells in table.rows[1 if continued else 0 :])

    def _body(self, line: Line, new: bool) -> Iterator[Block]:
        mark = _mark(line.text)
        if mark:
            yield from self._flush()
            self._item, text = mark
            self._open = [_with_text(line, text)]
            return
        if new or (self._open and line.fixed != self._open[-1].fixed):
            yield from self._flush()
        self._open.append(line)

    def _flush(self) -> Iterator[Block]:
        lines, marker = self._open, self._item
        self._open, self._item = [], None
        if not lines:
            return
        page = lines[0].page
        if marker:
            yield item(join(lines), 0, marker, page)
        elif all(line.fixed for line in lines) and len(lines) > 1:
            yield code("\n".join(line.text for line in lines), page)
        else:
            yield paragraph(join(lines), page)

    def _starts_new(self, previous: Line, line: Line) -> bool:
        """Whether a line begins a paragraph rather than continues one."""
        ended = bool(_SENTENCE_END.search(previous.text))
        short = previous.right < _SHORT_LINE * self._widest
        if previous.page != line.page:
            return ended and (short or (line.text[:1].isupper() and self._indented(previous, line)))
        if abs(previous.size - line.size) > 0.15 * max(previous.size, line.size):
            return True
        distance = previous.y - line.y
        if distance < 0 or distance > self._gap * 1.25:
            return distance > self._gap * 1.25 or ended
        return ended and (short or self._indented(previous, line))

    def _indented(self, previous: Line, line: Line) -> bool:
        return line.x > previous.x + 0.8 * line.size and self._item is None


def join(lines: Sequence[Line]) -> str:
    """The lines' text as one; a word divided at the end of a line is put together again."""
    text = ""
    for line in lines:
        if text.endswith("-") and len(text) > 1 and text[-2].isalpha() and line.text[:1].islower():
            text = text[:-1] + line.text
        else:
            text = f"{text} {line.text}" if text else line.text
    return text


def _mark(text: str) -> tuple[str, str] | None:
    bullet = _BULLET.match(text)
    if bullet:
        return "-", bullet.group(1)
    number = _NUMBER.match(text)
    return (f"{number.group(1)}.", number.group(2)) if number else None


def _with_marks_joined(lines: Sequence[Line]) -> list[Line]:
    """A bullet printed as a line of its own belongs to the line beside it."""
    joined: list[Line] = []
    mark: Line | None = None
    for line in lines:
        beside = mark is not None and line.page == mark.page and abs(line.y - mark.y) < 0.9 * line.size
        if mark is not None and beside:
            joined.append(_with_text(line, f"{mark.text} {line.text}"))
            mark = None
            continue
        if mark is not None:
            joined.append(mark)
        mark = line if _LONE_MARK.match(line.text) else None
        if mark is None:
            joined.append(line)
    return joined if mark is None else [*joined, mark]


def _with_text(line: Line, text: str) -> Line:
    return Line(
        text=text, size=line.size, bold=line.bold, fixed=line.fixed, x=line.x, y=line.y, page=line.page,
        right=line.right,
    )  # fmt: skip


def _continues_heading(heading_line: Line, line: Line, previous: Line | None, width: float) -> bool:
    """A long heading runs over several lines set alike, close to each other."""
    return (
        previous is not None
        and line.page == previous.page
        and line.size == heading_line.size
        and 0 < previous.y - line.y < 1.6 * line.size
        and len(heading_line.text) + len(line.text) <= 200
        and previous.right - previous.x > _FULL_LINE * width
    )


def _joined_heading(first: Line, second: Line) -> Line:
    return _with_text(first, join([first, second]))


def _usual_right_end(lines: Sequence[Line]) -> float:
    ends = sorted(line.right for line in lines)
    return ends[int(len(ends) * 0.9)] if ends else 0.0


def _usual_gap(lines: Sequence[Line]) -> float:
    """The distance of two lines of a paragraph, in points."""
    gaps = sorted(
        first.y - second.y
        for first, second in itertools.pairwise(lines)
        if first.page == second.page and 0 < first.y - second.y < 3 * max(first.size, 1.0)
    )
    return gaps[len(gaps) // 3] if gaps else 0.0
