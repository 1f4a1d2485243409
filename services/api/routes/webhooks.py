"""Webhook secrets (contract.md r, GAP14)."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from services.api.creation import require_organization
from services.api.messages import Reply, Request, struct_reply
from services.api.routing import Answer, Operation
from services.kernel.database import Database
from services.kernel.logs import get_logger
from services.kernel.webhooks.secrets import SecretVault

TAG: Final = "Webhooks"

_log = get_logger(__name__)


class WebhookSecretReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A new secret: shown once. `previousValidUntil` says how long the one before it signs too, null when there was none."""

    secret_id: UUID
    secret: str
    created_at: datetime
    previous_valid_until: datetime | None


class WebhookRoutes:
    """What an organisation needs to trust what it is sent."""

    def __init__(self, db: Database, vault: SecretVault) -> None:
        self._db = db
        self._vault = vault

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        return [
            Operation(
                method="POST",
                path="/api/webhooks/secret",
                handler=self.issue_webhook_secret,
                tag=TAG,
                answers={201: Answer("The secret", WebhookSecretReply)},
                errors=(400, 403),
            )
        ]

    async def issue_webhook_secret(self, request: Request) -> Reply:
        """Make a new secret for your organisation's webhooks and show it, once.

        From now on webhooks are signed with it, and for 24 hours also with the one before it, so that receivers can be
        changed over. The token must name an organisation.
        """
        organization = require_organization(
            request.principal, "To have webhook secrets the token must name an organisation"
        )
        async with self._db.transaction() as session:
            issued = await self._vault.issue(session, organization)
        _log.info("webhook secret issued", organizationId=str(organization), secretId=str(issued.secret_id))
        reply = WebhookSecretReply(
            secret_id=issued.secret_id,
            secret=issued.secret,
            created_at=issued.created_at,
            previous_valid_until=issued.previous_valid_until,
        )
        return struct_reply(reply, 201)
