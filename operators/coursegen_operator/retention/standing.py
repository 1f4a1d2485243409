"""The conditions of a policy, and what they say to people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from operators.coursegen_operator.conditions import Condition, done, find, stuck, timestamp, working
from operators.coursegen_operator.jobs.starting import SECRET_NOT_FOUND
from operators.coursegen_operator.resources import ANNOTATION_RECONCILE_AT, ANNOTATION_RUN_NOW, Object
from operators.coursegen_operator.retention.cronjob import State
from operators.coursegen_operator.retention.memory import Memory
from operators.coursegen_operator.retention.report import FAILURES, IDLE
from operators.coursegen_operator.retention.runs import Waiting
from operators.coursegen_operator.retention.spec import RetentionSpec

LAST_RUN_SUCCEEDED: Final = "LastRunSucceeded"
GUARD_TRIPPED: Final = "GuardTripped"
OVERDUE: Final = "Overdue"
RUN_SKIPPED: Final = "RunSkipped"
"""A run has found all that it is for off the schedule in `cron.job`."""

IN_FORCE_BY: Final = ("spec.schedule", "spec.timeZone", "spec.suspend", "spec")
"""What of a CronJob says when it runs: where somebody else has his way with that, the policy is not in force."""
_FIELDS_TOLD: Final = 2
_JUDGED: Final = frozenset({"Succeeded", "Partial", "Guarded"})


@dataclass(frozen=True, slots=True)
class Place:
    """How the objects of a policy are called on a command line."""

    namespace: str
    name: str

    @classmethod
    def of(cls, resource: Object) -> Place:
        """Those of `resource`."""
        metadata = resource["metadata"]
        return cls(str(metadata.get("namespace", "default")), str(metadata["name"]))

    def kubectl(self, words: str) -> str:
        """A command in its namespace."""
        return f"{self.command} {words}"

    @property
    def command(self) -> str:
        """How each begins."""
        return f"kubectl -n {self.namespace}"

    @property
    def run_now(self) -> str:
        """The command that runs the policy at once."""
        return self._annotate(ANNOTATION_RUN_NOW)

    @property
    def look_now(self) -> str:
        """The command that has the operator look at the policy at once, and write what others have changed."""
        return self._annotate(ANNOTATION_RECONCILE_AT)

    def _annotate(self, name: str) -> str:
        return self.kubectl(f'annotate rtp/{self.name} {name}="$(date +%s)" --overwrite')


def ready(
    spec: RetentionSpec,
    memory: Memory,
    waiting: Waiting | None,
    *,
    now: datetime,
    state: State,
    place: Place,
    cron_job: str,
    changed: Sequence[str] = (),
) -> tuple[Condition, ...]:
    """The three that every resource has: whether the policy is in force, whatever the last run came to.

    A pod that does not start is told of at once, and stalls the policy when it will not do so unless a person helps. Who
    changes the CronJob whenever it is written is named, and waited for by nobody: the operator can do no more about it. Where
    that is when it runs, the policy is not in force, and stalled.
    """
    if waiting is not None and waiting.obstacle.is_stuck(now):
        return stuck(waiting.obstacle.reason, _hindered(spec, waiting))
    step = place.kubectl(f"get cronjob/{cron_job} -o yaml")
    if state not in {"right", "overridden"}:
        what = "was changed, and is being written anew" if state == "edited" else "is being written"
        return working("Reconciling", f"CronJob {cron_job} {what}; should that not end: {step}")
    if off := [each for each in IN_FORCE_BY if each in changed]:
        said = f"{_changing(off, cron_job)}, so that it does not run as the policy says: {step}"
        return stuck("CronJobOverridden", f"{said}; once that has ended: {place.look_now}")
    last = f"; last run: {_summary(memory)}" if memory.last_run else "; it has not run yet"
    if changed:
        last += f"; {_changing(changed, cron_job)}: {step}"
    if waiting is not None:
        last += f"; {_hindered(spec, waiting)}"
    if spec.suspend:
        return done("Suspended", f"spec.suspend is true: it does not run by itself{last}")
    return done("Scheduled", f"runs at {spec.schedule} ({spec.time_zone}){last}")


def unusable(reason: str, message: str, place: Place, *, has_cron_job: bool) -> tuple[Condition, ...]:
    """The three for a schedule that cannot be used."""
    kept = "; the CronJob goes on as it was" if has_cron_job else ""
    return stuck(reason, f"{message}{kept}; set it right: {place.kubectl(f'edit rtp/{place.name}')}")


def last_run_succeeded(memory: Memory, place: Place) -> Condition:
    """How the last run went."""
    outcome = memory.outcome
    if not outcome:
        return Condition(
            LAST_RUN_SUCCEEDED, "Unknown", "NoRunYet", f"it has not run yet; to run it now: {place.run_now}"
        )
    if (
        outcome in IDLE
    ):  # off the schedule nothing is removed until a person acts; what was held is left to the next run
        if memory.is_off_schedule:  # to run it once more changes nothing before somebody puts it back
            return Condition(LAST_RUN_SUCCEEDED, "False", outcome, _summary(memory))
        said = f"{_summary(memory)}; to run it now: {place.run_now}"
        return Condition(LAST_RUN_SUCCEEDED, "Unknown", outcome, said)
    if outcome not in FAILURES:
        return Condition(LAST_RUN_SUCCEEDED, "True", outcome, _summary(memory))
    log = place.kubectl(f"logs job/{memory.last_run.get('jobName', '')}")
    return Condition(LAST_RUN_SUCCEEDED, "False", outcome, f"{_summary(memory)}; see {log}")


def guard_tripped(memory: Memory, previous: Sequence[Object], place: Place) -> Condition:
    """Whether the last run that came to a judgement was refused; one that failed before that changes nothing."""
    if memory.outcome == "Guarded":
        advice = f"nothing was removed by that rule; see {place.kubectl(f'get rtp/{place.name} -o yaml')}, then {place.run_now}"
        return Condition(GUARD_TRIPPED, "True", "GuardTripped", f"{_error(memory)}; {advice}")
    before = find(previous, GUARD_TRIPPED)
    if memory.outcome and memory.outcome not in _JUDGED and before is not None:
        return Condition.of(before)
    if memory.outcome in _JUDGED:
        return Condition(GUARD_TRIPPED, "False", "WithinLimits", "the last run was within the limits of spec.guard")
    return Condition(GUARD_TRIPPED, "False", "NoRunYet", "no run has come to a judgement yet")


def overdue(spec: RetentionSpec, due: datetime | None, memory: Memory, place: Place, cron_job: str) -> Condition:
    """Whether what was `due` has not been done in time; None is nothing. A run that finds all off the schedule does not do it."""
    if spec.suspend:
        return Condition(OVERDUE, "False", "Suspended", "nothing is due while spec.suspend is true")
    if due is None and memory.is_off_schedule:
        return Condition(OVERDUE, "True", RUN_SKIPPED, f"nothing is removed any more: {_summary(memory)}")
    if due is None:
        return Condition(OVERDUE, "False", "OnTime", "nothing that was due is missing")
    due_text, last = timestamp(due), memory.last_start
    if last is not None and last >= due and memory.outcome in FAILURES:
        log = place.kubectl(f"logs job/{memory.last_run.get('jobName', '')}")
        said = f"what was due at {due_text} is not done: {_summary(memory)}; see {log}"
        return Condition(OVERDUE, "True", "RunFailed", f"{said}; to run it now: {place.run_now}")
    since = f"the last one began at {timestamp(last)}" if last is not None else "there was none before"
    see = place.kubectl(f"describe cronjob/{cron_job}")
    said = f"no run has begun since {due_text}, when one was due; {since}; see {see}"
    return Condition(OVERDUE, "True", "RunMissing", f"{said}; to run it now: {place.run_now}")


def rows(memory: Memory) -> str:
    """What the last run did, in a few words."""
    run = memory.last_run
    deleted, matched = run.get("rowsDeleted", 0), run.get("rowsMatched", 0)
    if run.get("dryRun"):
        return f"dry run, {matched} rows would go"
    return f"{deleted} rows removed"


def fields(paths: Sequence[str]) -> str:
    """The first few of them, in a few words."""
    more = len(paths) - _FIELDS_TOLD
    return ", ".join(paths[:_FIELDS_TOLD]) + (f" and {more} more" if more > 0 else "")


def _changing(paths: Sequence[str], cron_job: str) -> str:
    return f"somebody else, such as a webhook, changes {fields(paths)} of CronJob {cron_job} whenever it is written"


def _summary(memory: Memory) -> str:
    error = _error(memory)
    job = memory.last_run.get("jobName", "")
    return f"{memory.outcome}, job {job}: {error or rows(memory)}"


def _error(memory: Memory) -> str:
    return str(memory.last_run.get("error") or "")


def _hindered(spec: RetentionSpec, waiting: Waiting) -> str:
    """What a Job waits for; ends with the next command."""
    if waiting.obstacle.reason == SECRET_NOT_FOUND:
        return f"job {waiting.job} needs key {spec.secret_key} of Secret {spec.secret_name}: {waiting.obstacle.message}"
    return f"job {waiting.job} does not start: {waiting.obstacle.message}"
