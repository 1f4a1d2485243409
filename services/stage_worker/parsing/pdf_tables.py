"""Tables of a PDF: lines side by side, as far as they stand in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.stage_worker.parsing.pdf_lines import Line

_SAME_HEIGHT = 0.3
"""Of the letters' size: how far apart the baselines of two cells of a row may be."""
_ROW_GAP = 4.0
"""Of the letters' size: a larger distance between two rows ends the table."""
_SLACK_POINTS = 4.0


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, and the page they begin on."""

    rows: tuple[tuple[str, ...], ...]
    page: int
    last: Line


def with_tables(lines: Sequence[Line]) -> list[Line | Table]:
    """The same lines with those that make up a table put together."""
    found: list[Line | Table] = []
    at = 0
    while at < len(lines):
        end, rows = _table(lines, at)
        if len(rows) >= 2:
            found.append(Table(tuple(rows), lines[at].page, lines[end - 1]))
            at = end
        else:
            found.append(lines[at])
            at += 1
    return found


def _table(lines: Sequence[Line], at: int) -> tuple[int, list[tuple[str, ...]]]:
    """Where the table that begins here ends, and its rows; no rows where none begins."""
    columns = _columns(lines, at)
    if len(columns) < 2:
        return at, []
    rows: list[list[list[str]]] = []
    lowest = lines[at].y
    end = at
    while end < len(lines) and _belongs(lines[end], lines[at], columns, lowest):
        line = lines[end]
        column = _column(line, columns)
        if column == 0 and (not rows or line.y < lowest - _SAME_HEIGHT * line.size or not rows[-1][0]):
            rows.append([[] for _ in columns])
        if not rows:
            return at, []
        rows[-1][column].append(line.text)
        lowest = min(lowest, line.y)
        end += 1
    return end, [tuple(" ".join(cell) for cell in row) for row in rows]


def _columns(lines: Sequence[Line], at: int) -> list[float]:
    """Left ends of the cells of the first row."""
    first = lines[at]
    columns = [first.x]
    for line in lines[at + 1 : at + 12]:
        if line.page != first.page or abs(line.y - first.y) > _SAME_HEIGHT * first.size or line.x <= columns[-1]:
            break
        columns.append(line.x)
    return columns


def _belongs(line: Line, first: Line, columns: list[float], lowest: float) -> bool:
    """Whether a line stands within one column, not too far below the table."""
    if line.page != first.page or line.x < columns[0] - _SLACK_POINTS or lowest - line.y > _ROW_GAP * first.size:
        return False
    if abs(line.size - first.size) > 0.2 * first.size or line.y > first.y + _SLACK_POINTS:
        return False
    column = _column(line, columns)
    return column == len(columns) - 1 or line.right * 0.92 <= columns[column + 1] + _SLACK_POINTS


def _column(line: Line, columns: list[float]) -> int:
    return max(number for number, x in enumerate(columns) if number == 0 or line.x >= x - _SLACK_POINTS)
