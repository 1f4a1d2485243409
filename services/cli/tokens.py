"""Development tokens with the claims that the api reads (contract.md GAP28)."""

from __future__ import annotations

import re
import time
from uuid import UUID

from services.cli.errors import CalledWrongly

TIERS = ("FREE", "BASIC", "STANDARD", "TRIAL", "PREMIUM")
"""What a user may have booked."""

ROLES = ("admin",)
"""What a token may claim beside being a user's."""

DEVELOPER = UUID("00000000-0000-0000-0000-000000000012")
"""The user of the fixtures, and of the tokens made for the local stack."""

ORGANIZATION = UUID("759ba851-3f16-4294-9627-dc5a0a366c8e")
"""The organisation of the fixtures."""

_TTL = re.compile(r"(?P<number>\d+)(?P<unit>[smhd]?)")
_LONGEST_SECONDS = 3650 * 86_400
_DIGITS = 20
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_ttl(text: str) -> int:
    """Seconds in `90`, `90s`, `15m`, `12h` or `7d`.

    Raises:
        CalledWrongly: with an example, when it is none of these.
    """
    match = _TTL.fullmatch(text.strip())
    if match is None or not match["number"].strip("0"):
        raise CalledWrongly(f"--ttl {text!r} is no duration. Write for example 3600, 15m, 12h or 7d.")
    seconds = int(match["number"]) * _UNITS[match["unit"]] if len(match["number"]) < _DIGITS else _LONGEST_SECONDS + 1
    if seconds > _LONGEST_SECONDS:
        raise CalledWrongly(f"--ttl {text[:_DIGITS]!r} is too long. A token is valid for 3650d at most.")
    return seconds


def has_role(token: str, role: str) -> bool:
    """Whether `token` claims the role and has not run out; its signature is for the api to check."""
    import jwt

    try:
        claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": True})
    except jwt.PyJWTError:
        return False
    app_metadata = claims.get("app_metadata")
    return isinstance(app_metadata, dict) and app_metadata.get("role") == role


def subject(token: str) -> str:
    """Whose token it says it is; empty when it cannot be read."""
    import jwt

    try:
        return str(jwt.decode(token, options={"verify_signature": False}).get("sub", "")).lower()
    except jwt.PyJWTError:
        return ""


def mint(
    secret: str,
    *,
    user: UUID = DEVELOPER,
    organization: UUID | None = ORGANIZATION,
    tier: str = "PREMIUM",
    role: str | None = None,
    ttl_seconds: int = 86_400,
    audience: str | None = None,
    issuer: str | None = None,
) -> str:
    """A token signed with `secret` (HS256)."""
    import jwt

    now = int(time.time())
    app_metadata: dict[str, str] = {}
    if organization is not None:
        app_metadata["organization_id"] = str(organization)
    if role is not None:
        app_metadata["role"] = role
    claims: dict[str, object] = {
        "sub": str(user),
        "iat": now,
        "exp": now + ttl_seconds,
        "user_metadata": {"tier": tier},
        "app_metadata": app_metadata,
    }
    if audience:
        claims["aud"] = audience
    if issuer:
        claims["iss"] = issuer
    return jwt.encode(claims, secret, algorithm="HS256")
