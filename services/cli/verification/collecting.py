"""Collects facts by the kernel's own connections. Nothing is written, and no secret is in what comes back.

`coursegen verify` calls `collect`. scripts/verify-deployment.sh sends this file as text to the Python of a pod, which has the
kernel and the release's addresses in its environment, but not this package: so nothing else of it is imported here.

::

    python - STATEMENTS [api] <collecting.py      statements as in verification.sql; `api`: ask the one in this pod as well
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]

REQUESTS = {
    "api.health": ("GET", "/api/trpc/metrics.healthCheck"),
    "api.numbers": ("GET", "/api/trpc/metrics.getAll"),
    "api.stranger": ("POST", "/api/trpc/generation.initiate"),
}
"""What the api is asked, without a token; the last of them it must refuse."""

_SECONDS = 10.0
"""Longest wait for an answer of anybody."""

_FIGURES = ("redis_version", "role", "loading", "used_memory", "maxmemory", "maxmemory_policy", "aof_enabled")
_OWNER = "coursegen:installation"
"""The key of the kernel's `installation`; the kernel of a pod may be older than that is."""
UNKNOWN = "unknown"
_FIRST = "connection"
"""Where this statement gets no answer, no other will."""


@dataclass(frozen=True)
class Addresses:
    """Where the parts are; None is not looked at."""

    api: str | None
    database: str | None
    redis: str | None
    stack_id: str | None = None
    """Of the stack whose api must answer; any when None."""
    stream: str | None = None
    """The Redis of the messages, where it is another one."""
    messages: str | None = None
    """The database of Redis that has the messages, on whichever server, by its number."""
    kept_by: str = UNKNOWN
    """What has a message when it is accepted: `redis`, `postgres`, or UNKNOWN."""


async def collect(addresses: Addresses, statements: Mapping[str, str]) -> dict[str, Json]:
    """Everything that can be seen, by name: a `value`, or a `fault` in words."""
    parts = await asyncio.gather(
        _redis("redis.info", addresses.redis) if addresses.redis else _nothing(),
        _redis("stream.info", addresses.stream) if addresses.stream else _nothing(),
        _appending(addresses.stream or addresses.redis, addresses.kept_by),
        _owner("redis.owner", addresses.redis) if addresses.redis else _nothing(),
        _owner("stream.owner", addresses.messages)
        if addresses.messages and addresses.kept_by == "redis"
        else _nothing(),
        _database(addresses.database, statements) if addresses.database else _nothing(),
        _api(addresses.api, addresses.stack_id) if addresses.api else _nothing(),
    )
    return {name: fact for part in parts for name, fact in part.items()}


async def _nothing() -> dict[str, Json]:
    return {}


async def _redis(fact: str, url: str) -> dict[str, Json]:
    found = await _of_redis(url, lambda client: client.info("everything"))
    if "value" in found:
        found["value"] = {name: found["value"][name] for name in _FIGURES if name in found["value"]}
    return {fact: found}


async def _owner(fact: str, url: str) -> dict[str, Json]:
    """Whose a database is. Where messages are not kept by Redis, or nobody knows it, that of theirs is nobody's business."""

    async def ask(client: Any) -> Json:
        name = await client.get(_OWNER)
        number = client.connection_pool.connection_kwargs.get("db", 0)
        return {"number": int(number), "name": None if name is None else _text(name)}

    return {fact: await _of_redis(url, ask)}


async def _appending(url: str | None, kept_by: str) -> dict[str, Json]:
    """How the Redis that has the messages brings them onto its disk; a managed one may not say so."""
    kept = {"stream.kept": {"value": {"by": kept_by}}}
    if not url or kept_by != "redis":
        return kept
    found = await _of_redis(url, lambda client: client.config_get("append*"))
    if "value" in found:
        found["value"] = {_text(name): _text(value) for name, value in found["value"].items()}
    return {**kept, "stream.config": found}


