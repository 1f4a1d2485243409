"""Takes over a database that has the schema already, but no list of how it came to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.migrate import errors
from services.migrate.files import MigrationFile
from services.migrate.history import AppliedMigration, History
from services.migrate.making import placed
from services.migrate.plan import History as Known
from services.migrate.reading import Name, Reading
from services.migrate.statements import split

_HISTORY_SCHEMA = "supabase_migrations"


async def adoptable(
    history: History, files: Sequence[MigrationFile], known: Known, revision: str
) -> list[MigrationFile]:
    """The files up to `revision` that the database is taken to have; none when it has a list that includes it.

    Files of phase `contract` are not among them: they may be applied to a schema that has what they make, and must be to one
    that has not. A list includes such a revision when it has the newest file of phase `expand` before it.

    Raises:
        UnknownVersion: no file has `revision`.
        Denied: the database has a list without it, or lacks a table that the files make.
    """
    if revision in known:
        return []
    if revision not in {file.version for file in files}:
        raise errors.unknown_target(revision)
    chosen = [file for file in files if file.version <= revision and file.phase == "expand"]
    if chosen and chosen[-1].version in known:
        return []
    if known.keys() & {file.version for file in files}:
        raise errors.Denied(
            f"baseline {revision}: this database has a list of what was applied, and {revision} is not in it. "
            "A baseline is for a database without a list: leave it out"
        )
    made = tables_made(chosen)
    missing = await history.missing_tables(made)
    if missing or not made:
        raise errors.Denied(
            f"baseline {revision}: this database has no {', '.join(missing[:5]) or 'table to recognise it by'}. It is not "
            "at this revision: leave the baseline out to make the schema, or name an older one"
        )
    return chosen


def counted(known: Known, adopted: Iterable[MigrationFile]) -> dict[str, AppliedMigration]:
    """`known` as it will be with `adopted` noted."""
    return {**known} | {
        file.version: AppliedMigration(file.version, file.name, None, file.checksum) for file in adopted
    }


def tables_made(files: Iterable[MigrationFile]) -> set[str]:
    """The tables that stand after `files`, as SQL writes their names; those of the list itself do not count."""
    made: set[Name] = set()
    for statement in (each for file in files for each in split(file.text)):
        reading = Reading(statement.tokens)
        if reading.accept("create"):
            reading.accept("unlogged")
            if reading.accept("table"):
                reading.accept("if", "not", "exists")
                name = reading.name()
                made |= {placed(name)} if name else set()
        elif reading.accept("drop", "table"):
            reading.accept("if", "exists")
            made -= {placed(name) for name in reading.names()}
    return {".".join(_quoted(part) for part in name) for name in made if name[0] != _HISTORY_SCHEMA}


def _quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"'
