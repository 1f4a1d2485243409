"""`coursegen top` against a running api: once on a pipe, a screen of its own on a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from services.cli.stack import ports
from services.cli.top import series
from services.cli.top.reading import MetricsPage
from services.kernel.database import Database
from tests.integration.test_admin_command import add_dead_rows
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course
from tests.support.prometheus import scraping
from tests.support.servers import REPOSITORY
from tests.support.tokens import ADMIN, mint
from tests.support.waiting import eventually

OPEN_SCREEN, CLOSE_SCREEN = "\033[?1049h", "\033[?1049l"


@pytest.fixture
async def api(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """An api without relay and workers."""
    async with running_api(app_database_url, redis_url) as running:
        yield running


class Terminal:
    """A command on a terminal of its own, and all that it has drawn."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", *arguments],
            env=environment | {"TERM": "xterm"},
            cwd=REPOSITORY,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._drawn = b""

    def drawn(self) -> str:
        """Everything so far."""
        while select.select([self._ours], [], [], 0)[0]:
            try:
                piece = os.read(self._ours, 65_536)
            except OSError:  # the other end is closed
                break
            self._drawn += piece
            if not piece:
                break
        return self._drawn.decode(errors="replace")

    def words(self) -> str:
        """The same without what places and colours it."""
        return re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", self.drawn())

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


def _environment(api: RunningApi, home: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "API_URL": api.url,
        "API_TOKEN": mint(ADMIN, role="admin"),
        "COURSEGEN_HOME": str(home),
        "COLUMNS": "160",
        "LINES": "40",
    }


async def test_the_screen_follows_the_machine_and_leaves_the_terminal_as_it_was(
    api: RunningApi, db: Database, tmp_path: Path
) -> None:
    """Ctrl-C is exit code 0, and the last thing it does is to give the screen back."""
    terminal = Terminal(["top", "--every", "0.2"], _environment(api, tmp_path))
    try:
        await eventually(lambda: "nobody relays" in terminal.words(), within=30)
        assert OPEN_SCREEN in terminal.drawn()
        await add_dead_rows(db, await add_course(db), 3)
        await eventually(lambda: "3 outbox; next: coursegen admin dead-letters list" in terminal.words())
        terminal.process.send_signal(signal.SIGINT)
        code = await eventually(lambda: None if terminal.process.poll() is None else str(terminal.process.poll()))
        assert code == "0"
        assert CLOSE_SCREEN in terminal.drawn()
        assert "Traceback" not in terminal.words()
    finally:
        terminal.close()


_WORKER = """
# TYPE stage_job_duration_seconds histogram
stage_job_duration_seconds_bucket{{job_type="LESSON",le="+Inf"}} {jobs}
stage_job_duration_seconds_count{{job_type="LESSON"}} {jobs}
stage_job_duration_seconds_sum{{job_type="LESSON"}} {seconds}
# TYPE stage_jobs counter
stage_jobs_total{{job_type="LESSON",result="failed"}} 1
"""


@contextmanager
def _worker(jobs: int, seconds: float) -> Iterator[str]:
    """A page of metrics as a worker has it; its host and port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(_WORKER.format(jobs=jobs, seconds=seconds).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((ports.LOOPBACK, 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{ports.LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_prometheus_has_the_page_of_all_workers(tmp_path: Path) -> None:
    """By the address of docs/VERIFICATION.md: of two workers of the namespace, and of no other."""
    page = (REPOSITORY / "docs" / "VERIFICATION.md").read_text(encoding="utf-8")
    (address,) = re.findall(r"export METRICS_URL='(http://127\.0\.0\.1:9090/federate[^']*)'", page)
    (tmp_path / "other").mkdir()
    with _worker(2, 3.0) as one, _worker(4, 9.0) as two:
        for namespace, jobs in (("courses", 6.0), ("elsewhere", 0.0)):
            folder = tmp_path if jobs else tmp_path / "other"
            with scraping(folder, one, two, namespace=namespace) as prometheus:
                await eventually(lambda found=prometheus: len(found.ask("stage_jobs_total")) == 2, within=30)
                async with MetricsPage(address.replace("http://127.0.0.1:9090", prometheus.url)) as metrics:
                    text = await metrics.text()
            assert text is not None
            stage = series.stages(text).get("LESSON", series.Stage())
            assert (stage.jobs, stage.mean, stage.failed) == ((6.0, 2.0, 2.0) if jobs else (0.0, None, 0.0))


async def test_an_api_that_is_gone_is_said_on_the_screen(app_database_url: str, redis_url: str, tmp_path: Path) -> None:
    """And the last figures stay; SIGTERM ends it as well."""
    async with running_api(app_database_url, redis_url) as api:
        terminal = Terminal(["top", "--every", "0.2"], _environment(api, tmp_path))
        await eventually(lambda: "nobody relays" in terminal.words(), within=30)
    try:
        await eventually(lambda: "not read anew: http" in terminal.words(), within=20)
        terminal.process.terminate()
        code = await eventually(lambda: None if terminal.process.poll() is None else str(terminal.process.poll()))
        assert code == "0"
    finally:
        terminal.close()


async def test_on_a_pipe_it_prints_once(api: RunningApi, tmp_path: Path) -> None:
    """Without a colour; --json is one document; who may not see it is told how to become an administrator."""

    async def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services.cli", "top", *arguments]
        given = _environment(api, tmp_path) | environment
        return await asyncio.to_thread(
            subprocess.run,
            command,
            env=given,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    people = await call()
    script = await call("--json")
    stranger = await call(API_TOKEN=mint())

    assert (people.returncode, people.stderr) == (0, "")
    assert people.stdout.count("coursegen top") == 1
    assert "\033" not in people.stdout
    assert json.loads(script.stdout)["outbox"]["depth"] == 0
    assert stranger.returncode == 1
    assert "coursegen token --role admin" in stranger.stderr
