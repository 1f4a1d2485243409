"""The JSON Schema of a course: made from the model, kept as `kernel/formats/course.schema.json` for everyone else."""

from __future__ import annotations

from typing import Any

import msgspec

from services.stage_worker.course.model import Course

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def course_schema() -> dict[str, Any]:
    """The schema of the current format."""
    (root,), definitions = msgspec.json.schema_components([Course], ref_template="#/$defs/{name}")
    return {"$schema": _DIALECT, "title": "A coursegen course", **root, "$defs": definitions}


def schema_text() -> str:
    """The schema as the file holds it; `python -m services.stage_worker.course.schema` prints it."""
    return msgspec.json.format(msgspec.json.encode(course_schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(schema_text())
