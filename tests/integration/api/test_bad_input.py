"""Bad input over every field, path, query and header: a 4xx in one shape, nothing written, never a 5xx (S2, S3, M10)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.kernel.database import Database
from tests.support import tokens
from tests.support.api import RunningApi, running_api
from tests.support.conversations import message
from tests.support.courses import add_course, totals
from tests.support.forgeries import Issuer, forgeries
from tests.unit.services.api.test_strict_json import HOSTILE

COURSE = UUID("00000000-0000-0000-0000-000000000021")

RAW_VALUES = [
    b'"\\u0000"', b'"a\\u0000b"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b"NaN", b"Infinity",
    b"-Infinity", b"9223372036854775808", b"9" * 5000, b"1e200000", b"-1e400", b"[" * 100_000, b"[" * 40 + b"]" * 40,
    b'{"a":' * 40 + b"1" + b"}" * 40, b"", b"'x'", b"undefined", b"0x10", b"+1", b"01", b'"\n"', b'"unclosed',
]  # fmt: skip
TYPED_VALUES: list[Any] = [
    0, -1, 1.5, True, False, [], {}, "", " ", "\t", "\n", "x" * 10_000, ["x"], {"x": "y"}, "null", "undefined", "None",
    "' OR '1'='1", "'; DROP TABLE courses; --", "1; SELECT pg_sleep(5)", "../../etc/passwd", "%00", "${jndi:ldap://x}",
    "{{7*7}}", "<script>", "http://169.254.169.254/", "file:///etc/passwd", "\u202e", "\ufeff", "🎓" * 400,
    "00000000-0000-0000-0000-00000000002", "00000000-0000-0000-0000-0000000000211", "{00000000-0000-0000-0000-000000000021}",
    "urn:uuid:00000000-0000-0000-0000-000000000021", "g0000000-0000-0000-0000-000000000021",
]  # fmt: skip
FIELDS = ("courseId", "title", "hasFiles", "webhookUrl", "style", "language", "idempotencyKey")
TARGETS = (
    ("/api/trpc/generation.initiate", FIELDS),
    ("/api/coursegen/generate", FIELDS),
    ("/api/courses", ("title", "style", "language", "webhookUrl")),
)
HARMLESS = {"title": str, "idempotencyKey": str, "hasFiles": bool}
"""Where some of the values are good values: odd text is still text."""


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """Path, what is wrong, body."""
    for path, fields in TARGETS:
        for field in fields:
            start = b"{" if field == "courseId" else b'{"courseId":"%s",' % str(COURSE).encode()
            start += b"" if field == "title" or path != "/api/courses" else b'"title":"x",'
            for value in RAW_VALUES:
                yield path, f"{field}={value[:20]!r}", start + b'"%s":%s}' % (field.encode(), value)
            for typed in TYPED_VALUES:
                if isinstance(typed, HARMLESS.get(field, ())) or (field == "webhookUrl" and typed is None):
                    continue
                text = httpx.Request("POST", "http://x", json={field: typed}).content[1:]
                yield path, f"{field}={typed!r:.20}", start + text
        for name, body in HOSTILE.items():
            if path != "/api/courses" or b"courseId" not in body:
                yield path, name, body


def check(answer: httpx.Response, what: str) -> None:
    """A 4xx in the shape of GAP1."""
    assert 400 <= answer.status_code < 500, f"{what}: {answer.status_code} {answer.text[:200]}"
    if answer.request.method != "HEAD":
        error = answer.json()["error"]
        assert set(error) == {"code", "message", "details"}, what
        assert error["message"], what


async def test_every_field_refuses_what_it_cannot_hold(api: RunningApi, db: Database) -> None:
    """More than a thousand bodies; a course stands there that a slip would change."""
    await add_course(db)
    before = await totals(db)
    headers = {"Content-Type": "application/json"}
    cases = list(bodies())
    for start in range(0, len(cases), 50):
        batch = cases[start : start + 50]
        answers = await asyncio.gather(
            *(api.client.post(path, content=body, headers=headers) for path, _, body in batch)
        )
        for (path, what, _), answer in zip(batch, answers, strict=True):
            check(answer, f"{path} {what}")

    assert len(cases) > 1000
    assert await totals(db) == before


async def test_odd_text_in_a_title_is_still_a_title(api: RunningApi, db: Database) -> None:
    """Injections are words: stored as they are, and nothing happens."""
    odd = [
        value
        for value in TYPED_VALUES
        if isinstance(value, str) and value.strip() and len(value) <= 300 and "\n" not in value
    ]
    for title in odd:
        answer = await api.client.post("/api/courses", json={"title": title})
        assert answer.status_code == 201, title
        assert answer.json()["title"] == title

    assert await db.fetchval("SELECT count(*) FROM courses") == len(odd)


PATHS = [
    "%00", "%ff", "%ed%a0%80", "..%2f..%2fetc", "' OR '1'='1", "%27%3B%20DROP%20TABLE%20courses", "x" * 5000, "%F0%9F%8E%93",
    "00000000-0000-0000-0000-00000000002", "{course}", "*", "-", "null", "a b", "%0d%0aSet-Cookie:%20x", "%252e",
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["", "/history", "/documents", "/result.md", "/cancel"])
async def test_every_path_refuses_what_names_nothing(api: RunningApi, suffix: str) -> None:
    """404 for any name that is none, by every method."""
    for name in PATHS:
        for method in ("GET", "POST", "DELETE", "HEAD"):
            check(await api.client.request(method, f"/api/courses/{name}{suffix}"), f"{method} {name}{suffix}")


async def test_every_query_refuses_what_it_cannot_hold(api: RunningApi, db: Database) -> None:
    """Limits, cursors and filters."""
    course_id = await add_course(db)
    values = ["%00", "%ff", "-1", "0", "1e9", "9" * 100, "'", "%F0%9F%8E%93", "x" * 3000, "[]", "null", "a%0d%0ab"]
    for path in ("/api/courses", f"/api/courses/{course_id}/history"):
        for name in ("limit", "cursor", "status"):
            if name == "status" and path != "/api/courses":
                continue
            for value in values:
                check(await api.client.get(f"{path}?{name}={value}"), f"{path} {name}={value:.20}")


async def test_every_header_refuses_what_it_cannot_hold(api: RunningApi, db: Database) -> None:
    """Keys, types, tokens."""
    course_id = await add_course(db)
    before = await totals(db)
    body = b'{"courseId":"%s"}' % str(course_id).encode()
    bad: list[tuple[bytes, bytes]] = [
        *((b"Idempotency-Key", value) for value in (b"\xff", b"\xed\xa0\x80", b"k" * 300, b"a\tb", b"\xc2\x85")),
        *((b"Content-Type", value) for value in (b"\xff", b"text/json", b"application/json\xff", b"x" * 5000)),
        *((b"Content-Encoding", value) for value in (b"gzip", b"br", b"\xff")),
        *(
            (b"Authorization", value)
            for value in (b"\xff", b"Bearer \xff", b"Bearer a.b.c", b"Bearer " + b"x" * 100_000)
        ),
    ]
    for name, value in bad:
        headers = {b"Content-Type": b"application/json", name: value}
        check(
            await api.client.post("/api/coursegen/generate", content=body, headers=headers), f"{name!r} {value[:20]!r}"
        )

    assert await totals(db) == before


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X"])
async def test_unknown_methods_are_refused(api: RunningApi, method: str) -> None:
    """405 with what is allowed, or 400 for what is no method."""
    check(await api.client.request(method, "/api/trpc/generation.initiate"), method)


async def test_no_forgery_opens_any_route(app_database_url: str, redis_url: str, db: Database, tmp_path: Any) -> None:
    """S3: every forgery, at several routes, is 401, and nothing is written."""
    issuer = Issuer()
    keys = tmp_path / "keys.json"
    keys.write_bytes(httpx.Request("POST", "http://x", json=issuer.key_set).content)
    before = await totals(db)
    async with running_api(app_database_url, redis_url, jwt_jwks_file=keys, messages_durability="postgres") as api:
        for algorithm, kid in (("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")):
            headers = {"Authorization": f"Bearer {issuer.sign(algorithm, kid)}"}
            assert (await api.client.get("/api/courses", headers=headers)).status_code == 200
            assert (await api.client.get("/api/conversations/course-1/messages", headers=headers)).status_code == 404
        for name, token in forgeries(issuer):
            headers = {"Authorization": f"Bearer {token}"}
            answers = [
                await api.client.get("/api/courses", headers=headers),
                await api.client.post(
                    "/api/trpc/generation.initiate", json={"courseId": str(COURSE), "title": "x"}, headers=headers
                ),
                await api.client.delete(f"/api/courses/{COURSE}", headers=headers),
                await api.client.post("/api/messages", json=message(senderId=str(tokens.USER)), headers=headers),
                await api.client.get("/api/conversations/course-1/messages", headers=headers),
            ]
            for answer in answers:
                assert answer.status_code == 401, name
                assert answer.json()["error"]["code"] == "unauthorized"

    assert await totals(db) == before
    assert await db.fetchval("SELECT count(*) FROM messages") == 0
