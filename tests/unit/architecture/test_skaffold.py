"""skaffold.yaml agrees with the Dockerfile, the chart and the tree it speaks of."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from services.kernel import reloading

_ROOT = Path(__file__).resolve().parents[3]
_CHART = _ROOT / "charts" / "coursegen"
_CONFIG: dict[str, Any] = yaml.safe_load((_ROOT / "skaffold.yaml").read_text(encoding="utf-8"))
_RELEASE: dict[str, Any] = _CONFIG["deploy"]["helm"]["releases"][0]
_ARTIFACTS: list[dict[str, Any]] = _CONFIG["build"]["artifacts"]
_PROFILES: dict[str, dict[str, Any]] = {each["name"]: each for each in _CONFIG["profiles"]}
_OF_THE_OPERATOR = {each["path"]: each["value"] for each in _PROFILES["operator"]["patches"]}
_ALL_ARTIFACTS = [*_ARTIFACTS, _OF_THE_OPERATOR["/build/artifacts/-"]]
_PART_OF = {
    "outboxRelay": "outbox-relay",
    "stageWorker": "stage-worker",
    "persistenceWorker": "persistence-worker",
    "migrations": "migrate",
    "api": "api",
}
"""Whose image a part of the chart's values is about."""
_TARGETS = ["api", "outbox-relay", "stage-worker", "persistence-worker", "migrate"]
_NO_REASON_TO_BUILD = {"README.md", "LICENSE", "operators"}
"""Pages, and the operator, of whose code its own image alone has some."""
_WITH = {"migrate": {"migrations", "services/retention"}}
"""What install-process leaves in one image beside its process and the kernel."""
_EVERYONES = {"services/__init__.py", "services/kernel"}


class Stage:
    """One stage of the Dockerfile."""

    def __init__(self, base: str) -> None:
        """`base` is what it begins with."""
        self.needs = {base}
        self.copies: set[str] = set()
        self.lines: list[str] = []


