"""What a finished Job has found out: what the memory becomes by it, and the Events that tell of it."""

from __future__ import annotations

from dataclasses import replace

from operators.coursegen_operator.migrations import progress, words
from operators.coursegen_operator.migrations.facts import Facts
from operators.coursegen_operator.migrations.report import Report, Result
from operators.coursegen_operator.migrations.status import Memory, Task
from operators.coursegen_operator.planning import Notice


class Finding:
    """Notes the end of one Job."""

    def __init__(self, facts: Facts, memory: Memory, task: Task, job: str) -> None:
        """`memory` is that of the look, before the end of `job` is noted."""
        self._facts = facts
        self._task = task
        self._job = job
        self.memory = memory
        self.notices: list[Notice] = []
        self.has_lost = False
        """A check for drift has found files pending that were applied: there is work once more."""

    def note(self, result: Result) -> None:
        """The Job has ended with `result`."""
        if self._task == "drift":
            self._note_drift(result)
            return
        last = self.memory.last
        if result.report is None and (last.job, last.outcome) == (self._job, "NotStarted"):
            result = replace(result, outcome="NotStarted", error=last.error)
        self.memory = progress.attempted(self.memory, self._job, result)
        if result.outcome == "Succeeded" and result.report is not None:
            self._note_success(result.report, result)
        else:
            self._note_failure(result)

    def _note_success(self, report: Report, result: Result) -> None:
        memory, now = self.memory, self._facts.now
        match self._task:
            case "plan":
                self.memory = progress.planned(memory, report, now)
                self._note_plan()
            case "apply":
                self.memory = progress.applied(memory, report, now, result.finished_at)
                text = f"{words.work(memory)} applied; {words.where(self.memory)}"
                self.notices.append(Notice(words.MIGRATION_SUCCEEDED, text))
            case _:
                self.memory = progress.contracted(memory, report, now, result.finished_at)
                text = f"{words.of_task('contract', memory)} of phase contract applied; {words.where(self.memory)}"
                self.notices.append(Notice(words.CONTRACT_APPLIED, text))

    def _note_plan(self) -> None:
        memory = self.memory
        if memory.has_work or memory.contract_pending:
            parts = [f"{words.work(memory)} pending, plan {memory.plan_hash}"] if memory.has_work else []
            if memory.contract_pending:
                parts.append(f"{words.of_task('contract', memory)} of phase contract, plan {memory.contract_hash}")
            self.notices.append(Notice(words.PLAN_COMPUTED, "; ".join(parts)))

    def _note_failure(self, result: Result) -> None:
        before = self.memory
        if result.report is not None and result.report.backup_spent and before.used_backup.id:
            self.memory = progress.refused(before)
            return
        self.memory = progress.failed(before, result, self._facts.spec.retry, self._facts.now, self._facts.uid)
        if self.memory.failed_attempts > before.failed_attempts or not before.failures_in_row:
            see = self._facts.commands.log(before.last.job)
            text = f"{before.task} failed: {words.brief(result.error)}; see: {see}"
            self.notices.append(Notice(words.MIGRATION_FAILED, text, warning=True))

    def _note_drift(self, result: Result) -> None:
        before, facts, job = self.memory.drift, self._facts, self._job
        if result.outcome != "Succeeded" or result.report is None:
            self.memory = progress.unchecked(self.memory, result, self._facts.spec.retry, facts.now, facts.uid, job)
            return
        self.memory = progress.checked(self.memory, result.report, facts.now, job)
        after = self.memory.drift
        if after.state == "Drifted" and (before.state, before.fingerprint) != ("Drifted", after.fingerprint):
            text = f"{words.brief(after.summary)}; see: {facts.commands.log(job)}"
            self.notices.append(Notice(words.DRIFT_DETECTED, text, warning=True))
        if before.state == "Drifted" and after.state == "InSync":
            self.notices.append(Notice(words.DRIFT_RESOLVED, "the schema is as the migrations make it, again"))
        if progress.has_lost(self.memory, result.report):
            lost = replace(
                self.memory,
                pending=progress.revisions_of(result.report.pending),
                pending_count=result.report.count,
                baseline_count=result.report.adopted_count,
            )
            text = f"{words.work(lost)} pending that were applied; see: {facts.commands.log(job)}"
            self.notices.append(Notice(words.REVISIONS_LOST, text, warning=True))
            self.has_lost = True
