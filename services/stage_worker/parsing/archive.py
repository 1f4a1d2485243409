"""The ZIP archive inside a DOCX or PPTX: refused before anything of it is unpacked when it is a bomb."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from services.kernel.errors import DocumentRejected
from services.stage_worker.parsing.limits import Limits

_RATIO_FROM_BYTES = 10_000_000
_ENCRYPTED_FLAG = 0x1
_COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How an old Office file begins, and so does a new one protected by a password."""


def check_archive(content: Path | bytes, size: int, required_part: str, limits: Limits) -> None:
    """Refuse what cannot be opened, is encrypted, or would unpack to more than the limits allow.

    `required_part` is the entry that makes the archive a document of its format.

    Raises:
        DocumentRejected: with what to do instead.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content) if isinstance(content, bytes) else content) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError) as error:
        raise DocumentRejected(_why_unreadable(content)) from error
    _check_size(entries, size, limits)
    if any(entry.flag_bits & _ENCRYPTED_FLAG for entry in entries):
        raise DocumentRejected("The document is encrypted. Remove the password and upload it again.")
    if not any(entry.filename == required_part for entry in entries):
        raise DocumentRejected("The file is an archive, but not a document of this type. Save it again in its program.")


def _check_size(entries: list[zipfile.ZipInfo], size: int, limits: Limits) -> None:
    total = sum(entry.file_size for entry in entries)
    largest = max((entry.file_size for entry in entries), default=0)
    suspicious = total > _RATIO_FROM_BYTES and total > limits.archive_ratio * max(1, size)
    too_large = total > limits.archive_bytes or largest > limits.archive_part_bytes
    if suspicious or too_large or len(entries) > limits.archive_entries:
        raise DocumentRejected(
            f"The document unpacks to far more than its size: {total // 1_000_000:,} MB in {len(entries):,} parts. "
            "Save it again in its program, with smaller pictures, or split it."
        )


def _why_unreadable(content: Path | bytes) -> str:
    head = content[:8] if isinstance(content, bytes) else _head(content)
    if head == _COMPOUND_FILE:
        return (
            "The document is protected by a password or saved in an old Office format. "
            "Remove the password, or save it as DOCX or PPTX, and upload it again."
        )
    return "The document is damaged: it cannot be opened. Save it again in its program and upload it."


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)
