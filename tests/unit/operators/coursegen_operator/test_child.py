"""Children: whose they are, what they are called."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.child import (
    NAME_LENGTH,
    adopt,
    child_name,
    common_labels,
    controller_of,
    hash8,
    is_owned_by,
    task_of,
)
from operators.coursegen_operator.planning import Child
from operators.coursegen_operator.resources import JOB, LABEL_MANAGED_BY, LABEL_OWNER_UID, LABEL_TASK, Object

OWNER: Object = {
    "apiVersion": "ops.coursegen.dev/v1alpha1",
    "kind": "RetentionPolicy",
    "metadata": {"name": "sample", "namespace": "here", "uid": "u1"},
}


def test_an_adopted_child_has_all_that_it_needs() -> None:
    """And the manifest it was made of is as it was."""
    manifest: Object = {"metadata": {"name": "x", "labels": {"mine": "1"}}, "spec": {}}
    made = adopt(Child(JOB, manifest), OWNER)

    assert (made["apiVersion"], made["kind"], made["metadata"]["namespace"]) == ("batch/v1", "Job", "here")
    assert made["metadata"]["labels"] == {"mine": "1", LABEL_MANAGED_BY: "coursegen-operator", LABEL_OWNER_UID: "u1"}
    assert controller_of(made) == {
        "apiVersion": "ops.coursegen.dev/v1alpha1",
        "kind": "RetentionPolicy",
        "name": "sample",
        "uid": "u1",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    assert is_owned_by(made, OWNER)
    assert not is_owned_by({"metadata": {}}, OWNER)
    assert manifest == {"metadata": {"name": "x", "labels": {"mine": "1"}}, "spec": {}}


def test_a_task_is_told_by_a_label() -> None:
    """Of a Job, and of its pods."""
    labels = common_labels(OWNER, "drift")
    assert labels[LABEL_TASK] == "drift"
    assert task_of({"metadata": {"labels": labels}}) == "drift"
    assert task_of({"metadata": {}}) == ""


def test_a_hash_is_the_same_in_every_process() -> None:
    """Whatever the order of the keys; text that is alike is not the same."""
    assert hash8("image", {"a": 1, "b": 2}) == hash8("image", {"b": 2, "a": 1}) == "a543e38b"
    assert hash8("a", "bc") != hash8("ab", "c")


_NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?", fullmatch=True)


@given(_NAMES, st.from_regex(r"[a-z]{1,12}", fullmatch=True))
def test_a_child_s_name_fits_a_label(owner: str, what: str) -> None:
    """However long the owner's is; a short one is kept as it is."""
    name = child_name(owner, what, "0123abcd")
    assert len(name) <= NAME_LENGTH
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name)
    assert name.endswith(f"-{what}-0123abcd")
    if len(owner) < 30:
        assert name.startswith(f"{owner}-{what}")


def test_long_names_stay_distinct() -> None:
    """They differ in what is cut off."""
    assert child_name("a" * 80 + "1", "plan") != child_name("a" * 80 + "2", "plan")
