"""Courses as their owner sees and changes them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any
from uuid import UUID

from services.api import creation
from services.api.auth import Principal
from services.api.creation import Created
from services.api.models import CreateCourseBody
from services.kernel.concurrency import Releases
from services.kernel.database import Connection, Database, Row
from services.kernel.errors import (
    BrokerUnavailable,
    Conflict,
    CourseBusy,
    CoursegenError,
    Forbidden,
    NotFound,
)
from services.kernel.idempotency import ResultCache, derived_lookups
from services.kernel.logs import get_logger
from services.kernel.objects import DocumentStore
from services.kernel.progress import ProgressBoard
from services.kernel.queries import Queries
from services.kernel.states import RUNNING

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,199}")
_QUERIES = Queries.load("services.api", "courses.sql")
_log = get_logger(__name__)


class Courses:
    """Reads and changes courses in PostgreSQL, and removes what a deleted one leaves elsewhere."""

    def __init__(
        self,
        db: Database,
        store: DocumentStore,
        cache: ResultCache | None,
        redis: Any | None,
        releases: Releases,
    ) -> None:
        self._db = db
        self._releases = releases
        self._store = store
        self._cache = cache
        self._redis = redis
        self._board = ProgressBoard()

    async def find(self, reference: str, caller: Principal) -> Row:
        """The caller's course by UUID or slug.

        Raises:
            NotFound: there is none.
            Forbidden: it belongs to someone else.
        """
        row = None
        if _UUID.fullmatch(reference):
            row = await self._db.fetchrow(_QUERIES["course_by_id"], UUID(reference))
        if row is None and _SLUG.fullmatch(reference):  # the slug of a course whose title is a UUID looks like one, too
            row = await self._db.fetchrow(_QUERIES["course_by_slug"], reference)
        if row is None:
            raise NotFound("There is no such course.", course=reference[:200])
        if row["user_id"] != caller.user_id:
            raise Forbidden("This course belongs to someone else.")
        return row

    async def create(self, body: CreateCourseBody, caller: Principal, key: str | None = None) -> Created:
        """A new course of the caller's, or the one that was created under this key; see `creation.create`."""
        return await creation.create(self._db, body, caller, key)

    async def page(self, caller: Principal, after: tuple[Any, Any], status: str | None, size: int) -> Sequence[Row]:
        """Up to `size` of the caller's courses, newest first, after a place in the list."""
        return await self._db.fetch(_QUERIES["courses_of_user"], caller.user_id, *after, status, size)

    async def events(self, course_id: UUID, after: int, size: int) -> Sequence[Row]:
        """Up to `size` events of a course's history, oldest first."""
        return await self._db.fetch(_QUERIES["events_of_course"], course_id, after, size)

    async def result(self, course_id: UUID) -> Row | None:
        """The course's latest result, if it has one."""
        return await self._db.fetchrow(_QUERIES["result_of_course"], course_id)

    async def markdown(self, course_id: UUID) -> str | None:
        """The same as Markdown."""
        text: str | None = await self._db.fetchval(_QUERIES["markdown_of_course"], course_id)
        return text

    @asynccontextmanager
    async def locked(self, course_id: UUID, caller: Principal) -> AsyncIterator[tuple[Connection, Row]]:
        """A transaction that holds the course's row lock; yields its session and the course's state.

        Raises:
            NotFound, Forbidden: the course went or changed hands meanwhile.
        """
        async with self._db.transaction() as session:
            row = await session.fetchrow(_QUERIES["lock_course"], course_id)
            if row is None:
                raise NotFound("There is no such course.", course=str(course_id))
            if row["user_id"] != caller.user_id:
                raise Forbidden("This course belongs to someone else.")
            yield session, row

    async def cancel(self, course_id: UUID, caller: Principal, request_id: str) -> None:
        """End the run under way, and show nothing of it as going on. A course that is cancelled already stays so.

        Raises:
            Conflict: nothing is under way.
        """
        async with self.locked(course_id, caller) as (session, row):
            status, run = row["status"], row["run_number"]
            if status == "cancelled":
                run -= 1  # it ended with the number before; whoever cancelled it may have died before the slot was free
            elif status not in RUNNING:
                raise Conflict(f"There is nothing to cancel: the course is `{status}`.", status=status)
            else:
                await self._end(session, course_id, row, caller, request_id)
        await self._releases.release(course_id, run)

    async def delete(self, course_id: UUID, caller: Principal) -> None:
        """Remove the course, its rows, its stored documents and what Redis holds of it.

        Once the transaction is through the course is gone; what Redis or the document store cannot remove just now is
        either harmless (TRAP45) or swept later.
        """
        async with self.locked(course_id, caller) as (session, row):
            traces: Row = await session.fetchrow(_QUERIES["traces_of_course"], course_id)
            await session.execute(_QUERIES["delete_course"], course_id)
        _log.info("course deleted", courseId=str(course_id))
        await self._releases.release(course_id, row["run_number"])
        await self._forget_results([*traces["idempotency_keys"], *derived_lookups(caller.user_id, course_id)])
        await self._discard_jobs(zip(traces["job_queues"], traces["job_keys"], strict=True))
        try:
            await self._store.remove(traces["object_keys"])
        except CoursegenError as error:
            _log.warning("stored documents of a deleted course stay until the sweep", error=error.message)

    async def _end(self, session: Connection, course_id: UUID, row: Row, caller: Principal, request_id: str) -> None:
        await session.execute(
            _QUERIES["cancel_course"],
            course_id,
            row["status"],
            caller.user_id,
            {"requestId": request_id},
            row["run_number"],
        )
        await session.execute(_QUERIES["release_documents"], course_id)
        await self._board.close(session, course_id)

    async def _forget_results(self, keys: Sequence[str]) -> None:
        if self._cache is not None and not await self._cache.forget(keys):
            _log.warning("remembered results of a deleted course not removed; they are checked before use")

    async def _discard_jobs(self, jobs: Iterable[tuple[str, str]]) -> None:
        if self._redis is None:
            return
        from services.kernel.queue import Inspector

        inspector = Inspector(self._redis)
        try:
            for queue, group in groupby(sorted(jobs), key=lambda job: job[0]):
                await inspector.discard(queue, [key for _, key in group])
        except BrokerUnavailable:
            _log.warning("queued jobs of a deleted course not removed; workers will skip them")


def refuse_while_running(status: str) -> None:
    """Refuse a change that would pull the ground from under a run.

    Raises:
        CourseBusy: when one is under way.
    """
    if status in RUNNING:
        raise CourseBusy("The course is being generated; wait for it or cancel it first.", status=status)
