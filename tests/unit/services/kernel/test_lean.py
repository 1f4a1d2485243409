"""What a process does not import when it starts."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import cast

import pytest
import structlog

from services.kernel.lean import FOR_TERMINALS, lean
from tests.support.servers import REPOSITORY

_PROCESSES = ("api", "outbox_relay", "stage_worker", "persistence_worker", "migrate", "retention")


def _imported(statement: str) -> set[str]:
    """What a process has imported that has executed this."""
    script = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_no_process_imports_what_is_for_terminals() -> None:
    """They all have logs, and most of them httpx; a virtual environment of the whole stack has rich beside both."""
    found = _imported(f"import {', '.join(f'services.{name}.__main__' for name in _PROCESSES)}")

    assert {"structlog", "httpx"} <= found
    assert found & {"rich", "pygments"} == set()


def test_a_command_reads_no_other_commands_module() -> None:
    """Nor the api's client, which it does not need; help reads all of them."""
    commands = "services.cli.commands."
    found = _imported("from services.cli.application import build; build('token')")

    assert {each.removeprefix(commands) for each in found if each.startswith(commands)} == {"tokens", "options"}
    assert found & {"httpx", "asyncpg", "jwt", "rich"} == set()
    assert f"{commands}admin" in _imported("from services.cli.application import build; build('no-command')")


def test_what_is_hidden_can_be_imported_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the block it is not there; what was imported before stays."""
    kept, *hidden = FOR_TERMINALS
    there = ModuleType(kept)
    monkeypatch.setitem(sys.modules, kept, there)
    for name in hidden:
        monkeypatch.delitem(sys.modules, name, raising=False)
    with lean():
        assert sys.modules[kept] is there
        for name in hidden:
            with pytest.raises(ModuleNotFoundError):
                __import__(name)
    for name in hidden:
        assert cast(ModuleType, __import__(name)).__name__ == name


def test_no_test_draws_a_traceback_with_all_its_variables() -> None:
    """As rich does wherever logs are not set up: the tests of what goes wrong would do little else."""
    assert structlog.dev.default_exception_formatter is structlog.dev.plain_traceback
