"""What a DatabaseMigration's conditions say: where a turn came to rest, told to programs and to people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from operators.coursegen_operator.conditions import READY, Condition, done, find, stuck, timestamp, working
from operators.coursegen_operator.jobs.starting import POD_NOT_STARTED, Obstacle
from operators.coursegen_operator.migrations import words
from operators.coursegen_operator.migrations.facts import Facts
from operators.coursegen_operator.migrations.permission import Hold, contract_hold, is_contract_given_up
from operators.coursegen_operator.migrations.progress import PATIENCE
from operators.coursegen_operator.migrations.status import Memory
from operators.coursegen_operator.planning import Child, Notice
from operators.coursegen_operator.resources import Object

RestKind = Literal["running", "ended", "waiting", "backing off", "given up", "held", "suspended", "settled"]


@dataclass(frozen=True, slots=True)
class Rest:
    """Where a turn has come to rest."""

    kind: RestKind
    what: str = ""
    """The Job or pod that is waited for."""
    hold: Hold | None = None
    obstacle: Obstacle | None = None
    due: datetime | None = None
    children: tuple[Child, ...] = ()
    obsolete: tuple[Object, ...] = ()
    look_seconds: float | None = None

    @property
    def moments(self) -> list[datetime]:
        """When something becomes due."""
        stuck_at = self.obstacle.stuck_at if self.obstacle is not None else None
        until = self.hold.until if self.hold is not None else None
        return [moment for moment in (self.due, stuck_at, until) if moment is not None]

    @property
    def waits(self) -> list[float]:
        """In how many seconds to look, where nothing becomes due."""
        seconds = (self.look_seconds, self.hold.look_seconds if self.hold is not None else None)
        return [each for each in seconds if each is not None]


class Speaker:
    """Says the conditions and the Events of one turn."""

    def __init__(self, facts: Facts, memory: Memory) -> None:
        """Speak for what `memory` has become."""
        self._facts = facts
        self._memory = memory
        self._commands = facts.commands

    def conditions(self, rest: Rest) -> tuple[Condition, ...]:
        """All seven."""
        contract = (self._contract(rest), self._contract_failed())
        return (*self._standing(rest), self._approval(rest), self._drift(rest), *contract)

    def notices(self, conditions: Sequence[Condition]) -> list[Notice]:
        """What has just begun to need somebody."""
        found = []
        for condition in conditions:
            if condition.type not in {READY, words.CONTRACT_PENDING} or self._said(condition.type) == condition.reason:
                continue
            if condition.reason in {words.AWAITING_APPROVAL, words.DESTRUCTIVE_DENIED}:
                found.append(Notice(words.APPROVAL_REQUIRED, condition.message, warning=True))
            if condition.reason == words.RETRY_LIMIT_REACHED:
                found.append(Notice(words.RETRY_LIMIT_REACHED, condition.message, warning=True))
            if condition.reason in {words.CONTRACT_DEFERRED, words.WAITING_FOR_ROLLOUT, words.SOAKING}:
                found.append(Notice(words.CONTRACT_DEFERRED, condition.message))
        return found

    def _said(self, condition_type: str) -> str:
        before = find((self._facts.resource.get("status") or {}).get("conditions") or [], condition_type)
        return "" if before is None else str(before.get("reason", ""))

    # ── Ready, Reconciling, Stalled ──

    def _standing(self, rest: Rest) -> tuple[Condition, ...]:
        if rest.kind == "given up":
            return stuck(words.RETRY_LIMIT_REACHED, words.given_up(self._memory, self._commands))
        return self._settled() if self._memory.is_settled else self._unsettled(rest)

    def _unsettled(self, rest: Rest) -> tuple[Condition, ...]:
        match rest.kind:
            case "held" if rest.hold is not None:
                return stuck(rest.hold.reason, rest.hold.message)
            case "suspended" | "settled":
                return stuck(words.SUSPENDED, f"{self._pending()}; resume: {self._commands.resume}")
            case "backing off":
                return working(self._failure_reason(), self._failure())
            case "ended":
                text = f"{rest.what} has ended, what it left is read next; see: {self._commands.kubectl} describe {rest.what}"
                return working(words.RECONCILING, text)
            case "waiting":
                whose = "whose Job is gone" if rest.what.startswith("pod/") else "of an earlier spec"
                text = f"{rest.what} {whose} ends first; see: {self._commands.kubectl} describe {rest.what}"
                return working(words.RECONCILING, text)
            case _:
                return self._running(rest)

    def _running(self, rest: Rest) -> tuple[Condition, ...]:
        if rest.obstacle is not None:
            message = f"{rest.what} does not start: {rest.obstacle.message}"
            if rest.obstacle.is_stuck(self._facts.now):
                return stuck(rest.obstacle.reason, message)
            return working(rest.obstacle.reason, message)
        see = f"see: {self._commands.kubectl} logs {rest.what}"
        if self._memory.task == "apply":
            return working(words.MIGRATING, f"{rest.what} applies {words.work(self._memory)}; {see}")
        return working(words.RECONCILING, f"{rest.what} looks at what is pending; {see}")

    def _settled(self) -> tuple[Condition, ...]:
        memory, at = self._memory, words.where(self._memory)
        if self._facts.spec.suspend:
            return done(words.SUSPENDED, f"{at}, nothing was pending; resume: {self._commands.resume}")
        if memory.is_ahead:
            return done(
                words.AHEAD_OF_IMAGE, f"{at}, newer than the image's {memory.target or 'newest'}; left as it is"
            )
        if self._facts.spec.drift.mode == "Fail" and memory.drift.state == "Drifted":
            return stuck(words.DRIFT_DETECTED, self._drifted())
        more = "; files of phase contract wait, see ContractPending" if memory.contract_pending else ""
        return done(words.APPLIED, f"{at}, nothing of phase expand is pending{more}")

    # ── The others ──

    def _approval(self, rest: Rest) -> Condition:
        memory = self._memory
        if rest.hold is not None and rest.hold.reason == words.AWAITING_APPROVAL:
            return Condition(words.PENDING_APPROVAL, "True", words.AWAITING_APPROVAL, rest.hold.message)
        if memory.has_work and memory.plan_hash and not memory.is_settled:
            text = f"plan {memory.plan_hash} waits for no approval"
            return Condition(words.PENDING_APPROVAL, "False", words.PLAN_READY, text)
        return Condition(words.PENDING_APPROVAL, "False", words.NOTHING_PENDING, "no plan waits for approval")

    def _drift(self, rest: Rest) -> Condition:
        memory, drift = self._memory, self._memory.drift
        if self._facts.spec.drift.mode == "Off" or memory.is_ahead:
            ahead = "the database is ahead of the image, which does not know its schema"
            text = ahead if memory.is_ahead else "drift.mode is Off"
            return Condition(words.DRIFT_DETECTED, "Unknown", words.NOT_CHECKED, text)
        if drift.state == "Drifted":
            return Condition(words.DRIFT_DETECTED, "True", words.DRIFT_DETECTED, self._drifted())
        if memory.task == "drift" and rest.obstacle is not None:
            text = f"{rest.what} does not start: {rest.obstacle.message}"
            return Condition(words.DRIFT_DETECTED, "Unknown", rest.obstacle.reason, text)
        if drift.error:
            text = f"the check failed: {words.brief(drift.error)}; see: {self._commands.log(drift.job)}"
            return Condition(words.DRIFT_DETECTED, "Unknown", words.CHECK_FAILED, text)
        if drift.state == "InSync":
            return Condition(words.DRIFT_DETECTED, "False", words.IN_SYNC, "the schema is as the migrations make it")
        return Condition(words.DRIFT_DETECTED, "Unknown", words.NOT_CHECKED, "not checked yet")

    def _contract(self, rest: Rest) -> Condition:
        memory = self._memory
        if not memory.contract_pending:
            return Condition(
                words.CONTRACT_PENDING, "False", words.NOTHING_PENDING, "nothing of phase contract is pending"
            )
        reason, message = self._contract_state(rest)
        return Condition(words.CONTRACT_PENDING, "True", reason, message)

    def _contract_failed(self) -> Condition:
        """A condition of its own, since Ready stays True then: an alert can see that somebody is needed."""
        if is_contract_given_up(self._facts, self._memory):
            text = words.given_up(self._memory, self._commands)
            return Condition(words.CONTRACT_FAILED, "True", words.RETRY_LIMIT_REACHED, text)
        return Condition(words.CONTRACT_FAILED, "False", words.NOT_GIVEN_UP, "no contract phase was given up")

    def _contract_state(self, rest: Rest) -> tuple[str, str]:
        files = words.listed(self._memory.contract_pending, len(self._memory.contract_pending))
        if not self._memory.is_settled:
            return words.RECONCILING, f"{files} of phase contract follow when the expand phase is applied"
        match rest.kind:
            case "settled" if rest.hold is not None:
                return rest.hold.reason, rest.hold.message
            case "settled" | "suspended":
                return words.SUSPENDED, f"{files} of phase contract; resume: {self._commands.resume}"
            case "backing off":
                return self._failure_reason(), self._failure()
            case _:
                return self._contract_progress(rest, files)

    def _contract_progress(self, rest: Rest, files: str) -> tuple[str, str]:
        match rest.kind:
            case "running" if rest.obstacle is not None and self._memory.task != "drift":
                return rest.obstacle.reason, f"{rest.what} does not start: {rest.obstacle.message}"
            case "running" if self._memory.task == "contract":
                return words.MIGRATING, f"{rest.what} applies {files}; see: {self._commands.kubectl} logs {rest.what}"
            case _:
                hold = contract_hold(self._facts, self._memory)
                if hold is not None and self._memory.task == "drift":  # as before and after the check
                    return hold.reason, hold.message
                return words.RECONCILING, f"{files} of phase contract; {rest.what} ends first"

    # ── Sentences ──

    def _pending(self) -> str:
        if self._memory.task is None:
            return f"{words.work(self._memory)} pending"
        return "what is pending is not known"

    def _failure_reason(self) -> str:
        match self._memory.last.outcome:
            case "Unreachable":
                return words.DATABASE_UNREACHABLE
            case "NotStarted":
                return POD_NOT_STARTED
            case _:
                return words.MIGRATION_FAILED

    def _failure(self) -> str:
        memory, last = self._memory, self._memory.last
        count = (
            f", {memory.failed_attempts} of {self._facts.spec.retry.max_attempts} attempts"
            if memory.failed_attempts
            else ""
        )
        again = f"again at {timestamp(memory.retry_at)}" if memory.retry_at is not None else "again now"
        if memory.passing_in_row and last.outcome == "Failed":
            row = f"{memory.passing_in_row} times in a row for what passes by itself, counted from time {PATIENCE} on"
            count = f" {row}{count}"
        return f"{last.task} failed{count}: {words.brief(last.error)}; {again}; see: {self._commands.log(last.job)}"

    def _drifted(self) -> str:
        drift = self._memory.drift
        return f"the schema differs from its migrations: {words.brief(drift.summary)}; see: {self._commands.log(drift.job)}"
