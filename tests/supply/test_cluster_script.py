"""`make cluster-up`, `deploy` and `cluster-down`: what they run, and what they say when they cannot.

Docker and kind are stood in for by programs that note how they were called: neither runs where these tests do. What is noted is
what kind 0.33 understands. tests/e2e does the rest on a real cluster.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.servers import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "cluster.sh"
_NAMES = ("LOAD_IMAGES", "IMAGE_REGISTRY", "IMAGE_PREFIX", "IMAGE_TAG", "KIND_CLUSTER_NAME", "KIND_IMAGE", "KUBECONFIG",
          "NAMESPACE", "RELEASE", "VALUES", "HELM_FLAGS", "BUILDER", "BUILD_FLAGS", "PYTHON_IMAGE")  # fmt: skip


class Ground:
    """A PATH of stand-ins beside the system's own programs, and what they were called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.calls.touch()
        (folder / "bin").mkdir()

    def stand_in(self, name: str, then: str = "") -> None:
        """A program that notes its arguments; `then` is what it does, in shell."""
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{then}\n', encoding="utf-8")
        path.chmod(0o755)

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The script, on this PATH."""
        clean = {name: value for name, value in os.environ.items() if name not in _NAMES}
        path = f"{self.folder / 'bin'}:/usr/bin:/bin"
        return subprocess.run(
            [SCRIPT, command],
            env={**clean, "PATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def called(self, program: str) -> list[str]:
        """How often and with what a program was called."""
        return [line for line in self.calls.read_text(encoding="utf-8").splitlines() if line.startswith(f"{program} ")]


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A machine with a Docker engine, kind, helm and kubectl; the kind cluster is there when `made` is."""
    ground = Ground(tmp_path)
    ground.stand_in("docker")
    ground.stand_in("podman", "exit 1")
    made = tmp_path / "made"
    ground.stand_in(
        "kind",
        'case "$1 $2" in "version ") echo "kind v0.33.0 go1.26.1 linux/amd64" ;; '
        f'"create cluster") touch {made} ;; "get clusters") [ ! -e {made} ] || echo coursegen ;; esac',
    )
    ground.stand_in("helm")
    ground.stand_in("kubectl", 'case "$*" in *service*) echo service/coursegen-api ;; *"get job"*) echo job/m ;; esac')
    return ground


def test_the_kind_cluster_is_made_from_the_file(ground: Ground) -> None:
    """Once: a second time it is there already."""
    first, second = ground.run("up"), ground.run("up")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    created = [each for each in ground.called("kind") if "create" in each]
    assert created == ["kind create cluster --name coursegen --config deploy/kind.yaml --wait 300s"]
    assert "Next: make deploy" in first.stdout
    assert "is there already" in second.stdout


def test_another_node_image(ground: Ground) -> None:
    """KIND_IMAGE replaces the file's."""
    ground.run("up", KIND_IMAGE="kindest/node:v1.31.9")

    assert "--image kindest/node:v1.31.9" in ground.called("kind")[-1]


def test_a_kind_of_another_version_is_not_taken(ground: Ground) -> None:
    """It may not start the node image of deploy/kind.yaml: the right one is built. With an image of yours the choice is yours."""
    ground.stand_in("kind", 'case $1 in version) echo "kind v0.29.0 go1.24.2 linux/amd64" ;; esac')
    ground.stand_in("go", "exit 1")
    kept = str(ground.folder / "kept")
    done = ground.run("up", COURSEGEN_TOOLS=kept)

    assert done.returncode == 1
    assert "building kind v0.33.0" in done.stderr
    assert [each for each in ground.called("kind") if "create" in each] == []
    assert ground.run("up", COURSEGEN_TOOLS=kept, KIND_IMAGE="kindest/node:v1.31.9").returncode == 0


def test_without_an_engine_it_is_said_what_to_do(ground: Ground) -> None:
    """Start one, or name a cluster."""
    ground.stand_in("docker", "exit 1")

    for command in ("up", "deploy", "down"):
        done = ground.run(command)
        assert done.returncode == 1
        assert "Docker engine" in done.stderr
        assert "export KUBECONFIG=" in done.stderr
    assert ground.called("kind") == []


