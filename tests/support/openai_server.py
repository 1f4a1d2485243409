"""A local server that speaks the OpenAI chat API, well or badly, as a test wants it.

It answers on a real socket. Faults are queued: each is used for one request; without one the server answers properly
(`openai_answers`).
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.openai_answers import answer_to, completion

Answer = Callable[[dict[str, Any]], Response]


@dataclass
class ChatServer:
    """What was asked, and what to answer next."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    faults: deque[Answer] = field(default_factory=deque)
    usual: Answer = field(default_factory=lambda: proper)

    async def chat(self, request: Request) -> Response:
        """The one route."""
        body = msgspec.json.decode(await request.body())
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        answer = self.faults.popleft() if self.faults else self.usual
        made = answer(body)
        return await made if hasattr(made, "__await__") else made


@contextlib.asynccontextmanager
async def chat_server() -> AsyncIterator[ChatServer]:
    """Run the server in this loop on a free port."""
    state = ChatServer()
    app = Starlette(routes=[Route("/v1/chat/completions", state.chat, methods=["POST"])])
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    import asyncio

    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    state.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    try:
        yield state
    finally:
        server.should_exit = True
        await task
        listening.close()


def said(content: str, *, finish: str = "stop", refusal: str | None = None) -> Answer:
    """An answer with this content, whatever was asked."""
    return lambda _: _completion(content, finish, refusal)


def status(code: int, body: Any = None, **headers: str) -> Answer:
    """A refused request."""
    content = b"<html>" if body is None else msgspec.json.encode(body)
    return lambda _: Response(content, code, headers={name.replace("_", "-"): text for name, text in headers.items()})


def raw(content: bytes) -> Answer:
    """A success whose body is not what the API promises."""
    return lambda _: Response(content, 200, media_type="application/json")


def changed(change: Callable[[dict[str, Any]], Any]) -> Answer:
    """A proper answer, changed before it is sent."""

    def answer(asked: dict[str, Any]) -> Response:
        content = answer_to(asked)
        change(content)
        return _completion(msgspec.json.encode(content).decode(), "stop", None)

    return answer


def proper(asked: dict[str, Any]) -> Response:
    """What a well-behaved model answers."""
    return _completion(msgspec.json.encode(answer_to(asked)).decode(), "stop", None)


def _completion(content: str, finish: str, refusal: str | None) -> Response:
    return Response(msgspec.json.encode(completion(content, finish, refusal)), media_type="application/json")
