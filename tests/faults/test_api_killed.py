"""Case 3: the api is killed between the commit and the answer; the client repeats its request."""

from __future__ import annotations

import signal
from uuid import UUID

import pytest

from services.kernel.database import Database
from tests.faults.conftest import OpenDriver, Trials
from tests.support.courses import footprint
from tests.support.driver import Journal
from tests.support.evidence import assert_passed, judge
from tests.support.ports import claim
from tests.support.stack import Stack

POINT = "api.after_commit"


@pytest.mark.parametrize("keyed", [True, False], ids=["key of the client", "derived key"])
async def test_a_repeated_request_finds_the_run_that_the_dead_api_began(
    stack: Stack, db: Database, journal: Journal, drive: OpenDriver, trials: Trials, keyed: bool
) -> None:
    """The repetition is answered with the job that the first request wrote, and writes nothing."""
    rounds = trials(1, full=50)
    await stack.start_all("outbox_relay", "stage_worker")
    for _ in range(rounds):
        port = claim()
        doomed = await stack.start("api", port=port, faults=f"{POINT}=kill@1")
        driver = drive(doomed)
        order = driver.order(keyed=keyed)
        assert await driver.send(order) is None
        assert await doomed.ended(within=30) == -signal.SIGKILL
        before = await footprint(db, order.course_id)
        assert len(before.rows) >= 1  # the commit was through, and the pipeline may have gone on since
        api = await stack.start("api", port=port)
        answer = await driver.insist(order)
        assert answer.job_id is not None
        assert UUID(answer.job_id) == before.rows[0]["outbox_id"]
        assert (await footprint(db, order.course_id)).job_types.count("STRUCTURE_ANALYSIS") == 1
        assert await api.stopped() == 0

    verdict = await judge(db, journal, stack, {f"{POINT} kill": rounds})

    assert_passed(verdict, stack)
    assert verdict.acked == rounds
