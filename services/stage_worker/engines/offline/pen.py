"""The pen: writes passages of the material as Markdown and keeps count of where each one comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.stage_worker.course.model import Citation
from services.stage_worker.engines.offline.index import Index
from services.stage_worker.engines.offline.pieces import Form, Piece
from services.stage_worker.language.sentences import Span

_BRACKETED_NUMBER = re.compile(r"\[(\d+)\]")
_MARKUP = re.compile(r"[*<`]|(?<!\w)_|_(?!\w)|~~")
_LINE_START = re.compile(r"^(#{1,6}\s|>|\+\s|=+$|-+$)")
_ITEM_MARK = re.compile(r"^( *(?:-|\d{1,6}\.) )(.*)$")


def escape(text: str) -> str:
    """Text of the material as Markdown that shows it unchanged."""
    text = _MARKUP.sub(lambda found: "".join(f"\\{each}" for each in found.group()), text)
    text = _BRACKETED_NUMBER.sub(r"\\[\1\\]", text)
    return _LINE_START.sub(r"\\\1", text)


def citation(index: Index, document: int, span: Span) -> Citation:
    """The citation of a span of a document of the material."""
    source = index.material.documents[document]
    page = next((each.page for each in source.sections if each.start <= span[0] < each.end), None)
    quote = source.text[span[0] : span[1]]
    return Citation(document_id=source.document_id, start=span[0], end=span[1], quote=quote, page=page)


class Pen:
    """One lesson's, section's or course's citations, in the order of their first use."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._numbers: dict[tuple[int, Span], int] = {}
        self.citations: list[Citation] = []

    def cite(self, document: int, span: Span) -> int:
        """The index of the citation of that span; the same span is cited once."""
        known = self._numbers.get((document, span))
        if known is not None:
            return known
        self.citations.append(citation(self._index, document, span))
        self._numbers[document, span] = len(self.citations) - 1
        return len(self.citations) - 1

    def cite_within(self, document: int, span: Span) -> int:
        """The index of a citation that contains the span, or of a new one."""
        for (known, (start, end)), number in self._numbers.items():
            if known == document and start <= span[0] and span[1] <= end:
                return number
        return self.cite(document, span)

    def mark(self, document: int, span: Span) -> str:
        """The mark to set after a quotation."""
        return f"[{self.cite(document, span) + 1}]"

    def piece(self, document: int, piece: Piece, parts: Sequence[Span]) -> str:
        """A piece, or those sentences or lines of it, with its marks; copies of it elsewhere are cited too."""
        if not parts:
            return ""
        marks = "".join(self.mark(where, span) for where, span in self._index.copies.get((document, piece.start), ()))
        if piece.form is Form.PROSE:
            return " ".join(self._runs(document, piece, parts)) + marks
        if piece.form is Form.LIST:
            return self._list(document, parts) + marks
        marks = self.mark(document, (parts[0][0], parts[-1][1])) + marks
        body = self._table(document, parts) if piece.form is Form.TABLE else self._code(document, piece)
        return f"{body}\n\n{marks}"

    def sentence(self, document: int, span: Span) -> str:
        """One sentence or list item alone, without the item's mark, with its citation."""
        return f"{self.plain(document, span)} {self.mark(document, span)}"

    def plain(self, document: int, span: Span) -> str:
        """One sentence or list item as Markdown without a citation."""
        text = self._index.text(document, span)
        found = _ITEM_MARK.match(text)
        return escape(found.group(2) if found else text)

    def _runs(self, document: int, piece: Piece, parts: Sequence[Span]) -> list[str]:
        """Sentences that follow each other are quoted as one."""
        runs: list[Span] = []
        last = -2
        for part in parts:
            at = piece.parts.index(part)
            if runs and at == last + 1:
                runs[-1] = (runs[-1][0], part[1])
            else:
                runs.append(part)
            last = at
        return [f"{escape(self._index.text(document, run))} {self.mark(document, run)}" for run in runs]

    def _list(self, document: int, parts: Sequence[Span]) -> str:
        lines = [self._item(self._index.text(document, part)) for part in parts]
        whole = (parts[0][0], parts[-1][1])
        return "\n".join(lines) + f" {self.mark(document, whole)}"

    def _item(self, line: str) -> str:
        found = _ITEM_MARK.match(line)
        if not found:
            return escape(line)
        depth = len(found.group(1)) - len(found.group(1).lstrip(" "))
        return f"{' ' * (depth * 2)}{found.group(1).lstrip(' ')}{escape(found.group(2))}"

    def _table(self, document: int, parts: Sequence[Span]) -> str:
        rows = [
            [escape(cell.strip()) for cell in self._index.text(document, part).strip("| ").split("|")] for part in parts
        ]
        width = max(len(row) for row in rows)
        lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
        return "\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]])

    def _code(self, document: int, piece: Piece) -> str:
        return f"```\n{self._index.text(document, (piece.start, piece.end))}\n```"
