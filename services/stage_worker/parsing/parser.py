"""The one door to the parsers: any document in, text with sections out, or a reason its author can act on.

It runs in a child process (see `sandbox`): a parser that eats memory, never ends or crashes takes only that child
with it. What a library raises is never shown to a user: it becomes a sentence that says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from services.kernel.errors import DocumentRejected
from services.stage_worker.parsing.assembly import assemble
from services.stage_worker.parsing.blocks import Block
from services.stage_worker.parsing.limits import DEFAULT_LIMITS, Limits
from services.stage_worker.parsing.model import ParsedDocument

_OFFICE = "application/vnd.openxmlformats-officedocument"
_Reading = tuple[str, Iterator[Block]]
_Read = Callable[[Path | bytes, Limits], _Reading]


def parse(content: Path | bytes, media_type: str, filename: str, limits: Limits = DEFAULT_LIMITS) -> ParsedDocument:
    """Read a document.

    Args:
        content: the file, or its bytes.
        media_type: one of `MEDIA_TYPES`, with or without parameters.
        filename: names the document where it has no title.
        limits: how much of it may be read.

    Raises:
        DocumentRejected: encrypted, damaged, empty, without text, or too large; the reason says what to do.
    """
    read = MEDIA_TYPES.get(media_type.partition(";")[0].strip().lower())
    if read is None:
        raise DocumentRejected(f"Documents of the type {media_type} are not read. Use PDF, DOCX, PPTX, HTML or text.")
    if _size(content) == 0:
        raise DocumentRejected("The file is empty. Upload one that has text in it.")
    try:
        title, blocks = read(content, limits)
        return assemble(blocks, title=title, filename=filename, limits=limits)
    except DocumentRejected:
        raise
    except MemoryError as error:
        raise DocumentRejected(
            "Reading the document takes more memory than one document may use. Split it or remove large pictures."
        ) from error
    except RecursionError as error:
        raise DocumentRejected("The document is nested too deeply to be read. Save it again in its program.") from error
    except Exception as error:
        raise DocumentRejected(
            "The document is damaged: it cannot be read. Save it again in its program and upload the new file.",
            cause=type(error).__name__,
        ) from error


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _bytes(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _pdf(content: Path | bytes, limits: Limits) -> _Reading:
    from services.stage_worker.parsing import pdf

    return pdf.read(content, limits)


def _docx(content: Path | bytes, limits: Limits) -> _Reading:
    from services.stage_worker.parsing import docx
    from services.stage_worker.parsing.archive import check_archive

    check_archive(content, _size(content), "word/document.xml", limits)
    return docx.read(content)


def _pptx(content: Path | bytes, limits: Limits) -> _Reading:
    from services.stage_worker.parsing import pptx
    from services.stage_worker.parsing.archive import check_archive

    check_archive(content, _size(content), "ppt/presentation.xml", limits)
    return pptx.read(content, limits)


def _html(content: Path | bytes, limits: Limits) -> _Reading:
    from services.stage_worker.parsing import html
    from services.stage_worker.parsing.characters import decode

    raw = _bytes(content)
    return html.read(decode(raw, html.declared_encoding(raw)))


def _markdown(content: Path | bytes, limits: Limits) -> _Reading:
    from services.stage_worker.parsing import markdown
    from services.stage_worker.parsing.characters import decode

    return markdown.read(decode(_bytes(content)))


def _plain(content: Path | bytes, limits: Limits) -> _Reading:
    from services.stage_worker.parsing import plain
    from services.stage_worker.parsing.characters import decode

    raw = _bytes(content)
    text = decode(raw)
    _require_text(text)
    return "", plain.blocks(text)


def _require_text(text: str) -> None:
    strange = sum(
        1 for character in text[:20_000] if character == "\ufffd" or (character < " " and character not in "\t\n\r\f")
    )
    if strange * 10 > min(len(text), 20_000):
        raise DocumentRejected("The file is not text. Upload it in its own format: PDF, DOCX, PPTX, HTML or Markdown.")


MEDIA_TYPES: dict[str, _Read] = {
    "application/pdf": _pdf,
    f"{_OFFICE}.wordprocessingml.document": _docx,
    f"{_OFFICE}.presentationml.presentation": _pptx,
    "text/html": _html,
    "application/xhtml+xml": _html,
    "text/markdown": _markdown,
    "text/plain": _plain,
}
"""Which reader takes which type."""
