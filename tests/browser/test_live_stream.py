"""A page follows a course with the browser's own EventSource, signed in by the cookie."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

from services.kernel.database import Database
from tests.browser.conftest import ticket_url
from tests.support.api import running_api
from tests.support.browsers import open_page
from tests.support.courses import add_course
from tests.support.tokens import ADMIN
from tests.support.waiting import eventually

_FOLLOW = """(course) => {
  window.heard = [];
  window.stream = new EventSource(`/api/courses/${course}/events`);
  for (const kind of ["state", "progress", "end", "closing"]) {
    window.stream.addEventListener(kind, (message) => {
      window.heard.push([kind, message.lastEventId, JSON.parse(message.data)]);
    });
  }
}"""
_MOVE = """
WITH moved AS (UPDATE courses SET generation_status = $2::text::generation_status_enum WHERE id = $1 RETURNING id)
INSERT INTO fsm_events (entity_id, event_type, new_state, created_by)
SELECT id, 'STATE_CHANGED', $2::text, 'WORKER' FROM moved
"""
_BEFORE, _BETWEEN, _AFTER = ("stage_4_init", "stage_4_analyzing"), ("stage_4_complete",), ("cancelled",)


async def test_an_event_source_follows_through_a_restart_and_stops_at_the_end(
    app_database_url: str, redis_url: str, db: Database, browser: Any
) -> None:
    """It comes back by itself with its last id, hears every move once, and is told by 204 not to come again."""
    course = await add_course(db, user=ADMIN)
    first = AsyncExitStack()
    api = await first.enter_async_context(running_api(app_database_url, redis_url))
    async with first, open_page(browser, api.url) as watched:
        page = watched.page
        await page.goto(await ticket_url(api))
        await page.get_by_role("button", name="Sign out").wait_for()
        await page.evaluate(_FOLLOW, str(course))
        await move(db, course, *_BEFORE)
        # The page's policy forbids what `wait_for_function` would evaluate in it.
        await eventually(lambda: page.evaluate("heard.filter(([kind]) => kind === 'state').length === 2"), within=30)
        await first.aclose()
        await move(db, course, *_BETWEEN)
        async with running_api(app_database_url, redis_url, port=api.port):
            await move(db, course, *_AFTER)
            await eventually(lambda: page.evaluate("stream.readyState === EventSource.CLOSED"), within=60, every=0.1)
            heard: list[Any] = await page.evaluate("heard")

    states = [content["newState"] for kind, _, content in heard if kind == "state"]
    assert states == [*_BEFORE, *_BETWEEN, *_AFTER]
    assert ["closing", {"reason": "stopping"}] in [[kind, content] for kind, _, content in heard]
    assert (heard[-1][0], heard[-1][2]) == ("end", {"reason": "cancelled"})
    assert heard[-1][1].endswith(":end")


async def move(db: Database, course: UUID, *states: str) -> None:
    """Let the course make moves, each with its event."""
    for state in states:
        await db.execute(_MOVE, course, state)
