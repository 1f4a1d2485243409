"""The live stream: every move once and in order, whoever comes and goes meanwhile; and nothing for strangers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import orjson
import pytest
from jsonschema import Draft202012Validator

from services.api.live import hub as hub_module
from services.api.live import watcher as watcher_module
from services.api.live.news import NewsDesk
from services.api.routes import live as live_routes
from services.api.server import bind
from services.cli.api_client import ApiClient
from services.cli.following import Following, Message
from services.kernel.database import Database
from services.kernel.errors import DatabaseUnavailable
from services.kernel.metrics import REGISTRY
from services.kernel.settings import CommonSettings, Secret
from tests.integration.stage_worker.harness import open_pipeline
from tests.support import tokens
from tests.support.api import RunningApi, api_settings, running_api
from tests.support.courses import add_course, add_documents
from tests.support.event_stream import EventStream, Told, following
from tests.support.pipeline import DOCUMENTS
from tests.support.progress import check_display
from tests.support.servers import PrivatePostgres, with_user
from tests.support.waiting import eventually

COURSES = "/api/courses"
STRANGER = UUID(int=77)
RUN = (
    "stage_4_init", "stage_4_analyzing", "stage_4_complete", "stage_5_init", "stage_5_generating", "stage_5_complete",
    "completed",
)  # fmt: skip

_MOVE = """
WITH before AS (SELECT id, generation_status FROM courses WHERE id = $1 FOR NO KEY UPDATE),
moved AS (UPDATE courses SET generation_status = $2::text::generation_status_enum WHERE id = (SELECT id FROM before) RETURNING id)
INSERT INTO fsm_events (entity_id, event_type, old_state, new_state, triggered_by, created_by)
SELECT moved.id, 'STATE_CHANGED', before.generation_status::text, $2::text, 'WORKER_TEST', 'WORKER' FROM moved, before
"""


async def move(db: Database, course: UUID, *states: str) -> None:
    """Let the course make moves, each with its event, and say so as a worker does."""
    for state in states:
        await db.execute(_MOVE, course, state)
        await db.execute("NOTIFY outbox_wakeup")


async def mark(db: Database, course: UUID, step: int, status: str, message: str | None = None) -> None:
    """Show a step."""
    await db.fetchval("SELECT update_course_progress($1, $2, $3, $4)", course, step, status, message)
    await db.execute("NOTIFY outbox_wakeup")


def moves(told: list[Told]) -> list[str]:
    """The states that the messages tell of, in their order."""
    return [each.content["newState"] for each in told if each.event == "state"]


def looks() -> float:
    """How often this process has looked for news."""
    return REGISTRY.get_sample_value("live_looks_total", {"result": "done"}) or 0.0


async def test_a_stream_tells_the_whole_story_and_ends_with_it(api: RunningApi, db: Database) -> None:
    """Each move as the history has it, the progress as check-status has it, then `end`, and the connection closes."""
    course = await add_course(db)
    async with following(api.port, f"course-{course}") as stream:
        first = await stream.next()
        (await api.client.post("/api/coursegen/generate", json={"courseId": str(course)})).raise_for_status()
        await stream.until("state")
        await move(db, course, *RUN[1:])
        await mark(db, course, 5, "completed", "Курс готов")
        rest = await stream.rest()
        assert await stream.reader.read() == b""
    history = (await api.client.get(f"{COURSES}/{course}/history")).json()["events"]
    status = (await api.client.get(f"{COURSES}/{course}/check-status")).json()

    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == ("no-store", "no")
    assert stream.retry is not None
    assert first is not None
    assert (first.event, first.content["generation_status"]) == ("progress", "pending")
    assert moves(rest) == list(RUN[1:])
    assert [each.content for each in rest if each.event == "state"] == history[1:]
    assert rest[-1].event == "end"
    assert rest[-1].content == {"reason": "completed"}
    assert [each.content for each in rest if each.event == "progress"][-1]["generation_status"] == "completed"
    assert status["generation_status"] == "completed"


async def test_the_progress_is_that_of_check_status(api: RunningApi, db: Database) -> None:
    """The same bytes: what is stored, untouched."""
    course = await add_course(db)
    await mark(db, course, 2, "failed", "Не удалось")
    answer = await api.client.get(f"{COURSES}/{course}/check-status")
    async with following(api.port, course) as stream:
        told = await stream.next()
    stored = await db.fetchval("SELECT generation_progress FROM courses WHERE id = $1", course)

    assert told is not None
    assert answer.content == orjson.dumps(told.content)
    assert told.content["generation_progress"] == stored


async def test_a_real_run_shows_itself(api: RunningApi, db: Database) -> None:
    """Four documents through all stages: the display keeps its frozen form, the percentage only rises, the story is whole."""
    course = await add_course(db)
    documents = await add_documents(db, course, DOCUMENTS)
    async with open_pipeline(db) as pipeline, following(api.port, course) as stream:
        await pipeline.start(course, documents)
        working = asyncio.create_task(pipeline.finish(course))
        told = await stream.rest(60)
        await working
    displays = [each.content["generation_progress"] for each in told if each.event == "progress"]
    rows = await db.fetch("SELECT new_state FROM fsm_events WHERE entity_id = $1 ORDER BY position", course)
    for display in displays:
        check_display(display)

    percentages = [display["percentage"] for display in displays]
    assert percentages == sorted(percentages)
    assert percentages[-1] == 100
    assert moves(told) == [row["new_state"] for row in rows]
    assert (moves(told)[-1], told[-1].content) == ("completed", {"reason": "completed"})


@pytest.mark.parametrize("count", range(9))
async def test_a_reader_who_comes_back_misses_nothing_and_hears_nothing_twice(
    api: RunningApi, db: Database, count: int
) -> None:
    """From the id of any message: the states after it, the progress unless it is known, the end."""
    course = await add_course(db)
    await move(db, course, *RUN)
    async with following(api.port, course) as stream:
        everything = await stream.rest()
    assert [each.event for each in everything] == ["state"] * 7 + ["progress", "end"]
    async with following(api.port, course, place=everything[count].place) as stream:
        rest = [] if stream.status == 204 else await stream.rest()

    assert rest == everything[count + 1 :]
    assert (stream.status == 204) == (count == 8)


async def test_the_place_may_come_with_the_address(api: RunningApi, db: Database) -> None:
    """A browser cannot choose the headers of its first connection; of both the header counts."""
    course = await add_course(db)
    await move(db, course, *RUN)
    async with following(api.port, course) as stream:
        everything = await stream.rest()
    async with following(api.port, course, query=f"?lastEventId={everything[3].place}") as stream:
        assert await stream.rest() == everything[4:]
    async with following(api.port, course, place=everything[5].place, query="?lastEventId=0:0") as stream:
        assert await stream.rest() == everything[6:]


async def test_after_the_end_there_is_nothing_to_come_back_for_until_a_new_run_begins(
    api: RunningApi, db: Database
) -> None:
    """204 stops a browser's EventSource; the same id follows the next run."""
    course = await add_course(db)
    await move(db, course, "stage_4_init", "error")
    async with following(api.port, course) as stream:
        end = (await stream.rest())[-1]
    async with following(api.port, course, place=end.place) as stream:
        assert (stream.status, end.content) == (204, {"reason": "error"})
    await move(db, course, "pending", "stage_4_init")
    async with following(api.port, course, place=end.place) as stream:
        told = await stream.until("progress")

    assert moves(told) == ["pending", "stage_4_init"]


