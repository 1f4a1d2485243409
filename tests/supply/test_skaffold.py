"""skaffold.yaml as skaffold itself reads it, with each of its profiles; tests/unit/architecture says what it must agree with."""

from __future__ import annotations

import json
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
def skaffold(tmp_path: Path) -> Callable[..., str]:
    """What skaffold says to a command, asking no cluster and touching nothing of the developer's own."""
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

    def ask(*command: str) -> str:
        done = subprocess.run(
            [program, *command],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return ask


@pytest.fixture
def diagnose(skaffold: Callable[..., str]) -> Callable[..., Config]:
    """What skaffold makes of skaffold.yaml with profiles."""

    def read(*profiles: str) -> Config:
        config: Config = yaml.safe_load(skaffold("diagnose", "--yaml-only", "-p", ",".join(profiles)))
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
    depends = [set(each["custom"]["dependencies"]["paths"]) for each in config["build"]["artifacts"]]
    assert ["services/kernel" in each for each in depends] == [True, True, True, True, False]
    assert {"services/migrate", "services/retention", "migrations"} <= depends[4]
    assert config["build"]["local"]["push"] is (cluster == "local")


@pytest.mark.parametrize("others", [["local"], ["dev", "kind"]], ids=",".join)
def test_the_operator_goes_with_the_other_profiles(diagnose: Callable[..., Config], others: list[str]) -> None:
    """It is built, tested and installed first; then its resources, which are waited for; and its Prometheus can be looked at."""
    config, without = diagnose(*others, "operator"), diagnose(*others)
    coursegen, operator = config["deploy"]["helm"]["releases"]
    (before,) = without["deploy"]["helm"]["releases"]

    assert _builds(config) == [*_builds(without), "scripts/skaffold-build.sh operator"]
    assert len(config["test"]) == len(without["test"]) + 1
    assert coursegen == {**before, "dependsOn": ["coursegen-operator"], "setValues": {"migrations.mode": "operator"}}
    assert (operator["name"], operator["setValues"]) == ("coursegen-operator", {"scope": "namespaced"})
    assert config["deploy"]["helm"]["hooks"] == {"after": [{"host": {"command": ["scripts/skaffold-wait.sh"]}}]}
    assert {each["resourceName"]: each["localPort"] for each in config["portForward"]} == {
        "coursegen-api": 3000,
        "prometheus-operated": 9090,
    }


def test_the_operator_and_its_resources_are_rendered(skaffold: Callable[..., str], tmp_path: Path) -> None:
    """The kinds and what is of them; images by their digests; no right beyond the namespace, and no Job of the release's own."""
    tool("helm")
    digest = f"sha256:{'0123456789abcdef' * 4}"
    images = {
        f"ghcr.io/coursegen/coursegen-{each}": f"localhost:5000/coursegen-{each}:1f2e@{digest}"
        for each in (*_PROCESSES, "operator")
    }
    builds, shown = tmp_path / "builds.json", tmp_path / "rendered.yaml"
    listed = [{"imageName": name, "tag": tag} for name, tag in images.items()]
    builds.write_text(json.dumps({"builds": listed}), encoding="utf-8")

    skaffold("render", "-p", "operator", "--offline=true", "--digest-source=local", "-a", str(builds), "-n", "courses",
             "--output", str(shown))  # fmt: skip

    objects = [each for each in yaml.safe_load_all(shown.read_text(encoding="utf-8")) if each]
    kinds = [each["kind"] for each in objects]
    assert {"CustomResourceDefinition", "DatabaseMigration", "RetentionPolicy", "AlertPolicy"} <= set(kinds)
    assert not {"ClusterRole", "Job"} & set(kinds)
    deployments = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"
    }
    assert deployments["coursegen-operator"]["containers"][0]["image"] == images["ghcr.io/coursegen/coursegen-operator"]
    (migration,) = (each for each in objects if each["kind"] == "DatabaseMigration")
    assert images["ghcr.io/coursegen/coursegen-migrate"] in json.dumps(migration["spec"])
