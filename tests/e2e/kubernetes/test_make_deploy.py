"""`make cluster-up`, `make deploy` and `make cluster-down` on a cluster that KUBECONFIG names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.images import require_builder
from tests.support.kube.commands import get, items, kubectl, program
from tests.support.kube.installation import Installation, own_namespace, port_forward
from tests.support.kube.values import CHART, for_cluster
from tests.support.servers import REPOSITORY

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(2), pytest.mark.timeout(1800)]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Runs a target for a namespace of the test's own, with small pods and the images that the cluster has."""
    require_builder()
    program("helm")
    values, image = tmp_path / "small.yaml", for_cluster()["image"]
    values.write_text(yaml.safe_dump({**for_cluster(), "image": {}}), encoding="utf-8")

    def run(target: str, namespace: str) -> str:
        environment = {
            **os.environ,
            "NAMESPACE": namespace,
            "RELEASE": "made",
            "IMAGE_PREFIX": f"{image['registry']}/{image['repositoryPrefix']}",
            "IMAGE_TAG": image["tag"],
            "LOAD_IMAGES": os.environ.get("LOAD_IMAGES", "true"),  # the cluster under test has them
            "VALUES": f"{CHART / 'ci' / 'dev-values.yaml'} {values}",
        }
        command = ["make", "--no-print-directory", target]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    return run


def test_deployed_reached_deployed_again_and_taken_away(make: Any) -> None:
    """Nothing is made but the release; a second time changes nothing; the cluster and the namespace stay."""
    with own_namespace("made") as namespace:
        assert "nothing was made" in make("cluster-up", namespace)

        said = make("deploy", namespace)
        installation = Installation(namespace, {}, release="made")
        assert f"kubectl -n {namespace} port-forward service/made-coursegen-api 3000:3000" in said
        with port_forward(installation, "service/made-coursegen-api", 3000) as url:
            assert httpx.get(f"{url}/openapi.json").status_code == 200

        before = _pods(namespace)
        make("deploy", namespace)
        assert _pods(namespace) == before

        assert f"kubectl delete namespace {namespace}" in make("cluster-down", namespace)
        assert items("-n", namespace, "deployments") == []
        assert get("namespace", namespace)["status"]["phase"] == "Active"


def _pods(namespace: str) -> set[str]:
    """The pods of Deployments: another one is another name."""
    names = kubectl("-n", namespace, "get", "pods", "-l", "pod-template-hash", "-o", "name")
    return set(names.split())
