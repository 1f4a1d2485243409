"""PDF: lines with their sizes become paragraphs, lists and headings, page by page.

pypdf gives runs of text in the order of the page's content. `pdf_lines` puts them together to lines; here the lines
of all pages become blocks. A heading is what the file's own outline names, what is set larger than the body, or what
is numbered and stands alone. Running heads, page numbers and tables of contents are left out, words hyphenated at a
line's end are joined.
"""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pypdf import PdfReader
from pypdf.errors import PyPdfError, WrongPasswordError

from services.kernel.errors import DocumentRejected
from services.stage_worker.parsing.blocks import Block
from services.stage_worker.parsing.limits import Limits
from services.stage_worker.parsing.pdf_headings import Headings
from services.stage_worker.parsing.pdf_lines import Line, page_lines
from services.stage_worker.parsing.pdf_paragraphs import flow

_FEWEST_LETTERS_PER_PAGE = 3
_EDGE_LINES = 3
_RUNNING_SHARE = 0.4
_RUNNING_PAGES = 4
_PAGE_NUMBER = re.compile(
    r"^\W*(?:(?:page|seite|стр\.?|страница|с\.|p\.)\s*)?\d{1,4}(?:\s*(?:/|of|из|von|sur|de)\s*\d{1,4})?\W*$",
    re.IGNORECASE,
)
_NUMBER_AT_EDGE = re.compile(r"^\W*\d+|\d+(?:\s*(?:/|of|из|von|sur|de)\s*\d+)?\W*$", re.IGNORECASE)
_DOTS = re.compile(r"(?:\.\s?){4,}\s*\d{1,4}\s*$")


def read(content: Path | bytes, limits: Limits) -> tuple[str, Iterator[Block]]:
    """The title in the file's properties, or "", and its blocks.

    Raises:
        DocumentRejected: it needs a password, has too many pages, or holds pictures of text only.
    """
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = PdfReader(io.BytesIO(content) if isinstance(content, bytes) else str(content), strict=False)
    _unlock(reader)
    count = len(reader.pages)
    if count > limits.pages:
        raise DocumentRejected(f"The PDF has {count:,} pages; at most {limits.pages:,} are read. Split it into parts.")
    pages = _pages(reader, limits)
    lines = _without_running_lines(pages)
    return _title(reader), flow(lines, Headings.of(lines, _outline(reader)))


def _unlock(reader: PdfReader) -> None:
    """A PDF that only forbids printing or copying opens with the empty password."""
    if not reader.is_encrypted:
        return
    try:
        opened = reader.decrypt("")
    except (PyPdfError, WrongPasswordError, NotImplementedError) as error:
        raise DocumentRejected(
            "The PDF is encrypted in a way that cannot be read. Save it without protection."
        ) from error
    if not opened:
        raise DocumentRejected("The PDF is encrypted. Remove the password and upload it again.")


def _pages(reader: PdfReader, limits: Limits) -> list[list[Line]]:
    pages: list[list[Line]] = []
    letters = failed = 0
    for number, page in enumerate(reader.pages, 1):
        try:
            lines = page_lines(page, number, limits)
        except (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            lines = []  # one broken page must not cost the others
            failed += 1
        letters += sum(len(line.text) for line in lines)
        pages.append(lines)
    _require_text(letters, len(pages), failed)
    return pages


def _require_text(letters: int, pages: int, failed: int) -> None:
    if not pages:
        raise DocumentRejected("The PDF has no pages. Export it again and upload the new file.")
    if failed == pages:
        raise DocumentRejected("The PDF is damaged: none of its pages can be read. Export it again and upload it.")
    if letters < _FEWEST_LETTERS_PER_PAGE * pages:
        raise DocumentRejected(
            "The PDF holds no text, only pictures of it, as a scanner makes them. "
            "Run text recognition (OCR) on it, or upload the original document."
        )


def _without_running_lines(pages: list[list[Line]]) -> list[Line]:
    """All lines but running heads and feet, page numbers and entries of a table of contents."""
    repeated = _repeated(pages)
    kept: list[Line] = []
    for lines in pages:
        for at, line in enumerate(lines):
            edge = at < _EDGE_LINES or at >= len(lines) - _EDGE_LINES
            if edge and (_PAGE_NUMBER.match(line.text) or _signature(line) in repeated):
                continue
            if not _DOTS.search(line.text):
                kept.append(line)
    return kept


def _repeated(pages: list[list[Line]]) -> set[tuple[str, float]]:
    counts: Counter[tuple[str, float]] = Counter()
    for lines in pages:
        edges = {_signature(line) for line in [*lines[:_EDGE_LINES], *lines[-_EDGE_LINES:]]}
        counts.update(edges)
    least = max(_RUNNING_PAGES - 1, _RUNNING_SHARE * len(pages))
    return {text for text, count in counts.items() if count >= least and len(pages) >= _RUNNING_PAGES - 1}


def _signature(line: Line) -> tuple[str, float]:
    """A line's text whatever page number it carries, and its size: a title may be repeated small at each foot."""
    return _NUMBER_AT_EDGE.sub("#", line.text).strip().lower(), line.size


def _title(reader: PdfReader) -> str:
    try:
        found = reader.metadata.title if reader.metadata else None
    except (PyPdfError, ValueError, TypeError, AttributeError):
        return ""
    title = str(found or "").strip()
    is_filename = re.search(r"\.(?:docx?|pdf|indd|tex|dvi|odt|pptx?)$", title, re.IGNORECASE)
    is_placeholder = title.lower() in {"untitled", "anonymous", "unspecified", "(anonymous)", "microsoft word"}
    return "" if is_filename or is_placeholder else title


def _outline(reader: PdfReader) -> list[tuple[int, str, int | None]]:
    """The file's bookmarks: level, title and page; an unreadable outline is no outline."""
    found: list[tuple[int, str, int | None]] = []
    try:
        _collect(reader, reader.outline, 1, found)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return found


def _collect(reader: PdfReader, entries: Any, level: int, found: list[tuple[int, str, int | None]]) -> None:
    for entry in entries:
        if isinstance(entry, list):
            _collect(reader, entry, level + 1, found)
            continue
        page = reader.get_destination_page_number(entry)
        found.append((level, str(entry.title), page + 1 if page is not None and page >= 0 else None))
