"""Documents of a course: stored, listed, removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import BinaryIO, Final
from uuid import UUID

from services.api.auth import Principal
from services.api.courses import Courses, refuse_while_running
from services.kernel.database import Database, Row
from services.kernel.errors import Conflict, CoursegenError, NotFound
from services.kernel.logs import get_logger
from services.kernel.objects import DocumentStore, StoredObject
from services.kernel.pauses import pause
from services.kernel.queries import Queries

SWEEP_SECONDS: Final = 600.0
"""How often abandoned uploads are looked for."""

_READ_BYTES = 256 * 1024
_QUERIES = Queries.load("services.api", "documents.sql")
_log = get_logger(__name__)


class TooManyDocuments(Conflict):
    """The course has as many documents as it may have."""

    code = "too_many_documents"


class Documents:
    """The documents of courses."""

    def __init__(self, db: Database, store: DocumentStore, courses: Courses, *, most: int) -> None:
        self._db = db
        self._store = store
        self._courses = courses
        self._most = most

    async def list(self, course_id: UUID) -> Sequence[Row]:
        """The documents of a course, in order."""
        return await self._db.fetch(_QUERIES["documents_of_course"], course_id)

    async def refuse_early(self, course_id: UUID, caller: Principal) -> None:
        """Refuse an upload before its bytes are read, when it is clear already that there is no room for it.

        Raises:
            CourseBusy: a run is under way.
            TooManyDocuments: the course is more than full; at the limit a repeated upload is still recognised.
        """
        async with self._courses.locked(course_id, caller) as (session, course):
            refuse_while_running(course["status"])
            count = await session.fetchval(_QUERIES["count_documents"], course_id)
            if count > self._most:
                raise self._full()

    async def add(
        self, course_id: UUID, caller: Principal, *, filename: str, media_type: str, content: BinaryIO
    ) -> tuple[Row, bool]:
        """Store `content` as the course's last document; answers its row, and whether it is new.

        The same content under the same name is the same document: a client that lost the answer may send it again.

        Raises:
            CourseBusy: a run is under way.
            TooManyDocuments: there is no room for one more.
        """
        stored = await self._store.write(course_id, _pieces(content))
        try:
            row, is_new = await self._register(course_id, caller, filename, media_type, stored)
        except BaseException:
            await self._drop(stored.object_key)
            raise
        if not is_new:
            await self._drop(stored.object_key)
        said = "document stored" if is_new else "document recognised"
        _log.info(said, courseId=str(course_id), documentId=str(row["id"]), bytes=stored.size_bytes)
        return row, is_new

    async def remove(self, course_id: UUID, document_id: UUID, caller: Principal) -> None:
        """Remove a document with its content.

        Raises:
            NotFound: the course has no such document.
            CourseBusy: a run is under way.
        """
        async with self._courses.locked(course_id, caller) as (session, course):
            refuse_while_running(course["status"])
            object_key = await session.fetchval(_QUERIES["delete_document"], course_id, document_id)
            if object_key is None:
                raise NotFound("The course has no such document.", documentId=str(document_id))
        _log.info("document removed", courseId=str(course_id), documentId=str(document_id))
        await self._drop(object_key)

    async def sweep_for_ever(self, stopping: asyncio.Event) -> None:
        """Remove what broken uploads and deleted courses left, every ten minutes until `stopping` is set."""
        while not stopping.is_set():
            try:
                removed = await self._store.sweep()
                if removed:
                    _log.info("abandoned objects removed", count=removed)
            except CoursegenError as error:
                _log.warning("sweep of abandoned objects failed, tried again later", error=error.message)
            await pause(stopping, SWEEP_SECONDS)

    async def _register(
        self, course_id: UUID, caller: Principal, filename: str, media_type: str, stored: StoredObject
    ) -> tuple[Row, bool]:
        async with self._courses.locked(course_id, caller) as (session, course):
            refuse_while_running(course["status"])
            twin = await session.fetchrow(_QUERIES["twin_document"], course_id, stored.sha256, filename)
            if twin is not None:
                return twin, False
            if await session.fetchval(_QUERIES["count_documents"], course_id) >= self._most:
                raise self._full()
            row = await session.fetchrow(
                _QUERIES["insert_document"],
                course_id,
                filename,
                media_type,
                stored.size_bytes,
                stored.sha256,
                stored.object_key,
            )
        return row, True

    def _full(self) -> TooManyDocuments:
        return TooManyDocuments(f"A course has at most {self._most} documents; delete one first.", limit=self._most)

    async def _drop(self, object_key: UUID) -> None:
        try:
            await self._store.remove([object_key])
        except CoursegenError as error:
            _log.warning("stored object not removed, the sweep will find it", error=error.message)


async def _pieces(content: BinaryIO) -> AsyncIterator[bytes]:
    content.seek(0)
    while piece := await asyncio.to_thread(content.read, _READ_BYTES):
        yield piece