def _stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    stage = Stage("")
    text = (_ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        words = line.split()
        if line.startswith("FROM "):
            stage = found[words[3]] = Stage(words[1])
        elif line.startswith("COPY --from="):
            stage.needs.add(words[1].partition("=")[2])
        elif line.startswith("COPY "):
            stage.copies.update(words[1:-1])
        stage.lines.append(line)
    return found


_STAGES = _stages()


def _copied_for(target: str) -> set[str]:
    """The paths of the tree that go into an image, by way of all its stages."""
    stage = _STAGES.get(target)
    return set() if stage is None else stage.copies.union(*map(_copied_for, stage.needs))


def _entry_point(target: str) -> list[str]:
    (line,) = [each for each in _STAGES[target].lines if each.startswith("ENTRYPOINT ")]
    words: list[str] = json.loads(line.removeprefix("ENTRYPOINT "))
    return words


def _target(command: str) -> str:
    script, target = command.split()
    assert (_ROOT / script).is_file()
    return target


def _process(artifact: dict[str, Any]) -> str:
    return str(artifact["image"]).removeprefix("ghcr.io/coursegen/coursegen-")


def _patches(op: str, end: str) -> dict[int, Any]:
    """What the profile `dev` changes, by the artifact's place."""
    found = {}
    for patch in _PROFILES["dev"]["patches"]:
        place = re.fullmatch(rf"/build/artifacts/(\d)/{end}", patch["path"])
        if place and patch["op"] == op:
            found[int(place[1])] = patch["value"]
    return found


def _matched(pattern: str) -> Iterator[Path]:
    return (each for each in _ROOT.glob(pattern) if "__pycache__" not in each.parts)


def _value(path: str, within: Any) -> Any:
    for key in path.split("."):
        within = within[key]
    return within


def test_the_schema_is_new_enough() -> None:
    """v4beta13 or newer: the first that knows what is used here, and that skaffold with Helm 4 reads."""
    version = re.fullmatch(r"skaffold/v4beta(\d+)", _CONFIG["apiVersion"])

    assert version is not None
    assert int(version[1]) >= 13


def test_every_image_is_a_target_of_the_dockerfile() -> None:
    """By its own name, and in the profile `dev` by the variant that starts anew."""
    targets = [_target(each["custom"]["buildCommand"]) for each in _ARTIFACTS]

    assert [_process(each) for each in _ARTIFACTS] == targets == _TARGETS
    assert _target(_ALL_ARTIFACTS[-1]["custom"]["buildCommand"]) == _process(_ALL_ARTIFACTS[-1]) == "operator"
    assert {*targets, "operator"} <= _STAGES.keys()
    assert {place: _target(each) for place, each in _patches("replace", "custom/buildCommand").items()} == {
        0: "api-dev",
        1: "outbox-relay-dev",
        2: "stage-worker-dev",
        3: "persistence-worker-dev",
    }


@pytest.mark.parametrize("target", ["api", "outbox-relay", "stage-worker", "persistence-worker"])
def test_the_variant_for_the_loop_runs_the_same_process(target: str) -> None:
    """Under the reloader, as the same user, on the same image."""
    variant = _STAGES[f"{target}-dev"]

    assert target in variant.needs
    assert _entry_point(f"{target}-dev") == ["python", "-m", reloading.__name__, _entry_point(target)[-1]]
    assert [each for each in variant.lines if each.startswith("USER ")][-1] == "USER 10001:10001"
    assert not any(reloading.__name__ in line for line in _STAGES[target].lines)


def test_a_build_without_a_target_is_none_for_the_loop() -> None:
    """The last stage is what `docker build .` makes."""
    assert not list(_STAGES)[-1].endswith("-dev")


@pytest.mark.parametrize("artifact", _ALL_ARTIFACTS, ids=_process)
def test_what_goes_into_an_image_builds_it_anew(artifact: dict[str, Any]) -> None:
    """Everything that is copied for it, except the pages; of the services only its own and the kernel."""
    dependencies = artifact["custom"]["dependencies"]
    process = _process(artifact)
    own = _entry_point(process)[-1].replace(".", "/")
    copied = _copied_for(process) | (_copied_for(f"{process}-dev") if f"{process}-dev" in _STAGES else set())
    assert {"services", "migrations", "pyproject.toml"} <= copied

    needed = (copied - _NO_REASON_TO_BUILD - {"services"}) | _EVERYONES | {own, "Dockerfile", ".dockerignore"}
    needed = needed - {"migrations"} | _WITH.get(process, set())
    needed |= {"operators/__init__.py"} if process == "operator" else set()
    needed |= {f"scripts/{each}.sh" for each in ("build-images", "builder", "skaffold-build")}
    assert set(dependencies["paths"]) == needed
    assert all(any(_matched(each)) for each in dependencies["paths"])
    assert "**/__pycache__" in dependencies["ignore"]


def test_what_the_reloader_watches_is_copied_to_where_the_code_is() -> None:
    """Each rule matches files, and the folder is the one that the images hold."""
    folder = "/opt/coursegen/project"
    rules = _patches("add", "sync")

    assert rules.keys() == {0, 1, 2, 3}
    for place, rule in rules.items():
        assert {each["src"] for each in rule["manual"]} == {f"services/**/*{each}" for each in reloading.SUFFIXES}
        assert {each["dest"] for each in rule["manual"]} == {folder}
        assert all(any(_matched(each["src"])) for each in rule["manual"])
        variant = "\n".join(_STAGES[f"{_process(_ARTIFACTS[place])}-dev"].lines)
        assert f"--invalidation-mode checked-hash {folder} " in variant
        assert f"chown -R 10001:10001 {folder}\n" in variant
        assert f"ENV PYTHONPATH={folder}:" in variant


def test_what_is_copied_builds_nothing_in_the_loop() -> None:
    """Whoever has no pods to copy into depends on no file that others are sent, or each edit would be a build and an upgrade."""
    paths = {place: list(each["custom"]["dependencies"]["paths"]) for place, each in enumerate(_ARTIFACTS)}
    for patch in _PROFILES["dev"]["patches"]:
        if patch["op"] == "remove":
            place = re.fullmatch(r"/build/artifacts/(\d)/custom/dependencies/paths/(\d+)", patch["path"])
            assert place is not None
            del paths[int(place[1])][int(place[2])]
    copied_into = _patches("add", "sync").keys()
    copied = {each for place in copied_into for each in paths[place] if each.startswith("services/")}

    assert copied >= _EVERYONES
    for place in paths.keys() - copied_into:
        left = set(_ARTIFACTS[place]["custom"]["dependencies"]["paths"]) - _EVERYONES
        assert set(paths[place]) == left
        assert not left & copied


def test_every_value_that_is_set_is_one_of_the_charts() -> None:
    """And a string there; the four parts of an image are taken from the image of that process."""
    values = yaml.safe_load((_CHART / "values.yaml").read_text(encoding="utf-8"))
    parts = {
        "registry": "IMAGE_DOMAIN",
        "repository": "IMAGE_REPO_NO_DOMAIN",
        "tag": "IMAGE_TAG",
        "digest": "IMAGE_DIGEST",
    }
    templates = dict(_RELEASE["setValueTemplates"])
    for path in templates:
        assert isinstance(_value(path, values), str), path

    for part, process in _PART_OF.items():
        name = re.sub(r"[./-]", "_", f"ghcr.io/coursegen/coursegen-{process}")
        for field, variable in parts.items():
            assert templates.pop(f"{part}.image.{field}") == f"{{{{.{variable}_{name}}}}}"
    assert templates == {
        f"dev.{each}.image": f'{{{{default "{_value(f"dev.{each}.image", values)}" .{variable}}}}}'
        for each, variable in (("postgresql", "POSTGRES_IMAGE"), ("redis", "REDIS_IMAGE"))
    }


def test_the_names_are_the_charts_defaults() -> None:
    """An image that is not pushed keeps its name, and the chart asks for that."""
    image = yaml.safe_load((_CHART / "values.yaml").read_text(encoding="utf-8"))["image"]

    assert [each["image"] for each in _ARTIFACTS] == [
        f"{image['registry']}/{image['repositoryPrefix']}{each}" for each in map(_process, _ARTIFACTS)
    ]


def test_the_files_of_values_fit_the_charts_schema() -> None:
    """Those of every run, and the one that `dev` adds."""
    schema = json.loads((_CHART / "values.schema.json").read_text(encoding="utf-8"))
    added = [each["value"] for each in _PROFILES["dev"]["patches"] if each["path"].endswith("/valuesFiles/-")]

    assert added == ["skaffold/dev-values.yaml"]
    for name in [*_RELEASE["valuesFiles"], *added]:
        jsonschema.validate(yaml.safe_load((_ROOT / name).read_text(encoding="utf-8")), schema)


def test_the_profiles() -> None:
    """`dev` by the command, `kind` by the context and without pushing, `local` and `ci` by name and with it."""
    assert _PROFILES.keys() == {"dev", "kind", "local", "ci", "operator"}
    assert _PROFILES["dev"]["activation"] == [{"command": "dev"}]
    assert _PROFILES["kind"]["activation"] == [{"kubeContext": "kind-.*"}]
    assert {name: each.get("build", {}).get("local", {}).get("push") for name, each in _PROFILES.items()} == {
        "dev": None,
        "kind": False,
        "local": True,
        "ci": True,
        "operator": None,
    }
    assert {name for name, each in _PROFILES.items() if "activation" in each} == {"dev", "kind"}


def test_the_operator_is_a_release_of_its_own_before_the_other() -> None:
    """From its chart, by the image that was built; its resources are waited for by a program that is there."""
    release = _OF_THE_OPERATOR["/deploy/helm/releases/-"]
    chart = _ROOT / release["chartPath"]
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    name = re.sub(r"[./-]", "_", _ALL_ARTIFACTS[-1]["image"])
    (hook,) = _OF_THE_OPERATOR["/deploy/helm/hooks"]["after"]

    assert _OF_THE_OPERATOR["/deploy/helm/releases/0/dependsOn"] == [release["name"]]
    assert _ALL_ARTIFACTS[-1]["image"] == f"{values['image']['registry']}/{values['image']['repository']}"
    assert release["setValueTemplates"] == {
        f"image.{field}": f"{{{{.{variable}_{name}}}}}"
        for field, variable in (
            ("registry", "IMAGE_DOMAIN"),
            ("repository", "IMAGE_REPO_NO_DOMAIN"),
            ("tag", "IMAGE_TAG"),
            ("digest", "IMAGE_DIGEST"),
        )
    }
    assert release["wait"] is True
    assert os.access(_ROOT / hook["host"]["command"][0], os.X_OK)
    for file in release["valuesFiles"]:
        schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
        jsonschema.validate({**yaml.safe_load((_ROOT / file).read_text("utf-8")), **release["setValues"]}, schema)


def test_every_image_has_its_unit_tests() -> None:
    """Those of its process, which are also what has them run again; what is left out is there as well."""
    script = (_ROOT / "scripts" / "skaffold-test.sh").read_text(encoding="utf-8")
    cases = dict(re.findall(r"^([a-z-]+)\)\s+package=([\w/]+)", script, re.MULTILINE))
    left_out = dict(re.findall(r"package=([\w/]+)\s+long=\((.+)\)", script))

    tests = [*_CONFIG["test"], _OF_THE_OPERATOR["/test/-"]]
    assert [each["image"] for each in tests] == [each["image"] for each in _ALL_ARTIFACTS]
    for process, each in zip(map(_process, _ALL_ARTIFACTS), tests, strict=True):
        (custom,) = each["custom"]
        (folder,) = custom["dependencies"]["paths"]
        assert _target(custom["command"]) == process
        assert folder == f"tests/unit/{cases[process]}" == f"tests/unit/{_entry_point(process)[-1].replace('.', '/')}"
        assert all((_ROOT / folder / name).exists() for name in left_out.get(cases[process], "").split())


def test_verify_is_the_round_trip_of_helm_test() -> None:
    """In a Job whose container, program and limits fit what skaffold.yaml says of them."""
    (case,) = _CONFIG["verify"]
    job = yaml.safe_load((_ROOT / case["executionMode"]["kubernetesCluster"]["jobManifestPath"]).read_text("utf-8"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    timeouts = {each["name"]: each.get("value") for each in container["env"]}

    assert case["container"]["image"] == _ARTIFACTS[0]["image"]
    assert (case["name"], case["container"]["name"]) == (job["metadata"]["name"], container["name"])
    folder, _, program = case["container"]["command"][1].rpartition("/")
    assert mounts[folder] == "programs"
    assert (_CHART / "files" / program).is_file()
    assert int(timeouts["TIMEOUT_SECONDS"] or 0) < job["spec"]["activeDeadlineSeconds"] <= case["timeout"]
