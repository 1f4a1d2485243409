"""A browser gets in by a ticket of one minute and one use, and is then who the ticket's maker was, until he says otherwise."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import jwt
import pytest

from services.kernel.database import Database
from tests.support import tokens
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course
from tests.support.stack import Stack
from tests.support.tokens import ADMIN, USER, admin_bearer, bearer

TICKETS, SESSIONS, COURSES = "/api/tickets", "/api/sessions", "/api/courses"
STRANGER = UUID(int=0xBAD)


@asynccontextmanager
async def browser(api: RunningApi) -> AsyncIterator[httpx.AsyncClient]:
    """A client that sends no token, keeps cookies, and says where it comes from."""
    async with httpx.AsyncClient(base_url=api.url, headers={"Origin": api.url}, timeout=30) as client:
        yield client


async def ticket(api: RunningApi, **options: Any) -> dict[str, Any]:
    """A new ticket."""
    answer = await api.client.post(TICKETS, **options)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def signed_in(api: RunningApi, client: httpx.AsyncClient, **options: Any) -> httpx.Response:
    """The answer that has set the cookie."""
    answer = await client.post(SESSIONS, json={"ticket": (await ticket(api, **options))["ticket"]})
    assert answer.status_code == 201, answer.text
    return answer


async def test_a_ticket_lets_one_browser_in_as_its_maker(api: RunningApi, db: Database) -> None:
    """User, organisation, tier and role are the token's; courses are his; another's stay closed."""
    mine, foreign = await add_course(db), await add_course(db, user=STRANGER)
    async with browser(api) as client:
        answer = await signed_in(api, client)
        who = await client.get(SESSIONS)

        assert answer.json() == who.json()
        assert who.json()["userId"] == str(USER)
        assert who.json()["organizationId"] == str(tokens.ORGANIZATION)
        assert (who.json()["tier"], who.json()["isAdmin"]) == ("STANDARD", False)
        assert (await client.get(f"{COURSES}/{mine}")).status_code == 200
        assert (await client.get(f"{COURSES}/{foreign}")).status_code == 403
        assert (await client.delete(f"{COURSES}/{mine}")).status_code == 204


async def test_the_address_keeps_the_ticket_out_of_every_log(api: RunningApi) -> None:
    """It is in the fragment, which a browser never sends."""
    made = await ticket(api)
    parts = urlsplit(made["url"])

    assert f"{parts.scheme}://{parts.netloc}" == api.url
    assert (parts.path, parts.query, parts.fragment) == ("/admin", "", f"ticket={made['ticket']}")
    assert len(made["ticket"]) == 43


async def test_a_ticket_is_good_for_a_minute(api: RunningApi, db: Database) -> None:
    """Not a second longer."""
    made = await ticket(api)
    left = datetime.fromisoformat(made["expiresAt"]) - datetime.now(UTC)
    await db.execute("UPDATE browser_tickets SET expires_at = now()")
    answer = await api.client.post(SESSIONS, json={"ticket": made["ticket"]})

    assert timedelta(seconds=50) < left <= timedelta(seconds=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "ticket_refused")
    assert "POST /api/tickets" in answer.json()["error"]["message"]
    assert "set-cookie" not in answer.headers


async def test_a_ticket_is_good_once_however_many_try(api: RunningApi, db: Database) -> None:
    """Twenty at once: one gets in."""
    made = await ticket(api)
    answers = await asyncio.gather(*(api.client.post(SESSIONS, json={"ticket": made["ticket"]}) for _ in range(20)))
    later = await api.client.post(SESSIONS, json={"ticket": made["ticket"]})

    assert sorted(each.status_code for each in [*answers, later]) == [201] + [401] * 20
    assert await db.fetchval("SELECT count(*) FROM browser_sessions") == 1


@pytest.mark.parametrize("wrong", ["x", "A" * 43, "é" * 43, "A" * 42 + "!", "' OR true --" + "A" * 31])
async def test_a_made_up_ticket_is_refused(api: RunningApi, wrong: str) -> None:
    """Like one that is used up: a guesser learns nothing."""
    answer = await api.client.post(SESSIONS, json={"ticket": wrong})

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "ticket_refused")


async def test_nothing_that_lets_in_is_kept(api: RunningApi, db: Database) -> None:
    """The tables hold hashes; whoever reads them, or a backup, gets in nowhere."""
    made = await ticket(api)
    cookie = (await api.client.post(SESSIONS, json={"ticket": made["ticket"]})).cookies
    (session,) = cookie.values()
    rows = str(await db.fetch("SELECT t::text, s::text FROM browser_tickets AS t, browser_sessions AS s"))
    hashes = await db.fetchrow("SELECT ticket_hash, session_hash FROM browser_tickets, browser_sessions")

    assert made["ticket"] not in rows
    assert session not in rows
    assert hashes["ticket_hash"] == hashlib.sha256(made["ticket"].encode()).digest()
    assert hashes["session_hash"] == hashlib.sha256(session.encode()).digest()


async def test_no_log_line_shows_a_ticket_or_a_session(stack: Stack) -> None:
    """Not even when every request is logged; who came and went is."""
    process = await stack.start("api", env={"ACCESS_LOG": "true", "LOG_LEVEL": "debug"})
    async with httpx.AsyncClient(base_url=process.url, headers={"Origin": process.url}, timeout=30) as client:
        made = (await client.post(TICKETS, headers=bearer())).json()
        await client.post(SESSIONS, json={"ticket": made["ticket"]})
        (session,) = client.cookies.jar
        await client.post(SESSIONS, json={"ticket": made["ticket"]})
        await client.delete(SESSIONS)
    await process.stopped()
    text = process.log.read_text()

    assert session.value
    assert made["ticket"] not in text
    assert session.value not in text
    for words in ("ticket issued", "browser signed in", '"reason":"used"', "browser signed out"):
        assert words in text


async def test_the_cookie_can_neither_be_read_nor_sent_by_others(app_database_url: str, redis_url: str) -> None:
    """On https it is Secure and bound to the host, wherever the proxy sends the request."""
    async with running_api(app_database_url, redis_url, public_url="https://courses.example") as api:
        made = await ticket(api)
        answer = await api.client.post(
            SESSIONS, json={"ticket": made["ticket"]}, headers={"Origin": "https://courses.example"}
        )

    assert made["url"].startswith("https://courses.example/admin#ticket=")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-coursegen_session=")
    assert {"Path=/", "HttpOnly", "SameSite=Strict", "Secure"} <= set(cookie.split("; "))


async def test_a_session_never_outlives_the_token(api: RunningApi, db: Database) -> None:
    """Neither does a ticket; and a session has an end of its own."""
    soon = int(time.time()) + 40
    claims = {"sub": str(USER), "exp": soon, "app_metadata": {"role": "admin"}}
    short = {"Authorization": f"Bearer {jwt.encode(claims, tokens.SECRET, algorithm='HS256')}"}
    async with browser(api) as client:
        made = await ticket(api, headers=short)
        answer = await client.post(SESSIONS, json={"ticket": made["ticket"]})

        assert datetime.fromisoformat(made["expiresAt"]) == datetime.fromtimestamp(soon, UTC)
        assert datetime.fromisoformat(answer.json()["expiresAt"]) == datetime.fromtimestamp(soon, UTC)
        age = next(part for part in answer.headers["set-cookie"].split("; ") if part.startswith("Max-Age="))
        assert 20 <= int(age.removeprefix("Max-Age=")) <= 40
        await db.execute("UPDATE browser_sessions SET expires_at = now()")
        over = await client.get(SESSIONS)
        assert (over.status_code, over.json()["error"]["code"]) == (401, "session_over")


async def test_a_session_has_a_longest_time(app_database_url: str, redis_url: str) -> None:
    """By setting."""
    async with running_api(app_database_url, redis_url, session_seconds=120.0) as api, browser(api) as client:
        ends = datetime.fromisoformat((await signed_in(api, client)).json()["expiresAt"])

    assert timedelta(seconds=100) < ends - datetime.now(UTC) <= timedelta(seconds=120)


async def test_signing_out_ends_the_session_everywhere_at_once(
    api: RunningApi, app_database_url: str, redis_url: str
) -> None:
    """A copy of the cookie is worth nothing then, in another process either; doing it twice is no mistake."""
    async with browser(api) as client, running_api(app_database_url, redis_url) as other:
        await signed_in(api, client)
        (cookie,) = client.cookies.jar
        name = f"coursegen_session_{other.port}"
        copy = httpx.AsyncClient(base_url=other.url, cookies={name: cookie.value or ""})
        async with copy:
            before = await copy.get(SESSIONS)
            gone = await client.delete(SESSIONS)
            after = await copy.get(SESSIONS)
        again = await client.delete(SESSIONS)
        alone = await client.get(SESSIONS)

    assert (before.status_code, gone.status_code, after.status_code) == (200, 204, 401)
    assert "Max-Age=0" in gone.headers["set-cookie"]
    assert again.status_code == 204
    assert (alone.status_code, alone.json()["error"]["code"]) == (401, "unauthorized")  # the browser has no cookie now


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {},
    ],
)
async def test_another_site_can_do_nothing_with_the_cookie(
    api: RunningApi, db: Database, headers: dict[str, str]
) -> None:
    """Should a browser send it along all the same: 403, and nothing has changed."""
    course = await add_course(db)
    async with browser(api) as client:
        await signed_in(api, client)
        client.headers.pop("Origin")
        deleted = await client.delete(f"{COURSES}/{course}", headers=headers)
        made = await client.post(COURSES, json={"title": "X"}, headers=headers)
        out = await client.delete(SESSIONS, headers=headers)
        still = await client.get(SESSIONS)

    assert [each.status_code for each in (deleted, made, out, still)] == [403, 403, 403, 200]
    assert {each.json()["error"]["code"] for each in (deleted, made, out)} == {"cross_site_request"}
    assert await db.fetchval("SELECT count(*) FROM courses") == 1


async def test_another_site_cannot_sign_a_browser_in(api: RunningApi, db: Database) -> None:
    """Else its owner could make you work in his name; the ticket stays good."""
    made = await ticket(api)
    foreign = await api.client.post(
        SESSIONS, json={"ticket": made["ticket"]}, headers={"Origin": "https://evil.example"}
    )
    own = await api.client.post(SESSIONS, json={"ticket": made["ticket"]})

    assert (foreign.status_code, own.status_code) == (403, 201)
    assert await db.fetchval("SELECT count(*) FROM browser_sessions") == 1


async def test_who_sends_a_token_is_judged_by_it_alone(api: RunningApi) -> None:
    """A bad token is not made good by a cookie, and needs no `Origin`."""
    async with browser(api) as client:
        await signed_in(api, client, headers=admin_bearer())
        client.headers.pop("Origin")
        bad = await client.get(SESSIONS, headers={"Authorization": "Bearer x.y.z"})
        own = await client.get(SESSIONS, headers=bearer())
        made = await client.post(COURSES, json={"title": "X"}, headers=bearer())

    assert bad.status_code == 401
    assert own.json()["userId"] == str(USER)
    assert made.status_code == 201


async def test_a_browser_cannot_let_in_another_one(api: RunningApi) -> None:
    """What a page may ask for, a script on it could carry away: only a token's holder gets tickets."""
    async with browser(api) as client:
        await signed_in(api, client, headers=admin_bearer())
        answer = await client.post(TICKETS)
    nobody = await api.client.post(TICKETS, headers={"Authorization": ""})

    assert (answer.status_code, nobody.status_code) == (403, 401)