async def test_readers_come_and_go_while_the_course_goes_on(api: RunningApi, db: Database) -> None:
    """Through a dozen runs readers cut their streams at any message and go on: each hears every move once, in order."""
    course = await add_course(db)
    finished = asyncio.Event()

    async def work() -> None:
        for turn in range(12):
            await move(db, course, *RUN[: 1 + turn % 5], "cancelled", "pending")
        await move(db, course, *RUN)
        finished.set()

    async def read(patience: int) -> list[Told]:
        heard: list[Told] = []
        while True:
            is_last = finished.is_set()
            async with following(api.port, course, place=heard[-1].place if heard else None) as stream:
                if stream.status == 204 and is_last:
                    return heard
                for _ in range(patience if stream.status == 200 else 0):
                    told = await stream.next()
                    if told is None:
                        break
                    heard.append(told)

    readers = [asyncio.create_task(read(patience)) for patience in (1, 2, 3, 7, 10_000)]
    await work()
    stories = await asyncio.wait_for(asyncio.gather(*readers), 60)
    rows = await db.fetch("SELECT position FROM fsm_events WHERE entity_id = $1 ORDER BY position", course)

    for story in stories:
        assert [each.content["position"] for each in story if each.event == "state"] == [
            row["position"] for row in rows
        ]
        assert (story[-1].event, story[-1].content) == ("end", {"reason": "completed"})


