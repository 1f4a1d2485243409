"""Who may send and see messages, and what is no message at all: refused, and nothing written anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import orjson
import pytest

from services.kernel.database import Database
from tests.integration.api.test_bad_input import RAW_VALUES, TYPED_VALUES
from tests.support.api import RunningApi, running_api
from tests.support.conversations import message, send
from tests.support.tokens import USER, bearer
from tests.unit.services.api.test_strict_json import HOSTILE

if TYPE_CHECKING:
    from redis.asyncio import Redis

_BOB = UUID("00000000-0000-0000-0000-0000000000b0")
_EVE = UUID("00000000-0000-0000-0000-0000000000e7")
_MINE: dict[str, Any] = {"senderId": str(USER), "recipientIds": [str(_BOB)]}
_STREAMED, _AT_ONCE = {"messages_durability": "redis"}, {"messages_durability": "postgres"}


@pytest.fixture
async def open_api(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """An api that takes messages from anybody, and a client without a token."""
    async with running_api(app_database_url, redis_url, messages_require_token=False) as running:
        del running.client.headers["authorization"]
        yield running


@pytest.fixture(params=[_STREAMED, _AT_ONCE], ids=["pending", "persisted"])
async def closed_api(
    request: pytest.FixtureRequest, app_database_url: str, redis_url: str
) -> AsyncIterator[RunningApi]:
    """An api that wants a token for messages, as the chart's does; its client is `tokens.USER`."""
    async with running_api(app_database_url, redis_url, **request.param) as running:
        yield running


async def test_a_token_is_needed_and_speaks_for_its_user_alone(
    closed_api: RunningApi, redis: Redis, db: Database
) -> None:
    """401 without one, 403 in another's name, and nothing is written."""
    client = closed_api.client
    nobody = await client.post("/api/messages", json=message(**_MINE), headers={"Authorization": ""})
    other = await client.post("/api/messages", json=message(senderId=str(_BOB)))

    assert (nobody.status_code, other.status_code) == (401, 403)
    assert other.json()["error"]["details"] == {"field": "senderId"}
    assert await nothing_written(redis, db)
    assert not (await send(client, **_MINE))["idempotentHit"]


async def test_only_who_takes_part_sees_a_message(closed_api: RunningApi) -> None:
    """Sender and recipient do; for anybody else it is not there, whether or not it is persisted."""
    client = closed_api.client
    identifier = (await send(client, **_MINE))["messageId"]
    for url in (f"/api/messages/{identifier}", f"/api/messages/{identifier}/receipts"):
        statuses = [(await client.get(url, headers=bearer(user))).status_code for user in (USER, _BOB, _EVE)]
        assert statuses == [200, 200, 404]
        assert (await client.get(url, headers={"Authorization": ""})).status_code == 401


async def test_a_recipient_in_capitals_is_the_same_user(closed_api: RunningApi) -> None:
    """A UUID is one however it is written: he sees the message, it is no other message for that, and he is named once."""
    client = closed_api.client
    first = await send(client, **_MINE | {"recipientIds": [str(_BOB).upper(), "Bob"]})
    again = await send(client, **_MINE | {"recipientIds": [str(_BOB), "Bob"]})
    seen = await client.get(f"/api/messages/{first['messageId']}", headers=bearer(_BOB))
    twice = await client.post("/api/messages", json=message(**_MINE | {"recipientIds": [str(_BOB), str(_BOB).upper()]}))

    assert (again["idempotentHit"], again.get("contentMismatch")) == (True, None)
    assert (seen.status_code, seen.json()["recipientIds"]) == (200, [str(_BOB), "Bob"])
    assert (twice.status_code, "twice" in twice.text) == (400, True)


async def test_receipts_are_in_ones_own_name(closed_api: RunningApi) -> None:
    """403 in another's, 404 for who has no part in the message."""
    client = closed_api.client
    url = f"/api/messages/{(await send(client, **_MINE))['messageId']}/receipts"

    async def receipt(caller: UUID, user: UUID) -> int:
        body = {"userId": str(user), "state": "read"}
        return (await client.post(url, json=body, headers=bearer(caller))).status_code

    assert [await receipt(_BOB, _BOB), await receipt(_BOB, USER), await receipt(_EVE, _EVE)] == [201, 403, 404]


_CONVERSATION = "/api/conversations/course-1/messages"


