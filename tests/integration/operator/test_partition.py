"""A leader that is cut off from the API server in the midst of its writes, and what it had sent arriving too late (R4)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from operators.coursegen_operator.errors import LeadershipLost
from operators.coursegen_operator.resources import CRON_JOB, RETENTION_POLICY, ObjectKey
from tests.support.operating import QUICK, operating
from tests.support.pretended_api import LEASE, PretendedApi
from tests.support.pretended_kind import PretendedKind, sample
from tests.support.waiting import eventually

KEY = ObjectKey(RETENTION_POLICY.kind, "default", "sample")
CHILD = ObjectKey(CRON_JOB.kind, "default", "sample")
CHILD_PATH = "/apis/batch/v1/namespaces/default/cronjobs/sample"
LEASE_KEY = ObjectKey(LEASE.kind, "default", "coursegen-operator")


async def test_what_a_leader_had_sent_before_it_was_cut_off_changes_nothing_when_it_arrives(
    api: PretendedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writes hang, the one that makes the CronJob what was asked for among them; it ends before its Lease does. Its successor
    does the same, and then what was asked for next. Only then the first one's write arrives: it is refused, and all stays.
    """
    api.cluster.add(sample())
    api.further |= {"first", "second"}
    _point_at(api, tmp_path, monkeypatch, "first")
    async with operating([PretendedKind()], **QUICK) as (first, _, _):
        await eventually(lambda: _has_settled(api), within=20)
        _point_at(api, tmp_path, monkeypatch, "second")
        async with operating([PretendedKind()], **QUICK) as (second, _, _):
            holder = api.cluster.objects[LEASE_KEY]["spec"]["holderIdentity"]
            api.held_paths = CHILD_PATH
            api.held.add("first")
            api.cluster.edit(KEY, lambda item: item["spec"].update(schedule="5 5 * * *"))
            await eventually(lambda: CHILD_PATH in api.waiting, within=20)
            api.held_paths = "/"
            with pytest.raises(LeadershipLost):
                await asyncio.wait_for(first, 10)
            assert api.cluster.objects[LEASE_KEY]["spec"]["holderIdentity"] == holder, (
                "another one led before it had ended"
            )
            await eventually(lambda: _schedule_is(api, "5 5 * * *"), within=20)
            api.cluster.edit(KEY, lambda item: item["spec"].update(schedule="6 6 * * *"))
            await eventually(lambda: _schedule_is(api, "6 6 * * *"), within=10)
            before = api.cluster.objects[CHILD]

            api.held.clear()

            await eventually(lambda: CHILD_PATH in _late_paths(api), within=10)
            assert {code for _, path, code in api.late if path == CHILD_PATH} == {409}
            await asyncio.sleep(0.5)  # there is nothing to wait for: nothing may happen
            assert api.cluster.objects[CHILD] == before
            assert api.cluster.objects[CHILD]["metadata"]["generation"] == 3
            assert not second.done()


def _late_paths(api: PretendedApi) -> set[str]:
    return {path for _, path, _ in api.late}


async def _has_settled(api: PretendedApi) -> bool:
    """The status tells of the child: nothing is under way any more."""
    return bool(api.cluster.objects[KEY].get("status", {}).get("cronJobName"))


async def _schedule_is(api: PretendedApi, schedule: str) -> bool:
    return CHILD in api.cluster.objects and api.cluster.objects[CHILD]["spec"]["schedule"] == schedule


def _point_at(api: PretendedApi, folder: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Have the next operator in this process show `token`."""
    own = folder / token
    own.mkdir()
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(own, token)))
