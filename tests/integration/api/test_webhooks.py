"""Webhooks at the door: addresses are refused before anything is written, secrets are shown once."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.kernel.database import Database
from services.kernel.settings import Secret
from services.kernel.webhooks.secrets import SecretVault
from tests.support import tokens
from tests.support.api import RunningApi, running_api
from tests.support.courses import add_course, totals
from tests.support.receiver import WEBHOOK_KEY

ADDRESS = "https://hooks.example.com/in?key=v"
PATHS = ("/api/trpc/generation.initiate", "/api/coursegen/generate", "/api/courses")


def order(path: str, url: Any) -> dict[str, Any]:
    """A request that is good but for its address."""
    body = {"title": "Bees", "webhookUrl": url}
    return body if path == "/api/courses" else {**body, "courseId": str(uuid4())}


@pytest.mark.parametrize("path", PATHS)
async def test_an_address_is_kept_with_the_course(api: RunningApi, db: Database, path: str) -> None:
    """As it was given."""
    answer = await api.client.post(path, json=order(path, ADDRESS))

    assert answer.is_success, answer.text
    assert await db.fetchval("SELECT webhook_url FROM courses") == ADDRESS


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "https://127.0.0.1/", "https://[::ffff:10.0.0.1]/", "https://localhost/", "https://2130706433/",
     "https://u:p@example.com/", "https://169.254.169.254/latest", "https://example.com/#x"],
)  # fmt: skip
async def test_a_forbidden_address_is_refused_before_anything_is_written(
    api: RunningApi, db: Database, path: str, url: str
) -> None:
    """400, naming the field."""
    before = await totals(db)
    answer = await api.client.post(path, json=order(path, url))
    error = answer.json()["error"]

    assert (answer.status_code, error["code"]) == (400, "webhook_url_refused")
    assert error["details"] == {"field": "webhookUrl"}
    assert await totals(db) == before


async def test_without_keys_no_address_is_accepted(database_url: str, redis_url: str, db: Database) -> None:
    """The answer names the setting; a request without an address is none the worse."""
    async with running_api(database_url, redis_url, webhook_keys=None) as api:
        for path in PATHS:
            answer = await api.client.post(path, json=order(path, ADDRESS))
            error = answer.json()["error"]

            assert (answer.status_code, error["code"]) == (400, "webhooks_unavailable")
            assert "WEBHOOK_ENCRYPTION_KEYS" in error["message"]
            assert (await totals(db))["courses"] == 0
        secret = await api.client.post("/api/webhooks/secret")
        without = await api.client.post(PATHS[0], json=order(PATHS[0], None))

    assert (secret.status_code, secret.json()["error"]["code"]) == (400, "webhooks_unavailable")
    assert without.is_success


async def test_a_retry_keeps_the_address(api: RunningApi, db: Database) -> None:
    """It was checked when it was given."""
    course = await add_course(db, state="pending")
    await db.execute("UPDATE courses SET generation_status = 'error', webhook_url = $2 WHERE id = $1", course, ADDRESS)
    answer = await api.client.post(f"/api/courses/{course}/retry")

    assert answer.is_success, answer.text
    assert await db.fetchval("SELECT webhook_url FROM courses") == ADDRESS


async def test_a_secret_is_shown_once_and_kept_encrypted(api: RunningApi, db: Database) -> None:
    """Nobody who reads the database, the answer's copies or a later answer has it."""
    answer = await api.client.post("/api/webhooks/secret")
    made = answer.json()
    (row,) = await db.fetch("SELECT * FROM webhook_secrets")

    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert made["secret"].startswith("whsec_")
    assert made["previousValidUntil"] is None
    assert (str(row["secret_id"]), row["organization_id"]) == (made["secretId"], tokens.ORGANIZATION)
    assert made["secret"].removeprefix("whsec_") not in row["ciphertext"]
    assert await SecretVault(Secret(WEBHOOK_KEY)).valid(db, tokens.ORGANIZATION) == [made["secret"]]


async def test_a_new_secret_leaves_the_old_one_valid_for_a_day(api: RunningApi, db: Database) -> None:
    """And an organisation's secrets are its own."""
    other = UUID("00000000-0000-0000-0000-00000000000b")
    first = (await api.client.post("/api/webhooks/secret")).json()
    second = (await api.client.post("/api/webhooks/secret")).json()
    foreign = (await api.client.post("/api/webhooks/secret", headers=tokens.bearer(organization=other))).json()
    vault = SecretVault(Secret(WEBHOOK_KEY))
    overlap = await db.fetchval(
        "SELECT extract(epoch FROM retires_at - now()) FROM webhook_secrets WHERE retires_at IS NOT NULL"
    )

    assert second["previousValidUntil"] is not None
    assert 86_000 < float(overlap) <= 86_400
    assert await vault.valid(db, tokens.ORGANIZATION) == [second["secret"], first["secret"]]
    assert await vault.valid(db, other) == [foreign["secret"]]


async def test_nobody_takes_the_receivers_secret_by_asking_again_and_again(api: RunningApi, db: Database) -> None:
    """409 with the time; `force` is for administrators and is recorded, and even then every secret keeps signing."""
    first, second = [(await api.client.post("/api/webhooks/secret")).json() for _ in range(2)]
    refused = [await api.client.post("/api/webhooks/secret") for _ in range(5)]
    forbidden = await api.client.post("/api/webhooks/secret?force=true")
    unclear = await api.client.post("/api/webhooks/secret?force=1")
    vault = SecretVault(Secret(WEBHOOK_KEY))

    assert {(each.status_code, each.json()["error"]["code"]) for each in refused} == {(409, "rotation_under_way")}
    possible_at = datetime.fromisoformat(refused[0].json()["error"]["details"]["possibleAt"])
    assert abs(possible_at - datetime.fromisoformat(second["previousValidUntil"])).total_seconds() <= 1
    assert (forbidden.status_code, unclear.status_code) == (403, 400)
    assert await vault.valid(db, tokens.ORGANIZATION) == [second["secret"], first["secret"]]
    assert await db.fetchval("SELECT count(*) FROM admin_actions") == 0

    forced = await api.client.post("/api/webhooks/secret?force=true", headers=tokens.admin_bearer())
    (action,) = await db.fetch("SELECT user_id, action, target, detail FROM admin_actions")

    assert forced.status_code == 201
    assert await vault.valid(db, tokens.ORGANIZATION) == [forced.json()["secret"], second["secret"], first["secret"]]
    assert (action["user_id"], action["action"]) == (tokens.ADMIN, "webhook_secret.force")
    assert (action["target"], action["detail"]) == (str(tokens.ORGANIZATION), {"secretId": forced.json()["secretId"]})


async def test_a_token_without_an_organisation_is_told_which_claim_is_missing(api: RunningApi, db: Database) -> None:
    """400; nothing is made."""
    answer = await api.client.post("/api/webhooks/secret", headers=tokens.bearer(organization=None))
    error = answer.json()["error"]

    assert answer.status_code == 400
    assert error["details"] == {"claim": "app_metadata.organization_id"}
    assert "webhook secrets" in error["message"]
    assert await db.fetchval("SELECT count(*) FROM webhook_secrets") == 0


async def test_without_a_token_there_is_no_secret(api: RunningApi) -> None:
    """401, as everywhere."""
    answer = await api.client.post("/api/webhooks/secret", headers={"Authorization": ""})

    assert answer.status_code == 401
