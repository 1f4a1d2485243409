"""The development loop on a real cluster: every command of skaffold.yaml, with the profile that pushes to a registry.

tests/support/kube/skaffold.py says which variables name the registry and the base images.
"""

from __future__ import annotations

import json
import shlex
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.kube.commands import Object, get, items, kubectl, run
from tests.support.kube.installation import is_ready, own_namespace
from tests.support.kube.readme import context_in
from tests.support.kube.skaffold import Skaffold, copy_of_the_repository, edit, require_skaffold
from tests.support.marked import DOCS, marked, typed_as
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.alone, pytest.mark.timeout(3000)]

LIVE_SECONDS = 10.0
"""From an edit to its effect."""
EVERYWHERE_SECONDS = 30.0
"""From an edit of the kernel to its effect in every process: all of them start anew at once."""
STARTED_SECONDS = 300.0
FORWARDED_SECONDS = 30.0
GONE_SECONDS = 90.0
RUN_ID = "skaffold.dev/run-id"
KINDS = (
    "all", "configmaps", "secrets", "serviceaccounts", "persistentvolumeclaims", "roles", "rolebindings", "leases",
    "networkpolicies", "poddisruptionbudgets",
)  # fmt: skip
"""What the chart makes; Jobs and pods are among "all"."""

PAGE = DOCS / "DEVELOPMENT.md"

Builds = dict[str, str]


def printed(name: str, builds: Path) -> list[str]:
    """The words of the page's command of this name, with the files of a test in the place of the page's."""
    lines = [shlex.split(line, comments=True) for line in marked(PAGE, "skaffold-commands").splitlines()]
    ((_, *words),) = (line for line in lines if line[1] == name)
    files = {"/tmp/images.json": str(builds), "/tmp/rendered.yaml": str(builds.parent / "rendered.yaml")}
    return [_with_files(word, files) for word in words]


def _with_files(word: str, files: dict[str, str]) -> str:
    for page, test in files.items():
        word = word.replace(page, test)
    return word


@pytest.fixture(scope="module")
def skaffold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Skaffold]:
    """Its commands in a namespace of their own, of the restricted standard."""
    require_skaffold()
    with own_namespace("skaffold") as namespace:
        yield Skaffold(namespace, tmp_path_factory.mktemp("skaffold"))


@pytest.fixture(scope="module")
def deployed(skaffold: Skaffold) -> Skaffold:
    """The tree as it is, by `skaffold run`; its unit tests have a test of their own here."""
    skaffold("run", "--skip-tests", seconds=STARTED_SECONDS + 120)
    return skaffold


