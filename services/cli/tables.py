"""Tables and ages for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Lines of a table, each column as wide as it must be; numbers to the right. None is shown as a dash."""
    texts = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    numeric = [_is_numeric([row[n] for row in rows]) for n in range(len(headers))]
    for line in (list(headers), *texts):
        cells = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, numeric, strict=True)
        )
        yield "  ".join(cells).rstrip()


def _is_numeric(cells: Sequence[object]) -> bool:
    numbers = [cell for cell in cells if cell is not None]
    return bool(numbers) and all(isinstance(cell, int | float) for cell in numbers)


def age(seconds: float | None) -> str:
    """A duration as people say it: `12 s`, `3 min`, `2.5 h`, `4 days`."""
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}".replace(".0 ", " ")
    return f"{seconds:.0f} s"
