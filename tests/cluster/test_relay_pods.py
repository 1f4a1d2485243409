"""The relay's leader in the chart's pods: killed, asked to stop, deleted, paused (reliability R3). The other one is ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from redis.asyncio import Redis

from services.kernel.database import Database
from services.kernel.settings import CommonSettings, Secret
from tests.cluster.conftest import KILLED_SECONDS, STOPPED_SECONDS, everything
from tests.integration.outbox_relay.conftest import add_rows, outbox, processed
from tests.support.kube.commands import program
from tests.support.kube.installation import Installation, is_ready, own_namespace, port_forward
from tests.support.kube.signals import send, stand_beside
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive, pytest.mark.timeout(900)]

PAUSED_SECONDS = 40.0
BUSY_SECONDS = 10.0
"""What a test adds to a limit for the time in which it looks, and the kubelet and kubectl do their part."""
_RELAY = "outbox-relay"


@dataclass
class Relays:
    """The relay's pods, and the database that they share."""

    installation: Installation
    db: Database
    redis: Redis

    async def leader(self) -> str:
        """The pod that leads."""
        return str(await self.db.fetchval("SELECT holder FROM relay_leadership"))

    async def epoch(self) -> int:
        """Of the present term."""
        return int(await self.db.fetchval("SELECT epoch FROM relay_leadership"))

    async def roles(self) -> tuple[str, str]:
        """The leader, once both pods are ready and one of them leads, and the other."""

        async def found() -> tuple[str, str] | None:
            pods = [each["metadata"]["name"] for each in self.installation.pods(_RELAY)]
            holder = await self.leader()
            if len(pods) != 2 or holder not in pods or not self.holder().startswith(f"{holder}_"):
                return None
            return holder, next(each for each in pods if each != holder)

        roles = await eventually(found, within=120, every=0.5)
        assert roles is not None
        return roles

    def holder(self) -> str:
        """Whom the Lease names."""
        lease = self.installation.get("lease", f"{self.installation.fullname}-{_RELAY}")
        return str(lease["spec"].get("holderIdentity", ""))

    def is_ready(self, pod: str) -> bool:
        """Whether the kubelet says so."""
        return is_ready(self.installation.get("pod", pod))

    def send(self, pod: str, signal: str) -> float:
        """Send the relay in a pod a signal; when it was sent, by the node's clock."""
        return send(self.installation.namespace, pod, "services.outbox_relay", signal)

    async def succeeded_within(self, pod: str, since: float, *, limit: float) -> float:
        """Seconds from `since` until `pod` had taken the next epoch; it is ready at every look."""

        async def leads() -> bool:
            assert self.is_ready(pod), f"{pod} is not ready"
            return await self.leader() == pod

        await eventually(leads, within=limit + BUSY_SECONDS, every=0.2)
        acquired = await self.db.fetchval("SELECT extract(epoch FROM acquired_at)::float8 FROM relay_leadership")
        return float(acquired) - since

    async def relayed(self, ids: list[UUID]) -> float:
        """When the last of these rows was in its queue, by the database's clock."""
        within = KILLED_SECONDS + BUSY_SECONDS
        await eventually(lambda: self._all_processed(ids), within=within, every=0.2)
        return max(row["processed_at"].timestamp() for row in await outbox(self.db, ids))

    async def _all_processed(self, ids: list[UUID]) -> bool:
        return await processed(self.db, ids) == len(ids)


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """Two relays and nobody who takes what they relay; beside each relay a container that may send it signals."""
    program("helm")
    quiet = {"api": {"replicaCount": 1}, "stageWorker": {"replicaCount": 0}, "networkPolicy": {"enabled": True}}
    with own_namespace("lease") as namespace:
        installed = Installation(namespace, {**quiet, "outboxRelay": {"replicaCount": 2}})
        installed.install()
        installed.wait_ready()
        stand_beside(namespace, f"{installed.fullname}-{_RELAY}")
        yield installed


@pytest.fixture
async def relays(installation: Installation) -> AsyncIterator[Relays]:
    """Its relays; PostgreSQL and Redis are reached through a port-forward."""
    with ExitStack() as stack:
        urls = [
            _through(stack.enter_context(port_forward(installation, target, port)), installation.secret(key))
            for target, port, key in (
                (f"service/{installation.fullname}-postgresql", 5432, "owner-database-url"),
                (f"service/{installation.fullname}-redis", 6379, "redis-url"),
            )
        ]
        db = await Database.open(CommonSettings(database_url=Secret(urls[0])))
        redis = Redis.from_url(urls[1])
        try:
            yield Relays(installation, db, redis)
        finally:
            await redis.aclose()
            await db.close()