@pytest.fixture(scope="module")
def builds(deployed: Skaffold, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which `skaffold build` says what it has built: nothing anew, since all is there."""
    path = tmp_path_factory.mktemp("builds") / "builds.json"
    said = deployed(*printed("build", path))
    assert "Building [" not in said, said
    return path


def _names(builds: Path) -> Builds:
    return {each["imageName"]: each["tag"] for each in json.loads(builds.read_text(encoding="utf-8"))["builds"]}


def _images(pod: Object) -> set[str]:
    return {each["image"] for each in pod["spec"]["containers"]}


def _left(namespace: str) -> list[str]:
    """Objects of the namespace that no cluster puts there by itself."""
    found = kubectl("-n", namespace, "get", ",".join(KINDS), "-o", "name").split()
    return [each for each in found if each not in {"configmap/kube-root-ca.crt", "serviceaccount/default"}]


def _deployments(namespace: str) -> dict[str, Object]:
    found = items("-n", namespace, "deployments")
    return {each["metadata"]["name"]: each for each in found if each["metadata"]["name"] != "coursegen-redis"}


def test_run_installs_what_was_built(deployed: Skaffold, builds: Path) -> None:
    """Every pod is ready, of an image by its digest; the schema was made by its own Job."""
    built = _names(builds)
    pods = items("-n", deployed.namespace, "pods")
    running = {image for pod in pods for image in _images(pod)}

    assert [(each["name"], each["status"]) for each in deployed.releases()] == [("coursegen", "deployed")]
    assert len(built) == 5
    assert all("@sha256:" in each for each in built.values())
    assert set(built.values()) <= running
    for pod in pods:
        assert is_ready(pod) or pod["status"]["phase"] == "Succeeded", pod["metadata"]["name"]
    assert len(_deployments(deployed.namespace)) == 7


def test_a_second_run_upgrades(deployed: Skaffold) -> None:
    """Nothing is built; Deployments belong to the new run; PostgreSQL keeps its pod, and its schema the Job that made it."""
    before = get("-n", deployed.namespace, "deployment", "coursegen-api")
    kept = [get("-n", deployed.namespace, "pod", "coursegen-postgresql-0"), *items("-n", deployed.namespace, "jobs")]
    said = deployed("run", "--skip-tests", seconds=STARTED_SECONDS)
    after = get("-n", deployed.namespace, "deployment", "coursegen-api")

    assert "Building [" not in said
    assert [each["revision"] for each in deployed.releases()] == ["2"]
    assert before["metadata"]["labels"][RUN_ID] != after["metadata"]["labels"][RUN_ID]
    assert len(kept) == 2
    for each in kept:
        name = f"{each['kind']}/{each['metadata']['name']}"
        assert get("-n", deployed.namespace, name)["metadata"]["uid"] == each["metadata"]["uid"], name


def test_render_shows_what_would_be_installed(deployed: Skaffold, builds: Path) -> None:
    """The same objects, by the same images."""
    rendered = deployed(*printed("render", builds))
    text = (builds.parent / "rendered.yaml").read_text(encoding="utf-8")
    objects = [each for each in yaml.safe_load_all(text) if each]
    deployments = {each["metadata"]["name"]: each for each in objects if each["kind"] == "Deployment"}

    assert deployments.keys() - {"coursegen-redis"} == _deployments(deployed.namespace).keys(), rendered
    for name, installed in _deployments(deployed.namespace).items():
        assert _images(deployments[name]["spec"]["template"]) == _images(installed["spec"]["template"])


def test_test_runs_the_unit_tests_of_each_image(deployed: Skaffold, builds: Path) -> None:
    """All of them pass, and each image has some."""
    said = deployed(*printed("test", builds))

    assert said.count("Command finished successfully.") == 5, said


def test_verify_brings_a_course_through_the_installation(deployed: Skaffold, builds: Path) -> None:
    """The program of `helm test` in a Job, which is gone afterwards."""
    said = deployed(*printed("verify", builds))

    assert "completed" in said, said
    eventually_sync(
        lambda: (
            "job.batch/coursegen-round-trip"
            not in kubectl("-n", deployed.namespace, "get", "jobs", "-o", "name").split()
        ),
        within=30,
    )


def test_the_page_makes_a_token(deployed: Skaffold, tmp_path: Path) -> None:
    """Of the secret that the installation has."""
    environment = {**deployed.environment, "KUBECONFIG": str(context_in(deployed.namespace, tmp_path))}
    command = ["bash", "-ec", marked(PAGE, "skaffold-token")]

    assert run(command, folder=REPOSITORY, environment=environment).stdout.count(".") == 2


def test_delete_leaves_nothing(deployed: Skaffold) -> None:
    """No release, no object, no volume."""
    deployed("delete")

    assert deployed.releases() == []
    eventually_sync(lambda: not _left(deployed.namespace), within=GONE_SECONDS, every=1)


WORKERS = [f"coursegen-worker-{queue}" for queue in ("documents", "analysis", "generation", "webhooks")]
EDITS = {
    "kernel": (
        "services/kernel/probes.py",
        '"probes listening"',
        ["coursegen-api", "coursegen-outbox-relay", "coursegen-persistence-worker", *WORKERS],
    ),
    "api": ("services/api/server.py", 'f"Server listening on port {self.port}"', ["coursegen-api"]),
    "outbox-relay": ("services/outbox_relay/relay.py", '"Outbox processor started"', ["coursegen-outbox-relay"]),
    "persistence-worker": (
        "services/persistence_worker/opening.py",
        'f"Worker started for partition {share.partition}"',
        ["coursegen-persistence-worker"],
    ),
    "stage-worker": ("services/stage_worker/worker.py", '"Stage worker started"', WORKERS),
}
"""A line of all processes' logs, and one of each: where it is written, and by which Deployments.

The kernel comes first: a build for it would be said while the others are edited.
"""


def test_dev_brings_an_edit_into_running_pods_and_leaves_nothing(skaffold: Skaffold, tmp_path: Path) -> None:
    """The api answers on this machine; an edited line of each process is live within 10 s, in the same pods, without a build.

    One of the kernel is so in all of them, by a copy for each image.
    """
    tree = copy_of_the_repository(tmp_path / "tree")
    typed = [shlex.split(each.text, comments=True) for each in typed_as(PAGE, "skaffold-dev")]
    assert typed == [["skaffold", "dev"], ["skaffold", "dev", "-p", "local", "--default-repo", "localhost:5000"]]
    with skaffold.dev(tree, "--skip-tests", "--tail=false") as loop:  # the second, with the registry that there is
        eventually_sync(lambda: "Watching for changes..." in loop.said(), within=STARTED_SECONDS, every=0.5)
        url = eventually_sync(lambda: loop.forwarded("coursegen-api"), within=FORWARDED_SECONDS, every=0.5)
        eventually_sync(lambda: _answers(f"{url}/openapi.json"), within=FORWARDED_SECONDS, every=0.5)
        pods = _pods(skaffold.namespace)
        before = len(loop.said())
        for process in EDITS:
            took = _edit(skaffold.namespace, tree, process)
            print(f"edit of {process} live after {took:.1f} s")
            assert took <= (EVERYWHERE_SECONDS if process == "kernel" else LIVE_SECONDS), process

        assert loop.said()[before:].count("Syncing 1 files for") == _copies(skaffold.namespace)
        assert "Building [" not in loop.said()[before:]
        assert [each["revision"] for each in skaffold.releases()] == ["1"]
        assert _pods(skaffold.namespace) == pods
        assert loop.interrupt() in {0, 130}

    assert skaffold.releases() == []
    eventually_sync(lambda: not _left(skaffold.namespace), within=GONE_SECONDS, every=1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:  # nobody listens yet, or hangs up
        return False


def _copies(namespace: str) -> int:
    """How often something is copied for all edits: each into every image that has the file."""
    installed = _deployments(namespace)
    return sum(
        len({image for name in names for image in _images(installed[name]["spec"]["template"])})
        for _, _, names in EDITS.values()
    )


def _pods(namespace: str) -> set[tuple[str, int]]:
    """The pods of the Deployments, and how often each was started."""
    return {
        (each["metadata"]["uid"], each["status"]["containerStatuses"][0]["restartCount"])
        for each in items("-n", namespace, "pods")
        if each["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
    }


def _edit(namespace: str, tree: Path, process: str) -> float:
    """Change the line that a process writes at its start; the seconds until all of its pods have written it so."""
    path, line, deployments = EDITS[process]
    edited = f"{process} of an edited tree"
    began = edit(tree / path, line, f'"{edited}"')
    for name in deployments:
        eventually_sync(
            lambda name=name: edited in kubectl("-n", namespace, "logs", f"deployment/{name}", "--tail=200"),
            within=LIVE_SECONDS * 3,
            every=0.2,
        )
    return time.monotonic() - began
