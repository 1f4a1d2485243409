"""Keys are taken from the settings alone, and each is tied to one algorithm."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from services.api.keys import KeyRing, KeySetAddress, VerificationKey, open_key_ring, parse_key_set
from services.kernel.errors import SettingsInvalid
from services.kernel.settings import Secret
from tests.support import tokens
from tests.support.api import api_settings
from tests.support.clocks import StandingClock
from tests.support.forgeries import Issuer

ISSUER = Issuer()
SET = orjson.dumps(ISSUER.key_set)


def test_each_key_serves_the_algorithm_of_its_kind() -> None:
    """RSA, P-256, Ed25519."""
    assert [(key.kid, key.algorithm) for key in parse_key_set(SET)] == [
        ("rsa", "RS256"),
        ("ec", "ES256"),
        ("ed", "EdDSA"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"alg": "PS256"},
        {"alg": "HS256"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "RSA", "n": "AQAB"},
        {"n": None},
        {"d": "AQAB"},
    ],
)
def test_a_key_for_another_purpose_is_passed_over(changes: dict[str, Any]) -> None:
    """Encryption keys, secrets, weak and broken keys, private keys."""
    keys = ISSUER.key_set["keys"]
    document = {"keys": [{**keys[0], **changes}, keys[1], "no key", 7]}

    assert [key.kid for key in parse_key_set(orjson.dumps(document))] == ["ec"]


def test_a_short_rsa_key_is_passed_over() -> None:
    """Below 2048 bits a key can be broken."""
    weak = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))
    with pytest.raises(ValueError, match="no usable key"):
        parse_key_set(orjson.dumps({"keys": [weak]}))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}'])
def test_what_is_no_key_set_is_refused(text: bytes) -> None:
    """With a sentence, not a crash."""
    with pytest.raises(ValueError, match=r"\w"):
        parse_key_set(text)


def test_candidates_are_of_the_algorithm_and_the_key_id() -> None:
    """A secret is never a candidate for a public algorithm, nor the other way round."""
    ring = KeyRing([VerificationKey("HS256", b"s"), *parse_key_set(SET)])

    assert [key.algorithm for key in ring.candidates("HS256", "rsa")] == ["HS256"]
    assert [key.kid for key in ring.candidates("RS256", None)] == ["rsa"]
    assert ring.candidates("RS256", "ec") == []
    assert ring.candidates("none", None) == []


async def test_the_settings_keys_are_opened(tmp_path: Path) -> None:
    """Secret and file together."""
    path = tmp_path / "keys.json"
    path.write_bytes(SET)
    ring = await open_key_ring(api_settings("postgresql://x", "redis://x", jwt_jwks_file=path))

    assert [key.material for key in ring.candidates("HS256", None)] == [tokens.SECRET.encode()]
    assert len(ring.candidates("ES256", "ec")) == 1
    assert ring.is_complete


async def test_the_secret_before_is_a_key_too() -> None:
    """While secrets are rotated tokens of both are good; the present one is tried first."""
    before = "the-secret-before-0123456789-0123456789"
    ring = await open_key_ring(api_settings("postgresql://x", "redis://x", jwt_previous_secret=Secret(before)))

    assert [key.material for key in ring.candidates("HS256", None)] == [tokens.SECRET.encode(), before.encode()]
    assert ring.candidates("RS256", None) == []


@pytest.mark.parametrize("content", [None, b"{}"])
async def test_a_key_file_that_cannot_be_used_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    """The message names the variable."""
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsInvalid, match="JWT_JWKS_FILE"):
        await open_key_ring(api_settings("postgresql://x", "redis://x", jwt_jwks_file=path))


def serving(answer: httpx.Response | Exception) -> httpx.AsyncClient:
    """A client whose issuer answers so."""

    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.AsyncClient(transport=httpx.MockTransport(handle))


async def test_an_address_is_read_at_most_once_in_ten_seconds() -> None:
    """Bad tokens cannot make us pester the issuer."""
    clock = StandingClock()
    address = KeySetAddress("https://issuer.test/keys", client=serving(httpx.Response(200, content=SET)), clock=clock)
    assert address.keys == ()
    clock.pass_by(1)
    assert await address.reload() is True
    assert await address.reload() is False
    clock.pass_by(11)

    assert await address.reload() is False, "it has not changed"
    assert len(address.keys) == 3


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(302, headers={"location": "http://169.254.169.254/"}),
        httpx.Response(200, content=b"{}"),
        httpx.Response(200, content=b" " * 300_000),
        httpx.ConnectError("refused"),
    ],
)
async def test_an_address_that_fails_changes_nothing(answer: httpx.Response | Exception) -> None:
    """Errors, redirects, nonsense and giants alike."""
    clock = StandingClock()
    clock.pass_by(1)
    address = KeySetAddress("https://issuer.test/keys", client=serving(answer), clock=clock)

    assert await address.reload() is False
    assert address.keys == ()


async def test_refreshing_ends_with_the_process() -> None:
    """The side task returns when it is told to."""
    stopping = asyncio.Event()
    stopping.set()

    await asyncio.wait_for(KeyRing([]).keep_fresh(stopping), 1)
