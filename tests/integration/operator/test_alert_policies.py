"""AlertPolicies by the whole operator against a pretended API server: a Prometheus Operator that comes later; what is read."""

from __future__ import annotations

from typing import Any

from operators.coursegen_operator.alerts.planner import AlertKind
from operators.coursegen_operator.conditions import find
from operators.coursegen_operator.resources import (
    ALERT_POLICY,
    ANNOTATION_RECONCILE_AT,
    PROMETHEUS,
    PROMETHEUS_RULE,
    THANOS_RULER,
    Object,
    ObjectKey,
)
from tests.support.operating import QUICK, operating
from tests.support.pretended_api import PretendedApi
from tests.support.waiting import eventually

KEY = ObjectKey(ALERT_POLICY.kind, "default", "platform")
RULE = ObjectKey(PROMETHEUS_RULE.kind, "default", "platform-alerts")
REPAIR_SECONDS = 10.0


def policy(**spec: Any) -> Object:
    """An AlertPolicy with one preset, as a person writes it."""
    return {
        "apiVersion": ALERT_POLICY.api_version,
        "kind": ALERT_POLICY.kind,
        "metadata": {"name": KEY.name, "namespace": KEY.namespace},
        "spec": {"presets": {"outbox": {}}, "runbookBaseURL": "https://runbooks.example", **spec},
    }


def prometheus(namespace: str) -> Object:
    """One that selects rules of the release kps everywhere."""
    return {
        "apiVersion": PROMETHEUS.api_version,
        "kind": PROMETHEUS.kind,
        "metadata": {"name": "k8s", "namespace": namespace},
        "spec": {"ruleSelector": {"matchLabels": {"release": "kps"}}, "ruleNamespaceSelector": {}},
    }


def ready_reason(api: PretendedApi) -> str:
    """Why the policy is Ready; empty while it is not."""
    status = api.cluster.objects[KEY].get("status", {})
    ready = find(status.get("conditions") or (), "Ready") or {}
    return str(ready["reason"]) if ready.get("status") == "True" else ""


def groups(api: PretendedApi) -> list[Object]:
    """What is in its PrometheusRule; nothing when there is none."""
    found: list[Object] = api.cluster.objects.get(RULE, {}).get("spec", {}).get("groups", [])
    return found


def inventories(api: PretendedApi) -> int:
    """How often rules of all namespaces were asked for, which nobody does but an inventory, and watches once there are any."""
    return api.requests.count(f"GET /apis/{PROMETHEUS_RULE.api_version}/{PROMETHEUS_RULE.plural}")


async def test_rules_of_a_prometheus_operator_that_comes_later_are_repaired(api: PretendedApi) -> None:
    """As soon as they are written, not from the next resync on: edited or deleted they are back within ten seconds."""
    api.cluster.absent |= {PROMETHEUS_RULE.kind, PROMETHEUS.kind, THANOS_RULER.kind}
    api.cluster.add(policy())
    async with operating([AlertKind()], **QUICK) as (serving, _, health):
        await eventually(lambda: ready_reason(api) == "PrometheusOperatorAbsent", within=20)
        await eventually(lambda: inventories(api) == 2, within=20)  # the next one is due in ten minutes
        assert not groups(api)

        api.cluster.absent.clear()
        api.cluster.edit(KEY, lambda item: item["metadata"].update(annotations={ANNOTATION_RECONCILE_AT: "now"}))
        await eventually(lambda: ready_reason(api) == "Applied", within=20)
        wanted = groups(api)
        assert wanted

        api.cluster.edit(RULE, lambda item: item["spec"].update(groups=[]))
        await eventually(lambda: groups(api) == wanted, within=REPAIR_SECONDS)
        api.cluster.drop(RULE)
        await eventually(lambda: groups(api) == wanted, within=REPAIR_SECONDS)
        assert not serving.done()
        assert await health.unready() == {}


async def test_beyond_its_namespaces_only_the_named_prometheus_is_read(api: PretendedApi) -> None:
    """By its name, for a Role there is enough; its labels are copied."""
    api.cluster.add(prometheus("monitoring"))
    api.cluster.add(policy(prometheusSelector={"name": "k8s", "namespace": "monitoring"}))
    async with operating([AlertKind(["default"])], **QUICK, OPERATOR_WATCH_NAMESPACES="default"):
        await eventually(lambda: ready_reason(api) == "Applied", within=20)

    assert api.cluster.objects[RULE]["metadata"]["labels"]["release"] == "kps"
    beyond = {each for each in api.requests if "/namespaces/default" not in each}
    named = f"GET /apis/{PROMETHEUS.group}/v1/namespaces/monitoring"
    assert {each for each in beyond if each.split("/")[-1] not in {"api", "apis", "v1", "v1alpha1"}} == {
        f"{named}/prometheuses/k8s",
        f"{named}/thanosrulers/k8s",
    }
