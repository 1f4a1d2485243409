"""What is left of an installation: after `helm uninstall` what its README says, after the namespace's end nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clusters import require_cluster
from tests.support.kube.commands import items, kubectl
from tests.support.kube.installation import Installation, eventually_gone, own_namespace
from tests.support.kube.remains import objects
from tests.support.kube.values import CHART, Values
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(900)]

SMALL: Values = {
    "api": {"replicaCount": 1},
    "outboxRelay": {"replicaCount": 1},
    "stageWorker": {"queues": {"documents": None, "generation": None, "webhooks": None}},
    "leaderElection": {"mode": "lease"},
    "networkPolicy": {"enabled": True},
    "dev": {"postgresql": {"persistence": {"enabled": True}}},
    "tests": {"timeoutSeconds": 2},
}
"""One of each kind of object; workers of one queue, so that the test course cannot be finished."""
STAYS = {"pod/cg-coursegen-test-round-trip", "lease.coordination.k8s.io/cg-coursegen-outbox-relay"}


def bound_volumes(namespace: str) -> list[str]:
    """Volumes that a claim of the namespace holds. What becomes of one that is not held, its class decides."""
    claimed = [(each, each["spec"].get("claimRef", {})) for each in items("persistentvolumes")]
    return [
        each["metadata"]["name"]
        for each, claim in claimed
        if claim.get("namespace") == namespace and each["status"]["phase"] == "Bound"
    ]


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """One for both tests, so that the second installs where the first has uninstalled."""
    require_cluster()
    with own_namespace("removal") as name:
        eventually_sync(lambda: "serviceaccount/default" in objects(name), within=30, every=0.5)
        yield name


def test_what_helm_did_not_install_stays_and_nothing_else(namespace: str) -> None:
    """The Lease, and the pods of the last test; the claim of PostgreSQL goes with the release."""
    before = objects(namespace)
    installation = Installation(namespace, SMALL)
    installation.install()
    installation.wait_ready()
    claims = [each["metadata"]["name"] for each in installation.items("persistentvolumeclaims")]
    with pytest.raises(AssertionError, match="cg-coursegen-test-round-trip failed"):
        installation.helm("test", installation.release, "--filter", "name=cg-coursegen-test-round-trip")

    installation.uninstall()

    eventually_sync(lambda: assert_equal(STAYS, objects(namespace) - before), within=90, every=1)
    assert claims == ["data-cg-coursegen-postgresql-0"]
    assert bound_volumes(namespace) == []


def test_a_deleted_namespace_is_gone(namespace: str) -> None:
    """With everything at work in it, installed where a release has been: gone within 120 s, and no volume is bound to it."""
    installation = Installation(namespace, SMALL)
    installation.install()
    installation.wait_ready()
    restarts = installation.restarts()
    bound = bound_volumes(namespace)

    kubectl("delete", "namespace", namespace, "--wait=false")

    assert len(bound) == 1
    assert restarts == {}
    eventually_gone(namespace, within=120)
    assert bound_volumes(namespace) == []


def assert_equal(expected: set[str], found: set[str]) -> bool:
    """For waiting: fails until both are the same, and shows both."""
    assert found == expected
    return True


def test_the_readme_names_what_stays() -> None:
    """In its paragraph about uninstalling."""
    paragraph = (CHART / "README.md").read_text(encoding="utf-8").partition("- **Uninstall**")[2].partition("- **")[0]

    assert [
        word for word in ("volume claim", "Lease", "helm test", "Secrets", "namespace") if word not in paragraph
    ] == []
