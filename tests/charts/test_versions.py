"""What a chart owes its users from one version to the next."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.charts.conftest import CHART, NEWEST, Object, Render, rendered
from tests.support.previous import PREVIOUS, described, present_version, previous_version

_KINDS = {"added", "changed", "deprecated", "removed", "fixed", "security"}


def test_the_version_is_the_one_after_the_previous() -> None:
    """The package of the version before is kept for tests of upgrades; its name says which it is."""

    def parts(version: str) -> tuple[int, ...]:
        return tuple(int(each) for each in version.split("."))

    assert parts(present_version()) > parts(previous_version())
    assert PREVIOUS.name == f"coursegen-{previous_version()}.tgz"


def test_the_changes_are_told() -> None:
    """In the form that Artifact Hub shows; those of the version before are not told again."""

    def told(chart: dict[str, dict[str, str]]) -> list[dict[str, str]]:
        changes: list[dict[str, str]] = yaml.safe_load(chart["annotations"]["artifacthub.io/changes"])
        return changes

    changes = told(yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8")))

    assert {each["kind"] for each in changes} <= _KINDS
    assert [each for each in changes if each in told(described("Chart.yaml"))] == []
    assert [each for each in changes if not each["description"]] == []


def test_every_value_that_is_new_or_different_is_among_the_changes() -> None:
    """By its path, or the end of it where several parts have the same."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    named = set(re.findall(r"[\w.]*\w", chart["annotations"]["artifacthub.io/changes"]))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    different = set(_differing(described("values.yaml"), values))

    assert {
        each for each in different - named if not any(each.endswith(f".{name}") for name in named if "." in name)
    } == set()
    assert {"tools", "leaderElection.mode", "api.autoscaling.behavior"} <= different


def _differing(before: dict[str, Any], now: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in now.items():
        known = before.get(key)
        if isinstance(value, dict) and isinstance(known, dict) and known:
            yield from _differing(known, value, f"{path}{key}.")
        elif key not in before or value != known:
            yield f"{path}{key}"


def test_values_of_the_previous_version_are_accepted(render: Render, tmp_path: Path) -> None:
    """All of them, as `helm upgrade --reuse-values` gives them."""
    file = tmp_path / "previous-values.yaml"
    file.write_text(yaml.safe_dump(described("values.yaml")), encoding="utf-8")

    assert render(file, "dev.enabled=true")


def test_another_version_alone_restarts_no_database(helm: str, tmp_path: Path) -> None:
    """The pods of PostgreSQL and Redis are the same in the next version, while those of the processes say which they are."""

    def pods_of(version: str) -> dict[str, Object]:
        chart = shutil.copytree(CHART, tmp_path / version)
        described = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8")) | {"version": version}
        (chart / "Chart.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
        command = [helm, "template", "cg", str(chart), "--set", "dev.enabled=true", "--kube-version", NEWEST]
        objects = rendered(subprocess.run(command, capture_output=True, text=True, check=True))
        kinds = ("Deployment", "StatefulSet")
        return {each["metadata"]["name"]: each["spec"]["template"] for each in objects if each["kind"] in kinds}

    one, other = pods_of("7.0.0"), pods_of("7.1.0")

    same = {name for name, pod in one.items() if other[name] == pod}
    assert same == {"cg-coursegen-postgresql", "cg-coursegen-redis"}
