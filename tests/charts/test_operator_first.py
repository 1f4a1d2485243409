"""Without the operator's kinds nothing can be installed that leaves the migration to it: the chart says so, where it knows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.charts.conftest import CHART, NEWEST
from tests.support.marked import marked
from tests.support.servers import REPOSITORY

_A_CLUSTER = ("v1/Pod", "apps/v1/Deployment")
"""What Helm knows of every cluster that it has asked, and of none that it has not."""
_KINDS = tuple(f"ops.coursegen.dev/v1alpha1/{each}" for each in ("DatabaseMigration", "RetentionPolicy", "AlertPolicy"))
_BRING = marked(REPOSITORY / "README.md", "kubernetes-operator").strip()


def _template(helm: str, chart: Path, knows: tuple[str, ...], *flags: str) -> subprocess.CompletedProcess[str]:
    """`helm template` as beside a cluster that has these kinds."""
    kinds = [part for each in knows for part in ("--api-versions", each)]
    command = [helm, "template", "cg", chart, "-n", "courses", "--kube-version", NEWEST, *kinds, *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def least() -> tuple[str, ...]:
    """The values that pages install with."""
    return ("-f", str(CHART / "ci" / "minimal-values.yaml"))


def test_a_cluster_without_the_kinds_is_refused(helm: str, least: tuple[str, ...]) -> None:
    """With the line that brings them, and the way without."""
    done = _template(helm, CHART, _A_CLUSTER, *least)

    assert done.returncode != 0
    assert _BRING in done.stderr
    assert "set migrations.mode to job" in done.stderr
    assert "migrations.requireKinds to false" in done.stderr


def test_nothing_else_is(helm: str, least: tuple[str, ...]) -> None:
    """Neither a cluster that has them, needs none, or gets them first; nor none at all, as for who applies what helm prints."""
    for knows, flags in (
        ((*_A_CLUSTER, *_KINDS), ()),
        (_A_CLUSTER, ("--set", "migrations.mode=job")),
        (_A_CLUSTER, ("--set", "migrations.requireKinds=false")),
        ((), ()),
    ):
        done = _template(helm, CHART, knows, *least, *flags)
        assert done.returncode == 0, done.stderr


def test_a_chart_around_it_may_bring_them(helm: str, tmp_path: Path) -> None:
    """Its own templates come to the cluster together with these, in an order that is not ours."""
    umbrella = tmp_path / "umbrella"
    (umbrella / "charts").mkdir(parents=True)
    (umbrella / "charts" / "coursegen").symlink_to(CHART)
    (umbrella / "Chart.yaml").write_text("apiVersion: v2\nname: umbrella\nversion: 0.1.0\n", encoding="utf-8")
    values = yaml.safe_load((CHART / "ci" / "minimal-values.yaml").read_text(encoding="utf-8"))
    (umbrella / "values.yaml").write_text(yaml.safe_dump({"coursegen": values}), encoding="utf-8")

    done = _template(helm, umbrella, _A_CLUSTER)

    assert done.returncode == 0, done.stderr
    assert "kind: DatabaseMigration" in done.stdout