async def test_a_long_history_comes_in_parts(api: RunningApi, db: Database) -> None:
    """More events than one look fetches: all of them, in order, and only then the progress."""
    course = await add_course(db)
    await db.execute(
        "INSERT INTO fsm_events (entity_id, event_type, new_state, created_by)"
        " SELECT $1, 'STATE_CHANGED', 'pending', 'API' FROM generate_series(1, 450)",
        course,
    )
    async with following(api.port, course) as stream:
        told = await stream.until("progress")

    positions = [each.content["position"] for each in told[:-1]]
    assert len(positions) == 450
    assert positions == sorted(set(positions))
    assert told[-1].place.startswith(f"{positions[-1]}:")  # type: ignore[union-attr]


async def test_an_initiation_that_failed_is_no_move(api: RunningApi, db: Database) -> None:
    """It stands in the history; nothing moved, so the stream says nothing."""
    course = await add_course(db)
    await db.execute(
        "INSERT INTO fsm_events (entity_id, event_type, created_by, metadata) VALUES ($1, 'FSM_FAILED', 'API', '{}')",
        course,
    )
    async with following(api.port, course) as stream:
        told = await stream.next()

    assert told is not None
    assert told.event == "progress"
    assert told.place is not None
    assert told.place.startswith("0:")


@pytest.mark.parametrize("place", ["1", "a:b", "1:2:3", "1:2:end:", "-1:0", "1:" + "9" * 18, "1" * 19 + ":0"])
async def test_an_id_that_is_not_ours_is_refused(api: RunningApi, db: Database, place: str) -> None:
    """400 that says what it must be."""
    course = await add_course(db)
    for options in ({"headers": {"Last-Event-ID": place}}, {"params": {"lastEventId": place}}):
        answer = await api.client.get(f"{COURSES}/{course}/events", **options)  # type: ignore[arg-type]

        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_input")
        assert "Last-Event-ID" in answer.json()["error"]["message"]


async def test_a_place_beyond_the_story_begins_it_anew(api: RunningApi, db: Database) -> None:
    """An id of another course, or from before the database was restored: better twice than never."""
    course = await add_course(db)
    await move(db, course, *RUN)
    async with following(api.port, course, place="999999999999:5:end") as stream:
        assert stream.status == 200
        assert moves(await stream.rest()) == list(RUN)


