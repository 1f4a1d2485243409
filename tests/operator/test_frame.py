"""The operator in this process against a real API server, confined to one namespace: made, repaired, handed over, gone."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from operators.coursegen_operator.resources import LABEL_MANAGED_BY, LABEL_OWNER_UID
from tests.support.clusters import refuse
from tests.support.kube.commands import get, items, kubectl, run
from tests.support.kube.prometheus import has_prometheus_operator
from tests.support.operating import operating
from tests.support.waiting import eventually

pytestmark = pytest.mark.cluster

REPAIR_SECONDS = 10.0
HAND_OVER_SECONDS = 3.0
BUSY_SECONDS = 2.0
"""What a test adds to a limit for the time in which it looks."""


def policy(name: str = "outbox", **spec: Any) -> str:
    """A RetentionPolicy that never runs."""
    return json.dumps(
        {
            "apiVersion": "ops.coursegen.dev/v1alpha1",
            "kind": "RetentionPolicy",
            "metadata": {"name": name},
            "spec": {
                "schedule": "0 2 * * *",
                "suspend": True,
                "databaseSecretRef": {"name": "none"},
                "image": "registry.example/migrate:1",
                "rules": [{"name": "outbox", "target": "OutboxPublished", "keep": "30d"}],
                **spec,
            },
        }
    )


def resource(kind: str, name: str, spec: dict[str, Any]) -> str:
    """A resource of the operator's."""
    place = {"apiVersion": "ops.coursegen.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}
    return json.dumps({**place, "spec": spec})


async def apply(namespace: str, manifest: str) -> None:
    """`kubectl apply`."""
    await asyncio.to_thread(kubectl, "-n", namespace, "apply", "--server-side", "-f", "-", stdin=manifest)


def seen(namespace: str, name: str = "outbox") -> Any:
    """The status, once it is of the present generation and Ready."""
    return told(namespace, "retentionpolicy", name, "Ready")


def told(namespace: str, kind: str, name: str, condition: str) -> Any:
    """The status, once it is of the present generation and `condition` is True."""
    found = get("-n", namespace, kind, name)
    status = found["status"]
    holds = [each for each in status.get("conditions", []) if each["type"] == condition and each["status"] == "True"]
    return status if holds and status["observedGeneration"] == found["metadata"]["generation"] else None


def reason_of(status: Any, condition: str) -> str:
    """Why a condition is as it is."""
    (found,) = (each["reason"] for each in status["conditions"] if each["type"] == condition)
    return str(found)


def cron_jobs(namespace: str) -> list[Any]:
    """What the policies own."""
    return items("-n", namespace, "cronjobs", "-l", f"{LABEL_MANAGED_BY}=coursegen-operator")


def jobs(namespace: str) -> list[Any]:
    """The Jobs that the operator has made."""
    return items("-n", namespace, "jobs", "-l", f"{LABEL_MANAGED_BY}=coursegen-operator")


def confine(namespace: str) -> dict[str, str]:
    """Settings of an operator for one namespace."""
    return {"OPERATOR_WATCH_NAMESPACES": namespace, "OPERATOR_LEASE_NAMESPACE": namespace}


async def test_a_policy_becomes_a_cron_job_that_is_put_right(confined: str) -> None:
    """With the rights of one namespace; deleted or edited it is back within ten seconds; nobody writes but the status."""
    async with operating(**confine(confined)) as (serving, _, health):
        await apply(confined, policy())
        status = await eventually(lambda: seen(confined), within=30)
        (child,) = cron_jobs(confined)
        owner = get("-n", confined, "retentionpolicy", "outbox")
        assert status["cronJobName"] == child["metadata"]["name"]
        assert child["metadata"]["labels"][LABEL_OWNER_UID] == owner["metadata"]["uid"]
        assert [each["controller"] for each in child["metadata"]["ownerReferences"]] == [True]
        assert "finalizers" not in {**child["metadata"], **owner["metadata"]}
        assert not any("kopf" in key for key in owner["metadata"].get("annotations", {}))

        name = child["metadata"]["name"]
        await _repaired(confined, child, ("delete", f"cronjob/{name}", "--wait=false"))
        harm = '{"spec":{"schedule":"* * * * *","suspend":false}}'
        await _repaired(confined, child, ("patch", f"cronjob/{name}", "--type=merge", "-p", harm))
        await _repaired(confined, child, ("label", f"cronjob/{name}", f"{LABEL_MANAGED_BY}=me", "--overwrite"))
        assert not serving.done()
        assert await health.unready() == {}


async def _repaired(namespace: str, wanted: Any, harm: tuple[str, ...]) -> None:
    began = time.monotonic()
    await asyncio.to_thread(kubectl, "-n", namespace, *harm)

    def is_back() -> bool:
        found = [each for each in cron_jobs(namespace) if "deletionTimestamp" not in each["metadata"]]
        return [each["spec"] for each in found] == [wanted["spec"]]

    await eventually(is_back, within=REPAIR_SECONDS + BUSY_SECONDS, every=0.2)
    print(f"{harm[0]}: put right within {time.monotonic() - began:.1f} s")


async def test_an_idle_policy_is_written_no_more(confined: str) -> None:
    """Its version stands still."""
    async with operating(**confine(confined), OPERATOR_RESYNC_SECONDS="2"):
        await apply(confined, policy())
        await eventually(lambda: seen(confined), within=30)
        await asyncio.sleep(3)
        before = get("-n", confined, "retentionpolicy", "outbox")["metadata"]["resourceVersion"]
        await asyncio.sleep(10)
        assert get("-n", confined, "retentionpolicy", "outbox")["metadata"]["resourceVersion"] == before


async def test_the_next_one_goes_on_where_the_first_has_stopped(confined: str) -> None:
    """The Lease is given back; an edit in the gap is seen by the next leader."""
    async with operating(**confine(confined)) as (first, first_stops, _):
        await apply(confined, policy())
        await eventually(lambda: seen(confined), within=30)
        async with operating(**confine(confined)) as (second, _, standby):
            await asyncio.sleep(1)
            assert await standby.unready() == {}
            first_stops.set()
            await asyncio.wait_for(first, HAND_OVER_SECONDS + BUSY_SECONDS)
            await apply(confined, policy(schedule="30 4 * * *"))
            await eventually(lambda: cron_jobs(confined)[0]["spec"]["schedule"] == "30 4 * * *", within=REPAIR_SECONDS)
            assert not second.done()


async def test_a_migration_becomes_a_job_that_plans(confined: str) -> None:
    """Under a name that follows from what it is for: the next leader finds it and makes no other. It goes with its owner."""
    spec = {"databaseSecretRef": {"name": "none"}, "image": "registry.example/migrate:1"}
    async with operating(**confine(confined)) as (serving, stops, _):
        await apply(confined, resource("DatabaseMigration", "main", spec))
        await eventually(lambda: jobs(confined), within=30)
        stops.set()
        await asyncio.wait_for(serving, HAND_OVER_SECONDS + BUSY_SECONDS)
    (job,) = jobs(confined)
    owner = get("-n", confined, "databasemigration", "main")
    assert job["metadata"]["name"].startswith("main-plan-")
    assert [(each["uid"], each["controller"]) for each in job["metadata"]["ownerReferences"]] == [
        (owner["metadata"]["uid"], True)
    ]
    assert "finalizers" not in owner["metadata"]

    async with operating(**confine(confined)):
        status = await eventually(lambda: told(confined, "databasemigration", "main", "Reconciling"), within=30)
        assert status["lastAttempt"]["jobName"] == job["metadata"]["name"]
        assert [each["metadata"]["uid"] for each in jobs(confined)] == [job["metadata"]["uid"]]
        await asyncio.to_thread(kubectl, "-n", confined, "delete", "databasemigration", "main", "--wait=false")
        await eventually(lambda: not jobs(confined), within=60, every=0.5)


async def test_an_alert_policy_becomes_a_rule_unless_it_cannot_work(confined: str) -> None:
    """PromQL that does not parse stalls it, and the rule stays as it was; put right, it is written."""
    if not has_prometheus_operator():
        refuse("no kind PrometheusRule on the cluster; install Prometheus Operator: https://prometheus-operator.dev")
    presets = {"outbox": {"lagSeconds": 90}}
    spec = {"runbookBaseURL": "https://runbooks.example", "presets": presets}
    broken = {"alert": "Mine", "expr": "sum(", "labels": {"severity": "warning"}}
    async with operating(**confine(confined)):
        await apply(confined, resource("AlertPolicy", "platform", spec))
        status = await eventually(lambda: told(confined, "alertpolicy", "platform", "Ready"), within=30)
        assert reason_of(status, "Ready") == "Applied"
        (rule,) = items("-n", confined, "prometheusrules", "-l", f"{LABEL_MANAGED_BY}=coursegen-operator")
        assert status["prometheusRule"]["name"] == rule["metadata"]["name"] == "platform-alerts"
        assert status["alertCount"] > 0
        groups = [{"name": "mine", "rules": [broken]}]
        await apply(confined, resource("AlertPolicy", "platform", {**spec, "extraGroups": groups}))
        status = await eventually(lambda: told(confined, "alertpolicy", "platform", "Stalled"), within=30)
        assert reason_of(status, "Stalled") == "RulesInvalid"
        assert get("-n", confined, "prometheusrule", "platform-alerts")["spec"] == rule["spec"]
        await apply(confined, resource("AlertPolicy", "platform", {**spec, "presets": {"outbox": {"lagSeconds": 91}}}))
        await eventually(lambda: told(confined, "alertpolicy", "platform", "Ready"), within=30)
        assert get("-n", confined, "prometheusrule", "platform-alerts")["spec"] != rule["spec"]


async def test_a_namespace_goes_with_all_that_is_in_it(confined: str) -> None:
    """Nothing is left Terminating, with the operator running or without."""
    async with operating(**confine(confined), OPERATOR_ELECTION="none") as (serving, _, _):  # the Lease goes, too
        await apply(confined, policy())
        await eventually(lambda: seen(confined), within=30)
        await asyncio.to_thread(kubectl, "delete", "namespace", confined, "--wait=false")

        def is_gone() -> bool:
            return run(["kubectl", "get", "namespace", confined], check=False).returncode != 0

        await eventually(is_gone, within=60, every=0.5)
        assert not serving.done()
