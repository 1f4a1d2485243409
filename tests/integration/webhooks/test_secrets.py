"""Secrets at rest: encrypted, bound to their organisation, and readable across a change of keys."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet

from services.kernel.database import Database
from services.kernel.settings import Secret
from services.kernel.webhooks.secrets import (
    MOST_VALID,
    RotationUnderWay,
    SecretsUnreadable,
    SecretVault,
    WebhooksUnavailable,
)

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


async def issue(vault: SecretVault, db: Database, organization: object, *, force: bool = False) -> str:
    """A new secret."""
    async with db.transaction() as session:
        return (await vault.issue(session, organization, force=force)).secret  # type: ignore[arg-type]


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


async def test_of_many_who_ask_at_the_same_time_two_get_a_secret(db: Database) -> None:
    """One of them is current, the other one retires; both sign, and nobody else has changed anything."""
    vault, organization = SecretVault(Secret(OLD)), uuid4()
    answers = await asyncio.gather(*(issue(vault, db, organization) for _ in range(5)), return_exceptions=True)
    made = [each for each in answers if isinstance(each, str)]
    current = await db.fetchval("SELECT count(*) FROM webhook_secrets WHERE retires_at IS NULL")

    assert len(set(made)) == 2
    assert sum(isinstance(each, RotationUnderWay) for each in answers) == 3
    assert current == 1
    assert set(await vault.valid(db, organization)) == set(made)


async def test_a_rotation_leaves_no_room_for_another_until_it_is_over(db: Database) -> None:
    """The refusal says from when; then the old secret is gone and the next rotation begins."""
    vault, organization = SecretVault(Secret(OLD)), uuid4()
    first, second = [await issue(vault, db, organization) for _ in range(2)]
    with pytest.raises(RotationUnderWay) as refused:
        await issue(vault, db, organization)
    until = await db.fetchval("SELECT retires_at FROM webhook_secrets WHERE retires_at IS NOT NULL")

    assert refused.value.details == {"possibleAt": until.isoformat(timespec="seconds").replace("+00:00", "Z")}
    assert await vault.valid(db, organization) == [second, first]

    await db.execute("UPDATE webhook_secrets SET retires_at = retires_at - $1::interval", timedelta(hours=24))
    third = await issue(vault, db, organization)

    assert await vault.valid(db, organization) == [third, second]


async def test_by_force_there_are_more_but_none_loses_its_hours(db: Database) -> None:
    """As many as may sign at a time; the next one is refused until the oldest of them has retired."""
    vault, organization = SecretVault(Secret(OLD)), uuid4()
    made = [await issue(vault, db, organization, force=True) for _ in range(MOST_VALID)]
    with pytest.raises(RotationUnderWay):
        await issue(vault, db, organization, force=True)

    assert await vault.valid(db, organization) == made[::-1]


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
