"""R3: a single relay that is killed and started again relays within ten seconds, whatever way it finds that it leads but a Lease.

With a Lease the new process is another candidate, and waits until the old one's has run out.
"""

from __future__ import annotations

import time

import pytest

from services.kernel.database import Database
from tests.support.courses import add_course
from tests.support.stack import Stack
from tests.support.waiting import eventually

RESTARTED_SECONDS = 10.0
"""R3, from the kill; the process starts at once, as the kubelet starts a container the first time."""
ROUNDS = 3


@pytest.mark.parametrize("election", ["postgres", "none"])
async def test_a_single_relay_is_back_within_ten_seconds(stack: Stack, db: Database, election: str) -> None:
    """Rows that were written while nobody relayed are in their queue by then."""
    course = await add_course(db)
    environment = {"RELAY_ELECTION": election}
    relay = await stack.start("outbox_relay", env=environment)
    gaps = []
    for number in range(1, ROUNDS + 1):
        await eventually(lambda: db.fetchval("SELECT holder IS NOT NULL FROM relay_leadership"), within=20)
        relay.kill()
        killed = time.monotonic()
        await db.execute("INSERT INTO job_outbox (entity_id, queue_name) VALUES ($1, 'test-restart')", course)
        relay = stack.spawn("outbox_relay", env=environment)

        async def relayed(least: int = number) -> bool:
            return bool(await db.fetchval("SELECT count(*) FROM job_outbox WHERE processed_at IS NOT NULL") >= least)

        await eventually(relayed, within=60)
        gaps.append(time.monotonic() - killed)
    print(f"{election}: relaying again after {', '.join(f'{each:.1f}' for each in gaps)} s")

    assert max(gaps) <= RESTARTED_SECONDS