@pytest.fixture
def db(relays: Relays) -> Database:
    """The database of the installation, in place of a test's own."""
    return relays.db


def _through(forward: str, url: str) -> str:
    """The address `url` with the host and port of a port-forward."""
    parts = urlsplit(url)
    credentials = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{credentials}@{urlsplit(forward).netloc}").geturl()


async def test_a_killed_leader_is_succeeded_within_twenty_seconds(relays: Relays, course: UUID) -> None:
    """Kill -9: the other pod, ready all the while, takes the Lease and the next epoch, and relays."""
    leader, standby = await relays.roles()
    epoch = await relays.epoch()

    killed = relays.send(leader, "SIGKILL")
    ids = await add_rows(relays.db, course, 5)
    took = await relays.succeeded_within(standby, killed, limit=KILLED_SECONDS)
    relayed = await relays.relayed(ids) - killed
    print(f"after kill -9: leads after {took:.1f} s, has relayed after {relayed:.1f} s")

    assert relayed <= KILLED_SECONDS
    assert await relays.epoch() == epoch + 1
    assert relays.holder().startswith(f"{standby}_")
    assert await relays.roles() == (standby, leader)  # the killed one is back, and stands by


async def test_a_leader_asked_to_stop_hands_over_within_three_seconds(relays: Relays, course: UUID) -> None:
    """SIGTERM: the Lease is given back, and the other pod relays."""
    leader, standby = await relays.roles()

    asked = relays.send(leader, "SIGTERM")
    took = await relays.succeeded_within(standby, asked, limit=STOPPED_SECONDS)
    print(f"after SIGTERM: leads after {took:.1f} s")
    ids = await add_rows(relays.db, course, 5)
    await relays.relayed(ids)

    assert took <= STOPPED_SECONDS
    assert await relays.roles() == (standby, leader)  # the one that stopped is back, and stands by


async def test_a_deleted_pod_hands_over(relays: Relays, course: UUID) -> None:
    """`kubectl delete pod` moves the leadership; how soon the kubelet sends SIGTERM is its own affair."""
    leader, standby = await relays.roles()
    restarts = relays.installation.restarts().get(standby, 0)

    asked = time.time()
    relays.installation.kubectl("delete", "pod", leader, "--wait=false")
    took = await relays.succeeded_within(standby, asked, limit=STOPPED_SECONDS)
    print(f"after kubectl delete pod: leads after {took:.1f} s")
    ids = await add_rows(relays.db, course, 5)
    await relays.relayed(ids)
    await relays.roles()

    assert relays.installation.restarts().get(standby, 0) == restarts


async def test_a_leader_that_was_paused_changes_nothing_when_it_wakes(relays: Relays, course: UUID) -> None:
    """SIGSTOP for 40 s in the middle of its work: the other pod leads; the woken one writes nowhere and stands by, or ends."""
    leader, standby = await relays.roles()
    ids = await add_rows(relays.db, course, 900)
    await eventually(lambda: processed(relays.db, ids), within=10)

    paused = relays.send(leader, "SIGSTOP")
    ids += await add_rows(relays.db, course, 50)
    took = await relays.succeeded_within(standby, paused, limit=KILLED_SECONDS)
    await relays.relayed(ids)
    print(f"after SIGSTOP: leads after {took:.1f} s")
    await asyncio.sleep(max(0.0, PAUSED_SECONDS - (time.time() - paused)))
    before, epoch = await everything(relays.db, relays.redis), await relays.epoch()
    relays.send(leader, "SIGCONT")
    await asyncio.sleep(8)  # as long as it would take it to write, step down, or be ended

    assert took <= KILLED_SECONDS
    assert await everything(relays.db, relays.redis) == before
    assert (await relays.leader(), await relays.epoch()) == (standby, epoch)
    said = relays.installation.kubectl("logs", leader, "-c", _RELAY, "--tail=200")
    assert "lease lost" in said
    await relays.relayed(await add_rows(relays.db, course, 5))
    assert await relays.roles() == (standby, leader)
