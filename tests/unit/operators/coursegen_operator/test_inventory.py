"""An inventory: everything is known before anything is looked at."""

from __future__ import annotations

import pytest

from operators.coursegen_operator.errors import ClusterUnavailable, NotPermitted
from operators.coursegen_operator.inventory import Inventory
from operators.coursegen_operator.resources import CRON_JOB, JOB, POD, RETENTION_POLICY, ObjectKey
from operators.coursegen_operator.store import Store
from operators.coursegen_operator.watching import Selection
from tests.support.pretended_cluster import PretendedCluster
from tests.support.pretended_kind import PretendedKind, sample

KEY = ObjectKey(RETENTION_POLICY.kind, "default", "sample")


class Grounds:
    """An inventory, and who was told of what."""

    def __init__(self, *namespaces: str) -> None:
        self.cluster = PretendedCluster()
        self.store = Store()
        self.concerned: list[ObjectKey] = []
        self.inventory = Inventory(self.cluster, self.store, [PretendedKind()], namespaces, self.concerned.append)


async def test_everything_is_listed_and_watched() -> None:
    """Pods too, where there are Jobs; children by their label."""
    grounds = Grounds()
    grounds.cluster.add(sample())
    taken = await grounds.inventory.take()

    assert taken.selection == Selection((RETENTION_POLICY, CRON_JOB, JOB, POD), ())
    assert (taken.absent, grounds.concerned) == ((), [KEY])
    await grounds.inventory.take()
    assert grounds.concerned == [KEY]


async def test_nobody_is_concerned_before_all_is_known() -> None:
    """An inventory that breaks off tells nobody; the next one tells of what the first has seen."""
    grounds = Grounds()
    grounds.cluster.add(sample())
    grounds.cluster.refuses["list", POD.kind] = ClusterUnavailable()
    with pytest.raises(ClusterUnavailable):
        await grounds.inventory.take()
    assert grounds.concerned == []

    grounds.cluster.refuses.clear()
    await grounds.inventory.take()
    assert grounds.concerned == [KEY]


async def test_a_kind_that_is_absent_is_not_watched() -> None:
    """One of ours is told; one of the children is nobody's fault."""
    grounds = Grounds()
    grounds.cluster.absent |= {RETENTION_POLICY.kind, CRON_JOB.kind}
    taken = await grounds.inventory.take()

    assert taken.selection.types == (JOB, POD)
    assert taken.absent == (RETENTION_POLICY.kind,)
    assert taken.absent_children == {CRON_JOB.kind}


async def test_a_kind_that_may_not_be_seen_is_not_watched() -> None:
    """A watch that is refused would end all of them."""
    grounds = Grounds("default")
    grounds.cluster.refuses["list", POD.kind] = NotPermitted("see `kubectl auth can-i`")
    taken = await grounds.inventory.take()

    assert taken.selection == Selection((RETENTION_POLICY, CRON_JOB, JOB), ("default",))


async def test_without_a_right_to_anything_it_says_so() -> None:
    """With the command that shows it."""
    grounds = Grounds("default")
    grounds.cluster.refuses["list", RETENTION_POLICY.kind] = NotPermitted("see `kubectl auth can-i`")
    with pytest.raises(NotPermitted, match="can-i"):
        await grounds.inventory.take()


async def test_what_is_gone_concerns_whoever_owned_it() -> None:
    """Deleted while no watch was open."""
    grounds = Grounds()
    made = grounds.cluster.add(sample())
    owner = {"uid": made["metadata"]["uid"], "controller": True}
    metadata = {
        "name": "child",
        "ownerReferences": [owner],
        "labels": {"app.kubernetes.io/managed-by": "coursegen-operator"},
    }
    grounds.cluster.add({"apiVersion": "batch/v1", "kind": CRON_JOB.kind, "metadata": metadata})
    await grounds.inventory.take()
    grounds.concerned.clear()
    grounds.cluster.drop(ObjectKey(CRON_JOB.kind, "default", "child"))
    await grounds.inventory.take()

    assert grounds.concerned == [KEY]


async def test_a_kind_that_was_taken_away_leaves_nothing_behind() -> None:
    """Also while no watch was open; children are not made again for a resource that is gone. Back again it is as new."""
    grounds = Grounds()
    grounds.cluster.add(sample())
    await grounds.inventory.take()
    grounds.concerned.clear()
    grounds.cluster.absent.add(RETENTION_POLICY.kind)
    await grounds.inventory.take()
    assert (grounds.concerned, grounds.store.get(KEY)) == ([KEY], None)

    grounds.cluster.absent.clear()
    await grounds.inventory.take()

    assert grounds.store.get(KEY) is not None
    assert grounds.concerned == [KEY, KEY]
