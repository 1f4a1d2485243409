"""Every format becomes the same kind of text and sections."""

from __future__ import annotations

import io

import docx
import pptx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from reportlab.pdfgen.canvas import Canvas

from services.stage_worker.parsing import ParsedDocument, parse
from tests.support.material import EXAMPLES, MEDIA_TYPES, UNSEEN
from tests.support.papers import DOCX, PDF, PPTX, docx_of, pdf_of, pdf_with_outline, pptx_of

MD, HTML, TXT = "text/markdown", "text/html", "text/plain"


def outline_of(document: ParsedDocument) -> list[tuple[int, str]]:
    """Levels and headings."""
    return [(section.level, section.heading) for section in document.sections]


def body(document: ParsedDocument, heading: str) -> str:
    """The text under a heading."""
    section = next(each for each in document.sections if each.heading == heading)
    return document.text[section.start : section.end]


MARKDOWN = """---
title: "The title in front"
---
Before any heading.

# Bread

Flour and *water*, with `salt`.

## Steps

1. Mix
2. Wait
   - an hour
   - or two

| Thing | Weight |
|---|---|
| Flour | 500 g |

```sh
bake --at 230
```

![the loaf](loaf.png) and a [link](https://example.org)
"""


def test_markdown_keeps_its_meaning_and_loses_its_marks() -> None:
    """Headings, nested lists, tables and code; text before the first heading has a section of level 0."""
    document = parse(MARKDOWN.encode(), MD, "bread.md")

    assert outline_of(document) == [(0, ""), (1, "Bread"), (2, "Steps")]
    assert document.title == "The title in front"
    assert body(document, "Bread") == "Flour and water, with salt."
    assert body(document, "Steps").split("\n\n") == [
        "1. Mix\n2. Wait\n  - an hour\n  - or two",
        "| Thing | Weight |\n| Flour | 500 g |",
        "```\nbake --at 230\n```",
        "the loaf and a link",
    ]


def test_html_gives_the_text_a_reader_came_for() -> None:
    """Navigation, scripts, hidden parts and forms are left out; the main part is taken where there is one."""
    page = """<html><head><title>Page title</title><style>p{}</style></head><body>
      <nav><a>Home</a></nav><header>Banner</header>
      <main><h1>Bread</h1><p>Flour&nbsp;and <b>water</b>.<p>Second<br>line.
      <script>alert(1)</script><div hidden>secret</div><span style="display: none">no</span>
      <ol start="3"><li>Mix</li><li>Wait<ul><li>an hour</li></ul></li></ol>
      <table><tr><th>Thing</th><th>Weight</th></tr><tr><td>Flour</td><td>500 g</td></tr></table>
      <pre>  bake
    --at 230</pre></main><footer>Imprint</footer></body></html>"""
    document = parse(page.encode(), HTML, "page.html")

    assert document.title == "Bread"
    assert body(document, "Bread").split("\n\n") == [
        "Flour and water.",
        "Second line.",
        "3. Mix\n4. Wait\n  - an hour",
        "| Thing | Weight |\n| Flour | 500 g |",
        "```\n  bake\n    --at 230\n```",
    ]


def test_docx_reads_styles_lists_and_tables() -> None:
    """Heading styles give levels; a title style is the outermost one."""
    content = docx_of(
        ("Title", "Bread"),
        ("Heading 1", "Dough"),
        ("Normal", "Flour and water."),
        ("List Bullet", "salt"),
        ("List Number", "first"),
        ("List Number", "second"),
        ("Heading 2", "Rest"),
        ("Normal", "An hour."),
    )
    document = parse(content, DOCX, "bread.docx")

    assert outline_of(document) == [(1, "Bread"), (2, "Dough"), (3, "Rest")]
    assert body(document, "Dough") == "Flour and water.\n\n- salt\n1. first\n2. second"


def test_docx_without_styles_has_its_bold_lines_as_headings() -> None:
    """People who know no styles make headings bold."""
    made = docx.Document()
    made.add_paragraph().add_run("Why bread rises").bold = True
    made.add_paragraph("Yeast makes gas, and gluten holds it.")
    made.add_paragraph().add_run("This whole sentence is bold, but it ends like one.").bold = True
    written = io.BytesIO()
    made.save(written)
    document = parse(written.getvalue(), DOCX, "bread.docx")

    assert outline_of(document) == [(2, "Why bread rises")]