async def _of_redis(url: str, ask: Callable[[Any], Awaitable[Json]]) -> Json:
    from services.kernel.errors import CoursegenError
    from services.kernel.redis_connection import open_redis, refusals_translated
    from services.kernel.settings import Secret

    try:
        with refusals_translated("Redis refuses"):
            async with open_redis(
                Secret(url), name="coursegen-verify", socket_timeout=_SECONDS, connect_timeout=_SECONDS
            ) as client:
                return {"value": await ask(client)}
    except CoursegenError as error:
        return {"fault": error.message}


def _text(said: Any) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def stream_of(environ: Mapping[str, str]) -> str | None:
    """The address of the Redis of the messages, where these variables name another than that of the queues."""
    return messages_of(environ, None)


def messages_of(environ: Mapping[str, str], redis: str | None) -> str | None:
    """The address of the database with the messages, where `redis` is that of the queues; None where neither is named."""
    from services.kernel.messages.settings import StreamSettings, stream_address
    from services.kernel.settings import Secret, load

    settings = load(StreamSettings, environ)
    return stream_address(settings, Secret(redis or "")).reveal() if redis or settings.redis_host else None


def kept_by(environ: Mapping[str, str]) -> str:
    """What these variables have a message kept by, once it is accepted."""
    is_written = environ.get("MESSAGES_STREAM_PERCENT") == "0"
    return "postgres" if is_written else environ.get("MESSAGES_DURABILITY") or "redis"


async def _database(url: str, statements: Mapping[str, str]) -> dict[str, Json]:
    from services.kernel.database import connect, translated
    from services.kernel.errors import CoursegenError

    try:
        session = await connect(
            url, application="coursegen-verify", connect_seconds=_SECONDS, statement_seconds=_SECONDS
        )
    except CoursegenError as error:
        return {f"database.{_FIRST}": {"fault": error.message}}
    found = {}
    try:
        for name, statement in statements.items():
            try:
                with translated():
                    found[f"database.{name}"] = {"value": await session.fetchval(statement)}
            except CoursegenError as error:
                found[f"database.{name}"] = {"fault": error.message}
    finally:
        session.terminate()
    return found


async def _api(url: str, stack_id: str | None) -> dict[str, Json]:
    answers = await asyncio.gather(
        *(asyncio.to_thread(_asked, url, method, path, stack_id) for method, path in REQUESTS.values())
    )
    return dict(zip(REQUESTS, answers, strict=True))


def _asked(url: str, method: str, path: str, stack_id: str | None) -> Json:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
    headers = {"Content-Type": "application/json"} if method == "POST" else {}
    begun = time.monotonic()
    try:
        connection.request(method, parts.path.rstrip("/") + path, "{}" if method == "POST" else None, headers)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return {"fault": f"{type(error).__name__}: {error}"}
    finally:
        connection.close()
    if stack_id is not None and answer.headers.get("X-Stack-Id") != stack_id:
        return {"fault": f"another program answers at {url}"}
    return {"value": {"status": answer.status, "seconds": time.monotonic() - begun, "body": _object(text)}}


def _object(text: bytes) -> Json | None:
    try:
        body = json.loads(text)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _in_pod(text: str, *, asks_api: bool) -> None:
    from services.kernel.queries import parse

    api = f"http://127.0.0.1:{os.environ.get('PORT', '3000')}" if asks_api else None
    addresses = Addresses(
        api,
        os.environ.get("DATABASE_URL"),
        os.environ.get("REDIS_URL"),
        stream=stream_of(os.environ),
        messages=messages_of(os.environ, os.environ.get("REDIS_URL")),
        # Only an api knows what its messages are kept by.
        kept_by=kept_by(os.environ) if asks_api else UNKNOWN,
    )
    found = asyncio.run(collect(addresses, parse(text, "verification.sql")))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    _in_pod(sys.argv[1], asks_api="api" in sys.argv[2:])
