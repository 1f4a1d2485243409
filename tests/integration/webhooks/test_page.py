"""docs/WEBHOOKS.md is tried: its receiver's code against real messages, its numbers against the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from services.kernel.database import Database
from services.kernel.settings import Secret, declarations
from services.kernel.webhooks.secrets import MOST_VALID, SecretVault
from services.kernel.webhooks.urls import LONGEST_URL
from services.stage_worker.settings import WorkerSettings
from services.stage_worker.webhooks.delivery import MOST_PER_RECEIVER
from services.stage_worker.webhooks.settings import DEFAULT_DELAYS, DeliverySettings
from tests.integration.stage_worker.harness import Pipeline
from tests.integration.webhooks import scenes
from tests.support.receiver import WEBHOOK_KEY, Receiver
from tests.support.tokens import ORGANIZATION

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "WEBHOOKS.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def verify() -> Any:
    """The function that the page offers."""
    (code,) = re.findall(r"<!-- file: verify.py -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    module: dict[str, Any] = {}
    exec(code, module)
    return module["verify"]


async def test_the_pages_receiver_accepts_what_is_sent(
    verify: Any, pipeline: Pipeline, db: Database, receiver: Receiver
) -> None:
    """With the old secret and the new one during a rotation; not with another, not changed, not late."""
    vault, secrets = SecretVault(Secret(WEBHOOK_KEY)), []
    for _ in range(2):
        async with db.transaction() as session:
            secrets.append((await vault.issue(session, ORGANIZATION)).secret)
    await scenes.attempt(pipeline, await scenes.completed(pipeline, db, receiver.url))
    (got,) = receiver.received
    headers = dict(got.headers)

    assert all(verify(secret, headers, got.body) for secret in secrets)
    assert not verify("whsec_" + "A" * 43 + "=", headers, got.body)
    assert not verify(secrets[0], headers, got.body + b" ")
    assert not verify(secrets[0], {**headers, "webhook-id": "another"}, got.body)
    assert not verify(
        secrets[0], {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 360)}, got.body
    )


def test_the_page_has_the_codes_numbers() -> None:
    """Pauses, limits, and every setting of its own."""
    pauses = [5, 30, 2 * 60, 10 * 60, 30 * 60, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 8 * 3600]
    settings = {each.env for _, each in declarations(DeliverySettings)}
    worker = WorkerSettings.from_environ({"DATABASE_URL": "postgresql://u@h/d"})

    assert "5 s, 30 s, 2 min, 10 min, 30 min, 1 h, 2 h, 4 h, 8 h and 8 h" in PAGE
    assert list(DEFAULT_DELAYS) == pauses
    assert f"at most {LONGEST_URL:,} characters" in PAGE
    assert (worker.webhook_seconds, worker.concurrency.of("webhooks")) == (15, 16)
    assert "within 15 s" in PAGE
    assert "has 16\n  attempts in hand" in PAGE
    assert (MOST_PER_RECEIVER, "at most four of them at one receiver" in PAGE) == (4, True)
    assert (MOST_VALID, "(At most five\nsign at a time" in PAGE) == (5, True)
    assert {name for name in settings if f"`{name}`" not in PAGE} == set()
