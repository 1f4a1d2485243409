"""The keys that tokens are checked with: a shared secret, and an issuer's public key set.

Promises: each key is tied to one algorithm when it is read, so a token can never choose how its signature is checked; keys
come from the settings alone (never from a token's `jku`, `jwk` or `x5u`); a key set read from an address is read again when
it may have changed, and an address that does not answer leaves the known keys in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
import orjson

from services.api.settings import ApiSettings
from services.kernel.clock import Clock, SystemClock
from services.kernel.errors import SettingsInvalid, UpstreamUnavailable
from services.kernel.lean import lean
from services.kernel.logs import get_logger

with lean():
    import httpx

REFRESH_SECONDS: Final = 300.0
"""How often a key set is read again from its address."""

_RELOAD_PAUSE_SECONDS = 10.0
_FETCH_SECONDS = 5.0
_LARGEST_SET = 256 * 1024
_SMALLEST_RSA_BITS = 2048

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One key, and the only algorithm it may be used with."""

    algorithm: str
    material: Any
    kid: str | None = None


def parse_key_set(text: bytes) -> list[VerificationKey]:
    """The usable keys of a JWKS document; keys of other kinds are passed over.

    Raises:
        ValueError: when it is no key set, or holds no key we can use.
    """
    document = orjson.loads(text)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("is not a JWKS document: it has no list `keys`")  # noqa: TRY004 - one kind of error for one file
    keys = [key for key in map(_parse_key, entries) if key is not None]
    if not keys:
        raise ValueError("has no usable key: RSA of 2048 bits or more, EC P-256, or Ed25519, for signatures")
    return keys


def _parse_key(entry: object) -> VerificationKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry:
        return None  # not a signature key, or a private key that has no business here
    algorithm = _algorithm_of(entry)
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    try:
        material = jwt.PyJWK(entry, algorithm=algorithm).key
    except jwt.PyJWTError:
        return None
    if algorithm == "RS256" and material.key_size < _SMALLEST_RSA_BITS:
        return None
    kid = entry.get("kid")
    return VerificationKey(algorithm, material, kid if isinstance(kid, str) else None)


def _algorithm_of(entry: Mapping[str, Any]) -> str | None:
    match entry.get("kty"), entry.get("crv"):
        case "RSA", _:
            return "RS256"
        case "EC", "P-256":
            return "ES256"
        case "OKP", "Ed25519":
            return "EdDSA"
        case _:
            return None


class KeyRing:
    """The keys in force."""

    def __init__(self, fixed: Iterable[VerificationKey], source: KeySetAddress | None = None) -> None:
        self._fixed = tuple(fixed)
        self._source = source
        self.generation = 0
        """Rises whenever the keys change, so that whoever remembers verdicts can forget them."""

    def candidates(self, algorithm: str, kid: str | None) -> list[VerificationKey]:
        """The keys a token of this algorithm and key id may be signed with."""
        keys = self._fixed if self._source is None else (*self._fixed, *self._source.keys)
        return [
            key for key in keys if key.algorithm == algorithm and (kid is None or key.kid is None or key.kid == kid)
        ]

    @property
    def is_complete(self) -> bool:
        """False while a key set's address has never answered: then a token's key may simply be unknown yet."""
        return self._source is None or bool(self._source.keys)

    async def reload(self) -> bool:
        """Read the address again, unless that was done a moment ago; True when the keys changed."""
        if self._source is None or not await self._source.reload():
            return False
        self.generation += 1
        return True

    async def keep_fresh(self, stopping: asyncio.Event) -> None:
        """Read the address again from time to time until `stopping` is set."""
        while not stopping.is_set():
            pause = REFRESH_SECONDS if self.is_complete else _RELOAD_PAUSE_SECONDS
            try:
                await asyncio.wait_for(stopping.wait(), pause)
            except TimeoutError:
                await self.reload()


class KeySetAddress:
    """A key set that is read from its issuer."""

    def __init__(self, url: str, *, client: httpx.AsyncClient | None = None, clock: Clock | None = None) -> None:
        self._url = url
        self._client = client
        self._clock = clock or SystemClock()
        self._next_reload = 0.0
        self._reading = asyncio.Lock()
        self.keys: tuple[VerificationKey, ...] = ()
        self._text = b""

    async def reload(self) -> bool:
        """Read the set, at most once every ten seconds; True when it changed."""
        async with self._reading:
            now = self._clock.monotonic()
            if now < self._next_reload:
                return False
            self._next_reload = now + _RELOAD_PAUSE_SECONDS
            try:
                text = await self._fetch()
                keys = parse_key_set(text)
            except (httpx.HTTPError, ValueError, UpstreamUnavailable) as error:
                _log.warning("key set not read, the known keys stay in force", url=self._url, error=str(error))
                return False
            changed, self._text, self.keys = text != self._text, text, tuple(keys)
            return changed

    async def _fetch(self) -> bytes:
        if self._client is not None:
            return await self._read(self._client)
        async with httpx.AsyncClient(timeout=_FETCH_SECONDS, follow_redirects=False) as client:
            return await self._read(client)

    async def _read(self, client: httpx.AsyncClient) -> bytes:
        text = bytearray()
        async with client.stream("GET", self._url) as response:
            response.raise_for_status()
            async for piece in response.aiter_bytes():
                text += piece
                if len(text) > _LARGEST_SET:
                    raise UpstreamUnavailable(f"the key set is larger than {_LARGEST_SET} bytes")
        return bytes(text)


async def open_key_ring(settings: ApiSettings) -> KeyRing:
    """The keys that the settings name. An address that does not answer yet is asked again later.

    Raises:
        SettingsInvalid: when the key set's file cannot be read or holds no usable key.
    """
    secrets = (settings.jwt_secret, settings.jwt_previous_secret)
    fixed = [VerificationKey("HS256", secret.reveal().encode()) for secret in secrets if secret is not None]
    if settings.jwt_jwks_file is not None:
        try:
            fixed += parse_key_set(await asyncio.to_thread(settings.jwt_jwks_file.read_bytes))
        except (OSError, ValueError) as error:
            raise SettingsInvalid([f"JWT_JWKS_FILE: {settings.jwt_jwks_file}: {error}"]) from error
    source = KeySetAddress(settings.jwt_jwks_url) if settings.jwt_jwks_url else None
    ring = KeyRing(fixed, source)
    await ring.reload()
    return ring
