"""Files that cannot be read are rejected with a reason their author can act on, and quickly."""

from __future__ import annotations

import contextlib
import time

import pytest

from services.kernel.errors import DocumentRejected
from services.stage_worker.parsing import parse
from services.stage_worker.parsing.limits import Limits
from tests.support.papers import (
    DOCX,
    PDF,
    PPTX,
    docx_of,
    encrypted_pdf,
    lying_zip,
    pdf_of,
    pdf_of_pictures,
    pdf_with_page_loop,
    pdf_with_stream_bomb,
    pptx_of,
    repacked,
    zip_bomb,
)

_GOOD_DOCX = docx_of(("Heading 1", "Bread"), ("Normal", "Flour and water."))
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE w [<!ENTITY a "lol">'
    + b"".join(
        b'<!ENTITY a%d "%s">' % (number, b"&a%d;" % (number - 1) * 10 if number > 1 else b"&a;" * 10)
        for number in range(1, 12)
    )
    + b']><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>'
    b"&a11;</w:t></w:r></w:p></w:body></w:document>"
)
_OUTSIDE = (
    b'<?xml version="1.0"?><!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>'
    b"before &x; after</w:t></w:r></w:p></w:body></w:document>"
)


@pytest.mark.parametrize(
    ("content", "media_type", "words"),
    [
        pytest.param(b"", PDF, "empty", id="empty file"),
        pytest.param(b"   \n\n ", "text/plain", "no text", id="white space"),
        pytest.param(b"hello", "image/png", "type", id="unknown type"),
        pytest.param(b"%PDF-1.4 nonsense", PDF, "damaged", id="broken PDF"),
        pytest.param(pdf_of(("Title", "Bread"))[:200], PDF, "damaged", id="truncated PDF"),
        pytest.param(encrypted_pdf("secret"), PDF, "password", id="encrypted PDF"),
        pytest.param(pdf_of_pictures(), PDF, "OCR", id="scan"),
        pytest.param(pdf_with_page_loop(), PDF, "", id="page tree in a loop"),
        pytest.param(b"PK\x03\x04 nonsense", DOCX, "damaged", id="broken DOCX"),
        pytest.param(_GOOD_DOCX[: len(_GOOD_DOCX) // 2], DOCX, "damaged", id="truncated DOCX"),
        pytest.param(_OLD_OFFICE, DOCX, "password", id="old or protected Office file"),
        pytest.param(_GOOD_DOCX, PPTX, "not a document of this type", id="DOCX named PPTX"),
        pytest.param(zip_bomb(), DOCX, "unpacks", id="zip bomb"),
        pytest.param(repacked(_GOOD_DOCX, **{"word__document.xml": b"<w"}), DOCX, "damaged", id="broken XML"),
        pytest.param(repacked(_GOOD_DOCX, **{"word__document.xml": _LAUGHS}), DOCX, "", id="entities in entities"),
        pytest.param(bytes(range(256)) * 40, "text/plain", "not text", id="binary as text"),
        pytest.param(b"<html><body><script>x</script></body></html>", "text/html", "no text", id="page without text"),
        pytest.param(pptx_of(("", (), "")), PPTX, "no text", id="empty slides"),
    ],
)  # fmt: skip
def test_a_bad_file_is_rejected_with_a_reason(content: bytes, media_type: str, words: str) -> None:
    """The reason is a sentence about the file, says what to do, and names no library."""
    began = time.monotonic()
    with pytest.raises(DocumentRejected) as rejection:
        parse(content, media_type, "bad")

    reason = rejection.value.reason
    assert words in reason
    assert reason.endswith(".")
    assert len(reason) < 250
    assert not any(name in reason.lower() for name in ("pypdf", "lxml", "python", "traceback", "zipfile"))
    assert time.monotonic() - began < 20


def test_no_file_of_the_machine_is_read() -> None:
    """An entity that points at a file stays empty or the document is rejected."""
    content = repacked(_GOOD_DOCX, **{"word__document.xml": _OUTSIDE})
    try:
        text = parse(content, DOCX, "outside.docx").text
    except DocumentRejected:
        return
    assert "before" in text
    assert text.replace("before", "").replace("after", "").strip() == ""


def test_a_pdf_that_only_forbids_printing_is_read() -> None:
    """The empty password opens it."""
    assert "Nobody may read this text." in parse(encrypted_pdf(""), PDF, "open.pdf").text


def test_a_page_that_unpacks_to_a_bomb_is_not_read() -> None:
    """One huge page counts as a page without text."""
    with pytest.raises(DocumentRejected):
        parse(pdf_with_stream_bomb(), PDF, "bomb.pdf")


def test_an_archive_that_lies_about_its_sizes_is_harmless() -> None:
    """The sizes in its directory are what is read at most."""
    with pytest.raises(DocumentRejected):
        parse(lying_zip(_GOOD_DOCX), DOCX, "lying.docx")


def test_limits_are_named_in_the_reason() -> None:
    """Too many pages, slides or characters: the limit is part of the sentence."""
    pages = pdf_of(*[block for _ in range(3) for block in (("BodyText", "some text here"), ("page", ""))])
    with pytest.raises(DocumentRejected, match="at most 2 are read"):
        parse(pages, PDF, "long.pdf", Limits(pages=2))
    with pytest.raises(DocumentRejected, match="more than 1 slides"):
        parse(pptx_of(("A", ("a",), ""), ("B", ("b",), "")), PPTX, "long.pptx", Limits(pages=1))
    with pytest.raises(DocumentRejected, match="more than 100 characters"):
        parse(b"word " * 200, "text/plain", "long.txt", Limits(characters=100))


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        pytest.param(b"<div>" * 50_000 + b"deep text" + b"</div>" * 50_000, "text/html", id="deep HTML"),
        pytest.param(b"> " * 5_000 + b"deep text", "text/markdown", id="deep Markdown"),
        pytest.param(b"".join(b"  " * depth + b"- item\n" for depth in range(400)), "text/markdown", id="deep list"),
        pytest.param(b"[" * 20_000 + b"text", "text/markdown", id="open brackets"),
        pytest.param(b"*a_ " * 20_000, "text/markdown", id="open emphasis"),
        pytest.param(b"<table>" * 3_000 + b"<tr><td>text", "text/html", id="tables in tables"),
    ],
)
def test_depth_and_repetition_cost_no_stack_and_little_time(content: bytes, media_type: str) -> None:
    """What makes naive parsers quadratic or recursive is read or rejected within seconds."""
    began = time.monotonic()
    with contextlib.suppress(DocumentRejected):
        assert "text" in parse(content, media_type, "deep").text or media_type == "text/markdown"
    assert time.monotonic() - began < 20
