"""Election by a Lease, against a pretended API server over HTTP: the client's manners, and whole relays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from services.kernel.errors import SettingsInvalid
from services.kernel.lease.api import LeaseConflict, LeaseUnavailable
from services.kernel.lease.kubernetes import KubernetesLease
from services.kernel.lease.record import LeaseRecord
from tests.integration.outbox_relay.conftest import add_rows, processed
from tests.support.lease_http import PretendedServer, pretended_server
from tests.support.stack import Stack, open_stack
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.kernel.database import Database

NAME = "coursegen-outbox-relay"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
QUICK = {"RELAY_LEASE_SECONDS": "6", "RELAY_LEASE_RENEW_SECONDS": "4", "RELAY_LEASE_RETRY_SECONDS": "0.5"}


@pytest.fixture
async def server() -> AsyncIterator[PretendedServer]:
    """The pretended API server."""
    async with pretended_server() as started:
        yield started


@pytest.fixture
async def lease(
    server: PretendedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[KubernetesLease]:
    """A connection to it."""
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
    async with KubernetesLease.open(NAME, "", "me", 5.0) as opened:
        yield opened


@pytest.fixture
def stack(tmp_path: Path, app_database_url: str, redis_url: str, server: PretendedServer) -> Iterator[Stack]:
    """Real relay processes that elect by a Lease, on shorter timers."""
    with open_stack(tmp_path, database_url=app_database_url, redis_url=redis_url) as started:
        kubeconfig = str(server.kubeconfig(tmp_path))
        started.environment |= {"RELAY_ELECTION": "lease", "RELAY_REPLICAS": "2", "KUBECONFIG": kubeconfig, **QUICK}
        yield started


async def test_a_lease_is_made_read_and_written_in_turn(server: PretendedServer, lease: KubernetesLease) -> None:
    """What was written comes back to the microsecond; an outdated version is refused; a second one is not made."""
    assert await lease.read() is None
    written = await lease.create(LeaseRecord().taken("me", 15, NOW))
    assert await lease.read() == written
    assert (written.holder, written.renewed_at, written.duration_seconds) == ("me", NOW, 15)

    renewed = await lease.update(written.renewed(NOW))
    with pytest.raises(LeaseConflict):
        await lease.update(written)
    with pytest.raises(LeaseConflict):
        await lease.create(LeaseRecord().taken("other", 15, NOW))
    released = await lease.update(renewed.released(NOW))
    assert released.is_free
    assert server.leases[NAME]["spec"]["leaseDurationSeconds"] == 1


async def test_labels_of_a_lease_survive(server: PretendedServer, lease: KubernetesLease) -> None:
    """Whoever labels the Lease finds its label again."""
    await lease.create(LeaseRecord().taken("me", 15, NOW))
    server.leases[NAME]["metadata"]["labels"] = {"team": "a"}

    seen = await lease.read()
    assert seen is not None
    await lease.update(seen.renewed(NOW))

    assert server.leases[NAME]["metadata"]["labels"] == {"team": "a"}


async def test_a_deleted_lease_is_a_lost_round(server: PretendedServer, lease: KubernetesLease) -> None:
    """Not made again in passing: another one may have been leader in between."""
    written = await lease.create(LeaseRecord().taken("me", 15, NOW))
    server.leases.clear()

    with pytest.raises(LeaseConflict):
        await lease.update(written)


@pytest.mark.parametrize("code", [401, 403, 429, 500, 503])
async def test_a_refusal_is_no_loss(server: PretendedServer, lease: KubernetesLease, code: int) -> None:
    """It may be over in two seconds; a missing right is named with the command that shows it. Events are never in the way."""
    server.refuses = code
    with pytest.raises(LeaseUnavailable) as refused:
        await lease.read()
    await lease.announce("nobody hears this")

    assert ("kubectl auth can-i" in refused.value.message) is (code in {401, 403})


async def test_without_kubernetes_the_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At start, with what to do."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    with pytest.raises(SettingsInvalid, match="RELAY_ELECTION"):
        async with KubernetesLease.open(NAME, "", "me", 5.0):
            pass


async def _led_by(db: Database, name: str) -> bool:
    return bool(await db.fetchval("SELECT holder FROM relay_leadership") == name)


async def test_a_leader_without_answers_stops_and_leads_again_when_they_come(
    db: Database, course: UUID, stack: Stack, server: PretendedServer
) -> None:
    """The API server hangs: no row leaves any more after the renewal time. It answers: rows leave, under a higher epoch."""
    relay = await stack.start("outbox_relay", env={"RELAY_NODE_ID": "only"})
    await eventually(lambda: _led_by(db, "only"), within=15)
    await eventually(lambda: [each["message"].endswith("became leader") for each in server.events] == [True], within=15)

    server.hangs = True
    await eventually(lambda: "lease lost" in relay.tail(), within=15)
    ids = await add_rows(db, course, 1)
    await eventually(lambda: "cannot ask for the Lease" in relay.tail(), within=15)
    assert await processed(db, ids) == 0
    server.hangs = False
    await eventually(lambda: processed(db, ids), within=15)

    assert await db.fetchval("SELECT epoch FROM relay_leadership") == 2
    assert relay.exit_code is None


async def test_a_lease_taken_by_hand_moves_the_leadership(
    db: Database, course: UUID, stack: Stack, server: PretendedServer
) -> None:
    """Another holder in the Lease: the leader stops; when that holder is silent for its time, a relay leads again."""
    relay = await stack.start("outbox_relay", env={"RELAY_NODE_ID": "only"})
    await eventually(lambda: _led_by(db, "only"), within=15)
    lease = server.leases[NAME]
    lease["metadata"]["resourceVersion"] = "by-hand"
    lease["spec"] |= {"holderIdentity": "somebody", "leaseDurationSeconds": 2}

    await eventually(lambda: "lease lost" in relay.tail(), within=15)
    await eventually(lambda: lease_of(server).startswith("only_"), within=15)
    ids = await add_rows(db, course, 1)
    await eventually(lambda: processed(db, ids), within=15)

    assert server.leases[NAME]["spec"]["leaseTransitions"] == 1
    assert await relay.stopped() == 0
    assert lease_of(server) == ""


def lease_of(server: PretendedServer) -> str:
    """The holder."""
    return str(server.leases[NAME]["spec"].get("holderIdentity", ""))


async def test_a_relay_with_a_lease_stays_small(stack: Stack, db: Database) -> None:
    """The client library included, at most 100 MB."""
    relay = await stack.start("outbox_relay", env={"RELAY_NODE_ID": "only"})
    await eventually(lambda: _led_by(db, "only"), within=15)
    pages = int(Path(f"/proc/{relay.pid}/statm").read_text(encoding="ascii").split()[1])
    print(f"relay with a Lease: {pages * 4096 / 1e6:.0f} MB")

    assert pages * 4096 < 100e6
