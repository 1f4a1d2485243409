"""Bearer tokens with the claims of contract.md GAP28."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import jwt

SECRET = "a-secret-that-only-the-tests-know-0123456789"
USER = UUID("00000000-0000-0000-0000-000000000012")
ORGANIZATION = UUID("759ba851-3f16-4294-9627-dc5a0a366c8e")


ADMIN = UUID("00000000-0000-0000-0000-0000000000ad")


def mint(
    user: UUID = USER, organization: UUID | None = ORGANIZATION, *, tier: str = "STANDARD", role: str | None = None
) -> str:
    """A token that is good for an hour."""
    return jwt.encode(claims(user, organization, tier=tier, role=role), SECRET, algorithm="HS256")


def claims(
    user: UUID = USER, organization: UUID | None = ORGANIZATION, *, tier: str = "STANDARD", role: str | None = None
) -> dict[str, Any]:
    """What such a token says."""
    app_metadata = {} if organization is None else {"organization_id": str(organization)}
    return {
        "sub": str(user),
        "exp": int(time.time()) + 3600,
        "user_metadata": {"tier": tier},
        "app_metadata": app_metadata if role is None else {**app_metadata, "role": role},
    }


def bearer(user: UUID = USER, organization: UUID | None = ORGANIZATION, *, tier: str = "STANDARD") -> dict[str, str]:
    """The header that carries one."""
    return {"Authorization": f"Bearer {mint(user, organization, tier=tier)}"}


def admin_bearer(user: UUID = ADMIN) -> dict[str, str]:
    """The header of an administrator, who owns nothing."""
    return {"Authorization": f"Bearer {mint(user, role='admin')}"}
