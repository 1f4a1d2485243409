"""The relay's leader by a real Lease: killed, asked to stop, paused (R3, R4). The relays run beside the cluster."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from lightkube.resources.core_v1 import Event

from tests.cluster.conftest import BUSY_SECONDS, KILLED_SECONDS, STOPPED_SECONDS, Pair, everything, led, led_by
from tests.integration.outbox_relay.conftest import add_rows, processed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from services.kernel.database import Database

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive]

PAUSED_SECONDS = 40.0


async def test_a_killed_leader_is_succeeded_within_twenty_seconds(db: Database, course: UUID, pair: Pair) -> None:
    """Kill -9: after the Lease has run out the standby takes it, counts a transition, and relays."""
    first = await pair.start("first")
    await eventually(lambda: led_by(db, "first"), within=20)
    await pair.start("second")
    assert pair.holder() == "first"

    killed = time.monotonic()
    first.kill()
    ids = await add_rows(db, course, 5)
    await eventually(lambda: processed(db, ids), within=KILLED_SECONDS + BUSY_SECONDS)
    took = time.monotonic() - killed
    print(f"take-over after kill -9: {took:.1f} s")

    assert took <= KILLED_SECONDS
    assert await led(db) == (2, "second")
    lease = pair.lease()
    assert (pair.holder(), lease.spec.leaseTransitions, lease.spec.leaseDurationSeconds) == ("second", 1, 15)
    events = [each.message for each in pair.client.list(Event, namespace=pair.namespace)]
    assert sum("became leader" in message for message in events) == 2


async def test_a_leader_asked_to_stop_hands_over_within_three_seconds(db: Database, course: UUID, pair: Pair) -> None:
    """SIGTERM: the batch is finished, the Lease is given back, the standby relays, exit code 0."""
    first = await pair.start("first")
    await eventually(lambda: led_by(db, "first"), within=20)
    await pair.start("second")

    asked = time.monotonic()
    first.terminate()
    await eventually(lambda: led_by(db, "second"), within=STOPPED_SECONDS + BUSY_SECONDS)
    took = time.monotonic() - asked
    print(f"hand-over after SIGTERM: {took:.1f} s")
    ids = await add_rows(db, course, 5)
    await eventually(lambda: processed(db, ids), within=5)

    assert took <= STOPPED_SECONDS
    assert await first.ended() == 0
    assert pair.lease().spec.leaseTransitions >= 1


async def test_a_leader_that_was_paused_changes_nothing_when_it_wakes(
    db: Database, redis: Redis, course: UUID, pair: Pair
) -> None:
    """SIGSTOP for 40 s in the middle of its work: the other leads; the woken one moves nothing and stands by, or ends."""
    first = await pair.start("first")
    await eventually(lambda: led_by(db, "first"), within=20)
    await pair.start("second")
    ids = await add_rows(db, course, 900)
    await eventually(lambda: processed(db, ids), within=10)

    paused = time.monotonic()
    first.pause()
    ids += await add_rows(db, course, 50)
    await eventually(lambda: _all_processed(db, ids), within=KILLED_SECONDS + BUSY_SECONDS)
    print(f"take-over from a paused leader: {time.monotonic() - paused:.1f} s")
    await asyncio.sleep(max(0.0, PAUSED_SECONDS - (time.monotonic() - paused)))
    before = await everything(db, redis)
    first.resume()
    await asyncio.sleep(8)  # as long as it would take it to write, step down, or be ended

    assert await everything(db, redis) == before
    assert await led(db) == (2, "second")
    assert pair.holder() == "second"
    assert "lease lost" in first.tail(200)
    more = await add_rows(db, course, 5)
    await eventually(lambda: processed(db, more), within=5)


async def _all_processed(db: Database, ids: list[UUID]) -> bool:
    return await processed(db, ids) == len(ids)
