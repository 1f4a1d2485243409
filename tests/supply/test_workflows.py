"""The workflows of .github: thin, pinned, and allowed no more than they need."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.servers import REPOSITORY
from tests.support.tools import tool

GITHUB = REPOSITORY / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
_RELEASE = GITHUB / "workflows" / "release-images.yml"
_ACTIONS = [*WORKFLOWS, *sorted((GITHUB / "actions").rglob("action.yml"))]
_PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
_PLATFORM = re.compile(r"mark\.(?:cluster|helm|images)\b|add_marker\(\"(?:cluster|helm|images)\"\)")
_EACH = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda each: each.stem)

Job = dict[str, Any]


def jobs(workflow: Path) -> dict[str, Job]:
    """A workflow's jobs, by name."""
    found: dict[str, Job] = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return found


def steps(file: Path) -> Iterator[dict[str, Any]]:
    """Every step of a workflow or of an action."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    for each in content["jobs"].values() if "jobs" in content else [content["runs"]]:
        yield from each["steps"]


@pytest.mark.helm
def test_actionlint_has_nothing_to_say() -> None:
    """Of the workflows, nor shellcheck of the scripts in them."""
    shellcheck = REPOSITORY / ".venv" / "bin" / "shellcheck"
    command = [tool("actionlint"), "-shellcheck", str(shellcheck), "-pyflakes=", *map(str, WORKFLOWS)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("file", _ACTIONS, ids=lambda each: each.parent.name + "/" + each.stem)
def test_every_action_is_a_commit(file: Path) -> None:
    """By all its 40 digits, with the version that they are in a comment; ours are in this tree."""
    used = re.findall(r"^\s*(?:- )?uses: (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)

    assert len(used) == sum("uses" in each for each in steps(file)) > 0
    for each in used:
        if each.startswith("./"):
            assert (REPOSITORY / each / "action.yml").is_file(), each
        else:
            assert _PINNED.fullmatch(each), each


@pytest.mark.parametrize("file", _ACTIONS, ids=lambda each: each.parent.name + "/" + each.stem)
def test_every_target_is_in_the_makefile(file: Path) -> None:
    """What a workflow runs can be typed by hand."""
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = [name for step in steps(file) for name in re.findall(r"\bmake ([\w-]+)", step.get("run", ""))]

    assert called
    assert set(called) <= targets


@_EACH
def test_a_job_may_do_little_and_not_for_long(workflow: Path) -> None:
    """Nothing by default; each job says what it needs, and how many minutes; a newer run does not race an older one."""
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))

    assert content["permissions"] == {}
    assert content["concurrency"]["group"].startswith(f"{workflow.stem}-")
    for name, job in jobs(workflow).items():
        assert 0 < job["timeout-minutes"] <= 90, name
        assert job["permissions"]["contents"] == "read", name
        assert job["runs-on"] != "ubuntu-latest", name


def test_only_releases_and_pages_may_write() -> None:
    """Packages and attestations; the pages that runbook_url leads to; and nothing else."""
    writing = {
        (workflow.stem, scope)
        for workflow in WORKFLOWS
        for job in jobs(workflow).values()
        for scope, right in job["permissions"].items()
        if right == "write"
    }

    release = {("release-images", each) for each in ("packages", "id-token", "attestations")}
    assert writing == {*release, ("pages", "pages"), ("pages", "id-token")}


@pytest.mark.parametrize("file", _ACTIONS, ids=lambda each: each.parent.name + "/" + each.stem)
def test_no_credentials_are_left_for_later_steps(file: Path) -> None:
    """A checkout keeps the token in the tree unless it is told not to."""
    for step in steps(file):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_every_image_is_released_with_its_bill_and_where_it_is_from() -> None:
    """All targets; attested by digest, the base named by digest."""
    job = jobs(_RELEASE)["image"]
    attested = [each["with"] for each in job["steps"] if each.get("uses", "").startswith("actions/attest@")]

    assert job["strategy"]["matrix"]["target"] == [
        "api",
        "outbox-relay",
        "stage-worker",
        "persistence-worker",
        "migrate",
        "operator",
    ]
    assert ["sbom-path" in each for each in attested] == [False, True]
    assert all(each["subject-digest"] == "${{ steps.push.outputs.digest }}" for each in attested)
    assert job["env"]["PYTHON_IMAGE"] == "${{ needs.release.outputs.base }}"
    assert job["env"]["IMAGE_SOURCE"] == "${{ github.server_url }}/${{ github.repository }}"
    assert any("docker buildx create" in each.get("run", "") for each in job["steps"])
    assert any('echo "base=$BASE@$digest"' in each.get("run", "") for each in jobs(_RELEASE)["release"]["steps"])


def test_a_release_is_of_one_version() -> None:
    """Before anything is built the tag is compared; every image is tagged by what came of it."""
    found = jobs(_RELEASE)

    assert any("scripts/release.py version" in each.get("run", "") for each in found["release"]["steps"])
    assert found["image"]["needs"] == "release"
    assert found["image"]["env"]["IMAGE_TAG"] == "${{ needs.release.outputs.version }}"


def test_the_digests_of_a_release_are_offered_as_values() -> None:
    """Each image gives its own, under its name, to the file that the documents speak of."""
    found = jobs(_RELEASE)
    given = {
        target: f"${{{{ steps.push.outputs.{target} }}}}" for target in found["image"]["strategy"]["matrix"]["target"]
    }
    (offered,) = (each["with"] for each in found["values"]["steps"] if "upload-artifact" in each.get("uses", ""))

    assert found["image"]["outputs"] == given
    assert set(found["values"]["needs"]) == {"release", "image"}
    assert offered["path"] == "digests-*values.yaml"
    assert f"`{offered['path']}`" in (REPOSITORY / "docs" / "KUBERNETES.md").read_text(encoding="utf-8")


def test_the_servers_of_the_chart_are_looked_up_when_it_is_released() -> None:
    """Digests of PostgreSQL and Redis go the way of ours."""
    found = jobs(_RELEASE)
    (looked_up,) = (each for each in found["release"]["steps"] if each.get("id") == "servers")
    (written,) = (each["run"] for each in found["values"]["steps"] if "run" in each)

    assert "scripts/release.py servers" in looked_up["run"]
    assert "docker buildx imagetools inspect" in looked_up["run"]
    assert found["values"]["env"]["SERVERS"] == "${{ needs.release.outputs.servers }}"
    assert 'values "$PREFIX" <<< "$DIGESTS $SERVERS"' in written


@pytest.mark.parametrize(("workflow", "job"), [("release-images", "image"), ("audit", "images")])
def test_the_bill_of_every_image_is_scanned(workflow: str, job: str) -> None:
    """Debian's packages as well: what is high and mended ends a release before anything is pushed, and is told every Monday."""
    found = jobs(GITHUB / "workflows" / f"{workflow}.yml")[job]
    said = [each.get("uses", "").partition("@")[0] or each.get("run", "") for each in found["steps"]]
    scan = found["steps"][said.index("anchore/scan-action")]["with"]

    assert found["strategy"]["matrix"]["target"] == jobs(_RELEASE)["image"]["strategy"]["matrix"]["target"]
    assert said.index('make sbom TARGETS="$TARGET"') < said.index("anchore/scan-action")
    assert all(said.index("anchore/scan-action") < number for number, each in enumerate(said) if "make push" in each)
    assert scan["sbom"] == "build/sbom/coursegen-${{ matrix.target }}.cdx.json"
    assert (scan["severity-cutoff"], scan["only-fixed"], scan.get("fail-build", True)) == ("high", True, True)


