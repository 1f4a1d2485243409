"""Relays beside the cluster, and the Lease between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lightkube import ApiError, Client
from lightkube.models.rbac_v1 import PolicyRule
from lightkube.resources.coordination_v1 import Lease

from tests.integration.outbox_relay.conftest import course
from tests.support.clusters import cluster_client, kubeconfig_of
from tests.support.kube.installation import own_namespace
from tests.support.stack import Process, Stack, open_stack

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from services.kernel.database import Database

__all__ = ["course"]

LEASE = "coursegen-outbox-relay"
RULES = [
    PolicyRule(apiGroups=["coordination.k8s.io"], resources=["leases"], verbs=["create"]),
    PolicyRule(apiGroups=["coordination.k8s.io"], resources=["leases"], resourceNames=[LEASE], verbs=["get", "update"]),
    PolicyRule(apiGroups=[""], resources=["events"], verbs=["create"]),
]
"""All that a relay needs; docs/LEADER-ELECTION.md shows the same."""
KILLED_SECONDS = 20.0
STOPPED_SECONDS = 3.0
"""Reliability R3: until another relay has written, after a kill -9 and after SIGTERM."""
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
        own_namespace("lease") as namespace,
        open_stack(tmp_path, database_url=app_database_url, redis_url=redis_url) as stack,
    ):
        path = kubeconfig_of(client, namespace, "relay", RULES, tmp_path)
        stack.environment |= {"RELAY_ELECTION": "lease", "RELAY_REPLICAS": "2", "KUBECONFIG": str(path)}
        yield Pair(client, namespace, stack)


async def led(db: Database) -> tuple[int, str | None]:
    """Epoch and holder of the present term."""
    row = await db.fetchrow("SELECT epoch, holder FROM relay_leadership")
    return (0, None) if row is None else (row["epoch"], row["holder"])


async def led_by(db: Database, name: str) -> bool:
    """Whether that relay leads."""
    return (await led(db))[1] == name


async def everything(db: Database, redis: Redis) -> tuple[list[Any], set[bytes]]:
    """What a leader moves under its epoch: rows of the outbox, and jobs in Redis."""
    rows = await db.fetch("SELECT * FROM job_outbox ORDER BY outbox_id")
    return rows, {key async for key in redis.scan_iter("saq:job:*")}
