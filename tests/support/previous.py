"""The chart as it was in its previous version, as it was packaged then."""

from __future__ import annotations

import tarfile
from typing import Any

import yaml

from tests.support.servers import REPOSITORY

FOLDER = REPOSITORY / "tests" / "e2e" / "kubernetes" / "previous"
(PREVIOUS,) = FOLDER.glob("coursegen-*.tgz")
"""`helm package` of the version before; a new version replaces it with the one it follows."""


def described(name: str) -> dict[str, Any]:
    """A YAML file of the package."""
    with tarfile.open(PREVIOUS) as package:
        member = package.extractfile(f"coursegen/{name}")
        assert member is not None
        read: dict[str, Any] = yaml.safe_load(member)
    return read


def previous_version() -> str:
    """The version of the package."""
    version: str = described("Chart.yaml")["version"]
    return version


def present_version() -> str:
    """The version of the chart in the tree."""
    chart = REPOSITORY / "charts" / "coursegen" / "Chart.yaml"
    version: str = yaml.safe_load(chart.read_text(encoding="utf-8"))["version"]
    return version
