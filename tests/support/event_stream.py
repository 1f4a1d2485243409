"""A reader of server-sent events over a bare socket, which may also stop reading (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.support.tokens import bearer


@dataclass(frozen=True, slots=True)
class Told:
    """One message."""

    event: str
    content: Any
    place: str | None
    """The `id` in force after this message."""


@dataclass(slots=True)
class EventStream:
    """An open stream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    place: str | None = None
    retry: int | None = None
    comments: int = 0
    problem: Any = None
    """The body, where it is no stream."""
    _text: bytes = b""
    _is_over: bool = False

    async def next(self, within: float = 30) -> Told | None:
        """The next message; None at the end of the stream.

        Raises:
            TimeoutError: neither comes in time.
        """
        async with asyncio.timeout(within):
            while True:
                block = self._block()
                if block is None:
                    if self._is_over:
                        return None
                    await self._read()
                elif (told := self._told(block)) is not None:
                    return told

    async def until(self, event: str, within: float = 30) -> list[Told]:
        """Everything up to the first message of this kind, which is the last of the list."""
        seen: list[Told] = []
        while not seen or seen[-1].event != event:
            told = await self.next(within)
            assert told is not None, f"the stream ended without {event!r}: {seen}"
            seen.append(told)
        return seen

    async def rest(self, within: float = 30) -> list[Told]:
        """Everything up to the end of the stream."""
        seen: list[Told] = []
        while (told := await self.next(within)) is not None:
            seen.append(told)
        return seen

    async def wait_for_comment(self, within: float = 30) -> None:
        """Return when one more comment has come."""
        before = self.comments
        async with asyncio.timeout(within):
            while self.comments == before:
                block = self._block()
                if block is None:
                    await self._read()
                else:
                    assert self._told(block) is None

    def close(self) -> None:
        """Hang up."""
        self.writer.close()

    def _block(self) -> bytes | None:
        block, separator, rest = self._text.partition(b"\n\n")
        if not separator:
            return None
        self._text = rest
        return block

    def _told(self, block: bytes) -> Told | None:
        fields: dict[str, str] = {}
        for line in block.decode().split("\n"):
            name, _, value = line.partition(":")
            if not name:
                self.comments += 1
            fields[name] = value.removeprefix(" ")
        if "retry" in fields:
            self.retry = int(fields["retry"])
        self.place = fields.get("id", self.place)
        if "data" not in fields:
            return None
        return Told(fields["event"], orjson.loads(fields["data"]), self.place)

    async def _read(self) -> None:
        """One piece of a chunked body."""
        size = int((await self.reader.readuntil(b"\r\n")).strip() or b"0", 16)
        self._text += (await self.reader.readexactly(size + 2))[:-2]
        self._is_over = size == 0


@asynccontextmanager
async def following(
    port: int, course: object, *, place: str | None = None, query: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[EventStream]:
    """Follow a course until the block ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield await _begin(EventStream(reader, writer), course, place, query, bearer() if headers is None else headers)
    finally:
        writer.close()


async def _begin(
    stream: EventStream, course: object, place: str | None, query: str, headers: dict[str, str]
) -> EventStream:
    sent = {"Host": "x", **headers, **({"Last-Event-ID": place} if place else {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    stream.writer.write(f"GET /api/courses/{course}/events{query} HTTP/1.1\r\n{head}\r\n".encode())
    async with asyncio.timeout(30):
        answer = (await stream.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        stream.status = int(answer[0].split()[1])
        stream.headers = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in answer[1:] if line}
        length = int(stream.headers.get("content-length", 0))
        if length:
            stream.problem = orjson.loads(await stream.reader.readexactly(length))
    return stream
