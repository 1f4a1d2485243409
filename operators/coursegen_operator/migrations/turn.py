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
from operators.coursegen_operator.migrations.job import job_of, name_of
from operators.coursegen_operator.migrations.permission import (
    NEXT_SECONDS,
    WATCH_SECONDS,
    contract_hold,
    expand_hold,
    is_approved,
    is_contract_approved,
)
from operators.coursegen_operator.migrations.report import Report, Result, result_of
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
        if self._spec.suspend:
            return Rest("suspended")
        hold = expand_hold(self._facts, self._memory)
        return Rest("held", hold=hold) if hold is not None else self._start("apply")

    def _choose_settled(self) -> Rest | None:
        hold, due = None, self._drift_due()
        if not self._spec.suspend:
            if self._memory.contract_pending:
                hold = contract_hold(self._facts, self._memory)
                if hold is None:
                    return self._start("contract")
            if due is not None and due <= self._facts.now:
                return self._start("drift")
        return Rest("settled", hold=hold, due=None if self._spec.suspend else due)

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
            self._notices.append(Notice(words.MIGRATION_STARTED, f"job/{name} applies {self._what(task)}"))
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
        child = job_of(facts.resource, self._spec, self._memory, task, facts.backup)
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

    # ── What a finished Job has found out ──

    def _note(self, task: Task, job: Object) -> None:
        result = result_of(job, self._facts.pods, task)
        if task == "drift":
            self._note_drift(result, str(job["metadata"]["name"]))
            return
        last = self._memory.last
        if result.report is None and (last.job, last.outcome) == (job["metadata"]["name"], "NotStarted"):
            result = replace(result, outcome="NotStarted", error=last.error)
        self._memory = progress.attempted(self._memory, str(job["metadata"]["name"]), result)
        if result.outcome == "Succeeded" and result.report is not None:
            self._note_success(task, result.report, result)
        else:
            self._note_failure(result)

    def _note_success(self, task: Task, report: Report, result: Result) -> None:
        memory, now = self._memory, self._facts.now
        match task:
            case "plan":
                self._memory = progress.planned(memory, report, now)
                self._note_plan()
            case "apply":
                self._memory = progress.applied(memory, report, now, result.finished_at)
                text = f"{self._what('apply', memory)} applied; {words.where(self._memory)}"
                self._notices.append(Notice(words.MIGRATION_SUCCEEDED, text))
            case _:
                self._memory = progress.contracted(memory, report, now, result.finished_at)
                text = f"{self._what('contract', memory)} of phase contract applied; {words.where(self._memory)}"
                self._notices.append(Notice(words.CONTRACT_APPLIED, text))

    def _note_plan(self) -> None:
        memory = self._memory
        if memory.has_work or memory.contract_pending:
            parts = [f"{self._what('apply')} pending, plan {memory.plan_hash}"] if memory.has_work else []
            if memory.contract_pending:
                parts.append(f"{self._what('contract')} of phase contract, plan {memory.contract_hash}")
            self._notices.append(Notice(words.PLAN_COMPUTED, "; ".join(parts)))

    def _note_failure(self, result: Result) -> None:
        before = self._memory
        self._memory = progress.failed(before, result, self._spec.retry, self._facts.now, self._facts.uid)
        if self._memory.failed_attempts > before.failed_attempts or not before.failures_in_row:
            see = self._facts.commands.log(before.last.job)
            text = f"{before.task} failed: {words.brief(result.error)}; see: {see}"
            self._notices.append(Notice(words.MIGRATION_FAILED, text, warning=True))

    def _note_drift(self, result: Result, job: str) -> None:
        before, facts = self._memory.drift, self._facts
        if result.outcome != "Succeeded" or result.report is None:
            self._memory = progress.unchecked(self._memory, result, self._spec.retry, facts.now, facts.uid, job)
            return
        self._memory = progress.checked(self._memory, result.report, facts.now, job)
        after = self._memory.drift
        if after.state == "Drifted" and (before.state, before.fingerprint) != ("Drifted", after.fingerprint):
            text = f"{words.brief(after.summary)}; see: {facts.commands.log(job)}"
            self._notices.append(Notice(words.DRIFT_DETECTED, text, warning=True))
        if before.state == "Drifted" and after.state == "InSync":
            self._notices.append(Notice(words.DRIFT_RESOLVED, "the schema is as the migrations make it, again"))
        if progress.has_lost(self._memory, result.report):
            lost = replace(
                self._memory,
                pending=progress.revisions_of(result.report.pending),
                pending_count=result.report.count,
                baseline_count=result.report.adopted_count,
            )
            text = f"{words.work(lost)} pending that were applied; see: {facts.commands.log(job)}"
            self._notices.append(Notice(words.REVISIONS_LOST, text, warning=True))
            self._begin()

    def _note_approval(self) -> None:
        memory = self._memory
        self._memory = replace(
            memory,
            approved_hash=memory.plan_hash if is_approved(self._facts, memory) else memory.approved_hash,
            approved_contract_hash=memory.contract_hash
            if is_contract_approved(self._facts, memory)
            else memory.approved_contract_hash,
        )

    # ── Figures ──

    def _name(self, task: Task) -> str:
        return name_of(self._facts.resource, self._spec, self._memory, task)

    def _what(self, task: Task, memory: Memory | None = None) -> str:
        memory = memory or self._memory
        if task == "contract":
            return words.listed(memory.contract_pending, len(memory.contract_pending))
        return words.work(memory)

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
