"""Tables as Markdown, aligned, so that a terminal and a document show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Table:
    """One result."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row; numbers should come formatted."""
        self.rows.append([str(cell) for cell in cells])

    def render(self) -> str:
        """The table as text."""
        widths = [max(len(row[index]) for row in [self.columns, *self.rows]) for index in range(len(self.columns))]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        lines = [f"### {self.title}", "", _line(self.columns, widths), rule]
        lines += [_line(row, widths) for row in self.rows]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if index == 0 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"


def verdict(reached: float, goal: float, *, at_least: bool) -> str:
    """`met` or `MISSED`."""
    return "met" if (reached >= goal if at_least else reached <= goal) else "MISSED"
