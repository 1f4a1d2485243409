"""What is to be done to a database: from the files of a release and the list of what was applied, without a database.

Promises:

- Files of phase `expand` are applied in the order of their versions, without waiting for any of phase `contract`.
- A file that is applied takes along those that amend it, applied or not: what it makes anew must not stay as it was before
  them. An amending file of phase `contract` is not run with it: it waits for its phase once more.
- `contract` comes last: it is refused while a file of phase `expand` is to come.
- A plan has a hash of all that it would do. A plan that was begun, and broke off, keeps its hash until it is done.
- A baseline that is not noted yet is something to do, also when it leaves no file to run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from services.migrate import errors
from services.migrate.destructive import Destructive, find_destructive
from services.migrate.files import MigrationFile, Phase, due
from services.migrate.history import AppliedMigration, BackupUse

HEAD: Final = "head"
"""The target that is the newest file."""

_HASH_LENGTH: Final = 16
History = Mapping[str, AppliedMigration]


@dataclass(frozen=True)
class Plan:
    """Files to apply, in order."""

    phase: Phase
    files: tuple[MigrationFile, ...]
    target: str | None
    """The newest revision that the phase leads to."""
    adopted: tuple[MigrationFile, ...] = ()
    """What a baseline notes as applied, without running it."""

    @cached_property
    def hash(self) -> str | None:
        """Sixteen digits that stand for this plan; None when there is nothing to do.

        Where there are files to run, a baseline notes the others of its phase: the hash of those that run stands for both.
        """
        if self.files:
            return self._hash({file.version: file.checksum for file in self.files})
        return self._hash({file.version: file.checksum for file in self.adopted}, "baseline") if self.adopted else None

    @cached_property
    def destructive(self) -> tuple[tuple[MigrationFile, Destructive], ...]:
        """What the plan takes away, and where."""
        return tuple((file, each) for file in self.files for each in find_destructive(file.text))

    @property
    def needs_backup(self) -> bool:
        """It does what only a backup can undo."""
        return self.phase == "contract" or bool(self.destructive)

    def takes_away(self, file: MigrationFile) -> bool:
        """Whether only a backup can undo what `file` does."""
        return self.phase == "contract" or any(each == file for each, _ in self.destructive)

    def continues(self, expected: str, known: History) -> bool:
        """Whether this is plan `expected`, or what is left of it."""
        begun = {line.version: line.checksum or "" for line in known.values() if line.plan_hash == expected}
        return expected in {self.hash, self._hash(begun | {file.version: file.checksum for file in self.files})}

    def may_use(self, backup: str, known: History, uses: Iterable[BackupUse]) -> bool:
        """Whether `backup` was used for nothing yet, or for a plan that broke off, of which this is what was left.

        What is left comes behind what was applied: a file that comes before is one that was lost since, or is another plan's.
        `uses` has the last word on what was applied, since lines may be gone from `known`.
        """
        lines = [line for line in known.values() if (line.backup_id or "").strip() == backup]
        used = [use for use in uses if use.backup_id == backup]
        plans = {line.plan_hash for line in lines} | {use.plan_hash for use in used}
        begun = {line.version: line.checksum or "" for line in lines}
        left = {file.version: file.checksum for file in self.files}
        newest = max([*begun, *(use.version or "" for use in used)], default="")
        is_behind = newest < min(left, default="")
        return not plans or (is_behind and self._hash(begun | left) in plans)

    def _hash(self, checksums: Mapping[str, str], what: str = "") -> str:
        lines = [
            f"{what or self.phase} {self.target}",
            *(f"{version} {checksums[version]}" for version in sorted(checksums)),
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_HASH_LENGTH]


@dataclass(frozen=True, slots=True)
class Survey:
    """Where a database stands against a release, and what each phase would do."""

    current: str | None
    """The newest revision that is applied, of this release or another one."""
    target: str | None
    """The newest revision that applying leads to."""
    is_ahead: bool
    """It has revisions newer than this release, and this release has nothing to add."""
    expand: Plan
    contract: Plan

    def plan(self, phase: Phase) -> Plan:
        """What `phase` would do."""
        return self.contract if phase == "contract" else self.expand


def survey(
    files: Sequence[MigrationFile], known: History, target: str = HEAD, adopted: Sequence[MigrationFile] = ()
) -> Survey:
    """Compare the files up to `target` with the list of what was applied. Of that list, `adopted` are still to be noted.

    Raises:
        UnknownVersion: neither the files nor the list have `target`.
        Denied: `target` is older than what is applied.
    """
    strangers = known.keys() - {file.version for file in files}
    if target != HEAD:
        _check_target(files, known, target)
        files = [file for file in files if file.version <= target]
    expanding = [file for file in files if file.phase == "expand"]
    newest = expanding[-1].version if expanding else None
    done = _done(known)
    pending, reopened = _expanding(files, done)
    contracting = due(files, (done - reopened) | {file.version for file in expanding})
    expand = Plan("expand", tuple(pending), newest, tuple(adopted))
    contract = Plan("contract", tuple(contracting), max((file.version for file in contracting), default=None))
    is_ahead = not (pending or adopted) and max(strangers, default="") > (files[-1].version if files else "")
    return Survey(max(known, default=None), newest, is_ahead, expand, contract)


def _check_target(files: Sequence[MigrationFile], known: History, target: str) -> None:
    if target not in known and target not in {file.version for file in files}:
        raise errors.unknown_target(target)
    expanded = [file.version for file in files if file.phase == "expand" and file.version in known]
    newer = [version for version in expanded if version > target]
    if newer:
        raise errors.downgrade(target, newer[-1])


def _done(known: History) -> set[str]:
    """Versions that are applied, and stand as they were applied."""
    return {line.version for line in known.values() if not line.is_due_again}


def _expanding(files: Iterable[MigrationFile], done: Collection[str]) -> tuple[list[MigrationFile], set[str]]:
    """What phase `expand` applies, and the versions of phase `contract` that it makes necessary once more."""
    pending, reopened, touched = list[MigrationFile](), set[str](), set[str]()
    for file in files:
        is_new = file.version not in done
        if not (is_new or file.amends & touched) or (is_new and file.phase == "contract"):
            continue
        touched.add(file.version)
        if file.phase == "expand":
            pending.append(file)
        else:
            reopened.add(file.version)
    return pending, reopened


def whole(
    files: Sequence[MigrationFile], known: History, target: str = HEAD, adopted: Sequence[MigrationFile] = ()
) -> Plan:
    """Both phases as one plan, in the order of the versions: for a database that no older code uses.

    Raises:
        UnknownVersion, Denied: as `survey`.
    """
    surveyed = survey(files, known, target, adopted)
    if not surveyed.contract.files:
        return surveyed.expand
    chosen = due([file for file in files if target == HEAD or file.version <= target], _done(known))
    return Plan("contract", tuple(chosen), chosen[-1].version, tuple(adopted))
