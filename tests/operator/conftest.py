"""The kinds on a real API server, and an account that may do what the chart's Role in one namespace allows, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lightkube.models.rbac_v1 import PolicyRule

from operators.coursegen_operator.schemas.crd import definitions
from tests.support.clusters import cluster_client, kubeconfig_of, require_cluster
from tests.support.kube.commands import kubectl, run
from tests.support.kube.installation import own_namespace
from tests.support.servers import REPOSITORY

FILES = REPOSITORY / "charts" / "coursegen-operator" / "files" / "crds"
OWN = ["databasemigrations", "retentionpolicies", "alertpolicies"]
ALL = ["get", "list", "watch", "create", "patch", "delete"]
RULES = [
    PolicyRule(apiGroups=["coordination.k8s.io"], resources=["leases"], verbs=["create"]),
    PolicyRule(
        apiGroups=["coordination.k8s.io"],
        resources=["leases"],
        resourceNames=["coursegen-operator"],
        verbs=["get", "update"],
    ),
    PolicyRule(apiGroups=[""], resources=["events"], verbs=["create"]),
    PolicyRule(apiGroups=["ops.coursegen.dev"], resources=OWN, verbs=["get", "list", "watch"]),
    PolicyRule(apiGroups=["ops.coursegen.dev"], resources=[f"{each}/status" for each in OWN], verbs=["get", "patch"]),
    PolicyRule(apiGroups=["ops.coursegen.dev"], resources=[f"{each}/finalizers" for each in OWN], verbs=["update"]),
    PolicyRule(apiGroups=["batch"], resources=["jobs", "cronjobs"], verbs=ALL),
    PolicyRule(apiGroups=["monitoring.coreos.com"], resources=["prometheusrules"], verbs=ALL),
    PolicyRule(apiGroups=["monitoring.coreos.com"], resources=["prometheuses", "thanosrulers"], verbs=["get", "list"]),
    PolicyRule(apiGroups=[""], resources=["pods"], verbs=["get", "list", "watch"]),
    PolicyRule(apiGroups=["apps"], resources=["deployments"], verbs=["get", "list", "watch"]),
    PolicyRule(apiGroups=["events.k8s.io"], resources=["events"], verbs=["list", "create", "patch"]),
]
"""As charts/coursegen-operator/templates/_rules.tpl and rbac.yaml have it with `scope: namespaced`."""


@pytest.fixture(scope="session")
def kinds() -> Iterator[None]:
    """The definitions; those that were not there before are taken away at the end."""
    require_cluster()
    names = [each["metadata"]["name"] for each in definitions().values()]
    are_there = run(["kubectl", "get", "crd", *names], check=False).returncode == 0
    if not are_there:
        kubectl("apply", "--server-side", "-f", str(FILES))
        kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", *names)
    yield
    if not are_there:
        kubectl("delete", "crd", *names, "--ignore-not-found", "--timeout=60s")


@pytest.fixture
def namespace(kinds: None) -> Iterator[str]:
    """A namespace of the test's own."""
    del kinds
    with own_namespace("frame") as name:
        yield name


@pytest.fixture
def confined(namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The namespace, with this process's client confined to it; `kubectl` of the tests keeps the administrator's rights."""
    with cluster_client() as client:
        path = kubeconfig_of(client, namespace, "operator", RULES, tmp_path)
    monkeypatch.setattr("services.kernel.lease.kubernetes.read_access", _reading(path))
    monkeypatch.setattr("operators.coursegen_operator.cluster.read_access", _reading(path))
    return namespace


def _reading(path: Path) -> object:
    from lightkube import KubeConfig

    from services.kernel.lease.kubernetes import cluster_trust

    def read_access(_: str) -> object:
        config = KubeConfig.from_file(path).get()
        assert config is not None
        return config, cluster_trust(config)

    return read_access
