"""Make the PDF and the DOCX of `examples/` from their texts.

Run it after changing a text: ``.venv/bin/python scripts/make_examples.py``. The results are committed, so that the demo
needs neither this script nor its libraries; both are made with fixed dates, so that the same text gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from docx import Document
from docx.document import Document as DocxDocument
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

_ROOT = Path(__file__).resolve().parents[1]
_TEXTS = _ROOT / "scripts" / "example_texts"
_WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)
_HEADING = re.compile(r"^(#+) (.+)$")


def blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each block of a simple Markdown text: its kind ("h1", "p", "table") and its lines."""
    for block in re.split(r"\n{2,}", text.strip()):
        heading = _HEADING.match(block)
        if heading:
            yield f"h{len(heading.group(1))}", [heading.group(2)]
        elif block.startswith("|"):
            yield "table", block.splitlines()
        else:
            yield "p", [" ".join(block.splitlines())]


def cells(lines: list[str]) -> list[list[str]]:
    """The rows of a Markdown table, without the line under its head."""
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return [rows[0], *rows[2:]]


def make_pdf(text: str, target: Path) -> None:
    """Write a PDF of A4 pages with headings, paragraphs and ruled tables."""
    styles = getSampleStyleSheet()
    names = {"h1": "Title", "h2": "Heading1", "h3": "Heading2", "p": "BodyText"}
    story: list[Flowable] = []
    for kind, lines in blocks(text):
        if kind == "table":
            ruled = Table(cells(lines), hAlign="LEFT", style=TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.grey)]))
            story += [ruled, Spacer(1, 8)]
        else:
            story.append(Paragraph(lines[0], styles[names[kind]]))
    SimpleDocTemplate(str(target), pagesize=A4, title=text.splitlines()[0].lstrip("# "), invariant=1).build(story)


def make_docx(text: str, target: Path) -> None:
    """Write a DOCX with Word's own heading styles."""
    document = Document()
    document.core_properties.created = document.core_properties.modified = _WRITTEN
    document.core_properties.title = text.splitlines()[0].lstrip("# ")
    for kind, lines in blocks(text):
        if kind == "table":
            _add_table(document, cells(lines))
        elif kind == "p":
            document.add_paragraph(lines[0])
        else:
            document.add_heading(lines[0], level=int(kind[1]))
    document.save(str(target))


def _add_table(document: DocxDocument, rows: list[list[str]]) -> None:
    table = document.add_table(rows=0, cols=len(rows[0]), style="Table Grid")
    for row in rows:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text


def main() -> None:
    """Make both documents."""
    for name, make, suffix in (("honey-bee-colony", make_pdf, ".pdf"), ("hives-and-equipment", make_docx, ".docx")):
        target = _ROOT / "examples" / f"{name}{suffix}"
        make((_TEXTS / f"{name}.md").read_text(encoding="utf-8"), target)
        print(f"wrote {target.relative_to(_ROOT)}")


if __name__ == "__main__":
    main()
