"""The forms of the model's answers, and their JSON Schemas in the strict dialect that endpoints demand."""

from __future__ import annotations

import functools
from typing import Any

import msgspec


class LessonPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one prepared lesson goes."""

    number: int
    title: str


class SectionPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section of the plan."""

    title: str
    lessons: list[LessonPlace]


class PlanReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prepared lessons, arranged."""

    sections: list[SectionPlace]


class DraftLesson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lesson of an outline."""

    title: str
    objective: str


class DraftSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section of an outline."""

    title: str
    lessons: list[DraftLesson]


class OutlineReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An outline from a title alone."""

    sections: list[DraftSection]


class QuotedPassage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A citation as the model gives it: to be verified."""

    passage: int
    quote: str


class ReplyTerm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key term; `citation` counts from 1, 0 for none."""

    term: str
    definition: str
    citation: int


class ReplyExercise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An exercise; an empty answer for none."""

    prompt: str
    answer: str


class LessonReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A written lesson."""

    objectives: list[str]
    summary: str
    content: str
    key_terms: list[ReplyTerm]
    exercises: list[ReplyExercise]
    citations: list[QuotedPassage]


@functools.lru_cache(maxsize=8)
def strict_schema(form: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema with every object closed and every field required, and all definitions in it."""
    (schema,), components = msgspec.json.schema_components([form], ref_template="#/$defs/{name}")
    definitions = {name: _plain(part) for name, part in components.items()}
    return {**definitions.pop(form.__name__), "$defs": definitions} if definitions else _plain(schema)


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    allowed = {"type", "properties", "required", "items", "$ref", "description", "enum"}
    kept = {key: value for key, value in schema.items() if key in allowed}
    if "properties" in kept:
        kept["properties"] = {name: _plain(part) for name, part in kept["properties"].items()}
        kept["required"] = list(kept["properties"])
        kept["additionalProperties"] = False
    if "items" in kept:
        kept["items"] = _plain(kept["items"])
    return kept
