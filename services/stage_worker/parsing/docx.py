"""DOCX: headings by style or outline level, lists by numbering, tables; insertions kept, deletions left out."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import docx
from docx.document import Document
from lxml import etree

from services.stage_worker.parsing.blocks import Block, code, heading, item, paragraph, row
from services.stage_worker.parsing.characters import clean_line

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MC_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING_STYLE = re.compile(r"^heading (\d)$", re.IGNORECASE)
_CODE_STYLE = re.compile(r"code|preformatted|listing|source", re.IGNORECASE)
_CONTENTS_STYLE = re.compile(r"^(?:toc \d|table of figures|toc heading)$", re.IGNORECASE)
_LIST_STYLE = re.compile(r"^list(?: (bullet|number))?(?: (\d))?$|^list paragraph$", re.IGNORECASE)
_WRAPPERS = {f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}smartTag", f"{_W}customXml"}
_SKIPPED_RUNS = {f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_W}pPr", f"{_W}rPr", _MC_FALLBACK}
_LONGEST_BOLD_HEADING = 90
_TITLE_LEVEL = 1


def read(content: Path | bytes) -> tuple[str, Iterator[Block]]:
    """The title in the document's properties, or "", and the blocks of its body."""
    document = docx.Document(io.BytesIO(content) if isinstance(content, bytes) else str(content))
    return document.core_properties.title or "", _Reader(document).blocks()


class _Reader:
    """Knows the document's styles and counts its numbered lists."""

    def __init__(self, document: Document) -> None:
        self._body = document.element.body
        self._styles = {style.style_id: style for style in document.styles if style.style_id}
        self._numbering = _Numbering(document)
        self._has_headings = any(self._level(p) for p in self._body.iter(f"{_W}p"))
        self._has_title = any(self._style_name(p).lower() == "title" for p in self._body.iter(f"{_W}p"))
        self._code: list[str] = []

    def blocks(self) -> Iterator[Block]:
        for element in _flat(self._body):
            if element.tag == f"{_W}p":
                yield from self._paragraph(element)
            elif element.tag == f"{_W}tbl":
                yield from self._end_code()
                yield from _table(element)
        yield from self._end_code()

    def _paragraph(self, element: etree._Element) -> Iterator[Block]:
        style = self._style_name(element)
        if _CONTENTS_STYLE.match(style):
            return
        raw = run_text(element)
        if _CODE_STYLE.search(style):
            self._code.append(raw)
            return
        yield from self._end_code()
        text = clean_line(raw)
        if text:
            yield self._block(element, style, text)

    def _block(self, element: etree._Element, style: str, text: str) -> Block:
        level = self._level(element)
        if level:
            return heading(text, level + 1 if self._has_title and style.lower() != "title" else level)
        listed = self._numbering.place(element) or _listed_by_style(style)
        if listed:
            depth, ordered = listed
            return item(text, depth, self._numbering.marker(element, depth) if ordered else "-")
        if not self._has_headings and _is_bold_line(element, text):
            return heading(text, 2)
        return paragraph(text)

    def _end_code(self) -> Iterator[Block]:
        if self._code:
            yield code("\n".join(self._code))
            self._code = []

    def _style_name(self, element: etree._Element) -> str:
        found = element.find(f"{_W}pPr/{_W}pStyle")
        style = self._styles.get(found.get(f"{_W}val")) if found is not None else None
        return (style.name or "") if style is not None else ""

    def _level(self, element: etree._Element) -> int:
        """1-6 for a heading, 0 for anything else; a style inherits from the one it is based on."""
        own = _outline_level(element.find(f"{_W}pPr"))
        if own:
            return own
        found = element.find(f"{_W}pPr/{_W}pStyle")
        style = self._styles.get(found.get(f"{_W}val")) if found is not None else None
        for _ in range(12):
            if style is None:
                return 0
            name = style.name or ""
            if name.lower() == "title":
                return _TITLE_LEVEL
            matched = _HEADING_STYLE.match(name)
            level = int(matched.group(1)) if matched else _outline_level(style.element.find(f"{_W}pPr"))
            if level:
                return min(6, level)
            style = getattr(style, "base_style", None)
        return 0


