"""One way to start and stop: exit codes, readiness, draining and the second signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from services.kernel import lifecycle

_PROGRAM = """
import asyncio, sys
from contextlib import asynccontextmanager
from functools import partial
from services.kernel import lifecycle
from services.kernel.errors import SchemaMissing
from services.kernel.settings import CommonSettings, load

mode = sys.argv[1]

class Sample:
    async def serve(self, stopping):
        print("serving", flush=True)
        if mode == "ends": return
        if mode == "raises": raise RuntimeError("broken")
        if mode == "side": await lifecycle.together(stopping, ("short", asyncio.sleep(0)), ("long", stopping.wait()))
        await stopping.wait()
        print("draining", flush=True)
        if mode == "slow": await asyncio.sleep(60)
        print("drained", flush=True)

@asynccontextmanager
async def open_sample(settings, health):
    if mode == "schema": raise SchemaMissing("relation job_outbox does not exist; run `coursegen migrate`")
    yield Sample()
    if mode == "hangs": await asyncio.sleep(60)
    print("closed", flush=True)

raise SystemExit(lifecycle.run("sample", open_sample, partial(load, CommonSettings)))
"""
_ENVIRONMENT = {
    "DATABASE_URL": "postgresql://h/d",
    "METRICS_PORT": "0",
    "METRICS_HOST": "127.0.0.1",
    "DRAIN_SECONDS": "1",
    "START_WAIT_SECONDS": "0",
}


@contextmanager
def _process(mode: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, mode],
        env={**os.environ, **_ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def _stopped(mode: str, *signals: signal.Signals) -> tuple[int, str, str]:
    with _process(mode) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        for index, each in enumerate(signals):
            if index:  # two signals at once would arrive as one
                assert process.stdout.readline() == "draining\n"
            process.send_signal(each)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err


def test_sigterm_drains_closes_and_exits_zero() -> None:
    """The service finishes what it holds and its resources are closed."""
    assert (0, "draining\ndrained\nclosed\n") == _stopped("works", signal.SIGTERM)[:2]


def test_sigint_is_the_same_as_sigterm() -> None:
    """Ctrl-C drains too."""
    assert _stopped("works", signal.SIGINT)[0] == 0


def test_work_that_outlasts_the_drain_deadline_is_cancelled() -> None:
    """The exit code is still 0, after about DRAIN_SECONDS, and resources are closed."""
    code, out, err = _stopped("slow", signal.SIGTERM)

    assert (0, "draining\nclosed\n") == (code, out)
    assert "drain deadline passed" in err


def test_closing_that_hangs_is_left() -> None:
    """A server that says nothing is no reason to be killed: the exit code is 0, `CLOSE_SECONDS` after the drain at the latest."""
    begun = time.monotonic()
    code, out, err = _stopped("hangs", signal.SIGTERM)

    assert (0, "draining\ndrained\n") == (code, out)
    assert "leaving what is open" in err
    assert time.monotonic() - begun < float(_ENVIRONMENT["DRAIN_SECONDS"]) + lifecycle.CLOSE_SECONDS + 3


def test_a_second_signal_leaves_at_once() -> None:
    """No waiting for the drain deadline; the exit code says so."""
    assert _stopped("slow", signal.SIGTERM, signal.SIGTERM)[0] == 1


def test_a_service_that_ends_or_fails_unasked_exits_one() -> None:
    """So does one whose side task ends unasked; the log names the reason."""
    for mode, reason in (("ends", "ended unasked"), ("raises", "broken"), ("side", "'short' ended unasked")):
        with _process(mode) as process:
            _, err = process.communicate(timeout=30)

            assert process.returncode == 1
            assert reason in err


def test_invalid_settings_exit_78_with_the_list() -> None:
    """Every fault is on standard error (EX_CONFIG)."""
    with _process("works", DATABASE_URL="", LOG_LEVEL="loud") as process:
        _, err = process.communicate(timeout=30)

        assert process.returncode == 78
        assert "DATABASE_URL" in err
        assert "LOG_LEVEL" in err


def test_a_missing_schema_is_told_with_the_next_command() -> None:
    """The process does not start and says which relation is missing (contract.md TRAP33)."""
    with _process("schema") as process:
        _, err = process.communicate(timeout=30)

        assert process.returncode == 1
        assert "job_outbox" in err
        assert "coursegen migrate" in err
