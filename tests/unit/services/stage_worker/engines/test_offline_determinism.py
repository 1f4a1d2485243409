"""The same material gives the same bytes: in one process, in another, with another hash seed, through the sandbox."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.stage_worker.course import CourseStructure, from_json, to_json, to_markdown, validate
from services.stage_worker.engines.material import STYLES, Material
from services.stage_worker.engines.offline import OfflineEngine, analyse_sync, generate_sync
from services.stage_worker.parsing.sandbox import Sandbox, SandboxLimits
from tests.support.material import EXAMPLES, ROOT, chapters, material_from, material_of

_PROGRAM = """
import hashlib
from services.stage_worker.course import to_json
from services.stage_worker.engines.offline import analyse_sync, generate_sync
from tests.support.material import EXAMPLES, material_of
material = material_of(*EXAMPLES, style="practical")
print(hashlib.sha256(to_json(generate_sync(material, analyse_sync(material)))).hexdigest())
"""


def digest(material: Material) -> str:
    """The hash of the course's bytes."""
    return hashlib.sha256(to_json(generate_sync(material, analyse_sync(material)))).hexdigest()


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_another_process_with_another_hash_seed_writes_the_same_bytes(seed: str) -> None:
    """Nothing depends on the order of a set."""
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "PATH": os.environ["PATH"]}
    found = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert found.stdout.strip() == digest(material_of(*EXAMPLES, style="practical"))


def test_the_course_does_not_depend_on_the_documents_ids() -> None:
    """Ids are given at upload; only the citations name them."""
    material = material_of(*EXAMPLES[:2])
    renamed = msgspec.structs.replace(
        material,
        documents=tuple(
            msgspec.structs.replace(each, document_id=f"zz-{9 - number}")
            for number, each in enumerate(material.documents)
        ),
    )
    first, second = (to_markdown(generate_sync(each, analyse_sync(each))) for each in (material, renamed))

    assert first == second


def test_a_plan_survives_being_stored_as_json() -> None:
    """Between the two stages the plan lies in the database."""
    material = material_of(*EXAMPLES)
    plan = analyse_sync(material)
    stored = msgspec.convert(msgspec.json.decode(msgspec.json.encode(plan)), CourseStructure)

    assert stored == plan
    assert to_json(generate_sync(material, stored)) == to_json(generate_sync(material, plan))


async def test_the_sandbox_changes_nothing() -> None:
    """What the child writes is what the functions write here."""
    material = material_of(*EXAMPLES, style="conversational")
    async with Sandbox(SandboxLimits(processes=1)) as sandbox:
        engine = OfflineEngine(sandbox)
        course = await engine.generate(material, await engine.analyse(material))

    assert to_json(course) == to_json(generate_sync(material, analyse_sync(material)))
    assert engine.name == course.engine == "offline"


_headings = st.sampled_from(["# Title", "## One", "## Two", "### Deep", "#### Deeper", "## Введение", "## 3. Third"])
_prose = st.sampled_from([
    "Bread is a food made of flour and water. It is baked in an oven, which must be hot before the loaf goes in.",
    "Хлеб — это еда из муки и воды. Его пекут в печи, и печь должна быть горячей.",
    "- flour\n- water\n- salt",
    "1. Mix\n2. Wait\n3. Bake",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "```\nx = 1\n```",
    "面包是用面粉和水做成的。它在烤箱里烘烤。",
    "See [12] and *this* <tag> at snake_case_name.",
])  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(st.one_of(_headings, _prose), min_size=1, max_size=25).map("\n\n".join), min_size=1, max_size=3),
    st.sampled_from(STYLES),
)
def test_any_document_gives_a_sound_course_and_the_same_one_twice(texts: list[str], style: str) -> None:
    """Headings, languages, lists, tables and code in any order: exact citations, sound marks, equal bytes."""
    body = "Bread rises because yeast makes gas."
    material = material_from(*(f"{text}\n\n{body} {number}." for number, text in enumerate(texts)), style=style)
    plan = analyse_sync(material)
    course = generate_sync(material, plan)

    problems = [each for each in validate(course, material) if "headings" not in each]
    assert problems == []
    assert to_json(course) == to_json(generate_sync(material, analyse_sync(material)))
    assert from_json(to_json(course)) == course


def test_a_book_of_three_hundred_pages_is_planned_and_written_in_bounded_time_and_length() -> None:
    """A hundred thousand words become a course that one person can still read, within a minute on two cores."""
    import time

    material = material_from(chapters(60, 1_700))
    words = sum(len(document.text.split()) for document in material.documents)
    began = time.monotonic()
    course = generate_sync(material, analyse_sync(material))
    lessons = [lesson for section in course.sections for lesson in section.lessons]

    assert words > 100_000
    assert time.monotonic() - began < 90
    assert sum(lesson.words for lesson in lessons) < 75_000
    assert len(lessons) < 130
    assert "per cent" in course.notes[0]
    assert validate(course, material) == []
