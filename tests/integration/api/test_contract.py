"""Each operation gives each of the codes that its kind has, and every answer is as the description says.

The client of `running_api` checks status, type, headers and body of each answer against its JSON Schema; here the codes are
brought about one by one, for all operations in the table. What they answer when all is well is in the tests of each.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from jsonschema import Draft202012Validator

from services.api.error_catalogue import codes_of, error_schema
from services.api.openapi import error_statuses
from services.api.routing import Operation
from services.kernel.database import Database
from tests.support import servers
from tests.support.api import RunningApi, running_api
from tests.support.contract import Contract
from tests.support.courses import add_course, add_documents, add_result, finish
from tests.support.tokens import ADMIN, ORGANIZATION, admin_bearer, bearer

LARGE = 2 * 1024 * 1024
JSON = {"Content-Type": "application/json"}


def described(api: RunningApi) -> list[Operation]:
    """The operations that the description lists."""
    return [each for each in api.parts.routes.operations if not each.reserved]


def path_of(operation: Operation, **values: str) -> str:
    """Where `operation` is asked for; what is not given is made up."""
    made_up = {
        "course": str(uuid4()),
        "document": str(uuid4()),
        "queue": "course-generation:documents",
        "scope": "global",
        "message": f"msg_{'a' * 26}",
        "conversation": "course-1",
    }
    return operation.path.replace(":path}", "}").format_map({**made_up, **values})


async def ask(api: RunningApi, operation: Operation, path: str, **more: Any) -> int:
    """The status of one request; the rest of the answer is checked on the way. A stream is left at once."""
    headers = {**admin_bearer(), **more.pop("headers", {})}
    async with api.client.stream(operation.method, path, headers=headers, **more) as answer:
        return answer.status_code


async def test_without_a_token_every_private_operation_answers_401(api: RunningApi) -> None:
    """Before anything of the body or the path is looked at."""
    for operation in described(api):
        for token in ({"Authorization": ""}, {"Authorization": "Bearer x.y.z"}):
            status = await ask(api, operation, path_of(operation), headers=token)
            assert (status == 401) == (not operation.public), f"{operation.name}: {status}"


async def test_unknown_courses_are_404_and_strangers_403(api: RunningApi, db: Database) -> None:
    """For every operation on a course."""
    course = str(await add_course(db))
    for operation in described(api):
        if "{course}" in operation.path:
            extra: dict[str, Any] = {"json": {}} if operation.accepts else {}
            if operation.uploads:
                extra = {"files": {"file": ("a.md", b"# a", "text/markdown")}}
            assert await ask(api, operation, path_of(operation), **extra) == 404, operation.name
            assert await ask(api, operation, path_of(operation, course=course), **extra) == 403, operation.name


async def test_bodies_that_are_wrong_in_kind_size_or_content(api: RunningApi, db: Database) -> None:
    """415, 413 and 400, for every operation that takes a body."""
    course = str(await add_course(db, user=ADMIN))
    for operation in described(api):
        if operation.accepts is None:
            continue
        path = path_of(operation, course=course)
        assert await ask(api, operation, path, content=b"{}", headers={"Content-Type": "text/plain"}) == 415, (
            operation.name
        )
        assert await ask(api, operation, path, content=b" " * LARGE, headers=JSON) == 413, operation.name
        for bad in (b"", b"{", b"[]", b"7", b'"x"', b"\xff", b'{"a":NaN}', b"[" * 100_000):
            assert await ask(api, operation, path, content=bad, headers=JSON) == 400, (operation.name, bad[:10])


async def test_what_is_sent_beside_the_body(api: RunningApi, db: Database) -> None:
    """A query that is no UTF-8, a key that is too long: 400, where queries and keys are taken."""
    course = str(await add_course(db, user=ADMIN))
    for operation in described(api):
        path = path_of(operation, course=course)
        body: dict[str, Any] = {"json": {"courseId": course, "title": "x"}} if operation.accepts else {}
        if operation.query:
            assert await ask(api, operation, f"{path}?{operation.query[0].name}=%ff", **body) == 400, operation.name
        if operation.takes_key:
            status = await ask(api, operation, path, headers={"Idempotency-Key": "k" * 256}, **body)
            assert status in {400, 409}, f"{operation.name}: {status}"


async def test_answers_of_a_course_from_beginning_to_end(api: RunningApi, db: Database) -> None:
    """The good answers of every operation on a course, in the states it passes; each is checked on the way."""
    headers = bearer(ADMIN, ORGANIZATION, tier="PREMIUM")
    call = api.client
    created = (await call.post("/api/courses", json={"title": "Пчёлы"}, headers=headers)).json()
    path = f"/api/courses/{created['slug']}"
    upload = {"file": ("a.md", "# Пчёлы\n\nПчёлы делают мёд.".encode(), "text/markdown")}
    first = (await call.post(f"{path}/documents", files=upload, headers=headers)).json()
    assert (await call.post(f"{path}/documents", files=upload, headers=headers)).status_code == 200
    for read in ("", "/documents", "/history", "/check-status"):
        assert (await call.get(path + read, headers=headers)).status_code == 200
    assert (await call.get(f"{path}/result", headers=headers)).status_code == 409
    assert (await call.post(f"{path}/retry", headers=headers)).status_code == 409
    assert (await call.delete(f"{path}/documents/{first['id']}", headers=headers)).status_code == 204
    begin = {"courseId": created["id"]}
    for _ in range(2):
        assert (await call.post("/api/trpc/generation.initiate", json=begin, headers=headers)).status_code == 200
    assert (await call.post(f"{path}/documents", files=upload, headers=headers)).status_code == 409
    assert (await call.post(f"{path}/cancel", headers=headers)).status_code == 200
    assert (await call.post(f"{path}/retry", headers=headers)).status_code == 200
    assert (await call.get(f"{path}/history", headers=headers, params={"limit": 2})).json()["nextCursor"] is not None
    assert (await call.delete(path, headers=headers)).status_code == 204

    done = await add_course(db, user=ADMIN)
    await add_documents(db, done, ["# a"])
    await add_result(db, done)
    await finish(db, done)
    for read in ("", "/documents", "/history", "/check-status", "/result", "/result.md"):
        assert (await call.get(f"/api/courses/{done}{read}", headers=headers)).status_code == 200


async def test_without_postgresql_every_operation_answers_as_described(
    private_postgres: servers.PrivatePostgres, private_database_url: str, redis_url: str
) -> None:
    """503 or, for what cannot be decided any more, 500; in their shape. What needs no database goes on."""
    async with running_api(private_database_url, redis_url, acquire_seconds=0.3, initiation_seconds=0.5) as api:
        private_postgres.kill()
        seen: dict[str, int] = {}
        for operation in described(api):
            body: dict[str, Any] = {"json": {"courseId": str(uuid4()), "title": "x"}} if operation.accepts else {}
            if operation.uploads:
                body = {"files": {"file": ("a.md", b"# a", "text/markdown")}}
            seen[operation.name] = await ask(api, operation, path_of(operation), **body)
        private_postgres.start()  # the witness of the initiation that failed is written down yet

    assert {seen["list_courses"], seen["show_course"], seen["create_course"], seen["get_fsm"]} == {503}
    assert {seen["initiate"], seen["generate"]} == {500}
    assert {seen["openapi"], seen["docs"]} == {200}


async def told(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """What a connection is told that sends these bytes and then waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


