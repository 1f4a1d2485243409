"""The command handler: the one door through which a course's run begins (contract.md a.1, d, h).

Promises, for each request: state, outbox rows, event and key are written together or not at all; the same key gives the
same job for 24 hours, whoever races; a repeat is answered before a slot is asked for (TRAP3); a broken Redis costs nothing
but speed; a transient fault of PostgreSQL is retried three times, then the caller gets one clean error, the slot is given
back and the failure leaves a witness. A failed result is never remembered.

::

    request ─▶ Redis: seen before? ──yes─▶ PostgreSQL: does its row still stand? ──yes─▶ the remembered job
                     │ no                               │ no
                     ▼                                  ▼
               probe: what would be done? ─▶ a repeat, or a refusal ─▶ answer
                     │ a run would begin
                     ▼
               the gate: a slot? ──no─▶ 429
                     │ yes
                     ▼
               initiate_generation_v2 (one transaction) ─▶ wake the relay, write back to Redis ─▶ answer

Probes and writes of concurrent requests travel together. Authentication, validation and HTTP are the caller's; the
decisions (404, 403, replay, busy) are the SQL function's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from services.kernel.batching import Batcher
from services.kernel.clock import Clock, SystemClock
from services.kernel.commands import (
    InitializeFSMCommand,
    InitializeFSMResult,
    Initiation,
    InitiationOutcome,
    InitiationRequest,
)
from services.kernel.concurrency.gate import Gate, Permit
from services.kernel.database import Database
from services.kernel.errors import (
    CourseBusy,
    CoursegenError,
    Forbidden,
    InvalidInput,
    KeyConflict,
    LimitReached,
    NotFound,
    RetryableError,
)
from services.kernel.faults import reach
from services.kernel.idempotency import RememberedResult, ResultCache, derived_lookup
from services.kernel.logs import get_logger
from services.kernel.queries import Queries

RETRIES: Final = 3
"""Tries after the first (GAP20)."""

_BACKOFF_SECONDS: Final = (0.25, 0.75, 2.0)
"""Long enough in all (1.5 to 3 s) for a PostgreSQL that restarts after a crash, short enough for a caller who waits."""
DEADLINE_SECONDS: Final = 10.0
_LARGEST_BATCH: Final = 64
_BATCHES_IN_FLIGHT: Final = 4
_BATCH_PATIENCE_SECONDS: Final = 0.02
"""Longer than a full batch takes; one that waits for a locked course holds the next up no longer than this."""
_SINGLES_IN_FLIGHT: Final = 4
_WITNESS_RETRY_SECONDS: Final = 1.0
_MOST_WITNESSES: Final = 1000

_UNKNOWN: Final = InitiationOutcome(status="failed", error="deadline reached")
_QUERIES = Queries.load("services.kernel", "initiation.sql")
_log = get_logger(__name__)


_Item = tuple[InitiationRequest, Mapping[str, int] | None]
"""What is written: a request, and the limits that PostgreSQL is to count against."""


class InitiationFailed(CoursegenError):
    """Не удалось запустить генерацию курса. Запрос ничего не изменил: повторите его немного позже."""

    code = "initiation_failed"
    http_status = 500


class CounterSink(Protocol):
    """Where the handler counts; `services.kernel.counters.Counters` is one."""

    def add(self, name: str, label: str = "", amount: float = 1) -> None: ...  # noqa: D102
    def observe(self, name: str, seconds: float) -> None: ...  # noqa: D102


class Bell(Protocol):
    """Wakes the relay after a commit; `services.kernel.wakeup.WakeUp` is one. Must not block or raise."""

    def notify(self) -> None: ...  # noqa: D102


@dataclass(slots=True)
class _Visit:
    """One request on its way."""

    request: InitiationRequest
    permit: Permit | None = None
    """Once the gate has let it in; kept over all attempts."""
    outcome: InitiationOutcome = _UNKNOWN
    """Of the last attempt."""


class CommandHandler:
    """Begins runs. Safe for concurrent use; concurrent calls share transactions."""

    def __init__(
        self,
        db: Database,
        *,
        cache: ResultCache | None,
        counters: CounterSink,
        bell: Bell,
        gate: Gate | None = None,
        clock: Clock | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """Build a handler on open resources, which stay the caller's to close.

        Args:
            db: the truth.
            cache: Layer 1; None leaves it out.
            counters: gets `fsm_total`, `fsm_cache` and `fsm_duration`.
            bell: rung after each commit that wrote outbox rows.
            gate: limits how many courses are in generation at once; None does not.
            clock: measures durations.
            deadline_seconds: longest time one request may take, retries included.
        """
        self._db = db
        self._cache = cache
        self._counters = counters
        self._bell = bell
        self._clock = clock or SystemClock()
        self._deadline_seconds = deadline_seconds
        self._gate = gate
        self._probes: Batcher[InitiationRequest, InitiationOutcome] = Batcher(
            self._probe_together, largest=_LARGEST_BATCH, in_flight=2
        )
        self._writes: Batcher[_Item, InitiationOutcome] = Batcher(
            self._write_together,
            largest=_LARGEST_BATCH,
            in_flight=_BATCHES_IN_FLIGHT,
            patience_seconds=_BATCH_PATIENCE_SECONDS,
        )
        # What failed in company is tried alone: one locked course must not take its neighbours down with it.
        self._single_writes: Batcher[_Item, InitiationOutcome] = Batcher(
            self._write_together, largest=1, in_flight=_SINGLES_IN_FLIGHT
        )
        self._checks: Batcher[tuple[UUID, UUID, str], bool] = Batcher(self._check_together, largest=256, in_flight=2)
        self._witnesses: set[asyncio.Task[None]] = set()

    async def initiate(self, request: InitiationRequest) -> Initiation:
        """Begin the course's run, or answer with the run that this request began before.

        Raises:
            NotFound: the course does not exist and there is no title to create it with.
            Forbidden: it belongs to someone else.
            CourseBusy: another request's run is under way; `details["jobId"]` names its job.
            KeyConflict: the key belongs to another course.
            InvalidInput: files are asked for and there are none, or an organisation is needed and unknown.
            LimitReached: too many courses are in generation already.
            InitiationFailed: the database could not do it after all retries; nothing is remembered.
        """
        started = self._clock.monotonic()
        lookup = request.client_key or derived_lookup(request.user_id, request.course_id, request.has_files)
        remembered = await self._recall(lookup, request)
        if remembered is not None:
            self._counters.add("fsm_cache", "hit")
            return _initiation(remembered, from_cache=True)
        outcome = await self._decide(_Visit(request))
        if outcome.status not in {"accepted", "replay"}:
            raise _refusal(outcome, request)
        result = _remembered(outcome, request)
        if self._cache is not None:
            await self._cache.remember(lookup, result)
        replayed = outcome.status == "replay"
        self._count(replayed, self._clock.monotonic() - started)
        return _initiation(result, from_cache=replayed)

    async def initialize(self, command: InitializeFSMCommand) -> InitializeFSMResult:
        """Call `initialize_fsm_with_outbox` as it is; Layers 2 and 3 and tools come in here.

        Raises:
            DatabaseUnavailable: for the moment; the same command may be repeated.
            PermanentError: the function refused it; nothing was written.
        """
        raw = await self._db.fetchval(
            _QUERIES["initialize"],
            command.entity_id,
            command.user_id,
            command.organization_id,
            command.idempotency_key,
            command.initiated_by,
            command.initial_state,
            command.job_data,
            command.metadata,
        )
        result = msgspec.convert(raw, InitializeFSMResult)
        if result.outbox_entries and not result.idempotent_hit:
            self._bell.notify()
        return result

    async def drain(self) -> None:
        """Return when no batch and no witness is under way."""
        await self._writes.drain()
        await self._single_writes.drain()
        if self._gate is not None:
            await self._gate.drain()
        if self._witnesses:
            await asyncio.wait(self._witnesses)

    def abandon(self) -> None:
        """Give up witnesses that the database has not taken yet (at the end of a shutdown)."""
        for task in self._witnesses:
            task.cancel()

    async def _recall(self, lookup: str, request: InitiationRequest) -> RememberedResult | None:
        if self._cache is None:
            return None
        remembered = await self._cache.recall(lookup)
        if remembered is None or remembered.course_id != request.course_id:
            return None
        try:
            stands = await self._checks.submit((request.course_id, request.user_id, remembered.idempotency_key))
        except RetryableError:
            return None  # the write path owns the retries
        return remembered if stands else None

    async def _decide(self, visit: _Visit) -> InitiationOutcome:
        """Probe, reserve and write, again and again while it fails for reasons that may pass."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_seconds):
                for attempt in range(RETRIES + 1):
                    if attempt:
                        await asyncio.sleep(_BACKOFF_SECONDS[attempt - 1] * random.uniform(0.5, 1.0))
                    visit.outcome = _UNKNOWN
                    visit.outcome = await self._attempt(visit, alone=attempt > 0)
                    if visit.outcome.status != "failed":
                        return await self._settled(visit)
                    _log.warning("initiation attempt failed", attempt=attempt + 1, error=visit.outcome.error)
        await self._give_up(visit)
        raise InitiationFailed(requestId=visit.request.request_id)

    async def _attempt(self, visit: _Visit, *, alone: bool) -> InitiationOutcome:
        try:
            if self._gate is not None and visit.permit is None:
                probe = await self._probes.submit(visit.request)
                if probe.status != "clear":
                    return probe
                visit.permit = await self._gate.admit(visit.request, probe.run_number or 1)
                await reach("api.after_reserve")
            limits = None if visit.permit is None else visit.permit.limits
            return await (self._single_writes if alone else self._writes).submit((visit.request, limits))
        except LimitReached:
            raise
        except CoursegenError as error:
            return InitiationOutcome(status="failed", error=error.message)

    async def _settled(self, visit: _Visit) -> InitiationOutcome:
        """The outcome, with the slot in the right hands; a limit that PostgreSQL found is refused here."""
        outcome = visit.outcome
        if self._gate is None:
            return outcome
        if visit.permit is not None:
            await self._gate.settle(visit.permit, outcome)
        if outcome.status == "limited":
            await self._gate.refuse(visit.request, outcome.limit_type or "global", outcome.limit, outcome.current)
        return outcome

    async def _probe_together(self, requests: Sequence[InitiationRequest]) -> Sequence[InitiationOutcome]:
        rows = [
            {
                "probe": True,
                "courseId": request.course_id,
                "userId": request.user_id,
                "organizationId": request.organization_id,
                "title": request.title,
                "hasFiles": request.has_files,
                "clientKey": request.client_key,
            }
            for request in requests
        ]
        return msgspec.convert(await self._db.fetchval(_QUERIES["initiate"], rows), list[InitiationOutcome])

    async def _write_together(self, items: Sequence[_Item]) -> Sequence[InitiationOutcome]:
        answers = await self._db.fetchval(_QUERIES["initiate"], [_row(*item) for item in items])
        await reach("api.after_commit")
        outcomes = msgspec.convert(answers, list[InitiationOutcome])
        if any(outcome.entries and outcome.status == "accepted" for outcome in outcomes):
            self._bell.notify()
        return outcomes

    async def _check_together(self, triples: Sequence[tuple[UUID, UUID, str]]) -> Sequence[bool]:
        courses, users, keys = zip(*triples, strict=True)
        rows = await self._db.fetch(_QUERIES["standing"], list(courses), list(users), list(keys))
        return [row["stands"] for row in rows]

    def _count(self, replayed: bool, seconds: float) -> None:
        self._counters.add("fsm_cache", "hit" if replayed else "miss")
        if not replayed:
            self._counters.add("fsm_total", "success")
            self._counters.observe("fsm_duration", seconds)

    async def _give_up(self, visit: _Visit) -> None:
        """Count the failure, give the slot back, and leave a witness as soon as the database takes one."""
        self._counters.add("fsm_cache", "miss")
        self._counters.add("fsm_total", "failed")
        _log.error("initiation given up", error=visit.outcome.error)
        if visit.outcome.running is not None:
            await self._settled(visit)
            visit.permit = None
        if len(self._witnesses) < _MOST_WITNESSES:
            task = asyncio.ensure_future(self._witness(visit))
            self._witnesses.add(task)
            task.add_done_callback(self._witnesses.discard)

    async def _witness(self, visit: _Visit) -> None:
        request = visit.request
        while True:
            try:
                await self._settle_late(visit)
                await self._db.execute(
                    _QUERIES["record_failure"],
                    request.course_id,
                    visit.outcome.error,
                    request.request_id,
                    request.initiated_by,
                )
            except RetryableError:
                await asyncio.sleep(_WITNESS_RETRY_SECONDS)
            except CoursegenError as refused:
                _log.error("failed initiation left no witness", error=refused.message)
                return
            else:
                return

    async def _settle_late(self, visit: _Visit) -> None:
        """Nobody knew whether the last attempt was committed; now PostgreSQL answers again, and knows."""
        if self._gate is None or visit.permit is None:
            return
        running = await self._db.fetchval(_QUERIES["is_running"], str(visit.permit.course_id))
        await self._gate.settle(visit.permit, InitiationOutcome(status="failed", running=running))
        visit.permit = None


