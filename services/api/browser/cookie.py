"""The cookie that stands for a browser's session.

Scripts cannot read it (HttpOnly), other sites cannot make a browser send it (SameSite=Strict), and on https it leaves only
encrypted and can be set by nobody but this very host (Secure, `__Host-`). Cookies do not know of ports, so the name does:
two stacks on one machine do not sign each other's browsers out.
"""

from __future__ import annotations

from typing import Final

from services.api.browser.origin import Origin
from services.api.messages import Header, Request

_NAME: Final = "coursegen_session"


def cookie_name(origin: Origin) -> str:
    """What the cookie is called at `origin`."""
    if origin.is_secure:
        return f"__Host-{_NAME}"
    _, colon, port = origin.host.rpartition(":")
    return f"{_NAME}_{port}" if colon and port.isdigit() else _NAME


def read_cookie(request: Request, origin: Origin) -> str | None:
    """The session that the request carries; None when it carries none, or more than one: then who knows which is ours."""
    wanted = cookie_name(origin)
    found = [
        value.strip()
        for name, value in request.scope["headers"]
        if name == b"cookie"
        for part in value.decode("latin-1").split(";")
        for key, _, value in (part.partition("="),)
        if key.strip() == wanted
    ]
    return found[0] if len(found) == 1 else None


def set_cookie(origin: Origin, session: str, seconds: float) -> Header:
    """The header that gives a browser its session for so long."""
    return _header(origin, session, int(seconds))


def drop_cookie(origin: Origin) -> Header:
    """The header that takes it away."""
    return _header(origin, "", 0)


def _header(origin: Origin, value: str, seconds: int) -> Header:
    secure = "; Secure" if origin.is_secure else ""
    text = f"{cookie_name(origin)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    return b"set-cookie", text.encode("ascii")
