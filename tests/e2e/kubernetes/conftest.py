"""One installation that most tests of a run share: two of each, a Lease, policies, in a namespace of the restricted standard.

Each test carries the label of what it tries (`-m network`) and a depth: 1 is what every change must pass, 2 what a merge
must, 3 the rest. `TEST_DEPTH=1 make test-cluster` leaves the deeper ones out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clusters import require_cluster
from tests.support.kube.installation import Installation, own_namespace
from tests.support.kube.values import CHART_VALUES, Values
from tests.support.limits import RAISED

DEPTH = "TEST_DEPTH"
DEEPEST = 3

OUTSIDE = "coursegen-test"
"""A label of namespaces that stand for what is outside: `monitoring`, `clients`, `internet`."""

RECEIVERS: Values = {"WEBHOOK_ALLOW_HTTP": True, "WEBHOOK_ALLOWED_NETWORKS": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"}
"""Webhooks go to pods as well: plainly, since no authority vouches for them."""


def outside(name: str) -> dict[str, Any]:
    """Such namespaces as a peer of a NetworkPolicy."""
    return {"namespaceSelector": {"matchLabels": {OUTSIDE: name}}}


SHARED: Values = {
    "leaderElection": {"mode": "lease"},
    "networkPolicy": {
        "enabled": True,
        "metricsFrom": [outside("monitoring")],
        "webhooks": {"to": [outside("internet"), *CHART_VALUES["networkPolicy"]["webhooks"]["to"]]},
    },
    "api": {"replicaCount": 2},
    "outboxRelay": {"replicaCount": 2},
    "stageWorker": {"replicaCount": 1},
    "config": {"api": {**RAISED, **RECEIVERS}, "worker": dict(RECEIVERS)},
    # Used by nothing here; that they show nowhere is tested.
    "engine": {"openaiApiKey": {"value": "sk-canary-openai-3Bn6"}},
    "objectStore": {
        "accessKeyId": {"value": "CANARYKEYID1Lm0Qx7"},
        "secretAccessKey": {"value": "canary-object-store-4Vc7"},
    },
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is deeper than asked for."""
    depth = int(os.environ.get(DEPTH, DEEPEST))
    left_out = [each for each in items if _depth(each) > depth]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [each for each in items if each not in left_out]


def _depth(item: pytest.Item) -> int:
    mark = item.get_closest_marker("depth")
    return int(mark.args[0]) if mark else 1


@pytest.fixture(scope="session")
def shared() -> Iterator[Installation]:
    """The shared installation, as it is; a test that changes it puts it back."""
    require_cluster()
    with own_namespace("e2e") as namespace:
        installation = Installation(namespace, SHARED)
        said = installation.install()
        assert "would violate PodSecurity" not in said
        installation.wait_ready()
        yield installation


@pytest.fixture
def whole(shared: Installation) -> Iterator[Installation]:
    """The shared installation with every Deployment rolled out, before the test and after it."""
    shared.wait_ready(seconds=180)
    yield shared
    shared.wait_ready(seconds=180)
