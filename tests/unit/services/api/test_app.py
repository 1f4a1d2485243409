"""One layer: routes, request ids, CORS, and the one door for errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.api.app import FAILURES, Api
from services.api.auth import Authenticator
from services.api.cors import Cors
from services.api.error_catalogue import codes_of
from services.api.keys import KeyRing, VerificationKey
from services.api.messages import ClientGone, Reply, Request, json_reply
from services.api.models import CreateCourseBody
from services.api.routing import Answer, Operation, RouteTable
from services.kernel.database import DatabaseRefused
from services.kernel.errors import CoursegenError, DatabaseUnavailable, LimitReached, NotFound, SchemaMissing
from services.kernel.metrics import REGISTRY
from tests.support import tokens

PAGE = "https://page.example"


async def whoami(request: Request) -> Reply:
    """The caller and the parameters."""
    return json_reply({"user": str(request.principal.user_id), "path": request.path, "query": request.query()})


async def open_to_all(request: Request) -> Reply:
    """No token needed."""
    assert request.caller is None
    return Reply(204)


async def echo(request: Request) -> Reply:
    """The body's title."""
    return json_reply({"title": (await request.read_json(CreateCourseBody)).title})


def failing(error: Exception) -> Any:
    """A handler that breaks."""

    async def fail(request: Request) -> Reply:
        raise error

    return fail


ERRORS: dict[str, tuple[Exception, int, str]] = {
    "bug": (ZeroDivisionError("secret inside"), 500, "internal_error"),
    "refused": (DatabaseRefused("constraint of the inside"), 500, "internal_error"),
    "schema": (SchemaMissing("relation x of the inside"), 500, "internal_error"),
    "unavailable": (DatabaseUnavailable(), 503, "database_unavailable"),
    "missing": (NotFound("No such thing.", id="7"), 404, "not_found"),
    "limit": (LimitReached("Wait.", limitType="user", tier="FREE", limit=1, current=1), 429, "limit_reached"),
    "base": (CoursegenError(), 500, "internal_error"),
}


def operation(method: str, path: str, handler: Any, *, public: bool = True, admin: bool = False) -> Operation:
    """A route."""
    answers = {200: Answer("ok")}
    return Operation(method=method, path=path, handler=handler, tag="t", answers=answers, public=public, admin=admin)


def api(*origins: str) -> Api:
    """An application with a few routes."""
    table = RouteTable(
        [
            operation("GET", "/me/{course}/x", whoami, public=False),
            operation("POST", "/me/{course}/x", whoami, public=False),
            operation("GET", "/open", open_to_all),
            operation("POST", "/admin/{course}", whoami, public=False, admin=True),
            operation("POST", "/echo", echo),
            operation("GET", "/gone", failing(ClientGone())),
            *(operation("GET", f"/errors/{name}", failing(error)) for name, (error, _, _) in ERRORS.items()),
        ]
    )
    ring = KeyRing([VerificationKey("HS256", tokens.SECRET.encode())])
    doorman = Authenticator(ring, algorithms=frozenset({"HS256"}))
    return Api(table, doorman, cors=Cors(origins), max_body_bytes=100, access_log=True)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Calls an application that one page may call."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api(PAGE)), base_url="http://test") as made:
        yield made


async def test_the_caller_and_the_parameters_reach_the_handler(client: httpx.AsyncClient) -> None:
    """Token, path, query."""
    answer = await client.get("/me/a-slug/x?b=1&b=2&c=%D0%B6", headers=tokens.bearer())

    assert answer.json() == {"user": str(tokens.USER), "path": {"course": "a-slug"}, "query": {"b": "2", "c": "ж"}}
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_without_a_token_there_is_no_answer(client: httpx.AsyncClient) -> None:
    """401 in the shape of GAP1, with the scheme to use."""
    answer = await client.get("/me/a/x")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "unauthorized"
    assert (await client.get("/open")).status_code == 204


def test_a_route_that_never_failed_shows_that() -> None:
    """From the first: a series that appears with its first failures has no rate, and a short burst would be nowhere."""

    async def asked_by_nobody(request: Request) -> Reply:
        raise AssertionError(request)

    Api(
        RouteTable([operation("GET", "/quiet", asked_by_nobody)]),
        Authenticator(KeyRing([]), algorithms=frozenset()),
        cors=Cors(()),
        max_body_bytes=1,
    )
    shown = [
        REGISTRY.get_sample_value("http_requests_total", {"route": "asked_by_nobody", "status": str(status)})
        for status in FAILURES
    ]

    assert shown == [0 for _ in FAILURES]


def test_no_failure_has_another_status() -> None:
    """Of all errors that there are."""
    assert {status for status in range(500, 600) if codes_of(status)} == set(FAILURES)


@pytest.mark.parametrize("name", ERRORS)
async def test_every_error_has_one_shape_and_tells_nothing_of_the_inside(client: httpx.AsyncClient, name: str) -> None:
    """Foreseen ones speak, unforeseen ones apologise in Russian."""
    _, status, code = ERRORS[name]
    answer = await client.get(f"/errors/{name}")
    error = answer.json()["error"]

    assert (answer.status_code, error["code"]) == (status, code)
    assert set(error) == {"code", "message", "details"}
    assert "inside" not in answer.text
    assert ("Внутренняя ошибка" in error["message"]) == (code == "internal_error" and name != "base")
    assert ("retry-after" in answer.headers) == (status in {429, 503})


