"""The process itself: exit codes, its report, signals, and that a kill leaves nothing half."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.kernel.database import Database
from tests.integration.retention.rows import KEYS, add_keys, count, environ, noted, rule
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually


class Process:
    """`python -m services.retention` with a file for its report."""

    def __init__(self, folder: Path, url: str) -> None:
        self.report_file = folder / "termination-log"
        self.faults_log = folder / "faults"
        self._url = url
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *rules: dict[str, Any], **variables: str) -> None:
        """Start it."""
        self.report_file.unlink(missing_ok=True)
        own = environ(*rules, DATABASE_URL=self._url, REPORT_FILE=str(self.report_file), LOG_FORMAT="json", **variables)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.retention",
            cwd=REPOSITORY,
            env={**os.environ, "COURSEGEN_FAULTS_LOG": str(self.faults_log), **own},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    async def ended(self, within: float = 30) -> tuple[int, str]:
        """Its exit code, once it has one, and what it said."""
        assert self._process is not None
        out, _ = await asyncio.wait_for(self._process.communicate(), within)
        return self._process.returncode or 0, out.decode()

    async def run(self, *rules: dict[str, Any], **variables: str) -> tuple[int, dict[str, Any]]:
        """One run: exit code and report."""
        await self.start(*rules, **variables)
        code, output = await self.ended()
        assert "Traceback" not in output, output
        return code, self.report

    @property
    def report(self) -> dict[str, Any]:
        """What it has written."""
        found: dict[str, Any] = orjson.loads(self.report_file.read_bytes())
        return found

    def send(self, each: signal.Signals) -> None:
        """Signal it."""
        assert self._process is not None
        self._process.send_signal(each)


@pytest.fixture
def process(tmp_path: Path, app_database_url: str) -> Process:
    """On the test's own database, as the application's role."""
    return Process(tmp_path, app_database_url)


async def test_a_run_ends_with_its_report(process: Process, db: Database) -> None:
    """Exit code 0, also of a dry run and of one that is off the schedule."""
    await add_keys(db, "8 days", "1 day")
    dry = await process.run(rule("IdempotencyKeys"), RETENTION_DRY_RUN="true")
    wet = await process.run(rule("IdempotencyKeys"))
    await db.execute("SELECT cron.unschedule($1)", KEYS)
    off = await process.run(rule("IdempotencyKeys"))

    assert [code for code, _ in (dry, wet, off)] == [0, 0, 0]
    assert [report["outcome"] for _, report in (dry, wet, off)] == ["succeeded", "succeeded", "unscheduled"]
    assert (dry[1]["dryRun"], dry[1]["rowsDeleted"], dry[1]["rowsMatched"]) == (True, 0, 1)
    assert (wet[1]["dryRun"], wet[1]["rowsDeleted"], wet[1]["rules"][0]["rowsRemaining"]) == (False, 1, 1)


async def test_a_guarded_rule_fails_the_job(process: Process, db: Database) -> None:
    """Exit code 1, with the reason in the report."""
    await add_keys(db, "8 days")
    code, report = await process.run(rule("IdempotencyKeys"), RETENTION_MAX_DELETE_FRACTION="0.5")

    assert (code, report["outcome"]) == (1, "guarded")
    assert report["error"].startswith("rule idempotencykeys: 1 of 1 rows (100.0%) would go")
    assert await count(db, "idempotency_keys") == 1


@pytest.mark.parametrize(("point", "gone"), [("retention.before_commit", 2), ("retention.after_commit", 4)])
async def test_a_kill_leaves_whole_batches_and_the_next_run_goes_on(
    process: Process, db: Database, point: str, gone: int
) -> None:
    """Killed in the second batch: what was committed is gone, the rest stays, no lock is left behind."""
    await add_keys(db, *["8 days"] * 7)
    await process.start(rule("IdempotencyKeys", batchSize=2), COURSEGEN_FAULTS=f"{point}=kill@2")
    code, _ = await process.ended()
    left = await count(db, "idempotency_keys")
    again = await process.run(rule("IdempotencyKeys", batchSize=2))

    assert code == -signal.SIGKILL
    assert process.faults_log.read_text(encoding="utf-8").split()[:2] == [point, "kill"]
    assert left == 7 - gone
    assert (again[0], again[1]["outcome"], again[1]["rowsDeleted"]) == (0, "succeeded", left)
    assert await noted(db, KEYS) == ("succeeded", f"{left} rows removed")


async def test_sigterm_ends_it_as_a_partial_run(process: Process, db: Database) -> None:
    """A drained node, or a Job that is deleted: the report says what was done."""
    await add_keys(db, *["8 days"] * 3)
    await process.start(rule("IdempotencyKeys", batchSize=1, pauseMillis=60_000))
    await eventually(lambda: _has_begun(db), within=20)
    process.send(signal.SIGTERM)
    code, _ = await process.ended(within=10)

    assert (code, process.report["outcome"], process.report["rowsDeleted"]) == (0, "partial", 1)


async def _has_begun(db: Database) -> bool:
    return await count(db, "idempotency_keys") < 3


async def test_settings_that_are_not_valid_are_reported(process: Process) -> None:
    """Exit code 78, every fault at once."""
    code, report = await process.run(rule("IdempotencyKeys", keep="soon"), RETENTION_MIN_KEEP_ROWS="-1")

    assert (code, report["outcome"]) == (78, "failed")
    assert "RETENTION_RULES: " in report["error"]
    assert "RETENTION_MIN_KEEP_ROWS: must be at least 0" in report["error"]


async def test_a_server_that_does_not_answer_is_waited_for_and_then_reported(tmp_path: Path) -> None:
    """Exit code 1; the password is nowhere."""
    process = Process(tmp_path, "postgresql://me:correct-horse@127.0.0.1:1/nothing")
    await process.start(rule("IdempotencyKeys"), RETENTION_CONNECT_SECONDS="1")
    code, output = await process.ended()

    assert (code, process.report["outcome"]) == (1, "unreachable")
    assert "correct-horse" not in output + process.report_file.read_text(encoding="utf-8")
