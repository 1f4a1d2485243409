"""What is in a namespace: every object of every kind that can be listed."""

from __future__ import annotations

from tests.support.kube.commands import kubectl

_COMES_AND_GOES = ("events", "events.events.k8s.io", "pods.metrics.k8s.io")


def objects(namespace: str) -> set[str]:
    """Names such as `secret/cg-coursegen-dev`, without events and measurements."""
    kinds = kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    wanted = ",".join(each for each in kinds if each not in _COMES_AND_GOES)
    return set(kubectl("-n", namespace, "get", wanted, "-o", "name", "--ignore-not-found").split())
