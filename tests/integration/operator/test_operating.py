"""The whole operator against a pretended API server over HTTP: kopf's watches, lightkube's calls, the Lease."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from operators.coursegen_operator.errors import LeadershipLost
from operators.coursegen_operator.planning import Reader
from operators.coursegen_operator.resources import CRON_JOB, EVENT, JOB, RETENTION_POLICY, Object, ObjectKey
from services.kernel.health import HealthRegistry
from services.kernel.lease.watchdog import Watchdog
from tests.support.operating import QUICK, operating
from tests.support.pretended_api import LEASE, PretendedApi
from tests.support.pretended_kind import PretendedKind, sample
from tests.support.waiting import eventually

KEY = ObjectKey(RETENTION_POLICY.kind, "default", "sample")
CHILD = ObjectKey(CRON_JOB.kind, "default", "sample")
LEASE_KEY = ObjectKey(LEASE.kind, "default", "coursegen-operator")


@asynccontextmanager
async def sampling(**environment: str) -> AsyncIterator[tuple[asyncio.Task[None], asyncio.Event, HealthRegistry]]:
    """An operator of the pretended kind."""
    async with operating([PretendedKind()], **QUICK, **environment) as running:
        yield running


async def _is_ready(api: PretendedApi, key: ObjectKey = KEY) -> bool:
    conditions = api.cluster.objects[key].get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _ready(api: PretendedApi, key: ObjectKey = KEY) -> Callable[[], object]:
    return lambda: _is_ready(api, key)


async def test_what_is_there_and_what_comes_is_reconciled_and_repaired(api: PretendedApi) -> None:
    """At the start, by a watch, after a deletion and after an edit; then the Lease is given back."""
    api.cluster.add(sample())
    async with sampling() as (serving, stopping, health):
        await eventually(_ready(api), within=20)
        api.cluster.add(sample("second", runs=1))
        await eventually(_ready(api, ObjectKey(RETENTION_POLICY.kind, "default", "second")), within=10)
        assert ObjectKey(JOB.kind, "default", "second-run-0") in api.cluster.objects

        api.cluster.drop(CHILD)
        await eventually(lambda: _is_there(api, CHILD), within=10)
        api.cluster.edit(CHILD, lambda item: item["spec"].update(schedule="harm"))
        await eventually(lambda: _has_schedule(api, "0 2 * * *"), within=10)
        api.cluster.edit(KEY, lambda item: item["spec"].update(schedule="5 5 * * *"))
        await eventually(lambda: _has_schedule(api, "5 5 * * *"), within=10)
        assert await health.unready() == {}
        assert health.late() == []
        assert api.cluster.objects[LEASE_KEY]["spec"]["holderIdentity"]
        await eventually(lambda: "Counted" in _reasons(api), within=5)

        stopping.set()
        await asyncio.wait_for(serving, 10)
    assert not api.cluster.objects[LEASE_KEY]["spec"].get("holderIdentity")
    assert all("finalizers" not in item["metadata"] for item in api.cluster.objects.values())
    patched = {each for each in api.requests if each.startswith("PATCH") and "retentionpolicies" in each}
    assert all(each.endswith("/status") for each in patched), (
        "kopf writes nothing, and nothing but the status is written"
    )


def _reasons(api: PretendedApi) -> set[str]:
    return {item.get("reason", "") for key, item in api.cluster.objects.items() if key.kind == EVENT.kind}


async def _is_there(api: PretendedApi, key: ObjectKey) -> bool:
    return key in api.cluster.objects


async def _has_schedule(api: PretendedApi, schedule: str) -> bool:
    return CHILD in api.cluster.objects and api.cluster.objects[CHILD]["spec"]["schedule"] == schedule


async def test_one_of_two_leads_and_the_other_is_ready_and_follows(api: PretendedApi) -> None:
    """A standby calls nothing but the Lease; it takes over at once when the leader stops."""
    api.cluster.add(sample())
    async with sampling() as (first, first_stops, _):
        await eventually(_ready(api), within=20)
        async with sampling() as (second, _, standby):
            await asyncio.sleep(1)
            assert await standby.unready() == {}
            assert not second.done()
            first_stops.set()
            await asyncio.wait_for(first, 10)
            api.cluster.drop(CHILD)
            await eventually(lambda: _is_there(api, CHILD), within=10)


async def test_a_lost_lease_ends_the_process(api: PretendedApi) -> None:
    """Somebody else holds it: work is cancelled, and whoever supervises the process starts it anew."""
    api.cluster.add(sample())
    async with sampling() as (serving, _, _):
        await eventually(_ready(api), within=20)
        api.cluster.edit(LEASE_KEY, lambda item: item["spec"].update(holderIdentity="somebody else"))
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(serving, 10)


class _Stalling(PretendedKind):
    """Stalls the whole process in the midst of a look when told to, as a pause does: nothing runs, and time goes by."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.is_due = False
        self._meanwhile = meanwhile

    async def observe(self, cluster: Reader, resource: Object) -> Mapping[str, Sequence[Object]]:
        if self.is_due:
            self.is_due = False
            time.sleep(float(QUICK["OPERATOR_LEASE_SECONDS"]) + 1)  # noqa: ASYNC251 - that is the point
            self._meanwhile()
        return await super().observe(cluster, resource)


