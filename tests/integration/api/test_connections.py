"""Clients that are slow, silent, greedy or confused are cut off in time, and do not disturb the others (S6, S7, M8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.kernel.database import Database
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course
from tests.support.tokens import bearer
from tests.support.waiting import eventually

PATIENCE: dict[str, Any] = {"header_seconds": 0.5, "body_seconds": 0.5, "keep_alive_seconds": 1}
TOKEN = bearer()["Authorization"]
HEAD = f"Host: x\r\nAuthorization: {TOKEN}\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def hasty(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """An api with little patience."""
    async with running_api(app_database_url, redis_url, **PATIENCE) as running:
        yield running


async def talk(api: RunningApi, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send these pieces with pauses between them; everything the api says until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    answer = asyncio.create_task(reader.read(1_000_000))

    async def until_eof() -> bytes:
        said = await answer
        while more := await reader.read(1_000_000):
            said += more
        return said

    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        return await asyncio.wait_for(until_eof(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def status_of(said: bytes) -> int:
    """Of the first answer."""
    return int(said.split(b" ", 2)[1])


async def test_a_client_that_says_nothing_is_cut(hasty: RunningApi) -> None:
    """Within its patience and a sweep; told 408 in the shape of every error."""
    said = await talk(hasty)

    assert status_of(said) == 408
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


async def test_a_client_that_drips_its_headers_is_cut(hasty: RunningApi) -> None:
    """However alive it seems."""
    drops = [f"X-{n}: y\r\n".encode() for n in range(40)]
    said = await talk(hasty, b"GET /docs HTTP/1.1\r\n", *drops, pause=0.1)

    assert said == b"" or status_of(said) == 408


@pytest.mark.parametrize("pieces", [[], [b"{" for _ in range(60)]], ids=["promised", "dripped"])
async def test_a_client_that_does_not_send_its_body_is_cut(hasty: RunningApi, pieces: list[bytes]) -> None:
    """A promised body that never comes, or comes in drops."""
    head = f"POST /api/coursegen/generate HTTP/1.1\r\n{HEAD}Content-Length: 1000\r\n\r\n".encode()
    said = await talk(hasty, head, *pieces, pause=0.05)

    assert said == b"" or status_of(said) == 408


async def test_a_body_that_is_not_read_has_a_deadline_too(hasty: RunningApi) -> None:
    """A refused request whose body goes on for ever is answered, then cut."""
    head = b"POST /api/coursegen/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    said = await talk(hasty, head, *[b"x"] * 40, pause=0.1)

    assert said == b"" or status_of(said) == 401


async def test_an_idle_connection_is_closed(hasty: RunningApi) -> None:
    """After its answer and the keep-alive time."""
    said = await talk(hasty, b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")

    assert status_of(said) == 404


async def test_a_client_that_does_not_read_its_answer_is_cut(app_database_url: str, redis_url: str) -> None:
    """Many large answers asked for and none read: the connection ends, the memory stays."""
    async with running_api(app_database_url, redis_url, answer_seconds=0.5, **PATIENCE) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=1)
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        await eventually(lambda: api.service.connections == 1, within=5)
        await eventually(lambda: api.service.connections == 0, within=10)
        writer.close()
        del reader


async def test_a_slow_upload_is_cut_and_an_honest_one_is_not(
    app_database_url: str, redis_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads have no deadline but a least rate."""
    monkeypatch.setattr("services.api.connections._RATE_WINDOW_SECONDS", 0.5)
    monkeypatch.setattr("services.api.connections.SWEEP_SECONDS", 0.2)
    options = {**PATIENCE, "upload_bytes_per_second": 10_000}
    async with running_api(app_database_url, redis_url, **options) as api:
        path = f"/api/courses/{await add_course(db)}/documents"
        start = b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\n'

        def head(length: int) -> bytes:
            kind = "Content-Type: multipart/form-data; boundary=X\r\n"
            return (
                f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\n{kind}Content-Length: {length}\r\n"
                "Connection: close\r\n\r\n"
            ).encode()

        slow = await talk(api, head(100_000) + start, *[b"x" * 10 for _ in range(40)], pause=0.1)
        body = start + b"x" * 40_000 + b"\r\n--X--\r\n"
        steady = [body[at : at + 2000] for at in range(0, len(body), 2000)]
        honest = await talk(api, head(len(body)), *steady, pause=0.08)

    assert slow == b"" or status_of(slow) == 408
    assert status_of(honest) == 201
    assert await db.fetchval("SELECT count(*) FROM stored_objects") == 1


