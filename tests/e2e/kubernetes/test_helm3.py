"""Helm 3 does all that Helm 4 does: install, test, uninstall."""

from __future__ import annotations

import json

import pytest

from tests.support.kube.commands import program, warnings_in
from tests.support.kube.installation import Installation, is_available, own_namespace
from tests.support.kube.operator import KINDS, RELEASE, OperatorRelease, kinds_there, removed_operator
from tests.support.kube.remains import objects
from tests.support.kube.values import Values
from tests.support.waiting import eventually_sync

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.install,
    pytest.mark.alone,
    pytest.mark.timeout(3000),
    pytest.mark.depth(2),
]

VALUES: Values = {
    "api": {"replicaCount": 1},
    "outboxRelay": {"replicaCount": 1},
    "dev": {"postgresql": {"persistence": {"enabled": False}}},
}
STAYS = {
    "lease.coordination.k8s.io/cg-coursegen-outbox-relay",
    "pod/cg-coursegen-test-health",
    "pod/cg-coursegen-test-round-trip",
}


def test_helm_3_installs_tests_and_uninstalls() -> None:
    """`--wait` returns when every pod is ready; both test pods succeed; no warning; what stays is what Helm 4 leaves."""
    program("helm3")
    with own_namespace("helm3") as namespace:
        eventually_sync(lambda: "serviceaccount/default" in objects(namespace), within=30, every=0.5)
        before = objects(namespace)
        installation = Installation(namespace, VALUES, helm="helm3")

        said = installation.install(flags=("--wait", "--timeout", "6m"))
        unready = [each["metadata"]["name"] for each in installation.items("deployments") if not is_available(each)]
        tested = installation.helm("test", installation.release, "--logs")
        history = json.loads(installation.helm("history", installation.release, "-o", "json"))
        restarts = installation.restarts()
        installation.uninstall()

        assert "STATUS: deployed" in said
        assert warnings_in(said + tested) == []
        assert unready == []
        assert tested.count("Succeeded") == 2
        assert "completed" in tested
        assert [(each["revision"], each["status"]) for each in history] == [(1, "deployed")]
        assert restarts == {}
        eventually_sync(lambda: objects(namespace) - before == STAYS, within=90, every=1)


def test_helm_3_installs_and_uninstalls_the_operator() -> None:
    """Both pods Ready when `--wait` returns; no warning; the kinds stay, and the Lease."""
    program("helm3")
    with own_namespace("helm3-operator") as namespace, removed_operator(namespace):
        eventually_sync(lambda: "serviceaccount/default" in objects(namespace), within=30, every=0.5)
        before = objects(namespace)
        release = OperatorRelease(namespace, helm="helm3")

        said = release.install()
        ready = release.pods()
        release.uninstall()

        assert "STATUS: deployed" in said
        assert warnings_in(said) == []
        assert len(ready) == 2
        assert kinds_there() == list(KINDS)
        eventually_sync(
            lambda: objects(namespace) - before <= {f"lease.coordination.k8s.io/{RELEASE}"}, within=60, every=1
        )
