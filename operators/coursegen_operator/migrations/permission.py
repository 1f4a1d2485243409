"""What must hold before anything is applied: a plan that was approved, the policy, a backup, a rollout that has soaked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from operators.coursegen_operator.conditions import timestamp
from operators.coursegen_operator.durations import text_of
from operators.coursegen_operator.migrations import words
from operators.coursegen_operator.migrations.facts import Facts
from operators.coursegen_operator.migrations.job import plan_hash_of
from operators.coursegen_operator.migrations.status import Memory, Task

WATCH_SECONDS: Final = 15.0
"""To the next look while something is waited for that nothing tells of."""
NEXT_SECONDS: Final = 1.0
"""To the next look when it will see what this one did not."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why something is not applied yet."""

    reason: str
    message: str
    """Ends with the next command where a person must act."""
    until: datetime | None = None
    """When it is over by itself."""
    look_seconds: float | None = None
    """When to look again, where nothing tells that it is over."""


def expand_hold(facts: Facts, memory: Memory) -> Hold | None:
    """What keeps the pending files of phase expand from being applied."""
    if memory.destructive:
        losses = "; ".join(f"{revision}: {statement}" for revision, statement in memory.destructive[:3])
        what = f"{len(memory.destructive)} statements lose data ({words.brief(losses)})"
        hold = _loss_hold(facts, memory, "apply", what)
        if hold is not None:
            return hold
    if facts.spec.approval == "Manual" and not is_approved(facts, memory):
        command = facts.commands.approve(memory.plan_hash)
        return Hold(
            words.AWAITING_APPROVAL, f"{words.work(memory)} to apply, plan {memory.plan_hash}; approve: {command}"
        )
    return None


def contract_hold(facts: Facts, memory: Memory) -> Hold | None:
    """What keeps the pending files of phase contract from being applied. Asked only when the expand phase is complete."""
    files = words.listed(memory.contract_pending, len(memory.contract_pending))
    if is_contract_given_up(facts, memory):
        return Hold(words.RETRY_LIMIT_REACHED, words.given_up(memory, facts.commands))
    if facts.spec.contract.mode == "Never":
        return Hold(words.CONTRACT_DEFERRED, f"{files} of phase contract stay pending: contract.mode is Never")
    if facts.spec.drift.mode == "Fail" and memory.drift.state == "Drifted":
        return Hold(words.DRIFT_DETECTED, f"{files} of phase contract wait until the schema is in sync")
    hold = _loss_hold(facts, memory, "contract", f"{files} of phase contract remove what older versions use")
    if hold is not None:
        return hold
    if facts.spec.contract.mode == "Manual" and not is_contract_approved(facts, memory):
        command = facts.commands.approve(memory.contract_hash)
        message = f"{files} of phase contract, plan {memory.contract_hash}; approve: {command}"
        return Hold(words.AWAITING_APPROVAL, message)
    return _rollout_hold(facts, memory)


def is_contract_given_up(facts: Facts, memory: Memory) -> bool:
    """Whether the contract phase has failed so often that it is not tried any more. The application runs all the same."""
    is_wanted = bool(memory.contract_pending) and facts.spec.contract.mode != "Never"
    return memory.is_settled and is_wanted and memory.failed_attempts >= facts.spec.retry.max_attempts


def is_approved(facts: Facts, memory: Memory) -> bool:
    """Whether somebody has approved exactly this plan, now or before."""
    return bool(memory.plan_hash) and memory.plan_hash in {facts.approve, memory.approved_hash}


def is_contract_approved(facts: Facts, memory: Memory) -> bool:
    """As `is_approved`, of the contract phase."""
    return bool(memory.contract_hash) and memory.contract_hash in {facts.approve, memory.approved_contract_hash}


def loses_data(memory: Memory, task: Task) -> bool:
    """Whether a Job of `task` takes something away that only a backup brings back."""
    return task == "contract" or (task == "apply" and bool(memory.destructive))


def backup_for(facts: Facts, memory: Memory, task: Task) -> str:
    """The backup that is named, if a Job of `task` may have it; else empty.

    One that was used already is older than what was written since. It is good for the rest of the plan that it was used for,
    when that broke off, and for nothing else. Only the last one is remembered here, and not what its plan was: the list in the
    database has the last word, by which the Job refuses a backup.
    """
    used = memory.used_backup
    if not facts.backup or facts.backup != used.id:
        return facts.backup
    is_open = bool(used.round) and used.task == task
    is_same = used.plan_hash == plan_hash_of(memory, task)
    return facts.backup if is_open and (is_same or used.work_key == memory.work_key) else ""


def _loss_hold(facts: Facts, memory: Memory, task: Task, what: str) -> Hold | None:
    backup = backup_for(facts, memory, task)
    used = f"backup {words.brief(facts.backup, 80)} was used for another plan" if facts.backup and not backup else ""
    if not facts.spec.allows_destructive:
        message = f"{what}, and policy.destructive is Deny; after a backup: {facts.commands.allow}"
        if not backup:
            message += f"; and name it{f' ({used})' if used else ''}: {facts.commands.backup}"
        return Hold(words.DESTRUCTIVE_DENIED, message)
    if not backup:
        ask = f"{used}: take another one, and name it" if used else "name the backup that was taken"
        return Hold(words.DESTRUCTIVE_DENIED, f"{what}; {ask}: {facts.commands.backup}")
    return None


def _rollout_hold(facts: Facts, memory: Memory) -> Hold | None:
    rollout = facts.rollout()
    if rollout.waiting and facts.deployments is None and not facts.refusal:
        return Hold(words.RECONCILING, rollout.waiting, look_seconds=NEXT_SECONDS)
    if rollout.waiting:
        return Hold(words.WAITING_FOR_ROLLOUT, rollout.waiting, look_seconds=WATCH_SECONDS)
    moments = [moment for moment in (rollout.since, memory.settled_at) if moment is not None]
    soak = facts.spec.contract.soak_seconds
    until = max(moments, default=facts.now) + timedelta(seconds=soak)
    if facts.now >= until:
        return None
    return Hold(words.SOAKING, f"the rollout soaks for {text_of(soak)}, until {timestamp(until)}", until=until)
