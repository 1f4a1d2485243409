"""skaffold.yaml as skaffold itself reads it, with each of its profiles; tests/unit/architecture says what it must agree with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.servers import REPOSITORY
from tests.support.tools import tool

pytestmark = [pytest.mark.helm]

_SETTINGS = "global: {collect-metrics: false, survey: {disable-prompt: true}}\n"
_PROCESSES = ("api", "outbox-relay", "stage-worker", "persistence-worker", "migrate")
_BY_COMMIT = {"gitCommit": {"variant": "CommitSha"}}
_BY_INPUT: dict[str, Any] = {"inputDigest": {}}

Config = dict[str, Any]


def _program() -> str:
    """scripts/test.sh builds it, which takes long, only where there is a cluster to try it on; `make tools` always does."""
    if shutil.which("skaffold") is None and not os.environ.get("KUBECONFIG"):
        pytest.skip("skaffold is not on the PATH. Build it: make tools")
    return tool("skaffold")


@pytest.fixture
def diagnose(tmp_path: Path) -> Callable[..., Config]:
    """What skaffold makes of skaffold.yaml with profiles, asking no cluster and touching nothing of the developer's own."""
    program = _program()
    (tmp_path / "skaffold.yaml").write_text(_SETTINGS, encoding="utf-8")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SKAFFOLD_")}
    environment = {
        **ours,
        "KUBECONFIG": str(tmp_path / "none"),
        "SKAFFOLD_CONFIG": str(tmp_path / "skaffold.yaml"),
        "SKAFFOLD_UPDATE_CHECK": "false",
        "SKAFFOLD_INTERACTIVE": "false",
    }

    def read(*profiles: str) -> Config:
        done = subprocess.run(
            [program, "diagnose", "--yaml-only", "-p", ",".join(profiles)],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        config: Config = yaml.safe_load(done.stdout)
        return config

    return read


def _builds(config: Config) -> list[str]:
    return [each["custom"]["buildCommand"] for each in config["build"]["artifacts"]]


@pytest.mark.parametrize(
    ("profile", "push", "tags"), [("kind", False, _BY_INPUT), ("local", True, _BY_INPUT), ("ci", True, _BY_COMMIT)]
)
def test_a_profile_builds_what_is_released(
    diagnose: Callable[..., Config], profile: str, push: bool, tags: Config
) -> None:
    """Every image by the one script; pushed unless the cluster is kind's; tagged by what went in, in a pipeline by the commit."""
    config = diagnose(profile)

    assert _builds(config) == [f"scripts/skaffold-build.sh {each}" for each in _PROCESSES]
    assert config["build"]["local"]["push"] is push
    assert config["build"]["tagPolicy"] == tags


def test_a_pipeline_is_patient(diagnose: Callable[..., Config]) -> None:
    """With a cluster that is busy: longer than a developer, and through failures that pass."""
    pipeline, developer = diagnose("ci")["deploy"], diagnose("local")["deploy"]

    assert pipeline["statusCheckDeadlineSeconds"] > developer["statusCheckDeadlineSeconds"]
    assert pipeline["tolerateFailuresUntilDeadline"] is True
    assert pipeline["helm"] == developer["helm"]


@pytest.mark.parametrize("cluster", ["kind", "local"])
def test_the_loop_goes_with_either_cluster(diagnose: Callable[..., Config], cluster: str) -> None:
    """The variants that start anew are built, and their files replaced; migrations are not part of it."""
    config = diagnose("dev", cluster)

    assert _builds(config) == [f"scripts/skaffold-build.sh {each}-dev" for each in _PROCESSES[:4]] + [
        "scripts/skaffold-build.sh migrate"
    ]
    assert ["sync" in each for each in config["build"]["artifacts"]] == [True, True, True, True, False]
    assert config["build"]["local"]["push"] is (cluster == "local")
