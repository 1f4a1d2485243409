"""What an uploaded file really is, told from its content with the standard library alone (design.md, stage 2).

Refused here, with a sentence its author can act on: an empty file, a type we do not read, a name that contradicts the content,
a cut-off PDF or one that asks for a password, a damaged, encrypted or exploding DOCX or PPTX. What only a parser can see fails
in stage 2.
"""

from __future__ import annotations

import codecs
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import BinaryIO, Final

from services.api.pdf_encryption import Lock
from services.api.pdf_objects import Unreadable, read_dictionary, read_string
from services.kernel.errors import DocumentRejected, UnsupportedMediaType

PDF: Final = "application/pdf"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX: Final = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
HTML: Final = "text/html"
MARKDOWN: Final = "text/markdown"
TEXT: Final = "text/plain"

MEDIA_TYPES: Final = (PDF, DOCX, PPTX, HTML, MARKDOWN, TEXT)
"""Every type that is accepted."""

MOST_ENTRIES: Final = 10_000
"""Most files inside a DOCX or PPTX."""

LARGEST_UNPACKED: Final = 512 * 1024 * 1024
"""Most bytes a DOCX or PPTX may unpack to."""

HIGHEST_RATIO: Final = 200
"""Most a DOCX or PPTX may grow when it is unpacked, once that is more than 16 MiB."""

_END_RECORD = struct.Struct("<4s4H2LH")
_LARGEST_DIRECTORY = 4 * 1024 * 1024
_RATIO_FLOOR = 16 * 1024 * 1024
_HEAD_BYTES = 4096
_TAIL_BYTES = 64 * 1024
_SCAN_BYTES = 256 * 1024
_BINARY_ENDINGS = {".pdf": PDF, ".docx": DOCX, ".pptx": PPTX}
_TEXT_ENDINGS = {".html": HTML, ".htm": HTML, ".xhtml": HTML, ".md": MARKDOWN, ".markdown": MARKDOWN}
# Possessive (`*+`): what a comment has taken it keeps. Otherwise a few dozen comments before anything else are tried in every
# division, which takes days, and the whole process stands still meanwhile.
_HTML_START = re.compile(
    rb"\s*+(?:<!--(?:(?!-->).)*+-->\s*+)*+(?:<!doctype\s+html|<html[\s>])", re.IGNORECASE | re.DOTALL
)
_ENCRYPTION_OBJECT = re.compile(rb"/Encrypt\s+(\d{1,10})\s+(\d{1,5})\s+R\b")
_FILE_ID = re.compile(rb"/ID\s*\[")
_LONGEST_MARK = 40
_START_XREF = re.compile(rb"startxref\s+(\d{1,12})")
_CONTROLS = bytes(set(range(32)) - {9, 10, 11, 12, 13, 27})
_BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LIST = "PDF, DOCX, PPTX, HTML, Markdown and plain text are accepted."


def recognise(content: BinaryIO, size_bytes: int, filename: str) -> str:
    """The media type of `content`. Blocking: reads the file.

    Raises:
        DocumentRejected: it is of an accepted type, but cannot be used; the message says why.
        UnsupportedMediaType: it is of another type, or not what its name says.
    """
    if size_bytes == 0:
        raise DocumentRejected("The document is empty (0 bytes).")
    content.seek(0)
    head = content.read(_HEAD_BYTES)
    ending = PurePosixPath(filename).suffix.lower()
    media_type = _family(head)(content, size_bytes, head, ending)
    expected = _BINARY_ENDINGS.get(ending)
    if expected is not None and expected != media_type:
        raise UnsupportedMediaType(
            f"The name ends in {ending} but the content is {media_type}; give the file its true ending.",
            detected=media_type,
        )
    return media_type


_Reader = Callable[[BinaryIO, int, bytes, str], str]


def _family(head: bytes) -> _Reader:
    if b"%PDF-" in head[:1024]:
        return _pdf
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _office
    if head.startswith(_OLD_OFFICE):
        return _old_office
    return _text


def _pdf(content: BinaryIO, size_bytes: int, _head: bytes, _ending: str) -> str:
    tail_start = max(0, size_bytes - _TAIL_BYTES)
    content.seek(tail_start)
    tail = content.read(_TAIL_BYTES)
    marks = _START_XREF.findall(tail)
    if not marks:
        raise DocumentRejected("The PDF is cut off: it has no end. Export or download it again.")
    trailer = _trailer(content, int(marks[-1]), tail)
    if b"/Encrypt" in trailer and not _opens_without_password(content, trailer):
        raise DocumentRejected(
            "The PDF is encrypted and asks for a password. Save or print an unprotected copy and upload that."
        )
    return PDF


def _trailer(content: BinaryIO, offset: int, tail: bytes) -> bytes:
    """The dictionary that says whether the file is encrypted: after the table, or the head of the table's stream."""
    content.seek(offset)
    table = content.read(_HEAD_BYTES)
    if not table.lstrip().startswith(b"xref"):
        return table.partition(b"stream")[0]
    before_table = table.partition(b"trailer")[2]  # the table is short, and its dictionary follows at once
    return before_table + tail[max(0, tail.rfind(b"trailer")) :]


