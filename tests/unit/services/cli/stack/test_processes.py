"""Which processes the local stack runs, and what each is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from services.api.settings import ApiSettings
from services.cli.stack.ports import Claims
from services.cli.stack.processes import assign_ports, service_programs
from services.cli.stack.program import Program
from services.cli.stack.servers import Servers
from services.cli.stack.state import StateFolder
from services.kernel.settings import load
from services.stage_worker.settings import WorkerSettings

URL = "postgresql://u@127.0.0.1/d"


def programs(folder: Path, environ: dict[str, str]) -> dict[str, Program]:
    """The programs of a stack on `folder`, by name."""
    state = StateFolder(folder)
    chosen = Servers(database_url=URL, application_url=URL, redis_url="redis://127.0.0.1", postgres=None, redis=None)
    claims = Claims()
    made = service_programs(chosen, assign_ports("127.0.0.1", 3000, claims), state.secrets(), folder, environ)
    claims.release()
    return {program.name: program for program in made}


def test_every_queue_is_served_webhooks_too(tmp_path: Path) -> None:
    """Each queue of the pipeline by a worker of its own, webhooks beside the one that has the least to do."""
    served = [
        WorkerSettings.from_environ(program.env).queues
        for name, program in programs(tmp_path, {}).items()
        if name.startswith("worker-")
    ]

    assert sorted(queue for queues in served for queue in queues) == [
        "course-generation:analysis",
        "course-generation:documents",
        "course-generation:generation",
        "webhooks",
    ]


def test_webhooks_are_signed_with_the_stacks_own_key(tmp_path: Path) -> None:
    """Made once; api and workers have the same, and nobody else has it."""
    first, again = programs(tmp_path, {}), programs(tmp_path, {})
    keys = {name: program.env.get("WEBHOOK_ENCRYPTION_KEYS") for name, program in first.items()}
    settings = load(ApiSettings, first["api"].env)

    assert {name for name, key in keys.items() if key} == {
        "api",
        "worker-documents",
        "worker-analysis",
        "worker-generation",
    }
    assert len({key for key in keys.values() if key}) == 1
    assert settings.webhook_keys is not None
    assert again["api"].env["WEBHOOK_ENCRYPTION_KEYS"] == keys["api"]


@pytest.mark.parametrize("name", ["api", "worker-analysis"])
def test_a_key_of_the_callers_comes_first(tmp_path: Path, name: str) -> None:
    """The stack's own stays behind it, so that nothing becomes unreadable."""
    key = Fernet.generate_key().decode()
    own = programs(tmp_path, {})[name].env["WEBHOOK_ENCRYPTION_KEYS"]

    assert programs(tmp_path, {"WEBHOOK_ENCRYPTION_KEYS": key})[name].env["WEBHOOK_ENCRYPTION_KEYS"] == f"{key},{own}"
