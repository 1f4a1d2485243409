"""Alerts that really fire in a real Prometheus, by windows that an AlertPolicy has shortened, and are quiet again afterwards.

Those of the parts of a deployment are in test_parts.py.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.kube.commands import apply, kubectl
from tests.support.kube.installation import Installation, is_available, own_namespace, port_forward
from tests.support.kube.operator import GROUP, await_condition, condition, reads
from tests.support.kube.prometheus import FIRED_SECONDS, fires, hurry, is_quiet, prometheus_says
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(600)]

REPAIR_SECONDS = 10.0


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

    wanted = [rule["alert"] for group in rule["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(wanted) == selected["status"]["alertCount"] > 20
    eventually_sync(lambda: set(wanted) <= loaded(), within=FIRED_SECONDS, every=1)


def test_a_broken_migration_is_an_alert_until_it_is_mended(watched: Installation) -> None:
    """`DatabaseMigrationStalled`, from the operator's own metrics; the application goes on all the while, in the same pods."""
    namespace = watched.namespace
    is_quiet(namespace, "DatabaseMigrationStalled")
    before = _running(watched)
    _ask_for(watched, targetRevision="20990101000000", retry={"maxAttempts": 1})
    stalled = await_condition(namespace, "dbm", "main", "Stalled", within=180)
    fires(namespace, "DatabaseMigrationStalled")
    assert "kubectl" in condition(stalled, "Stalled")["message"]
    assert is_available(watched.get("deployment", f"{watched.fullname}-api"))
    assert _status(watched, watched.token()) == 404  # the database was asked
    assert _status(watched, "nobody's") == 401
    assert _running(watched) == before
    assert condition(reads(namespace, "dbm", "main"), "Stalled")["status"] == "True"

    _ask_for(watched, targetRevision="head", retry=None)

    await_condition(namespace, "dbm", "main", "Ready", within=120)
    is_quiet(namespace, "DatabaseMigrationStalled")
    assert _running(watched) == before


def _running(watched: Installation) -> dict[str, int]:
    """The pods of its processes, and how often each has started anew."""
    restarts = watched.restarts()
    return {name: restarts.get(name, 0) for process in watched.processes() for name in watched.pod_names(process)}


def _status(watched: Installation, token: str) -> int:
    """How its api answers somebody who asks for a course that is not there."""
    with port_forward(watched, f"service/{watched.fullname}-api", 3000) as url:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{url}/api/courses/{uuid4()}", headers=headers, timeout=30).status_code


def _ask_for(watched: Installation, **spec: Any) -> None:
    watched.kubectl("patch", "dbm/main", "--type=merge", "-p", json.dumps({"spec": spec}))


def test_rules_that_no_prometheus_has_are_an_alert_by_those_of_another_namespace(watched: Installation) -> None:
    """`AlertRulesNotSelected`, of the policy of the application, for one elsewhere that cannot say so itself; then of nobody."""
    spec = {
        "runbookBaseURL": "https://runbooks.example",
        "presets": {"outbox": {}},
        "prometheusSelector": {"auto": False},
        "ruleLabels": {"release": "nobody"},
    }
    manifest = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "AlertPolicy", "metadata": {"name": "unheard"}, "spec": spec}
    is_quiet(watched.namespace, "AlertRulesNotSelected")
    with own_namespace("unheard") as namespace:
        apply(json.dumps(manifest), "-n", namespace)
        unheard = await_condition(namespace, "alp", "unheard", "RulesGenerated", within=30)
        assert condition(unheard, "RulesSelected")["reason"] == "NotSelected"
        fires(namespace, "AlertRulesNotSelected")

        chosen = {"spec": {"ruleLabels": {"release": "prometheus"}}}
        kubectl("-n", namespace, "patch", "alp/unheard", "--type=merge", "-p", json.dumps(chosen))
        await_condition(namespace, "alp", "unheard", "RulesSelected", within=30)
        is_quiet(namespace, "AlertRulesNotSelected")


def test_an_edited_or_deleted_rule_is_put_right(watched: Installation) -> None:
    """Within ten seconds; and one whose PromQL does not parse is never written, the old one stays."""
    namespace = watched.namespace
    name = reads(namespace, "alp", "platform")["status"]["prometheusRule"]["name"]
    found = watched.get("prometheusrule", name)
    before, uid = found["spec"], found["metadata"]["uid"]
    watched.kubectl("patch", "prometheusrule", name, "--type=merge", "-p", json.dumps({"spec": {"groups": []}}))
    eventually_sync(lambda: watched.get("prometheusrule", name)["spec"] == before, within=REPAIR_SECONDS, every=0.2)
    watched.kubectl("delete", "prometheusrule", name, "--wait=false")

    def is_back() -> bool:
        found = watched.get("prometheusrule", name)
        return bool(found["metadata"]["uid"] != uid and found["spec"] == before)

    eventually_sync(is_back, within=REPAIR_SECONDS, every=0.2)

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
