"""What a policy's status remembers from one look to the next: runs whose Jobs are gone, and since when it is scheduled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from operators.coursegen_operator.conditions import moment_of, timestamp
from operators.coursegen_operator.resources import Object, part
from operators.coursegen_operator.retention.report import FAILURES, Run

LATE: Final = timedelta(seconds=60)
"""How long after another one a run may be seen that ended before it: the end of a Job is dated before it is written."""
MOST_COUNTED: Final = 32
"""Runs within `LATE` that are remembered by name; more than a CronJob and people make in a minute."""

_GOOD: Final = frozenset({"Succeeded", "Partial"})
_BROKEN: Final = frozenset({"Failed", "Unreachable"})


@dataclass(frozen=True, slots=True)
class Memory:
    """The remembered part of the status."""

    last_run: Object
    """As the status has it; empty before the first."""
    counted: tuple[tuple[str, str], ...] = ()
    """The places of the runs that are counted and ended within `LATE` before the last one, with its own; the newest last."""
    consecutive_failures: int = 0
    last_successful: datetime | None = None
    last_completed: datetime | None = None
    """When a run last came to an end of its own, be it that it was refused or had nothing to do."""
    last_schedule: datetime | None = None
    scheduled: str = ""
    """The schedule that `scheduled_since` speaks of; empty while it is suspended."""
    scheduled_since: datetime | None = None
    handled_run_now: str = ""

    @classmethod
    def of(cls, resource: Object) -> Memory:
        """What the status of `resource` remembers; nothing, for one that nobody has looked at."""
        status = part(resource, "status")
        scheduled = part(status, "scheduled")
        return cls(
            last_run=part(status, "lastRun"),
            counted=tuple((str(each["finishedAt"]), str(each["jobName"])) for each in status.get("countedRuns") or ()),
            consecutive_failures=_number(status.get("consecutiveFailures")),
            last_successful=moment_of(status.get("lastSuccessfulTime")),
            last_completed=moment_of(status.get("lastCompletedTime")),
            last_schedule=moment_of(status.get("lastScheduleTime")),
            scheduled=str(scheduled.get("schedule") or ""),
            scheduled_since=moment_of(scheduled.get("since")),
            handled_run_now=str(status.get("lastHandledRunNow") or ""),
        )

    @property
    def last_end(self) -> datetime | None:
        """When the last run ended that was counted."""
        return moment_of(self.last_run.get("finishedAt"))

    def is_news(self, run: Run) -> bool:
        """Whether `run` is still to be counted. Never twice: one that is seen too late to tell is taken for counted.

        Two may end in one second, and the one that is seen last may have ended first: those within `LATE` are known by name. A
        status that an older operator has written names none, and goes by the last run's moment and name.
        """
        last = self.last_end
        if last is None:
            return True
        if not self.counted:
            return run.place > (timestamp(last), str(self.last_run.get("jobName", "")))
        if run.place in self.counted:
            return False
        return run.finished_at > last or (run.finished_at > last - LATE and len(self.counted) < MOST_COUNTED)

    @property
    def outcome(self) -> str:
        """How the last run went; empty before the first."""
        return str(self.last_run.get("outcome") or "")

    @property
    def is_off_schedule(self) -> bool:
        """Whether the last run found all its targets taken off `cron.job`: nothing is removed until a person puts them back."""
        return self.outcome == "Unscheduled"

    @property
    def last_start(self) -> datetime | None:
        """When the newest run began that is known."""
        starts = (moment_of(self.last_run.get("startedAt")), self.last_schedule)
        return max((start for start in starts if start is not None), default=None)

    def counting(self, runs: Sequence[Run], ended: Sequence[Run]) -> Memory:
        """With runs that have ended since, of all of which is seen that they have `ended`."""
        memory = self
        for run in runs:
            is_good = run.outcome in _GOOD
            is_late = memory.last_end is not None and run.finished_at < memory.last_end
            memory = replace(
                memory,
                last_run=memory.last_run if is_late else run.as_object(),
                consecutive_failures=memory._failures_after(run, is_late=is_late),
                last_successful=_later(memory.last_successful, run.finished_at if is_good else None),
                last_completed=_later(memory.last_completed, run.finished_at if run.outcome not in _BROKEN else None),
            )
        return replace(memory, counted=memory._lately({*self.counted, *(run.place for run in ended)}))

    def scheduled_as(self, schedule: str, now: datetime) -> Memory:
        """With `schedule` in force from `now` on, unless it was before; an empty one is none."""
        if schedule == self.scheduled:
            return self
        return replace(self, scheduled=schedule, scheduled_since=now if schedule else None)

    def seeing(self, cron_job: Object) -> Memory:
        """With the times that the CronJob shows: of Jobs that came and went while nobody looked, too."""
        shown = part(cron_job, "status")
        return replace(
            self,
            last_schedule=_later(self.last_schedule, moment_of(shown.get("lastScheduleTime"))),
            last_completed=_later(self.last_completed, moment_of(shown.get("lastSuccessfulTime"))),
        )

    def as_object(self) -> Object:
        """As the status has it; what is not known is left out."""
        scheduled = {"schedule": self.scheduled, "since": _written(self.scheduled_since)}
        found: Object = {
            "consecutiveFailures": self.consecutive_failures,
            "lastRun": self.last_run or None,
            "countedRuns": [{"jobName": job, "finishedAt": at} for at, job in self.counted] or None,
            "lastSuccessfulTime": _written(self.last_successful),
            "lastCompletedTime": _written(self.last_completed),
            "lastScheduleTime": _written(self.last_schedule),
            "scheduled": scheduled if self.scheduled and scheduled["since"] else None,
            "lastHandledRunNow": self.handled_run_now or None,
        }
        return {key: value for key, value in found.items() if value is not None}

    def _lately(self, places: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Those of `places` that ended within `LATE` before the last run."""
        if self.last_end is None:
            return ()
        since = timestamp(self.last_end - LATE)
        return tuple(sorted(place for place in places if place[0] > since)[-MOST_COUNTED:])

    def _failures_after(self, run: Run, *, is_late: bool) -> int:
        """A run that ended before another one that is counted makes good nothing that came after it, nor is it one failure
        more where that has made it good.
        """
        if run.outcome in FAILURES:
            is_made_good = self.last_successful is not None and run.finished_at < self.last_successful
            return self.consecutive_failures + (0 if is_made_good else 1)
        return 0 if run.outcome in _GOOD and not is_late else self.consecutive_failures


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((each for each in (one, other) if each is not None), default=None)


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
