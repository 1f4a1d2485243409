"""The pod of a Job: restricted, without a token, with the database's address from a Secret that only the kubelet reads."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Final

from operators.coursegen_operator.resources import Object

CONTAINER: Final = "coursegen"
TERMINATION_LOG: Final = "/dev/termination-log"
PART: Final = ("imagePullPolicy", "imagePullSecrets", "command", "job")
"""What of a spec concerns the pods only."""

_POD_SECURITY: Final = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_CONTAINER_SECURITY: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def part_of(spec: Object) -> Object:
    """What of a resource's `spec` concerns its pods only."""
    return {key: spec[key] for key in PART if spec.get(key)}


def settings_of(part: Object) -> Object:
    """Its `job`: how the pods run."""
    return part.get("job") or {}


def labelled(part: Object, labels: Mapping[str, str]) -> dict[str, str]:
    """The resource's own labels of pods, and the operator's, which win."""
    return {**(settings_of(part).get("podLabels") or {}), **labels}


def pod_of(
    part: Object,
    *,
    image: str,
    command: Sequence[str],
    secret: tuple[str, str],
    environment: Mapping[str, str],
    args: Sequence[str] = (),
    grace_seconds: int | None = None,
) -> Object:
    """The specification of the pod.

    Args:
        part: what of the spec concerns pods only (`part_of`).
        image: what it runs.
        command: what it runs unless the spec names another one.
        secret: name and key of the Secret with the database's address.
        environment: further variables, in their order.
        args: of the command.
        grace_seconds: from SIGTERM to SIGKILL; Kubernetes' own when None.
    """
    settings = copy.deepcopy(settings_of(part))
    container: Object = {
        "name": CONTAINER,
        "image": image,
        "command": list(part.get("command") or command),
        "env": [_address(*secret), *({"name": name, "value": value} for name, value in environment.items())],
        "securityContext": _CONTAINER_SECURITY,
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  # the pod's own
    }
    if args:
        container["args"] = list(args)
    if part.get("imagePullPolicy"):
        container["imagePullPolicy"] = part["imagePullPolicy"]
    if settings.get("resources"):
        container["resources"] = settings["resources"]
    pod: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _POD_SECURITY,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    if grace_seconds is not None:
        pod["terminationGracePeriodSeconds"] = grace_seconds
    if part.get("imagePullSecrets"):
        pod["imagePullSecrets"] = copy.deepcopy(part["imagePullSecrets"])
    return pod | {
        key: settings[key] for key in ("serviceAccountName", "nodeSelector", "tolerations") if settings.get(key)
    }


def _address(name: str, key: str) -> Object:
    return {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
