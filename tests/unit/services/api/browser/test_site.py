"""What changes something by cookie must come from our own pages."""

from __future__ import annotations

from typing import Any

import pytest

from services.api.browser.cookie import cookie_name, drop_cookie, read_cookie, set_cookie
from services.api.browser.origin import Origin, parse_origin
from services.api.browser.site import CrossSite, Site
from services.api.messages import Request

HTTPS = parse_origin("https://courses.example")
LOCAL = parse_origin("http://localhost:3000")


async def nothing() -> Any:
    """Nobody reads the body."""
    raise AssertionError


def request(method: str = "POST", host: str = "localhost:3000", **headers: str) -> Request:
    """One with these headers."""
    pairs = [(b"host", host.encode()), *((name.replace("_", "-").encode(), v.encode()) for name, v in headers.items())]
    return Request({"method": method, "headers": pairs}, nothing, "r", 1)


OWN: list[tuple[Site, dict[str, str]]] = [
    (Site(None), {"origin": "http://localhost:3000"}),
    (Site(None), {"origin": "https://localhost:3000"}),  # a proxy that ends TLS and keeps the host
    (Site(None), {"sec_fetch_site": "same-origin"}),
    (Site(None), {"sec_fetch_site": "same-origin", "origin": "http://localhost:3000"}),
    (Site(HTTPS), {"host": "10.0.0.7:3000", "origin": "https://courses.example"}),
    (Site(HTTPS), {"host": "10.0.0.7:3000", "sec_fetch_site": "same-origin"}),
]
FOREIGN: list[tuple[Site, dict[str, str]]] = [
    (Site(None), {"origin": "http://localhost:3001"}),
    (Site(None), {"origin": "http://evil.example"}),
    (Site(None), {"origin": "null"}),
    (Site(None), {"origin": ""}),
    (Site(None), {"sec_fetch_site": "cross-site"}),
    (Site(None), {"sec_fetch_site": "same-site"}),
    (Site(None), {"sec_fetch_site": "none"}),
    (Site(None), {"sec_fetch_site": "cross-site", "origin": "http://localhost:3000"}),
    (Site(None), {"sec_fetch_site": "same-origin", "origin": "http://evil.example"}),
    (Site(HTTPS), {"origin": "http://courses.example"}),
    (Site(HTTPS), {"origin": "https://courses.example.evil.example"}),
    (Site(HTTPS), {"host": "evil.example", "origin": "https://evil.example"}),
]


@pytest.mark.parametrize(("site", "headers"), OWN)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_our_own_pages_may_change_things(site: Site, headers: dict[str, str], method: str) -> None:
    """By either header, or both."""
    site.require_own_page(request(method, **headers), by_cookie=True)


@pytest.mark.parametrize(("site", "headers"), FOREIGN)
@pytest.mark.parametrize("by_cookie", [True, False])
def test_pages_of_others_may_not(site: Site, headers: dict[str, str], by_cookie: bool) -> None:
    """Not even sign somebody in."""
    with pytest.raises(CrossSite):
        site.require_own_page(request(**headers), by_cookie=by_cookie)


@pytest.mark.parametrize(("site", "headers"), [*OWN, *FOREIGN])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_changes_nothing(site: Site, headers: dict[str, str], method: str) -> None:
    """Who may read the answer the browser decides: without CORS nobody else."""
    site.require_own_page(request(method, **headers), by_cookie=True)


def test_a_cookie_alone_changes_nothing() -> None:
    """A browser always says more; a program may send no header when it sends no cookie."""
    with pytest.raises(CrossSite, match="Origin"):
        Site(None).require_own_page(request(), by_cookie=True)
    Site(None).require_own_page(request(), by_cookie=False)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:3000", "http://localhost:3000"),
        ("courses.example:80", "http://courses.example"),
        ("a\tb", "http://localhost"),
    ],
)
def test_without_a_public_url_the_host_header_says_where_we_are(host: str, origin: str) -> None:
    """What could be no host is not repeated."""
    assert str(Site(None).origin(request(host=host))) == origin


def test_a_public_url_is_believed_more_than_the_request() -> None:
    """Whatever a proxy, or a stranger, has put into it."""
    found = Site(HTTPS).origin(request(host="evil.example", x_forwarded_proto="http", x_forwarded_host="evil.example"))

    assert found == HTTPS


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites() -> None:
    """HttpOnly, SameSite=Strict, the whole site, and on https nothing but this host over TLS."""
    name, secure = set_cookie(HTTPS, "s3cret", 61.9)
    _, plain = set_cookie(LOCAL, "s3cret", 61.9)

    assert name == b"set-cookie"
    assert secure == b"__Host-coursegen_session=s3cret; Path=/; Max-Age=61; HttpOnly; SameSite=Strict; Secure"
    assert plain == b"coursegen_session_3000=s3cret; Path=/; Max-Age=61; HttpOnly; SameSite=Strict"
    assert drop_cookie(HTTPS)[1] == b"__Host-coursegen_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure"


def test_two_stacks_on_one_machine_have_cookies_of_their_own() -> None:
    """Browsers do not tell ports apart."""
    names = {cookie_name(Origin("http", host)) for host in ("localhost:3000", "localhost:3001", "localhost", "[::1]")}

    assert names == {"coursegen_session_3000", "coursegen_session_3001", "coursegen_session"}


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("coursegen_session_3000=abc", "abc"),
        ("a=b; coursegen_session_3000=abc; c=d", "abc"),
        ("coursegen_session_3000=a=b", "a=b"),
        ("coursegen_session_3000=", ""),
        ("coursegen_session_3001=abc", None),
        ("xcoursegen_session_3000=abc", None),
        ("coursegen_session_3000", ""),
        ("coursegen_session_3000=abc; coursegen_session_3000=def", None),
        (";;;=;", None),
        ("", None),
    ],
)
def test_one_cookie_of_ours_is_read(header: str, found: str | None) -> None:
    """Two of the same name: somebody else has set one, and nobody can tell which."""
    assert read_cookie(request(cookie=header), LOCAL) == found
