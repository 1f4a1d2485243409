"""Makes the documents in examples/ from their sources in scripts/examples/: `python -m scripts.make_examples`.

The four are about one subject, how databases keep data safe, in the four formats people have most: PDF, HTML,
Markdown and DOCX (the Russian one). The same sources give the same bytes, so the files change only when a text does.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import docx
from reportlab import rl_config
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import cm
from reportlab.platypus import ListFlowable, Paragraph, SimpleDocTemplate, Table, TableStyle

from services.stage_worker.parsing.blocks import Block, Kind
from services.stage_worker.parsing.markdown import read

_SOURCES = Path(__file__).parent / "examples"
_TARGET = Path(__file__).parent.parent / "examples"
_WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)
_ZIP_TIME = (2026, 11, 1, 0, 0, 0)
_LIST_STYLES = {True: "List Number", False: "List Bullet"}


def main() -> int:
    """Write all four files."""
    _TARGET.mkdir(exist_ok=True)
    _pdf(_SOURCES / "transactions-and-the-log.md", _TARGET / "1-transactions-and-the-log.pdf")
    shutil.copyfile(_SOURCES / "what-the-disk-promises.html", _TARGET / "2-what-the-disk-promises.html")
    shutil.copyfile(_SOURCES / "replication.md", _TARGET / "3-replication-and-failover.md")
    _docx(_SOURCES / "rezervnye-kopii.md", _TARGET / "4-rezervnye-kopii.docx")
    return 0


def _blocks(source: Path) -> list[Block]:
    return list(read(source.read_text(encoding="utf-8"))[1])


def _runs(blocks: list[Block]) -> Iterator[tuple[Kind, list[Block]]]:
    """Blocks grouped so that the items of a list and the rows of a table come together."""
    group: list[Block] = []
    for block in [*blocks, None]:
        same = group and block is not None and block.kind is group[-1].kind and block.kind in {Kind.ITEM, Kind.ROW}
        if group and not same:
            yield group[0].kind, group
            group = []
        if block is not None:
            group.append(block)


def _pdf(source: Path, target: Path) -> None:
    rl_config.invariant = 1
    styles = getSampleStyleSheet()
    body = ParagraphStyle("body", parent=styles["BodyText"], fontName="Times-Roman", fontSize=11.5, leading=15.5)
    blocks = _blocks(source)
    story = [_flowable(kind, group, styles, body) for kind, group in _runs(blocks)]
    document = SimpleDocTemplate(
        str(target), pagesize=A4, leftMargin=2.6 * cm, rightMargin=2.6 * cm, topMargin=2.4 * cm, bottomMargin=2.2 * cm,
        title=blocks[0].text, author="coursegen", invariant=1,
    )  # fmt: skip
    document.build(story, onFirstPage=_footer(blocks[0].text), onLaterPages=_footer(blocks[0].text))


def _flowable(kind: Kind, group: list[Block], styles: Any, body: ParagraphStyle) -> Any:
    if kind is Kind.HEADING:
        name = {1: "Title", 2: "Heading1", 3: "Heading2"}[group[0].level]
        return Paragraph(escape(group[0].text), styles[name])
    if kind is Kind.ITEM:
        numbered = group[0].marker != "-"
        items = [Paragraph(escape(each.text), body) for each in group]
        return ListFlowable(items, bulletType="1" if numbered else "bullet", start=None if numbered else "\u2022")
    if kind is Kind.ROW:
        rows = [[Paragraph(escape(cell), body) for cell in each.cells] for each in group]
        grid = TableStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.grey), ("VALIGN", (0, 0), (-1, -1), "TOP")])
        widths = [15.8 * cm / len(rows[0])] * len(rows[0])
        return Table(rows, colWidths=widths, style=grid, repeatRows=1, spaceBefore=6, spaceAfter=8)
    return Paragraph(escape(group[0].text), body)


def _footer(title: str) -> Callable[[Any, Any], None]:
    def draw(canvas: Any, document: Any) -> None:
        canvas.setFont("Times-Italic", 9)
        canvas.drawString(2.6 * cm, 1.3 * cm, title)
        canvas.drawRightString(A4[0] - 2.6 * cm, 1.3 * cm, f"Page {document.page}")

    return draw


def _docx(source: Path, target: Path) -> None:
    document = docx.Document()
    blocks = _blocks(source)
    for kind, group in _runs(blocks):
        if kind is Kind.HEADING:
            document.add_heading(group[0].text, level=group[0].level - 1)
        elif kind is Kind.ROW:
            table = document.add_table(rows=0, cols=len(group[0].cells), style="Table Grid")
            for row in group:
                for cell, text in zip(table.add_row().cells, row.cells, strict=True):
                    cell.text = text
        elif kind is Kind.ITEM:
            for item in group:
                document.add_paragraph(item.text, style=_LIST_STYLES[item.marker != "-"])
        else:
            document.add_paragraph(group[0].text)
    properties = document.core_properties
    properties.title, properties.author, properties.language = blocks[0].text, "coursegen", "ru"
    properties.created = properties.modified = _WRITTEN
    properties.last_modified_by, properties.comments = "coursegen", ""
    written = io.BytesIO()
    document.save(written)
    target.write_bytes(_same_every_time(written.getvalue()))


def _same_every_time(content: bytes) -> bytes:
    """The archive with one fixed time on every part."""
    rewritten = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(rewritten, "w") as new:
        for entry in old.infolist():
            fixed = zipfile.ZipInfo(entry.filename, _ZIP_TIME)
            fixed.compress_type = zipfile.ZIP_DEFLATED
            fixed.external_attr = 0o644 << 16
            new.writestr(fixed, old.read(entry.filename))
    return rewritten.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
