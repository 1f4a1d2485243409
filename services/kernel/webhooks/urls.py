"""Which addresses may be given as `webhookUrl`, as far as their text tells (the rest is judged when they are called).

The text is read once, strictly, and the parts found here are what is called later: no second parser with another opinion
can come in between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from services.kernel.errors import InvalidInput
from services.kernel.webhooks.addresses import Address, AddressRules

LONGEST_URL: Final = 2048
"""Most characters of an address."""

_PORTS: Final = {"https": 443, "http": 80}
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<target>.*)", re.DOTALL)
_VISIBLE = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]*")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_HOST = 253
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_LOOPBACK = IPv4Address("127.0.0.1")


class WebhookUrlRefused(InvalidInput):
    """The webhook's address is not allowed."""

    code = "webhook_url_refused"


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be called, in its parts."""

    scheme: str
    host: str
    """In lower case; an IPv6 address without its brackets."""
    port: int
    path: str
    """With the query; begins with `/`."""
    authority: str
    """What the `Host` header says."""

    @property
    def origin(self) -> str:
        """Scheme, host and port: what may be shown and logged, for a path may hold a secret."""
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class UrlRules:
    """What this installation allows."""

    allow_http: bool = False
    addresses: AddressRules = AddressRules()

    def target(self, url: str) -> Target:
        """The parts of `url`.

        Raises:
            WebhookUrlRefused: saying what is wrong with it.
        """
        if len(url) > LONGEST_URL:
            raise _refused(f"is longer than {LONGEST_URL} characters")
        if "#" in url:
            raise _refused("must not have a fragment")
        match = _URL.fullmatch(url)
        if match is None or not _VISIBLE.fullmatch(url):
            raise _refused("must be an address like https://example.com/hooks, other characters percent-encoded")
        scheme = match["scheme"].lower()
        self._check_scheme(scheme)
        host, port = _host_and_port(match["authority"])
        self._check_host(host)
        path = match["target"] if match["target"].startswith("/") else f"/{match['target']}"
        shown = f"[{host}]" if ":" in host else host
        port = _PORTS[scheme] if port is None else port
        authority = shown if port == _PORTS[scheme] else f"{shown}:{port}"
        return Target(scheme, host, port, path, authority)

    def _check_scheme(self, scheme: str) -> None:
        if scheme == "http" and not self.allow_http:
            raise _refused("must begin with https:// (http is for development, with WEBHOOK_ALLOW_HTTP)")
        if scheme not in _PORTS:
            raise _refused("must begin with https://" + (" or http://" if self.allow_http else ""))

    def _check_host(self, host: str) -> None:
        address = _literal(host)
        if address is not None:
            reason = self.addresses.refusal(address)
            if reason is not None:
                raise _refused(f"must lead to the public internet, and this address does not ({reason})")
        elif len(host) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in host.split(".")):
            raise _refused("needs the name of a host, in ASCII (punycode for others)")
        elif _NUMBER.fullmatch(host.rpartition(".")[2]):
            raise _refused("has a host that is neither a name nor an IP address in its usual form")


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise _refused("must not contain a user name or password")
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (match["port"] is not None and not 1 <= int(match["port"]) <= 65_535):
        raise _refused("has a host or port that cannot be read")
    host = match["host"].lower()
    if host.startswith("["):
        host = host[1:-1]
        if "%" in host or not isinstance(_literal(host), IPv6Address):
            raise _refused("has an IPv6 address that cannot be read")
    return host, None if match["port"] is None else int(match["port"])


def _literal(host: str) -> Address | None:
    """The address that `host` spells out, or stands for without asking anyone."""
    if host == "localhost" or host.endswith(".localhost"):
        return _LOOPBACK
    try:
        return ip_address(host)
    except ValueError:
        return None


def _refused(reason: str) -> WebhookUrlRefused:
    return WebhookUrlRefused(f"`webhookUrl` {reason}.", field="webhookUrl")
