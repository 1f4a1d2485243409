"""The api against its own description, by generated requests: no 5xx, no undocumented answer, nothing invalid accepted (S1)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.support.stack import open_stack
from tests.support.tokens import bearer

EXAMPLES = os.environ.get("COURSEGEN_FUZZ_EXAMPLES", "6")
"""Requests per operation and phase; the full proof sets a thousand."""

# Some requests fit the description and are refused all the same: a made-up cursor, a file that is no document.
CONFIGURATION = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404", "409", "415"]
"""


async def test_the_api_keeps_to_its_description(tmp_path: Path, app_database_url: str, redis_url: str) -> None:
    """All checks and all phases, sequences of calls included."""
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    with open_stack(tmp_path, database_url=app_database_url, redis_url=redis_url) as stack:
        process = await stack.start("api", env={"HEALTHCHECK_STATUS": "always200"})
        command = [
            str(Path(sys.executable).with_name("st")), "--config-file", str(configuration), "run", f"{process.url}/openapi.json",
            "-H", f"Authorization: {bearer()['Authorization']}", "--max-examples", EXAMPLES, "--seed", "20251122",
            "--suppress-health-check", "all", "--no-color",
        ]  # fmt: skip
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, cwd=tmp_path, timeout=3600, check=False
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert process.exit_code is None
        assert "request failed" not in process.log.read_text(), process.tail()
