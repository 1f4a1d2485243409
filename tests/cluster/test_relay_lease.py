"""The relay's leader by a real Lease: killed, asked to stop, paused (R3, R4). The relays run beside the cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from lightkube import ApiError, Client
from lightkube.models.rbac_v1 import PolicyRule
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Event

from tests.integration.outbox_relay.conftest import add_rows, course, processed
from tests.support.clusters import cluster_client, kubeconfig_of, own_namespace
from tests.support.stack import Process, Stack, open_stack
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from services.kernel.database import Database

__all__ = ["course"]

pytestmark = [pytest.mark.cluster]

LEASE = "coursegen-outbox-relay"
RULES = [
    PolicyRule(apiGroups=["coordination.k8s.io"], resources=["leases"], verbs=["create"]),
    PolicyRule(apiGroups=["coordination.k8s.io"], resources=["leases"], resourceNames=[LEASE], verbs=["get", "update"]),
    PolicyRule(apiGroups=[""], resources=["events"], verbs=["create"]),
]
"""All that a relay needs; docs/LEADER-ELECTION.md shows the same."""
KILLED_SECONDS = 20.0
STOPPED_SECONDS = 3.0
PAUSED_SECONDS = 40.0
BUSY_SECONDS = 2.0
"""What a test adds to a limit for the time in which it looks."""


@dataclass
class Pair:
    """Two relays, and the Lease between them."""

    client: Client
    namespace: str
    stack: Stack

    async def start(self, name: str) -> Process:
        """One more relay, ready: a standby is ready as well."""
        return await self.stack.start("outbox_relay", env={"RELAY_NODE_ID": name})

    def holder(self) -> str:
        """The holder's pod."""
        lease = self.lease()
        return "" if lease is None else (lease.spec.holderIdentity or "").partition("_")[0]

    def lease(self) -> Any:
        """The Lease as it stands."""
        try:
            return self.client.get(Lease, LEASE, namespace=self.namespace)
        except ApiError as error:
            if error.response.status_code == 404:
                return None
            raise


@pytest.fixture
def pair(tmp_path: Path, app_database_url: str, redis_url: str) -> Iterator[Pair]:
    """Relays with the rights of the chart's role, in a namespace of their own."""
    with (
        cluster_client() as client,
        own_namespace(client, "lease") as namespace,
        open_stack(tmp_path, database_url=app_database_url, redis_url=redis_url) as stack,
    ):
        path = kubeconfig_of(client, namespace, "relay", RULES, tmp_path)
        stack.environment |= {"RELAY_ELECTION": "lease", "RELAY_REPLICAS": "2", "KUBECONFIG": str(path)}
        yield Pair(client, namespace, stack)


async def _led(db: Database) -> tuple[int, str | None]:
    row = await db.fetchrow("SELECT epoch, holder FROM relay_leadership")
    return (0, None) if row is None else (row["epoch"], row["holder"])


async def _led_by(db: Database, name: str) -> bool:
    return (await _led(db))[1] == name


async def test_a_killed_leader_is_succeeded_within_twenty_seconds(db: Database, course: UUID, pair: Pair) -> None:
    """Kill -9: after the Lease has run out the standby takes it, counts a transition, and relays."""
    first = await pair.start("first")
    await eventually(lambda: _led_by(db, "first"), within=20)
    await pair.start("second")
    assert pair.holder() == "first"

    killed = time.monotonic()
    first.kill()
    ids = await add_rows(db, course, 5)
    await eventually(lambda: processed(db, ids), within=KILLED_SECONDS + BUSY_SECONDS)
    took = time.monotonic() - killed
    print(f"take-over after kill -9: {took:.1f} s")

    assert took <= KILLED_SECONDS
    assert await _led(db) == (2, "second")
    lease = pair.lease()
    assert (pair.holder(), lease.spec.leaseTransitions, lease.spec.leaseDurationSeconds) == ("second", 1, 15)
    events = [each.message for each in pair.client.list(Event, namespace=pair.namespace)]
    assert sum("became leader" in message for message in events) == 2


async def test_a_leader_asked_to_stop_hands_over_within_three_seconds(db: Database, course: UUID, pair: Pair) -> None:
    """SIGTERM: the batch is finished, the Lease is given back, the standby relays, exit code 0."""
    first = await pair.start("first")
    await eventually(lambda: _led_by(db, "first"), within=20)
    await pair.start("second")

    asked = time.monotonic()
    first.terminate()
    await eventually(lambda: _led_by(db, "second"), within=STOPPED_SECONDS + BUSY_SECONDS)
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
    """SIGSTOP for 40 s in the middle of its work: the other leads; the woken one writes nowhere and stands by, or ends."""
    first = await pair.start("first")
    await eventually(lambda: _led_by(db, "first"), within=20)
    await pair.start("second")
    ids = await add_rows(db, course, 900)
    await eventually(lambda: processed(db, ids), within=10)

    paused = time.monotonic()
    first.pause()
    ids += await add_rows(db, course, 50)
    await eventually(lambda: _all_processed(db, ids), within=KILLED_SECONDS + BUSY_SECONDS)
    print(f"take-over from a paused leader: {time.monotonic() - paused:.1f} s")
    await asyncio.sleep(max(0.0, PAUSED_SECONDS - (time.monotonic() - paused)))
    before = await _everything(db, redis)
    first.resume()
    await asyncio.sleep(8)  # as long as it would take it to write, step down, or be ended

    assert await _everything(db, redis) == before
    assert await _led(db) == (2, "second")
    assert pair.holder() == "second"
    assert "lease lost" in first.tail(200)
    more = await add_rows(db, course, 5)
    await eventually(lambda: processed(db, more), within=5)


async def _all_processed(db: Database, ids: list[UUID]) -> bool:
    return await processed(db, ids) == len(ids)


async def _everything(db: Database, redis: Redis) -> tuple[list[Any], set[bytes]]:
    rows = await db.fetch("SELECT * FROM job_outbox ORDER BY outbox_id")
    return rows, {key async for key in redis.scan_iter("saq:job:*")}
