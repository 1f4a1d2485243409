"""Labels are copied so that as many Prometheus as possible select the rule."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.alerts.labels import copied, wanted
from operators.coursegen_operator.alerts.selectors import Labels, Selector
from tests.unit.operators.coursegen_operator.alerts.scene import NAMESPACE, Scene, policy, prometheus
from tests.unit.operators.coursegen_operator.alerts.test_selectors import KEYS, labels_of, selectors

_present = selectors.map(Selector.of).filter(lambda each: each is not None)


def _labels(*selecting: Any, remembered: dict[str, str] | None = None, **given_: Any) -> dict[str, str]:
    scene = Scene(policy(**given_.pop("spec", {})), selecting, **given_)
    if remembered:
        scene.resource["status"] = {"copiedLabels": remembered}
    found: dict[str, str] = scene.plan().children[0].manifest["metadata"]["labels"]
    return {key: value for key, value in found.items() if "/" not in key}


@given(_present)
def test_a_single_selector_that_can_be_met_is_met(selector: Selector) -> None:
    """Whatever it asks for, when some labels meet it."""
    found = copied({}, [selector])
    options = {key: [None, "", "x", "y", "true", "other"] for key in KEYS}
    worlds = [
        {key: value for key, value in zip(options, choice, strict=True) if value is not None}
        for choice in itertools.product(*options.values())
    ]
    can_be_met = any(selector.judge(Labels(world)) == "True" for world in worlds)

    assert (selector.judge(Labels(found)) == "True") == can_be_met


@given(labels_of, st.lists(_present, max_size=4))
def test_what_is_copied_never_changes_or_undoes_anything(fixed: dict[str, str], asked: list[Selector]) -> None:
    """Explicit labels stay, and a selector that was met stays met."""
    found = copied(fixed, asked)

    assert not found.keys() & fixed.keys()
    for number, _ in enumerate(asked):
        before = {**copied(fixed, asked[:number]), **fixed}
        met = [each for each in asked[:number] if each.judge(Labels(before)) == "True"]
        assert all(each.judge(Labels({**found, **fixed})) == "True" for each in met)


def test_labels_come_from_every_prometheus_in_reach() -> None:
    """As they are from matchLabels, of In the first value, of Exists anything."""
    first = prometheus("a")
    second = prometheus(
        "b",
        ruleSelector={
            "matchExpressions": [
                {"key": "role", "operator": "In", "values": ["alerts", "rules"]},
                {"key": "team", "operator": "Exists"},
                {"key": "x", "operator": "NotIn", "values": ["y"]},
            ]
        },
    )
    far = prometheus("c", ruleSelector={"matchLabels": {"far": "away"}}, ruleNamespaceSelector=None)

    assert _labels(first, second, far) == {"release": "kps", "role": "alerts", "team": "true"}


def test_explicit_labels_win() -> None:
    """And whoever asks for another value gets nothing."""
    assert _labels(prometheus(), spec={"ruleLabels": {"release": "mine"}}) == {"release": "mine"}


def test_of_two_that_contradict_each_other_the_first_one_is_served() -> None:
    """A label has one value."""
    other = prometheus("z", ruleSelector={"matchLabels": {"release": "other", "more": "x"}})

    assert _labels(prometheus("a"), other) == {"release": "kps"}


@pytest.mark.parametrize("kind", ["Prometheus", "ThanosRuler"])
def test_a_named_one_is_copied_alone(kind: str) -> None:
    """Whatever the others ask for."""
    named = prometheus("mine", kind=kind, ruleSelector={"matchLabels": {"who": "me"}})
    spec = {"prometheusSelector": {"name": "mine", "namespace": "monitoring"}}

    assert _labels(prometheus(), named, spec=spec) == {"who": "me"}


def test_the_named_one_is_in_the_own_namespace_unless_said_otherwise() -> None:
    """The field may be left out."""
    named = prometheus("mine", NAMESPACE, ruleSelector={"matchLabels": {"who": "me"}})

    assert _labels(prometheus(), named, spec={"prometheusSelector": {"name": "mine"}}) == {"who": "me"}


def test_nothing_is_copied_when_nothing_is_wanted() -> None:
    """auto: false."""
    assert _labels(prometheus(), spec={"prometheusSelector": {"auto": False}}) == {}


def test_labels_stay_while_a_prometheus_may_not_be_read() -> None:
    """A lost permission loses no alerts; one that can be read again decides alone."""
    hidden = [("prometheuses", "Forbidden")]

    assert _labels(remembered={"release": "kps"}, denied=hidden) == {"release": "kps"}
    assert _labels(remembered={"release": "kps"}) == {}


def test_remembered_labels_do_not_undo_what_a_readable_one_needs() -> None:
    """It must not have them."""
    shy = prometheus(
        "shy", NAMESPACE, ruleSelector={"matchExpressions": [{"key": "release", "operator": "DoesNotExist"}]}
    )

    assert _labels(shy, remembered={"release": "kps"}, denied=[("prometheuses", "Forbidden")]) == {}


def test_of_several_values_one_is_taken_that_the_selector_does_not_refuse() -> None:
    """In and NotIn on one label."""
    selector = Selector.of(
        {
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["x", "y"]},
                {"key": "a", "operator": "NotIn", "values": ["x"]},
                {"key": "b", "operator": "Exists"},
                {"key": "b", "operator": "NotIn", "values": ["true", "true-0"]},
            ]
        }
    )

    assert selector is not None
    assert wanted(selector, {}) == {"a": "y", "b": "true-1"}
