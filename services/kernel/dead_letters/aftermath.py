"""What follows when a decision about dead letters is written: new runs, queues set right, the relay woken.

Nothing here is needed for the truth, and all of it may be repeated: a new run has a key made from the dead job, and a job
that is forgotten twice is forgotten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias
from uuid import UUID

from services.kernel.commands import InitiationRequest
from services.kernel.dead_letters.decisions import JobFacts, Step
from services.kernel.dead_letters.results import EndedRun, Result
from services.kernel.errors import BrokerUnavailable, CoursegenError
from services.kernel.faults import reach
from services.kernel.initiation import Bell, CommandHandler
from services.kernel.logs import get_logger
from services.kernel.queue import Inspector

INITIATED_BY: Final = "API_ADMIN_REPLAY"
"""Who began a run, in its event."""

RunEnded: TypeAlias = Callable[[UUID, int], Awaitable[object]]
"""Told of a course and its run that waits no longer; may raise `BrokerUnavailable`, for others see to it too."""

_WRITES_ROWS: Final = frozenset({Step.REVIVE, Step.COPY, Step.RESEND, Step.END_RUN})
_FORGETS: Final = frozenset({Step.COPY, Step.NEW_RUN, Step.DROP, Step.SETTLE, Step.END_RUN})
_NO_REDIS: Final = "Redis does not answer; try again"
_log = get_logger(__name__)


def replay_key(outbox_id: UUID) -> str:
    """The idempotency key of the run that does the work of job `outbox_id` again; `facts` looks for it."""
    return f"replay:{outbox_id}"


class Aftermath:
    """Makes the rest of the machine follow."""

    def __init__(
        self, inspector: Inspector, commands: CommandHandler, bell: Bell, run_ended: RunEnded | None = None
    ) -> None:
        self._inspector = inspector
        self._commands = commands
        self._bell = bell
        self._run_ended = run_ended

    async def follow(self, results: Sequence[Result], ended: Sequence[EndedRun], request_id: str | None) -> None:
        """Do what is left to do; what fails is written into its result."""
        if any(result.step in _WRITES_ROWS for result in results):
            self._bell.notify()
        await self._begin_runs(results, request_id)
        await reach("dead_letters.before_forgetting")
        await self._put_back([result for result in results if result.step is Step.REQUEUE])
        await self._forget([result for result in results if result.step in _FORGETS])
        for run in ended:
            await self._tell(run)

    async def _tell(self, run: EndedRun) -> None:
        if self._run_ended is None:
            return
        try:
            await self._run_ended(run.course_id, run.run_number)
        except BrokerUnavailable:
            _log.warning("the slot of a cancelled run is freed by the next reconciliation", courseId=str(run.course_id))

    async def _begin_runs(self, results: Sequence[Result], request_id: str | None) -> None:
        """One run per course, however many of its jobs are replayed together."""
        begun: dict[UUID, Result] = {}
        for result in results:
            if result.step is not Step.NEW_RUN or result.facts is None:
                continue
            first = begun.setdefault(result.facts.course_id, result)
            if first is result:
                await self._begin_run(result, result.facts, request_id)
            result.new_job_id, result.failure = first.new_job_id, first.failure

    async def _begin_run(self, result: Result, facts: JobFacts, request_id: str | None) -> None:
        request = InitiationRequest(
            course_id=facts.course_id,
            user_id=facts.user_id,
            organization_id=facts.organization_id,
            has_files=facts.has_files,
            tier=facts.tier,
            priority=facts.priority,
            client_key=replay_key(facts.outbox_id),
            request_id=request_id,
            initiated_by=INITIATED_BY,
        )
        try:
            result.new_job_id = (await self._commands.initiate(request)).job_id
        except CoursegenError as error:
            _log.warning(
                "a dead job's course could not be started again", courseId=str(facts.course_id), code=error.code
            )
            result.failure = error.message

    async def _put_back(self, results: Sequence[Result]) -> None:
        for result in results:
            try:
                if not await self._inspector.replay(result.letter.queue or "", result.letter.key):
                    result.failure = "it is not dead any more, or the queue has not kept its body"
            except BrokerUnavailable:
                result.failure = _NO_REDIS

    async def _forget(self, results: Sequence[Result]) -> None:
        by_queue: defaultdict[str, list[Result]] = defaultdict(list)
        for result in results:
            if result.letter.queue is not None and result.is_done:
                by_queue[result.letter.queue].append(result)
        for queue, members in by_queue.items():
            try:
                await self._inspector.forget(queue, [result.letter.key for result in members])
            except BrokerUnavailable:
                _log.warning("a queue still shows jobs that were dealt with", queue=queue, jobs=len(members))
                _not_forgotten(members)


def _not_forgotten(results: Sequence[Result]) -> None:
    """Those of which only the queue knew were not dealt with at all."""
    for result in results:
        if result.step is Step.DROP and result.letter.kind == "queue":
            result.failure = _NO_REDIS
