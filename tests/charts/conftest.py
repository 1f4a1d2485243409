"""What a Helm chart renders, without a cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).resolve().parents[2] / "charts" / "coursegen"
OLDEST, NEWEST = "1.31.0", "1.37.0"
"""Versions of Kubernetes that the chart is for."""
REQUIRE = "COURSEGEN_REQUIRE_HELM"

Object = dict[str, Any]
Render = Callable[..., list[Object]]


def values_files() -> list[Path]:
    """Every file of values that comes with the chart."""
    return [*sorted((CHART / "ci").glob("*.yaml")), *sorted((CHART / "examples").glob("*.yaml"))]


@pytest.fixture(scope="session", params=["helm", "helm3"])
def helm(request: pytest.FixtureRequest) -> str:
    """Helm 4, and Helm 3 where it is called `helm3`; skipped without, or failed where helm is required."""
    program = shutil.which(request.param)
    if program is None:
        reason = f"{request.param} is not on the PATH"
        if os.environ.get(REQUIRE) == "1" and request.param == "helm":
            pytest.fail(f"{reason}, and {REQUIRE}=1")
        pytest.skip(reason)
    return program


@pytest.fixture(scope="session")
def attempt(helm: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `helm template` with a file of values and further ones, whatever comes of it."""

    def run(file: str | Path, *sets: str, version: str = NEWEST) -> subprocess.CompletedProcess[str]:
        path = file if isinstance(file, Path) else CHART / "ci" / f"{file}-values.yaml"
        further = [part for each in sets for part in ("--set", each)]
        return subprocess.run(
            [helm, "template", "cg", str(CHART), "-n", "courses", "-f", str(path), "--kube-version", version, *further],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def render(attempt: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """The objects that values make."""

    def objects(file: str | Path, *sets: str, version: str = NEWEST) -> list[Object]:
        done = attempt(file, *sets, version=version)
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    return objects
