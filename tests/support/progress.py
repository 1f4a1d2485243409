"""The display of a run: its frozen form, and random changes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from services.kernel.progress import StepStatus

_MOMENT: Final = {"type": ["string", "null"], "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
_STEP: Final = {
    "type": "object",
    "required": ["id", "name", "status", "message", "started_at", "completed_at", "error"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "integer", "minimum": 1, "maximum": 5},
        "name": {"type": "string", "pattern": "^[А-Яа-яё ]+$"},
        "status": {"enum": ["pending", "in_progress", "completed", "failed"]},
        "message": {"type": ["string", "null"]},
        "started_at": _MOMENT,
        "completed_at": _MOMENT,
        "error": {"type": ["object", "null"]},
    },
}

FROZEN: Final = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["steps", "percentage", "current_step", "message"],
    "additionalProperties": False,
    "properties": {
        "steps": {"type": "array", "minItems": 5, "maxItems": 5, "items": _STEP},
        "percentage": {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 20},
        "current_step": {"type": "integer", "minimum": 1, "maximum": 5},
        "message": {"type": ["string", "null"]},
    },
}
"""`generation_progress` as the outside relies on it (contract.md GAP30). Do not change it: add a new field elsewhere."""

_VALIDATOR = Draft202012Validator(FROZEN, format_checker=FormatChecker())


@dataclass(frozen=True, slots=True)
class Change:
    """One call of `update_course_progress`."""

    step: int
    status: StepStatus
    message: str | None
    error: dict[str, Any] | None


CHANGES: Final = st.lists(
    st.builds(
        Change,
        step=st.integers(1, 5),
        status=st.sampled_from(["pending", "in_progress", "completed", "failed"]),
        message=st.sampled_from([None, "Читаем"]),
        error=st.sampled_from([None, {"code": "x", "message": "y"}]),
    ),
    max_size=25,
)
"""Steps set forward, back, twice and out of turn."""


def check_display(progress: dict[str, Any]) -> None:
    """Check form and inner agreement.

    Raises:
        AssertionError: naming what is wrong.
    """
    _VALIDATOR.validate(progress)
    steps = progress["steps"]
    assert [step["id"] for step in steps] == [1, 2, 3, 4, 5]
    done = [step for step in steps if step["status"] == "completed"]
    assert progress["percentage"] >= 20 * len(done)
    for step in steps:
        assert (step["completed_at"] is not None) == (step["status"] == "completed"), step
        assert (step["started_at"] is None) == (step["status"] == "pending"), step
        assert step["error"] is None or step["status"] == "failed", step


def timeless(progress: dict[str, Any]) -> dict[str, Any]:
    """The display without its moments; whether there is one is left."""

    def blurred(step: dict[str, Any]) -> dict[str, Any]:
        return {key: bool(value) if key.endswith("_at") else value for key, value in step.items()}

    return {**progress, "steps": [blurred(step) for step in progress["steps"]]}
