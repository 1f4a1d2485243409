"""Development tokens."""

from __future__ import annotations

import os
from typing import Annotated
from uuid import UUID

import typer

from services.cli import output, tokens
from services.cli.commands.options import AsJson
from services.cli.target import signing_secret


def _known_tier(value: str) -> str:
    if value.upper() not in tokens.TIERS:
        raise typer.BadParameter(f"choose one of {', '.join(tokens.TIERS)}")
    return value.upper()


def _known_role(value: str | None) -> str | None:
    if value is not None and value not in tokens.ROLES:
        raise typer.BadParameter(f"choose one of {', '.join(tokens.ROLES)}, or leave it out")
    return value


def token(
    *,
    user: Annotated[UUID, typer.Option(help="Whom the token speaks for.")] = tokens.DEVELOPER,
    org: Annotated[UUID, typer.Option(help="The organisation that new courses will belong to.")] = tokens.ORGANIZATION,
    tier: Annotated[
        str, typer.Option(callback=_known_tier, help=f"What the user has booked: {', '.join(tokens.TIERS)}.")
    ] = "FREE",
    role: Annotated[str | None, typer.Option(callback=_known_role, help="admin opens the administration.")] = None,
    ttl: Annotated[str, typer.Option(help="How long it is valid: 3600, 15m, 12h, 7d.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Mint a development token for the local stack (or for any api whose JWT_SECRET is set here)."""
    seconds = tokens.parse_ttl(ttl)
    minted = tokens.mint(
        signing_secret(os.environ),
        user=user,
        organization=org,
        tier=tier,
        role=role,
        ttl_seconds=seconds,
        audience=os.environ.get("JWT_AUDIENCE"),
        issuer=os.environ.get("JWT_ISSUER"),
    )
    if as_json:
        output.document({"token": minted, "expiresIn": seconds})
    else:
        output.say(minted)
