"""Whether an object still is as it was written."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.comparison import differences, differs, spec_differs, without_nothing

WANTED = {
    "kind": "CronJob",
    "metadata": {"name": "x", "labels": {"a": "b"}, "ownerReferences": [{"uid": "u", "controller": True}]},
    "spec": {"schedule": "0 2 * * *", "list": [{"name": "a"}], "none": [], "off": False},
}
LIVE = {
    "kind": "CronJob",
    "metadata": {
        "name": "x",
        "uid": "c",
        "labels": {"a": "b", "theirs": "c"},
        "ownerReferences": [{"uid": "other"}, {"uid": "u", "controller": True, "kind": "X"}],
    },
    "spec": {"schedule": "0 2 * * *", "list": [{"name": "a", "default": 1}], "default": True},
    "status": {},
}


def test_defaults_and_what_others_add_to_maps_is_no_difference() -> None:
    """Nor is that the API server leaves out what is empty or false."""
    assert not differs(WANTED, LIVE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "schedule"), "harm"),
        (("spec", "list"), [{"name": "a"}, {"name": "b"}]),
        (("spec", "list"), []),
        (("metadata", "labels"), {}),
        (("metadata", "ownerReferences"), []),
        (("spec",), None),
    ],
)
def test_a_difference_is_found(path: tuple[str, ...], value: Any) -> None:
    """Another value, more or fewer in a list, another owner."""
    live = copy.deepcopy(LIVE)
    place: Any = live
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value

    assert differs(WANTED, live)
    assert spec_differs(WANTED, live) is (path[0] == "spec")


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        (LIVE["spec"], []),
        ({**WANTED["spec"], "schedule": "harm", "off": True}, ["spec.schedule", "spec.off"]),
        ({**WANTED["spec"], "list": [{"name": "b"}]}, ["spec.list[0].name"]),
        ({**WANTED["spec"], "list": [{"name": "a"}, {}]}, ["spec.list"]),
        ({"schedule": {}}, ["spec.schedule", "spec.list"]),
        (None, ["spec"]),
    ],
)
def test_what_is_different_is_named(spec: Any, where: list[str]) -> None:
    """As deep as the two are alike."""
    assert list(differences(WANTED["spec"], spec, "spec")) == where


_JSON = st.recursive(
    st.one_of(st.integers(), st.text(max_size=3), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), _JSON, max_size=4))
def test_everything_is_as_itself_and_nothing_is_left_of_none(spec: dict[str, Any]) -> None:
    """Whatever JSON it is."""
    assert not differs({"spec": spec}, {"spec": spec})
    assert not differs({"spec": spec}, {"spec": without_nothing(spec)}) or _has_none_in_a_list(spec)
    assert "None" not in repr(without_nothing({"a": None, "b": {"c": None}}))


def _has_none_in_a_list(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_none_in_a_list, value.values()))
    return isinstance(value, list)