async def test_a_leader_that_was_paused_beyond_its_lease_changes_nothing(
    api: PretendedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on in the midst of a look, before it hears that its Lease has run out: the successor's cluster stays as it is."""
    monkeypatch.setattr(Watchdog, "is_due", lambda _: False)  # a pause of the process is its, too
    before: list[object] = []

    def succeed() -> None:
        api.cluster.edit(LEASE_KEY, lambda item: item["spec"].update(holderIdentity="the successor"))
        before.extend((api.cluster.writes, copy.deepcopy(api.cluster.objects)))

    kind = _Stalling(succeed)
    api.cluster.add(sample())
    async with operating([kind], **QUICK) as (serving, _, _):
        await eventually(_ready(api), within=20)
        await asyncio.sleep(1)
        kind.is_due = True
        api.cluster.edit(KEY, lambda item: item["spec"].update(schedule="5 5 * * *"))
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(serving, 15)
    assert [api.cluster.writes, api.cluster.objects] == before


async def test_with_namespaces_no_call_goes_beyond_them(api: PretendedApi) -> None:
    """No ClusterRole is needed; what is elsewhere is not seen."""
    api.cluster.add(sample())
    api.cluster.add(sample("other", namespace="elsewhere"))
    async with sampling(OPERATOR_WATCH_NAMESPACES="default"):
        await eventually(_ready(api), within=20)
        api.cluster.edit(KEY, lambda item: item["spec"].update(schedule="5 5 * * *"))
        await eventually(lambda: _has_schedule(api, "5 5 * * *"), within=10)

    assert api.cluster.objects[ObjectKey(RETENTION_POLICY.kind, "elsewhere", "other")]["status"] == {
        "observedGeneration": -1
    }
    beyond = {each for each in api.requests if "/namespaces/default/" not in each}
    assert {each for each in beyond if each.split("/")[-1] not in {"api", "apis", "v1", "v1alpha1"}} == set()


async def test_a_kind_that_is_not_installed_is_waited_for(api: PretendedApi) -> None:
    """Neither a crash nor a hot loop; readiness says what to do."""
    api.cluster.absent.add(RETENTION_POLICY.kind)
    async with sampling(OPERATOR_RESYNC_SECONDS="1") as (serving, _, health):
        await eventually(lambda: _says(health, "not installed"), within=10)
        calls = len(api.requests)
        await asyncio.sleep(2)
        assert len(api.requests) - calls < 60
        assert not serving.done()

        api.cluster.absent.clear()
        api.cluster.add(sample())
        await eventually(_ready(api), within=30)
        await eventually(lambda: _says_nothing(health), within=5)


async def _says_nothing(health: HealthRegistry) -> bool:
    return await health.unready() == {}


async def _says(health: HealthRegistry, words: str) -> bool:
    return words in (await health.unready()).get("cluster", "")


async def test_a_watch_that_begins_anew_misses_no_deletion(api: PretendedApi) -> None:
    """The API server forgets versions: what was deleted meanwhile nobody tells, and an inventory finds it."""
    api.cluster.add(sample())
    async with sampling():
        await eventually(_ready(api), within=20)
        listener = api.cluster.listeners.pop()
        api.cluster.drop(CHILD)
        api.cluster.listeners.append(listener)
        api.floor = 10**9
        await asyncio.sleep(1)
        api.floor = 0
        await eventually(lambda: _is_there(api, CHILD), within=30)


async def test_a_rotated_token_is_read_anew(api: PretendedApi, tmp_path: Path) -> None:
    """By lightkube and by kopf."""
    api.cluster.add(sample())
    async with sampling():
        await eventually(_ready(api), within=20)
        await eventually(lambda: _are_watched(api), within=10)
        api.token = "another"
        (tmp_path / "token").write_text("another", encoding="utf-8")
        api.floor = 10**9  # every watch is opened anew
        await asyncio.sleep(0.5)
        api.floor = 0
        await asyncio.sleep(1)
        api.cluster.edit(KEY, lambda item: item["spec"].update(schedule="5 5 * * *"))
        await eventually(lambda: _has_schedule(api, "5 5 * * *"), within=10)


async def _are_watched(api: PretendedApi) -> bool:
    return all(
        sum(each.endswith(f"/{plural}") for each in api.requests) >= 3 for plural in ("retentionpolicies", "jobs")
    )
