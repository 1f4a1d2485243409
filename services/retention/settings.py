"""What the retention process is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from services.kernel.settings import CommonSettings, load, refuse_supabase_only, setting
from services.retention.rules import Rule, parse_rules


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetentionSettings(CommonSettings):
    """The rules, and what keeps a mistake in them from doing harm."""

    rules: tuple[Rule, ...] = setting(
        "RETENTION_RULES",
        parse=parse_rules,
        doc="JSON list of rules: name, target, keep, batchSize, pauseMillis, maxRowsPerRun, and table with timestampColumn "
        "for target Custom (docs/RETENTION.md)",
    )
    dry_run: bool = setting("RETENTION_DRY_RUN", default=False, doc="count only, remove nothing")
    max_delete_fraction: float = setting(
        "RETENTION_MAX_DELETE_FRACTION",
        default=0.5,
        minimum=0,
        maximum=1,
        doc="a rule that would remove a larger share of its rows is refused as a whole",
    )
    free_rows: int = setting(
        "RETENTION_FREE_ROWS",
        default=0,
        unit="rows",
        minimum=0,
        doc="so many rows of a rule may go whatever their share is",
    )
    min_keep_rows: int = setting(
        "RETENTION_MIN_KEEP_ROWS",
        default=0,
        unit="rows",
        minimum=0,
        doc="a rule that would leave fewer rows is refused as a whole",
    )
    max_run_seconds: float = setting(
        "RETENTION_MAX_RUN_SECONDS",
        default=1800.0,
        unit="s",
        minimum=1,
        maximum=86_400,
        doc="when a run stops by itself; the next one goes on",
    )
    count_seconds: float = setting(
        "RETENTION_COUNT_SECONDS",
        default=20.0,
        unit="s",
        minimum=0.001,
        maximum=3600,
        doc="longest exact count of a table; one that takes longer is judged by a sample of its pages",
    )
    lock_seconds: float = setting(
        "RETENTION_LOCK_SECONDS",
        default=2.0,
        unit="s",
        minimum=0.1,
        maximum=600,
        doc="longest wait for a table's lock, in which nobody else is to be held up",
    )
    connect_seconds: float = setting(
        "RETENTION_CONNECT_SECONDS",
        default=30.0,
        unit="s",
        minimum=0,
        maximum=3600,
        doc="longest wait for a server that does not answer yet",
    )
    report_file: Path | None = setting(
        "REPORT_FILE",
        default=None,
        doc="file for the report, JSON of at most 4096 bytes: on Kubernetes /dev/termination-log; standard output when absent",
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> RetentionSettings:
        """Read the environment.

        Raises:
            SettingsInvalid: with every fault found.
        """
        refuse_supabase_only(environ)
        return load(cls, environ)
