"""A course belongs to its owner: for every route there is, a stranger gets a 403 that holds nothing of it (S4).

The routes come from the api's own table, so that a new one is tried without being added here.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.api.routing import Operation
from services.kernel import logs
from services.kernel.database import Database
from tests.support.api import RunningApi
from tests.support.courses import add_course, add_documents, add_result, finish, footprint, totals
from tests.support.tokens import USER, bearer

STRANGER = UUID("00000000-0000-0000-0000-000000000099")
THEIRS = bearer(STRANGER, uuid4(), tier="PREMIUM")
INITIATE = "/api/trpc/generation.initiate"
SECRETS = ("Zyklotron", "chapter-1.md", "hooks.example.com", "geheim")
"""Words of the victim's course that no stranger may read."""
RANDOM_CALLS = 10_000 if os.environ.get("CI") == "true" else 400


class Victim:
    """A course with everything a course can have."""

    def __init__(self, course_id: UUID, slug: str, document: UUID) -> None:
        self.id = course_id
        self.slug = slug
        self.document = document

    def words(self) -> tuple[str, ...]:
        """What a stranger must not be told."""
        return (*SECRETS, str(USER), str(self.document))


async def rich_course(db: Database, *, user: UUID = USER) -> Victim:
    """Title, document, webhook, history and result."""
    course_id = await add_course(db, title="Zyklotron", user=user)
    (document,) = await add_documents(db, course_id, ["# geheim\n\n" + "geheim " * 5_000])
    await add_result(db, course_id, title="geheim")
    await db.execute("UPDATE courses SET webhook_url = 'https://hooks.example.com/geheim' WHERE id = $1", course_id)
    await finish(db, course_id)
    return Victim(course_id, f"course-{course_id}", document)


def of_courses(api: RunningApi) -> list[Operation]:
    """The operations on one course that its path names."""
    return [each for each in api.parts.routes.operations if "{course}" in each.path]


def path_of(operation: Operation, course: str, document: UUID) -> str:
    """Where `operation` is asked for."""
    return operation.path.format(course=course, document=document)


async def ask(api: RunningApi, operation: Operation, path: str, headers: dict[str, str]) -> httpx.Response:
    """One request, with a body where one is taken; a stream would be cut off after its head."""
    extra: dict[str, Any] = {}
    if operation.uploads:
        extra["files"] = {"file": ("mine.md", b"# mine", "text/markdown")}
    elif operation.accepts is not None:
        extra["json"] = {}
    async with api.client.stream(operation.method, path, headers=headers, **extra) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
        return answer


async def test_every_route_refuses_a_stranger_and_tells_nothing(api: RunningApi, db: Database) -> None:
    """By id and by slug: 403, the same body for every course, nothing changed; the owner is let in."""
    victim = await rich_course(db)
    before, left = await totals(db), await footprint(db, victim.id)
    operations = of_courses(api)
    assert len(operations) >= 12

    bodies = set()
    for operation in operations:
        for reference in (str(victim.id), victim.slug):
            answer = await ask(api, operation, path_of(operation, reference, victim.document), THEIRS)
            told = answer.text + repr(answer.headers)
            assert answer.status_code == 403, f"{operation.name}: {answer.status_code}"
            assert [word for word in victim.words() if word in told] == [], operation.name
            assert answer.headers["cache-control"] == "no-store"
            assert "etag" not in answer.headers
            bodies.add(answer.text)

    assert len(bodies) == 1
    assert await totals(db) == before
    assert await footprint(db, victim.id) == left
    assert (await api.client.get(f"/api/courses/{victim.id}")).status_code == 200


async def test_a_stranger_cannot_begin_a_run(api: RunningApi, db: Database) -> None:
    """Neither by the course's id with a title, nor by what the owner's request has left in the cache."""
    mine = await add_course(db, title="Zyklotron")
    begun = await api.client.post(INITIATE, json={"courseId": str(mine)})
    assert begun.status_code == 200
    before = await totals(db)
    for path in (INITIATE, "/api/coursegen/generate"):
        for more in ({}, {"title": "x"}, {"hasFiles": False}, {"idempotencyKey": "k"}):
            answer = await api.client.post(path, json={"courseId": str(mine), **more}, headers=THEIRS)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
            assert begun.json()["jobId"] not in answer.text
            assert "Zyklotron" not in answer.text
    assert await totals(db) == before
    assert (await api.client.post(INITIATE, json={"courseId": str(mine)})).json()["fromCache"] is True


async def test_a_key_is_the_callers_own(api: RunningApi, db: Database) -> None:
    """TRAP32: two users with one key have two runs; each gets his own back."""
    mine, his = await add_course(db), await add_course(db, user=STRANGER)
    key = {"Idempotency-Key": "the-same"}
    first = await api.client.post(INITIATE, json={"courseId": str(mine)}, headers=key)
    second = await api.client.post(INITIATE, json={"courseId": str(his)}, headers={**key, **THEIRS})

    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["jobId"] != second.json()["jobId"]
    for headers, course, begun in ((key, mine, first), ({**key, **THEIRS}, his, second)):
        again = await api.client.post(INITIATE, json={"courseId": str(course)}, headers=headers)
        assert again.json()["jobId"] == begun.json()["jobId"]