class _Numbering:
    """Which list levels are numbered, and how far each list has counted."""

    def __init__(self, document: Document) -> None:
        self._formats: dict[tuple[str, int], str] = {}
        self._counts: dict[tuple[str, int], int] = {}
        part = next(
            (rel.target_part for rel in document.part.rels.values() if rel.reltype.endswith("/numbering")), None
        )
        if part is not None:
            self._read(part.element)

    def _read(self, root: etree._Element) -> None:
        abstract = {each.get(f"{_W}abstractNumId"): each for each in root.iter(f"{_W}abstractNum")}
        for num in root.iter(f"{_W}num"):
            link = num.find(f"{_W}abstractNumId")
            definition = abstract.get(link.get(f"{_W}val")) if link is not None else None
            for level in definition.iter(f"{_W}lvl") if definition is not None else ():
                form = level.find(f"{_W}numFmt")
                depth = _number(level.get(f"{_W}ilvl"))
                self._formats[num.get(f"{_W}numId") or "", depth] = "" if form is None else form.get(f"{_W}val") or ""

    def place(self, element: etree._Element) -> tuple[int, bool] | None:
        """How deep a list item is nested and whether it is numbered; None for no list item."""
        num = element.find(f"{_W}pPr/{_W}numPr/{_W}numId")
        if num is None or num.get(f"{_W}val") == "0":
            return None
        depth_element = element.find(f"{_W}pPr/{_W}numPr/{_W}ilvl")
        depth = _number(depth_element.get(f"{_W}val")) if depth_element is not None else 0
        form = self._formats.get((num.get(f"{_W}val") or "", depth), "bullet")
        return depth, form not in {"bullet", "none", ""}

    def marker(self, element: etree._Element, depth: int) -> str:
        """The item's number; a deeper level begins again at one."""
        num = element.find(f"{_W}pPr/{_W}numPr/{_W}numId")
        style = element.find(f"{_W}pPr/{_W}pStyle")
        found = num if num is not None else style
        name = (found.get(f"{_W}val") or "") if found is not None else ""
        count = self._counts.get((name, depth), 0) + 1
        self._counts[name, depth] = count
        for key in [key for key in self._counts if key[0] == name and key[1] > depth]:
            del self._counts[key]
        return f"{count}."


def run_text(element: etree._Element) -> str:
    """The visible text of a paragraph, without deletions and without the second copy of a drawing's text."""
    parts: list[str] = []
    stack = [element]
    while stack:
        current = stack.pop()
        if current.tag in _SKIPPED_RUNS:
            continue
        if current.tag == f"{_W}t":
            parts.append(current.text or "")
        elif current.tag in {f"{_W}tab", f"{_W}br", f"{_W}cr"}:
            parts.append("\t" if current.tag == f"{_W}tab" else "\n")
        elif current.tag == f"{_W}noBreakHyphen":
            parts.append("-")
        stack.extend(reversed(current))
    return "".join(parts)


def _flat(body: etree._Element) -> Iterator[etree._Element]:
    """Paragraphs and tables in order, also those inside content controls."""
    stack = list(reversed(body))
    while stack:
        element = stack.pop()
        if element.tag in _WRAPPERS:
            stack.extend(reversed(element))
        else:
            yield element


def _table(table: etree._Element) -> Iterator[Block]:
    for line in table.iter(f"{_W}tr"):
        cells = tuple(_cell(cell) for cell in line if cell.tag == f"{_W}tc")
        yield row(cells)


def _cell(cell: etree._Element) -> str:
    return clean_line(" ".join(run_text(each) for each in cell.iter(f"{_W}p")))


def _outline_level(properties: etree._Element | None) -> int:
    found = properties.find(f"{_W}outlineLvl") if properties is not None else None
    level = _number(found.get(f"{_W}val"), default=9) if found is not None else 9
    return level + 1 if level < 6 else 0


def _listed_by_style(style: str) -> tuple[int, bool] | None:
    found = _LIST_STYLE.match(style)
    if not found or style.lower() == "list paragraph":
        return None
    return int(found.group(2) or 1) - 1, (found.group(1) or "").lower() == "number"


def _is_bold_line(element: etree._Element, text: str) -> bool:
    """In a document without heading styles people make headings bold: a short line, all of it, no full stop."""
    runs = [run for run in element.iter(f"{_W}r") if run_text(run).strip()]
    bold = all(run.find(f"{_W}rPr/{_W}b") is not None for run in runs)
    return bool(runs) and bold and len(text) <= _LONGEST_BOLD_HEADING and text[-1] not in ".,;:!"


def _number(text: str | None, default: int = 0) -> int:
    return int(text) if text and text.isdigit() and len(text) < 6 else default
