"""A webhook receiver that only writes down what it was sent, and answers 204."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from services.cli.stack import ports


@dataclass(frozen=True, slots=True)
class Letter:
    """One request, as it arrived."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """What the sender calls it, at every attempt."""
        return self.headers["webhook-id"]

    @property
    def course_id(self) -> str:
        """The course it is about."""
        return str(msgspec.json.decode(self.body)["data"]["courseId"])


class Mailbox:
    """Takes letters on a loopback port."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Where letters are to be sent."""
        return f"http://{ports.LOOPBACK}:{self.port}/hooks"

    def by_course(self) -> dict[str, list[Letter]]:
        """What has arrived, sorted by course."""
        sorted_letters: defaultdict[str, list[Letter]] = defaultdict(list)
        for letter in self.letters:
            sorted_letters[letter.course_id].append(letter)
        return dict(sorted_letters)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, keep it, say thanks."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")[1:]
            headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines if x)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.letters.append(Letter(headers, body))
            writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the sender was killed while it sent
        finally:
            writer.close()


@asynccontextmanager
async def open_mailbox() -> AsyncIterator[Mailbox]:
    """A mailbox for as long as the block runs."""
    mailbox = Mailbox()
    server = await asyncio.start_server(mailbox.take, ports.LOOPBACK, 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
