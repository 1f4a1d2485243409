"""The steps that make a line, one by one and in this process; `test_logs` looks at what real processes write."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from services.kernel import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was, afterwards."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logs.conceal(())
    structlog.configure(**before)
    root.handlers[:], root.level = handlers, level


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines since the last look."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_has_its_fields_and_its_context(capsys: pytest.CaptureFixture[str]) -> None:
    """Level in the contract's words; nested values are scrubbed by their keys."""
    logs.configure("info", "json", "tester")
    log = logs.get_logger("a.module")
    with logs.bind_context(requestId="r", courseId=None):
        log.debug("not this")
        log.warning("that", token="t", many=[{"password": "p"}, ("x",)], number=1, secretId="s")
    (line,) = written(capsys)

    assert line.items() >= {"level": "warn", "process": "tester", "module": "a.module", "requestId": "r"}.items()
    assert (line["token"], line["many"], line["number"], line["secretId"]) == (
        "***",
        [{"password": "***"}, ["x"]],
        1,
        "s",
    )
    assert "courseId" not in line


@pytest.mark.parametrize(("level", "shows"), [("debug", True), ("info", False), ("warn", False), ("warning", False)])
def test_whether_debug_lines_are_shown(level: str, shows: bool) -> None:
    """By the level that was configured."""
    logs.configure(level, "json", "tester")

    assert logs.shows_debug() is shows


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_is_part_of_the_line_and_scrubbed(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In both forms, without local variables."""
    logs.configure("info", form, "tester")
    logs.conceal(["a-long-secret-value", "short"])
    try:
        secret = "a-long-secret-" + "value"
        raise ValueError(f"no {secret}")
    except ValueError:
        logs.get_logger("x").exception("broken\x1b[2J\nby", why="a\tshort\x9b one")
    told = capsys.readouterr().err

    assert "ValueError: no ***" in told
    assert "a-long-secret" not in told
    assert "short" in told
    assert "\x1b[2J" not in told
    assert "\x9b" not in told or form == "json"


def test_libraries_are_carried_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Their warnings and errors, with names of levels that only they have."""
    logs.configure("info", "json", "tester")
    library = logging.getLogger("some.library")
    library.info("too fine: libraries begin at warning")
    library.warning("see %s", "redis://u:p@h")
    library.log(35, "odd level")
    try:
        raise OSError("gone")
    except OSError:
        library.exception("failed")
    first, second, third = written(capsys)

    assert (first["event"], first["level"], first["module"]) == ("see redis://***@h", "warn", "some.library")
    assert (second["event"], second["level"]) == ("odd level", "info")
    assert third["level"] == "error"
    assert "OSError: gone" in third["exception"]
