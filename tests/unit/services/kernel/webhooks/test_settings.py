"""What api and worker are told about webhooks."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from cryptography.fernet import Fernet

from services.kernel.errors import SettingsInvalid
from services.kernel.settings import load, secrets_of
from services.kernel.webhooks.settings import WebhookSettings


def test_without_settings_only_the_public_internet_and_only_https() -> None:
    """And no keys: webhooks are off."""
    settings = load(WebhookSettings, {})

    assert settings.webhook_keys is None
    assert not settings.url_rules.allow_http
    assert settings.url_rules.addresses.refusal(ip_address("127.0.0.1"))


def test_several_keys_and_networks() -> None:
    """Separated by commas; every single key is known as a secret, so that logs mask it."""
    one, two = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings = load(
        WebhookSettings,
        {
            "WEBHOOK_ENCRYPTION_KEYS": f"{one}, {two}",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8, ::1/128",
            "WEBHOOK_ALLOW_HTTP": "true",
        },
    )

    assert settings.webhook_networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert settings.url_rules.target("http://localhost/").host == "localhost"
    assert {one, two} <= secrets_of(settings)
    assert one not in repr(settings)


@pytest.mark.parametrize("keys", ["short", "c2hvcnQ=", "{good},", "{good},nonsense", "кириллица"])
def test_a_bad_key_is_named_by_its_number_and_never_shown(keys: str) -> None:
    """With the command that makes a good one."""
    good = Fernet.generate_key().decode()
    with pytest.raises(
        SettingsInvalid, match=r"WEBHOOK_ENCRYPTION_KEYS: key \d is not 32 bytes.*openssl rand"
    ) as caught:
        load(WebhookSettings, {"WEBHOOK_ENCRYPTION_KEYS": keys.format(good=good)})

    assert good not in str(caught.value)


@pytest.mark.parametrize("networks", ["localhost", "127.0.0.1/8", "10.0.0.0/33"])
def test_a_bad_network_is_refused_with_an_example(networks: str) -> None:
    """A network with bits set behind its mask is a slip, too."""
    with pytest.raises(SettingsInvalid, match="WEBHOOK_ALLOWED_NETWORKS: must be networks like"):
        load(WebhookSettings, {"WEBHOOK_ALLOWED_NETWORKS": networks})
