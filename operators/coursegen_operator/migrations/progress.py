"""How a memory goes on: one function per thing that can happen, each Memory → Memory.

::

    begun ──▶ plan ──▶ planned ─┬─ nothing pending ──────────────▶ settled ──▶ drift, contract, drift, drift …
               ▲                └─ permitted ──▶ apply ──▶ applied ─▲
               └────────── failed: later, by a new plan ◀──┴────────────────────────────┘ (contract)
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from operators.coursegen_operator.jobs.ending import clean
from operators.coursegen_operator.migrations.report import DriftReport, Report, Result
from operators.coursegen_operator.migrations.spec import Retry
from operators.coursegen_operator.migrations.status import (
    AGAIN,
    DONE_LISTED,
    HASH_BYTES,
    LISTED,
    REVISION_BYTES,
    STATEMENT_BYTES,
    TEXT_BYTES,
    Attempt,
    BackupUse,
    DriftMemory,
    Memory,
    Task,
)
from services.kernel.texts import shortened

PATIENCE: Final = 10
"""From which one in a row a failure counts that should pass by itself. With the default waits the first one counts after about
fifty minutes, and the fifth, which stalls, after about ninety: a busy hour stalls nothing, and somebody learns of a lock that is
never to be had.
"""

_LONGEST_DOUBLING: Final = 20
_UNNAMED: Final = "…"
"""A revision that a report had no room for."""


def begun(memory: Memory, key: str, reconcile_at: str, *, is_same_work: bool = False) -> Memory:
    """A new round, for what `key` stands for: nothing is believed about what is pending, nothing has failed yet.

    The same work once more keeps in mind when the expand phase was complete: found so again, it has been since then. And it
    keeps its plan: one that is found to be done counts as applied, whoever has done it.
    """
    return replace(
        memory,
        round=f"{memory.round_number + 1}-{key}",
        reconcile_at=reconcile_at,
        task="plan",
        attempt=1,
        retry_at=None,
        failed_attempts=0,
        failures_in_row=0,
        passing_in_row=0,
        settled_at=None,
        settled_before=(memory.settled_at or memory.settled_before) if is_same_work else None,
        plan_hash=memory.plan_hash if is_same_work else "",
        contract_hash=memory.contract_hash if is_same_work else "",
        is_ahead=False,
    )


def gone_on(memory: Memory, key: str) -> Memory:
    """The same round, in another manner from the next Job on. A check for drift is begun anew: its pod may not start."""
    return replace(memory, round=f"{memory.round_number}-{key}", task=None)


def started(memory: Memory, task: Task) -> Memory:
    """`task` is due: its Job is the round's next."""
    return replace(memory, task=task, attempt=memory.attempt + 1, retry_at=None)


def backed(memory: Memory, task: Task, plan_hash: str, backup: str) -> Memory:
    """A Job of `task` has `backup` to lose data by: from now on it is good for nothing else."""
    return replace(memory, used_backup=BackupUse(id=backup, task=task, plan_hash=plan_hash, round=memory.round))


def refused(memory: Memory) -> Memory:
    """The Job's backup was used for another plan, as the database knows: another one is asked for. Nothing was tried."""
    return replace(memory, task=None, retry_at=None, used_backup=BackupUse(id=memory.used_backup.id))


def approved(memory: Memory) -> Memory:
    """The plan is approved, and with it what will be left of it in this round."""
    return replace(memory, approved_hash=memory.plan_hash, approved_round=memory.round)


def contract_approved(memory: Memory) -> Memory:
    """As `approved`, of the contract phase."""
    return replace(memory, approved_contract_hash=memory.contract_hash, approved_contract_round=memory.round)


def withdrawn(memory: Memory) -> Memory:
    """The due task is not permitted any more; its Job was not made."""
    return replace(memory, task=None, attempt=memory.attempt - 1, retry_at=None)


