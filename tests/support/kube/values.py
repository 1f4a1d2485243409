"""Values that every installation of a test begins with: small pods, and the images that the cluster has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from tests.support.servers import REPOSITORY

Values = dict[str, Any]

CHART = REPOSITORY / "charts" / "coursegen"
CHART_VALUES: Values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
"""The chart's own."""
CLUSTER_VALUES = "TEST_CLUSTER_VALUES"
"""Names a file of values that says which images the cluster has, and from where."""


def _requests(memory: str, limit: str) -> Values:
    return {"resources": {"requests": {"cpu": "5m", "memory": memory}, "limits": {"memory": limit}}}


_SMALL: Values = {
    "image": {"registry": "localhost", "repositoryPrefix": "coursegen-", "tag": "dev"},
    "migrations": {
        "mode": "job",
        **_requests("128Mi", "128Mi"),
    },  # installations of the operator's own tests say otherwise
    "dev": {
        "enabled": True,
        "postgresql": _requests("256Mi", "1Gi"),
        "redis": _requests("128Mi", "192Mi"),
    },
    "api": _requests("192Mi", "384Mi"),
    "outboxRelay": _requests("128Mi", "256Mi"),
    "persistenceWorker": _requests("128Mi", "256Mi"),
    "stageWorker": {
        **_requests("384Mi", "1536Mi"),
        "queues": {"webhooks": _requests("128Mi", "256Mi")},
    },
}
"""Half a dozen installations share a node of two cores: with more asked for, the pods of the last would wait for a free one."""


def merged(*layers: Values) -> Values:
    """One mapping of several: later ones win, mappings are merged."""
    result: Values = {}
    for layer in layers:
        for key, value in layer.items():
            before = result.get(key)
            result[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def for_cluster(*layers: Values) -> Values:
    """Small values, those of the cluster under test, and `layers`, in this order."""
    named = os.environ.get(CLUSTER_VALUES)
    of_cluster = yaml.safe_load(Path(named).read_text(encoding="utf-8")) if named else {}
    return merged(_SMALL, of_cluster, *layers)


def image(process: str, *layers: Values) -> str:
    """The image of a process on the cluster under test: "api", "stage-worker", …"""
    named = for_cluster(*layers)["image"]
    return f"{named['registry']}/{named['repositoryPrefix']}{process}:{named['tag']}"
