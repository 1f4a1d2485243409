"""The api is killed while somebody follows a course that is being made; another one takes its place."""

from __future__ import annotations

import asyncio

import httpx

from services.cli.api_client import ApiClient
from services.cli.following import Following, Message
from services.kernel.database import Database
from tests.support.courses import add_course, add_documents
from tests.support.pipeline import DOCUMENTS, wait_for_state
from tests.support.ports import claim
from tests.support.stack import Stack
from tests.support.tokens import bearer, mint
from tests.support.waiting import eventually


async def test_a_follower_hears_every_move_once_though_the_api_is_killed_twice(stack: Stack, db: Database) -> None:
    """Real processes, kill -9 in the middle of the stream: what the follower heard is the course's history."""
    course = await add_course(db)
    await add_documents(db, course, DOCUMENTS)
    port, heard = claim(), list[Message]()
    api = await stack.start("api", port=port)

    async def follow() -> None:
        async with ApiClient(api.url, mint(), patience_seconds=120) as client:
            async for message in Following(client, str(course)).messages():
                heard.append(message)

    following = asyncio.create_task(follow())
    await eventually(lambda: heard, within=30)
    async with httpx.AsyncClient(headers=bearer()) as client:
        (await client.post(f"{api.url}/api/coursegen/generate", json={"courseId": str(course)})).raise_for_status()
    await eventually(lambda: any(each.event == "state" for each in heard), within=30)
    api.kill()
    await stack.start_all("outbox_relay", "stage_worker")
    api = await stack.start("api", port=port)
    await eventually(lambda: len([each for each in heard if each.event == "state"]) > 2, within=60)
    api.kill()
    await wait_for_state(db, course, "completed", within=120)
    await stack.start("api", port=port)
    await asyncio.wait_for(following, 60)
    rows = await db.fetch("SELECT position FROM fsm_events WHERE entity_id = $1 ORDER BY position", course)

    assert [each.content["position"] for each in heard if each.event == "state"] == [row["position"] for row in rows]
    assert (heard[-1].event, heard[-1].content) == ("end", {"reason": "completed"})
    percentages = [each.content["generation_progress"]["percentage"] for each in heard if each.event == "progress"]
    assert percentages == sorted(percentages)
    assert percentages[-1] == 100
