"""Tokens that must not open anything, and the honest ones they are made from (reliability.md S3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support import tokens


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims; a change of None removes one."""
    good = {
        "sub": str(tokens.USER),
        "exp": int(time.time()) + 3600,
        "user_metadata": {"tier": "STANDARD"},
        "app_metadata": {"organization_id": str(tokens.ORGANIZATION)},
        **changes,
    }
    return {name: value for name, value in good.items() if value is not None}


def segment(content: bytes | str | dict[str, Any]) -> str:
    """One part of a token."""
    if isinstance(content, dict):
        content = json.dumps(content)
    if isinstance(content, str):
        content = content.encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(header: Any, payload: Any, secret: bytes = tokens.SECRET.encode(), digest: str = "sha256") -> str:
    """A token of any header and payload, with an HMAC signature."""
    content = f"{segment(header)}.{segment(payload)}"
    return f"{content}.{segment(hmac.new(secret, content.encode(), digest).digest())}"


@dataclass
class Issuer:
    """Someone who signs with private keys and publishes the public ones."""

    rsa_key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    ec_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    ed_key: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    @property
    def key_set(self) -> dict[str, Any]:
        """The JWKS document."""
        rsa_jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.rsa_key.public_key()))
        ec_jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.ec_key.public_key()))
        ed_jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(self.ed_key.public_key()))
        return {
            "keys": [
                {**rsa_jwk, "kid": "rsa", "alg": "RS256", "use": "sig"},
                {**ec_jwk, "kid": "ec", "use": "sig"},
                {**ed_jwk, "kid": "ed", "alg": "EdDSA"},
            ]
        }

    @property
    def rsa_public_pem(self) -> bytes:
        """The RSA key that everybody knows."""
        return self.rsa_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, algorithm: str, kid: str | None, payload: dict[str, Any] | None = None, **header: Any) -> str:
        """A token signed with one of the private keys."""
        key: Any = {"RS256": self.rsa_key, "PS256": self.rsa_key, "ES256": self.ec_key, "EdDSA": self.ed_key}[algorithm]
        headers = {**header, **({} if kid is None else {"kid": kid})}
        return jwt.encode(payload or claims(), key, algorithm=algorithm, headers=headers)


def forgeries(issuer: Issuer) -> Iterator[tuple[str, str]]:
    """Name and token of each forgery against an api that trusts `tokens.SECRET` and the issuer's key set."""
    yield from _unsigned()
    yield from _confused(issuer)
    yield from _tampered(issuer)
    yield from _own_keys()
    yield from _wrong_claims()
    yield from _malformed()


def _unsigned() -> Iterator[tuple[str, str]]:
    for algorithm in ("none", "None", "NONE", "nOnE", "", " none"):
        yield f"alg {algorithm!r}", f"{segment({'alg': algorithm, 'typ': 'JWT'})}.{segment(claims())}."
        yield f"alg {algorithm!r} with a signature", signed({"alg": algorithm}, claims())
    yield "no alg", signed({"typ": "JWT"}, claims())
    yield "alg a list", signed({"alg": ["HS256"]}, claims())
    yield "alg a number", signed({"alg": 256}, claims())
    yield "empty signature", f"{segment({'alg': 'HS256'})}.{segment(claims())}."
    yield "no signature part", f"{segment({'alg': 'HS256'})}.{segment(claims())}"


def _confused(issuer: Issuer) -> Iterator[tuple[str, str]]:
    for kid in (None, "rsa", "ec", "ed"):
        header = {"alg": "HS256", **({} if kid is None else {"kid": kid})}
        yield f"HS256 with the public RSA key, kid {kid}", signed(header, claims(), issuer.rsa_public_pem)
    public = json.dumps(issuer.key_set["keys"][0]).encode()
    yield "HS256 with the public JWK", signed({"alg": "HS256", "kid": "rsa"}, claims(), public)
    yield "RS256 named, signed with the secret", signed({"alg": "RS256", "kid": "rsa"}, claims())
    yield "HS384", signed({"alg": "HS384"}, claims(), digest="sha384")
    yield "HS512", signed({"alg": "HS512"}, claims(), digest="sha512")
    yield "PS256 with the right key", issuer.sign("PS256", "rsa")
    yield "EdDSA signature under ES256's kid", issuer.sign("EdDSA", "ec")
    yield "RS256 signature under another kid", issuer.sign("RS256", "ed")