async def test_everybody_sees_what_he_sent_and_was_sent_of_a_conversation(
    app_database_url: str, redis_url: str
) -> None:
    """Whoever knows its name can send something to it, and sees what others said no more than before."""
    async with running_api(app_database_url, redis_url, **_AT_ONCE) as api:
        await send(api.client, **_MINE, content="to Bob")
        await send(api.client, **_MINE | {"clientMessageId": "m-2", "recipientIds": []}, content="to nobody")
        before = await api.client.get(_CONVERSATION, headers=bearer(_EVE))
        intruding = message(senderId=str(_EVE), recipientIds=[str(USER)], content="let me in")
        assert (await api.client.post("/api/messages", json=intruding, headers=bearer(_EVE))).status_code == 202
        answers = [await api.client.get(_CONVERSATION, headers=bearer(user)) for user in (USER, _BOB, _EVE)]

    assert before.status_code == 404
    assert [[each["content"] for each in answer.json()["messages"]] for answer in answers] == [
        ["to Bob", "to nobody", "let me in"],
        ["to Bob"],
        ["let me in"],
    ]


async def test_pages_are_of_what_is_ones_own(app_database_url: str, redis_url: str) -> None:
    """As many as asked for, whatever lies between, and no cursor to a page with nothing on it."""
    async with running_api(app_database_url, redis_url, **_AT_ONCE) as api:
        for number in range(9):
            recipients = [str(_BOB)] if number % 2 else []
            await send(api.client, **_MINE | {"clientMessageId": f"m-{number}", "recipientIds": recipients})
        first = (await api.client.get(_CONVERSATION, params={"limit": 2}, headers=bearer(_BOB))).json()
        query = {"limit": 2, "cursor": first["nextCursor"]}
        second = (await api.client.get(_CONVERSATION, params=query, headers=bearer(_BOB))).json()

    assert [[each["clientMessageId"] for each in page["messages"]] for page in (first, second)] == [
        ["m-1", "m-3"],
        ["m-5", "m-7"],
    ]
    assert second["nextCursor"] is None


async def test_where_a_token_may_be_missing_one_that_is_sent_is_checked(open_api: RunningApi) -> None:
    """A bad one is 401, a good one binds its user; without one anybody may speak for anybody."""
    post, own = open_api.client.post, message(**_MINE)
    assert (await post("/api/messages", json=own, headers={"Authorization": "Bearer x.y.z"})).status_code == 401
    assert (await post("/api/messages", json=message(), headers=bearer())).status_code == 403
    accepted = await post("/api/messages", json=own, headers=bearer())
    assert accepted.status_code == 202
    assert (await post("/api/messages", json=message())).status_code == 202
    url = f"/api/messages/{accepted.json()['messageId']}"
    assert [(await open_api.client.get(url, headers=each)).status_code for each in ({}, bearer(_EVE))] == [200, 404]


async def test_the_description_says_whether_a_token_is_needed(
    open_api: RunningApi, app_database_url: str, redis_url: str
) -> None:
    """The description of the api that answers it."""
    optional = (await open_api.client.get("/openapi.json")).json()["paths"]["/api/messages"]["post"]["security"]
    async with running_api(app_database_url, redis_url) as api:
        required = (await api.client.get("/openapi.json")).json()["paths"]["/api/messages"]["post"]["security"]

    assert {} in optional
    assert optional[1:] == required
    assert {"token": []} in required


async def nothing_written(redis: Redis, db: Database) -> bool:
    """Neither in Redis nor in any of the tables."""
    rows = await db.fetchval(
        "SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM message_payloads)"
        " + (SELECT count(*) FROM message_receipts)"
    )
    return bool(rows == 0 and await redis.keys("msg:*") == [])


_NAMES = ("conversationId", "senderId", "clientMessageId")
_BAD_NAMES: list[Any] = [
    "",
    "x" * 201,
    "a\n",
    "\n",
    "a\tb",
    "a\x7f",
    "a\x85b",
    "a\u2028b",
    None,
    7,
    ["a"],
    {"a": "b"},
    True,
]
_BAD_FIELDS: dict[str, list[Any]] = {
    **dict.fromkeys(_NAMES, _BAD_NAMES),
    "content": ["", None, 7, ["a"], {}, True],
    "contentType": ["", " ", "Text", "text\n", "text plain", "x" * 65, None, 7, "текст", "-text"],
    "recipientIds": [
        "bob",
        None,
        7,
        {},
        ["a", "a"],
        [str(n) for n in range(101)],
        [""],
        ["a\n"],
        [None],
        [["a"]],
        ["x" * 201],
    ],
}


