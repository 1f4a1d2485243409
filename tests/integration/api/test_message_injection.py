"""Injections over everything a client may say of messages: words, kept and found as they are, and nothing else happens (S5)."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest

from services.api.conversations.bodies import is_name
from services.kernel.database import Database
from tests.integration.api.test_bad_input import PATHS, TYPED_VALUES
from tests.support import tokens
from tests.support.api import RunningApi, running_api
from tests.support.conversations import message
from tests.support.courses import add_course, totals
from tests.support.forgeries import claims

_ENDS = (
    "'", "''", '"', "')", "'))", "\\'", "$$", "$1", "%27", "\u02bc", "0", "{", "]", "1", "')))", '")', "`", "\\", "E'", "$a$",
    "\uff07", "%2527", "*/", "NULL", "'::text",
)  # fmt: skip
"""How what is sent may get out of the word that it is."""
_SLEEP = "pg_sleep(20)"
_DEEDS = (
    " OR 1=1 --",
    f"; SELECT {_SLEEP} --",
    "; DROP TABLE messages; --",
    "; SELECT nextval('injected'); --",
    " UNION SELECT content FROM messages --",
    "||nextval('injected')||",
    f"||{_SLEEP}||'",
    "; COPY messages TO PROGRAM 'id'; --",
    "::regclass",
    ") ON CONFLICT DO UPDATE SET content='x' --",
    '"}, {"id": "x',
    f" OR 1=(SELECT 1 FROM {_SLEEP}) --",
    f"); SELECT {_SLEEP}; --",
    "; SELECT setval('injected', 7); --",
    " AND nextval('injected') > 0 --",
    ", nextval('injected')) --",
    f" UNION ALL SELECT {_SLEEP}::text --",
    "; DELETE FROM courses; --",
    "; SET row_security = off; --",
    "; DO $x$ BEGIN PERFORM nextval('injected'); END $x$; --",
    " RETURNING nextval('injected') --",
    f"; DO $x$ BEGIN PERFORM {_SLEEP}; END $x$; --",
)
IS_PROOF = bool(os.environ.get("PROVE_MESSAGES", "").strip())
_PAIRS = list(itertools.product(_ENDS, _DEEDS)) if IS_PROOF else [*zip(_ENDS, itertools.cycle(_DEEDS), strict=False)]
INJECTIONS = [end + deed for end, deed in _PAIRS] + [
    each for each in TYPED_VALUES if isinstance(each, str) and each and len(each) <= 200 and is_name(each)
]
LONGEST = timedelta(seconds=20)
"""An answer that takes so long has slept."""
LEAST_PAYLOADS = 500 if IS_PROOF else 40
FIELDS = ("conversationId", "senderId", "clientMessageId", "content", "recipientIds")
_AT_ONCE = {"messages_require_token": False, "messages_durability": "postgres"}
"""Every id is the client's to choose, and gets into statements as soon as it is sent."""


async def all_of(
    requests: Sequence[tuple[str, str, object]], client: httpx.AsyncClient, headers: Sequence[Mapping[str, str]] = ()
) -> list[httpx.Response]:
    """The answers to method, path and body, some at a time, none of which has slept.

    Args:
        requests: what to send.
        client: sends it.
        headers: of each request, when each has its own.
    """
    answers: list[httpx.Response] = []
    whole = list(itertools.zip_longest(requests, headers))
    for start in range(0, len(whole), 40):
        answers += await asyncio.gather(
            *(client.request(how, path, json=body, headers=own) for (how, path, body), own in whole[start : start + 40])
        )
    assert [f"{each.request.method} {each.request.url}" for each in answers if each.elapsed >= LONGEST] == []
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

    assert len(set(INJECTIONS)) >= LEAST_PAYLOADS
    assert sum(_SLEEP in each for each in INJECTIONS) > LEAST_PAYLOADS / 10
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


CLAIMS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "sub": lambda value: {"sub": value},
    "tier": lambda value: {"user_metadata": {"tier": value}},
    "organization_id": lambda value: {"app_metadata": {"organization_id": value}},
}
"""What a token says that gets into statements: whose it is, how much he may, and where he belongs."""
SHOWN = {"sub": (401, 401, 401, 401), "tier": (200, 202, 200, 201), "organization_id": (200, 202, 200, 400)}
"""The statuses of courses, a message, its receipts and a new course. An unknown tier is FREE; who belongs nowhere makes none."""


@pytest.mark.parametrize("claim", CLAIMS)
async def test_what_is_injected_into_a_claim_is_no_claim(
    trap: None, app_database_url: str, redis_url: str, db: Database, claim: str
) -> None:
    """Signed by whoever may sign, as an issuer's own database may be injected into."""
    injected = list(dict.fromkeys(INJECTIONS))
    headers = [
        {"Authorization": f"Bearer {jwt.encode(claims(**CLAIMS[claim](value)), tokens.SECRET, algorithm='HS256')}"}
        for value in injected
    ]
    async with (
        running_api(app_database_url, redis_url, messages_durability="postgres") as api,
        httpx.AsyncClient(base_url=api.url, timeout=60) as client,
    ):
        own = message(senderId=str(tokens.USER))
        identifier = (await api.client.post("/api/messages", json=own)).json()["messageId"]
        asked = (
            ("GET", "/api/courses", None),
            ("POST", "/api/messages", own),
            ("GET", f"/api/messages/{identifier}/receipts", None),
            ("POST", "/api/courses", {"title": "Bees"}),
        )
        statuses = [
            {answer.status_code for answer in await all_of([one] * len(injected), client, headers)} for one in asked
        ]

    assert statuses == [{each} for each in SHOWN[claim]]
    assert await db.fetchval("SELECT count(*) FROM messages") == 1
    assert await db.fetchval("SELECT count(*) FROM courses") == (len(injected) if claim == "tier" else 0)
