"""Schemas: a description and a bound for each field."""

from __future__ import annotations

from typing import Any

import pytest

from operators.coursegen_operator.schemas import openapi


@pytest.mark.parametrize(
    "schema",
    [
        openapi.string("d"),
        openapi.string("d", enum=["a"], default="a"),
        openapi.name("d"),
        openapi.duration("d", default="7d"),
        openapi.fraction("d", default="0.5"),
        openapi.date_time("d"),
        openapi.quantity("d", default="1"),
        openapi.integer("d", minimum=0, maximum=9, default=1),
        openapi.boolean("d", default=False),
        openapi.array("d", openapi.string("e"), min_items=1),
        openapi.list_map("d", openapi.obj("e", {"name": openapi.name("n")}, required=["name"])),
        openapi.obj(
            "d", {"a": openapi.string("e")}, rules=[openapi.cel("self.a != ''", "a: write something", path=".a")]
        ),
        openapi.text_map("d"),
        openapi.secret_key_ref("d"),
        openapi.conditions(),
        openapi.observed_generation(),
    ],
)
def test_every_field_says_what_it_is(schema: dict[str, Any]) -> None:
    """`kubectl explain` shows it."""
    assert schema["description"]
    if schema.get("type") == "string" and "enum" not in schema and "format" not in schema:
        assert schema["maxLength"]
    if schema.get("type") == "array":
        assert schema["maxItems"]


def test_false_and_nought_are_defaults_too() -> None:
    """Not to be mistaken for none."""
    assert openapi.boolean("d", default=False)["default"] is False
    assert openapi.integer("d", default=0)["default"] == 0
    assert "default" not in openapi.integer("d")


def test_a_column_may_be_for_wide_output() -> None:
    """Priority 1."""
    assert "priority" not in openapi.column("A", ".a", "d")
    assert openapi.column("A", ".a", "d", wide=True)["priority"] == 1