async def test_a_key_of_another_course_is_refused(api: RunningApi, db: Database) -> None:
    """409 and nothing written, whether Redis remembers the key or only PostgreSQL does."""
    first, second = await add_course(db), await add_course(db)
    key = {"Idempotency-Key": "once"}
    assert (await api.client.post(INITIATE, json={"courseId": str(first)}, headers=key)).status_code == 200
    before = await totals(db)
    answer = await api.client.post(INITIATE, json={"courseId": str(second)}, headers=key)

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency_key_conflict")
    assert await totals(db) == before


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Counts what is asked of the database on behalf of the request `counted` while the block runs."""
    asked: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        for name in ("fetch", "fetchrow", "fetchval", "execute"):
            original = getattr(Database, name)

            def counting(self: Database, query: str, *args: Any, _original: Any = original, **more: Any) -> Any:
                asked[query] += logs._context.get().get("requestId") == "counted"
                return _original(self, query, *args, **more)

            patch.setattr(Database, name, counting)
        yield asked


async def test_a_refusal_costs_the_same_whatever_the_course_holds(
    api: RunningApi, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same class of time: a stranger's request does the same statements for an empty course and for a rich one."""
    rich = await rich_course(db)
    empty_id = await add_course(db)
    empty = Victim(empty_id, f"course-{empty_id}", uuid4())
    for operation in of_courses(api):
        work = []
        for victim in (rich, empty):
            with counted(monkeypatch) as asked:
                counting = {**THEIRS, "X-Request-ID": "counted"}
                await ask(api, operation, path_of(operation, str(victim.id), victim.document), counting)
            work.append({query: count for query, count in asked.items() if count})
        assert work[0] == work[1], operation.name
        assert 1 <= sum(work[0].values()) <= 2, operation.name


async def test_lists_show_only_ones_own(api: RunningApi, db: Database) -> None:
    """Pages of one user never hold another's courses, with no cursor of the other's either."""
    for user in (USER, STRANGER):
        for _ in range(3):
            await add_course(db, user=user, title=f"of {user}")
    page = (await api.client.get("/api/courses", params={"limit": 2})).json()
    stolen = await api.client.get("/api/courses", params={"cursor": page["nextCursor"]}, headers=THEIRS)

    assert {each["title"] for each in page["courses"]} == {f"of {USER}"}
    assert {each["title"] for each in stolen.json()["courses"]} <= {f"of {STRANGER}"}


async def test_random_operations_never_cross_from_one_user_to_another(api: RunningApi, db: Database) -> None:
    """Whatever two users do in whatever order: an answer about the other's course is a 403, and tells no word of it."""
    chance = random.Random(20251122)
    people = {USER: bearer(USER), STRANGER: THEIRS}
    victims = {user: [await rich_course(db, user=user) for _ in range(3)] for user in people}
    reading = [each for each in of_courses(api) if each.method == "GET"]
    writing = [each for each in of_courses(api) if each.method != "GET"]
    seen: Counter[tuple[bool, int]] = Counter()
    for _ in range(RANDOM_CALLS):
        caller, owner = chance.choice(list(people)), chance.choice(list(people))
        victim = chance.choice(victims[owner])
        foreign = caller != owner
        operation = chance.choice(
            [*reading, *writing] if foreign else [each for each in reading if "events" not in each.path]
        )
        reference = chance.choice([str(victim.id), victim.slug])
        answer = await ask(api, operation, path_of(operation, reference, victim.document), people[caller])
        seen[foreign, answer.status_code] += 1
        if foreign:
            assert answer.status_code == 403, operation.name
            assert not [word for word in victim.words() if word in answer.text], operation.name

    assert {status for foreign, status in seen if foreign} == {403}
    assert seen[False, 200] > RANDOM_CALLS // 10


async def test_administrators_doors_are_closed_to_all_others(api: RunningApi) -> None:
    """GAP15: every route under /api/admin answers 401 without a token and 403 to a user, and tells nothing."""
    doors = [each for each in api.parts.routes.operations if each.path.startswith("/api/admin")]
    assert doors
    assert all(each.admin for each in doors)
    for operation in doors:
        path = operation.path.replace("{queue}", "course-generation:documents").replace("{scope}", "global")
        refused = await ask(api, operation, path, bearer())
        unknown = await ask(api, operation, path, {"Authorization": "Bearer x.y.z"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden"), operation.name
        assert refused.json()["error"]["details"] == {"claim": "app_metadata.role"}, operation.name
        assert unknown.status_code == 401, operation.name
