"""The operator's client of the API server, over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from operators.coursegen_operator.cluster import PAGE, Cluster, path_of
from operators.coursegen_operator.errors import (
    AlreadyThere,
    ClusterUnavailable,
    KindAbsent,
    LeadershipLost,
    NotPermitted,
    ObjectGone,
    WriteConflict,
)
from operators.coursegen_operator.figures import Figures
from operators.coursegen_operator.resources import (
    CRON_JOB,
    JOB,
    POD,
    PROMETHEUS_RULE,
    RETENTION_POLICY,
    Object,
    ObjectKey,
)
from services.kernel.errors import SettingsInvalid
from tests.support.pretended_api import PretendedApi
from tests.support.pretended_kind import sample

CRON: Object = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "x", "namespace": "default", "labels": {"a": "b"}},
    "spec": {"schedule": "0 2 * * *", "suspend": True},
}


@pytest.fixture
async def cluster(api: PretendedApi) -> AsyncIterator[Cluster]:
    """A connection to it."""
    async with Cluster.open(1.0, Figures()) as opened:
        yield opened


def test_paths_are_those_of_kubernetes() -> None:
    """With a group or without, in a namespace or in all of them."""
    assert path_of(POD, "here", "x") == "api/v1/namespaces/here/pods/x"
    assert path_of(CRON_JOB, None) == "apis/batch/v1/cronjobs"
    assert path_of(RETENTION_POLICY, "here", "x/status").endswith("/namespaces/here/retentionpolicies/x/status")


async def test_objects_are_applied_read_listed_and_deleted(api: PretendedApi, cluster: Cluster) -> None:
    """Fields that are named no more go; what is not there is None."""
    assert await cluster.get(CRON_JOB, "default", "x") is None
    made = await cluster.apply(CRON_JOB, CRON)
    assert made["spec"]["suspend"] is True
    changed = await cluster.apply(CRON_JOB, {**CRON, "spec": {"schedule": "0 3 * * *"}})
    assert changed["spec"] == {"schedule": "0 3 * * *"}
    assert await cluster.get(CRON_JOB, "default", "x") == changed
    assert await cluster.list(CRON_JOB, None, labels={"a": "b"}) == [changed]
    assert await cluster.list(CRON_JOB, "default", labels={"a": "c"}) == []
    merged = await cluster.merge(CRON_JOB, "default", "x", {"spec": {"list": [1]}})
    assert merged["spec"]["list"] == [1]
    await cluster.delete(CRON_JOB, {**merged, "metadata": {**merged["metadata"], "uid": "another"}})
    assert api.cluster.objects
    await cluster.delete(CRON_JOB, merged)
    await cluster.delete(CRON_JOB, merged)
    assert not api.cluster.objects


async def test_long_lists_come_in_parts(api: PretendedApi, cluster: Cluster) -> None:
    """Whole, in either way; the store's without what nobody reads of it."""
    names = [f"policy-{number:03}" for number in range(2 * PAGE + 1)]
    for name in names:
        item = api.cluster.add(sample(name))
        item["metadata"]["managedFields"] = [{"manager": "kubectl"}]

    listed = await cluster.list(RETENTION_POLICY, "default")
    kept, version = await cluster.snapshot(RETENTION_POLICY, "default")

    assert sorted(each["metadata"]["name"] for each in listed) == names
    assert sorted(each["metadata"]["name"] for each in kept) == names
    assert all("managedFields" in each["metadata"] for each in listed)
    assert not any("managedFields" in each["metadata"] for each in kept)
    assert int(version) >= len(names)


async def test_a_status_is_written_to_its_own_resource_only(api: PretendedApi, cluster: Cluster) -> None:
    """Not to another one of the same name, nor to one that is gone, nor to one that has changed."""
    old = api.cluster.add(sample())
    written = await cluster.apply_status(RETENTION_POLICY, old, {"jobs": 1})
    assert written["status"] == {"jobs": 1}
    with pytest.raises(WriteConflict):  # planned on what is there no more: a successor has written meanwhile
        await cluster.apply_status(RETENTION_POLICY, old, {"jobs": 2})
    assert api.cluster.objects[ObjectKey(RETENTION_POLICY.kind, "default", "sample")]["status"] == {"jobs": 1}
    api.cluster.drop(ObjectKey(RETENTION_POLICY.kind, "default", "sample"))
    with pytest.raises(ObjectGone):
        await cluster.apply_status(RETENTION_POLICY, old, {"jobs": 2})
    api.cluster.add(sample())
    with pytest.raises(WriteConflict):
        await cluster.apply_status(RETENTION_POLICY, old, {"jobs": 2})


