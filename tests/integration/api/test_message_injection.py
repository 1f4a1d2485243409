"""Injections over everything a client may say of messages: words, kept and found as they are, and nothing else happens (S5)."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

import httpx
import pytest

from services.api.conversations.bodies import is_name
from services.kernel.database import Database
from tests.integration.api.test_bad_input import PATHS, TYPED_VALUES
from tests.support.api import RunningApi, running_api
from tests.support.conversations import message
from tests.support.courses import add_course, totals

_ENDS = ("'", "''", '"', "')", "'))", "\\'", "$$", "$1", "%27", "\u02bc", "0", "{", "]")
_DEEDS = (
    " OR 1=1 --",
    "; DROP TABLE messages; --",
    "; SELECT nextval('injected'); --",
    " UNION SELECT content FROM messages --",
    "||nextval('injected')||",
    "; COPY messages TO PROGRAM 'id'; --",
    "::regclass",
    ") ON CONFLICT DO UPDATE SET content='x' --",
    '"}, {"id": "x',
)
_PAIRS = (
    list(itertools.product(_ENDS, _DEEDS))
    if os.environ.get("PROVE_MESSAGES", "").strip()
    else [*zip(_ENDS, itertools.cycle(_DEEDS), strict=False)]
)
INJECTIONS = [end + deed for end, deed in _PAIRS] + [
    each for each in TYPED_VALUES if isinstance(each, str) and each and len(each) <= 200 and is_name(each)
]
FIELDS = ("conversationId", "senderId", "clientMessageId", "content", "recipientIds")
_AT_ONCE = {"messages_require_token": False, "messages_durability": "postgres"}
"""Every id is the client's to choose, and gets into statements as soon as it is sent."""


async def all_of(requests: Sequence[tuple[str, str, object]], client: httpx.AsyncClient) -> list[httpx.Response]:
    """The answers to method, path and body, some at a time."""
    answers: list[httpx.Response] = []
    for start in range(0, len(requests), 40):
        answers += await asyncio.gather(
            *(client.request(how, path, json=body) for how, path, body in requests[start : start + 40])
        )
    return answers


@pytest.fixture
async def trap(db: Database) -> AsyncIterator[None]:
    """What an injected statement would reach for: whoever may reach it has left a trace."""
    await db.execute("CREATE SEQUENCE injected")
    await db.execute("GRANT ALL ON SEQUENCE injected TO PUBLIC")
    yield
    assert await db.fetchval("SELECT is_called FROM injected") is False


@pytest.fixture
async def api(trap: None, app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """One that asks for no token, and writes messages at once."""
    async with running_api(app_database_url, redis_url, **_AT_ONCE) as running:
        yield running


@pytest.fixture
async def client(api: RunningApi) -> AsyncIterator[httpx.AsyncClient]:
    """Without a token."""
    async with httpx.AsyncClient(base_url=api.url, timeout=60) as opened:
        yield opened


@pytest.mark.parametrize("durability", ["postgres", "redis"])
async def test_what_is_injected_into_a_field_is_a_word(
    trap: None, app_database_url: str, redis_url: str, db: Database, durability: str
) -> None:
    """Each message is accepted, and shown exactly as it was sent, with its row and while it waits for one."""
    await add_course(db)
    before = await totals(db)
    bodies = [
        message(**{"clientMessageId": f"{field}-{number}", field: [value] if field == "recipientIds" else value})
        for field in FIELDS
        for number, value in enumerate(INJECTIONS)
    ]
    options = _AT_ONCE | {"messages_durability": durability}
    async with (
        running_api(app_database_url, redis_url, **options) as api,
        httpx.AsyncClient(base_url=api.url, timeout=60) as client,
    ):
        accepted = await all_of([("POST", "/api/messages", body) for body in bodies], client)
        assert {answer.status_code for answer in accepted} == {202}
        ids = [answer.json()["messageId"] for answer in accepted]
        shown = await all_of([("GET", f"/api/messages/{each}", None) for each in ids], client)

    assert len(bodies) > 150
    assert len(set(ids)) == len(bodies)
    for body, answer in zip(bodies, shown, strict=True):
        document = answer.json()
        assert {name: document[name] for name in body} == body
    assert await totals(db) == before


async def test_what_is_injected_into_a_path_names_nothing(client: httpx.AsyncClient) -> None:
    """A message, its receipts, a conversation: a 4xx in the shape of every error, by every method that there is."""
    await client.post("/api/messages", json=message())
    odd = [*(quote(each, safe="") for each in INJECTIONS), *PATHS]
    receipt = {"userId": "bob", "state": "read"}
    answers = await all_of(
        [
            request
            for each in odd
            for request in (
                ("GET", f"/api/messages/{each}", None),
                ("GET", f"/api/messages/{each}/receipts", None),
                ("POST", f"/api/messages/{each}/receipts", receipt),
                ("GET", f"/api/conversations/{each}/messages", None),
            )
        ],
        client,
    )

    found = {f"{each.request.method} {each.request.url}": each.status_code for each in answers}
    assert {what: status for what, status in found.items() if status not in range(400, 500)} == {}
    assert all(each.json()["error"]["message"] for each in answers)


async def test_a_cursor_that_is_not_ours_is_refused(client: httpx.AsyncClient) -> None:
    """Of a conversation and of receipts, and a limit that is none; 400 in the shape of every error."""
    identifier = (await client.post("/api/messages", json=message())).json()["messageId"]
    answers = await all_of(
        [
            ("GET", f"{path}?{name}={quote(each, safe='')}", None)
            for each in INJECTIONS
            for path in ("/api/conversations/course-1/messages", f"/api/messages/{identifier}/receipts")
            for name in ("cursor", "limit")
        ],
        client,
    )

    assert {each.status_code for each in answers} == {400}
    assert all(each.json()["error"]["message"] for each in answers)


async def test_a_receipt_in_an_odd_name_is_that_names(client: httpx.AsyncClient, db: Database) -> None:
    """Noted under it, and under no other."""
    identifier = (await client.post("/api/messages", json=message())).json()["messageId"]
    odd = list(dict.fromkeys(INJECTIONS))
    url = f"/api/messages/{identifier}/receipts"
    answers = await all_of([("POST", url, {"userId": each, "state": "delivered"}) for each in odd], client)

    assert {each.status_code for each in answers} == {201}
    rows = await db.fetch("SELECT userid FROM message_receipts WHERE messageid = $1", identifier)
    assert {row["userid"] for row in rows} == set(odd)
