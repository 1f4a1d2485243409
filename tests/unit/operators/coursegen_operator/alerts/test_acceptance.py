"""Whether the Prometheus Operator has accepted a rule, from what it says on the rule or in Events."""

from __future__ import annotations

from typing import Any

import pytest

from operators.coursegen_operator.alerts.acceptance import TOLD_BYTES, Acceptance, acceptance, changed_at, told_at
from operators.coursegen_operator.conditions import moment_of
from operators.coursegen_operator.resources import Object

EARLY, CHANGED, LATE = "2026-11-28T11:00:00Z", "2026-11-28T12:00:00Z", "2026-11-28T12:00:05.123456Z"


def _binding(status: str, *, seen: int | None = 2, resource: str = "prometheuses", name: str = "k8s") -> Object:
    condition: Object = {"type": "Accepted", "status": status, "message": "invalid rule"}
    if seen is not None:
        condition["observedGeneration"] = seen
    return {
        "group": "monitoring.coreos.com",
        "resource": resource,
        "namespace": "monitoring",
        "name": name,
        "conditions": [condition],
    }


def _rule(*bindings: Object, **metadata: Any) -> Object:
    stated = {"name": "platform-alerts", "uid": "r1", "generation": 2, "creationTimestamp": EARLY, **metadata}
    return {"metadata": stated, "status": {"bindings": list(bindings)}}


def _event(at: str = LATE, **changed: Any) -> Object:
    regarding = {"kind": "PrometheusRule", "name": "platform-alerts", "uid": "r1"}
    stated = {"type": "Warning", "reason": "InvalidConfiguration", "note": "was rejected", "eventTime": at}
    return {"metadata": {}, "regarding": regarding, **stated, **changed}


def _told(found: Acceptance) -> tuple[str, str]:
    return found.standing, found.reason


def test_a_binding_says_who_has_accepted_it() -> None:
    """With the feature gate."""
    found = acceptance(_rule(_binding("True"), _binding("True", resource="thanosrulers", name="t")), [])

    assert _told(found) == ("True", "Accepted")
    assert found.message == "accepted by Prometheus monitoring/k8s, ThanosRuler monitoring/t"


def test_a_refusal_is_named_with_its_message() -> None:
    """Nobody has accepted the rule: of another one that has not looked yet nothing is known."""
    found = acceptance(_rule(_binding("False", name="b"), _binding("True", seen=1, name="c")), [])

    assert _told(found) == ("False", "Rejected")
    assert found.message == "Prometheus monitoring/b: invalid rule"


def test_a_rule_that_one_refuses_and_another_has_accepted_is_in_force() -> None:
    """Its alerts can fire; who refuses it is named all the same."""
    found = acceptance(_rule(_binding("True", name="a"), _binding("False", name="b")), [])

    assert _told(found) == ("True", "PartlyRejected")
    assert found.message == "accepted by Prometheus monitoring/a; refused by Prometheus monitoring/b: invalid rule"
    assert {str(name): standing for name, standing in found.by.items()} == {
        "Prometheus monitoring/a": "True",
        "Prometheus monitoring/b": "False",
    }


@pytest.mark.parametrize("status", ["True", "False"])
def test_what_was_said_of_an_older_version_does_not_count(status: str) -> None:
    """The operator has not looked yet."""
    assert _told(acceptance(_rule(_binding(status, seen=1)), [])) == ("Unknown", "Pending")


def test_a_binding_without_a_generation_is_of_the_newest() -> None:
    """There is nothing to say otherwise."""
    assert _told(acceptance(_rule(_binding("True", seen=None)), []))[0] == "True"


def test_bindings_of_other_kinds_and_other_conditions_say_nothing() -> None:
    """Whatever a newer operator may add."""
    other = {**_binding("False"), "resource": "alertmanagers"}
    empty = {**_binding("False"), "conditions": [{"type": "Other", "status": "False"}]}

    assert _told(acceptance(_rule(other, empty), [])) == ("Unknown", "NotReported")


