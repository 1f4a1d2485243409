"""What skaffold.yaml gives the chart makes the objects that the loop, its port-forward and its verification count on."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.conftest import CHART, NEWEST, OLDEST, rendered
from tests.charts.objects import of_kind, pods
from tests.charts.validity import require_valid

_ROOT = Path(__file__).resolve().parents[2]
_CONFIG: dict[str, Any] = yaml.safe_load((_ROOT / "skaffold.yaml").read_text(encoding="utf-8"))
_RELEASE: dict[str, Any] = _CONFIG["deploy"]["helm"]["releases"][0]
_PROCESSES = ("api", "outbox-relay", "stage-worker", "persistence-worker", "migrate")
_FOR_THE_LOOP = "skaffold/dev-values.yaml"
_DIGEST = "sha256:" + "0123456789abcdef" * 4
_BUILT = {
    "pushed": "localhost:5000/ghcr_io_coursegen_coursegen-{process}:1f2e@" + _DIGEST,
    "left in Docker's engine": "ghcr.io/coursegen/coursegen-{process}:" + "0123456789abcdef" * 4,
}
"""How skaffold names an image of ours."""

Objects = list[dict[str, Any]]


def _given(process: str, built: str) -> dict[str, str]:
    """The variables that skaffold sets for an image."""
    image = re.sub(r"[./-]", "_", f"ghcr.io/coursegen/coursegen-{process}")
    name, _, digest = built.partition("@")
    domain, _, rest = name.partition("/")
    repository, _, tag = rest.rpartition(":")
    return {
        f"IMAGE_DOMAIN_{image}": domain,
        f"IMAGE_REPO_NO_DOMAIN_{image}": repository,
        f"IMAGE_TAG_{image}": tag,
        f"IMAGE_DIGEST_{image}": digest,
    }


def _rendered(helm: str, built: str, *files: str) -> Objects:
    return rendered(_template(helm, built, *files))


@functools.cache
def _template(helm: str, built: str, *files: str) -> subprocess.CompletedProcess[str]:
    variables: dict[str, str] = {}
    for process in _PROCESSES:
        variables |= _given(process, built.format(process=process))
    command = [helm, "template", _RELEASE["name"], str(CHART), "-n", "courses", "--kube-version", NEWEST]
    for file in [*_RELEASE["valuesFiles"], *files]:
        command += ["-f", str(_ROOT / file)]
    for path, template in _RELEASE["setValueTemplates"].items():
        value = re.sub(r'\{\{default "([^"]+)" \.\w+\}\}', r"\1", template)
        value = re.sub(r"\{\{\.(\w+)\}\}", lambda found: variables[found[1]], value)
        command += ["--set", f"{path}={value}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def objects(helm: str) -> Objects:
    """What `skaffold run` installs."""
    return _rendered(helm, _BUILT["pushed"])


@pytest.mark.parametrize("built", _BUILT.values(), ids=_BUILT)
def test_pods_name_their_image_as_it_was_built(helm: str, built: str) -> None:
    """To the letter: by that name skaffold finds the pods that it copies files into."""
    images = {container["image"] for _, pod in pods(_rendered(helm, built)) for container in pod["containers"]}
    ours = {built.format(process=each) for each in _PROCESSES}

    assert images == ours | {"docker.io/library/postgres:17", "docker.io/library/redis:8"}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_objects_are_valid(objects: Objects, version: str) -> None:
    """By the schemas of the oldest and the newest version, the Job of `skaffold verify` as well; no volume is claimed."""
    for each in [*objects, _verification()]:
        require_valid(each, version)
    assert "volumeClaimTemplates" not in of_kind(objects, "StatefulSet")["coursegen-postgresql"]["spec"]


def test_only_the_loop_may_write_into_pods(helm: str, objects: Objects) -> None:
    """The root can be written with the values of `dev` alone; all else stays restricted."""

    def writable(objects: Objects) -> set[bool]:
        containers = (each for _, pod in pods(objects) for each in pod["containers"])
        return {not each["securityContext"]["readOnlyRootFilesystem"] for each in containers}

    for_the_loop = _rendered(helm, _BUILT["pushed"], _FOR_THE_LOOP)

    assert writable(objects) == {False}
    assert writable(for_the_loop) == {True}
    for name, pod in pods(for_the_loop):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False, name


def test_a_broken_edit_keeps_its_pod(helm: str) -> None:
    """A container that is started anew has the image's files again: liveness waits for days in the loop."""
    deployments = of_kind(_rendered(helm, _BUILT["pushed"], _FOR_THE_LOOP), "Deployment")
    deployments.pop("coursegen-redis")

    assert len(deployments) == 7
    for name, each in deployments.items():
        container = each["spec"]["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["periodSeconds"] * container[probe]["failureThreshold"] > 48 * 3600, name


def test_verify_finds_what_it_mounts_and_calls(objects: Objects) -> None:
    """What `helm test` runs in the same place, the secret of tokens, the Service and its port."""
    pod = _verification()["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {each["name"]: each for each in container["env"]}
    programs = next(each["configMap"]["name"] for each in pod["volumes"] if each["name"] == "programs")
    reference = environment["JWT_SECRET"]["valueFrom"]["secretKeyRef"]
    (forwarded,) = _CONFIG["portForward"]
    service = of_kind(objects, "Service")[forwarded["resourceName"]]

    of_helm_test = _pod_of_helm_test(objects)
    assert programs in {each["configMap"]["name"] for each in of_helm_test["volumes"] if "configMap" in each}
    assert container["command"] == of_helm_test["containers"][0]["command"]
    assert reference["key"] in of_kind(objects, "Secret")[reference["name"]]["stringData"]
    assert forwarded["port"] == service["spec"]["ports"][0]["port"]
    assert environment["API_URL"]["value"] == f"http://{forwarded['resourceName']}:{forwarded['port']}"
    assert environment.keys() | {"KEEP_COURSES"} == {each["name"] for each in of_helm_test["containers"][0]["env"]}


def _verification() -> dict[str, Any]:
    (case,) = _CONFIG["verify"]
    path = _ROOT / case["executionMode"]["kubernetesCluster"]["jobManifestPath"]
    job: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container |= {"image": case["container"]["image"], "command": case["container"]["command"]}
    return job


def _pod_of_helm_test(objects: Objects) -> dict[str, Any]:
    pod: dict[str, Any] = of_kind(objects, "Pod")["coursegen-test-round-trip"]["spec"]
    return pod
