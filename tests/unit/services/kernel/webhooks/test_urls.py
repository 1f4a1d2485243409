"""What may be given as `webhookUrl`."""

from __future__ import annotations

from ipaddress import ip_network
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.webhooks.addresses import AddressRules
from services.kernel.webhooks.urls import LONGEST_URL, Target, UrlRules, WebhookUrlRefused
from tests.unit.services.kernel.webhooks.test_addresses import FORBIDDEN

RULES = UrlRules()
LOCAL = UrlRules(allow_http=True, addresses=AddressRules([ip_network("127.0.0.0/8"), ip_network("::1/128")]))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/", "example.com")),
        ("HTTPS://Example.COM/Hooks", Target("https", "example.com", 443, "/Hooks", "example.com")),
        ("https://example.com:443/", Target("https", "example.com", 443, "/", "example.com")),
        ("https://a_b.example.com:8443/x?y=z", Target("https", "a_b.example.com", 8443, "/x?y=z", "a_b.example.com:8443")),
        ("https://example.com?a=b", Target("https", "example.com", 443, "/?a=b", "example.com")),
        ("https://8.8.8.8/x", Target("https", "8.8.8.8", 443, "/x", "8.8.8.8")),
        ("https://[2606:4700::1]:1/", Target("https", "2606:4700::1", 1, "/", "[2606:4700::1]:1")),
        ("https://xn--e1a.xn--p1ai/%D1%82?q=@:", Target("https", "xn--e1a.xn--p1ai", 443, "/%D1%82?q=@:", "xn--e1a.xn--p1ai")),
    ],
)  # fmt: skip
def test_an_address_is_taken_apart(url: str, target: Target) -> None:
    """In the parts that are called later."""
    assert RULES.target(url) == target


REFUSED = (
    "", "later", "example.com/x", "//example.com/", "https:/example.com/", "https:example.com", "https://", "https:///path",
    "https://?x", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript://example.com/",
    "http://example.com/", "HTTP://example.com/", "https://user@example.com/", "https://user:pw@example.com/",
    "https://@example.com/", "https://example.com@127.0.0.1/", "https://127.0.0.1@example.com/", "https://example.com#x",
    "https://example.com/#", "https://example.com/a b", "https://example.com/\n", "https://example.com\t/", " https://example.com",
    "https://example.com/\x00", "https://example.com/é", "https://exämple.com/", "https://example.com\\@127.0.0.1/",
    "https://example.com/\\", "https://example.com:/", "https://example.com:0/", "https://example.com:65536/",
    "https://example.com:99999/", "https://example.com:-1/", "https://example.com:8a/", "https://example.com:1:2/",
    "https://.example.com/", "https://example..com/", "https://example.com./", "https://-example.com/", "https://example-.com/",
    "https://exa%6dple.com/", "https://exa*mple.com/", f"https://{'a' * 64}.com/", "https://" + ".".join(["a" * 60] * 5) + "/",
    "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/",
    "https://127.0.0.1.5/", "https://1.2.3/", "https://256.1.1.1/", "https://127.000.000.001/", "https://example.0x/",
    "https://localhost/", "https://LOCALHOST:3000/", "https://x.localhost/", "https://[::1/", "https://::1/", "https://[]/",
    "https://[::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[127.0.0.1]/", "https://[::1]x/", "https://[v1.x]/",
    f"https://example.com/{'x' * LONGEST_URL}",
)  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_what_cannot_be_meant_or_must_not_be_called_is_refused(url: str) -> None:
    """With a sentence that begins with the field's name, and a code of its own."""
    with pytest.raises(WebhookUrlRefused, match=r"^`webhookUrl` \w+") as caught:
        RULES.target(url)

    assert caught.value.http_status == 400
    assert caught.value.details == {"field": "webhookUrl"}


@pytest.mark.parametrize("text", [each for each in FORBIDDEN if "%" not in each])
def test_internal_addresses_are_refused_in_their_text(text: str) -> None:
    """Before anything is written."""
    shown = f"[{text}]" if ":" in text else text
    with pytest.raises(WebhookUrlRefused):
        RULES.target(f"https://{shown}/")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/x", "http://localhost/x", "https://[::1]/", "http://example.com/"]
)
def test_development_lets_them_in_by_setting(url: str) -> None:
    """Loopback and plain http, each by its own."""
    assert LOCAL.target(url).scheme in {"http", "https"}


def test_one_setting_does_not_do_the_others_work() -> None:
    """Plain http to the internet is no permission for the loopback, nor the other way round."""
    with pytest.raises(WebhookUrlRefused, match="public internet"):
        UrlRules(allow_http=True).target("http://127.0.0.1/")
    with pytest.raises(WebhookUrlRefused, match="https://"):
        UrlRules(addresses=LOCAL.addresses).target("http://127.0.0.1/")


def test_a_path_is_not_shown() -> None:
    """It may hold a secret; scheme, host and port say enough."""
    assert RULES.target("https://example.com:8443/T0KEN?key=1").origin == "https://example.com:8443"


@given(st.text(alphabet="htps:/@[]?#.%\\abc019 \t\n-_", max_size=40))
def test_whatever_is_accepted_is_read_alike_by_others(rest: str) -> None:
    """No second parser may find another host in it."""
    url = f"https://{rest}"
    try:
        target = RULES.target(url)
    except WebhookUrlRefused:
        return
    other = urlsplit(url)

    assert (other.hostname, other.port or 443, other.username) == (target.host, target.port, None)
