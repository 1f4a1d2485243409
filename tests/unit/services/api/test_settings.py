"""The api's settings: every fault is found at start and named by its variable."""

from __future__ import annotations

import pytest

from services.api.settings import load_settings
from services.kernel.errors import SettingsInvalid

SECRET = "s" * 32
GOOD = {"DATABASE_URL": "postgresql://localhost/x", "JWT_SECRET": SECRET}


def test_the_defaults_are_the_contracts() -> None:
    """Port 3000, 1 MiB, 50 MiB, 30 s."""
    settings = load_settings(GOOD)

    assert settings.port == 3000
    assert (settings.max_body_bytes, settings.max_upload_bytes) == (1_048_576, 52_428_800)
    assert settings.jwt_leeway_seconds == 30
    assert settings.algorithms == {"HS256"}
    assert settings.object_store == "postgres"
    assert settings.cors_origins == ()


def test_algorithms_follow_the_keys() -> None:
    """What has no key is not accepted."""
    keys_only = {"DATABASE_URL": "postgresql://localhost/x", "JWT_JWKS_URL": "https://issuer.example/keys"}

    assert load_settings(keys_only).algorithms == {"RS256", "ES256", "EdDSA"}
    assert load_settings({**GOOD, "JWT_JWKS_FILE": "/keys"}).algorithms == {"HS256", "RS256", "ES256", "EdDSA"}
    assert load_settings({**keys_only, "JWT_ALGORITHMS": "ES256"}).algorithms == {"ES256"}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"JWT_SECRET": ""}, "JWT_SECRET"),
        ({"JWT_SECRET": "short"}, "JWT_SECRET"),
        ({"JWT_SECRET_PREVIOUS": "short"}, "JWT_SECRET_PREVIOUS"),
        ({"JWT_SECRET": "", "JWT_JWKS_FILE": "/keys", "JWT_SECRET_PREVIOUS": SECRET}, "JWT_SECRET_PREVIOUS"),
        ({"JWT_ALGORITHMS": "none"}, "JWT_ALGORITHMS"),
        ({"JWT_ALGORITHMS": "HS256,RS256"}, "JWT_ALGORITHMS"),
        ({"JWT_SECRET": "", "JWT_JWKS_FILE": "/keys", "JWT_ALGORITHMS": "HS256"}, "JWT_ALGORITHMS"),
        ({"JWT_JWKS_FILE": "/keys", "JWT_JWKS_URL": "https://issuer.example/"}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "http://issuer.example/"}, "JWT_JWKS_URL"),
        ({"JWT_LEEWAY_SECONDS": "31"}, "JWT_LEEWAY_SECONDS"),
        ({"PORT": "70000"}, "PORT"),
        ({"CORS_ORIGINS": "*,https://a.example"}, "CORS_ORIGINS"),
        ({"OBJECT_STORE": "ftp://x"}, "OBJECT_STORE"),
        ({"OBJECT_STORE": "s3://"}, "OBJECT_STORE"),
        ({"HEALTHCHECK_STATUS": "never"}, "HEALTHCHECK_STATUS"),
        ({"DATABASE_URL": ""}, "DATABASE_URL"),
    ],
)
def test_a_fault_names_its_variable(changes: dict[str, str], name: str) -> None:
    """And never shows a secret."""
    with pytest.raises(SettingsInvalid, match=name) as caught:
        load_settings({**GOOD, **changes})

    assert SECRET not in str(caught.value)


def test_an_issuer_on_this_machine_may_be_plain_http() -> None:
    """For development and tests."""
    assert load_settings({**GOOD, "JWT_JWKS_URL": "http://127.0.0.1:8000/keys"}).has_key_set
