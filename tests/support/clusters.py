"""The cluster that KUBECONFIG names, and whoever may do what in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import httpx2
import pytest
import yaml
from lightkube import Client, KubeConfig
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import PolicyRule, RoleRef, Subject
from lightkube.resources.core_v1 import ServiceAccount, ServiceAccountToken
from lightkube.resources.rbac_authorization_v1 import Role, RoleBinding

from services.kernel.lease.kubernetes import cluster_trust

REQUIRE = "COURSEGEN_REQUIRE_CLUSTER"
"""Set to 1, a missing cluster fails the tests that need one; so does CI=true."""


def is_required() -> bool:
    """Whether a test that needs a cluster must not be skipped."""
    return os.environ.get(REQUIRE) == "1" or os.environ.get("CI") == "true"


def require_cluster() -> None:
    """Without KUBECONFIG the test is skipped, or fails where a cluster is required."""
    if not os.environ.get("KUBECONFIG"):
        refuse("KUBECONFIG names no cluster; `make cluster-up` makes one where Docker and kind are")


def refuse(reason: str) -> NoReturn:
    """Skip the test, or fail it where a cluster is required."""
    if is_required():
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def cluster_client() -> Iterator[Client]:
    """A client of the cluster that KUBECONFIG names; the test is skipped, or fails, where there is none."""
    require_cluster()
    config = KubeConfig.from_env().get()
    assert config is not None
    with closing(Client(config, transport=httpx2.HTTPTransport(verify=cluster_trust(config)), lazy=False)) as client:
        yield client


def kubeconfig_of(client: Client, namespace: str, account: str, rules: list[PolicyRule], folder: Path) -> Path:
    """A kubeconfig for a new service account that may do what `rules` say, in `namespace` only."""
    client.create(ServiceAccount(metadata=ObjectMeta(name=account, namespace=namespace)))
    client.create(Role(metadata=ObjectMeta(name=account, namespace=namespace), rules=rules))
    client.create(
        RoleBinding(
            metadata=ObjectMeta(name=account, namespace=namespace),
            roleRef=RoleRef(apiGroup="rbac.authorization.k8s.io", kind="Role", name=account),
            subjects=[Subject(kind="ServiceAccount", name=account, namespace=namespace)],
        )
    )
    request = ServiceAccountToken(
        metadata=ObjectMeta(name=account, namespace=namespace),
        spec=TokenRequestSpec(audiences=[], expirationSeconds=3600),
    )
    token = client.create(request, account).status.token
    path = folder / f"{account}.kubeconfig"
    path.write_text(yaml.safe_dump(_described(KubeConfig.from_env(), namespace, account, token)), encoding="utf-8")
    return path


def _described(admin: KubeConfig, namespace: str, account: str, token: str) -> dict[str, object]:
    config = admin.get()
    assert config is not None
    if config.cluster.certificate_auth:
        authority = {"certificate-authority": str(config.abs_file(config.cluster.certificate_auth))}
    else:
        authority = {"certificate-authority-data": config.cluster.certificate_auth_data}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": account,
        "clusters": [{"name": account, "cluster": {"server": config.cluster.server, **authority}}],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": account, "context": {"cluster": account, "user": account, "namespace": namespace}}],
    }
