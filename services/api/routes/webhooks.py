"""Webhook secrets (contract.md r, GAP14)."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from services.api.admin.audit import Audit, Author
from services.api.auth import require_admin
from services.api.creation import require_organization
from services.api.messages import Reply, Request, struct_reply
from services.api.routing import Answer, Operation, QueryParameter
from services.kernel.database import Database
from services.kernel.errors import InvalidInput
from services.kernel.logs import get_logger
from services.kernel.webhooks.secrets import SecretVault

TAG: Final = "Webhooks"
FORCE: Final = "webhook_secret.force"
"""The action that is recorded of an administrator who forces a rotation."""

_FORCED: Final = {"true": True, "false": False}

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
        self._audit = Audit(db)

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        return [
            Operation(
                method="POST",
                path="/api/webhooks/secret",
                handler=self.issue_webhook_secret,
                tag=TAG,
                answers={201: Answer("The secret", WebhookSecretReply)},
                errors=(400, 403, 409),
                query=(
                    QueryParameter(
                        "force",
                        "`true`: although a rotation is under way. For administrators, and recorded",
                        {"type": "string", "enum": list(_FORCED)},
                    ),
                ),
            )
        ]

    async def issue_webhook_secret(self, request: Request) -> Reply:
        """Make a new secret for your organisation's webhooks and show it, once.

        From now on webhooks are signed with it, and for 24 hours also with the one before it, so that receivers can be
        changed over. During these 24 hours there is no third: 409, with `possibleAt` in the details. An administrator of
        the organisation can force one with `force=true`, after a leak; every secret still signs for its 24 hours, and at
        most five at a time. The token must name an organisation.
        """
        force = _force(request)
        organization = require_organization(
            request.principal, "To have webhook secrets the token must name an organisation"
        )
        recorded = None
        async with self._db.transaction() as session:
            issued = await self._vault.issue(session, organization, force=force)
            if force:
                author = Author.of(request.principal, request.request_id)
                detail = {"secretId": str(issued.secret_id)}
                recorded = await self._audit.record_within(session, author, FORCE, str(organization), detail)
        if recorded is not None:
            self._audit.announce(recorded)
        _log.info(
            "webhook secret issued",
            organizationId=str(organization),
            secretId=str(issued.secret_id),
            by=str(request.principal.user_id),
            forced=force,
        )
        reply = WebhookSecretReply(
            secret_id=issued.secret_id,
            secret=issued.secret,
            created_at=issued.created_at,
            previous_valid_until=issued.previous_valid_until,
        )
        return struct_reply(reply, 201)


def _force(request: Request) -> bool:
    """Whether the caller forces it, and may.

    Raises:
        InvalidInput: `force` is neither true nor false.
        Forbidden: the caller is no administrator.
    """
    force = _FORCED.get(request.query().get("force", "false"))
    if force is None:
        raise InvalidInput("`force` must be true or false.", field="force")
    if force:
        require_admin(request.principal)
    return force