def test_a_warning_since_the_last_change_is_a_refusal() -> None:
    """Without the feature gate."""
    rule = _rule(managedFields=[{"time": CHANGED}, {"subresource": "status", "time": "2027-01-01T00:00:00Z"}])

    assert _told(acceptance(rule, [_event()])) == ("False", "Rejected")
    assert acceptance(rule, [_event(note="first"), _event("2026-11-28T13:00:00Z", note="last")]).message == "last"


@pytest.mark.parametrize(
    "event",
    [
        _event(EARLY),
        _event(type="Normal"),
        _event(reason="PolicyViolation", reportingController="kyverno-scan"),
        _event(reason=None),
        _event(regarding={"kind": "PrometheusRule", "name": "another", "uid": "r1"}),
        _event(regarding={"kind": "PrometheusRule", "name": "platform-alerts", "uid": "an earlier one"}),
        _event(regarding={"kind": "Pod", "name": "platform-alerts", "uid": "r1"}),
        _event(regarding=None),
        _event("never"),
    ],
)
def test_other_events_are_none(event: Object) -> None:
    """Older, of another object, no warning, or one of somebody who refuses nothing, such as a policy engine that audits."""
    rule = _rule(managedFields=[{"time": CHANGED}])

    assert _told(acceptance(rule, [event])) == ("Unknown", "NotReported")


def test_what_was_said_before_the_operator_wrote_is_old() -> None:
    """The store keeps no times of changes; the status does."""
    assert _told(acceptance(_rule(), [_event()], written_at="2026-11-28T12:30:00Z"))[1] == "NotReported"
    assert _told(acceptance(_rule(), [_event()], written_at=CHANGED))[1] == "Rejected"


def test_a_binding_outweighs_events() -> None:
    """It is the newer way of telling."""
    assert _told(acceptance(_rule(_binding("True")), [_event()])) == ("True", "Accepted")


def test_a_refusal_is_remembered_for_the_version_that_was_refused() -> None:
    """Its Event is gone after an hour; nobody says it again."""
    rule = _rule(managedFields=[{"time": CHANGED}])
    refused = acceptance(rule, [_event()])

    for may_read in (True, False):  # an Event would only say more of the same: who accepts a rule writes none
        later = acceptance(rule, [], may_read_events=may_read, remembered=refused.refusal)
        assert later == refused
    assert acceptance(rule, [_event(note="anew")], remembered=refused.refusal).message == "anew"
    assert acceptance(_rule(_binding("True")), [], remembered=refused.refusal).refusal is None
    assert _told(acceptance(_rule(_binding("True", seen=1)), [], remembered=refused.refusal)) == ("Unknown", "Pending")


@pytest.mark.parametrize("other", [{"uid": "r2"}, {"generation": 3}])
def test_a_refusal_of_another_version_is_forgotten(other: Object) -> None:
    """It was deleted or changed since, be it by hand: the Prometheus Operator has its say on that anew."""
    refused = acceptance(_rule(), [_event()])

    assert _told(acceptance(_rule(**other), [], remembered=refused.refusal)) == ("Unknown", "NotReported")
    assert _told(acceptance(None, [], remembered=refused.refusal)) == ("Unknown", "NotReported")


def test_a_refusal_is_remembered_short_and_without_secrets() -> None:
    """A status has it, which many may read."""
    refused = acceptance(_rule(), [_event(note="postgresql://u:hunter2@db/x " + "y" * 5000)])

    assert refused.refusal is not None
    assert "hunter2" not in refused.message == refused.refusal["message"]
    assert len(refused.message.encode()) <= TOLD_BYTES


def test_no_rule_and_no_permission_are_unknown() -> None:
    """Never a claim without a source."""
    assert _told(acceptance(None, [_event()])) == ("Unknown", "NotReported")
    assert _told(acceptance(_rule(), [], may_read_events=False)) == ("Unknown", "NotPermitted")


def test_an_event_was_last_seen_at_the_newest_of_its_times() -> None:
    """Old and new clients write different ones."""
    event = _event(EARLY, series={"lastObservedTime": CHANGED}, deprecatedLastTimestamp=EARLY)

    assert told_at(event) == moment_of(CHANGED)
    assert told_at({"metadata": {"creationTimestamp": EARLY}}) == moment_of(EARLY)
    assert changed_at({"metadata": {}}) == told_at({})
