"""What the migration process is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from services.kernel.settings import Secret, database_address, load, refuse_supabase_only, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class MigrateSettings:
    """Where to migrate, and how long to wait for whom."""

    database_url: Secret = setting(
        "DATABASE_URL",
        parse=database_address,
        doc="PostgreSQL to migrate, as the owner of the database and without a pooler in between",
    )
    directory: Path | None = setting(
        "MIGRATIONS_DIR", default=None, doc="folder of the migrations; the release's own when absent"
    )
    connect_seconds: float = setting(
        "MIGRATE_CONNECT_SECONDS",
        default=30.0,
        unit="s",
        minimum=1,
        maximum=3600,
        doc="longest wait for a server that does not answer yet",
    )
    wait_seconds: float = setting(
        "MIGRATE_WAIT_SECONDS",
        default=600.0,
        unit="s",
        minimum=1,
        maximum=86400,
        doc="longest wait for another runner to finish",
    )
    lock_seconds: float = setting(
        "MIGRATE_LOCK_SECONDS",
        default=4.0,
        unit="s",
        minimum=0.1,
        maximum=3600,
        doc="longest wait for a table's lock, since all who come later wait behind it",
    )
    lock_tries: int = setting(
        "MIGRATE_LOCK_TRIES",
        default=5,
        unit="tries",
        minimum=1,
        maximum=1000,
        doc="how often a file is tried when a lock is not to be had",
    )
    statement_seconds: float = setting(
        "MIGRATE_STATEMENT_SECONDS",
        default=300.0,
        unit="s",
        minimum=1,
        maximum=86400,
        doc="longest time one file may take; files without a transaction have no limit",
    )
    report_file: Path | None = setting(
        "REPORT_FILE", default=None, doc="file that a task writes its report to, as JSON of at most 4096 bytes"
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> MigrateSettings:
        """Read the environment.

        Raises:
            SettingsInvalid: with every fault found.
        """
        refuse_supabase_only(environ)
        return load(cls, environ)