def _row(request: InitiationRequest, limits: Mapping[str, int] | None) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(request)
    if limits is not None:
        row["limits"] = limits
    return row


def _remembered(outcome: InitiationOutcome, request: InitiationRequest) -> RememberedResult:
    return RememberedResult(
        job_id=outcome.job_id,
        course_id=request.course_id,
        idempotency_key=outcome.idempotency_key or "",
        run_number=outcome.run_number or 1,
    )


def _initiation(result: RememberedResult, *, from_cache: bool) -> Initiation:
    return Initiation(
        course_id=result.course_id, job_id=result.job_id, run_number=result.run_number, from_cache=from_cache
    )


def _refusal(outcome: InitiationOutcome, request: InitiationRequest) -> CoursegenError:
    match outcome.status:
        case "not_found":
            return NotFound(
                "There is no such course. Create it first (POST /api/courses), or send a `title` to create it here.",
                courseId=str(request.course_id),
            )
        case "forbidden":
            return Forbidden("This course belongs to someone else.", courseId=str(request.course_id))
        case "busy":
            return CourseBusy(
                "The course is being generated already; wait for it, cancel it, or repeat the request that began it.",
                courseId=str(request.course_id),
                jobId=None if outcome.job_id is None else str(outcome.job_id),
            )
        case "key_conflict":
            return KeyConflict(courseId=str(request.course_id))
        case "no_documents":
            return InvalidInput(
                "`hasFiles` is true but the course has no documents; upload one, or send `hasFiles: false`.",
                field="hasFiles",
            )
        case _:
            return InvalidInput(
                "To create a course the token must name an organisation: claim `app_metadata.organization_id`.",
                claim="app_metadata.organization_id",
            )
