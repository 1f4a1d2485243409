"""The kinds on a real API server, and an account that may do what the chart's Role in one namespace allows, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lightkube.models.rbac_v1 import PolicyRule

from operators.coursegen_operator.schemas.crd import definitions
from tests.charts.conftest import NEWEST
from tests.support.clusters import cluster_client, kubeconfig_of, require_cluster
from tests.support.kube.commands import kubectl, program, run
from tests.support.kube.installation import own_namespace
from tests.support.kube.operator import OPERATOR_CHART, RELEASE, await_established

FILES = OPERATOR_CHART / "files" / "crds"


def rights(helm: str, namespace: str) -> list[PolicyRule]:
    """What the chart allows an operator that looks after its own namespace only."""
    values = ["--set", "scope=namespaced", "--kube-version", NEWEST]
    command = [helm, "template", RELEASE, str(OPERATOR_CHART), "-n", namespace, *values]
    roles = [each for each in yaml.safe_load_all(run(command).stdout) if each and each["kind"] == "Role"]
    assert {each["metadata"]["namespace"] for each in roles} == {namespace}
    return [PolicyRule(**rule) for each in roles for rule in each["rules"]]


@pytest.fixture(scope="module")
def kinds() -> Iterator[None]:
    """The definitions; those that were not there before are taken away at the end."""
    require_cluster()
    names = [each["metadata"]["name"] for each in definitions().values()]
    are_there = run(["kubectl", "get", "crd", *names], check=False).returncode == 0
    try:
        if not are_there:
            kubectl("apply", "--server-side", "-f", str(FILES))
            await_established(*names)
        yield
    finally:
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
        path = kubeconfig_of(client, namespace, "operator", rights(program("helm"), namespace), tmp_path)
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
