"""Development tokens have the claims that the api reads."""

from __future__ import annotations

import time
from uuid import UUID

import jwt
import pytest

from services.cli import tokens
from services.cli.errors import StackError

_SECRET = "s" * 32
_USER = UUID("11111111-1111-4111-8111-111111111111")
_ORGANIZATION = UUID("22222222-2222-4222-8222-222222222222")


def test_the_claims_are_those_of_the_contract() -> None:
    """`sub`, tier, organisation, role and `exp` (GAP28)."""
    token = tokens.mint(
        _SECRET,
        user=_USER,
        organization=_ORGANIZATION,
        tier="BASIC",
        role="admin",
        ttl_seconds=60,
        audience="a",
        issuer="i",
    )
    claims = jwt.decode(token, _SECRET, algorithms=["HS256"], audience="a", issuer="i")

    assert claims["sub"] == str(_USER)
    assert claims["user_metadata"] == {"tier": "BASIC"}
    assert claims["app_metadata"] == {"organization_id": str(_ORGANIZATION), "role": "admin"}
    assert 50 < claims["exp"] - time.time() <= 60


def test_what_is_not_asked_for_is_not_claimed() -> None:
    """No role, no organisation, no audience."""
    claims = jwt.decode(tokens.mint(_SECRET, organization=None), _SECRET, algorithms=["HS256"])

    assert claims["app_metadata"] == {}
    assert "aud" not in claims
    assert "iss" not in claims


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)])
def test_durations_are_written_as_people_do(text: str, seconds: int) -> None:
    """A number and a unit."""
    assert tokens.parse_ttl(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-5", "1w", "soon", "1.5h"])
def test_another_duration_is_refused_with_examples(text: str) -> None:
    """The message shows what to write."""
    with pytest.raises(StackError, match=r"Write for example 3600, 15m, 12h or 7d"):
        tokens.parse_ttl(text)
