"""Bearer tokens with the claims of contract.md GAP28."""

from __future__ import annotations

import time
from uuid import UUID

import jwt

SECRET = "a-secret-that-only-the-tests-know-0123456789"
USER = UUID("00000000-0000-0000-0000-000000000012")
ORGANIZATION = UUID("759ba851-3f16-4294-9627-dc5a0a366c8e")


def mint(user: UUID = USER, organization: UUID | None = ORGANIZATION, *, tier: str = "STANDARD") -> str:
    """A token that is good for an hour."""
    claims = {
        "sub": str(user),
        "exp": int(time.time()) + 3600,
        "user_metadata": {"tier": tier},
        "app_metadata": {} if organization is None else {"organization_id": str(organization)},
    }
    return jwt.encode(claims, SECRET, algorithm="HS256")


def bearer(user: UUID = USER, organization: UUID | None = ORGANIZATION, *, tier: str = "STANDARD") -> dict[str, str]:
    """The header that carries one."""
    return {"Authorization": f"Bearer {mint(user, organization, tier=tier)}"}
