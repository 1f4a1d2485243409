"""Label selectors select what Kubernetes says they do."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.alerts.selectors import Labels, Selector, all_of, is_label

KEYS = ("a", "b", "example.org/c")
VALUES = ("", "x", "y")

labels_of = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
expressions = st.one_of(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(KEYS),
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(st.sampled_from(VALUES), min_size=1, max_size=3),
        }
    ),
    st.fixed_dictionaries({"key": st.sampled_from(KEYS), "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)
selectors = st.none() | st.fixed_dictionaries(
    {}, optional={"matchLabels": labels_of, "matchExpressions": st.lists(expressions, max_size=3)}
)


def oracle(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    """Kubernetes' own words: all of matchLabels and matchExpressions must hold; null selects nothing, empty everything."""
    if selector is None:
        return False
    for key, value in selector.get("matchLabels", {}).items():
        if key not in labels or labels[key] != value:
            return False
    for expression in selector.get("matchExpressions", []):
        key, is_there = expression["key"], expression["key"] in labels
        is_listed = is_there and labels[key] in expression.get("values", [])
        holds = {"In": is_listed, "NotIn": not is_listed, "Exists": is_there, "DoesNotExist": not is_there}
        if not holds[expression["operator"]]:
            return False
    return True


@given(selectors, labels_of)
def test_a_selector_selects_what_kubernetes_selects(written: dict[str, Any] | None, labels: dict[str, str]) -> None:
    """For every selector and every set of labels."""
    selector = Selector.of(written)
    found = selector is not None and selector.judge(Labels(labels)) == "True"

    assert found == oracle(written, labels)


@given(selectors.filter(lambda each: each is not None), labels_of)
def test_unknown_is_told_only_where_hidden_labels_may_decide(written: dict[str, Any], known: dict[str, str]) -> None:
    """With labels hidden, True and False hold whatever they are."""
    selector = Selector.of(written)
    assert selector is not None
    told = selector.judge(Labels(known, is_complete=False))

    hidden = [key for key in KEYS if key not in known]
    worlds = [
        known | {key: value for key, value in zip(hidden, choice, strict=True) if value is not None}
        for choice in itertools.product((None, *VALUES, "other"), repeat=len(hidden))
    ]
    outcomes = {oracle(written, world) for world in worlds}
    if told != "Unknown":
        assert outcomes == {told == "True"}


@pytest.mark.parametrize(
    "written",
    [
        {"matchExpressions": [{"key": "a", "operator": "Like", "values": ["x"]}]},
        {"matchExpressions": [{"key": "a", "operator": "In", "values": []}]},
        {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]},
        {"matchExpressions": [{"operator": "Exists"}]},
        {"matchLabels": {"a b": "x"}},
        {"matchLabels": {"a": "no label!"}},
        {"matchLabels": {"a": None}},
        [],
    ],
)
def test_what_kubernetes_refuses_selects_nothing(written: Any) -> None:
    """And says why."""
    selector = Selector.of(written)

    assert selector is not None
    assert selector.fault
    assert selector.judge(Labels({"a": "x"})) == "False"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ({}, "everything"),
        ({"matchLabels": {"a": "x"}}, "a=x"),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x", "y"]}]}, "a notin (x,y)"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]}, "a in (x,y)"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "DoesNotExist"}]}, "a,!b"),
    ],
)
def test_a_selector_reads_as_kubectl_writes_it(written: Any, text: str) -> None:
    """So that it can be tried with `kubectl get -l`."""
    assert str(Selector.of(written)) == text


@pytest.mark.parametrize(
    ("key", "value", "fits"),
    [
        ("release", "kps", True),
        ("app.kubernetes.io/name", "", True),
        ("a" * 63, "b" * 63, True),
        ("a" * 64, "b", False),
        ("a", "b" * 64, False),
        ("a", "-b", False),
        ("a\n", "b", False),
        ("a", "b\n", False),
        ("Example.org/a", "b", False),
        ("", "b", False),
        ("/a", "b", False),
        ("x/y/z", "b", False),
        (f"{'a' * 254}/b", "c", False),
    ],
)
def test_labels_are_what_the_api_server_takes(key: str, value: str, fits: bool) -> None:
    """Others cost the whole rule."""
    assert is_label(key, value) == fits


def test_one_no_outweighs_what_is_unknown() -> None:
    """All requirements must hold."""
    assert all_of() == "True"
    assert all_of("True", "Unknown") == "Unknown"
    assert all_of("Unknown", "False") == "False"
