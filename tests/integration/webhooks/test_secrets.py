"""Secrets at rest: encrypted, bound to their organisation, and readable across a change of keys."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet

from services.kernel.database import Database
from services.kernel.settings import Secret
from services.kernel.webhooks.secrets import MOST_VALID, SecretsUnreadable, SecretVault, WebhooksUnavailable

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


async def issue(vault: SecretVault, db: Database, organization: object) -> str:
    """A new secret."""
    async with db.transaction() as session:
        return (await vault.issue(session, organization)).secret  # type: ignore[arg-type]


async def test_the_first_delivery_makes_a_secret_once(db: Database) -> None:
    """Ten workers at a time find the same one."""
    vault, organization = SecretVault(Secret(OLD)), uuid4()
    found = await asyncio.gather(*(vault.valid(db, organization) for _ in range(10)))

    assert len(found[0]) == 1
    assert all(each == found[0] for each in found)


async def test_a_new_key_is_put_before_the_old_one_which_is_taken_out_later(db: Database) -> None:
    """In between every use encrypts anew, so nothing is left for the old key to read."""
    organization = uuid4()
    secret = await issue(SecretVault(Secret(OLD)), db, organization)
    with pytest.raises(SecretsUnreadable):
        await SecretVault(Secret(NEW)).valid(db, organization)

    assert await SecretVault(Secret(f"{NEW},{OLD}")).valid(db, organization) == [secret]
    assert await SecretVault(Secret(NEW)).valid(db, organization) == [secret]
    with pytest.raises(SecretsUnreadable):
        await SecretVault(Secret(OLD)).valid(db, organization)


async def test_a_secret_is_worth_nothing_in_another_row(db: Database) -> None:
    """Whoever can write into the table cannot have his messages signed as another's."""
    vault, mine, theirs = SecretVault(Secret(OLD)), uuid4(), uuid4()
    await issue(vault, db, mine)
    await issue(vault, db, theirs)
    await db.execute(
        "UPDATE webhook_secrets SET ciphertext = (SELECT ciphertext FROM webhook_secrets WHERE organization_id = $1)"
        " WHERE organization_id = $2",
        mine,
        theirs,
    )
    with pytest.raises(SecretsUnreadable, match="another organisation"):
        await vault.valid(db, theirs)


async def test_at_the_same_time_two_people_get_two_secrets_in_a_row(db: Database) -> None:
    """One of them is current, the other one retires; both sign."""
    vault, organization = SecretVault(Secret(OLD)), uuid4()
    made = await asyncio.gather(*(issue(vault, db, organization) for _ in range(4)))
    current = await db.fetchval("SELECT count(*) FROM webhook_secrets WHERE retires_at IS NULL")

    assert len(set(made)) == 4
    assert current == 1
    assert set(await vault.valid(db, organization)) == set(made)


async def test_the_number_of_signatures_is_bounded(db: Database) -> None:
    """Whoever changes his secret all day loses the oldest first."""
    vault, organization = SecretVault(Secret(OLD)), uuid4()
    made = [await issue(vault, db, organization) for _ in range(MOST_VALID + 2)]

    assert await vault.valid(db, organization) == made[::-1][:MOST_VALID]


async def test_without_keys_nothing_is_made(db: Database) -> None:
    """Neither for a person nor for a delivery."""
    vault = SecretVault(None)
    with pytest.raises(WebhooksUnavailable, match="WEBHOOK_ENCRYPTION_KEYS"):
        await issue(vault, db, uuid4())
    with pytest.raises(SecretsUnreadable, match="WEBHOOK_ENCRYPTION_KEYS"):
        await vault.valid(db, uuid4())
    assert await db.fetchval("SELECT count(*) FROM webhook_secrets") == 0


async def test_a_secret_is_not_shown_by_accident(db: Database) -> None:
    """Not in a repr, which is what ends up in logs."""
    async with db.transaction() as session:
        issued = await SecretVault(Secret(OLD)).issue(session, uuid4())

    assert issued.secret.startswith("whsec_")
    assert "whsec_" not in repr(issued)