def planned(memory: Memory, report: Report, now: datetime) -> Memory:
    """A plan has been made. An approval outlives it when the plan is the same, and was not applied meanwhile; or is what is left
    of the one that was approved in this round.
    """
    is_ahead = report.outcome == "ahead"
    is_settled = is_ahead or not report.has_work
    contract = () if is_ahead or not report.contract_count else revisions_of(report.contract_pending) or (_UNNAMED,)
    is_rest = _is_rest(memory.pending, revisions_of(report.pending), memory.pending_count - report.count)
    is_contract_rest = _is_rest(memory.contract_pending, contract, len(memory.contract_pending) - len(contract))
    done_hashes = _done(memory.done_hashes, memory.plan_hash if is_settled or is_rest else "")
    done_contract_hashes = _done(
        memory.done_contract_hashes, memory.contract_hash if is_contract_rest or not contract else ""
    )
    plan_hash = _hash_of(report.plan_hash, done_hashes)
    contract_hash = _hash_of(report.contract_plan_hash, done_contract_hashes)
    done: set[Task] = set() if is_ahead else {*(("apply",) if is_settled else ()), *(() if contract else ("contract",))}
    return replace(
        memory,
        task=None,
        retry_at=None,
        current=_revision(report.current_revision or report.revision),
        target=_revision(report.target_revision),
        pending_count=0 if is_settled else report.count,
        pending=() if is_settled else revisions_of(report.pending),
        baseline_count=0 if is_settled else report.adopted_count,
        destructive=() if is_settled else _statements(report),
        plan_hash=plan_hash,
        done_hashes=done_hashes,
        approved_hash=_approval(
            (memory.approved_hash, memory.approved_round),
            (memory.plan_hash, memory.round),
            plan_hash,
            is_rest=is_rest,
        ),
        is_ahead=is_ahead,
        contract_pending=contract,
        contract_hash=contract_hash if contract else "",
        done_contract_hashes=done_contract_hashes,
        approved_contract_hash=_approval(
            (memory.approved_contract_hash, memory.approved_contract_round),
            (memory.contract_hash, memory.round),
            contract_hash,
            is_rest=is_contract_rest,
        ),
        settled_at=(memory.settled_at or memory.settled_before or later(now, 0)) if is_settled else None,
        settled_before=None,
        used_backup=_spent(memory.used_backup, done),
        drift=DriftMemory() if is_ahead else memory.drift,
        failed_attempts=0 if is_settled and not contract else memory.failed_attempts,
        failures_in_row=0 if is_settled and not contract else memory.failures_in_row,
        passing_in_row=0 if is_settled and not contract else memory.passing_in_row,
    )


def applied(memory: Memory, report: Report, now: datetime, finished_at: datetime | None) -> Memory:
    """The expand phase is complete."""
    return replace(
        memory,
        task=None,
        failed_attempts=0,
        failures_in_row=0,
        passing_in_row=0,
        current=_revision(report.current_revision or report.revision) or memory.current,
        pending_count=0,
        pending=(),
        baseline_count=0,
        destructive=(),
        done_hashes=_done(memory.done_hashes, memory.plan_hash),
        is_ahead=report.outcome == "ahead",
        settled_at=later(now, 0),
        settled_before=None,
        used_backup=_spent(memory.used_backup, {"apply"}),
        drift=DriftMemory() if report.outcome == "ahead" else memory.drift,
        applied_at=finished_at or now,
    )


def contracted(memory: Memory, report: Report, now: datetime, finished_at: datetime | None) -> Memory:
    """The contract phase is complete."""
    return replace(
        memory,
        task=None,
        failed_attempts=0,
        failures_in_row=0,
        passing_in_row=0,
        current=_revision(report.current_revision or report.revision) or memory.current,
        contract_pending=(),
        contract_hash="",
        done_contract_hashes=_done(memory.done_contract_hashes, memory.contract_hash),
        approved_contract_hash="",
        used_backup=_spent(memory.used_backup, {"contract"}),
        applied_at=finished_at or now,
    )


def failed(memory: Memory, result: Result, retry: Retry, now: datetime, uid: str) -> Memory:
    """An attempt has failed. The next one begins with a new plan: part of the old one may be applied.

    A contract phase that is given up is left, so that the rest of the upkeep goes on.
    """
    in_row = memory.failures_in_row + 1
    passing = memory.passing_in_row + (1 if result.is_passing else 0)
    is_counted = not result.is_transient or (result.is_passing and passing >= PATIENCE)
    count = memory.failed_attempts + (1 if is_counted else 0)
    is_over = count >= retry.max_attempts
    is_left = is_over and memory.is_settled
    wait = delay_seconds(retry, in_row, uid)
    return replace(
        memory,
        task=None if is_left else "plan",
        attempt=memory.attempt if is_left else memory.attempt + 1,
        failed_attempts=count,
        failures_in_row=in_row,
        passing_in_row=passing,
        retry_at=None if is_over else later(now, wait),
    )


def checked(memory: Memory, report: Report, now: datetime, job: str) -> Memory:
    """A check for drift has found something out."""
    found = report.drift or DriftReport()
    drift = DriftMemory(
        state=found.state or "Unknown",
        checked_at=later(now, 0),
        fingerprint=shortened(found.fingerprint or "", 2 * HASH_BYTES),
        summary=clean(found.summary or ""),
        job=job,
    )
    current = _revision(report.current_revision) or memory.current
    return replace(memory, task=None, retry_at=None, failures_in_row=0, current=current, drift=drift)


