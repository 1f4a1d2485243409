"""A server in a pod of its own, outside any installation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from tests.support.kube.commands import Object, apply, kubectl
from tests.support.kube.values import CHART_VALUES, for_cluster


def start(pod: Object) -> None:
    """Make the pod of a server, and return when it is ready; it goes with its namespace."""
    apply(json.dumps(pod))
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    kubectl("-n", namespace, "wait", f"pod/{name}", "--for=condition=Ready", "--timeout=90s")


def server_pod(
    namespace: str, name: str, server: Literal["postgresql", "redis"], port: int, container: Object,
    *, folders: Mapping[str, str], pod: Object | None = None,
) -> Object:  # fmt: skip
    """The pod of a server that obeys the strictest standard, of the image that the chart's `dev` has for it.

    Args:
        namespace: where it is.
        name: its name, and its label `app`.
        server: which of `dev` it is.
        port: where it listens.
        container: what its container has besides.
        folders: those it may write to, by the names of their volumes.
        pod: what the pod's specification has besides.
    """
    image = for_cluster().get("dev", {}).get(server, {}).get("image", CHART_VALUES["dev"][server]["image"])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999,
                                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": server,
                    "image": image,
                    "ports": [{"containerPort": port}],
                    "securityContext": CHART_VALUES["securityContext"],
                    "volumeMounts": [{"name": each, "mountPath": path} for each, path in folders.items()],
                    **container,
                }
            ],
            "volumes": [{"name": each, "emptyDir": {}} for each in folders],
            **(pod or {}),
        },
    }  # fmt: skip
