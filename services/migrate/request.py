"""What a run is asked to do, and what it is allowed to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from services.kernel.texts import shortened
from services.migrate.errors import BackupSpent, Denied
from services.migrate.history import BackupUse
from services.migrate.plan import HEAD, History, Plan, Survey

_NAMED: Final = 3
_BACKUP_BYTES: Final = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One run. As it stands, everything is applied that old and new code can both live with."""

    phase: Literal["expand", "contract", "both"] = "expand"
    """`contract` refuses to begin while `expand` has work to do; `both` takes the files as they come."""
    target: str = HEAD
    """The revision to go to, and no further."""
    accept: tuple[str, ...] = ()
    """Versions whose changed text is taken for the one that was applied."""
    expect_plan: str | None = None
    """The hash of the plan that was looked at: another one is refused."""
    allow_destructive: bool = False
    """Whether statements may take something away."""
    backup: str | None = None
    """The backup that could be gone back to; needed for destructive statements, and for phase `contract`. Good for one plan."""
    baseline: str | None = None
    """The revision that a database without a list is at."""
    accept_drift: bool = False
    """Take the schema as it is for what it should be."""
    ignore: tuple[str, ...] = ()
    """Patterns of objects that may change."""

    @property
    def backup_id(self) -> str:
        """What names the backup, without the space around it; empty when none is named."""
        return (self.backup or "").strip()


def check_permission(plan: Plan, surveyed: Survey, known: History, uses: Iterable[BackupUse], request: Request) -> None:
    """Return when `request` allows what `plan` would do, with what `uses` says of backups.

    Raises:
        Denied: it does not; says what would have to be different.
        BackupSpent: it does, but for the backup.
    """
    if plan.hash is None:
        return
    if request.phase == "contract" and surveyed.expand.files:
        waiting = ", ".join(file.version for file in surveyed.expand.files[:_NAMED])
        raise Denied(f"migrations of phase expand come first ({waiting}…): run `coursegen migrate`, then this again")
    if request.expect_plan is not None and not plan.continues(request.expect_plan, known):
        raise Denied(
            f"the plan has changed: {request.expect_plan} was expected, it is {plan.hash} now. "
            "Look at it once more with `--plan`, and expect that one"
        )
    if plan.destructive and not request.allow_destructive:
        raise Denied(f"{_losses(plan)}. If that is meant, `--allow-destructive --backup ID` allows it")
    if plan.needs_backup:
        _check_backup(plan, known, uses, request.backup_id)


def _check_backup(plan: Plan, known: History, uses: Iterable[BackupUse], backup: str) -> None:
    if not backup:
        raise Denied(
            "what phase contract and destructive statements take away comes back from a backup only: make one "
            "(docs/MIGRATIONS.md), and name it with `--backup ID`"
        )
    if not plan.may_use(backup, known, uses):
        raise BackupSpent(
            f"backup {shortened(backup, _BACKUP_BYTES)} was used for another plan, and does not have what was written since: "
            "make another one (docs/MIGRATIONS.md), and name it with `--backup ID`"
        )


def _losses(plan: Plan) -> str:
    named = [f"{file.filename}, line {each.line}: {each.statement}" for file, each in plan.destructive[:_NAMED]]
    more = len(plan.destructive) - len(named)
    return "destructive: " + "; ".join(named) + (f"; and {more} more" if more > 0 else "")
