"""A body that goes on: piece by piece, until it ends or its reader leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.api.app import Api
from services.api.auth import Authenticator
from services.api.cors import Cors
from services.api.keys import KeyRing, VerificationKey
from services.api.messages import Reply, Request
from services.api.routing import Answer, Operation, RouteTable
from services.api.streaming import pump
from tests.support import tokens
from tests.support.waiting import eventually


class Pieces:
    """Says what it is given; an empty piece is the end."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = 0
        for piece in pieces:
            self.pieces.put_nowait(piece)

    async def next_chunk(self) -> bytes:
        """The next piece."""
        return await self.pieces.get()

    def close(self) -> None:
        """End."""
        self.closed += 1
        self.pieces.put_nowait(b"")


class Client:
    """The other end of an ASGI application."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.asked = False
        self.messages: list[Any] = []

    async def receive(self) -> Any:
        """The request, then nothing until it is gone."""
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Keep what was sent."""
        self.messages.append(message)

    @property
    def body(self) -> list[bytes]:
        """The pieces that arrived."""
        return [each["body"] for each in self.messages if each["type"] == "http.response.body"]


def api(source: Pieces) -> Api:
    """An application with one stream."""

    async def follow(request: Request) -> Reply:
        """Go on."""
        return Reply(200, stream=source, content_type=b"text/event-stream")

    operation = Operation(
        method="GET", path="/follow", handler=follow, tag="t", answers={200: Answer("ok")}, public=True
    )
    ring = KeyRing([VerificationKey("HS256", tokens.SECRET.encode())])
    doorman = Authenticator(ring, algorithms=frozenset({"HS256"}))
    return Api(RouteTable([operation]), doorman, cors=Cors(()), max_body_bytes=100)


def scope(method: str) -> dict[str, Any]:
    """Of a request for the stream."""
    return {"type": "http", "method": method, "path": "/follow", "headers": [], "query_string": b""}


async def test_pieces_are_sent_as_they_come_and_the_end_is_told() -> None:
    """Each by itself; the length is not known beforehand."""
    source, client = Pieces(b"one", b"two", b""), Client()
    await asyncio.wait_for(api(source)(scope("GET"), client.receive, client.send), 5)

    assert client.body == [b"one", b"two", b""]
    assert [each.get("more_body", False) for each in client.messages[1:]] == [True, True, False]
    assert (b"content-type", b"text/event-stream") in client.messages[0]["headers"]
    assert not any(name == b"content-length" for name, _ in client.messages[0]["headers"])
    assert source.closed


async def test_a_reader_who_leaves_closes_the_source() -> None:
    """Also while there is nothing to say."""
    source, client = Pieces(b"one"), Client()
    pumping = asyncio.create_task(pump(source, client.receive, client.send))
    await eventually(lambda: client.body == [b"one"], within=5)
    assert not source.closed
    client.gone.set()
    await asyncio.wait_for(pumping, 5)

    assert source.closed


async def test_head_gets_the_headers_and_no_stream() -> None:
    """And the source is given back."""
    source, client = Pieces(b"one"), Client()
    await asyncio.wait_for(api(source)(scope("HEAD"), client.receive, client.send), 5)

    assert client.body == [b""]
    assert source.closed


async def test_a_source_that_breaks_leaves_the_answer_unfinished() -> None:
    """So that nobody takes the pieces for the whole; the source is closed all the same."""

    class Broken(Pieces):
        async def next_chunk(self) -> bytes:
            raise ZeroDivisionError

    source, client = Broken(), Client()
    with pytest.raises(ZeroDivisionError):
        await api(source)(scope("GET"), client.receive, client.send)

    assert client.body == []
    assert source.closed
