"""Between the queue and the stages: what the queue hands over is brought to its stage and counted.

A job's fate is decided in two places only: `StageRunner` settles what a stage has decided, and `Deliveries.bury` settles
what the queue has given up, so that no course waits for a job that will not come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from services.kernel import metrics
from services.kernel.clock import Clock, SystemClock
from services.kernel.counters import Counters
from services.kernel.envelopes import log_fields
from services.kernel.errors import PermanentError
from services.kernel.logs import bind_context, get_logger
from services.kernel.queue import DeadJob, DeadReason, Handler, JobContext
from services.stage_worker.registry import Registry
from services.stage_worker.runner import Ending, StageRunner, identify
from services.stage_worker.stages.stage import Stage

_GIVEN_UP: Final = {
    DeadReason.REFUSED: "The job cannot be read. Start the course again.",
    DeadReason.EXHAUSTED: "This failed several times for a reason nobody foresaw. Start the course again; "
    "if it fails again, tell support.",
    DeadReason.CRASHED: "Each attempt stopped the program that made it: the material is too large or damaged. "
    "Remove or replace the document and start the course again.",
}

_JOBS = metrics.counter("stage_jobs", "Deliveries of jobs by how they ended", ("job_type", "result"))
_SECONDS = metrics.histogram("stage_job_duration_seconds", "Time from delivery to outcome", ("job_type",))
_RUNNING = metrics.gauge("stage_jobs_running", "Jobs in hand", ("job_type",))

_log = get_logger(__name__)


class JobGivenUp(PermanentError):
    """The queue will not deliver this job again."""

    code = "given_up"


class Deliveries:
    """What the queue hands over, brought to the stages and counted."""

    def __init__(
        self,
        runner: StageRunner,
        registry: Registry,
        stages: Mapping[str, Mapping[str, Stage[Any, Any]]],
        counters: Counters,
        clock: Clock | None = None,
    ) -> None:
        self._runner = runner
        self._registry = registry
        self._stages = stages
        self._counters = counters
        self._clock = clock or SystemClock()
        for job_types in stages.values():
            for job_type in job_types:
                for ending in get_args(Ending):
                    _JOBS.labels(job_type, ending)  # from the first: what appears as 1 has no rate

    def handlers(self, queue: str) -> dict[str, Handler]:
        """What `QueueWorker` calls for the jobs of `queue`, by job type."""
        return {job_type: self._handler(stage) for job_type, stage in self._stages[queue].items()}

    def _handler(self, stage: Stage[Any, Any]) -> Handler:
        followers = self._registry.followers_of(stage.job_type)

        async def deliver(payload: dict[str, Any], context: JobContext) -> None:
            started = self._clock.monotonic()
            _log.info("job started", attempt=context.attempt, priority=context.priority)
            with _RUNNING.labels(stage.job_type).track_inprogress():
                ending = await self._runner.run(stage, payload, followers)
            seconds = self._clock.monotonic() - started
            self._count(stage.job_type, ending)
            _log.info("job ended", ending=ending, seconds=round(seconds, 3))
            _SECONDS.labels(stage.job_type).observe(seconds, metrics.exemplar())

        return deliver

    async def bury(self, dead: DeadJob) -> None:
        """Settle a job that the queue has set aside, so that its course does not wait for it. Repeatable.

        A job type unknown here is left alone: it lies in the dead-letter view and may be replayed by a worker that knows it.
        """
        stage = self._stages.get(dead.queue, {}).get(dead.function or "")
        if stage is None or dead.reason not in _GIVEN_UP:
            _log.warning("dead job has no stage to settle it", queue=dead.queue, job=dead.key, reason=dead.reason.value)
            return
        error = JobGivenUp(_GIVEN_UP[dead.reason], reason=dead.reason.value)
        try:
            job = identify(dead.payload, stage, error)
        except PermanentError:
            _log.warning("dead job names no course", queue=dead.queue, job=dead.key)
            return
        with bind_context(jobId=dead.key, jobType=stage.job_type, queue=dead.queue, **log_fields(dead.payload or {})):
            ending = await self._runner.give_up(stage, job, error)
            self._count(stage.job_type, ending)
            _log.info("dead job settled", ending=ending, reason=dead.reason.value)

    def _count(self, job_type: str, ending: Ending) -> None:
        _JOBS.labels(job_type, ending).inc()
        if ending in {"applied", "failed"}:
            self._counters.add("stage_jobs", f"{job_type}:{'success' if ending == 'applied' else 'failed'}")
