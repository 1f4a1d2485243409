"""Whom a command speaks as, and to whom."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from services.cli import tokens
from services.cli.errors import CalledWrongly
from services.cli.stack.state import Running, StateFolder
from services.cli.target import ApiTarget, api_target

URL = "http://127.0.0.1:4711"
SECRET = "a secret that is long enough to sign with"
USER = tokens.mint(SECRET)
ADMIN = tokens.mint(SECRET, role="admin")


@pytest.fixture(autouse=True)
def _stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that runs."""
    running = Running(pid=1, api_url=URL, metrics_url="", database_url="", redis_url="", processes={}, stack_id="own")
    monkeypatch.setattr(StateFolder, "running", lambda _: running)


def target_of(folder: Path, role: str | None = "admin", **variables: str) -> ApiTarget:
    """With these variables set."""
    return api_target({"COURSEGEN_HOME": str(folder), "JWT_SECRET": SECRET, **variables}, role=role)


def role_of(token: str) -> object:
    """As the api reads it."""
    return jwt.decode(token, SECRET, algorithms=["HS256"])["app_metadata"].get("role")


@pytest.mark.parametrize("token", [USER, tokens.mint(SECRET, role="admin", ttl_seconds=-60), "no token"])
def test_an_administrator_of_ones_own_stack_needs_no_token(tmp_path: Path, token: str) -> None:
    """Also after `eval "$(coursegen env)"`, which sets that of an ordinary user."""
    found = target_of(tmp_path, API_URL=URL, API_TOKEN=token)

    assert (found.url, found.stack_id, role_of(found.token)) == (URL, "own", "admin")


def test_an_administrators_own_token_is_used(tmp_path: Path) -> None:
    """The record is to name him."""
    assert target_of(tmp_path, API_URL=URL, API_TOKEN=ADMIN).token == ADMIN


def test_elsewhere_no_token_is_made(tmp_path: Path) -> None:
    """What this machine's stack signs says nothing there."""
    assert target_of(tmp_path, API_URL="https://api.example.com", API_TOKEN=USER).token == USER


@pytest.mark.parametrize("url", ["https://api.example.com", "http://127.0.0.1:4712", URL + ".example.com"])
@pytest.mark.parametrize("role", ["admin", None])
@pytest.mark.parametrize("token", [{}, {"API_TOKEN": ""}])
def test_nothing_signed_here_is_sent_elsewhere(
    tmp_path: Path, url: str, role: str | None, token: dict[str, str]
) -> None:
    """Without a token for the other api, or with what is no address though it begins like ours, there is no call."""
    with pytest.raises(CalledWrongly, match=r"set API_TOKEN|must name a host"):
        target_of(tmp_path, role, API_URL=url, **token)


def test_ones_own_address_needs_no_token(tmp_path: Path) -> None:
    """However it is written."""
    for url in (URL + "/", URL.replace("127.0.0.1", "localhost")):
        assert target_of(tmp_path, None, API_URL=url).stack_id == "own"


@pytest.mark.parametrize("url", ["foo", "ftp://api", "127.0.0.1:3000"])
def test_an_address_says_how_it_is_reached(tmp_path: Path, url: str) -> None:
    """The error names the variable and what it lacks."""
    with pytest.raises(CalledWrongly, match=r"API_URL is .* must begin with http:// or https://"):
        target_of(tmp_path, API_URL=url, API_TOKEN=USER)


@pytest.mark.parametrize("url", ["http://x:abc", "http://x:70000", "http://", "https://[::1"])
def test_an_address_names_a_host_and_a_port(tmp_path: Path, url: str) -> None:
    """Before anybody trips over it."""
    with pytest.raises(CalledWrongly, match=r"API_URL is .* must name a host"):
        target_of(tmp_path, API_URL=url, API_TOKEN=USER)


def test_who_asks_for_no_role_keeps_his_token(tmp_path: Path) -> None:
    """An order belongs to the user whose token it is."""
    assert target_of(tmp_path, role=None, API_URL=URL, API_TOKEN=USER).token == USER