def test_a_cluster_of_yours_is_left_alone(ground: Ground) -> None:
    """`up` makes nothing and says so; `down` takes away the release, never the cluster or its namespace."""
    ground.stand_in("kubectl", "echo https://cluster.example.org")
    up = ground.run("up", KUBECONFIG="/a/kubeconfig")
    down = ground.run("down", KUBECONFIG="/a/kubeconfig", RELEASE="mine", NAMESPACE="courses")

    assert "https://cluster.example.org" in up.stdout
    assert "nothing was made" in up.stdout
    assert ground.called("kind") == []
    assert ground.called("helm") == ["helm uninstall mine --namespace courses --ignore-not-found"]
    assert not any("delete" in each for each in ground.called("kubectl"))
    assert "kubectl delete namespace courses" in down.stdout


def test_deploying_needs_the_cluster(ground: Ground) -> None:
    """Before anything is built."""
    done = ground.run("deploy")

    assert done.returncode == 1
    assert "make cluster-up" in done.stderr
    assert [each for each in ground.called("docker") if "build" in each] == []


def test_deploying_needs_a_way_for_the_images(ground: Ground) -> None:
    """A cluster that is not kind's: a registry or a command, both named."""
    done = ground.run("deploy", KUBECONFIG="/a/kubeconfig")

    assert done.returncode == 1
    assert "IMAGE_REGISTRY=" in done.stderr
    assert "LOAD_IMAGES=" in done.stderr


def test_a_cluster_that_does_not_answer(ground: Ground) -> None:
    """The next command shows why."""
    ground.stand_in("kubectl", "exit 1")
    done = ground.run("deploy", KUBECONFIG="/a/kubeconfig", LOAD_IMAGES="true")

    assert done.returncode == 1
    assert "cluster-info" in done.stderr


def test_deploying_to_kind(ground: Ground) -> None:
    """Each image is built, and loaded under the name that the chart is given; the context is kind's, not kubectl's own."""
    ground.run("up")
    done = ground.run("deploy", PYTHON_IMAGE="python:3.12-slim")

    assert done.returncode == 0, done.stderr
    built = [each.split(" -t ")[1].split()[0] for each in ground.called("docker") if " -t " in each]
    (tag,) = {each.rpartition(":")[2] for each in built}
    assert [each.rpartition(":")[0] for each in built] == [
        f"localhost/coursegen-{each}"
        for each in ("api", "outbox-relay", "stage-worker", "persistence-worker", "migrate", "operator")
    ]
    loaded = [each for each in ground.called("kind") if "load image-archive" in each]
    assert len(loaded) == 6
    assert all(each.endswith("--name coursegen") for each in loaded)
    (helm,) = ground.called("helm")
    assert "-f charts/coursegen/ci/dev-values.yaml -f deploy/kind-values.yaml --kube-context kind-coursegen" in helm
    assert f"image.registry=localhost,image.repositoryPrefix=coursegen-,image.tag={tag}" in helm
    assert all(each.startswith("kubectl --context kind-coursegen ") for each in ground.called("kubectl"))
    assert "http://localhost:3080/docs" in done.stdout


def test_another_tree_is_another_tag(ground: Ground, tmp_path: Path) -> None:
    """So that pods start anew for it; the same one keeps its tag."""
    ground.run("up")
    for base in ("python:3.12-slim", "python:3.12-slim", "python:3.13-slim"):
        ground.run("deploy", PYTHON_IMAGE=base)
    tags = [each.rpartition("image.tag=")[2].split()[0] for each in ground.called("helm")]

    assert tags[0] == tags[1] != tags[2]
    assert all(each.startswith("tree-") for each in tags)


