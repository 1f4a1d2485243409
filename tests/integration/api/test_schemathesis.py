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
import time
from pathlib import Path

import httpx
import pytest

from services.kernel.database import Database
from tests.support.conversations import send
from tests.support.courses import add_course, add_documents, add_result
from tests.support.stack import Stack
from tests.support.tokens import ADMIN, admin_bearer
from tests.support.waiting import eventually

CI = os.environ.get("CI") == "true"
ASKED = os.environ.get("COURSEGEN_FUZZ_EXAMPLES", "").strip()
EXAMPLES = ASKED or ("30" if CI else "3")
"""Requests per operation and phase; `make prove-fuzz` sets so many that all of them together are the 20,000 of S1."""
COURSE_STREAM = r"/courses/\{course\}/events$"
"""The one operation whose answer does not end."""
_SHARE = min(1.0, int(ASKED) / 300) if ASKED else 0.0
"""Of the whole proof."""
LEAST_CASES = max(1_000.0, 15_000 * _SHARE) if ASKED else 2_000 if CI else 1_000

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
"""Sent by the caller: a generated sender is never a token's user."""
WAYS = [("postgres", False), ("redis", False), ("postgres", True), ("redis", True)]
"""How messages are kept, and whether a token is asked for."""
LEAST_OF_MESSAGES = max(50.0, 5_000 * _SHARE / len(WAYS)) if ASKED else LEAST_CASES / 20
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
    began = time.monotonic()
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, cwd=stack.folder, timeout=3600, check=False
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2000:]
    counts = CASES.search(done.stdout)
    assert counts is not None, done.stdout[-2000:]
    assert counts[1] == counts[2]
    print(f"\n{counts[2]} requests in {time.monotonic() - began:.0f} s")
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
@pytest.mark.parametrize(("durability", "token"), WAYS if ASKED else WAYS[:1])
async def test_messages_keep_to_their_description(stack: Stack, db: Database, durability: str, token: bool) -> None:
    """Without a token what is generated is accepted, and read back; with one only what its user sends, has sent or been sent."""
    environment = {"MESSAGES_REQUIRE_TOKEN": str(token).lower(), "MESSAGES_DURABILITY": durability}
    process = await stack.start("api", env=environment)
    if durability == "redis":
        await stack.start("persistence_worker")
    async with httpx.AsyncClient(base_url=process.url, headers=admin_bearer() if token else {}) as client:
        accepted = await send(client, senderId=str(ADMIN) if token else "alice")
    await eventually(lambda: _has_rows(db, 1))
    own = A_MESSAGE.format(message=accepted["messageId"])

    cases = await fuzz(stack, process.url, own + CONFIGURATION, "--include-path-regex", MESSAGES, token=token)

    assert "request failed" not in process.log.read_text(), process.tail()
    assert cases >= LEAST_OF_MESSAGES
    if not token:
        await eventually(lambda: _has_rows(db, 6))
        assert await db.fetchval("SELECT count(*) FROM message_receipts") > 0


async def _has_rows(db: Database, least: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM messages") >= least)
