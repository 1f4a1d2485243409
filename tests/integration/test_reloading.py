"""An edited line of a service is live within ten seconds: real services, run from a copy of the code."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import httpx
import pytest

from services.cli.stack import spawn
from tests.support.ports import claim
from tests.support.servers import REPOSITORY
from tests.support.stack import Kind, Process, Stack
from tests.support.waiting import eventually

_LIVE_SECONDS = 10.0

_EDITS: dict[Kind, tuple[str, str, str]] = {
    "api": ("api/openapi.py", '"title": TITLE', '"title": "edited"'),
    "outbox_relay": ("outbox_relay/relay.py", '"Outbox processor started"', '"edited"'),
    "stage_worker": ("stage_worker/worker.py", '"Stage worker started"', '"edited"'),
}
"""Of each service: a file, what it says, and what it shall say."""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the code that a test may edit."""
    folder = tmp_path / "code"
    shutil.copytree(REPOSITORY / "services", folder / "services", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _start(stack: Stack, kind: Kind, code: Path) -> Process:
    port, metrics_port = claim(), claim()
    log = stack.folder / f"{kind}.log"
    with log.open("ab") as output:
        popen = spawn.spawn(
            [sys.executable, "-m", "services.kernel.reloading", f"services.{kind}"],
            env={**stack.environment, "PORT": str(port), "METRICS_PORT": str(metrics_port)},
            folder=code,
            output=output,
        )
    process = Process(kind, popen, log, port=port, metrics_port=metrics_port)
    stack.processes.append(process)
    return process


@pytest.mark.parametrize("kind", _EDITS)
async def test_an_edited_line_is_live_within_ten_seconds(stack: Stack, code: Path, kind: Kind) -> None:
    """The service is ready again, says the new words, and ends with 0 when told to stop."""
    process = await _start(stack, kind, code).ready()
    name, old, new = _EDITS[kind]
    path = code / "services" / name
    text = path.read_text(encoding="utf-8")
    assert old in text

    async def live() -> bool:
        if kind == "api":
            return (await client.get(f"{process.url}/openapi.json")).json()["info"]["title"] == "edited"
        return '"edited"' in process.log.read_text(encoding="utf-8")

    async with httpx.AsyncClient() as client:

        async def look() -> bool:
            try:
                return await live()
            except httpx.TransportError:  # between the old process and the new one
                return False

        assert not await look()
        start = time.monotonic()
        path.write_text(text.replace(old, new), encoding="utf-8")
        await eventually(look, within=_LIVE_SECONDS)
        await process.ready(within=_LIVE_SECONDS - (time.monotonic() - start))

    assert await process.stopped(within=10) == 0, process.tail()
