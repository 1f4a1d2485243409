"""Every file of values lints, and renders objects that Kubernetes knows."""

from __future__ import annotations

import functools
import json
import runpy
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.charts.conftest import CHART, NEWEST, OLDEST, Object, Render, values_files
from tests.charts.objects import pods
from tests.charts.validity import require_valid
from tests.support.images import PROCESSES

_SCHEMAS = Path(__file__).with_name("schemas")
_FOREIGN = {
    json.loads(file.read_text(encoding="utf-8"))["properties"]["kind"]["const"]: file for file in _SCHEMAS.iterdir()
}
"""Kinds that are not Kubernetes' own; made anew by scripts/chart_schemas.py."""
_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
_PAGES = _SCRIPTS / "chart_pages.py"
_RELEASE = _SCRIPTS / "release.py"


@pytest.mark.parametrize("file", values_files(), ids=lambda each: each.stem)
def test_the_values_lint(helm: str, file: Path) -> None:
    """`helm lint --strict` has nothing to say."""
    done = subprocess.run(
        [helm, "lint", "--strict", str(CHART), "-f", str(file), "--kube-version", NEWEST],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("file", values_files(), ids=lambda each: each.stem)
def test_the_objects_are_valid(render: Render, file: Path, version: str) -> None:
    """By the schemas of the oldest and the newest version; no field that it does not know."""
    objects = render(file, version=version)

    assert {"Deployment", "Service", "ServiceAccount"} <= {each["kind"] for each in objects}
    for each in objects:
        validate(each, version)


def validate(each: Object, version: str) -> None:
    """An object against the schema of its kind, strictly."""
    if each["apiVersion"].startswith("ops.coursegen.dev/"):
        jsonschema.Draft202012Validator(schema_of(each["kind"])).validate(each["spec"])
    elif each["kind"] in _FOREIGN:
        jsonschema.Draft202012Validator(json.loads(_FOREIGN[each["kind"]].read_text(encoding="utf-8"))).validate(each)
    else:
        require_valid(each, version)


@functools.cache
def schema_of(kind: str) -> dict[str, Any]:
    """What the operator's definition of a kind admits as `spec`, with no field that it does not know."""
    for file in (CHART.parent / "coursegen-operator" / "files" / "crds").glob("*.yaml"):
        definition = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
        if definition["names"]["kind"] == kind:
            return closed(definition["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
    raise AssertionError(f"{kind} is none of the operator's kinds")


def closed(schema: Any) -> Any:
    """The schema without room for fields that it does not name: an API server drops them with a warning."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: closed(value) for key, value in schema.items()}
    has_own = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if has_own and not {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & schema.keys():
        inside["additionalProperties"] = False
    return inside


def test_every_foreign_kind_is_rendered_and_judged(render: Render) -> None:
    """By a schema that knows its fields: a wrong one is refused."""
    rendered = {each["kind"]: each for file in values_files() for each in render(file)}

    assert _FOREIGN.keys() <= rendered.keys()
    for kind in _FOREIGN:
        with pytest.raises(jsonschema.ValidationError, match="portt"):
            validate({**rendered[kind], "spec": {**rendered[kind]["spec"], "portt": 1}}, NEWEST)


def test_the_pages_are_what_the_values_say() -> None:
    """README.md and values.schema.json; made anew by scripts/chart_pages.py."""
    pages = runpy.run_path(str(_PAGES))["APPLICATION"]

    assert (CHART / "README.md").read_text(encoding="utf-8") == pages.readme()
    assert json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")) == pages.schema()


def test_what_a_release_offers_as_values_names_images_by_digest(render: Render, tmp_path: Path) -> None:
    """Beside values of one's own; no process is left with a tag alone."""
    digests = {each: f"sha256:{number}" + "0" * 63 for number, each in enumerate(PROCESSES)}
    release = runpy.run_path(str(_RELEASE))
    others = dict.fromkeys(release["SERVERS"], f"sha256:{'f' * 64}")  # test_digests.py renders what runs them
    offered = release["values"]("ghcr.io/somebody/coursegen-", digests | others, "9.9.9")
    values = tmp_path / "values.yaml"
    values.write_text((CHART / "ci" / "minimal-values.yaml").read_text(encoding="utf-8") + offered, encoding="utf-8")
    objects = render(values)
    images = {container["image"] for _, pod in pods(objects) for container in pod["containers"]}
    images |= {each["spec"]["image"] for each in objects if "image" in each.get("spec", {})}

    assert images == {
        f"ghcr.io/somebody/coursegen-{name}:9.9.9@{digest}" for name, digest in digests.items() if name != "operator"
    }