def _tampered(issuer: Issuer) -> Iterator[tuple[str, str]]:
    good = tokens.mint()
    header, payload, signature = good.split(".")
    yield "another payload", f"{header}.{segment(claims(sub='00000000-0000-0000-0000-000000000099'))}.{signature}"
    yield "another header", f"{segment({'alg': 'HS256', 'kid': 'x'})}.{payload}.{signature}"
    yield "cut signature", f"{header}.{payload}.{signature[:-4]}"
    yield "another's secret", signed({"alg": "HS256"}, claims(), b"another-secret-that-is-long-enough-0123")
    yield "empty secret", signed({"alg": "HS256"}, claims(), b"")
    yield "another issuer's RSA key", Issuer().sign("RS256", "rsa")
    yield "another issuer's EC key", Issuer().sign("ES256", "ec")
    yield "another issuer's Ed25519 key", Issuer().sign("EdDSA", "ed")
    yield "all-zero ES256 signature", f"{segment({'alg': 'ES256', 'kid': 'ec'})}.{payload}.{segment(bytes(64))}"
    nested = segment(good)
    yield "a token inside a token", signed({"alg": "HS256", "cty": "JWT"}, nested, b"x" * 32)
    yield "unsigned around a signed one", f"{segment({'alg': 'none', 'cty': 'JWT'})}.{nested}.x"
    yield "signature of a digest", f"{header}.{payload}.{segment(hashlib.sha256(tokens.SECRET.encode()).digest())}"
    del issuer


def _own_keys() -> Iterator[tuple[str, str]]:
    forger = Issuer()
    own = forger.key_set["keys"][0]
    yield "jwk of its own", forger.sign("RS256", None, jwk=own)
    yield "jwk of its own under a known kid", forger.sign("RS256", "rsa", jwk=own)
    yield "jku of its own", forger.sign("RS256", "rsa", jku="http://127.0.0.1:1/keys.json")
    yield "x5u of its own", forger.sign("RS256", "rsa", x5u="http://127.0.0.1:1/certificate.pem")
    for kid in ("../../../../dev/null", "/dev/null", "' OR '1'='1", "rsa' UNION SELECT 'x", "|id", "\x00", "rsa\x00x"):
        yield f"kid {kid!r}, empty key", signed({"alg": "HS256", "kid": kid}, claims(), b"")
        yield f"kid {kid!r}, key null", signed({"alg": "HS256", "kid": kid}, claims(), b"\x00")
    yield "kid a number", signed({"alg": "HS256", "kid": 7}, claims())
    yield "critical extension", signed({"alg": "HS256", "crit": ["exp"]}, claims())
    yield "another type of token", signed({"alg": "HS256", "typ": "JWE"}, claims())


def _wrong_claims() -> Iterator[tuple[str, str]]:
    now = int(time.time())
    wrong: dict[str, dict[str, Any]] = {
        "expired": {"exp": now - 31},
        "long expired": {"exp": 0},
        "no exp": {"exp": None},
        "exp a text": {"exp": str(now + 3600)},
        "exp true": {"exp": True},
        "exp huge": {"exp": 10**20},
        "exp beyond the calendar": {"exp": 253_402_300_800},
        "exp negative": {"exp": -1},
        "exp a list": {"exp": [now + 3600]},
        "not valid yet": {"nbf": now + 3600},
        "nbf a text": {"nbf": "tomorrow"},
        "issued tomorrow": {"iat": now + 86_400},
        "no sub": {"sub": None},
        "sub no UUID": {"sub": "admin"},
        "sub a number": {"sub": 12},
        "sub in braces": {"sub": f"{{{tokens.USER}}}"},
        "sub an injection": {"sub": f"{tokens.USER}' OR '1'='1"},
    }
    for name, changes in wrong.items():
        yield name, signed({"alg": "HS256", "typ": "JWT"}, claims(**changes))
    doubled = json.dumps(claims())[:-1] + f', "sub": "{tokens.USER}"}}'
    yield "sub twice", signed({"alg": "HS256"}, doubled)
    yield "alg twice", signed('{"alg": "none", "alg": "HS256"}', claims())
    for name, text in {"NaN": "NaN", "Infinity": "Infinity", "5,000 digits": "9" * 4000}.items():
        yield f"exp {name}", signed({"alg": "HS256"}, f'{{"sub": "{tokens.USER}", "exp": {text}}}')


def _malformed() -> Iterator[tuple[str, str]]:
    good = tokens.mint()
    yield "four parts", f"{good}.x"
    yield "five parts", f"{good}.x.y"
    yield "only dots", ".."
    yield "no JSON", signed(b"header", b"payload")
    yield "lists", signed(b"[]", b"[]")
    yield "deep", signed({"alg": "HS256"}, "[" * 3000 + "]" * 3000)
    yield "padding", good + "="
    yield "a blank inside", good.replace(".", ". ", 1)
    yield "giant", signed({"alg": "HS256"}, claims(filler="x" * 1_000_000))
    yield "rather large", signed({"alg": "HS256"}, claims(filler="x" * 10_000))
    yield "not UTF-8", signed({"alg": "HS256"}, b'{"sub": "\xff"}')