async def test_a_stream_ends_with_the_token(app_database_url: str, redis_url: str, db: Database) -> None:
    """And says so; with the same token the reader is told 401."""
    course = await add_course(db)
    claims = {"sub": str(tokens.USER), "exp": int(time.time()) + 2, "user_metadata": {"tier": "FREE"}}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, tokens.SECRET, algorithm='HS256')}"}
    async with running_api(app_database_url, redis_url, jwt_leeway_seconds=0) as api:
        async with following(api.port, course, headers=headers) as stream:
            told = await stream.rest()
        again = await api.client.get(f"{COURSES}/{course}/events", headers=headers)

    assert [each.event for each in told] == ["progress", "closing"]
    assert told[-1].content == {"reason": "token_expired"}
    assert again.status_code == 401


async def test_a_stream_does_not_last_for_ever(app_database_url: str, redis_url: str, db: Database) -> None:
    """So that readers spread over new processes; the last id is still good."""
    course = await add_course(db)
    async with running_api(app_database_url, redis_url, watch_seconds=1) as api:
        async with following(api.port, course) as stream:
            told = await stream.rest()
        await move(db, course, *RUN)
        async with following(api.port, course, place=told[-1].place) as stream:
            rest = await stream.rest()

    assert told[-1].content == {"reason": "renew"}
    assert [each.event for each in rest] == ["state"] * 7 + ["progress", "end"]


