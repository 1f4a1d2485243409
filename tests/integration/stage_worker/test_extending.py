"""docs/EXTENDING.md does what it says: its files are taken from the page, loaded as a plugin and run."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.kernel.database import Database
from services.kernel.queue import Inspector, QueueControls
from tests.integration.stage_worker.harness import Pipeline, stage_job
from tests.integration.stage_worker.test_worker import completed, relaying, running
from tests.support.courses import add_course, add_documents
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from redis.asyncio import Redis

PAGE = Path(__file__).parents[3] / "docs" / "EXTENDING.md"
_FILE = re.compile(r"^<!-- file: (?P<name>\S+) -->\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export (?P<name>\w+)=(?P<value>\S+)$", re.MULTILINE)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The page's files in a folder on the path; the environment that the page tells to export."""
    text = PAGE.read_text(encoding="utf-8")
    for match in _FILE.finditer(text):
        path = tmp_path / match["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match["text"], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield {match["name"]: match["value"] for match in _EXPORT.finditer(text) if match["name"] != "PYTHONPATH"}
    sys.modules.pop("course_quiz", None)


async def test_the_page_is_a_working_plugin(
    plugin: dict[str, str],
    tmp_path: Path,
    app_database_url: str,
    redis_url: str,
    pipeline: Pipeline,
    db: Database,
) -> None:
    """A course generated with the page's engine gets its quiz, once, through the page's queue."""
    await db.execute((tmp_path / "migrations/20260101000000_create_quizzes.sql").read_text(encoding="utf-8"))
    environ = {"DATABASE_URL": app_database_url, "REDIS_URL": redis_url, "RELAY_ELECTION": "none", **plugin}
    course = await add_course(db, title="Valves")
    [document] = await add_documents(
        db, course, ["# Valves\n\n" + "A valve opens under pressure and closes again. " * 30]
    )
    async with relaying(environ), running(environ):
        await pipeline.start(course, [document])
        await eventually(lambda: completed(db, course), within=60, every=0.1)
        questions = await eventually(
            lambda: db.fetchval("SELECT questions FROM quizzes WHERE course_id = $1", course), within=20, every=0.1
        )
    [quiz] = await pipeline.rows(course, "QUIZ")
    result = await db.fetchrow("SELECT result FROM course_results WHERE course_id = $1", course)
    outcome = await db.fetchval("SELECT outcome FROM effect_ledger WHERE effect_id = $1", quiz["outbox_id"])

    assert result is not None
    assert (result["result"]["title"], result["result"]["engine"]) == (result["result"]["title"].upper(), "terse")
    assert len(questions) == sum(len(section["lessons"]) for section in result["result"]["sections"])
    assert (quiz["saq_queue"], quiz["run_number"], outcome) == ("quiz", 1, "applied")


async def test_a_quiz_is_not_lost_with_redis(
    plugin: dict[str, str],
    tmp_path: Path,
    app_database_url: str,
    redis_url: str,
    redis: Redis,
    pipeline: Pipeline,
    db: Database,
) -> None:
    """Redis is emptied when the course is completed and its quiz waits: the quiz is made all the same, once."""
    await db.execute((tmp_path / "migrations/20260101000000_create_quizzes.sql").read_text(encoding="utf-8"))
    environ = {"DATABASE_URL": app_database_url, "REDIS_URL": redis_url, "RELAY_ELECTION": "none", **plugin}
    controls = QueueControls(db, Inspector(redis))
    await controls.set("quiz", paused=True, by=None)
    course = await add_course(db, title="Valves")
    [document] = await add_documents(
        db, course, ["# Valves\n\n" + "A valve opens under pressure and closes again. " * 30]
    )
    async with relaying(environ | {"RELAY_RECONCILE_SECONDS": "0.5"}), running(environ):
        await pipeline.start(course, [document])
        await eventually(lambda: completed(db, course), within=60, every=0.1)
        await eventually(lambda: _relayed(db), within=20, every=0.1)
        await redis.flushdb()
        await controls.set("quiz", paused=False, by=None)
        await eventually(lambda: db.fetchval("SELECT count(*) FROM quizzes"), within=30, every=0.1)
        await eventually(lambda: _none_open(db), within=10)

    [quiz] = await pipeline.rows(course, "QUIZ")
    assert await db.fetchval("SELECT outcome FROM effect_ledger WHERE effect_id = $1", quiz["outbox_id"]) == "applied"


async def _relayed(db: Database) -> bool:
    return bool(await db.fetchval("SELECT bool_and(processed_at IS NOT NULL) FROM job_outbox WHERE job_type = 'QUIZ'"))


async def _none_open(db: Database) -> bool:
    return not await db.fetchval("SELECT count(*) FROM open_jobs")


async def test_the_follower_is_written_with_the_effect_or_not_at_all(
    plugin: dict[str, str], pipeline: Pipeline, db: Database
) -> None:
    """The row for the page's stage is in the transaction that completes the course, as the page says."""
    from services.stage_worker.registry import load_plugins

    load_plugins(pipeline.registry, [plugin["STAGE_WORKER_PLUGINS"]])
    course = await add_course(db)
    await pipeline.initiate(course, "stage_5_init", [stage_job("STRUCTURE_GENERATION")])
    [row] = await pipeline.rows(course)
    for _ in range(3):
        await pipeline.deliver(row)
    writers = await db.fetch(
        "SELECT xmin::text FROM job_outbox WHERE job_type = 'QUIZ' UNION SELECT xmin::text FROM course_results"
    )

    assert len(await pipeline.rows(course, "QUIZ")) == 1
    assert len(writers) == 1


def test_the_page_names_what_exists() -> None:
    """Every file and every Python block on the page is real."""
    text = PAGE.read_text(encoding="utf-8")
    root = PAGE.parents[1]
    named = set(re.findall(r"`((?:services|tests|docs)/[\w/.]+)`", text))

    assert named
    assert [path for path in named if not (root / path).exists()] == []
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        ast.parse(block)
