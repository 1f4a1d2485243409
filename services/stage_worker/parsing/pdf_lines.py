"""Lines of a PDF page: runs of text put together by where they stand."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
from pypdf import PageObject

from services.stage_worker.parsing.characters import clean_line
from services.stage_worker.parsing.limits import Limits

_BOLD = re.compile(r"bold|black|heavy|semibold|demi|-bd|,b", re.IGNORECASE)
_FIXED = re.compile(r"mono|courier|consol|typewriter|menlo|cmtt", re.IGNORECASE)
_UNUSED_CODES = dict.fromkeys((0x7F, 0x81, 0x8D, 0x8F, 0x90, 0x9D), "•")
"""In the common encoding of PDF, codes without a letter stand for a bullet (ISO 32000-1, annex D.2)."""
_LONE_NUMBER = re.compile(r"^\d{1,3}$")
_MARK_GAP = 3.0
"""Of the letters' size: how far before its item a bullet or number may stand."""
_SAME_LINE = 0.45
"""Of the letters' size: how far apart two runs of one line may stand in height (indices, slanted scans)."""
_CELL_GAP = 1.8
"""Of the letters' size: a gap this wide on one line separates two cells or columns."""


class Line(msgspec.Struct, kw_only=True):
    """One line as it is printed."""

    text: str
    size: float
    """Height of most of its letters in points."""
    bold: bool
    fixed: bool
    """Set in letters of one width, as code is."""
    x: float
    y: float
    """Left end and baseline, in points from the lower left corner."""
    page: int
    right: float
    """Estimated right end."""


class _Run(msgspec.Struct, frozen=True):
    text: str
    x: float
    y: float
    size: float
    bold: bool
    fixed: bool


def page_lines(page: PageObject, number: int, limits: Limits) -> list[Line]:
    """The page's lines in reading order; a page whose content is larger than the limit has none."""
    if _content_bytes(page) > limits.page_bytes:
        return []
    runs: list[_Run] = []
    ended: list[int] = []

    def visit(text: str, cm: list[float], tm: list[float], font: Any, size: float) -> None:
        if text.strip():
            runs.append(_run(text, cm, tm, font, size))
        if text.endswith("\n"):
            ended.append(len(runs))

    page.extract_text(visitor_text=visit)
    return _lines(runs, set(ended), number)


def _content_bytes(page: PageObject) -> int:
    contents = page.get_contents()
    return len(contents.get_data()) if contents is not None else 0


def _run(text: str, cm: list[float], tm: list[float], font: Any, size: float) -> _Run:
    """Where a run stands and how large its letters are, both matrices applied."""
    a, b, c, d, e, f = _product(tm, cm)
    height = math.hypot(c, d) or math.hypot(a, b) or 1.0
    name = str((font or {}).get("/BaseFont", ""))
    text = text.translate(_UNUSED_CODES)
    return _Run(text, e, f, round(abs(size) * height, 1), bool(_BOLD.search(name)), bool(_FIXED.search(name)))


def _product(first: list[float], second: list[float]) -> tuple[float, float, float, float, float, float]:
    a, b, c, d, e, f = first
    p, q, r, s, t, u = second
    return a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u


def _lines(runs: list[_Run], ended: set[int], page: int) -> list[Line]:
    lines: list[Line] = []
    group: list[_Run] = []
    for at, run in enumerate(runs):
        if group and (at in ended or _apart(group[-1], run)) and not _marks(group, run):
            lines += _line(group, page)
            group = []
        group.append(run)
    return lines + _line(group, page)


def _apart(previous: _Run, run: _Run) -> bool:
    """Whether a run begins a new line or cell."""
    other_height = abs(run.y - previous.y) > _SAME_LINE * max(run.size, previous.size, 1.0)
    return other_height or run.x - _right(previous) > _CELL_GAP * run.size


def _marks(group: list[_Run], run: _Run) -> bool:
    """Whether what stands alone before this run is its bullet or number."""
    mark = clean_line(group[0].text)
    same_line = abs(run.y - group[0].y) <= _SAME_LINE * max(run.size, 1.0)
    near = 0 < run.x - group[0].x < _MARK_GAP * run.size
    words = any(character.isalpha() for character in run.text[:20])
    return len(group) == 1 and same_line and near and words and (mark == "•" or bool(_LONE_NUMBER.match(mark)))


def _right(run: _Run) -> float:
    return run.x + 0.5 * run.size * len(run.text.rstrip())


def _text(runs: list[_Run]) -> str:
    first = clean_line(runs[0].text)
    if len(runs) > 1 and (first == "•" or _LONE_NUMBER.match(first)) and _marks(runs[:1], runs[1]):
        mark = first if first == "•" else f"{first}."
        return clean_line(f"{mark} {''.join(run.text for run in runs[1:])}")
    return clean_line("".join(run.text for run in runs))


def _line(runs: list[_Run], page: int) -> list[Line]:
    text = _text(runs) if runs else ""
    if not text:
        return []
    main = max(runs, key=lambda run: len(run.text))
    bold = sum(len(run.text) for run in runs if run.bold) * 2 > sum(len(run.text) for run in runs)
    first = min(runs, key=lambda run: run.x)
    width = 0.5 * main.size * len(text)
    fixed = all(run.fixed for run in runs)
    return [
        Line(text=text, size=main.size, bold=bold, fixed=fixed, x=first.x, y=first.y, page=page, right=first.x + width)
    ]
