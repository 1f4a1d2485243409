"""The schema explains every field, and its defaults are those that the planner goes by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from operators.coursegen_operator.migrations.schema import COLUMNS, SELECTABLE, SPEC, STATUS
from operators.coursegen_operator.migrations.spec import MigrationSpec
from operators.coursegen_operator.migrations.status import Memory
from operators.coursegen_operator.schemas.openapi import Schema
from tests.unit.operators.coursegen_operator.migrations.world import new_resource


def _fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from _fields(each, f"{path}.{name}")
    for nested in ("items", "additionalProperties"):
        if isinstance(schema.get(nested), dict):
            yield from _fields(schema[nested], f"{path}[]")


def _defaulted(schema: Schema, value: Any) -> Any:
    if schema.get("type") != "object" or not isinstance(value, dict):
        return value
    found = dict(value)
    for name, each in schema.get("properties", {}).items():
        if name not in found and "default" in each:
            found[name] = each["default"]
        if name in found:
            found[name] = _defaulted(each, found[name])
    return found


def test_every_field_is_explained() -> None:
    """`kubectl explain dbm.spec.contract` must read well."""
    passed_on = {".job.nodeSelector[]", ".job.podLabels[]"}
    silent = [path for root in (SPEC, STATUS) for path, each in _fields(root) if not each.get("description")]

    assert [path for path in silent if path not in passed_on] == []


def test_defaults_are_the_planners() -> None:
    """A spec that the API server has filled in means what the bare one means."""
    bare = new_resource()
    filled = {**bare, "spec": _defaulted(SPEC, bare["spec"])}
    found, wanted = MigrationSpec.of(filled), MigrationSpec.of(bare)

    assert filled["spec"]["retry"] == {"maxAttempts": 5, "backoffSeconds": 30, "maxBackoffSeconds": 600}
    assert filled["spec"]["contract"] == {"mode": "AfterRollout", "soakSeconds": 300}
    assert filled["spec"]["job"]["activeDeadlineSeconds"] == 1800
    for field in ("target", "approval", "policy", "contract", "drift", "retry", "suspend", "secret_key"):
        assert getattr(found, field) == getattr(wanted, field)


def test_a_status_is_what_the_schema_has() -> None:
    """The API server would drop a field that it does not know."""
    known = set(STATUS["properties"])
    filled = Memory(round="1-a", task="plan", pending=("1",), destructive=(("1", "DROP"),), contract_pending=("2",))

    assert set(filled.as_object()) | {"observedGeneration", "conditions"} <= known
    assert STATUS["properties"]["observedGeneration"]["default"] == -1


def test_a_memory_survives_being_written() -> None:
    """Empty, and with something in it."""
    memory = Memory(
        round="3-a", task="apply", attempt=2, pending=("1", "2"), pending_count=2, destructive=(("1", "DROP"),)
    )

    assert Memory.of(memory.as_object()) == memory
    assert Memory.of(Memory().as_object()) == Memory()


def test_columns_and_selectors_are_those_of_the_documents() -> None:
    """`kubectl get dbm`, and with -o wide."""
    narrow = [each["name"].upper() for each in COLUMNS if not each.get("priority")]

    assert narrow == ["READY", "STATE", "CURRENT", "TARGET", "PENDING", "DRIFT", "AGE"]
    assert [each["name"].upper() for each in COLUMNS if each.get("priority")] == [
        "LAST-APPLIED",
        "MESSAGE",
        "IMAGE",
        "JOB",
    ]
    assert SELECTABLE == [".spec.suspend", ".spec.approval"]
