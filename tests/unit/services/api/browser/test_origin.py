"""Where browsers find the api."""

from __future__ import annotations

import pytest

from services.api.browser.origin import Origin, host_of, parse_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://courses.example", "https://courses.example"),
        ("https://Courses.Example/", "https://courses.example"),
        ("https://courses.example:443", "https://courses.example"),
        ("https://courses.example:8443", "https://courses.example:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        (" http://api_1:3000 ", "http://api_1:3000"),
    ],
)
def test_an_address_is_reduced_to_its_origin(text: str, origin: str) -> None:
    """Lower case, without the scheme's own port."""
    assert str(parse_origin(text)) == origin


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "courses.example", "ftp://courses.example", "https://", "https://courses.example/sub",
        "https://courses.example?x=1", "https://courses.example#x", "https://user@courses.example",
        "https://a b", "https://-x", "http://[::1", "https://x:port", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused(text: str) -> None:
    """A path, credentials, another scheme."""
    with pytest.raises(ValueError, match=r".+"):
        parse_origin(text)


def test_only_https_is_secure() -> None:
    """The cookie is then Secure."""
    assert parse_origin("https://x").is_secure
    assert not parse_origin("http://x").is_secure


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("LOCALHOST:3000", "localhost:3000"),
        ("x:80", "x"),
        ("[::1]:3000", "[::1]:3000"),
        ("", None),
        ("evil\r\nx: y", None),
        ("x/../y", None),
        ("a@b", None),
        ("x" * 300, None),
    ],
)
def test_a_host_header_is_believed_only_when_it_could_be_one(header: str, host: str | None) -> None:
    """It ends up in an address that a person opens."""
    assert host_of(header) == host


def test_an_origin_reads_as_an_address() -> None:
    """For messages and links."""
    assert str(Origin("https", "x:1")) == "https://x:1"
