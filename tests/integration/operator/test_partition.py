"""A leader that is cut off from the API server in the midst of its writes, and what it had sent arriving too late (R4)."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from operators.coursegen_operator.child import task_of
from operators.coursegen_operator.conditions import find, timestamp
from operators.coursegen_operator.errors import LeadershipLost
from operators.coursegen_operator.migrations.planner import MigrationKind
from operators.coursegen_operator.resources import (
    CRON_JOB,
    DATABASE_MIGRATION,
    JOB,
    RETENTION_POLICY,
    Object,
    ObjectKey,
    key_of,
)
from tests.support.operating import QUICK, operating
from tests.support.pretended_api import LEASE, PretendedApi
from tests.support.pretended_kind import PretendedKind, sample
from tests.support.waiting import eventually

PATIENT = {**QUICK, "OPERATOR_LEASE_SECONDS": "9", "OPERATOR_LEASE_RENEW_SECONDS": "6"}
"""The successor holds its Lease through many steps, and a stall of a machine that has other work must not end it."""
KEY = ObjectKey(RETENTION_POLICY.kind, "default", "sample")
CHILD = ObjectKey(CRON_JOB.kind, "default", "sample")
CHILD_PATH = "/apis/batch/v1/namespaces/default/cronjobs/sample"
LEASE_KEY = ObjectKey(LEASE.kind, "default", "coursegen-operator")
MAIN = ObjectKey(DATABASE_MIGRATION.kind, "default", "main")
MIGRATION: Object = {
    "apiVersion": DATABASE_MIGRATION.api_version,
    "kind": DATABASE_MIGRATION.kind,
    "metadata": {"name": "main"},
    "spec": {"image": "shop/migrate:1", "databaseSecretRef": {"name": "db"}, "drift": {"mode": "Off"}},
}
JOBS_PATH = "/apis/batch/v1/namespaces/default/jobs"
REVISION, PLAN = "20260101000000", "0123456789abcdef"


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
        async with operating([PretendedKind()], **PATIENT) as (second, _, _):
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


@pytest.mark.parametrize("suspend", [False, True])
async def test_a_migration_that_a_leader_had_asked_for_before_it_was_cut_off_runs_once_also_when_it_is_suspended_since(
    api: PretendedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suspend: bool
) -> None:
    """The creation of a Job carries no precondition. Where the successor has made that Job, the late one is refused. Where it
    has not, since the resource is suspended by now, it is made and runs, as one that had begun before; the status tells of it.
    """
    api.cluster.add(MIGRATION)
    api.further |= {"first", "second"}
    _point_at(api, tmp_path, monkeypatch, "first")
    async with operating([MigrationKind()], **QUICK) as (first, _, _):
        await eventually(lambda: _jobs(api, "plan"), within=20)
        _point_at(api, tmp_path, monkeypatch, "second")
        async with operating([MigrationKind()], **PATIENT) as (second, _, _):
            api.held_paths = JOBS_PATH
            api.held.add("first")
            _finish(api, "plan", currentRevision=None, pending=[REVISION], pendingCount=1)
            await eventually(lambda: JOBS_PATH in api.waiting, within=20)
            api.held_paths = "/"
            api.cluster.edit(MAIN, lambda item: item["spec"].update(suspend=suspend))
            with pytest.raises(LeadershipLost):
                await asyncio.wait_for(first, 10)
            if suspend:
                await eventually(lambda: _reason(api) == "Suspended", within=20)
            else:
                await eventually(lambda: _jobs(api, "apply"), within=20)
            assert len(_jobs(api, "apply")) == (0 if suspend else 1)

            api.held.clear()

            await eventually(lambda: JOBS_PATH in _late_paths(api), within=10)
            assert [code for _, path, code in api.late if path == JOBS_PATH] == [201 if suspend else 409]
            (job,) = _jobs(api, "apply")
            await eventually(lambda: _attempt(api) == job["metadata"]["name"], within=10)
            assert f"--expect-plan={PLAN}" in job["spec"]["template"]["spec"]["containers"][0]["args"]
            _finish(api, "apply", currentRevision=REVISION)
            await eventually(lambda: _reason(api) == ("Suspended" if suspend else "Applied"), within=10)
            assert api.cluster.objects[MAIN]["status"]["currentRevision"] == REVISION
            assert _jobs(api, "apply")[0]["metadata"]["uid"] == job["metadata"]["uid"]
            assert not second.done()


def _jobs(api: PretendedApi, task: str) -> list[Object]:
    return [item for key, item in api.cluster.objects.items() if key.kind == JOB.kind and task_of(item) == task]


def _finish(api: PretendedApi, task: str, **report: object) -> None:
    """The Job of `task` ends well: its pod first, with what the process has reported."""
    (job,) = _jobs(api, task)
    name, ended_at = job["metadata"]["name"], timestamp(datetime.now(UTC))  # one that ended long ago is not waited for
    message = {"task": task, "outcome": "succeeded", "targetRevision": REVISION, "planHash": PLAN, **report}
    state = {"terminated": {"exitCode": 0, "reason": "Completed", "message": json.dumps(message)}}
    metadata = {
        "name": f"{name}-x",
        "labels": job["metadata"]["labels"],
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}],
    }
    status = {"phase": "Succeeded", "containerStatuses": [{"name": "coursegen", "state": state}]}
    api.cluster.add({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status})
    complete = {"type": "Complete", "status": "True", "lastTransitionTime": ended_at}
    done = {"startTime": ended_at, "completionTime": ended_at, "conditions": [complete]}
    api.cluster.edit(key_of(job), lambda item: item.update(status=done))


def _attempt(api: PretendedApi) -> str:
    """The Job that the migration's status tells of."""
    return str((api.cluster.objects[MAIN]["status"].get("lastAttempt") or {}).get("jobName", ""))


def _reason(api: PretendedApi) -> str:
    """Of the migration's condition Ready."""
    conditions = (api.cluster.objects[MAIN].get("status") or {}).get("conditions") or ()
    return str((find(conditions, "Ready") or {}).get("reason", ""))


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
