"""A multipart form is read as a stream, and only its one file is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.api.messages import ClientGone, Request
from services.api.uploads import clean_name, receive_upload
from services.kernel.errors import CoursegenError, InvalidInput, TooLarge, UnsupportedMediaType

TYPE = "multipart/form-data; boundary=XX"


def part(content: bytes, disposition: str = 'form-data; name="file"; filename="a.md"') -> bytes:
    """One part of a form."""
    return b"--XX\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + b"--XX--\r\n"


def request(pieces: Sequence[bytes], content_type: str = TYPE, *, leaves: bool = False, **headers: str) -> Request:
    """A request whose body arrives in these pieces."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": leaves or index + 1 < len(pieces)}
        for index, piece in enumerate(pieces)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    listed = {"content-type": content_type, **headers}
    scope = {
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in listed.items()],
        "method": "POST",
    }
    return Request(scope, receive, "r", 1024)


async def upload(body: bytes | Request, folder: Path, *, largest: int = 1000) -> tuple[str, bytes]:
    """The name and content that arrive."""
    whole = body if isinstance(body, Request) else request([body])
    async with receive_upload(whole, largest=largest, folder=folder) as arrived:
        arrived.content.seek(0)
        content = await asyncio.to_thread(arrived.content.read)
        assert arrived.size_bytes == len(content)
        return arrived.filename, content


async def test_the_file_arrives_whole_and_leaves_no_name(tmp_path: Path) -> None:
    """Other fields are passed over, and nothing stays in the folder, not even while it arrives."""
    body = form(part(b"x", 'form-data; name="note"'), part(b"# Hi\r\n--X\r\n"))

    assert await upload(body, tmp_path) == ("a.md", b"# Hi\r\n--X\r\n")
    assert list(tmp_path.iterdir()) == []


async def test_a_form_may_arrive_in_any_pieces(tmp_path: Path) -> None:
    """Byte by byte too."""
    body = form(part(b"content" * 10))
    whole = request([body[i : i + 1] for i in range(len(body))])

    assert await upload(whole, tmp_path) == ("a.md", b"content" * 10)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('form-data; name="file"; filename="отчёт.pdf"', "отчёт.pdf"),
        ('form-data; name="file"; filename="../../etc/passwd"', "passwd"),
        ('form-data; name="file"', "document"),
        ('form-data; name="file"; filename=""', "document"),
    ],
)
async def test_the_name_is_the_files_own(tmp_path: Path, disposition: str, name: str) -> None:
    """Without folders, in any script."""
    assert (await upload(form(part(b"x", disposition)), tmp_path))[0] == name


BAD: dict[str, tuple[Request, type[CoursegenError]]] = {
    "JSON": (request([b"{}"], "application/json"), UnsupportedMediaType),
    "compressed": (request([b"x"], content_encoding="gzip"), UnsupportedMediaType),
    "no boundary": (request([b"x"], "multipart/form-data"), InvalidInput),
    "boundary too long": (request([b"x"], f"multipart/form-data; boundary={'x' * 300}"), InvalidInput),
    "no form": (request([b"hello"]), InvalidInput),
    "nothing": (request([b""]), InvalidInput),
    "cut off": (request([form(part(b"x"))[:-8]]), InvalidInput),
    "no file": (request([form(part(b"x", 'form-data; name="other"'))]), InvalidInput),
    "only the end": (request([form()]), InvalidInput),
    "two files": (request([form(part(b"x"), part(b"y"))]), InvalidInput),
    "too large": (request([form(part(b"x" * 1001))]), TooLarge),
    "declared too large": (request([b""], content_length="100000"), TooLarge),
    "another field too large": (request([form(part(b"x" * 70_000, 'form-data; name="note"'))]), TooLarge),
    "many headers": (request([b"--XX\r\n" + b"a: b\r\n" * 1000 + b"\r\nx\r\n--XX--"]), InvalidInput),
    "a header too long": (request([b"--XX\r\na: " + b"b" * 100_000 + b"\r\n\r\nx\r\n--XX--"]), InvalidInput),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_form_is_refused(tmp_path: Path, name: str) -> None:
    """With the status that fits, and nothing left behind."""
    whole, error = BAD[name]
    with pytest.raises(error):
        await upload(whole, tmp_path)

    assert list(tmp_path.iterdir()) == []


async def test_the_limit_itself_is_allowed(tmp_path: Path) -> None:
    """1000 bytes of 1000."""
    assert len((await upload(form(part(b"x" * 1000)), tmp_path))[1]) == 1000


async def test_a_client_that_goes_away_is_not_answered(tmp_path: Path) -> None:
    """And leaves nothing."""
    with pytest.raises(ClientGone):
        await upload(request([form(part(b"x"))[:20]], leaves=True), tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ("a.md", "a.md"),
        ("C:\\Users\\me\\a.docx", "a.docx"),
        ("a %22b%22.md", 'a "b".md'),
        ("..", "document"),
        ("/", "document"),
        ("a\x00b\nc.md", "abc.md"),
        ("\ud800x.md", "x.md"),
        ("x" * 300 + ".pdf", "x" * 196 + ".pdf"),
    ],
)
def test_a_name_is_cleaned(declared: str, name: str) -> None:
    """No folders, no control characters, not too long, and with its ending."""
    assert clean_name(declared) == name
