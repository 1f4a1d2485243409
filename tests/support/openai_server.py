"""A local server that speaks the OpenAI chat API, well or badly, as a test wants it.

It answers on a real socket. Faults are queued: each is used for one request; without one the server answers properly,
from the request itself: a lesson made of the passages it was given, an arrangement of the lessons it was shown.
"""

from __future__ import annotations

import contextlib
import re
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

Answer = Callable[[dict[str, Any]], Response]

_PASSAGE = re.compile(r'<passage number="(\d+)" heading="[^"]*">\n(.*?)\n</passage>', re.DOTALL)
_LISTED = re.compile(r"^(\d+)\. \[\w+\] (.*?): ", re.MULTILINE)
_ENOUGH_WORDS = 260


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


def answer_to(asked: dict[str, Any]) -> dict[str, Any]:
    """The content of a proper answer, by the form that is asked for."""
    form = asked["response_format"].get("json_schema", {}).get("name")
    question = next(
        each["content"]
        for each in reversed(asked["messages"])
        if "---" in each["content"] or "<passage" in each["content"] or "1. [" in each["content"]
    )
    makers = {"LessonReply": _lesson, "PlanReply": _plan, "OutlineReply": _outline}
    if form is None:
        form = "LessonReply" if "<passage" in question else "PlanReply" if "1. [" in question else "OutlineReply"
    return makers[form](question)


def _lesson(question: str) -> dict[str, Any]:
    passages = [(int(number), text) for number, text in _PASSAGE.findall(question)]
    citations = [{"passage": number, "quote": _sentence(text)} for number, text in passages]
    bodies: list[str] = []
    words = 0
    for at, (_, text) in enumerate(passages, 1):
        if words < _ENOUGH_WORDS or at <= len(passages):
            part = " ".join(re.sub(r"[|`\[\]#-]", " ", text).split()[: max(40, _ENOUGH_WORDS // len(passages))])
            bodies.append(f"{part} [{at}]")
            words += len(part.split())
    title = re.search(r"“(.*?)”", question)
    name = title.group(1) if title else "it"
    return {
        "objectives": [bodies[0][:60]],
        "summary": citations[0]["quote"],
        "content": "\n\n".join(bodies),
        "key_terms": [{"term": name, "definition": "", "citation": 1}],
        "exercises": [{"prompt": bodies[0][:80], "answer": ""}],
        "citations": citations,
    }


def _plan(question: str) -> dict[str, Any]:
    lessons = [{"number": int(number), "title": title} for number, title in _LISTED.findall(question)]
    third = max(1, -(-len(lessons) // 3))
    parts = [lessons[at : at + third] for at in range(0, len(lessons), third)]
    return {"sections": [{"title": part[0]["title"], "lessons": part} for part in parts]}


def _outline(question: str) -> dict[str, Any]:
    lesson = {"title": "First steps", "objective": "Take the first steps."}
    return {"sections": [{"title": f"Part {number}", "lessons": [lesson, lesson]} for number in range(1, 4)]}


def _sentence(text: str) -> str:
    found = re.search(r"[A-ZА-ЯЁ][^.|\n]{30,}\.", text)
    return found.group() if found else text[:120]


def _completion(content: str, finish: str, refusal: str | None) -> Response:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500},
    }
    return Response(msgspec.json.encode(body), media_type="application/json")
