"""What can stop a migration, each with the next command in its message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from services.kernel.database import translate
from services.kernel.errors import CoursegenError, DatabaseUnavailable, OperatorError, RetryableError
from services.migrate.files import MigrationFile

AGAIN: Final = "run `coursegen migrate` again"
_LOST: Final = ("08", "57P01", "57P02", "57P03", "53300")
"""SQLSTATEs of a server that is gone, going or full: connection errors, shutdown, crash, start, too many connections."""

_PASSING: Final = frozenset({"55P03", "40001", "40P01", "25006", "53200"})
"""SQLSTATEs of what passes by itself: lock not available, serialization, deadlock, a standby, out of memory."""


class MigrationFailed(OperatorError):
    """PostgreSQL refused a statement of a migration."""

    code = "migration_failed"


class ConnectionLost(DatabaseUnavailable):
    """PostgreSQL went away while a migration ran."""


class ChecksumChanged(OperatorError):
    """A file that was applied is no longer what it was."""

    code = "checksum_changed"


class UnknownVersion(OperatorError):
    """A version was named that no file has."""

    code = "unknown_version"


class Denied(OperatorError):
    """The run would do what it was not allowed to do; nothing was done."""

    code = "denied"


class BackupSpent(Denied):
    """The backup that was named was used for another plan; nothing was done."""

    code = "backup_spent"


class Stopped(OperatorError):
    """The run was told to stop."""

    code = "stopped"


class RunnerBusy(RetryableError):
    """Another runner is at work on this database."""

    code = "migration_running"


def stopped(by: str) -> Stopped:
    """The error for a run that a signal ended."""
    return Stopped(f"stopped by {by}; files that were applied stay applied, {AGAIN} for the rest")


def unknown_target(version: str) -> UnknownVersion:
    """The error for a revision to go to that neither the files nor the list have."""
    return UnknownVersion(f"{version}: no migration has this version. `coursegen migrate --status` lists them.")


def downgrade(target: str, current: str) -> Denied:
    """The error for a revision to go to that is older than what is applied."""
    return Denied(
        f"revision {target} is older than {current}, which is applied, and migrations only go forward. The ways back "
        'are the scripts in rollback/ (docs/MIGRATIONS.md, "The ways back") and the backup; a release older than its '
        "database needs no way back, it works with a newer schema"
    )


def unknown(versions: Iterable[str]) -> UnknownVersion:
    """The error for versions to accept that are not among the files."""
    names = ", ".join(versions)
    return UnknownVersion(f"--accept {names}: no migration has this version. `coursegen migrate --status` lists them.")


def changed(files: list[MigrationFile]) -> ChecksumChanged:
    """The error for files whose text is not the one that was applied."""
    names = ", ".join(file.filename for file in files)
    versions = " ".join(f"--accept {file.version}" for file in files)
    return ChecksumChanged(
        f"{names}: changed after it was applied. Restore the file and put the change into a new one; "
        f"or, if the database is right as it is, run `coursegen migrate {versions}`",
        versions=[file.version for file in files],
    )


def failed(file: MigrationFile, error: BaseException, *, line: int = 1) -> CoursegenError:
    """The error for a statement that failed; `line` is where the text that was sent begins in the file."""
    if translate(error) is None:
        raise error
    facts: Any = error
    sqlstate = getattr(facts, "sqlstate", None)
    if sqlstate is None or sqlstate.startswith(_LOST):
        return ConnectionLost(
            f"{file.filename}: the connection to PostgreSQL broke ({type(error).__name__}). {_kept(file)} "
            f"See whether the server runs, and {AGAIN}.",
            version=file.version,
            sqlstate=sqlstate,
        )
    message = f"{_place(file, facts, line)}: {getattr(facts, 'message', None) or error}"
    return MigrationFailed(
        f"{message}. {_kept(file)} {_advice(sqlstate, getattr(facts, 'hint', None))}",
        version=file.version,
        sqlstate=sqlstate,
    )


def _place(file: MigrationFile, facts: Any, line: int) -> str:
    position = getattr(facts, "position", None)
    query = getattr(facts, "query", None) or file.text
    if position:
        return f"{file.filename}, line {line + query.count(chr(10), 0, int(position) - 1)}"
    return file.filename if file.in_transaction else f"{file.filename}, statement at line {line}"


def _kept(file: MigrationFile) -> str:
    if file.in_transaction:
        return "Nothing of this file was kept."
    return "What stands before it in the file was kept; the file may be run again."


def _advice(sqlstate: str | None, hint: str | None) -> str:
    match sqlstate:
        case "42501":
            return f"Let DATABASE_URL name the owner of the database, not the application's role, and {AGAIN}."
        case "55P03":
            return f"Another session holds the lock: find it in pg_stat_activity, end it or wait for it, and {AGAIN}."
        case "57014":
            return f"It took longer than allowed: raise MIGRATE_STATEMENT_SECONDS and {AGAIN}."
        case _:
            return hint or f"Correct the cause and {AGAIN}."


def is_transient(error: BaseException) -> bool:
    """Whether the same run may succeed later without anybody changing anything."""
    if isinstance(error, RetryableError | Stopped):
        return True
    return isinstance(error, MigrationFailed) and error.details.get("sqlstate") in _PASSING
