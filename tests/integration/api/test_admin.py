"""What administrators see, and that nobody else does (GAP15)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.api.openapi import describe
from services.kernel.database import Database
from tests.integration.api.test_dead_letters import administrator
from tests.support.api import RunningApi
from tests.support.courses import add_course
from tests.support.tokens import ADMIN, USER


@pytest.fixture
async def admin(api: RunningApi) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the role."""
    async with administrator(api) as client:
        yield client


async def add_row(db: Database, course: UUID, *, job_type: str = "STRUCTURE_ANALYSIS", **columns: Any) -> UUID:
    """An outbox row of a course."""
    fields = {"queue_name": "course-generation", "job_type": job_type, "max_retries": 5, **columns}
    places = ", ".join(f"${index}" for index in range(2, len(fields) + 2))
    query = f"INSERT INTO job_outbox (entity_id, {', '.join(fields)}) VALUES ($1, {places}) RETURNING outbox_id"
    outbox_id: UUID = await db.fetchval(query, course, *fields.values())
    return outbox_id


async def test_every_admin_route_is_for_administrators_only(api: RunningApi) -> None:
    """Whoever asks without the role learns nothing, not even whether what he names exists."""
    routes = [each for each in api.parts.routes.operations if each.path.startswith("/api/admin/")]
    answers = []
    for route in routes:
        path = route.path.replace("{queue}", "course-generation:documents").replace("{scope}", "global")
        as_nobody = await api.client.request(route.method, path, headers={"Authorization": ""})
        as_owner = await api.client.request(route.method, path, json={})
        answers.append((as_nobody.status_code, as_owner.status_code, as_owner.json()["error"]["details"]))

    assert len(routes) >= 11
    assert answers == [(401, 403, {"claim": "app_metadata.role"})] * len(routes)
    assert describe(routes, "1")["paths"]


async def test_the_outbox_is_shown_by_queue(admin: httpx.AsyncClient, db: Database) -> None:
    """Depth counts the dead; the oldest is of those still to go."""
    course = await add_course(db)
    now = datetime.now(UTC)
    await add_row(db, course, created_at=now - timedelta(seconds=90))
    await add_row(db, course, next_attempt_at=now + timedelta(hours=1), retry_count=1)
    await add_row(db, course, retry_count=5, created_at=now - timedelta(days=1))
    await add_row(db, course, processed_at=now)
    await add_row(db, course, queue_name="own", job_type="OWN")

    shown = (await admin.get("outbox")).json()

    assert (shown["depth"], shown["waiting"], shown["dead"]) == (4, 3, 1)
    assert 90 <= shown["oldestSeconds"] < 600
    queues = {each["queue"]: each for each in shown["queues"]}
    assert set(queues) == {"course-generation:analysis", "own"}
    assert {key: queues["course-generation:analysis"][key] for key in ("waiting", "delayed", "dead")} == {
        "waiting": 2,
        "delayed": 1,
        "dead": 1,
    }


async def test_an_empty_outbox_has_no_oldest_row(admin: httpx.AsyncClient) -> None:
    """Nothing is not zero seconds old."""
    shown = (await admin.get("outbox")).json()

    assert (shown["depth"], shown["oldestSeconds"], shown["queues"]) == (0, None, [])


async def test_the_leader_is_shown_with_its_epoch_and_its_standbys(admin: httpx.AsyncClient, db: Database) -> None:
    """By their heartbeats, the leader first."""
    nobody = (await admin.get("leader")).json()
    await db.execute(
        "UPDATE relay_leadership SET holder = 'one', epoch = 7, heartbeat_at = now(), poll_interval_ms = 1000;"
        "INSERT INTO relay_nodes (node_id, role, heartbeat_at) VALUES ('two', 'standby', now() - interval '5 minutes'),"
        " ('one', 'leader', now())"
    )
    shown = (await admin.get("leader")).json()
    await db.execute("UPDATE relay_leadership SET heartbeat_at = now() - interval '2 minutes'")
    silent = (await admin.get("leader")).json()

    assert (nobody["holder"], nobody["epoch"], nobody["alive"], nobody["nodes"]) == (None, 0, False, [])
    assert (shown["holder"], shown["epoch"], shown["alive"], shown["pollIntervalMs"]) == ("one", 7, True, 1000)
    assert [(node["nodeId"], node["role"], node["alive"]) for node in shown["nodes"]] == [
        ("one", "leader", True),
        ("two", "standby", False),
    ]
    assert silent["alive"] is False
    assert silent["heartbeatAgeSeconds"] >= 120


