"""The deny list: no address but a public one may be called."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.webhooks.addresses import REFUSED, AddressRules

FORBIDDEN = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.1.2.3", "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1",
    "192.88.99.1", "192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::a00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "2620:4f:8000::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fd12:3456::1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "ff02::1", "ff0e::1",
)  # fmt: skip
PUBLIC = (
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "93.184.216.34", "100.63.255.255", "100.128.0.1", "126.0.0.1",
    "128.0.0.1", "169.253.255.255", "172.15.255.255", "172.32.0.1", "192.0.1.1", "198.17.255.255", "198.20.0.1",
    "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2001:4860:4860::8888", "2003::1",
)  # fmt: skip


def test_there_are_at_least_forty() -> None:
    """S8 asks for that many."""
    assert len(set(FORBIDDEN)) >= 40


@pytest.mark.parametrize("text", FORBIDDEN)
def test_nothing_that_is_not_public_is_called(text: str) -> None:
    """Whatever spelling leads to it."""
    assert AddressRules().refusal(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_the_public_internet_is(text: str) -> None:
    """Right up to the borders of what is not."""
    assert AddressRules().refusal(ip_address(text)) is None


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_called(address: object) -> None:
    """A second opinion, about every address: ours is the stricter one."""
    parsed = ip_address(str(address))
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        assert AddressRules().refusal(parsed)


def test_a_network_can_be_let_in() -> None:
    """That one and no other."""
    rules = AddressRules([ip_network("127.0.0.0/8"), ip_network("::1/128")])

    assert rules.refusal(ip_address("127.0.0.1")) is None
    assert rules.refusal(ip_address("::1")) is None
    assert rules.refusal(ip_address("::ffff:127.0.0.1"))
    assert rules.refusal(ip_address("10.0.0.1"))


def test_every_network_says_what_it_is() -> None:
    """Of either family, none twice."""
    assert len({network for network, _ in REFUSED}) == len(REFUSED)
    assert all(what for _, what in REFUSED)
