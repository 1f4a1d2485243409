"""The load driver's record is complete whatever happens to the requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.driver import Driver, Journal

Handler = Callable[[httpx.Request], httpx.Response]


def driver_to(handler: Handler, journal: Journal) -> Driver:
    """A driver whose network is `handler`."""
    return Driver("http://api", journal, transport=httpx.MockTransport(handler))


async def test_an_attempt_is_written_down_before_it_is_sent() -> None:
    """A request that kills the api is on record all the same."""
    journal = Journal()
    seen: list[int] = []

    def answer(_: httpx.Request) -> httpx.Response:
        seen.append(len(journal.attempts))
        return httpx.Response(200, json={"success": True, "jobId": "job-1"})

    async with driver_to(answer, journal) as driver:
        await driver.send(driver.order())

    assert seen == [1]
    assert [(each.attempt, each.status, each.job_id) for each in journal.answers] == [(0, 200, "job-1")]
    assert journal.failures == []


async def test_a_broken_connection_is_no_answer() -> None:
    """What got no answer is listed, and is not acknowledged."""

    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("gone")

    journal = Journal()
    async with driver_to(answer, journal) as driver:
        assert await driver.send(driver.order()) is None

    assert (journal.acked, journal.broken, journal.failures) == ([], [0], ["attempt 0: no answer"])


async def test_insisting_repeats_the_same_request_with_its_key() -> None:
    """Refused, broken, accepted: three attempts of one request, one promise."""
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            return httpx.Response(503, json={})
        if len(keys) == 2:
            raise httpx.ConnectError("away")
        return httpx.Response(200, json={"jobId": "job-1"})

    journal = Journal()
    async with driver_to(answer, journal) as driver:
        await driver.insist(driver.order(), pause=0)

    assert len(set(keys)) == 1
    assert len({attempt.request for attempt in journal.attempts}) == 1
    assert [each.status for each in journal.answers] == [503, 200]
    assert len(journal.acked) == 1


async def test_insisting_ends() -> None:
    """An api that never accepts fails the test, with the last answer."""
    async with driver_to(lambda _: httpx.Response(500), Journal()) as driver:
        with pytest.raises(AssertionError, match="status=500"):
            await driver.insist(driver.order(), within=0, pause=0)


async def test_a_load_ends_when_its_orders_do() -> None:
    """Every order begun is answered before the load returns."""
    journal, enough = Journal(), asyncio.Event()

    def answer(_: httpx.Request) -> httpx.Response:
        if len(journal.attempts) >= 5:
            enough.set()
        return httpx.Response(200, json={"jobId": str(uuid4())})

    async with driver_to(answer, journal) as driver:
        sent = await driver.load(driver.orders(until=enough), per_second=1000)

    assert len(sent) == len(journal.attempts) == len(journal.acked) >= 5


async def test_the_journal_is_a_file_too(tmp_path: Path) -> None:
    """Attempts and answers, a line each, in order."""
    journal = Journal(tmp_path / "journal.jsonl")
    async with driver_to(lambda _: httpx.Response(200, json={"jobId": "job-1"}), journal) as driver:
        await driver.send(driver.order())
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]

    assert [sorted(line) for line in lines] == [["attempt", "course", "request"], ["answer", "job", "status"]]
