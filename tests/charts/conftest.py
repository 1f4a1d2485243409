"""What a Helm chart renders, without a cluster."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.support.tools import tool

CHART = Path(__file__).resolve().parents[2] / "charts" / "coursegen"
OLDEST, NEWEST = "1.31.0", "1.37.0"
"""Versions of Kubernetes that the chart is for."""

Object = dict[str, Any]
Render = Callable[..., list[Object]]


def values_files() -> list[Path]:
    """Every file of values that comes with the chart."""
    return [*sorted((CHART / "ci").glob("*.yaml")), *sorted((CHART / "examples").glob("*.yaml"))]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What renders a chart needs Helm, and can be run apart: `-m helm`."""
    for item in items:
        if isinstance(item, pytest.Function) and "helm" in item.fixturenames:
            item.add_marker("helm")


@pytest.fixture(scope="session", autouse=True)
def _short_lives() -> Iterator[None]:
    """A Helm ends in a moment: collecting its garbage is a fifth of its work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOGC", "400")
        yield


@pytest.fixture(scope="session", params=["helm", "helm3"])
def helm(request: pytest.FixtureRequest) -> str:
    """Helm 4, then Helm 3."""
    return tool(request.param)


@pytest.fixture(scope="session")
def attempt(helm: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `helm template` with a file of values and further ones, whatever comes of it; the same question is asked once."""

    @functools.cache
    def run(
        file: str | Path, *sets: str, version: str = NEWEST, release: str = "cg"
    ) -> subprocess.CompletedProcess[str]:
        path = file if isinstance(file, Path) else CHART / "ci" / f"{file}-values.yaml"
        return template(helm, CHART, release, "courses", path, sets, version)

    return run


def template(
    helm: str, chart: Path, release: str, namespace: str, file: Path, sets: Iterable[str], version: str
) -> subprocess.CompletedProcess[str]:
    """`helm template` of a chart with a file of values and further ones, whatever comes of it."""
    further = [part for each in sets for part in ("--set-json" if "={" in each or "=[" in each else "--set", each)]
    command = [helm, "template", release, chart, "-n", namespace, "-f", file, "--kube-version", version, *further]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def rendered(done: subprocess.CompletedProcess[str]) -> list[Object]:
    """The objects that it has made."""
    assert done.returncode == 0, done.stderr
    objects: list[Object] = orjson.loads(_parsed(done.stdout))  # the caller's own: it may change them
    return objects


@functools.cache
def _parsed(text: str) -> bytes:
    """As JSON, which is read much faster; most is asked for by many tests, and two Helms render most of it the same."""
    return orjson.dumps([each for each in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if each])


@pytest.fixture(scope="session")
def render(attempt: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """The objects that values make."""

    def objects(file: str | Path, *sets: str, version: str = NEWEST, release: str = "cg") -> list[Object]:
        return rendered(attempt(file, *sets, version=version, release=release))

    return objects
