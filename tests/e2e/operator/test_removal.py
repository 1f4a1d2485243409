"""Uninstalled in any order: nothing stays Terminating, and what belonged to a resource goes with it."""

from __future__ import annotations

import pytest

from tests.e2e.operator.conftest import OPERATED
from tests.support.kube.commands import items, kubectl, run
from tests.support.kube.installation import Installation, eventually_gone, own_namespace
from tests.support.kube.operator import OperatorRelease, await_condition
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(2), pytest.mark.timeout(600)]


def test_the_application_goes_and_takes_its_children_along(operator: OperatorRelease) -> None:
    """`helm uninstall` with the operator at work: no CronJob and no Job is left."""
    assert operator.pods()
    with own_namespace("going") as namespace:
        installation = Installation(namespace, OPERATED)
        installation.install()
        await_condition(namespace, "rtp", "outbox", "Ready")
        installation.helm("uninstall", installation.release)

        eventually_sync(lambda: not items("-n", namespace, "cronjobs,jobs"), within=90, every=1)
        assert items("-n", namespace, "coursegen") == []


def test_the_operator_goes_first_and_nothing_hangs(operator: OperatorRelease) -> None:
    """Stopped as if uninstalled, the namespace with all its resources is still deleted within two minutes."""
    with own_namespace("last") as namespace:
        installation = Installation(namespace, OPERATED)
        installation.install()
        await_condition(namespace, "rtp", "outbox", "Ready")
        kubectl("-n", operator.namespace, "scale", "deployment/coursegen-operator", "--replicas=0")
        try:
            eventually_sync(lambda: not operator.pods(), within=60, every=0.5)
            run(["kubectl", "delete", "namespace", namespace, "--wait=false"])
            eventually_gone(namespace, within=120)
        finally:
            kubectl("-n", operator.namespace, "scale", "deployment/coursegen-operator", "--replicas=2")
            kubectl("-n", operator.namespace, "rollout", "status", "deployment/coursegen-operator", "--timeout=120s")
