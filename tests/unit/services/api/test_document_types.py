"""A file is what its content says, and what cannot be used is refused with a reason to act on."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from typing import Any

import docx
import pptx
import pypdf
import pytest
from reportlab.pdfgen.canvas import Canvas

from services.api import document_types
from services.api.document_types import DOCX, HTML, MARKDOWN, PDF, PPTX, TEXT, recognise
from services.kernel.errors import DocumentRejected, PermanentError, UnsupportedMediaType


def look(content: bytes, filename: str = "file") -> str:
    """Recognise these bytes."""
    return recognise(io.BytesIO(content), len(content), filename)


def pdf() -> bytes:
    """A page with a sentence."""
    out = io.BytesIO()
    canvas = Canvas(out)
    canvas.drawString(72, 720, "How to /Encrypt a PDF")
    canvas.save()
    return out.getvalue()


def pdf_rewritten(*, password: str | None = None, streams: bool = False) -> bytes:
    """The same, written by another library, perhaps encrypted, perhaps with a table in a stream."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf()))
    if password is not None:
        writer.encrypt(password, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    if not streams:
        return out.getvalue()
    # A cross-reference stream's dictionary, as PDF 1.5 has it at the place of the table.
    head = out.getvalue().partition(b"xref")[0]
    encrypt = b"/Encrypt 5 0 R" if password else b""
    return (
        head
        + b"9 0 obj\n<< /Type /XRef /Size 9 "
        + encrypt
        + b" >>\nstream\n\x00\nendstream\nendobj\nstartxref\n%d\n%%%%EOF" % len(head)
    )


def office(kind: Any) -> bytes:
    """A document saved by its library."""
    document = kind()
    if hasattr(document, "add_paragraph"):
        document.add_paragraph("Text")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def archive(**entries: bytes) -> bytes:
    """A ZIP of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return out.getvalue()


GOOD = {
    "pdf": (pdf(), "a.pdf", PDF),
    "pdf with a blank before it": (b"\n\n" + pdf(), "a.pdf", PDF),
    "pdf without an ending": (pdf(), "a", PDF),
    "pdf of another library": (pdf_rewritten(), "A.PDF", PDF),
    "pdf with a table in a stream": (pdf_rewritten(streams=True), "a.pdf", PDF),
    "docx": (office(docx.Document), "a.docx", DOCX),
    "pptx": (office(pptx.Presentation), "a.pptx", PPTX),
    "docx without an ending": (office(docx.Document), "upload", DOCX),
    "markdown": ("# Введение\n".encode(), "a.md", MARKDOWN),
    "html by its ending": (b"<p>x</p>", "a.html", HTML),
    "html by its content": (b"\xef\xbb\xbf \n<!-- x --><!DOCTYPE html><p>x", "a", HTML),
    "text": (b"plain", "a.txt", TEXT),
    "text with an odd ending": (b"plain", "notes.2026", TEXT),
    "text in cp1251": ("Привет, мир".encode("cp1251"), "a.txt", TEXT),
    "text in UTF-16": ("Привет".encode("utf-16"), "a.txt", TEXT),
}


@pytest.mark.parametrize("name", GOOD)
def test_accepted_types_are_recognised_by_content(name: str) -> None:
    """The ending only chooses among kinds of text."""
    content, filename, media_type = GOOD[name]

    assert look(content, filename) == media_type


def cut(content: bytes) -> bytes:
    """The first half."""
    return content[: len(content) // 2]


def many_entries() -> bytes:
    """An archive with more files than any document has."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for number in range(document_types.MOST_ENTRIES + 1):
            file.writestr(str(number), b"")
    return out.getvalue()


def overlapping() -> bytes:
    """An archive whose entries claim more packed bytes than it has."""
    content = bytearray(archive(**{"word/document.xml": b"x" * 100}))
    at = content.rfind(b"PK\x01\x02")
    struct.pack_into("<L", content, at + 20, 1_000_000)
    return bytes(content)


def long_form() -> bytes:
    """An archive with the end record that allows directories of any size."""
    content = archive(**{"word/document.xml": b"x"})
    at = content.rfind(b"PK\x05\x06")
    return content[:at] + b"PK\x06\x07" + bytes(16) + content[at:]


def encrypted_office() -> bytes:
    """A DOCX whose entries are encrypted."""
    content = bytearray(archive(**{"word/document.xml": b"x"}))
    at = content.rfind(b"PK\x01\x02")
    content[at + 8] |= 1
    return bytes(content)


REJECTED = {
    "empty": (b"", "a.md", "empty"),
    "blank": (b" \r\n\t\n", "a.txt", "empty"),
    "only a byte order mark": (b"\xef\xbb\xbf", "a.txt", "empty"),
    "pdf cut off": (cut(pdf()), "a.pdf", "cut off"),
    "pdf of one line": (b"%PDF-1.7", "a.pdf", "cut off"),
    "pdf encrypted": (pdf_rewritten(password="x"), "a.pdf", "password"),
    "pdf encrypted, table in a stream": (pdf_rewritten(password="x", streams=True), "a.pdf", "password"),
    "docx cut off": (cut(office(docx.Document)), "a.docx", "damaged"),
    "docx of one signature": (b"PK\x03\x04", "a.docx", "damaged"),
    "docx with a broken directory": (office(docx.Document).replace(b"PK\x01\x02", b"PK\x01\x03"), "a.docx", "damaged"),
    "docx encrypted by Word": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a.docx", "password"),
    "docx with encrypted entries": (encrypted_office(), "a.docx", "password"),
    "zip bomb": (archive(**{"word/document.xml": bytes(40 * 1024 * 1024)}), "a.docx", "unsafe"),
    "zip of too many files": (many_entries(), "a.docx", "unsafe"),
    "zip with overlapping entries": (overlapping(), "a.docx", "unsafe"),
    "zip with a directory of any size": (long_form(), "a.docx", "unsafe"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_a_document_that_cannot_be_used_is_rejected_with_a_reason(name: str) -> None:
    """400, and the reason says what to do."""
    content, filename, word = REJECTED[name]
    with pytest.raises(DocumentRejected, match=word):
        look(content, filename)


UNSUPPORTED = {
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "a.png"),
    "png called pdf": (b"\x89PNG\r\n\x1a\n" + bytes(100), "a.pdf"),
    "elf": (b"\x7fELF" + bytes(100), "a"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(100), "a.gz"),
    "old Word": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a.doc"),
    "plain zip": (archive(**{"a.txt": b"x"}), "a.zip"),
    "empty zip": (archive(), "a.zip"),
    "xlsx": (archive(**{"[Content_Types].xml": b"x", "xl/workbook.xml": b"x"}), "a.xlsx"),
    "text called pdf": (b"hello", "a.pdf"),
    "html called docx": (b"<html>", "a.docx"),
    "pdf called docx": (pdf(), "a.docx"),
    "docx called pptx": (office(docx.Document), "a.pptx"),
    "NUL deep inside a text": (b"x" * 600_000 + b"\x00", "a.txt"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_another_type_is_refused(name: str) -> None:
    """415, whatever the name says."""
    with pytest.raises(UnsupportedMediaType):
        look(*UNSUPPORTED[name])


@pytest.mark.parametrize("seed", range(60))
def test_damage_anywhere_is_no_crash(seed: int) -> None:
    """Bytes overwritten, cut and repeated: recognised or refused."""
    import random

    chance = random.Random(seed)
    content = bytearray(chance.choice([pdf(), pdf_rewritten(), office(docx.Document), archive(a=b"x")]))
    for _ in range(20):
        content[chance.randrange(len(content))] = chance.randrange(256)
    start = chance.randrange(2) * chance.randrange(50)
    with contextlib.suppress(PermanentError):
        assert look(bytes(content[start : chance.randrange(len(content))]), chance.choice(["a.pdf", "a.docx", "a"]))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("start", [b"<!---->", b"<!---->\n", b"<!-- a --> <!-- b -->", b" \t\n"])
def test_comments_without_a_document_cost_no_time(start: bytes) -> None:
    """A file of comments is text, found out at once: the search holds the whole process up."""
    content = start * 500 + b"x"
    assert recognise(io.BytesIO(content), len(content), "notes.txt") == TEXT
    page = start * 100 + b"<!DOCTYPE html><title>x</title>"
    assert recognise(io.BytesIO(page), len(page), "page.html") == HTML
