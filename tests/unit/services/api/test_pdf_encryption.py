"""A PDF that everybody may open is taken, whatever else it forbids; one that asks for a password is refused."""

from __future__ import annotations

import io

import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf.generic import ArrayObject, ByteStringObject
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from services.api.document_types import PDF, recognise
from services.api.pdf_encryption import Lock
from services.api.pdf_objects import Reference, Unreadable, read_dictionary, read_string
from services.kernel.errors import DocumentRejected
from services.stage_worker.parsing import parse

_SENTENCE = "Everybody may read this sentence."
_ALGORITHMS = ("RC4-40", "RC4-128", "AES-128", "AES-256-R5", "AES-256")


def page() -> bytes:
    """A page with a sentence."""
    out = io.BytesIO()
    canvas = Canvas(out)
    canvas.drawString(72, 720, _SENTENCE)
    canvas.save()
    return out.getvalue()


def locked(user: str, algorithm: str = "RC4-128", file_id: bytes | None = None) -> bytes:
    """The page with an owner's password, and this user's."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(page()))
    if file_id is not None:
        writer._ID = ArrayObject([ByteStringObject(file_id), ByteStringObject(file_id)])
    writer.encrypt(user_password=user, owner_password="owner", algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def locked_by_reportlab(user: str, strength: int) -> bytes:
    """The same from another library."""
    out = io.BytesIO()
    canvas = Canvas(out, encrypt=StandardEncryption(user, "owner", canPrint=0, strength=strength))
    canvas.drawString(72, 720, _SENTENCE)
    canvas.save()
    return out.getvalue()


def with_table_in_a_stream(content: bytes) -> bytes:
    """The same file with its last dictionary where PDF 1.5 has it: at the head of the table's stream."""
    body, _, end = content.rpartition(b"xref")[0].rpartition(b"xref")
    trailer = end.partition(b"trailer")[2].partition(b"startxref")[0].strip()
    dictionary = trailer.replace(b"<<", b"<< /Type /XRef", 1)
    head = body + b"99 0 obj\n"
    return head + dictionary + b"\nstream\n\x00\nendstream\nendobj\nstartxref\n%d\n%%%%EOF" % len(body)


def shifted(content: bytes, by: int) -> bytes:
    """The same file with a true place of its table, after bytes were put before that."""
    head, _, end = content.rpartition(b"startxref")
    at = int(end.split()[0]) + by
    return head + b"startxref\n%d\n%%%%EOF" % at


def look(content: bytes) -> str:
    """Recognise these bytes."""
    return recognise(io.BytesIO(content), len(content), "a.pdf")


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
def test_an_owners_password_alone_keeps_nobody_out(algorithm: str) -> None:
    """Taken at upload, and read by the parser."""
    content = locked("", algorithm)

    assert look(content) == PDF
    assert look(with_table_in_a_stream(content)) == PDF
    assert _SENTENCE in parse(content, PDF, "a.pdf").text


@pytest.mark.parametrize("algorithm", _ALGORITHMS)
def test_a_users_password_keeps_us_out(algorithm: str) -> None:
    """Refused at upload, with what to do."""
    for content in (locked("x", algorithm), with_table_in_a_stream(locked("x", algorithm))):
        with pytest.raises(DocumentRejected, match=r"asks for a password\. Save or print an unprotected copy"):
            look(content)


@pytest.mark.parametrize("strength", [40, 128])
def test_it_does_not_matter_who_wrote_the_file(strength: int) -> None:
    """Other notations of the same strings."""
    assert look(locked_by_reportlab("", strength)) == PDF
    with pytest.raises(DocumentRejected):
        look(locked_by_reportlab("x", strength))


@pytest.mark.parametrize("file_id", [b"(\\)\r\n((", bytes(range(16)), b""])
def test_identifiers_of_any_bytes_count(file_id: bytes) -> None:
    """The identifier is part of the key, so it must be read exactly."""
    assert look(locked("", file_id=file_id)) == PDF
    with pytest.raises(DocumentRejected):
        look(locked("x", file_id=file_id))


def test_the_last_version_of_the_dictionary_counts() -> None:
    """A later object of the same number replaces the earlier one."""
    content = locked("")
    number = content.partition(b"/Encrypt ")[2].split()[0]
    other = b"%s 0 obj\n<< /Filter /Standard /R 9 >>\nendobj\n" % number
    start = content.rindex(b"\nxref")

    assert look(shifted(content[:9] + other + content[9:], by=len(other))) == PDF
    with pytest.raises(DocumentRejected):
        look(shifted(content[:start] + b"\n" + other + content[start + 1 :], by=len(other)))


def test_what_cannot_be_understood_is_locked() -> None:
    """A dictionary that is missing, another handler, an unknown revision."""
    content = locked("")
    for changed in (
        content.replace(b"/Standard", b"/Adobe.PS"),
        content.replace(b"/R 3", b"/R 7"),
        content.replace(b"/Encrypt ", b"/Encrypt 9"),
        content.replace(b"/U ", b"/V "),
    ):
        assert changed != content
        with pytest.raises(DocumentRejected):
            look(changed)


def test_a_dictionary_is_read_in_every_notation() -> None:
    """Comments, both kinds of strings, escapes, references, arrays, nesting."""
    text = (
        rb"12 0 obj %c /X 1"
        b"\n"
        rb"<</A(a\(b(c)\n\101\
\8)/B<4 1F>/C 5 0 R/D[1 2.5 /E true null]/F<</G(g)>>/H -44>>"
    )

    assert read_dictionary(text) == {
        "A": b"a(b(c)\nA8",
        "B": b"\x41\xf0",
        "C": Reference(5, 0),
        "D": [1, 2.5, "E", True, None],
        "F": {"G": b"g"},
        "H": -44,
    }


@pytest.mark.parametrize(
    "text", [b"", b"<<", b"<</A (x", b"<</A xyz>>", b"<<" * 5000, b"<</A [[[[[[[[[[[[1]]]]]]]]]]]]>>"]
)
def test_what_is_no_dictionary_is_said_to_be_none(text: bytes) -> None:
    """However deep or cut off."""
    with pytest.raises(Unreadable):
        read_dictionary(text)
    with pytest.raises(Unreadable):
        read_string(text or b"5", 0)


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(noise: bytes) -> None:
    """Read, or unreadable."""
    for text in (noise, b"<<" + noise, b"<</Filter/Standard/R 3/O(o)/U" + noise + b">>"):
        try:
            dictionary = read_dictionary(text)
            Lock.of(dictionary, b"").opens_without_password()
        except Unreadable:
            pass


@pytest.mark.timeout(20)
@pytest.mark.parametrize("filling", [b"%", b"% ", b" ", b"%\n", b"(", b"<", b"[", b"/"])
def test_a_dictionary_that_never_comes_to_anything_costs_no_time(filling: bytes) -> None:
    """Reading holds the whole process up, so it must be linear whatever is written."""
    with pytest.raises(Unreadable):
        read_dictionary(b"<< " + filling * 4000)


def test_text_in_a_comment_is_no_token() -> None:
    """A comment reaches to the end of its line, also when nothing follows that could be read."""
    assert read_dictionary(b"<< /A % /B 1\n 2 >>") == {"A": 2}
    with pytest.raises(Unreadable):
        read_dictionary(b"<< /A % 1 >>")