@pytest.mark.parametrize(
    "babble",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"HELO example.org\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
async def test_what_is_not_http_gets_a_400_in_the_same_shape(hasty: RunningApi, babble: bytes) -> None:
    """Also bodies whose length is told twice, a way to smuggle requests past a proxy."""
    said = await talk(hasty, babble)

    assert status_of(said) in {400, 401, 404}
    assert json.loads(said.partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1")[0])["error"]["code"]


async def test_headers_without_end_are_refused(hasty: RunningApi) -> None:
    """431 above two megabytes; a megabyte of token is read and told 401."""
    said = await talk(hasty, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 3_000_000)
    giant = await talk(
        hasty,
        b"GET /api/courses HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
        + b"x" * 1_000_000
        + b"\r\n\r\n",
    )

    assert said == b"" or status_of(said) == 431
    assert status_of(giant) == 401


async def test_a_body_over_the_limit_is_413(api: RunningApi) -> None:
    """Declared, or in chunks without a declared length, at once."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    headers = {"Content-Type": "application/json"}
    async with asyncio.timeout(5):
        declared = await api.client.post("/api/coursegen/generate", content=b" " * (1024 * 1024 + 1), headers=headers)
        chunked = await api.client.post("/api/coursegen/generate", content=endless(), headers=headers)

    assert (declared.status_code, chunked.status_code) == (413, 413)
    assert chunked.json()["error"]["code"] == "payload_too_large"


async def test_too_many_connections_are_told_so(app_database_url: str, redis_url: str) -> None:
    """503, at once, and the others go on."""
    async with running_api(app_database_url, redis_url, max_connections=5) as api:
        held = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(5)]
        said = await talk(api)
        for _, writer in held:
            writer.close()

    assert status_of(said) == 503
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"


async def test_five_hundred_bad_clients_do_not_stop_good_ones(
    app_database_url: str, redis_url: str, db: Database
) -> None:
    """Silent and dripping ones in hundreds; good requests are answered meanwhile, and in the end all bad ones are gone."""
    async with running_api(app_database_url, redis_url, header_seconds=2, body_seconds=2) as api:
        bad = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(500)]
        for number, (_, writer) in enumerate(bad):
            writer.write(
                [
                    b"",
                    b"GET / HTTP/1.1\r\nA: ",
                    f"POST /api/coursegen/generate HTTP/1.1\r\n{HEAD}Content-Length: 9\r\n\r\n".encode(),
                ][number % 3]
            )
        course_id = await add_course(db)
        answers = [await api.client.get(f"/api/courses/{course_id}") for _ in range(20)]
        await eventually(lambda: api.service.connections <= 1, within=15)
        for _, writer in bad:
            writer.close()

    assert {answer.status_code for answer in answers} == {200}


async def test_pipelined_requests_are_answered_in_order(api: RunningApi) -> None:
    """Two in one packet."""
    said = await talk(
        api,
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-ID: one\r\n\r\n"
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-ID: two\r\nConnection: close\r\n\r\n",
    )

    assert said.index(b"x-request-id: one") < said.index(b"x-request-id: two")


async def test_a_thousand_connections_are_held(api: RunningApi, db: Database) -> None:
    """All open at once, each answered."""
    path = f"/api/courses/{await add_course(db)}"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    held = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(1000)]
    async with httpx.AsyncClient(base_url=api.url, headers=bearer(), limits=limits) as client:
        assert (await client.get(path)).status_code == 200
    request = f"GET {path} HTTP/1.1\r\n{HEAD}Connection: close\r\n\r\n".encode()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(request)
        said = await reader.read(-1)
        writer.close()
        return said

    async with asyncio.timeout(30):
        said = await asyncio.gather(*(ask(*pair) for pair in held))
    assert {status_of(each) for each in said} == {200}
