"""Whatever a structural schema admits, as a strategy."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import strategies as st

from operators.coursegen_operator.schemas.openapi import Schema

_TEXT = st.text(max_size=40)
_MOMENT = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0).isoformat() + "Z"
)


def of_schema(schema: Schema) -> st.SearchStrategy[Any]:
    """Values of `schema`; fields that are not required may be absent."""
    if schema.get("x-kubernetes-int-or-string"):
        return st.sampled_from(["100m", "128Mi", 1])
    match schema["type"]:
        case "object":
            return _object(schema)
        case "array":
            items, limit = of_schema(schema["items"]), min(schema.get("maxItems", 3), 3)
            keys = schema.get("x-kubernetes-list-map-keys")
            unique = (lambda item: tuple(item.get(key) for key in keys)) if keys else None
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=limit, unique_by=unique)
        case "integer":
            return st.integers(schema.get("minimum", -(2**31)), schema.get("maximum", 2**31))
        case "boolean":
            return st.booleans()
        case _:
            return _string(schema)


def _object(schema: Schema) -> st.SearchStrategy[Any]:
    if "properties" not in schema:
        values = schema.get("additionalProperties")
        return (
            st.dictionaries(st.sampled_from(["team", "a/b"]), of_schema(values), max_size=2) if values else st.just({})
        )
    required = schema.get("required", ())
    fields = {name: of_schema(each) for name, each in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: each for name, each in fields.items() if name in required},
        optional={name: each for name, each in fields.items() if name not in required},
    )


def _string(schema: Schema) -> st.SearchStrategy[str]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("format") == "date-time":
        return _MOMENT
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 1024)
    texts = st.from_regex(schema["pattern"].replace("$", r"\Z")) if "pattern" in schema else _TEXT
    return texts.filter(lambda text: shortest <= len(text) <= longest)