async def test_what_is_no_request_is_answered_in_the_shape_of_every_error(
    app_database_url: str, redis_url: str
) -> None:
    """400, 408 and 431 come from the connection itself, with an id, and are described for every operation."""
    late = f"POST /api/courses HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer()['Authorization']}\r\n"
    late += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    endless = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * LARGE
    endless = endless[: LARGE + 1]  # all of it is read, so that the answer is not lost in a reset
    async with running_api(app_database_url, redis_url, body_seconds=0.2, header_seconds=5.0) as api:
        for expected, request in ((408, late.encode()), (400, b"this is no HTTP\r\n\r\n"), (431, endless)):
            status, headers, body = await told(api.port, request)
            assert status == expected
            assert len(headers["x-request-id"]) == 16
            Draft202012Validator(error_schema(status)).validate(json.loads(body))
            assert all(status in error_statuses(operation) for operation in described(api))


async def test_every_documented_error_has_a_schema_of_its_own(api: RunningApi) -> None:
    """Each status lists the codes that come with it; 429 says which limit; a 500 speaks Russian."""
    schemas = (await api.client.get("/openapi.json")).json()["components"]["schemas"]
    for operation in described(api):
        for status in error_statuses(operation):
            assert schemas[f"Error{status}"]["properties"]["error"]["properties"]["code"]["enum"], status
    limited = {"limitType": "user", "tier": "FREE", "limit": 1, "current": 1, "retryAfterSeconds": 5}
    for details, fits in ((limited, True), ({}, False), ({**limited, "limitType": "other"}, False)):
        body = {"error": {"code": codes_of(429)[0], "message": "m", "details": details}}
        assert Draft202012Validator(error_schema(429)).is_valid(body) == fits
    for message, fits in (("Ошибка", True), ("error", False)):
        body = {"error": {"code": "internal_error", "message": message, "details": {}}}
        assert Draft202012Validator(error_schema(500)).is_valid(body) == fits


DESCRIPTION: dict[str, Any] = {
    "paths": {
        "/a/{x}": {
            "get": {
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}},
                    "204": {},
                    "401": {"headers": {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}}},
                }
            }
        }
    },
    "components": {
        "schemas": {"A": {"type": "object", "required": ["a"], "additionalProperties": False, "properties": {"a": {}}}},
        "headers": {"X-Request-ID": {"schema": {"type": "string", "maxLength": 3}}},
    },
}


@pytest.mark.parametrize(
    ("status", "body", "headers", "fault"),
    [
        (200, b'{"a":1}', {}, None),
        (200, b'{"b":1}', {}, "required"),
        (200, b'{"a":1,"b":2}', {}, "Additional"),
        (200, b'{"a": 1}', {}, "compact"),
        (200, b"a", {"content-type": "text/html"}, "text/html"),
        (201, b'{"a":1}', {}, "does not know this status"),
        (204, b"x", {}, "not described"),
        (401, b"", {}, "401"),
        (401, b"", {"www-authenticate": "Bearer", "x-request-id": "four"}, "too long"),
        (401, b"", {"www-authenticate": "Bearer", "x-request-id": "abc"}, None),
    ],
)
def test_the_check_itself_finds_what_is_not_as_described(
    status: int, body: bytes, headers: dict[str, str], fault: str | None
) -> None:
    """A checker that finds nothing proves nothing."""
    request = httpx.Request("GET", "http://h/a/1")
    answer = httpx.Response(
        status, content=body, headers={"content-type": "application/json", **headers}, request=request
    )
    contract = Contract(DESCRIPTION)
    if fault is None:
        contract.check(answer, body)
        assert contract.seen == {("GET", "/a/{x}", status): 1}
    else:
        with pytest.raises(Exception, match=fault):
            contract.check(answer, body)
