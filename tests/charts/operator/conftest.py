"""What the operator's chart renders, without a cluster."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.charts.conftest import NEWEST, rendered, template

OPERATOR_CHART = Path(__file__).resolve().parents[3] / "charts" / "coursegen-operator"

Object = dict[str, Any]
Attempt = Callable[..., subprocess.CompletedProcess[str]]
AttemptIn = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[..., list[Object]]


def values_files() -> list[Path]:
    """Every file of values that comes with the chart."""
    return sorted((OPERATOR_CHART / "ci").glob("*.yaml"))


@pytest.fixture(scope="session")
def attempt(helm: str) -> Attempt:
    """Runs `helm template` with one of the chart's files of values and further ones, whatever comes of it."""

    @functools.cache
    def run(name: str, *sets: str, version: str = NEWEST) -> subprocess.CompletedProcess[str]:
        file = OPERATOR_CHART / "ci" / f"{name}-values.yaml"
        return template(helm, OPERATOR_CHART, "op", "ops", file, sets, version)

    return run


@pytest.fixture(scope="session")
def attempt_in(helm: str) -> AttemptIn:
    """Runs `helm template` with the smallest values in a namespace."""
    file = OPERATOR_CHART / "ci" / "minimal-values.yaml"
    return lambda namespace, *sets: template(helm, OPERATOR_CHART, "op", namespace, file, sets, NEWEST)


@pytest.fixture(scope="session")
def render(attempt: Attempt) -> Render:
    """The objects that values make."""

    def objects(name: str, *sets: str, version: str = NEWEST) -> list[Object]:
        return rendered(attempt(name, *sets, version=version))

    return objects
