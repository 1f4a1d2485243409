"""What the chart says of itself, and what its templates may not do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import yaml

from tests.charts.conftest import CHART, OLDEST, Object, Render

_PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_SEMVER = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")


def test_the_chart_file() -> None:
    """Helm's second format; the oldest Kubernetes, its pre-releases included; the application's version; what has changed."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]

    assert (chart["apiVersion"], chart["type"]) == ("v2", "application")
    assert chart["kubeVersion"] == f">={OLDEST}-0"
    assert _SEMVER.fullmatch(chart["version"])
    assert chart["appVersion"] == project["version"]
    changes = yaml.safe_load(chart["annotations"]["artifacthub.io/changes"])
    kinds = {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert changes
    assert all(each["kind"] in kinds and each["description"] for each in changes)


def test_no_template_asks_what_the_cluster_has() -> None:
    """`.Capabilities` renders nothing where there is no cluster to ask: switches are values. One refuses what cannot work."""
    templates = [each for each in (CHART / "templates").rglob("*") if each.is_file()]

    assert len(templates) > 10
    asking = [each.name for each in templates if ".Capabilities" in each.read_text(encoding="utf-8")]
    assert asking == ["_validate.tpl"]


def test_only_what_is_kept_for_development_is_looked_up() -> None:
    """`lookup` finds nothing in `helm template`: only the passwords of dev.enabled depend on it."""
    users = [
        each.name
        for each in (CHART / "templates").rglob("*")
        if each.is_file() and "lookup " in each.read_text(encoding="utf-8")
    ]

    assert users == ["dev.yaml"]


def test_an_older_kubernetes_is_refused(attempt: Callable[..., CompletedProcess[str]]) -> None:
    """With the version that is needed."""
    done = attempt("minimal", version="1.30.9")

    assert done.returncode != 0
    assert f">={OLDEST}-0" in done.stderr


def test_the_readme_says_how_much_memory_it_takes(render: Render) -> None:
    """To try it: what pods ask for and their limits; and what the chart's own values would ask for."""
    tried = (CHART / "README.md").read_text(encoding="utf-8").partition("## Try it")[2].partition("## ")[0]
    small, most = (memory(render("dev"), each) for each in ("requests", "limits"))
    whole = memory(render(CHART / "values.yaml", "dev.enabled=true"), "requests")

    assert "-f charts/coursegen/ci/dev-values.yaml" in tried
    assert f"ask for {small:.1f} GiB of\nmemory and take at most {most:.1f} GiB" in tried
    assert f"they ask for {whole:.1f} GiB" in tried


def memory(objects: list[Object], kind: str) -> float:
    """GiB of all pods that stay."""
    total: float = sum(
        each["spec"]["replicas"] * _gibibytes(container["resources"][kind]["memory"])
        for each in objects
        if each["kind"] in {"Deployment", "StatefulSet"}
        for container in each["spec"]["template"]["spec"]["containers"]
    )
    return total


def _gibibytes(quantity: str) -> float:
    return int(quantity[:-2]) / {"Gi": 1, "Mi": 1024}[quantity[-2:]]


def test_it_may_be_part_of_another_chart(render: Render) -> None:
    """An umbrella's `global` values and its condition `enabled` are taken; others of its own are not."""
    assert render("minimal", "global.anything.of=yours", "enabled=false") == render("minimal")
