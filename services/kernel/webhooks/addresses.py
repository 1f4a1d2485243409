"""Which network addresses a webhook may be sent to: those of the public internet, and no others.

A receiver's name is the customer's to choose, and so is what it resolves to; without this rule our own network would be his
to write into. Names are judged twice: what can be seen in the text at the request (`urls`), and what the name really
resolves to at the moment of connecting, which alone decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""All of IPv6 that has ever been given out; whatever lies outside is no public address."""

REFUSED: Final[tuple[tuple[str, str], ...]] = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "a cloud's platform service"),
    ("169.254.0.0/16", "link-local, with the clouds' metadata services"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT"),
    ("192.88.99.0/24", "6to4 relays"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarks"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved, with broadcast"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "an IPv4 address in IPv6"),
    ("::ffff:0:0:0/96", "a translated IPv4 address"),
    ("::/96", "an IPv4 address in IPv6"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64 of one's own"),
    ("100::/64", "discard-only"),
    ("2001::/23", "protocol assignments, with Teredo, ORCHID and benchmarks"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "unique local"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
"""Networks that are not of the public internet, or lead into one that is not, and what they are."""

_REFUSED: Final[tuple[tuple[Network, str], ...]] = tuple((ip_network(each), what) for each, what in REFUSED)


class AddressRules:
    """Decides about addresses; `allowed` lets networks in all the same, for development."""

    def __init__(self, allowed: Iterable[Network] = ()) -> None:
        self._allowed: Sequence[Network] = tuple(allowed)

    def refusal(self, address: Address) -> str | None:
        """Why nothing may be sent to `address`, or None if it may."""
        if any(address in network for network in self._allowed):
            return None
        for network, what in _REFUSED:
            if address in network:
                return what
        if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
            return "not a public address"
        return None
