"""One look at a DatabaseMigration: a state machine over its spec, its status, its Jobs and the Deployments.

::

    task       its Job ends well                     else
    ────────   ───────────────────────────────────   ──────────────────────────────────────────────────────────────
    plan       nothing pending: settled              later again: for ever when only waiting mends it, else up to
               pending, permitted: apply             maxAttempts, then Stalled (RetryLimitReached)
               pending, not permitted: Stalled
    apply      settled                               plan, later
    contract   settled, nothing of contract left     plan, later, up to maxAttempts; Ready stays True
    drift      InSync, Drifted; next one is due      drift, later
               files pending: plan, at once
    (none)     settled: contract when permitted, rolled out and soaked; drift when due; else rest

At most one Job at a time. A Job is made under a name that follows from the status and the spec, so whoever looks next, after a
crash at any point, makes no second one; its result is noted by moving on to another name. A turn goes on until only time, a
Job or a person can bring it further.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from operators.coursegen_operator.child import task_of
from operators.coursegen_operator.conditions import moment_of
from operators.coursegen_operator.jobs.ending import is_finished, is_readable
from operators.coursegen_operator.jobs.starting import Obstacle, has_started, obstacle_of
from operators.coursegen_operator.migrations import progress, words
from operators.coursegen_operator.migrations.facts import Facts
from operators.coursegen_operator.migrations.finding import Finding
from operators.coursegen_operator.migrations.job import backup_in, job_of, name_of, plan_hash_of
from operators.coursegen_operator.migrations.permission import (
    NEXT_SECONDS,
    WATCH_SECONDS,
    backup_for,
    contract_hold,
    expand_hold,
    is_approved,
    is_contract_approved,
    loses_data,
)
from operators.coursegen_operator.migrations.report import result_of
from operators.coursegen_operator.migrations.standing import Rest, RestKind, Speaker
from operators.coursegen_operator.migrations.status import Attempt, Memory, Task
from operators.coursegen_operator.planning import Notice, Plan
from operators.coursegen_operator.resources import (
    Object,
)

KEPT_JOBS: Final = 10
"""Finished Jobs that are kept at most, whatever their time to live: a database that is away makes one every few minutes."""

SOON_SECONDS: Final = 5.0
"""To the next look, while a pod is about to start or to go: nothing tells when it does."""


class Turn:
    """One look at one resource: goes on as far as it can."""

    def __init__(self, facts: Facts, memory: Memory) -> None:
        """Begin where `memory` has ended."""
        self._facts = facts
        self._spec = facts.spec
        self._memory = memory
        self._notices: list[Notice] = []

    def plan(self) -> Plan:
        """The plan that the turn comes to."""
        if self._memory.round_key != self._facts.round_key:
            self._turn_to_spec()
        rest = self._step()
        while rest is None:
            rest = self._step()
        speaker = Speaker(self._facts, self._memory)
        conditions = speaker.conditions(rest)
        return Plan(
            status={
                "observedGeneration": self._facts.generation,
                "conditions": [condition.as_object() for condition in conditions],
                **self._memory.as_object(),
            },
            children=rest.children,
            obsolete=(*rest.obsolete, *self._worn_out()),
            notices=(*self._notices, *speaker.notices(conditions)),
            look_again_seconds=self._seconds_to(rest),
        )

    def _turn_to_spec(self) -> None:
        """Begin a round, unless only the manner is another one and nothing is under way in the old one.

        A Job keeps the pod that it was made with, and what has failed may be mended by just such an edit (more memory, more
        attempts): then everything begins anew, with a plan.
        """
        key = self._facts.round_key
        if self._memory.is_at_rest and self._memory.plan_key == key.rpartition("-")[0]:
            self._memory = progress.gone_on(self._memory, key)
        else:
            self._begin()

    def _begin(self) -> None:
        facts, before = self._facts, self._memory
        is_same = before.work_key == facts.spec.work
        self._memory = progress.begun(before, facts.round_key, facts.reconcile_at[:253], is_same_work=is_same)

    # ── One step: None when there is another one to take ──

    def _step(self) -> Rest | None:
        task = self._memory.task
        if task is None:
            return self._choose()
        job = self._facts.jobs.get(self._name(task))
        if job is None:
            return self._make(task)
        self._note_backup(task, backup_in(job))
        if not is_finished(job) or not is_readable(job, self._facts.pods, self._facts.now):
            return self._running(task, job)
        self._note(task, job)
        return None

    def _choose(self) -> Rest | None:
        self._note_approval()
        if self._memory.is_settled:
            return self._choose_settled()
        if not (self._memory.has_work and self._memory.plan_hash):
            return self._start("plan")
        if self._spec.suspend and not self._is_made("apply"):
            return Rest("suspended")
        hold = expand_hold(self._facts, self._memory)
        return Rest("held", hold=hold) if hold is not None else self._start("apply")

    def _choose_settled(self) -> Rest | None:
        hold, due = None, self._drift_due()
        if self._memory.contract_pending and (not self._spec.suspend or self._is_made("contract")):
            hold = contract_hold(self._facts, self._memory)
            if hold is None:
                return self._start("contract")
        if not self._spec.suspend and due is not None and due <= self._facts.now:
            return self._start("drift")
        return Rest("settled", hold=hold, due=None if self._spec.suspend else due)

    def _is_made(self, task: Task) -> bool:
        """Whether the Job of `task` is there before it is due: a leader that was cut off had asked for it, and it came late."""
        return name_of(self._facts.resource, self._spec, progress.started(self._memory, task), task) in self._facts.jobs

    def _start(self, task: Task) -> Rest | None:
        self._memory = progress.started(self._memory, task)
        return self._step()

    def _make(self, task: Task) -> Rest | None:
        """The Job of `task` is not there: not made yet, or removed before its result was noted."""
        if not self._is_permitted(task):
            self._memory = progress.withdrawn(self._memory)
            return None
        if task != "drift" and self._memory.failed_attempts >= self._spec.retry.max_attempts:
            if not self._memory.is_settled:
                return Rest("given up")
            self._memory = replace(self._memory, task=None, retry_at=None)  # the contract phase: the rest goes on
            return None
        if self._spec.suspend:
            return Rest("suspended")
        if self._memory.retry_at is not None and self._facts.now < self._memory.retry_at:
            return Rest("backing off", due=self._memory.retry_at)
        return self._wait_for_others(task) or self._made(task)

    def _is_permitted(self, task: Task) -> bool:
        match task:
            case "plan":
                return True
            case "apply":
                return not self._memory.is_settled and expand_hold(self._facts, self._memory) is None
            case "contract":
                return self._memory.is_settled and contract_hold(self._facts, self._memory) is None
            case "drift":
                return self._drift_due() is not None

    def _wait_for_others(self, task: Task) -> Rest | None:
        """Jobs of an earlier spec. What only reads, or has not begun, is removed; a migration is left to end."""
        others = self._facts.unfinished(other_than=self._name(task))
        leftover = self._facts.left_behind()
        if not others and not leftover:
            return None
        removable = tuple(
            job
            for job in others
            if job["metadata"].get("deletionTimestamp") is None
            and (task_of(job) in {"plan", "drift"} or not has_started(job, self._facts.pods))
        )
        kind, item = ("job", others[0]) if others else ("pod", leftover[0])
        what = f"{kind}/{item['metadata']['name']}"
        return Rest("waiting", what=what, obsolete=removable, look_seconds=SOON_SECONDS)

    def _made(self, task: Task) -> Rest:
        name = self._name(task)
        if task in {"apply", "contract"} and self._memory.last.job != name:
            self._notices.append(
                Notice(words.MIGRATION_STARTED, f"job/{name} applies {words.of_task(task, self._memory)}")
            )
        self._note_backup(task, backup_for(self._facts, self._memory, task))
        return self._running(task, None)

    def _running(self, task: Task, job: Object | None) -> Rest:
        facts, name = self._facts, self._name(task)
        is_over = job is not None and is_finished(job)
        found = obstacle_of(job, facts.pods, facts.now, facts.commands.kubectl) if job and not is_over else None
        # Of a Job that has ended nothing new is known before it is read: why it did not start stays noted until then.
        if task != "drift" and not (is_over and self._memory.last.job == name):
            status = (job or {}).get("status") or {}
            self._memory = replace(
                self._memory,
                last=Attempt(
                    job=name,
                    task=task,
                    number=self._memory.attempt,
                    outcome="NotStarted" if found else "Running",
                    started_at=moment_of(status.get("startTime")),
                    error=found.message if found else "",
                ),
            )
        backup = backup_for(facts, self._memory, task)
        child = job_of(facts.resource, self._spec, self._memory, task, backup)
        look = self._look(job, found)
        kind: RestKind = "ended" if is_over else "running"
        return Rest(kind, what=f"job/{name}", children=(child,), obstacle=found, look_seconds=look)

    def _look(self, job: Object | None, obstacle: Obstacle | None) -> float | None:
        if job is not None and is_finished(job):
            return NEXT_SECONDS
        if obstacle is not None:
            return WATCH_SECONDS if obstacle.is_stuck(self._facts.now) else SOON_SECONDS
        is_going = job is not None and has_started(job, self._facts.pods)
        return None if is_going else SOON_SECONDS

    # ── What is noted ──

    def _note(self, task: Task, job: Object) -> None:
        """What a finished Job has found out."""
        finding = Finding(self._facts, self._memory, task, str(job["metadata"]["name"]))
        finding.note(result_of(job, self._facts.pods, task))
        self._memory = finding.memory
        self._notices += finding.notices
        if finding.has_lost:
            self._begin()

    def _note_backup(self, task: Task, backup: str) -> None:
        if backup and loses_data(self._memory, task):
            self._memory = progress.backed(self._memory, task, plan_hash_of(self._memory, task), backup)

    def _note_approval(self) -> None:
        if is_approved(self._facts, self._memory):
            self._memory = progress.approved(self._memory)
        if is_contract_approved(self._facts, self._memory):
            self._memory = progress.contract_approved(self._memory)

    # ── Figures ──

    def _name(self, task: Task) -> str:
        return name_of(self._facts.resource, self._spec, self._memory, task)

    def _drift_due(self) -> datetime | None:
        """When the next check is due; None: never. The first one follows at once when the expand phase is complete."""
        memory, drift = self._memory, self._memory.drift
        if self._spec.drift.mode == "Off" or memory.settled_at is None or memory.is_ahead:
            return None
        if memory.task is None and memory.retry_at is not None:
            return memory.retry_at
        if drift.checked_at is None or drift.checked_at < memory.settled_at:
            return memory.settled_at
        return drift.checked_at + timedelta(seconds=self._spec.drift.interval_seconds)

    def _seconds_to(self, rest: Rest) -> float | None:
        moments = [moment for moment in rest.moments if moment > self._facts.now]
        found = [(moment - self._facts.now).total_seconds() for moment in moments]
        found += rest.waits
        return min(found, default=None)

    def _worn_out(self) -> tuple[Object, ...]:
        """Finished Jobs beyond the newest few; their results were noted long ago."""
        present = self._name(self._memory.task) if self._memory.task else ""
        finished = [job for name, job in self._facts.jobs.items() if is_finished(job) and name != present]
        finished.sort(key=lambda job: (str(job["metadata"].get("creationTimestamp", "")), job["metadata"]["name"]))
        return tuple(finished[:-KEPT_JOBS])
