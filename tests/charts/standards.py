"""What both charts promise of every object and of every pod."""

from __future__ import annotations

from collections.abc import Collection

from tests.charts.objects import Object

_OF_THE_CLUSTER = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
_LABELS = {
    f"app.kubernetes.io/{each}" for each in ("name", "instance", "version", "component", "part-of", "managed-by")
}
_SPREAD = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}


def assert_labelled(each: Object, namespaces: Collection[str]) -> None:
    """The recommended labels; a namespace; a name of at most 63 characters; selectors of three labels that never change."""
    metadata = each["metadata"]
    assert _LABELS | {"helm.sh/chart"} <= metadata["labels"].keys(), metadata["name"]
    assert len(metadata["name"]) <= 63, metadata["name"]
    if each["kind"] in _OF_THE_CLUSTER:
        assert "namespace" not in metadata, metadata["name"]
    else:
        assert metadata["namespace"] in namespaces, metadata["name"]
    if each["kind"] == "Deployment":
        selected = {key.rpartition("/")[2] for key in each["spec"]["selector"]["matchLabels"]}
        assert selected == {"name", "instance", "component"}, metadata["name"]


def assert_restricted(name: str, pod: Object, *, token: bool) -> None:
    """The restricted standard, a root that cannot be written, and a token only where it is needed."""
    assert pod["securityContext"]["runAsNonRoot"] is True, name
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
    assert pod["enableServiceLinks"] is False, name
    assert pod["automountServiceAccountToken"] is token, name
    for container in pod["containers"]:
        allowed = container["securityContext"]
        assert allowed["allowPrivilegeEscalation"] is False, name
        assert allowed["readOnlyRootFilesystem"] is True, name
        assert allowed["capabilities"] == {"drop": ["ALL"]}, name


def assert_memory_is_reserved(name: str, pod: Object) -> None:
    """The memory limit is the request; there is no CPU limit."""
    for container in pod["containers"]:
        resources = container["resources"]
        assert resources["limits"] == {"memory": resources["requests"]["memory"]}, name


def assert_spread(deployment: Object) -> None:
    """Over hosts where it can, each ReplicaSet by itself."""
    template = deployment["spec"]["template"]
    (rule,) = template["spec"]["topologySpreadConstraints"]

    assert rule.items() >= _SPREAD.items(), deployment["metadata"]["name"]
    assert rule["matchLabelKeys"] == ["pod-template-hash"]
    assert rule["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