def test_deploying_through_a_registry(ground: Ground) -> None:
    """The images bear its name, and the chart takes it apart."""
    done = ground.run(
        "deploy",
        KUBECONFIG="/a/kubeconfig",
        IMAGE_REGISTRY="registry.example.org/team",
        IMAGE_TAG="1",
        BUILDER="docker",
    )

    assert done.returncode == 0, done.stderr
    assert next(each for each in ground.called("docker") if each.startswith("docker push")) == (
        "docker push --quiet registry.example.org/team/coursegen-api:1"
    )
    assert (
        "image.registry=registry.example.org,image.repositoryPrefix=team/coursegen-,image.tag=1"
        in ground.called("helm")[0]
    )


def test_deploying_with_a_command_of_yours(ground: Ground) -> None:
    """It is given all names; further files of values and arguments reach helm."""
    ground.stand_in("bring")
    done = ground.run(
        "deploy", KUBECONFIG="/a/kubeconfig", LOAD_IMAGES="bring it", IMAGE_TAG="1", BUILDER="docker", VALUES="a.yaml b.yaml",
        HELM_FLAGS="--set dev.enabled=true", NAMESPACE="courses",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert ground.called("bring") == [
        "bring it "
        + " ".join(
            f"localhost/coursegen-{each}:1"
            for each in ("api", "outbox-relay", "stage-worker", "persistence-worker", "migrate", "operator")
        )
    ]
    assert "--namespace courses --create-namespace -f a.yaml -f b.yaml" in ground.called("helm")[0]
    assert ground.called("helm")[0].endswith("--set dev.enabled=true")
    assert "port-forward service/coursegen-api 3000:3000" in done.stdout


def test_what_does_not_become_ready_is_shown(ground: Ground) -> None:
    """The pods, and how to see more."""
    ground.stand_in("kubectl", 'case "$*" in *wait*) exit 1 ;; *"get pods"*) echo the-pods ;; esac')
    done = ground.run("deploy", KUBECONFIG="/a/kubeconfig", LOAD_IMAGES="true", BUILDER="docker")

    assert done.returncode == 1
    assert "the-pods" in done.stderr
    assert "describe pods" in done.stderr


def test_a_migration_that_has_failed_is_not_waited_for(ground: Ground) -> None:
    """Its log is shown at once, and what to do; the Deployments, which wait for the schema, are not waited for either."""
    ground.stand_in(
        "kubectl",
        'case "$*" in *"wait job"*) exit 1 ;; *"get job"*jsonpath*) printf "done \\nm-1 True\\n" ;; '
        '*"get job"*) echo job/m-1 ;; *logs*) echo "permission denied for schema public" ;; esac',
    )
    done = ground.run("deploy", KUBECONFIG="/a/kubeconfig", LOAD_IMAGES="true", BUILDER="docker", WAIT_SECONDS="50")

    assert done.returncode == 1
    assert "permission denied for schema public" in done.stderr
    assert "The migration has failed: kubectl  -n coursegen logs job/m-1\n" in done.stderr
    assert re.search(r"HELM_FLAGS='--set-string migrations\.rerun=\d+' make deploy\n$", done.stderr)
    assert [each for each in ground.called("kubectl") if "wait deployment" in each] == []
    assert any("logs job/m-1" in each for each in ground.called("kubectl"))


def test_a_migration_that_is_not_done_is_waited_for(ground: Ground) -> None:
    """Until it is, while none has failed."""
    tried = ground.folder / "tried"
    ground.stand_in(
        "kubectl",
        f'case "$*" in *"wait job"*) [ -e {tried} ] || {{ touch {tried}; exit 1; }} ;; *"get job"*jsonpath*) echo "m-1 " ;; '
        '*"get job"*) echo job/m-1 ;; *service*) echo service/coursegen-api ;; esac',
    )
    done = ground.run("deploy", KUBECONFIG="/a/kubeconfig", LOAD_IMAGES="true", BUILDER="docker")

    assert done.returncode == 0, done.stderr
    assert len([each for each in ground.called("kubectl") if "wait job" in each]) == 2
    assert len([each for each in ground.called("kubectl") if "wait deployment" in each]) == 1


def test_an_unknown_word(ground: Ground) -> None:
    """Usage, and 2."""
    done = ground.run("sideways")

    assert (done.returncode, done.stderr.strip()) == (2, "usage: scripts/cluster.sh up | deploy | down")
