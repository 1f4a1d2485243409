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

_SMALL: Values = {
    "image": {"registry": "localhost", "repositoryPrefix": "coursegen-", "tag": "dev"},
    "migrations": {"mode": "job"},  # installations of the operator's own tests say otherwise
    "dev": {
        "enabled": True,
        "postgresql": {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}},
    },
    "api": {"resources": {"requests": {"cpu": "50m", "memory": "192Mi"}, "limits": {"memory": "384Mi"}}},
    "outboxRelay": {"resources": {"requests": {"cpu": "25m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}},
    "stageWorker": {
        "resources": {"requests": {"cpu": "50m", "memory": "384Mi"}, "limits": {"memory": "1536Mi"}},
        "queues": {
            "webhooks": {"resources": {"requests": {"cpu": "25m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}}
        },
    },
}


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
