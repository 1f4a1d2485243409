"""What is in a namespace: every object of every kind that can be listed."""

from __future__ import annotations

import json

from tests.support.kube.commands import kubectl

_COMES_AND_GOES = ("events", "events.events.k8s.io", "pods.metrics.k8s.io")


def objects(namespace: str) -> set[str]:
    """Names such as `secret/cg-coursegen-dev`, without events and measurements."""
    return set(kubectl("-n", namespace, "get", _kinds(), "-o", "name", "--ignore-not-found").split())


def terminating(namespace: str) -> set[str]:
    """Names of what was deleted and is still there."""
    listed = json.loads(
        kubectl("-n", namespace, "get", _kinds(), "-o", "json", "--ignore-not-found") or '{"items": []}'
    )
    found = [each for each in listed["items"] if "deletionTimestamp" in each["metadata"]]
    return {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in found}


def _kinds() -> str:
    kinds = kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    return ",".join(each for each in kinds if each not in _COMES_AND_GOES)
