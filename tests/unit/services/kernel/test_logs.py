"""Logs are one JSON object a line, carry their context, and never a secret."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from services.kernel import logs

_PROGRAM = """
import logging
from services.kernel import logs
logs.configure("info", "json", "tester")
log = logs.get_logger("somewhere")
log.debug("too fine")
with logs.bind_context(requestId="r1", courseId=None):
    log.info("hello", password="hunter2", secretId="named", url="redis://user:hunter2@host/0", nested={"api_key": "hunter2"},
             header="Bearer abc.def.ghi", many=["postgresql://u:hunter2@h/d"])
logging.getLogger("lib").warning("from a library %s", "postgresql://u:hunter2@h/d")
try:
    raise ValueError("postgresql://u:hunter2@h/d")
except ValueError:
    log.exception("broken")
"""
_NESTED = """
import asyncio
from services.kernel import logs
logs.configure("info", "json", "tester")
log = logs.get_logger("somewhere")

async def task():
    log.info("task")

async def main():
    with logs.bind_context(requestId="r1", tier="FREE"):
        with logs.bind_context(tier="PREMIUM", courseId="c1"):
            log.info("inner")
            await asyncio.create_task(task())
        log.info("outer", tier="mine")
    log.info("after")

asyncio.run(main())
"""


def _lines(program: str) -> list[dict[str, object]]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.fixture(scope="module")
def lines() -> list[dict[str, object]]:
    """What a process writes."""
    return _lines(_PROGRAM)


def test_context_lasts_as_long_as_its_block_and_reaches_the_tasks_in_it() -> None:
    """Blocks nest, the inner one wins; a field of the line itself wins over both."""
    fields = [tuple(line.get(key) for key in ("event", "requestId", "tier", "courseId")) for line in _lines(_NESTED)]

    assert fields == [
        ("inner", "r1", "PREMIUM", "c1"),
        ("task", "r1", "PREMIUM", "c1"),
        ("outer", "r1", "mine", None),
        ("after", None, None, None),
    ]


def test_lines_are_json_with_level_time_process_and_context(lines: list[dict[str, object]]) -> None:
    """The fields of contract.md q are there; empty context is left out."""
    first = lines[0]

    assert ("hello", "info", "tester", "r1") == tuple(first[key] for key in ("event", "level", "process", "requestId"))
    assert "timestamp" in first
    assert "courseId" not in first


def test_no_secret_is_written_in_any_form(lines: list[dict[str, object]]) -> None:
    """Not by key, not inside a URL, not in a nested value, a library's line or a traceback."""
    assert "hunter2" not in json.dumps(lines)
    assert "abc.def.ghi" not in json.dumps(lines)
    assert lines[0]["url"] == "redis://***@host/0"
    assert lines[0]["secretId"] == "named"


def test_libraries_and_exceptions_reach_the_same_log(lines: list[dict[str, object]]) -> None:
    """The standard logging module is carried over; a traceback is part of the line."""
    assert [line["event"] for line in lines[1:]] == ["from a library postgresql://***@h/d", "broken"]
    assert "ValueError" in str(lines[2]["exception"])


def test_levels_below_the_setting_are_dropped(lines: list[dict[str, object]]) -> None:
    """Debug lines are not written at level info."""
    assert "too fine" not in json.dumps(lines)
    assert logging.getLevelName(logs._LEVELS["warning"]) == "WARNING"


_LEVELS = """
from services.kernel import logs
logs.configure("debug", "json", "tester")
log = logs.get_logger("x")
assert logs.shows_debug()
log.debug("1"), log.info("2"), log.warning("3"), log.warn("4"), log.error("5")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("6")
logs.configure("warn", "json", "tester")
assert not logs.shows_debug()
"""


def test_levels_have_the_names_of_the_contract() -> None:
    """debug, info, warn, error (contract.md q), and no other."""
    assert [line["level"] for line in _lines(_LEVELS)] == ["debug", "info", "warn", "warn", "error", "error"]


_CONCEALED = """
from services.kernel import logs
logs.configure("info", "FORM", "tester")
logs.conceal(["correct-horse-battery", "short", ""])
log = logs.get_logger("x")
log.info("said correct-horse-battery", why="it is correct-horse-battery!", many=[{"a": "xcorrect-horse-batteryx"}], short="short")
try:
    staple = "correct-horse-battery"
    raise ValueError(f"not {staple}")
except ValueError:
    log.exception("broken")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_values_of_secret_settings_are_masked_wherever_they_occur(form: str) -> None:
    """In any field, in tracebacks, in either form; a value too short to be told from words is left to the patterns."""
    done = subprocess.run(
        [sys.executable, "-c", _CONCEALED.replace("FORM", form)], capture_output=True, text=True, check=True
    )

    assert "broken" in done.stderr
    assert "ValueError: not ***" in done.stderr
    assert "correct-horse" not in done.stderr
    assert "short" in done.stderr


_FORGED = r"""
from services.kernel import logs
logs.configure("info", "FORM", "tester")
logs.get_logger("x").info("said", path="/\x1b[2Ja\nforged level=error \x9b31m", good="Привет")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_a_client_sends_forges_no_line(form: str) -> None:
    """One line stays one, and no character reaches the terminal that moves its cursor."""
    done = subprocess.run(
        [sys.executable, "-c", _FORGED.replace("FORM", form)], capture_output=True, text=True, check=True
    )

    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr
    assert "forged" in done.stderr
    assert "Привет" in done.stderr


_CONSOLE = """
from services.kernel import logs
logs.configure("info", "auto", "tester")
with logs.bind_context(requestId="r1"):
    logs.get_logger("somewhere").warning("something happened", rows=3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_a_terminal_gets_a_form_for_people() -> None:
    """`auto` on a terminal: time, level, words, fields; no JSON."""
    import os
    import pty

    leader, follower = pty.openpty()
    subprocess.run([sys.executable, "-c", _CONSOLE], stderr=follower, check=True)
    os.close(follower)
    said = os.read(leader, 10_000).decode()
    os.close(leader)

    assert "something happened" in said
    assert "requestId" in said
    assert "warn" in said
    assert "{" not in said


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("nothing to hide", "nothing to hide"),
        ("at REDISS://me:hunter2@host/0 it", "at REDISS://***@host/0 it"),
        ("BEARER abc", "Bearer ***"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln seen", "token *** seen"),
        ("bEaReR eyJhbGci.x.y at http://u:p@h", "Bearer *** at http://***@h"),
    ],
)
def test_credentials_are_scrubbed_from_text(text: str, clean: str) -> None:
    """In whatever letter case, alone or together."""
    assert logs.scrub_text(text) == clean


_WARNINGS = """
import logging
from services.kernel import logs
logs.configure("info", "json", "tester")
for level in (logging.WARNING, logging.ERROR, logging.CRITICAL):
    try:
        raise ConnectionRefusedError(111, "Connect call failed")
    except ConnectionRefusedError:
        logging.getLogger("asyncpg.pool").log(level, "no floor", exc_info=True)
"""


def test_what_a_library_only_warns_of_is_one_line() -> None:
    """An outage of PostgreSQL fills no log with tracebacks; what a library calls an error keeps its own."""
    warned, *failed = _lines(_WARNINGS)

    assert (warned["level"], warned["event"]) == ("warn", "no floor")
    assert warned["error"] == "ConnectionRefusedError: [Errno 111] Connect call failed"
    assert "exception" not in warned
    assert [line["level"] for line in failed] == ["error", "error"]
    assert all("Traceback" in str(line["exception"]) for line in failed)
