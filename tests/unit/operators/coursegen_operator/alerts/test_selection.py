"""Who selects a rule, by ruleSelector and ruleNamespaceSelector."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.alerts.selection import Candidate, Name, Selection, candidates, judge, listed
from operators.coursegen_operator.alerts.selectors import Labels
from operators.coursegen_operator.conditions import Standing
from tests.unit.operators.coursegen_operator.alerts.scene import NAMESPACE, prometheus
from tests.unit.operators.coursegen_operator.alerts.test_selectors import labels_of, oracle, selectors

ALL = Labels({"team": "a"})


def _judged(*, bound: bool = False, namespace_labels: Labels = ALL, **spec: Any) -> Selection:
    return judge(Candidate.of(prometheus(**spec)), NAMESPACE, namespace_labels, {"release": "kps"}, bound)


@given(selectors, selectors, labels_of, labels_of, st.sampled_from([NAMESPACE, "monitoring"]))
def test_a_prometheus_selects_what_its_operator_would(
    rules: dict[str, Any] | None,
    namespaces: dict[str, Any] | None,
    labels: dict[str, str],
    namespace_labels: dict[str, str],
    home: str,
) -> None:
    """No ruleSelector: nothing; no ruleNamespaceSelector: its own namespace."""
    item = prometheus(namespace=home, ruleSelector=rules, ruleNamespaceSelector=namespaces)
    in_reach = home == NAMESPACE if namespaces is None else oracle(namespaces, namespace_labels)

    found = judge(Candidate.of(item), NAMESPACE, Labels(namespace_labels), labels, bound=False)

    assert found.selected == str(in_reach and oracle(rules, labels))
    assert (found.message == "") == (found.selected == "True")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"ruleSelector": None}, "no ruleSelector"),
        ({"ruleSelector": {"matchLabels": {"release": "other"}}}, "release=other"),
        ({"ruleNamespaceSelector": None}, "namespace monitoring only"),
        ({"ruleNamespaceSelector": {"matchLabels": {"team": "b"}}}, "team=b"),
        ({"ruleSelector": {"matchLabels": {"a": "?"}}}, "Kubernetes refuses its ruleSelector"),
        ({"ruleNamespaceSelector": {"matchLabels": {"a": "?"}}}, "Kubernetes refuses its ruleNamespaceSelector"),
    ],
)
def test_whoever_does_not_select_says_why(spec: dict[str, Any], words: str) -> None:
    """The message names the very requirement."""
    found = _judged(**spec)

    assert found.selected == "False"
    assert words in found.message


def test_hidden_labels_of_the_namespace_leave_it_open() -> None:
    """Unless the Prometheus Operator says on the rule that it is bound."""
    hidden = Labels({}, is_complete=False)
    spec: dict[str, Any] = {"ruleNamespaceSelector": {"matchLabels": {"team": "a"}}}

    assert _judged(namespace_labels=hidden, **spec).selected == "Unknown"
    assert "may not be read" in _judged(namespace_labels=hidden, **spec).message
    assert _judged(bound=True, namespace_labels=hidden, **spec).selected == "True"
    assert _judged(namespace_labels=hidden).selected == "True"


def test_a_binding_that_is_left_over_does_not_outweigh_the_selector() -> None:
    """The selector says no: the binding is from before."""
    assert _judged(bound=True, ruleSelector={"matchLabels": {"release": "other"}}).selected == "False"


def test_a_paused_prometheus_is_told() -> None:
    """It selects, and takes nothing new."""
    found = _judged(paused=True)

    assert found.selected == "True"
    assert "paused" in found.message


def test_candidates_are_ordered_and_those_that_go_are_left_out() -> None:
    """The own namespace first; each once."""
    going = prometheus("going")
    going["metadata"]["deletionTimestamp"] = "2026-11-28T12:00:00Z"
    items = [prometheus("b"), prometheus("b"), going, prometheus("z", NAMESPACE), prometheus("a", kind="ThanosRuler")]

    found = [str(each.name) for each in candidates(items, NAMESPACE)]

    assert found == [f"Prometheus {NAMESPACE}/z", "Prometheus monitoring/b", "ThanosRuler monitoring/a"]


def test_the_status_lists_who_selects_first_and_twenty_at_most() -> None:
    """A cluster may have hundreds."""

    def of(number: int, standing: Standing) -> Selection:
        return Selection(Name("Prometheus", "m", f"p{number:02}"), standing, "")

    many = [of(number, "False") for number in range(30)] + [of(40, "Unknown"), of(50, "True")]

    found = listed(many)

    assert len(found) == 20
    assert [each["name"] for each in found[:3]] == ["p50", "p40", "p00"]
