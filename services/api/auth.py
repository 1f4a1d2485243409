"""Who is calling: the bearer token, checked (contract.md GAP28, reliability.md S3).

Promises: algorithms are fixed by the settings and each key serves one algorithm; `exp` and `sub` (a UUID) are required,
`nbf`, `iat`, and, when configured, `aud` and `iss` are checked; everything else that is wrong with a token is the same 401.
A token that was found good is remembered until it expires, so that a busy client costs one signature, not thousands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import jwt
import msgspec

from services.api.keys import KeyRing
from services.kernel.clock import Clock, SystemClock
from services.kernel.errors import Forbidden, RetryableError, Unauthorized
from services.kernel.logs import get_logger
from services.kernel.tiers import PRIORITIES, is_known_tier, known_tier

LONGEST_TOKEN: Final = 8192
"""Most characters of a token; a longer one is refused unread."""

_SHAPE = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_CANONICAL_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LATEST_TIME = 253_402_300_799  # the last second of the year 9999
_TYPES = frozenset({"JWT", "AT+JWT", "APPLICATION/AT+JWT"})
_MOST_REMEMBERED = 4096
_QUIET_SECONDS = 600.0
_log = get_logger(__name__)
_PURPOSE = "Send a valid token: `Authorization: Bearer <JWT>`."


class AuthenticationUnavailable(RetryableError):
    """The issuer's keys could not be read yet; try again in a few seconds."""

    code = "authentication_unavailable"


_NEVER = datetime.max.replace(tzinfo=UTC)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The caller, as the token describes him."""

    user_id: UUID
    tier: str
    organization_id: UUID | None
    is_admin: bool
    expires_at: datetime = _NEVER
    """When his token, or the browser's session, ends; a longer answer must end with it."""
    in_browser: bool = False
    """Whether a browser's cookie speaks for him instead of a token."""

    @property
    def priority(self) -> int:
        """Priority of the caller's jobs."""
        return PRIORITIES[self.tier]