def has_lost(memory: Memory, report: Report) -> bool:
    """Whether a check for drift finds files of phase expand pending that were applied: a rollback script, an older backup.
    The same when a baseline is to be noted once more.

    Of another target than the plan's, as processes without this check report it, nothing follows.
    """
    return report.has_work and _revision(report.target_revision) == memory.target


def unchecked(memory: Memory, result: Result, retry: Retry, now: datetime, uid: str, job: str) -> Memory:
    """A check for drift came to nothing: later again, for ever. What the one before it found still stands."""
    in_row = memory.failures_in_row + 1
    return replace(
        memory,
        task=None,
        retry_at=later(now, delay_seconds(retry, in_row, uid)),
        failures_in_row=in_row,
        drift=replace(memory.drift, error=shortened(result.error, TEXT_BYTES), job=job),
    )


def attempted(memory: Memory, job: str, result: Result) -> Memory:
    """The Job of an attempt has ended."""
    report = result.report
    last = Attempt(
        job=job,
        task=memory.task or "",
        number=memory.attempt,
        outcome=result.outcome,
        started_at=result.started_at,
        finished_at=result.finished_at,
        revision=_revision(report.revision or report.current_revision) if report is not None else "",
        error=result.error,
    )
    return replace(memory, last=last)


def delay_seconds(retry: Retry, in_row: int, uid: str) -> int:
    """How long to wait after so many failures: doubled each time, capped, and spread by a fifth so that many resources
    whose database came back do not all return at once. The spread is that of `uid` and the number: the same when asked again.
    """
    doubled = retry.backoff_seconds << min(max(in_row - 1, 0), _LONGEST_DOUBLING)
    longest = min(doubled, retry.max_backoff_seconds)
    digest = hashlib.sha256(f"{uid}/{in_row}".encode()).digest()
    share = int.from_bytes(digest[:4]) / 0xFFFF_FFFF
    return max(1, round(longest * (1.0 - 0.2 * share)))


def later(now: datetime, seconds: float) -> datetime:
    """The next whole second after them: a status keeps no smaller ones, and nothing may be due too soon."""
    moment = now + timedelta(seconds=seconds)
    return moment if not moment.microsecond else moment.replace(microsecond=0) + timedelta(seconds=1)


def _approval(approved: tuple[str, str], before: tuple[str, str], now: str, *, is_rest: bool) -> str:
    """What of an approval, by hash and round, a new plan keeps: all when it is the same one, or the rest of `before`."""
    is_kept = approved[0] == now or (bool(approved[0]) and approved == before and is_rest)
    return now if is_kept else ""


def _is_rest(before: tuple[str, ...], now: tuple[str, ...], gone: int) -> bool:
    """Whether `now` are the files of `before` without the first `gone`, which were applied, as far as both lists tell."""
    return gone > 0 and all(old == new for old, new in zip(before[gone:], now, strict=False))


def _spent(used: BackupUse, done: Collection[Task]) -> BackupUse:
    """What was used for a plan that is applied whole has no rest to be good for."""
    return replace(used, round="") if used.task in done else used


def _statements(report: Report) -> tuple[tuple[str, str], ...]:
    """What the plan loses: never empty where it loses something, however much of the list was cut."""
    found = tuple(
        (_revision(each.revision), shortened(clean(each.statement), STATEMENT_BYTES))
        for each in (report.destructive or ())[:LISTED]
    )
    return found or ((_UNNAMED, f"{report.losses} statements"),) * min(report.losses, 1)


def _hash_of(reported: str | None, done: tuple[str, ...]) -> str:
    """What a plan is called. One that was applied before has another name than then, so that no old approval is for it."""
    found = shortened(reported or "", HASH_BYTES)
    numbers = [number for before, number in map(_named, done) if found and found == before]
    return f"{found}{AGAIN}{numbers[0] + 1}" if numbers else found


def _done(done: tuple[str, ...], name: str) -> tuple[str, ...]:
    """`done` with one more plan, if there is one; by its last name, if it is there already."""
    others = tuple(each for each in done if _named(each)[0] != _named(name)[0])
    return (name, *others)[:DONE_LISTED] if name else done


def _named(name: str) -> tuple[str, int]:
    """The hash in a plan's name, and how often it has been there."""
    found, again, number = name.partition(AGAIN)
    return found, int(number) if again and number.isdecimal() and len(number) < 9 else 1


def revisions_of(revisions: tuple[str, ...] | None) -> tuple[str, ...]:
    """Those of a report, as a status may hold them."""
    return tuple(_revision(each) for each in (revisions or ())[:LISTED])


def _revision(revision: str | None) -> str:
    return shortened(revision or "", REVISION_BYTES)
