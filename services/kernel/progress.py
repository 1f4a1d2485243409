"""The five steps a course's owner sees, and how a step is shown (contract.md b.11, c.3, GAP22, GAP23, GAP30).

A step is written through the SQL function `update_course_progress`, which is idempotent; when the function fails it is tried
again, and as a last resort the same change is computed here and written directly (D35): what the owner sees must not
depend on one function, and a failing display must not fail a stage. All texts of the display stand in this file, those of
errors in `owner_errors`; the step names stand in the database's template too, and a test compares them.

The percentage is 20 for each completed step and never falls within a run: a step that is set back is worked on again, but
what its owner has seen of the run stays. A new run begins with a new document.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Final, Literal
from uuid import UUID

from services.kernel.clock import Clock, SystemClock
from services.kernel.database import Connection, translated
from services.kernel.errors import CoursegenError
from services.kernel.logs import get_logger
from services.kernel.owner_errors import told
from services.kernel.queries import Queries

StepStatus = Literal["pending", "in_progress", "completed", "failed"]

STEP_NAMES: Final = (
    "Запрос принят",
    "Обработка документов",
    "Анализ структуры",
    "Генерация курса",
    "Экспорт результата",
)
"""The names of steps 1 to 5."""

_PERCENT_PER_STEP: Final = 20
_TRIES: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.05

_log = get_logger(__name__)


class Step(IntEnum):
    """A step by its number, which is not a stage's number."""

    ACCEPTED = 1
    DOCUMENTS = 2
    ANALYSIS = 3
    GENERATION = 4
    EXPORT = 5


READING: Final = "Читаем документы"
ANALYSING: Final = "Определяем структуру курса"
WRITING: Final = "Пишем уроки"
ANALYSED: Final = "Структура курса готова"
WRITTEN: Final = "Уроки написаны"
FINISHED: Final = "Курс готов"
CANCELLED: Final = told("cancelled", "")["message"]


def read_so_far(settled: int, expected: int) -> str:
    """How many documents are through."""
    return f"Обработано документов: {settled} из {expected}"


def documents_read(read: int, failed: int) -> str:
    """How reading ended."""
    unread = f", не удалось прочитать: {failed}" if failed else ""
    return f"Прочитано документов: {read}{unread}"


class ProgressBoard:
    """Shows steps, in the caller's transaction."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._sql = Queries.load("services.kernel", "progress.sql")
        self._clock = clock or SystemClock()

    async def mark(
        self,
        connection: Connection,
        course_id: UUID,
        step: Step,
        status: StepStatus,
        message: str | None = None,
        *,
        error: dict[str, Any] | None = None,
    ) -> None:
        """Show `step` as `status`. Repeating a call changes nothing.

        Each try has its own savepoint, so the caller's transaction survives a failing function.

        Raises:
            DatabaseUnavailable: the database does not answer at all.
            CoursegenError: the direct write was refused too.
        """
        for attempt in range(_TRIES):
            if await self._try_call(connection, course_id, step, status, message, error):
                return
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
        await self._write_directly(connection, course_id, step, status, message, error)

    async def close(self, connection: Connection, course_id: UUID, error: dict[str, Any] | None = None) -> None:
        """Show that the run was ended, on the step that was open; the percentage stays. Raises as `mark`.

        Args:
            connection: the transaction that ends the run.
            course_id: whose run.
            error: why, as `owner_errors.told` says it; by default that its owner has cancelled it.
        """
        error = error or told("cancelled", "The run was cancelled by its owner.")
        with translated():
            progress = await connection.fetchval(self._sql["read_progress"], course_id)
        step = open_step(progress) if progress is not None else None
        if step is not None:
            await self.mark(connection, course_id, step, "failed", error["message"], error=error)

    async def _try_call(self, connection: Connection, course_id: UUID, step: Step, *rest: Any) -> bool:
        try:
            with translated():
                async with connection.transaction():
                    await connection.execute(self._sql["update_course_progress"], course_id, int(step), *rest)
        except CoursegenError as failure:
            with translated():  # a pool's lost connection raises even when it is asked whether it is lost
                if connection.is_closed():
                    raise
            _log.warning("progress function failed", step=int(step), error=failure.message)
            return False
        return True

    async def _write_directly(self, connection: Connection, course_id: UUID, step: Step, *rest: Any) -> None:
        _log.warning("progress written without its function", step=int(step))
        with translated():
            progress = await connection.fetchval(self._sql["read_progress"], course_id)
            if progress is not None:
                changed = with_step(progress, step, *rest, now=self._clock.now())
                await connection.execute(self._sql["write_progress"], course_id, changed)


def with_step(
    progress: dict[str, Any],
    step: Step,
    status: StepStatus,
    message: str | None,
    error: dict[str, Any] | None,
    *,
    now: datetime,
) -> dict[str, Any]:
    """`progress` with one step changed: what `update_course_progress` computes, for when it cannot."""
    progress = progress if _is_whole(progress) else fresh_progress()
    steps = [
        _changed(each, status, message, error, _stamp(now)) if each["id"] == step else each
        for each in progress["steps"]
    ]
    finished = [each for each in steps if each["status"] == "completed"]
    open_steps = [each["id"] for each in steps if each["status"] != "completed"]
    return {
        **progress,
        "steps": steps,
        "percentage": max(_PERCENT_PER_STEP * len(finished), _percentage(progress)),
        "current_step": min(open_steps, default=int(Step.EXPORT)),
        "message": message,
    }


def fresh_progress() -> dict[str, Any]:
    """The display of a run of which nothing is done yet; what `generation_progress_template` returns."""
    empty = {"status": "pending", "message": None, "started_at": None, "completed_at": None, "error": None}
    steps = [{"id": number, "name": name, **empty} for number, name in enumerate(STEP_NAMES, 1)]
    return {"steps": steps, "percentage": 0, "current_step": 1, "message": None}


def _is_whole(progress: dict[str, Any]) -> bool:
    steps = progress.get("steps")
    return isinstance(steps, list) and len(steps) == len(STEP_NAMES) and "id" in steps[-1]


def _percentage(progress: dict[str, Any]) -> float:
    shown = progress.get("percentage")
    return min(shown, 100) if isinstance(shown, int | float) and not isinstance(shown, bool) else 0


def open_step(progress: dict[str, Any]) -> Step | None:
    """The step that is being worked on or, between two steps, the next one; None when all are completed."""
    shown = (progress if _is_whole(progress) else fresh_progress())["steps"]
    steps = [(each["status"] != "in_progress", each["id"]) for each in shown if each["status"] != "completed"]
    return Step(min(steps)[1]) if steps else None


def _changed(
    step: dict[str, Any], status: StepStatus, message: str | None, error: dict[str, Any] | None, stamp: str
) -> dict[str, Any]:
    return {
        **step,
        "status": status,
        "message": message,
        "started_at": None if status == "pending" else step["started_at"] or stamp,
        "completed_at": _completed_at(step, stamp) if status == "completed" else None,
        "error": error if status == "failed" else None,
    }


def _completed_at(step: dict[str, Any], stamp: str) -> str:
    known = step["completed_at"] if step["status"] == "completed" else None
    return str(known or max(stamp, step["started_at"] or stamp))


def _stamp(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
