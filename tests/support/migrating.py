"""Folders of migrations, and runs of the migration process with their reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.kernel.database import connect
from services.kernel.settings import Secret
from services.migrate.runner import Runner
from services.migrate.settings import MigrateSettings

FIRST = "20260101000000_make_things"
SECOND = "20260102000000_make_more"
THIRD = "20260103000000_drop_old"
CONTRACT = "-- migrate: contract\n"
SLEEPING = (
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND datname = current_database()"
    " AND query NOT LIKE '%pg_stat_activity%'"  # who asks or has just asked has these words in his question, too
)
"""How many sessions sleep in a migration that sleeps so long."""


def folder_of(path: Path, **files: str) -> Path:
    """A folder with `files`, added to those that are there."""
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / f"{name}.sql").write_text(text, encoding="utf-8")
    return path


def runner_on(url: str, folder: Path, **changes: float) -> Runner:
    """A runner of `folder` on the database `url`."""
    return Runner(MigrateSettings(database_url=Secret(url), directory=folder, **changes))  # type: ignore[arg-type]


async def value(url: str, query: str) -> Any:
    """The first value that `query` answers."""
    session = await connect(url)
    try:
        return await session.fetchval(query)
    finally:
        await session.close()


@dataclass(frozen=True, slots=True)
class Ended:
    """A task that has ended."""

    code: int
    report: dict[str, Any]
    said: str


@dataclass(frozen=True, slots=True)
class Tasks:
    """Runs tasks of the process on one database, as a Job does."""

    url: str
    folder: Path
    place: Path

    def run(self, task: str, *options: str, **environment: str) -> Ended:
        """Run it to its end."""
        with self.started(task, *options, **environment) as process:
            said, _ = process.communicate(timeout=60)
        return self.ended(process, said)

    @contextmanager
    def started(self, task: str, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """Run it beside the block; at its end the process is killed if it still runs."""
        self._file.write_text("", encoding="utf-8")  # as the kubelet makes it
        argv = [sys.executable, "-m", "services.migrate", "--task", task, "--directory", str(self.folder), *options]
        environ = os.environ | {"DATABASE_URL": self.url, "REPORT_FILE": str(self._file)} | environment
        process = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def ended(self, process: subprocess.Popen[str], said: str = "") -> Ended:
        """How a process that has ended came to its end; the report is empty when it left none."""
        text = self._file.read_text(encoding="utf-8")
        assert len(text.encode()) <= 4096
        return Ended(process.returncode, json.loads(text) if text else {}, said)

    @property
    def _file(self) -> Path:
        return self.place / "termination-log"