def test_pptx_has_a_section_for_each_slide() -> None:
    """Titles are headings, lines are items, notes are paragraphs, and the page is the slide's number."""
    content = pptx_of(("Bread", ("flour", "water"), "Say why."), ("Baking", ("hot oven",), ""))
    document = parse(content, PPTX, "slides.pptx")

    assert [(each.heading, each.page) for each in document.sections] == [("Bread", 1), ("Baking", 2)]
    assert body(document, "Bread") == "- flour\n- water\n\nSay why."


def test_pdf_headings_are_what_is_set_larger() -> None:
    """Sizes give levels, pages are counted from one, words divided at a line's end are joined."""
    content = pdf_of(
        ("Title", "Bread"),
        ("Heading2", "Dough"),
        ("BodyText", "Flour and water make a dough. " * 12),
        ("page", ""),
        ("Heading2", "Oven"),
        ("BodyText", "Heat makes a crust. " * 12),
    )
    document = parse(content, PDF, "bread.pdf")

    assert outline_of(document) == [(1, "Bread"), (2, "Dough"), (2, "Oven")]
    assert [section.page for section in document.sections] == [1, 1, 2]
    assert body(document, "Dough") == ("Flour and water make a dough. " * 12).strip()


def test_pdf_outline_names_headings_that_look_like_text() -> None:
    """Bookmarks are believed where they name lines that are there."""
    document = parse(pdf_with_outline("First part", "Second part", "Third part"), PDF, "plain.pdf")

    assert outline_of(document) == [(1, "First part"), (1, "Second part"), (1, "Third part")]


def test_pdf_running_heads_and_page_numbers_are_left_out() -> None:
    """What stands at the edge of every page is not text."""
    written = io.BytesIO()
    canvas = Canvas(written, invariant=1)
    for number in range(1, 7):
        canvas.drawString(72, 800, "The Bread Book")
        canvas.drawString(72, 700, f"Dough number {number} rises slowly in the cool of the morning.")
        canvas.drawString(300, 30, f"Page {number} of 6")
        canvas.showPage()
    canvas.save()
    document = parse(written.getvalue(), PDF, "book.pdf")

    assert "Bread Book" not in document.text
    assert "Page 3" not in document.text
    assert document.text.count("Dough number") == 6


def test_plain_text_headings_are_marked_by_habit() -> None:
    """Underlined, numbered, capital and chapter lines are headings; sentences are not."""
    text = (
        "Bread\n=====\n\nFlour and\nwater.\n\n1.2 The dough\n\nIt rises.\n\nTHE OVEN\n\nIt is hot.\n\n"
        "Chapter 3\n\n- salt\n- yeast\n  and time\n\nA line alone.\n"
    )
    document = parse(text.encode(), TXT, "bread.txt")

    assert outline_of(document) == [(1, "Bread"), (2, "1.2 The dough"), (2, "THE OVEN"), (2, "Chapter 3")]
    assert body(document, "Bread") == "Flour and water."
    assert body(document, "Chapter 3") == "- salt\n- yeast and time\n\nA line alone."


@pytest.mark.parametrize("path", [*EXAMPLES, *UNSEEN], ids=lambda path: path.name)
def test_real_documents_are_read_whole(path) -> None:  # type: ignore[no-untyped-def]
    """The documents of the demo and of the tests: language, headings and thousands of words."""
    document = parse(path, MEDIA_TYPES[path.suffix], path.name)

    russian = "ezervnye" in path.name or "zdorovye" in path.name
    assert document.language == ("ru" if russian else "en")
    assert len([section for section in document.sections if section.heading]) >= 8
    assert len(document.text.split()) > 1_000


def test_example_pdf_keeps_its_lists_and_tables() -> None:
    """Bullets, numbers and table cells of a PDF are recognised by where they stand."""
    document = parse(EXAMPLES[0], PDF, EXAMPLES[0].name)

    assert "| A | All of a transaction happens, or none of it | The log and the ability to undo |" in document.text
    assert "\n- the transaction it belongs to\n" in document.text
    assert "1. Find the last complete checkpoint.\n2. Read the log forward" in document.text
    assert document.text.count("| Level | What may still go wrong |") == 1


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1251", "koi8-r", "cp866"]
)
def test_russian_text_is_read_in_every_usual_encoding(encoding: str) -> None:
    """Old files come in encodings that they do not name."""
    text = "Пчёлы живут в улье и делают мёд из нектара. " * 6
    document = parse(text.encode(encoding), TXT, "bees.txt")

    assert document.language == "ru"
    assert document.text.startswith("Пчёлы живут в улье и делают мёд")


def test_html_in_a_declared_encoding() -> None:
    """A page says its own encoding in a meta element."""
    page = '<html><head><meta charset="windows-1251"></head><body><p>Привет, улей и пчёлы.</p></body></html>'

    assert parse(page.encode("cp1251"), HTML, "page.html").text == "Привет, улей и пчёлы."


