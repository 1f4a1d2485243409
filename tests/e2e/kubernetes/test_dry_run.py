"""What the charts render, shown to a real API server: it takes every object, and warns of none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.clusters import require_cluster
from tests.support.kube.commands import Object, apply, kubectl, program, run, warnings_in
from tests.support.kube.installation import own_namespace
from tests.support.kube.operator import OPERATOR_CHART
from tests.support.kube.values import CHART
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.depth(1), pytest.mark.timeout(120)]

FOREIGN = {
    "AlertPolicy",
    "DatabaseMigration",
    "HTTPRoute",
    "PodMonitor",
    "RetentionPolicy",
    "ScaledObject",
    "ServiceMonitor",
}
"""Kinds that a cluster has only where somebody has added them."""
FILES = [file for chart in (CHART, OPERATOR_CHART) for file in sorted((chart / "ci").glob("*-values.yaml"))]
_ELSEWHERE = {
    CHART: "api.priorityClassName=",  # a class that the cluster has not would keep the pods of `helm test` out
    OPERATOR_CHART: "crds.enabled=false",  # tests/operator applies them, as an administrator does
}
"""What other tests than these show to the API server."""
_AT_ONCE = 3
"""Files that are sent side by side: most of their time kubectl waits."""


def rendered(file: Path, namespace: str) -> list[Object]:
    """What this file of values makes in this namespace, without foreign kinds."""
    chart = file.parents[1]
    sets = ["--set", f"namespaceOverride={namespace},{_ELSEWHERE[chart]}"]
    if "watchNamespaces" in file.read_text(encoding="utf-8"):
        sets += ["--set", f"watchNamespaces={{{namespace}}}"]
    command = [program("helm"), "template", "cg", str(chart), "-n", namespace, "-f", str(file), *sets]
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    objects = [each for each in yaml.load_all(run(command).stdout, loader) if each]
    return [each for each in objects if each["kind"] not in FOREIGN]


def as_list(objects: Iterable[Object]) -> str:
    """One manifest of many objects."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


def complaints(namespace: str, objects: list[Object]) -> list[str]:
    """What the API server says against objects that it is shown: refusals and warnings."""
    command = ["kubectl", "-n", namespace, "apply", "--dry-run=server", "-f", "-"]
    done = run(command, stdin=as_list(objects), check=False)
    refused = done.stderr.splitlines() if done.returncode != 0 else []
    return refused or warnings_in(done.stdout + done.stderr)


def test_every_file_of_values_is_taken_without_a_warning() -> None:
    """By a namespace that enforces the restricted standard: no pod against it, no field that is unknown or out of date."""
    require_cluster()
    with own_namespace("dry-run") as namespace, ThreadPoolExecutor(_AT_ONCE) as threads:
        shown = list(threads.map(lambda file: rendered(file, namespace), FILES))
        # Pods are admitted only with an account that is there.
        accounts = {
            each["metadata"]["name"]: each for made in shown for each in made if each["kind"] == "ServiceAccount"
        }
        apply(as_list(accounts.values()))
        eventually_sync(
            lambda: "default" in kubectl("-n", namespace, "get", "serviceaccounts", "-o", "name"), within=30
        )
        said = list(threads.map(lambda objects: complaints(namespace, objects), shown))

    assert {
        f"{file.parents[1].name} {file.stem}": lines for file, lines in zip(FILES, said, strict=True) if lines
    } == {}
    assert {each["kind"] for made in shown for each in made} >= {"Deployment", "Job", "Pod", "Ingress", "NetworkPolicy"}
    assert {each["kind"] for made in shown for each in made} >= {"Role", "ClusterRole", "ClusterRoleBinding"}
    assert len(FILES) >= 13