class Authenticator:
    """Turns an `Authorization` header into a `Principal`."""

    def __init__(
        self,
        keys: KeyRing,
        *,
        algorithms: frozenset[str],
        audience: str | None = None,
        issuer: str | None = None,
        leeway_seconds: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        self._keys = keys
        self._algorithms = algorithms
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway_seconds
        self._clock = clock or SystemClock()
        self._signatures = jwt.PyJWS(algorithms=list(algorithms))
        self._remembered: dict[bytes, tuple[Principal, float]] = {}
        self._quiet_until: dict[UUID, float] = {}
        self._generation = keys.generation

    async def authenticate(self, authorization: bytes | None) -> Principal:
        """The caller behind the header's token.

        Raises:
            Unauthorized: no token, or not a good one.
            AuthenticationUnavailable: the key set has not been read yet, so nobody can tell.
        """
        token = _bearer(authorization)
        known = self._recall(token)
        if known is not None:
            return known
        header = _section(token.split(b".", 1)[0])
        claims = await self._verify(token, header)
        principal, expires = self._accept(claims)
        self._remember(token, principal, expires)
        return principal

    def _recall(self, token: bytes) -> Principal | None:
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._remembered.clear()
        known = self._remembered.get(token)
        if known is None:
            return None
        principal, expires = known
        if expires > self._now():
            return principal
        del self._remembered[token]
        return None

    def _remember(self, token: bytes, principal: Principal, expires: float) -> None:
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[token] = (principal, expires)

    async def _verify(self, token: bytes, header: Mapping[str, Any]) -> dict[str, Any]:
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise Unauthorized(f"{_PURPOSE} This one is not signed with an algorithm that is accepted here.")
        if kid is not None and not isinstance(kid, str):
            raise Unauthorized(_PURPOSE)
        if "crit" in header or str(header.get("typ", "JWT")).upper() not in _TYPES:
            raise Unauthorized(_PURPOSE)
        if not self._is_signed(token, algorithm, kid) and not (
            await self._keys.reload() and self._is_signed(token, algorithm, kid)
        ):
            if algorithm != "HS256" and not self._keys.is_complete:
                raise AuthenticationUnavailable
            raise Unauthorized(f"{_PURPOSE} The signature of this one does not match.")
        return _section(token.split(b".")[1])

    def _is_signed(self, token: bytes, algorithm: str, kid: str | None) -> bool:
        for key in self._keys.candidates(algorithm, kid):
            try:
                self._signatures.decode(token, key.material, algorithms=[algorithm])
            except jwt.PyJWTError:
                continue
            return True
        return False

    def _accept(self, claims: Mapping[str, Any]) -> tuple[Principal, float]:
        now = self._now()
        expires = _time(claims, "exp")
        if expires is None:
            raise Unauthorized("The token has no `exp`; tokens must expire.")
        expires += self._leeway
        if expires <= now:
            raise Unauthorized("The token has expired; get a new one.")
        for claim in ("nbf", "iat"):
            if (_time(claims, claim) or 0) > now + self._leeway:
                raise Unauthorized("The token is not valid yet.")
        self._check_parties(claims)
        principal = _principal(claims, expires - self._leeway)
        self._warn_of_tier(principal, _object(claims.get("user_metadata")).get("tier"))
        return principal, expires

    def _warn_of_tier(self, principal: Principal, named: object) -> None:
        """Say that a tier is unknown and counts as FREE: once for a token, and not more often than that for its user."""
        if named is None or is_known_tier(named):
            return
        now = self._clock.monotonic()
        if now < self._quiet_until.get(principal.user_id, now):
            return
        if len(self._quiet_until) >= _MOST_REMEMBERED:
            self._quiet_until.pop(next(iter(self._quiet_until)))
        self._quiet_until[principal.user_id] = now + _QUIET_SECONDS
        _log.warning(
            "unknown tier counts as FREE", userId=str(principal.user_id), named=str(named)[:50], tier=principal.tier
        )

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if self._audience is not None and self._audience not in named:
            raise Unauthorized("The token is meant for another audience.")
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise Unauthorized("The token was issued by someone else.")

    def _now(self) -> float:
        return self._clock.now().timestamp()


def require_admin(caller: Principal) -> None:
    """Refuse whoever is no administrator, whatever he asks for and whether it exists (GAP15).

    Raises:
        Forbidden: the token does not name the role.
    """
    if not caller.is_admin:
        raise Forbidden(
            "Only administrators may do this: the token needs the role `admin` (claim `app_metadata.role`).",
            claim="app_metadata.role",
        )


def _bearer(authorization: bytes | None) -> bytes:
    if authorization is None:
        raise Unauthorized(_PURPOSE)
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or len(token) > LONGEST_TOKEN or not _SHAPE.fullmatch(token):
        raise Unauthorized(_PURPOSE)
    return token


def _section(text: bytes) -> dict[str, Any]:
    try:
        section = json.loads(jwt.utils.base64url_decode(text), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unauthorized(_PURPOSE) from error
    if not isinstance(section, dict):
        raise Unauthorized(_PURPOSE)
    return section


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    section = dict(pairs)
    if len(section) != len(pairs):
        raise ValueError("a name occurs twice")  # two readers could see two different tokens
    return section


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST_TIME:
        raise Unauthorized(f"The token's `{name}` is not a time.")
    return float(value)


def _principal(claims: Mapping[str, Any], expires: float) -> Principal:
    subject = _uuid(claims.get("sub"))
    if subject is None:
        raise Unauthorized("The token's `sub` must be the user's UUID.")
    user, app = _object(claims.get("user_metadata")), _object(claims.get("app_metadata"))
    return Principal(
        user_id=subject,
        tier=known_tier(user.get("tier")),
        organization_id=_uuid(app.get("organization_id")),
        is_admin=app.get("role") == "admin",
        expires_at=datetime.fromtimestamp(expires, UTC),
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _uuid(value: object) -> UUID | None:
    return UUID(value) if isinstance(value, str) and _CANONICAL_UUID.fullmatch(value) else None
