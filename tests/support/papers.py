"""Files for the parsers: good ones of every format, and ones that are broken on purpose."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import docx
import pptx
from pypdf import PdfReader, PdfWriter
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"


def pdf_of(*blocks: tuple[str, str], title: str = "") -> bytes:
    """A PDF of (style, text) blocks; the style "page" begins a new page."""
    styles = getSampleStyleSheet()
    story = [PageBreak() if style == "page" else Paragraph(text, styles[style]) for style, text in blocks]
    written = io.BytesIO()
    SimpleDocTemplate(written, title=title or None, invariant=1).build(story)
    return written.getvalue()


def pdf_of_pictures(pages: int = 2) -> bytes:
    """A PDF that only has drawings, as a scanner's has."""
    written = io.BytesIO()
    canvas = Canvas(written, invariant=1)
    for _ in range(pages):
        canvas.rect(100, 100, 300, 300, fill=1)
        canvas.showPage()
    canvas.save()
    return written.getvalue()


def pdf_with_outline(*titles: str) -> bytes:
    """A PDF whose headings are set like its text and named by bookmarks only."""
    written = io.BytesIO()
    canvas = Canvas(written, invariant=1)
    for number, title in enumerate(titles):
        canvas.bookmarkPage(str(number))
        canvas.addOutlineEntry(title, str(number), level=0)
        canvas.setFont("Helvetica", 11)
        canvas.drawString(72, 760, title)
        canvas.drawString(72, 720, "A sentence of ordinary text stands here, set in letters of the same size.")
        canvas.showPage()
    canvas.save()
    return written.getvalue()


def encrypted_pdf(password: str) -> bytes:
    """A PDF that opens with that user password only; the empty one opens for everybody."""
    writer = PdfWriter(PdfReader(io.BytesIO(pdf_of(("Title", "Secret"), ("BodyText", "Nobody may read this text.")))))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def docx_of(*blocks: tuple[str, str]) -> bytes:
    """A DOCX of (style, text) blocks."""
    document = docx.Document()
    for style, text in blocks:
        document.add_paragraph(text, style=style)
    written = io.BytesIO()
    document.save(written)
    return written.getvalue()


def pptx_of(*slides: tuple[str, tuple[str, ...], str]) -> bytes:
    """A PPTX of (title, lines, notes) slides."""
    presentation = pptx.Presentation()
    for title, lines, notes in slides:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = "\n".join(lines)
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    written = io.BytesIO()
    presentation.save(written)
    return written.getvalue()


def repacked(archive: bytes, **replaced: bytes) -> bytes:
    """The same archive with some entries replaced or added; `__` in a name stands for `/`."""
    names = {name.replace("__", "/"): content for name, content in replaced.items()}
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if entry.filename not in names:
                new.writestr(entry, old.read(entry.filename))
        for name, content in names.items():
            new.writestr(name, content)
    return written.getvalue()


def zip_bomb(megabytes: int = 60) -> bytes:
    """A DOCX whose body unpacks to so many megabytes of nothing."""
    return repacked(docx_of(("Normal", "text")), word__media__bomb=bytes(megabytes * 1_000_000))


def pdf_with_stream_bomb(megabytes: int = 200) -> bytes:
    """A PDF whose page content unpacks to so many megabytes of spaces."""
    packer = zlib.compressobj(9)
    content = b"".join(packer.compress(b" " * 1_000_000) for _ in range(megabytes)) + packer.flush()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << >> >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    return _assembled(objects)


def pdf_with_page_loop() -> bytes:
    """A PDF whose page tree contains itself."""
    return _assembled(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>",
        ]
    )


def _assembled(objects: list[bytes]) -> bytes:
    written = io.BytesIO(b"")
    written.write(b"%PDF-1.4\n")
    offsets: list[int] = []
    for number, body in enumerate(objects, 1):
        offsets.append(written.tell())
        written.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = written.tell()
    written.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    for offset in offsets:
        written.write(b"%010d 00000 n \n" % offset)
    written.write(b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start))
    return written.getvalue()


def lying_zip(archive: bytes) -> bytes:
    """The archive with its first entry's size understated in the central directory."""
    at = archive.index(b"PK\x01\x02")
    return archive[: at + 24] + struct.pack("<I", 5) + archive[at + 28 :]
