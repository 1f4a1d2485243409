"""JSON, JSON Schema and Markdown."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest
from markdown_it import MarkdownIt

from services.kernel import formats
from services.stage_worker.course import Course, from_json, to_json, to_markdown
from services.stage_worker.course.checks import lessons_of
from services.stage_worker.course.schema import course_schema, schema_text
from services.stage_worker.engines.material import STYLES, Material
from services.stage_worker.engines.offline import analyse_sync, generate_sync
from tests.support.material import EXAMPLES, material_from, material_of

_SCHEMA_FILE = Path(formats.__file__).with_name("course.schema.json")


@functools.lru_cache(maxsize=8)
def course_in(style: str) -> Course:
    """The examples' course in a style."""
    material = material_of(*EXAMPLES, style=style, title="How databases keep data safe")
    return generate_sync(material, analyse_sync(material))


def test_the_schema_file_is_that_of_the_code() -> None:
    """`python -m services.stage_worker.course.schema` writes it."""
    assert _SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("style", STYLES)
def test_courses_fit_the_schema(style: str) -> None:
    """From documents and from a title alone."""
    draft = Material(title="Bread", style=style)
    for course in (course_in(style), generate_sync(draft, analyse_sync(draft))):
        jsonschema.validate(json.loads(to_json(course)), course_schema())


def test_the_schema_refuses_what_is_no_course() -> None:
    """Missing and unknown fields."""
    found = json.loads(to_json(course_in("academic")))
    for broken in ({**found, "extra": 1}, {key: value for key, value in found.items() if key != "sections"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, course_schema())
        with pytest.raises(msgspec.ValidationError):
            from_json(json.dumps(broken).encode())


def test_json_comes_back_as_it_was() -> None:
    """Fields in the model's order, names in camelCase, text readable as it is."""
    course = course_in("practical")
    written = to_json(course)

    assert from_json(written) == course
    assert to_json(from_json(written)) == written
    assert list(json.loads(written))[:4] == ["formatVersion", "title", "language", "style"]
    assert "Резервная копия" in written.decode()
    assert written.endswith(b"}\n")


@pytest.mark.parametrize("style", STYLES)
def test_markdown_holds_the_whole_course(style: str) -> None:
    """Every title, objective, term and citation; headings of three levels that a reader can follow."""
    course = course_in(style)
    text = to_markdown(course)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    levels = [int(token.tag[1]) for token in tokens if token.type == "heading_open"]

    assert text.startswith("# How databases keep data safe\n")
    assert levels.count(1) == 1
    assert levels.count(3) == len(list(lessons_of(course)))
    for lesson in lessons_of(course):
        assert lesson.title in text
        assert lesson.content in text
        for number in range(1, len(lesson.citations) + 1):
            assert f"- [{number}] " in text


def test_markdown_shows_the_material_unchanged() -> None:
    """Signs of the material that mean something in Markdown are escaped, so that they are seen as they are."""
    source = "Set **both** to 2 * 3 * 4 and see [12] at <b>snake_case_name</b> or `code`. # is no heading."
    material = material_from(source, suffix=".txt")
    content = next(lessons_of(generate_sync(material, analyse_sync(material)))).content
    shown = re.sub(r"<[^>]+>", "", MarkdownIt("commonmark").render(content))

    assert shown.replace("&lt;", "<").replace("&gt;", ">").strip().removesuffix(" [1]") == source


def test_a_draft_says_so_at_its_head() -> None:
    """Before anything else."""
    material = Material(title="Хлеб")
    text = to_markdown(generate_sync(material, analyse_sync(material)))

    assert text.split("\n")[2] == "**Черновой план**"
    assert "Материалов нет" in text
