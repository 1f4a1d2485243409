"""The worker with the OpenAI-compatible engine, against a local server: a rate limit passes, a refused key does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from services.kernel.database import Database
from tests.integration.stage_worker.harness import Pipeline, outcomes, stage_job, state
from tests.integration.stage_worker.test_worker import completed, relaying, running
from tests.support.courses import add_course
from tests.support.waiting import eventually

OUTLINE = {
    "sections": [{"title": "Leaves", "lessons": [{"title": "Picking", "objective": "Know when leaves are picked."}]}]
}
Answer = Callable[[int], tuple[str, dict[str, object]]]


def said(content: object) -> dict[str, object]:
    """A completion as the API sends it."""
    message = {"role": "assistant", "content": orjson.dumps(content).decode()}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {
        "id": "x",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }


@asynccontextmanager
async def endpoint(answer: Answer) -> AsyncIterator[str]:
    """A server that answers the n-th request, counted from 1, with `answer(n)`; its base address."""
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length")
        )
        await reader.readexactly(length)
        requests += 1
        status, body = answer(requests)
        text = orjson.dumps(body)
        extra = "Retry-After: 1\r\n" if status.startswith("429") else ""
        head_out = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}Connection: close\r\n"
        writer.write(f"{head_out}Content-Length: {len(text)}\r\n\r\n".encode() + text)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


@pytest.fixture
def environ(app_database_url: str, redis_url: str) -> dict[str, str]:
    """A worker that writes with a model, and would rather go back to its queue than wait."""
    return {
        "DATABASE_URL": app_database_url,
        "REDIS_URL": redis_url,
        "RELAY_ELECTION": "none",
        "ENGINE": "openai",
        "OPENAI_ATTEMPTS": "2",
        "OPENAI_LONGEST_WAIT_SECONDS": "0",
    }


async def test_a_rate_limit_never_ends_a_course(environ: dict[str, str], pipeline: Pipeline, db: Database) -> None:
    """429 three times over: no attempt is charged, the course waits and is finished."""
    course = await add_course(db, title="Tea")

    def answer(number: int) -> tuple[str, dict[str, object]]:
        if number <= 3:
            return "429 Too Many Requests", {"error": {"message": "slow down", "type": "rate_limit_exceeded"}}
        return "200 OK", said(OUTLINE)

    async with endpoint(answer) as url, relaying(environ), running({**environ, "OPENAI_BASE_URL": url}):
        await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
        await eventually(lambda: completed(db, course), within=60, every=0.1)
    result = await db.fetchval("SELECT result FROM course_results WHERE course_id = $1", course)

    assert (result["engine"], result["draft"]) == ("openai", True)
    assert result["sections"][0]["title"] == "Leaves"
    assert await outcomes(db, course) == ["applied", "applied"]


async def test_a_refused_key_ends_the_course_with_a_reason(
    environ: dict[str, str], pipeline: Pipeline, db: Database
) -> None:
    """401 will not pass by waiting: the owner reads why."""
    course = await add_course(db, title="Tea")

    def answer(_: int) -> tuple[str, dict[str, object]]:
        return "401 Unauthorized", {"error": {"message": "bad key", "type": "invalid_request_error"}}

    async def ended() -> bool:
        return await state(db, course) == "error"

    async with endpoint(answer) as url, relaying(environ), running({**environ, "OPENAI_BASE_URL": url}):
        await pipeline.initiate(course, "stage_4_init", [stage_job("STRUCTURE_ANALYSIS")])
        await eventually(ended, within=30, every=0.1)

    assert await db.fetchval("SELECT length(error_message) FROM courses WHERE id = $1", course) > 20
    assert await outcomes(db, course) == ["failed"]
