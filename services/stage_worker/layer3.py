"""Layer 3: the worker's own check that a course has been put into the stage whose job has just arrived (contract.md g).

In normal running the API or the stage before has done that in the transaction that wrote the job, and this does nothing.
It fires after a job that somebody wrote by hand, or a database that was restored. It goes through the same command
handler as everyone else, with an empty job list because the job exists already (TRAP34), and only ever forwards (TRAP11).
"""

from __future__ import annotations

from typing import Final

from services.kernel.clock import Clock, SystemClock
from services.kernel.counters import Counters
from services.kernel.database import translated
from services.kernel.errors import CoursegenError, RetryableError
from services.kernel.logs import get_logger
from services.stage_worker.stages.course_run import Position
from services.stage_worker.stages.transaction import StageTransaction

INITIATED_BY: Final = "WORKER_LAYER_3"

_log = get_logger(__name__)


class Layer3:
    """Initialises what nobody has, counts it, and never stops a job."""

    def __init__(self, counters: Counters, clock: Clock | None = None) -> None:
        self._counters = counters
        self._clock = clock or SystemClock()

    async def initialise(self, tx: StageTransaction, position: Position) -> bool:
        """Put the course into the first state of `position`; False when it could not, which is no reason to stop.

        The attempt has a savepoint of its own inside the caller's transaction.

        Raises:
            RetryableError: when the database does not answer; then nothing can go on anyway.
        """
        began = self._clock.monotonic()
        key = f"layer3:{tx.course.id}:{tx.course.run_number}:{position.number}"
        try:
            with translated():
                async with tx.connection.transaction():
                    initialised = await tx.initialise(position.initial, key=key, by=INITIATED_BY, jobs=[])
        except RetryableError:
            raise
        except CoursegenError as error:
            _log.warning("layer 3 could not initialise the course", state=tx.state, error=error.message)
            self._count("failed", began)
            return False
        if initialised:
            _log.warning("layer 3 initialised the course", previous=tx.course.state, state=position.initial)
            self._count("success", began)
        return initialised

    def _count(self, result: str, began: float) -> None:
        self._counters.add("fallback", f"layer3:{result}")
        self._counters.observe("fallback_duration", self._clock.monotonic() - began)
