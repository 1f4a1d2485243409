"""What an AlertPolicy comes to."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from operators.coursegen_operator.alerts.planner import AMISS_SECONDS, FRESH_SECONDS
from operators.coursegen_operator.conditions import timestamp
from operators.coursegen_operator.resources import Object
from tests.unit.operators.coursegen_operator.alerts.scene import (
    GOOD_GROUP,
    RULE,
    Scene,
    message,
    policy,
    prometheus,
    reasons,
    told,
)

BROKEN = {"name": "broken", "rules": [{**GOOD_GROUP["rules"][0], "alert": "Broken", "expr": "sum("}]}
NEEDED = {"summary", "description", "runbook_url"}


def _groups(scene: Scene) -> list[Object]:
    (rule,) = scene.rules
    found: list[Object] = rule["spec"]["groups"]
    return found


def _binding(status: str) -> Object:
    condition = {"type": "Accepted", "status": status, "message": "bad", "observedGeneration": 1}
    return {"resource": "prometheuses", "namespace": "monitoring", "name": "k8s", "conditions": [condition]}


def test_the_rule_is_written_and_told() -> None:
    """One PrometheusRule, with every alert as it must be."""
    scene = Scene(policy(extraGroups=[GOOD_GROUP]), [prometheus()])
    plan = scene.look()

    assert told(plan, "Ready") == ("True", "Applied")
    assert told(plan, "RulesGenerated") == ("True", "Generated")
    assert told(plan, "RulesSelected") == ("True", "Selected")
    assert told(plan, "RulesAccepted") == ("Unknown", "NotReported")
    assert reasons(plan) == ["RulesWritten", "RulesSelected"]
    alerts = [rule for group in _groups(scene) for rule in group["rules"] if "alert" in rule]
    assert plan.status["alertCount"] == len(alerts) > 3
    assert plan.status["groupCount"] == 2
    assert all(rule["annotations"].keys() >= NEEDED and rule["labels"]["severity"] for rule in alerts)
    assert scene.rules[0]["metadata"]["labels"]["release"] == "kps"
    assert scene.rules[0]["metadata"]["name"] == RULE == plan.status["prometheusRule"]["name"]
    assert plan.status["selectedBy"][0] == {
        "kind": "Prometheus",
        "namespace": "monitoring",
        "name": "k8s",
        "selected": "True",
        "accepted": "Unknown",
        "message": "",
    }


def test_looking_again_changes_and_tells_nothing() -> None:
    """But while the rule is fresh there is another look soon."""
    scene = Scene(policy(), [prometheus()])
    first, second = scene.look(), scene.look()

    assert first.status == second.status
    assert second.notices == ()
    assert second.look_again_seconds == FRESH_SECONDS
    scene.later(61)
    assert scene.look().look_again_seconds is None
    assert scene.look().status == first.status


@pytest.mark.parametrize("gone", [True, False])
def test_a_rule_that_is_deleted_or_edited_comes_back(gone: bool) -> None:
    """The plan always wants it."""
    scene = Scene(policy(), [prometheus()])
    scene.look()
    before = copy.deepcopy(scene.rules[0]["spec"])
    if gone:
        scene.rules = []
    else:
        scene.rules[0]["spec"]["groups"] = []

    scene.look()

    assert scene.rules[0]["spec"] == before


def test_a_rule_that_cannot_work_is_not_written_and_the_old_one_stays() -> None:
    """Stalled, with the alert, what to do and the command."""
    scene = Scene(policy(), [prometheus()])
    written = scene.look().status
    old = copy.deepcopy(scene.rules)
    scene.edit(extraGroups=[BROKEN])
    plan = scene.look()

    assert told(plan, "Ready") == ("False", "RulesInvalid")
    assert told(plan, "Stalled") == ("True", "RulesInvalid")
    assert told(plan, "RulesGenerated") == ("False", "RulesInvalid")
    assert "alert Broken of group broken: expr does not parse: unclosed left parenthesis" in message(plan, "Ready")
    assert f"{RULE} stays as it was" in message(plan, "Ready")
    assert message(plan, "Ready").endswith("kubectl -n courses edit alp/platform")
    assert scene.rules == old
    assert told(plan, "RulesSelected") == ("True", "Selected")
    assert plan.status["prometheusRule"] == written["prometheusRule"]
    assert plan.status["alertCount"] == written["alertCount"]
    assert reasons(plan) == ["RulesInvalid"]
    assert scene.look().notices == ()
    scene.edit(extraGroups=[BROKEN])
    assert reasons(scene.look()) == ["RulesInvalid"]  # the person's next attempt
    scene.edit(extraGroups=[])
    assert told(scene.look(), "Ready") == ("True", "Applied")


def test_a_first_rule_that_cannot_work_is_not_written() -> None:
    """Nothing is there to be selected."""
    plan = Scene(policy(extraGroups=[BROKEN]), [prometheus()]).look()

    assert plan.children == ()
    assert "Nothing is written" in message(plan, "Ready")
    assert told(plan, "RulesSelected") == ("Unknown", "RulesInvalid")
    assert plan.status["alertCount"] == 0


def test_many_faults_are_told_shortly() -> None:
    """The first three, and how many more."""
    broken = {"name": "b", "rules": [{**GOOD_GROUP["rules"][0], "expr": f"sum({'x' * 300}"} for _ in range(9)]}
    plan = Scene(policy(extraGroups=[broken])).look()

    assert "and 6 more" in message(plan, "Ready")
    assert len(message(plan, "Ready").encode()) <= 1024


def test_without_the_prometheus_operator_the_policy_is_ready() -> None:
    """An optional thing holds no release."""
    plan = Scene(policy(), denied=[("prometheusrules", "Absent")]).look()

    assert told(plan, "Ready") == ("True", "PrometheusOperatorAbsent")
    assert told(plan, "RulesGenerated") == ("False", "PrometheusOperatorAbsent")
    assert told(plan, "RulesSelected") == ("Unknown", "PrometheusOperatorAbsent")
    assert plan.children == ()
    assert plan.look_again_seconds is None


def test_an_operator_that_may_not_write_rules_needs_a_person() -> None:
    """RBAC is wrong: no alert can be had."""
    plan = Scene(policy(), denied=[("prometheusrules", "Forbidden")]).look()

    assert told(plan, "Stalled") == ("True", "NotPermitted")
    assert "kubectl auth can-i" in message(plan, "Ready")
    assert plan.children == ()


def test_suspending_removes_the_rule_and_resuming_brings_it_back() -> None:
    """Ready all the time."""
    scene = Scene(policy(), [prometheus()])
    scene.look()
    scene.edit(suspend=True)
    plan = scene.look()

    assert scene.rules == []
    assert told(plan, "Ready") == ("True", "Suspended")
    assert told(plan, "RulesGenerated") == ("False", "Suspended")
    assert told(plan, "RulesSelected") == ("Unknown", "Suspended")
    assert reasons(plan) == ["Suspended"]
    assert scene.look().notices == ()
    scene.edit(suspend=False)
    assert reasons(scene.look()) == ["RulesWritten", "RulesSelected"]
    assert len(scene.rules) == 1


@pytest.mark.parametrize("presets", [{}, {"outbox": {"enabled": False}}])
def test_nothing_enabled_is_no_rule(presets: Any) -> None:
    """And no fault."""
    scene = Scene(policy())
    scene.look()
    scene.edit(presets=presets)
    plan = scene.look()

    assert told(plan, "Ready") == ("True", "NothingEnabled")
    assert scene.rules == []


def test_a_rule_of_another_name_goes() -> None:
    """Whatever made it."""
    scene = Scene(policy())
    scene.look()
    other = copy.deepcopy(scene.rules[0])
    other["metadata"]["name"] = "other"
    scene.rules.append(other)
    scene.look()

    assert [rule["metadata"]["name"] for rule in scene.rules] == [RULE]


def test_presets_count_the_own_namespace_unless_told_otherwise() -> None:
    """Two releases on one Prometheus do not alarm each other."""
    own = Scene(policy())
    own.look()
    everywhere = Scene(policy(scope="Cluster"))
    everywhere.look()

    assert 'namespace="courses"' in str(_groups(own))
    assert 'namespace="courses"' not in str(_groups(everywhere))


def test_nobody_selecting_is_told_with_reasons_and_never_held_against_it() -> None:
    """Ready, RulesSelected False, an Event, and another look soon."""
    scene = Scene(policy(ruleLabels={"release": "mine"}), [prometheus()])
    plan = scene.look()
    scene.later(61)

    assert told(plan, "Ready")[0] == "True"
    assert told(plan, "RulesSelected") == ("False", "NotSelected")
    assert "asks for release=kps" in message(plan, "RulesSelected")
    assert "kubectl -n courses edit alp/platform" in message(plan, "RulesSelected")
    assert reasons(plan) == ["RulesWritten", "RulesNotSelected"]
    assert plan.status["selectedCount"] == 0
    assert scene.look().look_again_seconds == AMISS_SECONDS
    scene.edit(ruleLabels={})
    assert "RulesSelected" in reasons(scene.look())


def test_no_prometheus_at_all_is_nobody_who_selects() -> None:
    """All were looked at: none of these alerts can fire. What may not be read is told apart."""
    scene = Scene(policy(prometheusSelector={"name": "k8s", "namespace": "monitoring"}))
    plan = scene.look()

    assert told(plan, "RulesSelected") == ("False", "NoPrometheus")
    assert told(plan, "Ready")[0] == "True"
    assert reasons(plan) == ["RulesWritten", "RulesNotSelected"]
    assert "kubectl -n courses edit alp/platform" in message(plan, "RulesSelected")
    assert "prometheusSelector names monitoring/k8s, which is not there" in message(plan, "RulesSelected")


def test_what_may_not_be_read_is_unknown_and_not_false() -> None:
    """Another Prometheus may select it; the rule itself may say so."""
    scene = Scene(policy(), [prometheus("own", ruleSelector=None)], denied=[("prometheuses", "Forbidden")])
    assert told(scene.look(), "RulesSelected") == ("Unknown", "NotPermitted")

    scene.rules[0]["status"] = {"bindings": [_binding("True")]}
    plan = scene.plan()
    assert told(plan, "RulesSelected") == ("True", "Selected")
    assert told(plan, "RulesAccepted") == ("True", "Accepted")
    assert plan.status["selectedBy"][0]["name"] == "k8s"


def test_hidden_namespace_labels_are_unknown() -> None:
    """They decide."""
    chosen = prometheus(ruleNamespaceSelector={"matchLabels": {"team": "a"}})
    scene = Scene(policy(), [chosen], namespace_labels=None, denied=[("namespaces", "Forbidden")])
    plan = scene.look()

    assert told(plan, "RulesSelected") == ("Unknown", "NotPermitted")
    assert "may not be read" in message(plan, "RulesSelected")
    assert plan.status["copiedLabels"] == {"release": "kps"}
    scene.namespace_labels = {"team": "b"}
    assert told(scene.look(), "RulesSelected") == ("False", "NotSelected")


@pytest.mark.parametrize(("status", "reason"), [("True", "RulesAccepted"), ("False", "RulesRejected")])
def test_what_the_prometheus_operator_says_is_passed_on(status: str, reason: str) -> None:
    """In the condition, per Prometheus, and as an Event; Ready stays."""
    scene = Scene(policy(), [prometheus()])
    scene.look()
    scene.rules[0]["status"] = {"bindings": [_binding(status)]}
    plan = scene.look()

    assert told(plan, "RulesAccepted")[0] == status
    assert told(plan, "Ready") == ("True", "Applied")
    assert reasons(plan) == [reason]
    assert plan.status["selectedBy"][0]["accepted"] == status


def _refused() -> Scene:
    """A policy whose rule the Prometheus Operator has refused by an Event, which is gone since."""
    scene = Scene(policy(), [prometheus()])
    scene.look()
    scene.later(1)
    regarding = {"kind": "PrometheusRule", "name": RULE, "uid": "rule-uid"}
    told_at = timestamp(scene.now)
    said = {"type": "Warning", "reason": "InvalidConfiguration", "note": "no such function", "eventTime": told_at}
    scene.events = [{"metadata": {}, "regarding": regarding, **said}]
    plan = scene.look()
    assert told(plan, "RulesAccepted") == ("False", "Rejected")
    assert reasons(plan) == ["RulesRejected"]
    scene.later(7200)
    scene.events = []
    return scene


def test_a_refusal_outlives_its_event() -> None:
    """Kubernetes drops it after an hour, and still no alert can fire. It is said as before, and not told again."""
    scene = _refused()
    before = scene.resource["status"]
    plan = scene.look()

    assert "no such function" in message(plan, "RulesAccepted")
    assert scene.resource["status"] == before
    assert (plan.notices, plan.look_again_seconds) == ((), AMISS_SECONDS)
    scene.edit(extraGroups=[BROKEN])  # the rule that was refused stays
    assert told(scene.look(), "RulesAccepted") == ("False", "Rejected")
    scene.edit(extraGroups=[])
    assert told(scene.look(), "RulesAccepted") == ("False", "Rejected")


def test_a_refusal_is_of_that_rule_and_no_other() -> None:
    """Another content, and a rule that was deleted, are asked anew."""
    scene = _refused()
    scene.edit(extraGroups=[GOOD_GROUP])
    plan = scene.look()
    assert told(plan, "RulesAccepted") == ("Unknown", "NotReported")
    assert "refusal" not in plan.status["prometheusRule"]
    assert told(scene.look(), "RulesAccepted") == ("Unknown", "NotReported")

    scene = _refused()
    scene.rules = []
    assert told(scene.look(), "RulesAccepted") == ("Unknown", "NotReported")


def test_who_accepts_a_rule_that_was_refused_is_believed() -> None:
    """As once the Prometheus Operator has its feature gate: the refusal is forgotten for good."""
    scene = _refused()
    scene.rules[0]["status"] = {"bindings": [_binding("True")]}
    plan = scene.look()

    assert told(plan, "RulesAccepted") == ("True", "Accepted")
    assert reasons(plan) == ["RulesAccepted"]
    assert "refusal" not in plan.status["prometheusRule"]
    del scene.rules[0]["status"]
    assert told(scene.look(), "RulesAccepted") == ("Unknown", "NotReported")


def test_what_one_accepts_and_another_refuses_is_told_once_and_is_no_alert() -> None:
    """The condition that the alert asks for stays True; an Event and the message say who refuses, and it is looked at again."""
    scene = Scene(policy(), [prometheus()])
    scene.look()
    refusing = {**_binding("False"), "name": "other"}
    scene.rules[0]["status"] = {"bindings": [_binding("True"), refusing]}
    scene.later(300)
    plan = scene.look()

    assert told(plan, "RulesAccepted") == ("True", "PartlyRejected")
    assert message(plan, "RulesAccepted").endswith(f"kubectl -n courses describe prometheusrule/{RULE}")
    assert reasons(plan) == ["RulesRejected"]
    assert plan.look_again_seconds == AMISS_SECONDS
    assert reasons(scene.look()) == []

    scene.rules[0]["status"] = {"bindings": [_binding("True")]}
    plan = scene.look()
    assert told(plan, "RulesAccepted") == ("True", "Accepted")
    assert (reasons(plan), plan.look_again_seconds) == (["RulesAccepted"], None)


def test_a_long_refusal_keeps_the_command() -> None:
    """A condition has 1 KiB."""
    scene = Scene(policy(), [prometheus()])
    scene.look()
    scene.rules[0]["status"] = {"bindings": [_binding("False")]}
    scene.rules[0]["status"]["bindings"][0]["conditions"][0]["message"] = "x" * 5000

    assert message(scene.plan(), "RulesAccepted").endswith(f"kubectl -n courses describe prometheusrule/{RULE}")


def test_a_preset_with_its_windows_shortened_keeps_firing_for_nothing() -> None:
    """As trials do it: for, thresholds in seconds, keepFiringFor: 0s."""
    trial = {"transactionalOutbox": {"for": "0s", "stalledSeconds": 5}}
    scene = Scene(policy(presets=trial, keepFiringFor="0s", interval="1s"))
    plan = scene.look()

    assert told(plan, "Ready") == ("True", "Applied")
    assert "keep_firing_for" not in str(_groups(scene))
    assert plan.status["alertCount"] == 10  # the eleven of contract (j); CacheHitRateLow is off


def test_a_long_name_is_cut() -> None:
    """The child's name stays a label."""
    resource = policy()
    resource["metadata"]["name"] = "p" * 200
    scene = Scene(resource)
    scene.look()

    assert len(scene.rules[0]["metadata"]["name"]) <= 63
