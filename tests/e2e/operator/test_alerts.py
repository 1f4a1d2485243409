"""Alerts that really fire in a real Prometheus, by windows that an AlertPolicy has shortened, and are quiet again afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.clusters import refuse
from tests.support.kube.installation import Installation
from tests.support.kube.operator import (
    OperatorRelease,
    await_condition,
    condition,
    reads,
)
from tests.support.kube.prometheus import has_prometheus, hurry, is_scraped, prometheus_says
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(600)]

FIRED_SECONDS = 90.0


@pytest.fixture
def watched(operator: OperatorRelease, operated: Installation) -> Installation:
    """An application with an AlertPolicy of short windows, seen by Prometheus."""
    if not has_prometheus():
        refuse("no Prometheus on the cluster; install Prometheus Operator: https://prometheus-operator.dev")
    for namespace in (operator.namespace, operated.namespace):
        eventually_sync(lambda namespace=namespace: is_scraped(namespace), within=FIRED_SECONDS, every=2)
    return operated


def firing(namespace: str) -> set[str]:
    """The names of the alerts that fire for a namespace."""
    alerts = prometheus_says("alerts")["alerts"]
    ours = [each for each in alerts if each["labels"].get("namespace") == namespace and each["state"] == "firing"]
    return {each["labels"]["alertname"] for each in ours}


def fires(installation: Installation, name: str) -> None:
    """Return when an alert fires."""
    eventually_sync(lambda: name in firing(installation.namespace), within=FIRED_SECONDS, every=1)


def is_quiet(installation: Installation, *alerts: str) -> None:
    """Return when none of the alerts fires."""
    eventually_sync(lambda: not set(alerts) & firing(installation.namespace), within=FIRED_SECONDS, every=1)


def test_the_policy_says_who_loads_its_rules(watched: Installation) -> None:
    """Selected, by labels that were taken from the Prometheus, accepted by its operator, and really loaded."""
    namespace = watched.namespace
    selected = await_condition(namespace, "alp", "platform", "RulesSelected", within=60)
    await_condition(namespace, "alp", "platform", "RulesAccepted", within=60)
    rule = watched.get("prometheusrule", selected["status"]["prometheusRule"]["name"])

    assert rule["metadata"]["labels"]["release"] == "prometheus"
    (by,) = selected["status"]["selectedBy"]
    assert (by["namespace"], by["name"], by["selected"]) == ("monitoring", "k8s", "True")

    def loaded() -> set[str]:
        hurry()
        groups = prometheus_says("rules")["groups"]
        return {rule["name"] for group in groups for rule in group["rules"] if rule["type"] == "alerting"}

    wanted = {rule["alert"] for group in rule["spec"]["groups"] for rule in group["rules"] if "alert" in rule}
    assert len(wanted) == selected["status"]["alertCount"] > 20
    eventually_sync(lambda: wanted <= loaded(), within=FIRED_SECONDS, every=1)


def test_a_stopped_relay_is_an_alert_until_it_is_back(watched: Installation) -> None:
    """`OutboxProcessorStalled` and nobody leading; quiet again when it runs."""
    is_quiet(watched, "OutboxProcessorStalled", "OutboxRelayNoLeader")
    relay = f"deployment/{watched.fullname}-outbox-relay"
    watched.kubectl("scale", relay, "--replicas=0")
    try:
        fires(watched, "OutboxProcessorStalled")
        fires(watched, "OutboxRelayNoLeader")
    finally:
        watched.kubectl("scale", relay, "--replicas=1")
    is_quiet(watched, "OutboxProcessorStalled", "OutboxRelayNoLeader")


def test_a_broken_migration_is_an_alert_until_it_is_mended(watched: Installation) -> None:
    """`DatabaseMigrationStalled`, from the operator's own metrics."""
    namespace = watched.namespace
    is_quiet(watched, "DatabaseMigrationStalled")
    _ask_for(watched, targetRevision="20990101000000", retry={"maxAttempts": 1})
    stalled = await_condition(namespace, "dbm", "main", "Stalled", within=180)
    fires(watched, "DatabaseMigrationStalled")
    assert "kubectl" in condition(stalled, "Stalled")["message"]

    _ask_for(watched, targetRevision="head", retry=None)

    await_condition(namespace, "dbm", "main", "Ready", within=120)
    is_quiet(watched, "DatabaseMigrationStalled")


def _ask_for(watched: Installation, **spec: Any) -> None:
    watched.kubectl("patch", "dbm/main", "--type=merge", "-p", json.dumps({"spec": spec}))


def test_an_edited_rule_is_put_right(watched: Installation) -> None:
    """Within ten seconds; and one whose PromQL does not parse is never written, the old one stays."""
    namespace = watched.namespace
    name = reads(namespace, "alp", "platform")["status"]["prometheusRule"]["name"]
    before = watched.get("prometheusrule", name)["spec"]
    watched.kubectl("patch", "prometheusrule", name, "--type=merge", "-p", json.dumps({"spec": {"groups": []}}))
    eventually_sync(lambda: watched.get("prometheusrule", name)["spec"] == before, within=10, every=0.2)

    broken = [{"name": "own", "rules": [{"alert": "Broken", "expr": "sum(((", "labels": {"severity": "info"},
               "annotations": dict.fromkeys(("summary", "description", "runbook_url"), "x")}]}]  # fmt: skip
    watched.kubectl("patch", "alp/platform", "--type=merge", "-p", json.dumps({"spec": {"extraGroups": broken}}))
    stalled = await_condition(namespace, "alp", "platform", "Stalled", within=30)
    assert "Broken" in condition(stalled, "Stalled")["message"]
    assert watched.get("prometheusrule", name)["spec"] == before
    watched.kubectl("patch", "alp/platform", "--type=merge", "-p", json.dumps({"spec": {"extraGroups": []}}))
    await_condition(namespace, "alp", "platform", "Ready", within=30)
    said = watched.kubectl("events", "--for", "alp/platform")
    assert [each for each in ("RulesWritten", "RulesSelected", "RulesInvalid") if each not in said] == []