def test_what_the_kind_cluster_cannot_show_is_left_out_one_by_one() -> None:
    """What is named is there; a whole file only where all of it needs a registry or a Prometheus.

    The profile of skaffold for kind is tried by itself.
    """
    job = jobs(GITHUB / "workflows" / "test.yml")["kind"]
    commands = "\n".join(each.get("run", "") for each in job["steps"])
    left_out = re.findall(r"--(ignore|deselect) ([\w/.:]+)", commands)

    assert [each for how, each in left_out if how == "ignore"] == [
        "tests/cluster/test_skaffold.py",
        "tests/e2e/operator/test_alerts.py",
        "tests/e2e/operator/test_parts.py",
    ]
    assert "skaffold run -p kind" in commands
    for _, each in left_out:
        file, _, name = each.partition("::")
        assert f"def {name}" in (REPOSITORY / file).read_text(encoding="utf-8")
    assert job["env"]["TEST_CLUSTER_MAY_BE_DRAINED"] == 1


def _asking_for(name: str, folder: Path) -> set[str]:
    """The tests of a folder that ask for a fixture, themselves or by another of their file, or that look into a variable."""
    found = set()
    for file in sorted(folder.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
        asking = {name}
        while more := {each.name for each in functions if asking & _names_in(each)} - asking:
            asking |= more
        where = file.relative_to(REPOSITORY).as_posix()
        found |= {f"{where}::{each}" for each in asking if each.startswith("test_")}
    return found


def _names_in(function: ast.FunctionDef) -> set[str]:
    """What it asks for, and what it reads."""
    read = {each.id for each in ast.walk(function) if isinstance(each, ast.Name)}
    return read | {each.arg for each in function.args.args}


@pytest.mark.parametrize(
    ("name", "folder", "one"),
    [
        ("watched", "tests/e2e/operator", "test_docs.py::test_prometheus_is_asked_as_the_checklist_says"),
        ("autoscaled", "tests/e2e/kubernetes", "test_scaling.py::test_pods_grow_under_load_and_shrink_after_it"),
        ("_FOUND", "tests/e2e/kubernetes", "test_scaling.py::test_pods_that_come_and_go_turn_no_request_away"),
    ],
)
def test_nothing_is_left_in_that_the_kind_cluster_cannot_show(name: str, folder: str, one: str) -> None:
    """No test that asks for a Prometheus or a metrics API, and none that looks at what such a test has found."""
    job = jobs(GITHUB / "workflows" / "test.yml")["kind"]
    commands = "\n".join(each.get("run", "") for each in job["steps"])
    left_out = set(re.findall(r"--(?:ignore|deselect) ([\w/.:]+)", commands))
    asking = _asking_for(name, REPOSITORY / folder)

    assert f"{folder}/{one}" in asking
    assert {each for each in asking if not left_out & {each, each.partition("::")[0]}} == set()


def test_what_needs_a_platform_is_in_a_job() -> None:
    """Every folder with tests that `make test-local` leaves out: for Helm, images or a cluster."""
    found = jobs(GITHUB / "workflows" / "test.yml")
    commands = [each.get("run", "") for job in found.values() for each in job["steps"]]
    given = {Path(folder) for each in commands for folder in re.findall(r"(?:ARGS=\"| )(tests/\S+?)(?=[ \"])", each)}
    needing = {
        each.parent.relative_to(REPOSITORY)
        for each in (REPOSITORY / "tests").rglob("*.py")
        if _PLATFORM.search(each.read_text(encoding="utf-8"))
    }

    assert {Path("tests/e2e/kubernetes"), Path("tests/operator"), Path("tests/images"), Path("tests/charts")} <= needing
    assert {each for each in needing if not given & {each, *each.parents}} == set()


def test_images_are_tried_where_their_layers_are_dated() -> None:
    """By a builder that `docker buildx create` makes before they are built: Docker's engine cannot."""
    (job,) = (each for each in jobs(GITHUB / "workflows" / "test.yml").values() if "tests/images" in str(each["steps"]))
    commands = [each["run"] for each in job["steps"] if "run" in each]

    assert job["env"]["BUILDX_BUILDER"]
    assert commands == ['docker buildx create --name "$BUILDX_BUILDER"', 'make test-cluster ARGS="tests/images"']


def test_every_supported_python_is_tested() -> None:
    """Those that the project says it is for."""
    named = re.findall(r"Python :: (3\.\d+)", (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))

    assert jobs(GITHUB / "workflows" / "test.yml")["test"]["strategy"]["matrix"]["python"] == named