async def test_who_leads_no_more_writes_nothing(api: PretendedApi, cluster: Cluster) -> None:
    """Not even a request; reading is free."""
    there = api.cluster.add(CRON)
    resource = {**sample(), "metadata": there["metadata"]}

    def lost() -> None:
        raise LeadershipLost

    cluster.guard = lost
    api.requests.clear()
    for write in (
        lambda: cluster.create(JOB, CRON),
        lambda: cluster.apply(CRON_JOB, CRON),
        lambda: cluster.apply_status(RETENTION_POLICY, resource, {}),
        lambda: cluster.merge(CRON_JOB, "default", "x", {}),
        lambda: cluster.delete(CRON_JOB, there),
    ):
        with pytest.raises(LeadershipLost):
            await write()
    assert api.requests == []
    assert await cluster.get(CRON_JOB, "default", "x") is not None


async def test_a_second_one_is_not_made(cluster: Cluster) -> None:
    """A Job is made once."""
    job = {**CRON, "kind": "Job"}
    await cluster.create(JOB, job)
    with pytest.raises(AlreadyThere):
        await cluster.create(JOB, job)


async def test_a_kind_that_is_not_installed_is_told_from_an_object_that_is_not_there(
    api: PretendedApi, cluster: Cluster
) -> None:
    """Both are a 404."""
    assert await cluster.list(PROMETHEUS_RULE, None) == []
    api.cluster.absent.add(PROMETHEUS_RULE.kind)
    with pytest.raises(KindAbsent):
        await cluster.get(PROMETHEUS_RULE, "default", "x")
    with pytest.raises(KindAbsent):
        await cluster.list(PROMETHEUS_RULE, None)


async def test_an_answer_that_does_not_come_is_not_waited_for(api: PretendedApi, cluster: Cluster) -> None:
    """A second, as the setting says; a refusal is named."""
    api.hangs = True
    began = time.monotonic()
    with pytest.raises(ClusterUnavailable):
        await cluster.get(CRON_JOB, "default", "x")
    assert time.monotonic() - began < 3
    api.hangs = False
    stored = api.cluster.add(sample())
    api.token = "another"
    with pytest.raises(NotPermitted, match="kubectl auth can-i get cronjobs"):
        await cluster.get(CRON_JOB, "default", "x")
    with pytest.raises(NotPermitted, match=r"can-i patch retentionpolicies\S* --subresource=status"):
        await cluster.apply_status(RETENTION_POLICY, stored, {})


async def test_nobody_at_home_is_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Connection refused."""
    _point_at(monkeypatch, tmp_path, {"token": "t"})
    async with Cluster.open(1.0, Figures()) as cluster:
        with pytest.raises(ClusterUnavailable):
            await cluster.list(CRON_JOB, None)


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        ({"token": "t"}, "Bearer t"),
        ({"username": "u", "password": "p"}, "Basic dTpw"),
        ({}, None),
    ],
)
async def test_who_asks_is_shown_to_whoever_speaks_to_the_server_by_other_means(
    user: Object, authorization: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A token, a password, or a certificate."""
    _point_at(monkeypatch, tmp_path, user)
    async with Cluster.open(1.0, Figures()) as cluster:
        assert cluster.access.authorization() == authorization
        assert cluster.access.server == "http://127.0.0.1:1"


async def test_a_program_that_logs_in_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kopf could not run it."""
    _point_at(monkeypatch, tmp_path, {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "x"}})
    with pytest.raises(SettingsInvalid, match="token"):
        async with Cluster.open(1.0, Figures()):
            await asyncio.sleep(0)


def _point_at(monkeypatch: pytest.MonkeyPatch, folder: Path, user: Object) -> None:
    path = folder / "kubeconfig"
    config = {
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(path))