def _opens_without_password(content: BinaryIO, trailer: bytes) -> bool:
    """Whether the file is only protected against printing, copying or changes; what cannot be understood is locked."""
    try:
        entry = trailer.index(b"/Encrypt")
        named = _ENCRYPTION_OBJECT.match(trailer, entry)
        text, start = (_object(content, named[1], named[2]), 0) if named else (trailer, entry)
        identifier = _FILE_ID.search(trailer)
        file_id = read_string(trailer, identifier.end()) if identifier else b""
        return Lock.of(read_dictionary(text, start), file_id).opens_without_password()
    except Unreadable:
        return False


def _object(content: BinaryIO, number: bytes, generation: bytes) -> bytes:
    """The beginning of the last object of this number: a later one replaces an earlier one."""
    mark = re.compile(rb"(?<!\d)%s\s+%s\s+obj\b" % (number, generation))
    content.seek(0)
    at, rest, found = 0, b"", -1
    while piece := content.read(_SCAN_BYTES):
        text = rest + piece
        for match in mark.finditer(text):
            found = at - len(rest) + match.start()
        at += len(piece)
        rest = text[-_LONGEST_MARK:]
    if found < 0:
        raise Unreadable("the encryption dictionary is not in the file")
    content.seek(found)
    return content.read(_HEAD_BYTES)


def _office(content: BinaryIO, size_bytes: int, _head: bytes, _ending: str) -> str:
    _refuse_vast_directory(content, size_bytes)
    content.seek(0)
    try:
        with zipfile.ZipFile(content) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError) as error:
        raise DocumentRejected("The document is damaged: its archive cannot be read. Save it again.") from error
    _refuse_explosive(entries, size_bytes)
    names = {entry.filename for entry in entries}
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise DocumentRejected("The document is encrypted. Save a copy without a password and upload that.")
    if "word/document.xml" in names:
        return DOCX
    if "ppt/presentation.xml" in names:
        return PPTX
    raise UnsupportedMediaType(f"This archive is neither a DOCX nor a PPTX. {_LIST}", accepted=list(MEDIA_TYPES))


def _refuse_vast_directory(content: BinaryIO, size_bytes: int) -> None:
    """Look at the archive's end record before `zipfile` reads its whole directory into memory."""
    content.seek(max(0, size_bytes - _TAIL_BYTES - _END_RECORD.size))
    tail = content.read(_TAIL_BYTES + _END_RECORD.size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END_RECORD.size:
        raise DocumentRejected("The document is damaged or cut off: its archive has no end. Save or download it again.")
    entries, directory_bytes = _END_RECORD.unpack_from(tail, at)[4:6]
    has_long_form = tail[max(0, at - 20) : at].startswith(b"PK\x06\x07")
    if has_long_form or entries > MOST_ENTRIES or directory_bytes > _LARGEST_DIRECTORY:
        raise _unsafe(entries=entries)


def _unsafe(**details: int) -> DocumentRejected:
    return DocumentRejected(
        "The document unpacks to far more than it seems to hold and is refused as unsafe. Save it again, "
        "without embedded files.",
        **details,
    )


def _refuse_explosive(entries: list[zipfile.ZipInfo], size_bytes: int) -> None:
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    explodes = unpacked > _RATIO_FLOOR and unpacked > HIGHEST_RATIO * size_bytes
    if len(entries) > MOST_ENTRIES or unpacked > LARGEST_UNPACKED or explodes or packed > size_bytes:
        raise _unsafe(unpackedBytes=unpacked, entries=len(entries))


def _old_office(_content: BinaryIO, _size_bytes: int, _head: bytes, ending: str) -> str:
    if ending in _BINARY_ENDINGS:
        raise DocumentRejected("The document is encrypted. Save a copy without a password and upload that.")
    raise UnsupportedMediaType(f"Old Office formats are not read; save it as DOCX or PPTX. {_LIST}")


def _text(content: BinaryIO, size_bytes: int, head: bytes, ending: str) -> str:
    if not head.startswith(_BYTE_ORDER_MARKS):
        _refuse_binary(content)
    if size_bytes <= _HEAD_BYTES and not head.decode("utf-8", "ignore").strip("\ufeff \t\r\n\f\v"):
        raise DocumentRejected("The document is empty: it has nothing but blanks.")
    if ending in _TEXT_ENDINGS:
        return _TEXT_ENDINGS[ending]
    return HTML if _HTML_START.match(head.removeprefix(codecs.BOM_UTF8)) else TEXT


def _refuse_binary(content: BinaryIO) -> None:
    content.seek(0)
    while piece := content.read(_SCAN_BYTES):
        if piece.translate(None, _CONTROLS) != piece:
            raise UnsupportedMediaType(f"This type of file is not read. {_LIST}", accepted=list(MEDIA_TYPES))
