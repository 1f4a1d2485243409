"""The one statement of the live streams stays on its indexes, with 50,000 courses and in a plan made while there were none."""

from __future__ import annotations

from typing import Any

import pytest

from services.kernel.database import Database
from services.kernel.queries import Queries
from tests.support.tokens import ORGANIZATION, USER

LIVE = Queries.load("services.api", "live.sql")
_COURSES = """
INSERT INTO courses (title, slug, user_id, organization_id)
SELECT 'Course', 'course-' || n, $1, $2 FROM generate_series(1, 50000) AS n
"""
_EVENTS = """
INSERT INTO fsm_events (entity_id, event_type, new_state, created_by)
SELECT id, 'STATE_CHANGED', 'stage_4_init', 'WORKER' FROM courses
"""
_WATCHED = "SELECT array_agg(id)::text FROM (SELECT id FROM courses ORDER BY id LIMIT 1000) AS watched"


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_a_look_reads_what_is_watched_and_no_more(db: Database, mode: str) -> None:
    """A thousand watched courses of 50,000 are a thousand look-ups, whatever the planner thinks of their number."""
    async with db.acquire() as session:
        await session.execute(f"SET plan_cache_mode = {mode}")
        await session.execute(f"PREPARE look AS {LIVE['news']}")
        await session.execute("EXECUTE look('{}', '{}', '{}', 200)")
        await session.execute("INSERT INTO auth.users (id) VALUES ($1)", USER)
        await session.execute(_COURSES, USER, ORGANIZATION)
        await session.execute(_EVENTS)
        await session.execute("ANALYZE courses, fsm_events")
        watched = await session.fetchval(_WATCHED)
        places = "array_fill(0::bigint, ARRAY[1000]), array_fill(now(), ARRAY[1000])"
        plan: list[Any] = await session.fetch(
            f"EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) EXECUTE look('{watched}', {places}, 200)"
        )
    text = "\n".join(row[0] for row in plan)

    assert "courses_pkey" in text
    assert "idx_fsm_events_entity" in text
    assert "Seq Scan" not in text


async def test_the_latest_position_is_one_look_up(db: Database) -> None:
    """However long the histories are."""
    async with db.acquire() as session:
        await session.execute("SET plan_cache_mode = force_generic_plan")
        await session.execute(f"PREPARE latest AS {LIVE['latest_position']}")
        plan = await session.fetch("EXPLAIN EXECUTE latest(gen_random_uuid())")

    assert "idx_fsm_events_entity" in "\n".join(row[0] for row in plan)
