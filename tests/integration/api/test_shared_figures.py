"""What all processes count together, on the api's page of metrics: alerts on the relay must not depend on the relay."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.api import metrics_view
from services.api.app import FAILURES
from services.api.recent_figures import RecentFigures
from services.api.shared_figures import LONGEST_SECONDS, SharedFigures
from services.cli.stack import ports
from services.kernel.clock import SystemClock
from services.kernel.counters import Counters
from services.kernel.database import Database
from services.kernel.metrics import SHARED_FROM_HERE
from services.kernel.settings import CommonSettings, Secret
from tests.support.api import running_api
from tests.support.courses import add_course
from tests.support.servers import Postgres, PrivatePostgres
from tests.support.stack import Stack, open_stack
from tests.support.waiting import eventually

SCRAPE_TIMEOUT = 10.0
"""As docs/RUNBOOKS.md has Prometheus wait; one that is not answered until then sees nothing at all."""


@pytest.fixture
def stack(tmp_path: Path, app_database_url: str, redis_url: str) -> Iterator[Stack]:
    """Processes on the test's servers, ended with the test."""
    with open_stack(tmp_path, database_url=app_database_url, redis_url=redis_url) as opened:
        yield opened


def samples(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every series of a page."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def dead_row(db: Database) -> None:
    """A row of the outbox that nothing will try again."""
    course = await add_course(db)
    await db.execute(
        "INSERT INTO job_outbox (outbox_id, entity_id, queue_name, job_type, job_data, retry_count, max_retries)"
        " VALUES ($1, $2, 'course-generation', 'WORK', '{}', 5, 5)",
        uuid4(),
        course,
    )


async def test_the_page_of_an_api_tells_of_a_relay_that_is_gone(stack: Stack, db: Database) -> None:
    """What the alerts ask: when it last came round, what waits, what is dead, its term, and that the system is not healthy."""
    await db.execute(
        "UPDATE relay_leadership SET holder = NULL, epoch = 7, heartbeat_at = NULL,"
        " last_progress_at = now() - interval '400 seconds'"
    )
    await dead_row(db)
    api = await stack.spawn("api").ready()
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"http://{ports.LOOPBACK}:{api.metrics_port}/metrics")).text
    shown = samples(page)

    assert shown["outbox_last_progress_timestamp_seconds", ()] == pytest.approx(time.time() - 400, abs=60)
    assert (shown["outbox_queue_depth", ()], shown["outbox_dead_rows", ()]) == (1, 1)
    assert (shown["outbox_relay_epoch", ()], shown["system_healthy", ()]) == (7, 0)
    assert shown["fsm_initializations_total", (("result", "failed"),)] == 0
    for status in FAILURES:  # nobody has asked it yet
        assert shown["http_requests_total", (("route", "initiate"), ("status", str(status)))] == 0
    assert page.index("coursegen_build_info") < page.index(SHARED_FROM_HERE) < page.index("system_healthy")


async def test_a_relay_that_never_was_has_not_stalled(db: Database) -> None:
    """No time is shown: 0 would be a stall of half a century."""
    await db.execute("UPDATE relay_leadership SET last_progress_at = NULL")
    counters = Counters(db)

    page = await SharedFigures(db, counters, RecentFigures(SystemClock())).page()

    assert ("outbox_last_progress_timestamp_seconds", ()) not in samples(page)
    assert ("outbox_oldest_pending_seconds", ()) in samples(page)


async def test_without_postgresql_the_page_says_so_in_time(private_postgres: PrivatePostgres) -> None:
    """A database that hangs, and one that is gone: not healthy, within the time that a scrape has."""
    url = Postgres(private_postgres.url()).create()
    db = await Database.open(CommonSettings(database_url=Secret(url)))
    figures = SharedFigures(db, Counters(db), RecentFigures(SystemClock()))
    assert await figures.page() != metrics_view.UNHEALTHY
    private_postgres.pause()
    began = time.monotonic()
    try:
        frozen = await figures.page()
    finally:
        private_postgres.resume()
    took = time.monotonic() - began
    private_postgres.stop()
    gone = await figures.page()
    await db.close()

    assert frozen == gone == metrics_view.UNHEALTHY
    assert took < LONGEST_SECONDS + 1


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
async def test_one_who_scrapes_get_all_hears_that_postgresql_is_away(
    private_postgres: PrivatePostgres, redis_url: str, accept: str
) -> None:
    """It hangs, and it is gone: 200 with the one series that fires SystemHealthCheckFailed, before a scrape is given up."""
    url = Postgres(private_postgres.url()).create()
    async with running_api(url, redis_url) as api:

        async def scraped(*, well: bool) -> bool:
            answer = await api.client.get(
                "/api/trpc/metrics.getAll", headers={"Accept": accept}, timeout=SCRAPE_TIMEOUT
            )
            assert answer.status_code == 200
            shown = samples(answer.text)
            return shown == {("system_healthy", ()): 0} if not well else ("outbox_queue_depth", ()) in shown

        assert await scraped(well=True)
        private_postgres.pause()
        try:
            await eventually(lambda: scraped(well=False), within=20)
        finally:
            private_postgres.resume()
        await eventually(lambda: scraped(well=True), within=20)
        private_postgres.stop()
        await eventually(lambda: scraped(well=False), within=20)

        assert (await api.client.get("/api/trpc/metrics.getAll")).status_code == 503