async def test_critical_events_are_listed_by_type_and_severity(admin: httpx.AsyncClient, db: Database) -> None:
    """The latest first, page by page; a filter that matches nothing says so."""
    await db.execute(
        "INSERT INTO system_metrics (event_type, severity, user_id, metadata, created_at)"
        " SELECT 'concurrency_limit_hit', 'warning', $1, jsonb_build_object('n', n), now() - n * interval '1 second'"
        " FROM generate_series(1, 5) AS n",
        USER,
    )
    await db.execute("INSERT INTO system_metrics (event_type, severity) VALUES ('job_rollback', 'error')")

    async def numbers(**query: str) -> list[Any]:
        found, cursor = [], ""
        while cursor is not None:
            answer = await admin.get("events", params={"limit": "2", **query, **({"cursor": cursor} if cursor else {})})
            page = answer.json()
            found += [each["metadata"].get("n", each["eventType"]) for each in page["events"]]
            cursor = page["nextCursor"]
        return found

    assert await numbers(type="concurrency_limit_hit") == [1, 2, 3, 4, 5]
    assert await numbers(type="concurrency_limit_hit", severity="warning") == [1, 2, 3, 4, 5]
    assert await numbers(severity="error") == ["job_rollback"]
    assert sorted(map(str, await numbers())) == ["1", "2", "3", "4", "5", "job_rollback"]
    nothing = (await admin.get("events", params={"type": "orphaned_job_recovery"})).json()
    assert nothing == {"events": [], "message": "No event matches.", "nextCursor": None}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("events?type=nonsense", "type"),
        ("events?severity=bad", "severity"),
        ("events?limit=0", "limit"),
        ("events?cursor=x", "cursor"),
        ("actions?userId=me", "userId"),
        ("actions?cursor=!", "cursor"),
        ("dead-letters?kind=letters", "kind"),
        ("dead-letters?courseId=1", "courseId"),
        ("dead-letters?before=yesterday", "before"),
        ("dead-letters?before=2026-01-01T00:00:00", "before"),
        ("dead-letters?before=0001-01-01T00:00:00%2B14:00", "before"),
        ("dead-letters?cursor=x", "cursor"),
        ("queues/course-generation:documents/jobs?state=lost", "state"),
        ("queues/course-generation:documents/jobs?offset=-1", "offset"),
        ("queues/course-generation:documents/jobs?limit=101", "limit"),
    ],
)
async def test_bad_questions_are_answered_with_what_is_wrong(admin: httpx.AsyncClient, path: str, named: str) -> None:
    """400, and the field."""
    answer = await admin.get(path)

    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["field"] == named


async def test_actions_are_listed_by_kind_and_administrator(admin: httpx.AsyncClient, db: Database) -> None:
    """The latest first; one page after the other."""
    other = uuid4()
    for author, action in ((ADMIN, "queue.pause"), (other, "queue.pause"), (ADMIN, "queue.resume")):
        await db.execute("INSERT INTO admin_actions (user_id, action, target) VALUES ($1, $2, 'q')", author, action)

    first = (await admin.get("actions", params={"limit": "2"})).json()
    rest = (await admin.get("actions", params={"limit": "2", "cursor": first["nextCursor"]})).json()
    mine = (await admin.get("actions", params={"action": "queue.pause", "userId": str(ADMIN)})).json()
    nothing = (await admin.get("actions", params={"action": "limit.set"})).json()

    assert [each["action"] for each in first["actions"]] == ["queue.resume", "queue.pause"]
    assert [each["userId"] for each in rest["actions"]] == [str(ADMIN)]
    assert rest["nextCursor"] is None
    assert len(mine["actions"]) == 1
    assert nothing == {"actions": [], "message": "No action matches.", "nextCursor": None}


async def test_the_record_can_neither_be_removed_nor_forged_by_the_application(
    db: Database, app_database_url: str, admin: httpx.AsyncClient
) -> None:
    """Only what came of an action can be added."""
    from services.kernel.database import connect

    await db.execute("INSERT INTO admin_actions (user_id, action, target) VALUES ($1, 'queue.pause', 'q')", ADMIN)
    application = await connect(app_database_url)
    for statement in ("DELETE FROM admin_actions", "UPDATE admin_actions SET user_id = gen_random_uuid()"):
        with pytest.raises(Exception, match="permission denied"):
            await application.execute(statement)
    assert await application.execute("UPDATE admin_actions SET detail = '{\"result\": 1}'") == "UPDATE 1"
    await application.close()
    assert (await admin.get("actions")).json()["actions"][0]["detail"] == {"result": 1}


async def test_critical_events_are_found_by_index(db: Database) -> None:
    """Each way of asking, among fifty thousand, with the plan that a prepared statement keeps."""
    from services.kernel.queries import Queries

    await db.execute(
        "INSERT INTO system_metrics (event_type, severity, created_at)"
        " SELECT (ARRAY['concurrency_limit_hit', 'job_rollback'])[1 + n % 2]::metric_event_type,"
        " (ARRAY['warning', 'error', 'info'])[1 + n % 3]::metric_severity, now() - n * interval '1 second'"
        " FROM generate_series(1, 50000) AS n"
    )
    await db.execute("ANALYZE system_metrics")
    statements = Queries.load("services.api", "admin.sql")
    indexes = {
        "events_of_type": ("idx_system_metrics_event_type", "'job_rollback', NULL, now(), 1, 20"),
        "events_of_severity": ("idx_system_metrics_severity", "'error', now(), 1, 20"),
        "events": ("system_metrics_pkey", "9, 20"),
    }
    async with db.acquire() as session:
        await session.execute("SET plan_cache_mode = force_generic_plan")
        for name, (index, arguments) in indexes.items():
            await session.execute(f"PREPARE asked AS {statements[name]}")
            plan = str(await session.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({arguments})"))
            await session.execute("DEALLOCATE asked")
            assert index in plan, f"{name}: {plan}"
            assert "Seq Scan" not in plan
        await session.execute("RESET plan_cache_mode")
