"""Uninstalled in any order: nothing stays Terminating, and what belonged to a resource goes with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.operator.conftest import OPERATED
from tests.support.kube.commands import items, kubectl
from tests.support.kube.installation import Installation, eventually_gone, own_namespace
from tests.support.kube.operator import OperatorRelease, await_condition
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(2), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def going(operator: OperatorRelease) -> Iterator[Installation]:
    """An application that nobody waits for."""
    assert operator.pods()
    with own_namespace("going") as namespace:
        yield Installation(namespace, OPERATED)


def test_the_application_goes_and_takes_its_children_along(going: Installation) -> None:
    """`helm uninstall` with the operator at work: no CronJob and no Job is left."""
    namespace = going.namespace
    going.install()
    await_condition(namespace, "rtp", "outbox", "Ready")
    going.helm("uninstall", going.release)

    eventually_sync(lambda: not items("-n", namespace, "cronjobs,jobs"), within=90, every=0.5)
    assert items("-n", namespace, "coursegen") == []


def test_the_operator_goes_first_and_nothing_hangs(operator: OperatorRelease, going: Installation) -> None:
    """Stopped as if uninstalled, the namespace with all its resources is still deleted within two minutes."""
    going.install()
    await_condition(going.namespace, "rtp", "outbox", "Ready")
    kubectl("-n", operator.namespace, "scale", "deployment/coursegen-operator", "--replicas=0")
    try:
        eventually_sync(lambda: not operator.pods(), within=60, every=0.5)
        kubectl("delete", "namespace", going.namespace, "--wait=false")
        eventually_gone(going.namespace, within=120)
    finally:
        kubectl("-n", operator.namespace, "scale", "deployment/coursegen-operator", "--replicas=2")
