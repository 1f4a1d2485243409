"""The api against its own description, by generated requests (S1): no 5xx, no undocumented code, nothing invalid accepted.

Every operation of every route joins by itself, administrators' too; the requests go over HTTP to a real process with a real
PostgreSQL and Redis. The first run makes up everything, the second has a course of the caller's, so that requests come past
the look-up. The live streams are left out, for they do not end; `test_contract.py` and their own tests see to them.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from services.kernel.database import Database
from tests.support.conversations import send
from tests.support.courses import add_course, add_documents, add_result
from tests.support.stack import Stack
from tests.support.tokens import ADMIN, admin_bearer

CI = os.environ.get("CI") == "true"
EXAMPLES = os.environ.get("COURSEGEN_FUZZ_EXAMPLES", "90" if CI else "3")
"""Requests per operation and phase; the full proof sets a thousand."""
COURSE_STREAM = r"/courses/\{course\}/events$"
"""The one operation whose answer does not end."""
LEAST_CASES = 5_000 if CI else 1_000

# Some requests fit the description and are refused all the same: a made-up cursor, a file that is no document.
# In a form everything is text: a `file` that is the number 0 in the schema's eyes is a file with one character.
CONFIGURATION = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "415", "429"]

[[operations]]
include-name = "POST /api/courses/{course}/documents"
checks.negative_data_rejection.enabled = false
"""
OWN_COURSE = """
[parameters]
"path.course" = "{course}"
"path.document" = "{document}"
"""
A_MESSAGE = """
[parameters]
"path.message" = "{message}"
"path.conversation" = "course-1"
"""
"""Sent without a token, where that is allowed: a generated sender is never a token's user."""
MESSAGES = r"^/api/(messages|conversations)"
CASES = re.compile(r"^\s*(\d+) generated, (\d+) passed", re.MULTILINE)


async def fuzz(stack: Stack, url: str, configuration: str, *options: str, token: bool = True) -> int:
    """How many generated requests were answered as the description says.

    Raises:
        AssertionError: one was not.
    """
    file = stack.folder / "schemathesis.toml"
    file.write_text(configuration, encoding="utf-8")
    header = ["-H", f"Authorization: {admin_bearer()['Authorization']}"] if token else []
    command = [
        str(Path(sys.executable).with_name("st")), "--config-file", str(file), "run", f"{url}/openapi.json",
        *header, "--max-examples", EXAMPLES, "--seed", "20251122",
        "--exclude-path-regex", COURSE_STREAM, "--suppress-health-check", "all", "--continue-on-failure", "--no-color", *options,
    ]  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, cwd=stack.folder, timeout=3600, check=False
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2000:]
    counts = CASES.search(done.stdout)
    assert counts is not None, done.stdout[-2000:]
    assert counts[1] == counts[2]
    return int(counts[2])


@pytest.mark.timeout(3600)
async def test_the_api_keeps_to_its_description(stack: Stack, db: Database) -> None:
    """All checks and all phases, sequences of calls included."""
    process = await stack.start("api", env={"HEALTHCHECK_STATUS": "always200"})
    course = await add_course(db, user=ADMIN)
    (document,) = await add_documents(db, course, ["# Bees\n\nBees make honey."])
    await add_result(db, course)
    own = OWN_COURSE.format(course=course, document=document)

    cases = await fuzz(stack, process.url, CONFIGURATION)
    cases += await fuzz(
        stack,
        process.url,
        own + CONFIGURATION,
        "--include-path-regex",
        r"\{course\}",
        "--exclude-operation-id",
        "delete_course",
    )

    assert process.exit_code is None
    assert "request failed" not in process.log.read_text(), process.tail()
    assert cases >= LEAST_CASES


@pytest.mark.timeout(3600)
async def test_messages_keep_to_their_description(stack: Stack, db: Database) -> None:
    """Without a token: what is generated is accepted, and read back."""
    process = await stack.start("api", env={"MESSAGES_REQUIRE_TOKEN": "false", "MESSAGES_DURABILITY": "postgres"})
    async with httpx.AsyncClient(base_url=process.url) as client:
        accepted = await send(client)
    own = A_MESSAGE.format(message=accepted["messageId"])

    cases = await fuzz(stack, process.url, own + CONFIGURATION, "--include-path-regex", MESSAGES, token=False)

    assert "request failed" not in process.log.read_text(), process.tail()
    assert cases >= LEAST_CASES / 20
    assert await db.fetchval("SELECT count(*) FROM messages") > 5
    assert await db.fetchval("SELECT count(*) FROM message_receipts") > 0
