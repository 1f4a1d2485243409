"""What the operator's chart renders, without a cluster."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.conftest import NEWEST

OPERATOR_CHART = Path(__file__).resolve().parents[3] / "charts" / "coursegen-operator"

Object = dict[str, Any]
Attempt = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[..., list[Object]]


def values_files() -> list[Path]:
    """Every file of values that comes with the chart."""
    return sorted((OPERATOR_CHART / "ci").glob("*.yaml"))


@pytest.fixture(scope="session")
def attempt(helm: str) -> Attempt:
    """Runs `helm template` with one of the chart's files of values and further ones, whatever comes of it."""

    @functools.cache
    def run(name: str, *sets: str, version: str = NEWEST) -> subprocess.CompletedProcess[str]:
        further = [part for each in sets for part in ("--set-json" if "={" in each or "=[" in each else "--set", each)]
        file = OPERATOR_CHART / "ci" / f"{name}-values.yaml"
        command = [helm, "template", "op", OPERATOR_CHART, "-n", "ops", "-f", file, "--kube-version", version, *further]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture(scope="session")
def render(attempt: Attempt) -> Render:
    """The objects that values make."""

    def objects(name: str, *sets: str, version: str = NEWEST) -> list[Object]:
        done = attempt(name, *sets, version=version)
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if each]

    return objects
