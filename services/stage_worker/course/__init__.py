"""The course: its shape, its JSON Schema, its two export forms and the checks it must pass."""

from services.stage_worker.course.checks import validate
from services.stage_worker.course.export import from_json, to_json, to_markdown
from services.stage_worker.course.model import (
    Citation,
    Course,
    Exercise,
    KeyTerm,
    Lesson,
    SectionOut,
    SourceFile,
)
from services.stage_worker.course.structure import CourseStructure, LessonPlan, SectionPlan, Source

__all__ = [
    "Citation",
    "Course",
    "CourseStructure",
    "Exercise",
    "KeyTerm",
    "Lesson",
    "LessonPlan",
    "SectionOut",
    "SectionPlan",
    "Source",
    "SourceFile",
    "from_json",
    "to_json",
    "to_markdown",
    "validate",
]
