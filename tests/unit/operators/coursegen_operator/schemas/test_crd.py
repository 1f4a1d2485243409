"""The definitions of the kinds, and their files in the chart."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from operators.coursegen_operator.schemas.crd import definitions

_ROOT = Path(__file__).resolve().parents[5]
_FOUND = definitions()


def test_the_chart_has_what_the_code_says() -> None:
    """Made anew by scripts/crds.py."""
    script = runpy.run_path(str(_ROOT / "scripts" / "crds.py"))
    files = {path.name: path.read_text(encoding="utf-8") for path in script["FOLDER"].glob("*.yaml")}

    assert files == script["render"]()
    assert {name.removesuffix(".yaml"): yaml.safe_load(text) for name, text in files.items()} == _FOUND


@pytest.mark.parametrize("plural", list(_FOUND))
def test_a_definition_is_small_and_fresh_resources_are_not_taken_for_finished(plural: str) -> None:
    """Under 60 KiB; the generation is -1 until the operator has looked; one category for all.

    The limit is about what is stored: JSON, and that once more as the annotation of a client-side `kubectl apply`. The YAML
    of the chart's files is longer, for its indentation, and no API server ever sees it.
    """
    found = _FOUND[plural]
    version = found["spec"]["versions"][0]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]

    assert len(json.dumps(found)) < 60 * 1024
    assert status["default"] == {"observedGeneration": -1}
    assert {"observedGeneration", "conditions", "lastHandledReconcileAt"} <= status["properties"].keys()
    assert version["subresources"] == {"status": {}}
    assert found["spec"]["names"]["categories"] == ["coursegen"]
    assert found["spec"]["scope"] == "Namespaced"
    assert {"jsonPath": ".spec.suspend"} in version["selectableFields"]
    assert [each["name"].upper() for each in version["additionalPrinterColumns"] if not each.get("priority")][
        -1
    ] == "AGE"


@pytest.mark.parametrize("plural", list(_FOUND))
def test_every_field_has_a_description(plural: str) -> None:
    """`kubectl explain` reads well all the way down."""
    schema = _FOUND[plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert [path for path, field in _fields(schema["properties"], "") if not field.get("description")] == [".metadata"]


def _fields(properties: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in properties.items():
        yield f"{path}.{name}", field
        yield from _fields(field.get("properties", {}), f"{path}.{name}")
        items = field.get("items", {})
        yield from _fields(items.get("properties", {}), f"{path}.{name}[]")