def test_docx_keeps_code_tables_insertions_and_outline_levels() -> None:
    """What people do in Word besides headings and paragraphs; tables of contents and deletions are left out."""
    made = docx.Document()
    made.styles.add_style("Source Code", WD_STYLE_TYPE.PARAGRAPH)
    made.styles.add_style("TOC 1", WD_STYLE_TYPE.PARAGRAPH)
    made.add_paragraph("Dough .... 1", style="TOC 1")
    outlined = made.add_paragraph("Dough")
    outlined._p.get_or_add_pPr().append(parse_xml(f'<w:outlineLvl {nsdecls("w")} w:val="1"/>'))
    changed = made.add_paragraph("Flour ")
    changed._p.append(parse_xml(f"<w:ins {nsdecls('w')}><w:r><w:t>and water</w:t></w:r></w:ins>"))
    changed._p.append(parse_xml(f"<w:del {nsdecls('w')}><w:r><w:delText>and sand</w:delText></w:r></w:del>"))
    for line in ("mix()", "  bake()"):
        made.add_paragraph(line, style="Source Code")
    table = made.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Flour", "500 g"
    written = io.BytesIO()
    made.save(written)
    document = parse(written.getvalue(), DOCX, "bread.docx")

    assert outline_of(document) == [(2, "Dough")]
    assert body(document, "Dough").split("\n\n") == [
        "Flour and water",
        "```\nmix()\n  bake()\n```",
        "| Flour | 500 g |",
    ]


def test_docx_numbers_its_lists_by_their_definition() -> None:
    """A list by numbering, not by style: bullets and numbers are told apart, deeper levels begin again."""
    made = docx.Document()
    number = made.styles["List Number"].element.pPr.numPr.numId.val
    for depth, text in ((0, "first"), (1, "deeper"), (0, "second")):
        line = made.add_paragraph(text)
        line._p.get_or_add_pPr().append(
            parse_xml(f'<w:numPr {nsdecls("w")}><w:ilvl w:val="{depth}"/><w:numId w:val="{number}"/></w:numPr>')
        )
    written = io.BytesIO()
    made.save(written)
    lines = parse(written.getvalue(), DOCX, "list.docx").text.splitlines()

    assert lines[0] == "1. first"
    assert lines[1].strip().endswith("deeper")
    assert lines[2] == "2. second"


def test_pptx_reads_tables_groups_and_long_lines() -> None:
    """A sentence on a slide is a paragraph; a table's rows are rows; a repeated title continues its section."""
    made = pptx.Presentation()
    for _ in range(2):
        slide = made.slides.add_slide(made.slide_layouts[5])
        slide.shapes.title.text = "Bread"
        slide.shapes.add_textbox(0, 0, 100, 100).text_frame.text = "A whole sentence stands on this slide. " * 4
    table = slide.shapes.add_table(1, 2, 0, 200, 100, 100).table
    table.cell(0, 0).text, table.cell(0, 1).text = "Flour", "500 g"
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(0, 300, 100, 100).text_frame.text = "Within a group"
    written = io.BytesIO()
    made.save(written)
    document = parse(written.getvalue(), PPTX, "slides.pptx")

    assert [section.heading for section in document.sections] == ["Bread"]
    assert "| Flour | 500 g |" in document.text
    assert "Within a group" in document.text


def test_pdf_code_is_kept_in_lines_and_divided_words_are_joined() -> None:
    """Letters of one width are code; a hyphen at a line's end is not part of the word."""
    written = io.BytesIO()
    canvas = Canvas(written, invariant=1)
    canvas.setFont("Helvetica", 11)
    for at, line in enumerate(
        ("The baker keeps the dough in a warm place and waits until the yeast has pro-", "duced enough gas.")
    ):
        canvas.drawString(72, 760 - 14 * at, line)
    canvas.setFont("Courier", 11)
    for at, line in enumerate(("mix(flour)", "bake(230)")):
        canvas.drawString(72, 700 - 14 * at, line)
    canvas.save()
    document = parse(written.getvalue(), PDF, "bread.pdf")

    assert "has produced enough gas." in document.text
    assert "```\nmix(flour)\nbake(230)\n```" in document.text


def test_html_that_is_laid_out_by_a_table_is_read_as_text() -> None:
    """Long cells are paragraphs, whatever holds them."""
    page = f"<body><table><tr><td>{'A long story about bread. ' * 40}</td><td>Menu</td></tr></table></body>"

    assert parse(page.encode(), HTML, "page.html").text.startswith("A long story about bread.")
