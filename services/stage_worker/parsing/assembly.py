"""Assembly: blocks become one text, and sections that point into it.

The offsets are made while the text is written, so they cannot disagree with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from services.kernel.errors import DocumentRejected
from services.stage_worker.language.guess import likely_language
from services.stage_worker.language.words import count_words
from services.stage_worker.parsing.blocks import Block, Kind
from services.stage_worker.parsing.characters import clean_code, clean_line
from services.stage_worker.parsing.limits import Limits
from services.stage_worker.parsing.model import ParsedDocument, Section

_LONGEST_HEADING = 250
_LONGEST_TITLE = 300


class _Writer:
    """Writes blocks one after another and remembers where each section's body begins and ends."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parts: list[str] = []
        self._length = 0
        self._last: Kind | None = None
        self._last_depth = 0
        self._open: tuple[int, str, int | None] | None = None
        self._body: tuple[int, int] | None = None
        self.sections: list[Section] = []

    def add(self, block: Block) -> None:
        if block.kind is Kind.HEADING:
            self._heading(block)
            return
        depth = self._depth(block)
        text = _rendered(block, depth)
        if not text:
            return
        self._last_depth = depth
        start, end = self._write(text, block.kind)
        if self._open is None:
            self._open = (0, "", block.page)
        self._body = (self._body[0] if self._body else start, end)

    def finish(self) -> str:
        self._close()
        return "".join(self._parts)

    def _depth(self, block: Block) -> int:
        """How deep an item may stand: one level below the item before it at most, and a list begins at its edge."""
        return min(block.level, self._last_depth + 1) if self._last is Kind.ITEM else 0

    def _heading(self, block: Block) -> None:
        text = clean_line(block.text)
        if not text:
            return
        if len(text) > _LONGEST_HEADING:
            self.add(Block(kind=Kind.PARAGRAPH, text=text, page=block.page))
            return
        self._close()
        self._write(text, Kind.HEADING)
        self._open = (block.level, text, block.page)

    def _close(self) -> None:
        if self._open is None:
            return
        level, heading, page = self._open
        start, end = self._body or (self._length, self._length)
        self.sections.append(Section(level=level, heading=heading, start=start, end=end, page=page))
        self._open = self._body = None

    def _write(self, text: str, kind: Kind) -> tuple[int, int]:
        if self._parts:
            joined = kind is self._last and kind in {Kind.ITEM, Kind.ROW}
            self._append("\n" if joined else "\n\n")
        self._last = kind
        start = self._length
        self._append(text)
        return start, self._length

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
        if self._length > self._limits.characters:
            raise DocumentRejected(
                f"The document holds more than {self._limits.characters:,} characters of text. "
                "Split it into several documents."
            )


def assemble(blocks: Iterable[Block], *, title: str, filename: str, limits: Limits) -> ParsedDocument:
    """The parsed document.

    Args:
        blocks: everything read, in order.
        title: what the format's own properties call it; empty for nothing.
        filename: names the document when nothing else does.
        limits: how much text is allowed.

    Raises:
        DocumentRejected: there is no text, or too much.
    """
    writer = _Writer(limits)
    for block in blocks:
        writer.add(block)
    text = writer.finish()
    if not count_words(text):
        raise DocumentRejected("The document contains no text. Upload one that has text in it.")
    sections = tuple(writer.sections)
    return ParsedDocument(
        title=_title(title, sections, filename), language=likely_language(text), text=text, sections=sections
    )


def _rendered(block: Block, depth: int) -> str:
    if block.kind is Kind.CODE:
        text = clean_code(block.text)
        return f"```\n{text}\n```" if text else ""
    if block.kind is Kind.ROW:
        cells = [clean_line(cell).replace("|", "/") for cell in block.cells]
        return f"| {' | '.join(cells)} |" if any(cells) else ""
    text = clean_line(block.text)
    if block.kind is Kind.ITEM and text:
        return f"{'  ' * depth}{block.marker} {text}"
    return text


def _title(declared: str, sections: tuple[Section, ...], filename: str) -> str:
    declared = clean_line(declared)
    outermost = [section for section in sections if section.level == 1]
    first_is_title = bool(sections) and len(outermost) == 1 and sections[0].level == 1
    if first_is_title:
        return sections[0].heading
    if declared:
        return declared[:_LONGEST_TITLE]
    stem = clean_line(PurePath(filename).stem.replace("_", " "))
    return stem[:_LONGEST_TITLE] or "Document"
