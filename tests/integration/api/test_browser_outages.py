"""Browsers while PostgreSQL is away: nobody is let in, nobody is signed out."""

from __future__ import annotations

import httpx

from tests.support.api import running_api
from tests.support.servers import Postgres, PrivatePostgres
from tests.support.stack import Stack
from tests.support.tokens import bearer
from tests.support.waiting import eventually

TICKETS, SESSIONS = "/api/tickets", "/api/sessions"


async def test_an_outage_signs_nobody_out(private_postgres: PrivatePostgres, redis_url: str) -> None:
    """503 and try again, as everywhere; afterwards the same cookie and the same ticket are good."""
    server = Postgres(private_postgres.url())
    url = server.create()
    async with (
        running_api(url, redis_url) as api,
        httpx.AsyncClient(base_url=api.url, headers={"Origin": api.url}, timeout=30) as browser,
    ):
        first, second = [(await api.client.post(TICKETS)).json()["ticket"] for _ in range(2)]
        await browser.post(SESSIONS, json={"ticket": first})
        private_postgres.stop()
        refused = [
            await browser.get(SESSIONS),
            await browser.post(SESSIONS, json={"ticket": second}),
            await browser.delete(SESSIONS),
            await api.client.post(TICKETS, headers=bearer()),
        ]
        private_postgres.start()

        async def is_back() -> bool:
            return (await browser.get(SESSIONS)).status_code == 200

        await eventually(is_back, within=20, every=0.2)
        again = await api.client.post(SESSIONS, json={"ticket": second})

    assert [each.status_code for each in refused] == [503] * 4
    assert {each.json()["error"]["code"] for each in refused} == {"database_unavailable"}
    assert not any("set-cookie" in each.headers for each in refused)
    assert again.status_code == 201


async def test_a_killed_api_signs_nobody_out(stack: Stack) -> None:
    """Sessions are in PostgreSQL: the next process knows them, and a ticket that was not used."""
    process = await stack.start("api")
    async with httpx.AsyncClient(base_url=process.url, headers={"Origin": process.url}, timeout=30) as browser:
        first, second = [(await browser.post(TICKETS, headers=bearer())).json()["ticket"] for _ in range(2)]
        await browser.post(SESSIONS, json={"ticket": first})
        process.kill()
        await stack.start("api", port=process.port)
        who = await browser.get(SESSIONS)
        again = await browser.post(SESSIONS, json={"ticket": first})
        fresh = await browser.post(SESSIONS, json={"ticket": second})

    assert [each.status_code for each in (who, again, fresh)] == [200, 401, 201]