async def test_a_signed_in_browser_may_follow_and_is_asked_who_he_is_again_and_again(
    api: RunningApi, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cookie is as good as a token; a stream lasts some minutes only, so that signing out ends it for good."""
    monkeypatch.setattr(live_routes, "_BROWSER_SECONDS", 1.5)
    course = await add_course(db)
    ticket = (await api.client.post("/api/tickets")).json()["ticket"]
    async with httpx.AsyncClient(base_url=api.url, headers={"Origin": api.url}) as browser:
        (await browser.post("/api/sessions", json={"ticket": ticket})).raise_for_status()
        cookie = {
            "Host": f"127.0.0.1:{api.port}",
            "Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
        }
        async with following(api.port, course, headers=cookie) as stream:
            await stream.until("progress")
            (await browser.delete("/api/sessions")).raise_for_status()
            last = (await stream.rest())[-1]
        async with following(api.port, course, headers=cookie) as again:
            assert again.status == 401

    assert (last.event, last.content) == ("closing", {"reason": "renew"})


async def test_a_deleted_course_ends_its_streams(api: RunningApi, db: Database) -> None:
    """With the reason; coming back is 404."""
    course = await add_course(db)
    async with following(api.port, course) as stream:
        await stream.until("progress")
        (await api.client.delete(f"{COURSES}/{course}")).raise_for_status()
        rest = await stream.rest()

    assert [(each.event, each.content) for each in rest] == [("end", {"reason": "deleted"})]
    assert (await api.client.get(f"{COURSES}/{course}/events")).status_code == 404


async def test_every_message_is_as_the_description_says(api: RunningApi, db: Database) -> None:
    """Each kind by its schema, and what it carries by the schema of that."""
    description = (await api.client.get("/openapi.json")).json()
    responses = description["paths"]["/api/courses/{course}/events"]["get"]["responses"]
    schemas = description["components"]["schemas"]

    def check(schema: dict[str, Any], value: Any) -> None:
        Draft202012Validator({"components": description["components"], **schema}).validate(value)

    done, deleted = await add_course(db), await add_course(db)
    await mark(db, done, 4, "failed", "Не вышло")
    await move(db, done, "stage_4_init", "error")
    async with (
        following(api.port, done) as one,
        following(api.port, deleted) as two,
        following(api.port, deleted) as three,
    ):
        told = await one.rest()
        told += [*await two.until("progress"), *await three.until("progress")]
        await db.execute("DELETE FROM courses WHERE id = $1", deleted)
        told += await two.rest()
        api.parts.hub._end_all()
    async with following(api.port, done) as four:
        told += await four.rest()
    for each in told:
        block = {"event": each.event, "data": orjson.dumps(each.content).decode()}
        named = each.event in {"state", "progress"} or each.content == {"reason": "error"}
        check(
            responses["200"]["content"]["text/event-stream"]["schema"],
            {**block, **({"id": each.place} if named else {})},
        )
        kind = schemas[f"{each.event.title()}Message"]
        check(kind["properties"]["data"]["contentSchema"], each.content)

    assert {each.event for each in told} == {"state", "progress", "end", "closing"}


async def test_a_course_that_changes_hands_is_told_to_its_old_owner_no_more(api: RunningApi, db: Database) -> None:
    """Not even the change itself."""
    course = await add_course(db)
    await add_course(db, user=STRANGER)
    async with following(api.port, course) as stream:
        await stream.until("progress")
        await db.execute("UPDATE courses SET user_id = $2, title = 'secret' WHERE id = $1", course, STRANGER)
        rest = await stream.rest()

    assert [(each.event, each.content) for each in rest] == [("closing", {"reason": "not_yours"})]
    assert (await api.client.get(f"{COURSES}/{course}/events")).status_code == 403


async def test_too_many_streams_are_told_so_and_a_reader_who_leaves_makes_room(
    app_database_url: str, redis_url: str, db: Database
) -> None:
    """503 with a time to come back; a place is free as soon as somebody hangs up."""
    course = await add_course(db)
    async with running_api(app_database_url, redis_url, max_watchers=2) as api:
        async with following(api.port, course) as one, following(api.port, course) as two:
            refused = await api.client.get(f"{COURSES}/{course}/events")
            assert (one.status, two.status) == (200, 200)
            one.close()
            await eventually(lambda: api.parts.hub.watchers == 1, within=5)
            async with following(api.port, course) as three:
                assert three.status == 200
        await eventually(lambda: api.parts.hub.watchers == 0, within=5)

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_watchers")
    assert refused.headers["retry-after"] == "1"


async def test_one_user_cannot_take_every_stream(app_database_url: str, redis_url: str, db: Database) -> None:
    """429 in the shape of every limit, with a time to come back; another user still gets his stream."""
    course = await add_course(db)
    theirs = await add_course(db, user=STRANGER)
    async with running_api(app_database_url, redis_url, max_watchers=3, max_watchers_per_user=1) as api:
        async with following(api.port, course) as one:
            refused = await api.client.get(f"{COURSES}/{course}/events")
            async with following(api.port, theirs, headers=tokens.bearer(user=STRANGER)) as other:
                assert (one.status, other.status) == (200, 200)
        await eventually(lambda: api.parts.hub.watchers == 0, within=5)
        async with following(api.port, course) as again:
            assert again.status == 200

    error = refused.json()["error"]
    assert (refused.status_code, error["code"], refused.headers["retry-after"]) == (429, "stream_limit", "10")
    assert {name: error["details"][name] for name in ("limitType", "limit", "current")} == {
        "limitType": "streams",
        "limit": 1,
        "current": 1,
    }


async def test_a_healthy_stream_is_never_cut(
    app_database_url: str, redis_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client owes nothing, however long nothing happens and however little patience the api has."""
    monkeypatch.setattr(watcher_module, "HEARTBEAT_SECONDS", 0.3)
    course = await add_course(db)
    patience = {"header_seconds": 0.3, "body_seconds": 0.3, "answer_seconds": 0.3, "keep_alive_seconds": 1}
    async with running_api(app_database_url, redis_url, **patience) as api, following(api.port, course) as stream:
        await stream.until("progress")
        for _ in range(10):
            await stream.wait_for_comment()
        await move(db, course, *RUN)

        assert moves(await stream.rest()) == list(RUN)


async def test_a_reader_who_does_not_read_is_cut_and_goes_on_later(
    app_database_url: str, redis_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for him is bounded; others hear everything meanwhile; with his last id he misses nothing."""
    monkeypatch.setattr(watcher_module, "MOST_WAITING", 64 * 1024)
    course = await add_course(db)
    bulky = "INSERT INTO fsm_events (entity_id, event_type, new_state, created_by, metadata)"
    bulky += " SELECT $1, 'STATE_CHANGED', 'pending', 'API', jsonb_build_object('x', repeat('x', 50000))"
    bulky += " FROM generate_series(1, 20)"
    async with running_api(app_database_url, redis_url, answer_seconds=1) as api:
        async with following(api.port, course) as deaf, following(api.port, course) as other:
            await deaf.until("progress")
            heard: list[Told] = await other.until("progress")

            async def read() -> None:
                while (told := await other.next(30)) is not None:
                    heard.append(told)

            reading = asyncio.create_task(read())
            async with asyncio.timeout(60):
                while api.parts.hub.watchers == 2:
                    await db.execute(bulky, course)
                    await db.execute("UPDATE courses SET title = title WHERE id = $1", course)
                    await db.execute("NOTIFY outbox_wakeup")
                    await asyncio.sleep(0.15)
            await move(db, course, "cancelled")
            await asyncio.wait_for(reading, 30)
        async with following(api.port, course, place=deaf.place) as back:
            missed = await back.rest(30)
    positions = [each.content["position"] for each in heard if each.event == "state"]
    rows = await db.fetch("SELECT position FROM fsm_events WHERE entity_id = $1 ORDER BY position", course)

    assert positions == [row["position"] for row in rows]
    assert [each.content["position"] for each in missed if each.event == "state"] == positions


async def test_stopping_ends_all_streams_at_once(app_database_url: str, redis_url: str, db: Database) -> None:
    """Readers are told to come back, and the process does not wait for them: a rolling restart stays quick."""
    course = await add_course(db)
    streams: list[EventStream] = []

    async def open_many(api: RunningApi) -> None:
        for _ in range(50):
            manager = following(api.port, course)
            streams.append(await manager.__aenter__())
            managers.append(manager)

    managers: list[Any] = []
    async with running_api(app_database_url, redis_url) as api:
        await open_many(api)
        for stream in streams:
            await stream.until("progress")
        began = time.monotonic()
    seconds = time.monotonic() - began
    lasts = [await stream.rest() for stream in streams]
    for manager in managers:
        await manager.__aexit__(None, None, None)

    assert {(each[-1].event, each[-1].content["reason"]) for each in lasts} == {("closing", "stopping")}
    assert seconds < 8


async def test_a_reader_who_does_not_read_does_not_keep_the_process_from_ending(
    app_database_url: str, redis_url: str, db: Database
) -> None:
    """With megabytes unsent and all the patience in the world."""
    course = await add_course(db)
    bulky = "INSERT INTO fsm_events (entity_id, event_type, new_state, created_by, metadata)"
    bulky += " SELECT $1, 'STATE_CHANGED', 'pending', 'API', jsonb_build_object('x', repeat('x', 100000))"
    await db.execute(f"{bulky} FROM generate_series(1, 190)", course)
    async with running_api(app_database_url, redis_url, answer_seconds=600) as api:
        manager = following(api.port, course)
        await manager.__aenter__()
        [connection] = list(api.service._http._server.server_state.connections)
        await eventually(lambda: connection.transport.get_write_buffer_size() > 1_000_000, within=10)
        began = time.monotonic()
    seconds = time.monotonic() - began
    await manager.__aexit__(None, None, None)

    assert seconds < 8


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux knows the option")
def test_a_reader_whose_network_went_away_is_noticed_within_a_minute(app_database_url: str, redis_url: str) -> None:
    """What nobody acknowledges for so long ends the connection; the operating system sees to it."""
    listener = bind(api_settings(app_database_url, redis_url))
    with listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


async def test_a_reader_who_comes_while_the_api_stops_is_sent_on(
    app_database_url: str, redis_url: str, db: Database
) -> None:
    """Not refused: a browser that is refused does not come back by itself."""
    course = await add_course(db)
    async with running_api(app_database_url, redis_url) as api:
        api.parts.hub._end_all()
        async with following(api.port, course) as stream:
            told = await stream.rest()

    assert [(each.event, each.content) for each in told] == [("closing", {"reason": "stopping"})]


async def test_streams_outlive_an_outage_of_the_database(
    private_postgres: PrivatePostgres, private_database_url: str, redis_url: str, db: Database
) -> None:
    """PostgreSQL is killed and comes back: the stream stays open, goes on where it was, and hears of changes at once again."""
    own = await Database.open(CommonSettings(database_url=Secret(private_database_url)))
    course = await add_course(own)
    url = with_user(private_database_url, "coursegen_app")
    async with running_api(url, redis_url) as api, following(api.port, course) as stream:
        await move(own, course, *RUN[:2])
        first = await stream.until("state")
        private_postgres.kill()
        await eventually(
            lambda: (REGISTRY.get_sample_value("live_looks_total", {"result": "failed"}) or 0) > 0, within=20
        )
        private_postgres.start()

        async def go_on() -> bool:
            with contextlib.suppress(DatabaseUnavailable):  # the first session of the pool died with the server
                await own.ping()
                return True
            return False

        await eventually(go_on, within=60)
        await move(own, course, *RUN[2:])
        rest = await stream.rest(60)
    await own.close()

    assert moves(first) + moves(rest) == list(RUN)


async def test_the_command_follows_through_a_restart_of_the_api(
    app_database_url: str, redis_url: str, db: Database
) -> None:
    """Stopped in the middle and started again on its port: every move once, and one word about the outage."""
    course = await add_course(db)
    outages: list[str] = []
    heard: list[Message] = []
    async with running_api(app_database_url, redis_url) as api:
        port = api.port
        client = ApiClient(api.url, tokens.mint(), on_outage=outages.append)

        async def read() -> None:
            async with client:
                async for message in Following(client, str(course)).messages():
                    heard.append(message)  # noqa: PERF401 - looked at while it grows

        reading = asyncio.create_task(read())
        await move(db, course, *RUN[:3])
        await eventually(lambda: len(heard) >= 4, within=10)
    await move(db, course, *RUN[3:5])
    async with running_api(app_database_url, redis_url, port=port):
        await move(db, course, *RUN[5:])
        await asyncio.wait_for(reading, 30)

    assert [each.content["newState"] for each in heard if each.event == "state"] == list(RUN)
    assert heard[-1].event == "end"
    assert len(outages) <= 1


async def test_a_lost_listener_costs_nothing_but_a_second(api: RunningApi, db: Database) -> None:
    """The session that listens is ended from outside; the stream hears of what follows all the same."""
    course = await add_course(db)
    async with following(api.port, course) as stream:
        await stream.until("progress")
        listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'coursegen-api live streams'"
        await eventually(lambda: db.fetchval(listening), within=5)
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'coursegen-api live streams'"
        )
        await move(db, course, *RUN)

        assert moves(await stream.rest()) == list(RUN)


async def test_nobody_looks_while_nobody_watches(
    api: RunningApi, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither statements nor a listening session; both begin with the first reader and end after the last."""
    monkeypatch.setattr(hub_module, "LINGER_SECONDS", 0.2)
    listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'coursegen-api live streams'"
    before = looks()
    await move(db, await add_course(db), "stage_4_init")
    assert (looks(), await db.fetchval(listening)) == (before, 0)
    async with following(api.port, await add_course(db)) as stream:
        await stream.until("progress")
        await eventually(lambda: db.fetchval(listening), within=5)

    async def silent() -> bool:
        return bool(await db.fetchval(listening) == 0)

    await eventually(silent, within=10)
    after = looks()
    await db.execute("NOTIFY outbox_wakeup")
    await asyncio.sleep(0.3)
    assert looks() == after > before


async def test_a_thousand_watchers_cost_one_statement_per_look(
    app_database_url: str, redis_url: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand readers of a hundred courses on one process: all hear everything, and nobody costs a statement of his own."""
    asked: list[int] = []
    original = NewsDesk.since

    async def counted(self: NewsDesk, places: Any) -> Any:
        asked.append(len(places))
        return await original(self, places)

    monkeypatch.setattr(NewsDesk, "since", counted)
    courses = [await add_course(db) for _ in range(100)]
    async with running_api(app_database_url, redis_url, max_watchers_per_user=1000) as api:
        managers = [following(api.port, courses[number % 100]) for number in range(1000)]
        streams = [await manager.__aenter__() for manager in managers]
        for stream in streams:
            await stream.until("progress", 60)
        assert api.parts.hub.watchers == 1000
        before, began = len(asked), time.monotonic()
        for state in RUN:
            await db.execute(
                "WITH moved AS (UPDATE courses SET generation_status = $1::text::generation_status_enum RETURNING id)"
                " INSERT INTO fsm_events (entity_id, event_type, new_state, created_by)"
                " SELECT id, 'STATE_CHANGED', $1::text, 'WORKER' FROM moved",
                state,
            )
            await db.execute("NOTIFY outbox_wakeup")
        stories = await asyncio.gather(*(stream.rest(60) for stream in streams))
        statements, seconds = len(asked) - before, time.monotonic() - began
        for manager in managers:
            await manager.__aexit__(None, None, None)

    assert {tuple(moves(story)) for story in stories} == {RUN}
    assert {story[-1].event for story in stories} == {"end"}
    assert max(asked) == 100
    assert statements <= 2 + 10 * seconds


@pytest.mark.parametrize("path", ["check-status", "events"])
async def test_a_foreign_course_tells_nothing(api: RunningApi, db: Database, path: str) -> None:
    """403: body and headers are the same for every foreign course, nothing may be kept, and no stream was opened."""
    mine, young, done = await add_course(db), *[await add_course(db, user=STRANGER) for _ in range(2)]
    await move(db, done, *RUN)
    answers = [
        await api.client.get(f"{COURSES}/{name}/{path}", headers={"X-Request-ID": "same"})
        for name in (young, done, f"course-{young}", f"course-{done}")
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(sorted((k, v) for k, v in answer.headers.items() if k != "date")) for answer in answers}) == 1
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
    for text in (str(done), "Test Course", "completed", str(STRANGER), "percentage"):
        assert text not in answers[1].text
    assert api.parts.hub.watchers == 0
    assert (await api.client.get(f"{COURSES}/{mine}/check-status")).status_code == 200


async def test_a_foreign_course_costs_what_an_own_one_costs(
    api: RunningApi, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same statement is sent and read, so that time tells nothing."""
    statements: list[str] = []
    fetchrow = Database.fetchrow

    async def noted(self: Database, query: str, *args: Any) -> Any:
        statements.append(query)
        return await fetchrow(self, query, *args)

    monkeypatch.setattr(Database, "fetchrow", noted)
    for user, status in ((tokens.USER, 200), (STRANGER, 403)):
        answer = await api.client.get(f"{COURSES}/{await add_course(db, user=user)}/check-status")
        assert answer.status_code == status

    assert len(statements) == 2
    assert len(set(statements)) == 1


async def test_head_answers_without_a_stream(api: RunningApi, db: Database) -> None:
    """The headers, and nothing stays open."""
    answer = await api.client.head(f"{COURSES}/{await add_course(db)}/events")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    await eventually(lambda: api.parts.hub.watchers == 0, within=5)


async def test_unknown_courses_and_callers_are_refused_before_anything_else(api: RunningApi) -> None:
    """404 and 401, as everywhere."""
    assert (await api.client.get(f"{COURSES}/{uuid4()}/events")).status_code == 404
    answer = await api.client.get(f"{COURSES}/{uuid4()}/events", headers={"Authorization": "Bearer x"})

    assert answer.status_code == 401