async def test_the_role_comes_from_the_token(api: RunningApi) -> None:
    """An administrator's browser may do what he may; anybody else's may not (GAP15)."""
    async with browser(api) as client:
        await signed_in(api, client, headers=admin_bearer())
        admin = await client.get("/api/admin/leader")
        who = await client.get(SESSIONS)
        await signed_in(api, client)
        other = await client.get("/api/admin/leader")

    assert (who.json()["userId"], who.json()["isAdmin"]) == (str(ADMIN), True)
    assert (admin.status_code, other.status_code) == (200, 403)


async def test_a_user_has_ten_tickets_and_twenty_sessions(api: RunningApi, db: Database) -> None:
    """The oldest go, so that nobody fills the tables; other users do not feel it."""
    others = await ticket(api, headers=bearer(STRANGER))
    first = await ticket(api)
    latest = [await ticket(api) for _ in range(10)]

    assert (await api.client.post(SESSIONS, json={"ticket": first["ticket"]})).status_code == 401
    assert (await api.client.post(SESSIONS, json={"ticket": others["ticket"]})).status_code == 201
    for _ in range(2):
        for each in latest:
            assert (await api.client.post(SESSIONS, json={"ticket": each["ticket"]})).status_code == 201
        latest = [await ticket(api) for _ in range(10)]
    await api.client.post(SESSIONS, json={"ticket": latest[0]["ticket"]})

    assert await db.fetchval("SELECT count(*) FROM browser_sessions WHERE user_id = $1", USER) == 20