def bodies() -> Iterator[tuple[str, bytes]]:
    """What is wrong, and the body."""
    for field, values in _BAD_FIELDS.items():
        if field not in {"contentType", "recipientIds"}:
            yield f"no {field}", orjson.dumps(message(**{field: ...}))
        for value in values:
            yield f"{field}={value!r:.30}", orjson.dumps(message(**{field: value}))
        for raw in RAW_VALUES:
            yield f"{field}={raw[:20]!r}", orjson.dumps(message(**{field: "@@"})).replace(b'"@@"', raw)
        for typed in TYPED_VALUES:
            if not isinstance(typed, str) and not (field == "recipientIds" and typed in ([], ["x"])):
                yield f"{field}={typed!r:.20}", orjson.dumps(message(**{field: typed}))
    yield from HOSTILE.items()


async def test_what_is_no_message_is_refused(open_api: RunningApi, redis: Redis, db: Database) -> None:
    """Every field with values of every wrong kind: 400 in the shape of every error, and nothing is written."""
    wrong = []
    for name, body in bodies():
        headers = {"Content-Type": "application/json"}
        answer = await open_api.client.post("/api/messages", content=body, headers=headers)
        if answer.status_code != 400 or not answer.json()["error"]["message"]:
            wrong.append((name, answer.status_code, answer.text[:200]))

    assert wrong == []
    assert await nothing_written(redis, db)


async def test_a_refusal_says_what_to_change(open_api: RunningApi) -> None:
    """In words, not as a regular expression, with the field's name."""
    for field, value, words in (
        ("senderId", "a\nb", "control characters"),
        ("recipientIds", ["a\nb"], "control characters"),
        ("contentType", "Text", "small letters"),
        ("recipientIds", ["a", "a"], "twice"),
    ):
        error = (await open_api.client.post("/api/messages", json=message(**{field: value}))).json()["error"]
        assert words in error["message"], error
        assert "regex" not in error["message"]


async def test_odd_text_is_still_text(open_api: RunningApi, redis: Redis) -> None:
    """What is allowed comes back as it was, whatever alphabet."""
    contents = [each for each in TYPED_VALUES if isinstance(each, str) and each] + [
        "a\r\n\tb",
        "\x01\x7f",
        "\u2028",
        "\U0010ffff",
    ]
    for number, content in enumerate(contents):
        reply = await send(open_api.client, content=content, clientMessageId=f"ж{number}", senderId="' OR 1=1 --")
        shown = await open_api.client.get(f"/api/messages/{reply['messageId']}")
        assert shown.json()["content"] == content

    assert await redis.exists("msg:dlq") == 0


_BAD_RECEIPTS: list[dict[str, Any]] = [
    {},
    {"userId": "bob"},
    {"state": "read"},
    {"userId": "bob", "state": "seen"},
    *({"userId": name, "state": "read"} for name in _BAD_NAMES),
]


@pytest.mark.parametrize("body", _BAD_RECEIPTS, ids=lambda body: repr(body)[:40])
async def test_what_is_no_receipt_is_refused(open_api: RunningApi, db: Database, body: dict[str, Any]) -> None:
    """400, and nothing is written."""
    identifier = (await send(open_api.client))["messageId"]
    answer = await open_api.client.post(f"/api/messages/{identifier}/receipts", json=body)

    assert answer.status_code == 400
    assert await db.fetchval("SELECT count(*) FROM message_receipts") == 0


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "cursor=%00", "cursor=!", "cursor=AA", "cursor=" + "A" * 2000]
)
async def test_pages_want_a_number_and_a_cursor_of_ours(open_api: RunningApi, query: str) -> None:
    """For conversations and receipts."""
    identifier = (await send(open_api.client))["messageId"]
    urls = (f"/api/conversations/course-1/messages?{query}", f"/api/messages/{identifier}/receipts?{query}")
    statuses = [(await open_api.client.get(url)).status_code for url in urls]

    assert statuses == [400, 400]


@pytest.mark.parametrize("name", ["%00", "a%0ab", "%ff", "x" * 201])
async def test_a_conversation_nobody_can_have_is_not_found(open_api: RunningApi, name: str) -> None:
    """Nothing of it reaches the database."""
    assert (await open_api.client.get(f"/api/conversations/{name}/messages")).status_code == 404


async def test_a_body_too_large_is_refused_unread(open_api: RunningApi, redis: Redis, db: Database) -> None:
    """413, and a content of almost a megabyte is accepted."""
    large = await open_api.client.post("/api/messages", json=message(content="x" * 1_100_000))
    answers = await asyncio.gather(
        *(open_api.client.post("/api/messages", json=message(content="x" * 1_100_000)) for _ in range(5)),
        return_exceptions=True,
    )

    assert large.status_code == 413
    assert {each.status_code for each in answers if isinstance(each, httpx.Response)} == {413}
    assert await nothing_written(redis, db)
    assert not (await send(open_api.client, content="x" * 1_000_000))["idempotentHit"]
