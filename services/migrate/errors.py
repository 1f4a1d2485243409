"""What can stop a migration, each with the next command in its message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.kernel.database import translate
from services.kernel.errors import CoursegenError, OperatorError, RetryableError
from services.migrate.files import MigrationFile

AGAIN = "run `coursegen migrate` again"


class MigrationFailed(OperatorError):
    """PostgreSQL refused a statement of a migration."""

    code = "migration_failed"


class ChecksumChanged(OperatorError):
    """A file that was applied is no longer what it was."""

    code = "checksum_changed"


class UnknownVersion(OperatorError):
    """A version was named that no file has."""

    code = "unknown_version"


class Stopped(OperatorError):
    """The run was told to stop."""

    code = "stopped"


class RunnerBusy(RetryableError):
    """Another runner is at work on this database."""

    code = "migration_running"


def stopped(by: str) -> Stopped:
    """The error for a run that a signal ended."""
    return Stopped(f"stopped by {by}; files that were applied stay applied, {AGAIN} for the rest")


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
