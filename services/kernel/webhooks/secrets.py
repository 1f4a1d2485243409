"""The secrets that sign an organisation's webhooks: made here, shown once, kept encrypted.

An organisation has one current secret. A new one replaces it, and both sign for 24 hours, so that receivers can be changed
over without losing a delivery. While two sign there is no third: nothing that somebody does in between takes a secret its
24 hours, and only an administrator can force a rotation, after a leak. What is stored is encrypted with a key that
PostgreSQL never sees, and bound to its organisation: copied into another row it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from services.kernel.database import Connection, Database, Row
from services.kernel.errors import Conflict, InvalidInput, OperatorError
from services.kernel.logs import get_logger
from services.kernel.queries import Queries
from services.kernel.settings import Secret
from services.kernel.webhooks.signing import new_secret

OVERLAP_SECONDS: Final = 24 * 3600.0
"""How long a replaced secret signs beside its successor."""

MOST_VALID: Final = 5
"""Secrets that sign at the same time, at most, however often a rotation is forced: none is ever taken its 24 hours."""

_MOST_IN_ROTATION: Final = 2
_SQL = Queries.load("services.kernel", "webhooks.sql")
_log = get_logger(__name__)


class WebhooksUnavailable(InvalidInput):
    """Webhooks are not set up here: the operator must set WEBHOOK_ENCRYPTION_KEYS for api and workers."""

    code = "webhooks_unavailable"

    def __init__(self) -> None:
        super().__init__(setting="WEBHOOK_ENCRYPTION_KEYS")


class RotationUnderWay(Conflict):
    """Two secrets are valid already; a new one can be made when the older one has had its 24 hours."""

    code = "rotation_under_way"

    def __init__(self, possible_at: datetime) -> None:
        moment = possible_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        super().__init__(
            "A rotation is under way: the secret before the present one is valid too, so that receivers can be changed over. "
            f"Ask for a new one after {moment}; if a secret has leaked or was lost, an administrator can force it.",
            possibleAt=moment,
        )


class SecretsUnreadable(OperatorError):
    """Webhook secrets cannot be decrypted: WEBHOOK_ENCRYPTION_KEYS lacks the key they were encrypted with."""

    code = "webhook_secrets_unreadable"


@dataclass(frozen=True, slots=True)
class IssuedSecret:
    """A new secret, in the only moment in which it can be read."""

    secret_id: UUID
    secret: str
    created_at: datetime
    previous_valid_until: datetime | None
    """None when there was none to replace."""

    def __repr__(self) -> str:
        return f"IssuedSecret({self.secret_id}, ***)"


class SecretVault:
    """Makes, keeps and opens secrets with the keys of this process; without keys it refuses every call."""

    def __init__(self, keys: Secret | None) -> None:
        texts = [] if keys is None else [part.strip() for part in keys.reveal().split(",")]
        self._first = Fernet(texts[0]) if texts else None
        self._all = MultiFernet([Fernet(each) for each in texts]) if texts else None

    def require_keys(self) -> None:
        """Return if this process has keys.

        Raises:
            WebhooksUnavailable: naming the setting.
        """
        if self._all is None:
            raise WebhooksUnavailable

    async def issue(self, session: Connection, organization_id: UUID, *, force: bool = False) -> IssuedSecret:
        """Make a new current secret, in the caller's transaction; the one before it retires in 24 hours.

        Args:
            session: the transaction.
            organization_id: whose.
            force: make it although a rotation is under way; those that are valid go on signing.

        Raises:
            WebhooksUnavailable: no keys are set.
            RotationUnderWay: two are valid, or with `force` as many as may ever be.
        """
        self.require_keys()
        await session.execute(_SQL["lock_secrets"], organization_id)
        most = MOST_VALID if force else _MOST_IN_ROTATION
        possible_at = await session.fetchval(_SQL["rotation_possible_at"], organization_id, most)
        if possible_at is not None:
            raise RotationUnderWay(possible_at)
        secret_id, secret = uuid4(), new_secret()
        previous = await session.fetchval(_SQL["retire_current"], organization_id, OVERLAP_SECONDS)
        created = await session.fetchval(
            _SQL["add_secret"], secret_id, organization_id, self._seal(organization_id, secret)
        )
        return IssuedSecret(secret_id, secret, created, previous)

    async def valid(self, db: Database, organization_id: UUID) -> Sequence[str]:
        """The secrets that sign now, newest first; the first delivery of an organisation that has none makes one.

        Raises:
            SecretsUnreadable: this process lacks the keys; an operator must mend that, and the delivery can wait.
        """
        if self._all is None:
            raise SecretsUnreadable("WEBHOOK_ENCRYPTION_KEYS is not set for this worker; it cannot sign webhooks.")
        rows = await db.fetch(_SQL["signing_secrets"], organization_id, MOST_VALID)
        if not rows:
            rows = await self._first_secret(db, organization_id)
        return [await self._open(db, organization_id, row) for row in rows]

    async def _first_secret(self, db: Database, organization_id: UUID) -> list[Row]:
        async with db.transaction() as session:
            await session.execute(_SQL["lock_secrets"], organization_id)
            if not await session.fetch(_SQL["signing_secrets"], organization_id, MOST_VALID):
                await self.issue(session, organization_id)
                _log.info("first webhook secret made", organizationId=str(organization_id))
            return await session.fetch(_SQL["signing_secrets"], organization_id, MOST_VALID)

    def _seal(self, organization_id: UUID, secret: str) -> str:
        assert self._first is not None  # noqa: S101 - require_keys has spoken
        return self._first.encrypt(f"{organization_id} {secret}".encode()).decode("ascii")

    async def _open(self, db: Database, organization_id: UUID, row: Row) -> str:
        """The secret in a row; one under an older key is encrypted again, so that old keys can be taken out one day."""
        assert self._first is not None  # noqa: S101 - `valid` has spoken
        assert self._all is not None  # noqa: S101
        kept = row["ciphertext"].encode("ascii")
        try:
            text = self._first.decrypt(kept).decode()
        except InvalidToken:
            try:
                text = self._all.decrypt(kept).decode()
            except InvalidToken as error:
                raise SecretsUnreadable(secretId=str(row["secret_id"])) from error
            again = self._first.encrypt(text.encode()).decode("ascii")
            await db.execute(_SQL["encrypt_again"], row["secret_id"], row["ciphertext"], again)
        owner, _, secret = text.partition(" ")
        if owner != str(organization_id):
            raise SecretsUnreadable(
                "A webhook secret lies in another organisation's row.", secretId=str(row["secret_id"])
            )
        return secret
