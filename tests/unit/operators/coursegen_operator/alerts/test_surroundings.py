"""What is read around a policy, and how what may not be read is told."""

from __future__ import annotations

from typing import Any

import pytest

from operators.coursegen_operator.alerts.planner import AlertKind
from operators.coursegen_operator.alerts.surroundings import Surroundings
from operators.coursegen_operator.errors import ClusterUnavailable
from operators.coursegen_operator.planning import Observed
from operators.coursegen_operator.reconciler import StoredReader
from operators.coursegen_operator.resources import LABEL_OWNER_UID, Object
from operators.coursegen_operator.store import Store
from tests.unit.operators.coursegen_operator.alerts.scene import NAMESPACE, NOW, RULE, FakeReader, policy, prometheus

OWNER = {"controller": True, "uid": "uid-1", "kind": "AlertPolicy", "name": "platform"}
RULE_ITEM: Object = {
    "kind": "PrometheusRule",
    "metadata": {
        "name": RULE,
        "namespace": NAMESPACE,
        "labels": {LABEL_OWNER_UID: "uid-1"},
        "ownerReferences": [OWNER],
    },
}
REFUSAL: Object = {
    "metadata": {"name": "e", "namespace": NAMESPACE},
    "type": "Warning",
    "reason": "InvalidConfiguration",
    "regarding": {"kind": "PrometheusRule", "name": RULE},
}
OTHER: Object = {"metadata": {"name": "o", "namespace": NAMESPACE}, "type": "Normal", "regarding": {"kind": "Pod"}}
WORLD: dict[str, list[Object]] = {
    "prometheusrules": [RULE_ITEM],
    "prometheuses": [prometheus(), prometheus("own", NAMESPACE)],
    "thanosrulers": [prometheus("t", kind="ThanosRuler")],
    "namespaces": [{"metadata": {"name": NAMESPACE, "labels": {"team": "a"}}}],
    "events": [REFUSAL, OTHER],
}


async def _seen(reader: FakeReader, *namespaces: str, **spec: Any) -> Surroundings:
    resource = policy(**spec)
    around = await AlertKind(namespaces).observe(reader, resource)
    return Surroundings.of(resource, Observed(NOW, (), around))


def _names(found: Surroundings) -> list[str]:
    return [item["metadata"]["name"] for item in found.selecting]


async def test_everything_is_read_where_everything_may_be() -> None:
    """Whoever selects rules, everywhere; the labels of the namespace; refusals of the rule, and no other Events."""
    found = await _seen(FakeReader(WORLD))

    assert _names(found) == ["k8s", "own", "t"]
    assert found.namespace_labels.known["team"] == "a"
    assert found.namespace_labels.is_complete
    assert [event["metadata"]["name"] for event in found.events] == ["e"]
    assert [rule["metadata"]["name"] for rule in found.rules] == [RULE]
    assert found.sees_all


async def test_a_refused_rule_is_read_anew() -> None:
    """For the times at which it was changed, which a store does not keep."""
    reader = FakeReader(WORLD)
    await _seen(reader)

    assert f"get prometheusrules {NAMESPACE}" in reader.calls


async def test_events_are_not_read_without_need() -> None:
    """The rule says itself who has accepted it, or is not there."""
    bound = {**RULE_ITEM, "status": {"bindings": [{"resource": "prometheuses"}]}}
    for rules in ([], [bound]):
        reader = FakeReader({**WORLD, "prometheusrules": rules})
        await _seen(reader)
        assert not [call for call in reader.calls if "events" in call or call.startswith("get prometheusrules")]


async def test_where_not_all_may_be_read_the_own_namespace_is() -> None:
    """And it is told that there may be others."""
    refused: set[tuple[str, str | None]] = {("prometheuses", None), ("thanosrulers", None)}
    found = await _seen(FakeReader(WORLD, refused))

    assert _names(found) == ["own"]
    assert not found.sees_all
    assert found.denied == {("prometheuses", "Forbidden"), ("thanosrulers", "Forbidden")}


async def test_a_named_prometheus_is_asked_for_by_its_name() -> None:
    """A Role for that one is enough."""
    refused = {("prometheuses", None), ("prometheuses", NAMESPACE), ("thanosrulers", None)}
    named = {"name": "k8s", "namespace": "monitoring"}
    found = await _seen(FakeReader(WORLD, refused), prometheusSelector=named)

    assert _names(found) == ["k8s"]
    refused.add(("prometheuses", "monitoring"))
    assert _names(await _seen(FakeReader(WORLD, refused), prometheusSelector=named)) == []


