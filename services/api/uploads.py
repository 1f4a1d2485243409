"""One uploaded file on its way in: multipart, streamed to a nameless temporary file, never whole in memory.

Promises: at most 256 KiB of a file are held in memory; a file over the limit is refused as soon as that is known; a client
that goes away leaves nothing, for the temporary file has no name.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.api.messages import ClientGone, Request
from services.kernel.errors import InvalidInput, TooLarge

FIELD: Final = "file"
"""Name of the form field that carries the document."""

_WRITE_BYTES = 256 * 1024
_OVERHEAD_BYTES = 64 * 1024
_LONGEST_NAME = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has arrived whole."""

    filename: str
    content: BinaryIO
    size_bytes: int


@asynccontextmanager
async def receive_upload(request: Request, *, largest: int, folder: Path) -> AsyncIterator[Upload]:
    """Read the request's multipart body and yield its file, which lives as long as the block.

    Raises:
        UnsupportedMediaType: it is no `multipart/form-data`.
        TooLarge: the file is larger than `largest` bytes.
        InvalidInput: the body is damaged, or has no field `file`, or two.
    """
    parameters = request.require_media_type("multipart/form-data")
    boundary = parse_options_header(f"multipart/form-data;{parameters}")[1].get(b"boundary")
    if not boundary:
        raise InvalidInput("The content type names no boundary; let your HTTP client build the form.")
    request.refuse_declared_over(largest + _OVERHEAD_BYTES)
    with tempfile.TemporaryFile(dir=folder, prefix="coursegen-upload-") as content:
        form = _Form(boundary, largest)
        await _spool(request, form, content)
        if form.filename is None:
            raise InvalidInput(f"The form has no field `{FIELD}` with a document.", field=FIELD)
        yield Upload(clean_name(form.filename), content, form.size_bytes)


async def _spool(request: Request, form: _Form, content: BinaryIO) -> None:
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientGone
        form.feed(message["body"])
        last = not message.get("more_body", False)
        if last:
            form.finish()
        if len(form.pending) >= _WRITE_BYTES or last:
            pending, form.pending = form.pending, bytearray()
            await asyncio.to_thread(content.write, pending)
        if last:
            await asyncio.to_thread(content.flush)
            return


class _Form:
    """Takes the one file out of a multipart body."""

    def __init__(self, boundary: bytes, largest: int) -> None:
        self._largest = largest
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""
        self._in_file = False
        self._is_whole = False
        self._other_bytes = 0
        self.filename: str | None = None
        self.pending = bytearray()
        self.size_bytes = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._part_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise InvalidInput("The form's boundary is not valid.") from error

    def feed(self, piece: bytes) -> None:
        """Read on."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise InvalidInput("The form is damaged; let your HTTP client build it.") from error

    def finish(self) -> None:
        """Check that the form came to its end."""
        if not self._is_whole:
            raise InvalidInput("The form breaks off before its end; send it again.")

    def _begin_part(self) -> None:
        self._headers = {}
        self._in_file = False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") != FIELD.encode():
            return
        if self.filename is not None:
            raise InvalidInput(f"Send one document a request: the form has two fields `{FIELD}`.", field=FIELD)
        self._in_file = True
        self.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            self._other_bytes += end - start
            if self._other_bytes > _OVERHEAD_BYTES:
                raise TooLarge("The form's other fields are too large.", limit=_OVERHEAD_BYTES)
            return
        self.size_bytes += end - start
        if self.size_bytes > self._largest:
            raise TooLarge(f"The document is larger than {self._largest} bytes.", limit=self._largest)
        self.pending += memoryview(data)[start:end]

    def _end_part(self) -> None:
        self._in_file = False

    def _end(self) -> None:
        self._is_whole = True


def clean_name(declared: str) -> str:
    """A file name without folders and control characters, of at most 200 characters; its ending is kept.

    Forms write a quotation mark as `%22` (WHATWG, "multipart/form-data encoding algorithm"); it becomes one again.
    """
    name = PurePosixPath(PureWindowsPath(declared).as_posix()).name.replace("%22", '"')
    name = _CONTROL.sub("", name).strip()
    if not name.strip("."):
        return "document"
    if len(name) <= _LONGEST_NAME:
        return name
    ending = PurePosixPath(name).suffix[:16]
    return name[: _LONGEST_NAME - len(ending)] + ending
