"""Certificates are read once, and never for somebody who has said whom to trust."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import httpx
import pytest

from tests.support import trust


def _trusted(**options: object) -> ssl.SSLContext:
    transport = httpx.HTTPTransport(**options)  # type: ignore[arg-type]
    context: ssl.SSLContext = transport._pool._ssl_context  # type: ignore[attr-defined, assignment]
    return context


def test_clients_that_say_nothing_share_what_was_read() -> None:
    """And check what they are shown."""
    with trust.read_once():
        one, other = _trusted(), _trusted()

    assert one is other
    assert one.verify_mode is ssl.CERT_REQUIRED


def test_whoever_says_whom_to_trust_gets_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By an argument or by a variable."""
    own = ssl.create_default_context()
    copy = tmp_path / "authorities.pem"
    copy.write_bytes(Path(certifi.where()).read_bytes())
    with trust.read_once():
        usual = _trusted()
        assert _trusted(verify=own) is own
        assert _trusted(verify=False).verify_mode is ssl.CERT_NONE
        monkeypatch.setenv("SSL_CERT_FILE", str(copy))
        assert _trusted() is not usual