async def test_unknown_paths_and_methods_are_errors_like_others(client: httpx.AsyncClient) -> None:
    """404, and 405 with what is allowed."""
    for path in ("/", "/nowhere", "/me//x", "/open/", "/%00", "/me/a/x/y"):
        assert (await client.get(path, headers=tokens.bearer())).json()["error"]["code"] == "not_found"
    answer = await client.put("/me/a/x")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST, HEAD"
    assert answer.json()["error"]["details"] == {"allowed": ["GET", "POST", "HEAD"]}


async def test_head_is_get_without_a_body(client: httpx.AsyncClient) -> None:
    """For whoever only wants the headers."""
    assert (await client.head("/me/a/x", headers=tokens.bearer())).status_code == 200


async def test_a_request_id_is_kept_when_it_is_sane_and_made_when_not(client: httpx.AsyncClient) -> None:
    """In and out; nothing that could break a log line gets in."""
    kept = await client.get("/open", headers={"X-Request-ID": "abc-123_X.y:z"})
    assert kept.headers["x-request-id"] == "abc-123_X.y:z"
    for bad in ("", "x" * 65, "a b", '{"a"}', "é"):
        made = (await client.get("/open", headers={b"X-Request-ID": bad.encode()})).headers["x-request-id"]
        assert made != bad
        assert len(made) == 16


async def test_a_body_over_the_limit_is_refused_however_it_is_sent(client: httpx.AsyncClient) -> None:
    """Declared, or in chunks without a length."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b'{"title":"'

    headers = {"Content-Type": "application/json"}
    declared = await client.post("/echo", content=b" " * 101, headers=headers)
    chunked = await client.post("/echo", content=chunks(), headers=headers)

    assert (declared.status_code, chunked.status_code) == (413, 413)
    assert declared.json()["error"]["details"] == {"limit": 100}
    assert (await client.post("/echo", content=b'{"title":"x"}', headers=headers)).json() == {"title": "x"}


@pytest.mark.parametrize(
    "declared", ["", "text/plain", "application/x-www-form-urlencoded", "application/json2", "multipart/form-data"]
)
async def test_another_content_type_is_refused(client: httpx.AsyncClient, declared: str) -> None:
    """415, and which one to send."""
    answer = await client.post("/echo", content=b'{"title":"x"}', headers={"Content-Type": declared})

    assert answer.status_code == 415
    assert answer.json()["error"]["details"] == {"expected": "application/json"}


async def test_parameters_of_the_content_type_do_not_matter(client: httpx.AsyncClient) -> None:
    """`; charset=utf-8` is common."""
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}

    assert (await client.post("/echo", content=b'{"title":"x"}', headers=headers)).status_code == 200


async def test_a_compressed_body_is_refused(client: httpx.AsyncClient) -> None:
    """So a gzip bomb has nothing to explode in."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    assert (await client.post("/echo", content=b"x", headers=headers)).status_code == 415


@pytest.mark.parametrize("query", ["a=%ff", "a=%00", "&".join(f"a{n}=1" for n in range(60))])
async def test_a_hostile_query_is_refused(client: httpx.AsyncClient, query: str) -> None:
    """400, not 500."""
    assert (await client.get(f"/me/a/x?{query}", headers=tokens.bearer())).status_code == 400


async def test_a_page_that_is_allowed_may_call(client: httpx.AsyncClient) -> None:
    """It is asked first, and told what it may send."""
    asked = await client.options("/echo", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"})
    answer = await client.get("/open", headers={"Origin": PAGE})

    assert asked.status_code == 204
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_that_is_not_allowed_gets_no_leave(client: httpx.AsyncClient) -> None:
    """The browser then keeps the answer from it."""
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    asked = await client.options("/echo", headers=headers)
    answer = await client.get("/open", headers={"Origin": "https://evil.example"})

    assert asked.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(("origins", "status", "allowed"), [((), 405, None), (("*",), 204, "*")])
async def test_cors_is_off_by_default_and_may_be_for_all(
    origins: tuple[str, ...], status: int, allowed: str | None
) -> None:
    """By setting."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api(*origins)), base_url="http://test") as client:
        asked = await client.options("/echo", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"})

        assert asked.status_code == status
        assert asked.headers.get("access-control-allow-origin") == allowed


async def test_what_is_no_request_is_not_answered() -> None:
    """Neither a client that has gone nor another kind of connection."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    scope = {"type": "http", "method": "GET", "path": "/gone", "headers": [], "query_string": b""}
    await api()(scope, receive, send)
    await api()({"type": "websocket"}, receive, send)

    assert sent == []


def test_two_handlers_for_one_route_are_refused() -> None:
    """At start, not by chance at run time."""
    with pytest.raises(ValueError, match="twice"):
        RouteTable([operation("GET", "/x", echo), operation("GET", "/x", whoami)])


async def test_a_public_route_has_no_caller() -> None:
    """Asking for one is a mistake of ours."""
    request = Request({"headers": []}, cast_receive(), "r", 1)
    with pytest.raises(RuntimeError, match="authenticate"):
        _ = request.principal


def cast_receive() -> Any:
    """A receive nobody calls."""
    return None


@pytest.mark.parametrize(
    ("token", "status"),
    [(None, 401), (tokens.mint(), 403), (tokens.mint(role="owner"), 403), (tokens.mint(role="admin"), 200)],
    ids=["nobody", "a user", "another role", "an administrator"],
)
async def test_only_administrators_get_in_where_the_table_says_so(
    client: httpx.AsyncClient, token: str | None, status: int
) -> None:
    """Decided before the handler runs, so that no route can forget it; the refusal holds nothing but the claim."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    answer = await client.post("/admin/secret-name", headers=headers)

    assert answer.status_code == status
    assert status == 200 or "secret-name" not in answer.text
    assert status != 403 or answer.json()["error"]["details"] == {"claim": "app_metadata.role"}