async def test_nothing_is_asked_beyond_the_namespaces_of_a_namespaced_operator() -> None:
    """It has no ClusterRole."""
    reader = FakeReader(WORLD)
    found = await _seen(reader, NAMESPACE, "monitoring")

    assert _names(found) == ["own", "k8s", "t"]
    assert not found.sees_all
    assert not [call for call in reader.calls if call.startswith("list") and call.endswith("None")]


async def test_beyond_them_the_named_prometheus_is_asked_for_and_nothing_else() -> None:
    """By its name, through the reader of a namespaced operator; without a name nothing is."""
    for named, asked in ((None, []), ({"name": "k8s", "namespace": "monitoring"}, ["prometheuses", "thanosrulers"])):
        reader = FakeReader(WORLD)
        resource = policy(**({"prometheusSelector": named} if named else {}))
        confined = StoredReader(reader, Store(), resource, frozenset(), is_confined=True)
        around = await AlertKind([NAMESPACE]).observe(confined, resource)

        beyond = [call for call in reader.calls if not call.endswith(f" {NAMESPACE}")]
        assert beyond == [*(f"get {plural} monitoring" for plural in asked), "get namespaces "]  # its own, by its name
        seen = _names(Surroundings.of(resource, Observed(NOW, (), around)))
        assert seen == (["own", "k8s"] if named else ["own"])


async def test_without_the_prometheus_operator_nothing_else_is_read() -> None:
    """There is nothing to know."""
    reader = FakeReader(WORLD, absent={"prometheusrules"})
    found = await _seen(reader)

    assert found.is_absent("prometheusrules")
    assert len(reader.calls) == 1


async def test_a_suspended_policy_needs_to_know_nothing() -> None:
    """But whether there is a rule to remove."""
    reader = FakeReader(WORLD)
    found = await _seen(reader, suspend=True)

    assert len(found.rules) == 1
    assert len(reader.calls) == 1


async def test_what_is_absent_or_forbidden_is_told() -> None:
    """One mark for each."""
    reader = FakeReader(WORLD, {("events", NAMESPACE), ("namespaces", "")}, {"thanosrulers"})
    found = await _seen(reader)

    assert found.denied == {("events", "Forbidden"), ("namespaces", "Forbidden"), ("thanosrulers", "Absent")}
    assert found.sees_all
    assert not found.namespace_labels.is_complete
    assert found.namespace_labels.known == {"kubernetes.io/metadata.name": NAMESPACE}


async def test_rules_that_may_not_be_read_are_told() -> None:
    """The children that the operator knows of still count."""
    reader = FakeReader(WORLD, {("prometheusrules", NAMESPACE)})
    around = await AlertKind().observe(reader, policy())
    found = Surroundings.of(policy(), Observed(NOW, (RULE_ITEM, {"kind": "Job", "metadata": {}}), around))

    assert found.is_forbidden("prometheusrules")
    assert len(found.rules) == 1


async def test_no_answer_is_an_error() -> None:
    """Nothing is concluded from it: the policy is looked at again."""

    class Silent(FakeReader):
        async def list(self, *_: Any, **__: Any) -> list[Object]:
            raise ClusterUnavailable("no answer")

    with pytest.raises(ClusterUnavailable):
        await AlertKind().observe(Silent({}), policy())


async def test_what_is_not_there_is_not_there() -> None:
    """A named Prometheus that does not exist, and a namespace that goes meanwhile."""
    named = {"name": "gone", "namespace": "monitoring"}
    found = await _seen(FakeReader({**WORLD, "namespaces": []}, {("prometheuses", None)}), prometheusSelector=named)

    assert _names(found) == ["own", "t"]
    assert not found.namespace_labels.is_complete
    assert not found.denied - {("prometheuses", "Forbidden")}


def test_only_the_own_namespace_counts() -> None:
    """Whatever else was read."""
    around: dict[str, list[Object]] = {"namespaces": [{"metadata": {"name": "another", "labels": {"a": "b"}}}]}

    assert Surroundings.of(policy(), Observed(NOW, (), around)).namespace_labels.known.keys() == {
        "kubernetes.io/metadata.name"
    }
