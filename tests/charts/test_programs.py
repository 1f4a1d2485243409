"""The test programs of the chart, asked of two apis that have looked at their numbers at different times.

Real apis look anew after a second, which no test can be sure to hit: an own server answers here as two of them in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.charts.conftest import CHART

_COURSES = 3
_LIMITS = {"limits": [{"scope": each, "slots": 10, "overridden": False} for each in ("global", "PREMIUM")]}
_BEGUN = {"events": [{"newState": "stage_4_init", "triggeredBy": "API_INITIATE"}]}


class Apis:
    """Two behind one address: the first shows each number as it is, the second as it was when nobody had asked for a course."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.hits = 0
        self.looks = 0
        self.depths = [0, 7]
        """How deep the outbox is found at each question; then it is as before."""

    def answers(self, path: str, body: Any) -> Any:
        """What they say."""
        path = path.partition("?")[0]
        if path == "/api/trpc/generation.initiate":
            course = body["courseId"]
            self.hits += course in self.jobs
            return {"success": True, "jobId": self.jobs.setdefault(course, f"job-{len(self.jobs)}")}
        if path == "/api/trpc/metrics.getAll":
            self.looks += 1
            return self._numbers(len(self.jobs), self.hits) if self.looks % 2 else self._numbers(0, 0)
        if path == "/api/health/outbox":
            return {"queueDepth": self.depths.pop(0) if self.depths else 0}
        known = {"concurrency": _LIMITS, "history": _BEGUN, "check-status": {"generation_status": "completed"}}
        return known.get(path.rpartition("/")[2], {})

    def _numbers(self, courses: int, hits: int) -> dict[str, Any]:
        fsm = {"total": courses, "success": courses, "failed": 0, "cacheHits": hits, "successRate": 100}
        health = {"alive": True, "queueDepth": 0}
        return {"fsm": fsm, "outbox": {"jobsCreated": courses, "jobsFailed": 0, "health": health}}


class _Door(BaseHTTPRequestHandler):
    apis: Apis

    def _answer(self) -> None:
        said = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.apis.answers(self.path, json.loads(said) if said else None)
        text = json.dumps(answer, separators=(",", ":")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the names are the server's

    def log_message(self, *_: Any) -> None:
        """Nothing is said of a request."""


@pytest.fixture
def address() -> Iterator[str]:
    """Where the two are."""
    door = type("Door", (_Door,), {"apis": Apis()})
    with ThreadingHTTPServer(("127.0.0.1", 0), door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _run(program: str, address: str) -> list[str]:
    settings = {"API_URL": address, "JWT_SECRET": "s" * 32, "TIMEOUT_SECONDS": "30", "COURSES": str(_COURSES)}
    names = {"NAMESPACE": "courses", "FULLNAME": "coursegen"}
    done = subprocess.run(
        [sys.executable, CHART / "files" / program],
        env={**os.environ, **settings, **names},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_load_test_judges_the_answer_that_it_waited_for(address: str) -> None:
    """Not the next one, which is older here; and how deep the outbox is it asks where that alone is counted."""
    said = _run("load.py", address)

    assert f"  pass  fsm.total grew by at least {_COURSES} ({_COURSES})" in said
    assert f"  pass  outbox.jobsCreated grew by at least {_COURSES} ({_COURSES})" in said
    assert "  pass  the outbox is as deep as before (0)" in said
    assert "        deepest seen: 7" in said
    assert said[-1] == "load test: passed"


def test_the_smoke_test_judges_the_answer_that_it_waited_for(address: str) -> None:
    """Likewise: a course that is counted by the api that was asked last but one is counted."""
    said = _run("round_trip.py", address)

    assert "  pass  fsm.cacheHits grew (1)" in said
    assert "  pass  outbox.jobsCreated grew (1)" in said
    assert said[-1] == "smoke test: passed"
