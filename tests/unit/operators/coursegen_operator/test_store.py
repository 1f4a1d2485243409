"""The store: versions only rise, the dead stay dead, and every change knows whom it concerns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.resources import CRON_JOB, JOB, LABEL_OWNER_UID, RETENTION_POLICY, Object, ObjectKey
from operators.coursegen_operator.store import TOMBSTONES, Store

OWNER = ObjectKey(RETENTION_POLICY.kind, "default", "sample")


def resource(version: int = 1, uid: str = "u1", name: str = "sample", namespace: str = "default") -> Object:
    """A resource that the operator looks after."""
    metadata = {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": str(version)}
    return {"apiVersion": RETENTION_POLICY.api_version, "kind": RETENTION_POLICY.kind, "metadata": metadata}


def child(version: int = 2, owner: str = "u1", name: str = "child", uid: str = "c1", **metadata: object) -> Object:
    """A CronJob by its controller."""
    owners = [{"kind": RETENTION_POLICY.kind, "name": "sample", "uid": owner, "controller": True}]
    said = {
        "name": name,
        "namespace": "default",
        "uid": uid,
        "resourceVersion": str(version),
        "ownerReferences": owners,
    }
    return {"apiVersion": "batch/v1", "kind": CRON_JOB.kind, "metadata": {**said, **metadata}}


def test_a_change_concerns_the_resource_itself_or_the_owner() -> None:
    """By the controller, or by the label alone: Jobs of a CronJob have another controller."""
    store = Store()
    assert store.put(resource()) == {OWNER}
    assert store.put(child()) == {OWNER}
    job = {**child(3, uid="j1", name="run", ownerReferences=[], labels={LABEL_OWNER_UID: "u1"}), "kind": JOB.kind}
    assert store.put(job) == {OWNER}
    assert [each["metadata"]["name"] for each in store.owned(resource())] == ["child", "run"]
    assert [each["metadata"]["name"] for each in store.owned(resource(), frozenset({JOB.kind}))] == ["run"]
    assert store.put(child(4, owner="stranger", uid="c2", name="other")) == set()


def test_the_same_version_is_no_news() -> None:
    """The echo of a write, or of a list; nor is an older one."""
    store = Store()
    store.put(resource(5))
    assert store.put(resource(5)) == store.put(resource(4)) == set()
    assert store.put(resource(6)) == {OWNER}


def test_a_late_answer_brings_nobody_back() -> None:
    """Written before the deletion, heard of after it; a new one of the same name is another matter."""
    store = Store()
    store.put(resource(1))
    assert store.remove(resource(7)) == {OWNER}
    assert store.put(resource(6)) == set()
    assert store.get(OWNER) is None
    assert store.put(resource(8, uid="u2")) == {OWNER}


def test_the_deletion_of_a_predecessor_leaves_the_successor() -> None:
    """Events of two objects of one name may come in any order."""
    store = Store()
    store.put(resource(8, uid="u2"))
    assert store.remove(resource(7, uid="u1")) == set()
    assert store.get(OWNER) is not None


def test_what_leaves_a_selection_may_come_back() -> None:
    """A label taken away is told as a deletion; putting it right gives a higher version."""
    store = Store()
    store.put(resource())
    store.put(child(2))
    assert store.remove(child(3)) == {OWNER}
    assert store.put(child(4)) == {OWNER}


def test_a_child_that_changes_hands_concerns_both() -> None:
    """The one that has lost it makes another."""
    store = Store()
    store.put(resource())
    store.put(resource(2, uid="u2", name="second"))
    store.put(child(3))
    assert store.put(child(4, owner="u2")) == {OWNER, ObjectKey(RETENTION_POLICY.kind, "default", "second")}
    assert store.owned(resource()) == []


def test_nobody_owns_across_namespaces() -> None:
    """A label can be written by anybody anywhere."""
    store = Store()
    store.put(resource(namespace="elsewhere"))
    assert store.put(child()) == set()
    assert store.owned(resource(namespace="elsewhere")) == []


def test_a_list_tells_of_what_is_gone_unless_it_is_older_than_that() -> None:
    """What was written while the list was under way stays."""
    store = Store()
    store.put(resource())
    store.put(child(2))
    store.put(child(9, uid="c9", name="new"))
    assert store.replace(CRON_JOB, None, [], "5") == {OWNER}
    assert [each["metadata"]["name"] for each in store.owned(resource())] == ["new"]
    assert store.replace(CRON_JOB, "elsewhere", [], "50") == set()
    assert store.replace(RETENTION_POLICY, "default", [resource(3)], "50") == {OWNER}
    assert list(store.resources()) == [OWNER]


def test_who_owns_which_field_is_not_kept() -> None:
    """Half of an object, which nobody here reads."""
    store = Store()
    store.put({**resource(), "metadata": {**resource()["metadata"], "managedFields": [{}]}})
    found = store.get(OWNER)
    assert found is not None
    assert "managedFields" not in found["metadata"]


def test_the_dead_are_not_remembered_for_ever() -> None:
    """Ten thousand of them."""
    store = Store()
    for number in range(TOMBSTONES + 5):
        store.remove(resource(number + 1, uid=f"u{number}"))
    assert store.put(resource(1, uid="u0")) == {OWNER}
    assert store.put(resource(TOMBSTONES, uid=f"u{TOMBSTONES - 1}")) == set()


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
def test_the_order_of_hearing_does_not_matter(order: list[int], again: list[int]) -> None:
    """Events in any order, some of them twice: what is known in the end is what happened last."""
    happened = [
        ("put", resource(1)),
        ("put", resource(2)),
        ("remove", resource(3)),
        ("put", resource(4, uid="u2")),
        ("put", resource(5, uid="u2")),
        ("put", child(6, owner="u2")),
    ]
    store = Store()
    for index in [*order, *again]:
        what, item = happened[index]
        _ = store.put(item) if what == "put" else store.remove(item)
    found = store.get(OWNER)
    # Versions of one object only rise; of two with one name, whichever is heard of last is believed until the next list.
    store.replace(RETENTION_POLICY, None, [resource(5, uid="u2")], "9")
    found = store.get(OWNER)

    assert found == resource(5, uid="u2")
    assert [each["metadata"]["name"] for each in store.owned(resource(5, uid="u2"))] == ["child"]
    assert len(store) == 2


def test_a_kind_that_is_forgotten_may_come_back_as_it_was() -> None:
    """Nothing of it was seen to be deleted; the owners of what was forgotten should know."""
    store = Store()
    store.put(resource())
    store.put(child())
    assert store.forget(CRON_JOB) == {OWNER}
    assert store.owned(resource()) == []
    assert store.put(child()) == {OWNER}
    assert store.forget(RETENTION_POLICY) == {OWNER}
    assert store.forget(RETENTION_POLICY) == set()
