"""The command handler: the one door through which a course's run begins (contract.md a.1, d, h).

Promises, for each request: state, outbox rows, event and key are written together or not at all; the same key gives the
same job for 24 hours, whoever races; a repeat is answered before a slot is asked for (TRAP3); a broken Redis costs nothing
but speed; a transient fault of PostgreSQL is retried three times, then the caller gets one clean error. The slot is given
back and the failure leaves a witness once it is known that no run began: a write that is under way when the caller has
waited long enough is followed to its end. A failed result is never remembered.

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
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from services.kernel.batching import Batcher
from services.kernel.cancellation import forget
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
from services.kernel.errors import CoursegenError, DatabaseUnavailable, LimitReached, RetryableError
from services.kernel.faults import reach
from services.kernel.idempotency import RememberedResult, ResultCache, derived_lookup
from services.kernel.initiation_refusals import refusal
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
_BEGAN: Final = frozenset({"accepted", "replay"})
_UNCONFIRMED: Final = (
    "Не удалось подтвердить запуск генерации курса: возможно, она ещё начнётся. "
    "Повторите тот же запрос немного позже: повтор безопасен, второй генерации он не запустит."
)
_QUERIES = Queries.load("services.kernel", "initiation.sql")
_log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Write:
    """One request on its way to PostgreSQL."""

    request: InitiationRequest
    limits: Mapping[str, int] | None
    """What PostgreSQL is to count against."""
    batch: int | None = None
    """The lock that its transaction holds to its end, once it has been sent."""


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
    write: _Write | None = None
    """The last that was submitted."""
    answer: asyncio.Future[InitiationOutcome] | None = None
    """To it, while it is under way."""
    doubtful: list[int] = field(default_factory=list)
    """Batches that were sent and never answered: they may be committed, or may yet be."""
    is_resolved: bool = False
    """Whether it is known what became of it, and the slot is in the right hands."""
    started: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether the last answer tells all."""
        is_told = self.permit is None or self.outcome.running is not None
        return self.answer is None and not self.doubtful and is_told


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
        self._writes: Batcher[_Write, InitiationOutcome] = Batcher(
            self._write_together,
            largest=_LARGEST_BATCH,
            in_flight=_BATCHES_IN_FLIGHT,
            patience_seconds=_BATCH_PATIENCE_SECONDS,
        )
        # What failed in company is tried alone: one locked course must not take its neighbours down with it.
        self._single_writes: Batcher[_Write, InitiationOutcome] = Batcher(
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
            InitiationFailed: the database could not do it, or did not say so, after all retries; nothing is remembered.
        """
        started = self._clock.monotonic()
        lookup = request.client_key or derived_lookup(request.user_id, request.course_id, request.has_files)
        remembered = await self._recall(lookup, request)
        if remembered is not None:
            self._counters.add("fsm_cache", "hit")
            return _initiation(remembered, from_cache=True)
        outcome = await self._decide(_Visit(request, started=started))
        if outcome.status not in _BEGAN:
            raise refusal(outcome, request)
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
            if self._gate is not None:
                await self._gate.drain()

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
        is_unconfirmed = visit.answer is not None or bool(visit.doubtful)
        await self._give_up(visit)
        raise InitiationFailed(_UNCONFIRMED if is_unconfirmed else None, requestId=visit.request.request_id)

    async def _attempt(self, visit: _Visit, *, alone: bool) -> InitiationOutcome:
        try:
            if self._gate is not None and visit.permit is None:
                probe = await self._probes.submit(visit.request)
                if probe.status != "clear":
                    return probe
                visit.permit = await self._gate.admit(visit.request, probe.run_number or 1)
                await reach("api.after_reserve")
            return await self._write(visit, self._single_writes if alone else self._writes)
        except LimitReached:
            raise
        except CoursegenError as error:
            return InitiationOutcome(status="failed", error=error.message)

    async def _write(self, visit: _Visit, writes: Batcher[_Write, InitiationOutcome]) -> InitiationOutcome:
        """Write, and remember what was sent: a caller who has waited long enough does not end the transaction."""
        visit.write = write = _Write(visit.request, None if visit.permit is None else visit.permit.limits)
        visit.answer = answer = asyncio.ensure_future(writes.submit(write))
        answer.add_done_callback(forget)
        try:
            await asyncio.wait([answer])
        except asyncio.CancelledError:
            if write.batch is None:
                answer.cancel()  # it has not left yet, and never will
                visit.answer = None
            raise
        return _landed(visit, answer)

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

    async def _write_together(self, writes: Sequence[_Write]) -> Sequence[InitiationOutcome]:
        batch = secrets.randbits(62)
        for write in writes:
            write.batch = batch
        rows = [_row(write) for write in writes]
        answers = await self._db.fetchval(_QUERIES["write"], rows)
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
        """Answer the caller now; follow what is under way, give the slot back and leave a witness beside."""
        self._counters.add("fsm_cache", "miss")
        _log.error("initiation given up", error=visit.outcome.error, isConfirmed=visit.is_known)
        if visit.is_known:
            await self._resolve(visit, visit.outcome)
        if len(self._witnesses) >= _MOST_WITNESSES:
            _log.error("failed initiation left no witness", error="too many of them")
            return
        task = asyncio.ensure_future(self._witness(visit))
        self._witnesses.add(task)
        task.add_done_callback(self._witnesses.discard)

    async def _witness(self, visit: _Visit) -> None:
        """Find out what became of it; if no run began, say so in the database."""
        while True:
            try:
                if not visit.is_resolved:
                    await self._resolve(visit, await self._truth(visit))
                if visit.outcome.status not in _BEGAN:
                    await self._record_failure(visit)
            except RetryableError:
                await asyncio.sleep(_WITNESS_RETRY_SECONDS)
            except CoursegenError as refused:
                _log.error("failed initiation left no witness", error=refused.message)
                return
            else:
                return

    async def _record_failure(self, visit: _Visit) -> None:
        request = visit.request
        await self._db.execute(
            _QUERIES["record_failure"],
            request.course_id,
            visit.outcome.error or _UNKNOWN.error,
            request.request_id,
            request.initiated_by,
            request.user_id,
        )

    async def _truth(self, visit: _Visit) -> InitiationOutcome:
        """What the request has come to, asked when none of its writes can change that any more.

        Raises:
            DatabaseUnavailable: nobody knows yet.
        """
        if visit.answer is not None:
            await asyncio.wait([visit.answer])  # as long as a statement may take, or the connection lives
            with contextlib.suppress(Exception):  # it has left its doubt
                visit.outcome = _landed(visit, visit.answer)
        if visit.outcome.status in _BEGAN or visit.is_known:
            return visit.outcome
        if visit.doubtful:
            await asyncio.sleep(_WITNESS_RETRY_SECONDS)  # what PostgreSQL has received, it has begun by then
            if not await self._db.fetchval(_QUERIES["have_ended"], visit.doubtful):
                raise DatabaseUnavailable("The lost transaction is still under way.")
        found = await self._probes.submit(visit.request)
        if found.status == "failed":
            raise DatabaseUnavailable(found.error)
        return found

    async def _resolve(self, visit: _Visit, truth: InitiationOutcome) -> None:
        """Count what became of it, and put the slot in the right hands."""
        has_begun = truth.status in _BEGAN
        if has_begun:
            # Also when it was found as a replay: its slot may have been verified away meanwhile.
            visit.outcome = msgspec.structs.replace(truth, status="accepted")
            _log.warning("initiation given up has begun a run", courseId=str(visit.request.course_id))
        visit.is_resolved = True
        self._counters.add("fsm_total", "success" if has_begun else "failed")
        if has_begun:
            self._counters.observe("fsm_duration", self._clock.monotonic() - visit.started)
        if self._gate is not None and visit.permit is not None:
            settled = visit.outcome if has_begun else InitiationOutcome(status="failed", running=bool(truth.running))
            await self._gate.settle(visit.permit, settled)


def _landed(visit: _Visit, answer: asyncio.Future[InitiationOutcome]) -> InitiationOutcome:
    """The answer that has come, or its error; one that was lost on the way leaves a doubt."""
    visit.answer = None
    if not answer.cancelled() and answer.exception() is None:
        return answer.result()
    if visit.write is not None and visit.write.batch is not None:
        visit.doubtful.append(visit.write.batch)
    if answer.cancelled():
        raise DatabaseUnavailable("The write was cancelled.")
    return answer.result()


def _row(write: _Write) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(write.request) | {"batch": write.batch}
    if write.limits is not None:
        row["limits"] = write.limits
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
