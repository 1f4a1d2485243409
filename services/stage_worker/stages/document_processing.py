"""Stage 2: documents become normalised text and sections.

One job per document. The documents of a course are read at the same time by as many workers as there are; each writes its
sections in its own transaction, and the one that settles last, which it knows because all of them hold the course's lock
while they count, hands the course to stage 4. A document that cannot be read fails alone, with its reason; only when none
could be read the course ends in error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final
from uuid import UUID

from services.kernel.database import Database, Row
from services.kernel.envelopes import DOCUMENT_PROCESSING, STRUCTURE_ANALYSIS, DocumentJob
from services.kernel.errors import CoursegenError, DocumentRejected, NotFound, PermanentError
from services.kernel.progress import READING, Step, documents_read, read_so_far
from services.kernel.queries import Queries
from services.stage_worker.parsing.model import ParsedDocument
from services.stage_worker.stages.course_run import ANALYSIS, DOCUMENTS, CourseRun, Position
from services.stage_worker.stages.stage import NothingToDo, Stage
from services.stage_worker.stages.transaction import COMPLETED_BY, StageTransaction

Fetch = Callable[[UUID, Path], Awaitable[None]]
"""Writes a stored object's bytes into a file."""

Parse = Callable[[Path, str, str], Awaitable[ParsedDocument]]
"""Reads a file of a media type and a name, in a process of its own; raises `DocumentRejected`."""

_LONGEST_ERROR: Final = 2000


class NothingReadable(PermanentError):
    """None of the documents could be read."""

    code = "nothing_readable"

    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self.readings = readings
        super().__init__("; ".join(f"{each.filename}: {each.rejection}" for each in readings))


@dataclass(frozen=True, slots=True)
class Reading:
    """One document as it was read, or why it could not be."""

    document_id: UUID
    filename: str
    parsed: ParsedDocument | None
    rejection: str | None = None


class DocumentProcessing(Stage[DocumentJob, tuple[Reading, ...]]):
    """The job `DOCUMENT_PROCESSING`."""

    job_type: ClassVar[str] = DOCUMENT_PROCESSING
    queue: ClassVar[str] = "course-generation:documents"
    position: ClassVar[Position] = DOCUMENTS
    model = DocumentJob

    def __init__(self, db: Database, fetch: Fetch, parse: Parse) -> None:
        self._db = db
        self._fetch = fetch
        self._parse = parse
        self._sql = Queries.load("services.stage_worker", "documents.sql")

    async def begin(self, tx: StageTransaction) -> None:
        """Show that documents are being read."""
        await tx.enter(self.position, Step.DOCUMENTS, READING)
        document_id = tx.job.document_id if isinstance(tx.job, DocumentJob) else None
        await tx.connection.execute(self._sql["mark_processing"], tx.course.id, document_id)

    async def compute(self, job: DocumentJob, course: CourseRun) -> tuple[Reading, ...]:
        """Read the document.

        Raises:
            NothingToDo: it was deleted meanwhile.
            NothingReadable: it, or every one of several, was rejected.
        """
        rows = await self._db.fetch(self._sql["documents_to_read"], course.id, job.document_id)
        if not rows:
            raise NothingToDo("the document was deleted")
        readings = tuple([await self._read(row) for row in rows])
        if not any(reading.parsed for reading in readings):
            raise NothingReadable(readings)
        return readings

    async def commit(self, tx: StageTransaction, prepared: tuple[Reading, ...]) -> None:
        """Keep texts and sections, and the reasons of those that could not be read."""
        for reading in prepared:
            await self._store(tx, reading)

    async def reject(self, tx: StageTransaction, error: CoursegenError) -> None:
        """Fail the document, not the course; `settle` decides about that."""
        if isinstance(error, NothingReadable):
            for reading in error.readings:
                await self._store(tx, reading)
        elif isinstance(tx.job, DocumentJob) and tx.job.document_id is not None:
            await self._fail(tx, tx.job.document_id, error.message)

    async def settle(self, tx: StageTransaction) -> None:
        """The join: the last document of the run hands the course on, or ends it if nothing could be read."""
        [standing] = await tx.connection.fetch(self._sql["standing"], tx.course.id, tx.course.run_number)
        if standing["settled"] < standing["expected"]:
            message = read_so_far(standing["settled"], standing["expected"])
            await tx.mark(Step.DOCUMENTS, "in_progress", message)
        elif standing["failed"] and not standing["applied"]:
            rejections = await tx.connection.fetch(self._sql["rejections"], tx.course.id)
            await tx.fail_course(Step.DOCUMENTS, _why(rejections), code=NothingReadable.code)
        else:
            await self._hand_over(tx, standing)

    async def _hand_over(self, tx: StageTransaction, standing: Row) -> None:
        await tx.walk_to(self.position, self.position.complete, by=COMPLETED_BY)
        message = documents_read(standing["applied"], standing["failed"])
        await tx.mark(Step.DOCUMENTS, "completed", message)
        await tx.start_stage(ANALYSIS, STRUCTURE_ANALYSIS)

    async def _read(self, row: Row) -> Reading:
        with tempfile.TemporaryDirectory(prefix="coursegen-") as folder:
            path = Path(folder) / "document"
            try:
                await self._fetch(row["object_key"], path)
                parsed = await self._parse(path, row["media_type"], row["filename"])
            except (DocumentRejected, NotFound) as rejected:
                return Reading(row["id"], row["filename"], None, rejected.message)
        return Reading(row["id"], row["filename"], parsed)

    async def _store(self, tx: StageTransaction, reading: Reading) -> None:
        parsed = reading.parsed
        if parsed is None:
            return await self._fail(tx, reading.document_id, reading.rejection or "")
        found = await tx.connection.fetchval(
            self._sql["finish_document"], reading.document_id, parsed.title, parsed.language
        )
        if found is None:
            return None  # deleted while it was read
        await tx.connection.execute(self._sql["store_text"], reading.document_id, parsed.text)
        await tx.connection.execute(
            self._sql["store_sections"],
            reading.document_id,
            tx.course.run_number,
            *_columns(parsed),
            parsed.language,
        )
        return None

    async def _fail(self, tx: StageTransaction, document_id: UUID, reason: str) -> None:
        await tx.connection.execute(self._sql["reject_document"], document_id, reason)


def _columns(parsed: ParsedDocument) -> tuple[list[Any], ...]:
    sections = parsed.sections
    return (
        list(range(len(sections))),
        [section.level for section in sections],
        [section.heading for section in sections],
        [parsed.text[section.start : section.end] for section in sections],
        [section.start for section in sections],
        [section.end for section in sections],
        [section.page for section in sections],
    )


def _why(rejections: list[Row]) -> str:
    reasons = "; ".join(f"{row['filename']}: {row['failure_reason']}" for row in rejections)
    text = f"None of the documents could be read. {reasons}".rstrip()
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 1] + "…"
