"""One operator for all of these tests, and one application that it looks after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import yaml

from tests.support.clusters import refuse, require_cluster
from tests.support.kube.commands import Object, items
from tests.support.kube.installation import Installation, own_namespace
from tests.support.kube.operator import OperatorRelease, operator_installed
from tests.support.kube.prometheus import FIRED_SECONDS, PROCESSES, has_prometheus, is_scraped, scraped
from tests.support.kube.signals import stand_beside
from tests.support.kube.values import CHART, Values, merged
from tests.support.limits import RAISED
from tests.support.waiting import eventually_sync

OPERATED: Values = {
    "migrations": {"mode": "operator"},
    "api": {"replicaCount": 1},
    "outboxRelay": {"replicaCount": 1},
    "stageWorker": {"queues": {"documents": None, "generation": None, "webhooks": None}},
    "networkPolicy": {"enabled": True},
    "dev": {"postgresql": {"persistence": {"enabled": False}}},
    "tests": {"enabled": False},
}
"""A small application whose schema, retention and alerts are the operator's."""

WATCHED: Values = {
    "config": {"api": dict(RAISED)},
    "alerts": yaml.safe_load((CHART / "ci" / "quick-alerts-values.yaml").read_text(encoding="utf-8"))["alerts"],
    "networkPolicy": {
        "enabled": True,
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    },
}
"""What is added where there is a Prometheus: it scrapes, and alerts after seconds; parts are broken while courses are ordered."""


@pytest.fixture(scope="session")
def operator() -> Iterator[OperatorRelease]:
    """Two pods for the whole cluster, seen by its Prometheus if there is one; beside each a container that sends signals."""
    require_cluster()
    with operator_installed() as release, ExitStack() as stack:
        stand_beside(release.namespace, "coursegen-operator")
        if has_prometheus():
            stack.enter_context(scraped(release.namespace, "coursegen-operator"))
        yield release


@dataclass(frozen=True)
class FirstLook:
    """What there was when `helm install --wait` had returned, before any test."""

    installation: Installation
    resources: list[Object]
    deployments: list[Object]
    restarts: dict[str, int]


@pytest.fixture(scope="session")
def first_look(operator: OperatorRelease) -> Iterator[FirstLook]:
    """The application, installed as an administrator does it: `helm install --wait` returns when all is Ready."""
    assert operator.pods()
    with own_namespace("operated") as namespace, ExitStack() as stack:
        installation = Installation(namespace, merged(OPERATED, WATCHED if has_prometheus() else {}))
        if has_prometheus():
            stack.enter_context(scraped(namespace, installation.release, PROCESSES))
        installation.install(flags=("--wait", "--timeout=5m"))
        shown = items("-n", namespace, "coursegen")
        yield FirstLook(installation, shown, installation.items("deployments"), installation.restarts())


@pytest.fixture(scope="session")
def operated(first_look: FirstLook) -> Installation:
    """The application; a test that changes it puts it back."""
    return first_look.installation


@pytest.fixture(scope="module")
def watched(operator: OperatorRelease, operated: Installation) -> Installation:
    """The application with an AlertPolicy of short windows, seen by Prometheus."""
    if not has_prometheus():
        refuse("no Prometheus on the cluster; install Prometheus Operator: https://prometheus-operator.dev")
    for namespace in (operator.namespace, operated.namespace):
        eventually_sync(lambda namespace=namespace: is_scraped(namespace), within=FIRED_SECONDS, every=2)
    return operated
