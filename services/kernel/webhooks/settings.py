"""What api and stage worker are told about webhooks."""

from __future__ import annotations

import dataclasses
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from ipaddress import ip_network

from services.kernel.settings import Secret, setting
from services.kernel.webhooks.addresses import AddressRules, Network
from services.kernel.webhooks.urls import UrlRules

_KEY_BYTES = 32


def encryption_keys(text: str) -> Secret:
    """Keys for Fernet, separated by commas; `ValueError` says how to make one and never repeats one."""
    for number, part in enumerate(text.split(","), start=1):
        try:
            length = len(urlsafe_b64decode(part.strip()))
        except (Base64Error, ValueError):
            length = 0
        if length != _KEY_BYTES:
            raise ValueError(
                f"key {number} is not {_KEY_BYTES} bytes in URL-safe base64; make one with "
                "`openssl rand -base64 32 | tr +/ -_`"
            )
    return Secret(text)


def networks(text: str) -> tuple[Network, ...]:
    """Networks in CIDR notation, separated by commas."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"must be networks like 127.0.0.0/8,::1/128: {error}") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """Keys and address rules, the same for api and workers."""

    webhook_keys: Secret | None = setting(
        "WEBHOOK_ENCRYPTION_KEYS",
        default=None,
        parse=encryption_keys,
        doc="keys that encrypt webhook secrets in PostgreSQL, comma-separated: the first encrypts, all decrypt; the same "
        "for api and workers. Without one no `webhookUrl` is accepted",
    )
    webhook_allow_http: bool = setting(
        "WEBHOOK_ALLOW_HTTP", default=False, doc="accept `http://` webhook addresses; for development only"
    )
    webhook_networks: tuple[Network, ...] = setting(
        "WEBHOOK_ALLOWED_NETWORKS",
        default=(),
        parse=networks,
        doc="networks webhooks may be sent to although they are not public, such as 127.0.0.0/8,::1/128; for development "
        "or for receivers inside",
    )

    @property
    def url_rules(self) -> UrlRules:
        """The rules for addresses."""
        return UrlRules(self.webhook_allow_http, AddressRules(self.webhook_networks))
