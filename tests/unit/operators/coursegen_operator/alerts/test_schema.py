"""The schema of AlertPolicy reads well and has an end to everything."""

from __future__ import annotations

from collections.abc import Iterator

import jsonschema
import pytest

from operators.coursegen_operator.alerts import spec
from operators.coursegen_operator.alerts.rules import PRESET_SCHEMAS
from operators.coursegen_operator.alerts.schema import COLUMNS, SELECTABLE, SPEC, STATUS
from operators.coursegen_operator.schemas.openapi import Schema
from tests.unit.operators.coursegen_operator.alerts.scene import GOOD_GROUP, policy

FIELDS = {
    "presets", "slos", "extraGroups", "runbookBaseURL", "ruleLabels", "prometheusSelector", "commonLabels",
    "commonAnnotations", "keepFiringFor", "interval", "scope", "suspend",
}  # fmt: skip
SLO = {
    "name": "courses",
    "objective": "99.9",
    "sli": {"events": {"errorQuery": "rate(e[{{.window}}])", "totalQuery": "rate(t[{{.window}}])"}},
}


def _fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, each in (schema.get("properties") or {}).items():
        yield from _fields(each, f"{path}.{name}")
    if "items" in schema:
        yield from _fields(schema["items"], f"{path}[]")


EVERY = [*_fields(SPEC, "spec"), *_fields(STATUS, "status")]


@pytest.mark.parametrize(("path", "schema"), EVERY, ids=[path for path, _ in EVERY])
def test_every_field_is_described_and_bounded(path: str, schema: Schema) -> None:
    """`kubectl explain` has a sentence for it, and CEL a bound."""
    assert schema.get("description"), path
    if schema.get("type") == "string" and "format" not in schema:
        assert "enum" in schema or "maxLength" in schema
    if schema.get("type") == "array":
        assert "maxItems" in schema


def test_the_fields_are_those_of_the_kind() -> None:
    """Presets come from their own definitions."""
    assert set(SPEC["properties"]) == FIELDS
    assert SPEC["required"] == ["runbookBaseURL"]
    assert SPEC["properties"]["presets"]["properties"] == PRESET_SCHEMAS


def test_defaults_are_those_of_the_planner() -> None:
    """An object that the API server has not filled in means the same."""
    assert SPEC["properties"]["keepFiringFor"]["default"] == spec.KEEP_FIRING_FOR
    assert SPEC["properties"]["interval"]["default"] == spec.INTERVAL
    assert SPEC["properties"]["scope"]["default"] == spec.AlertSpec.of(policy()).scope


def test_the_columns_are_those_of_kubectl_get() -> None:
    """As kubernetes.md prints them; two more with -o wide."""
    assert [column["name"] for column in COLUMNS if "priority" not in column] == [
        "Ready",
        "State",
        "Alerts",
        "Selected",
        "Accepted",
        "Age",
    ]
    assert [column["name"] for column in COLUMNS if "priority" in column] == ["Rule", "Message"]
    assert SELECTABLE == [".spec.suspend"]


@pytest.mark.parametrize(
    "given",
    [
        {"runbookBaseURL": "https://r.example/x"},
        {"runbookBaseURL": "http://r", "slos": [SLO], "extraGroups": [GOOD_GROUP], "keepFiringFor": "0s"},
        {"runbookBaseURL": "http://r", "extraGroups": [{"name": "a", "query_offset": "1m", "rules": []}]},
    ],
)
def test_good_specs_are_taken(given: dict[str, object]) -> None:
    """Fields of groups that are not known here included."""
    jsonschema.Draft202012Validator(SPEC).validate(given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"runbookBaseURL": "runbooks"},
        {"runbookBaseURL": "http://r", "keepFiringFor": "5 minutes"},
        {"runbookBaseURL": "http://r", "interval": ""},
        {"runbookBaseURL": "http://r", "slos": [{**SLO, "objective": "100"}]},
        {"runbookBaseURL": "http://r", "slos": [{**SLO, "objective": 99.9}]},
        {"runbookBaseURL": "http://r", "slos": [{"name": "a", "objective": "99"}]},
        {"runbookBaseURL": "http://r", "slos": [{**SLO, "window": "720h"}]},
        {"runbookBaseURL": "http://r", "slos": [{**SLO, "window": "1000d"}]},
        {"runbookBaseURL": "http://r", "presets": {"api": {"period": "30"}}},
        {"runbookBaseURL": "http://r", "extraGroups": [{"rules": []}]},
        {"runbookBaseURL": "http://r", "extraGroups": [{"name": "a", "rules": [{"alert": "A"}]}]},
        {"runbookBaseURL": "http://r", "scope": "Everywhere"},
    ],
)
def test_bad_specs_are_refused(given: dict[str, object]) -> None:
    """By the API server, before the operator sees them."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SPEC).validate(given)
