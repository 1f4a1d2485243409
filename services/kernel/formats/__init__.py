"""The documents that leave coursegen, by their JSON Schemas: what one process writes, another serves and describes."""

from __future__ import annotations

from importlib import resources
from typing import Any

import orjson


def course_schema() -> dict[str, Any]:
    """The JSON Schema of a finished course (`course.schema.json`; the stage worker makes it from its model)."""
    schema: dict[str, Any] = orjson.loads(resources.files(__name__).joinpath("course.schema.json").read_bytes())
    return schema