async def test_what_is_over_is_swept_by_whoever_comes_next(api: RunningApi, db: Database) -> None:
    """Used and expired tickets after an hour, sessions at their end."""
    await api.client.post(SESSIONS, json={"ticket": (await ticket(api))["ticket"]})
    await ticket(api)
    await db.execute("UPDATE browser_tickets SET expires_at = now() - interval '61 minutes'")
    await db.execute("UPDATE browser_sessions SET expires_at = now() - interval '1 second'")
    await ticket(api, headers=bearer(STRANGER))

    assert await db.fetchval("SELECT array_agg(user_id) FROM browser_tickets") == [STRANGER]
    assert await db.fetchval("SELECT count(*) FROM browser_sessions") == 0


async def test_a_stranger_s_cookie_opens_nothing(api: RunningApi) -> None:
    """Made up, of another stack, or two at once."""
    async with browser(api) as client:
        await signed_in(api, client)
        (cookie,) = client.cookies.jar
        good = f"{cookie.name}={cookie.value}"
        client.cookies.clear()
        made_up = [f"{cookie.name}={'A' * 43}", f"{cookie.name}=x", f"{cookie.name}="]
        found = [await client.get(SESSIONS, headers={"Cookie": each}) for each in made_up]
        twice = await client.get(SESSIONS, headers={"Cookie": f"{good}; {cookie.name}={'B' * 43}"})
        other = await client.get(SESSIONS, headers={"Cookie": f"coursegen_session_1={cookie.value}"})
        out = [await client.delete(SESSIONS, headers={"Cookie": each}) for each in made_up]

    assert [each.json()["error"]["code"] for each in found] == ["session_over"] * 3
    assert [each.json()["error"]["code"] for each in (twice, other)] == ["unauthorized"] * 2
    assert [each.status_code for each in out] == [204] * 3
