"""Which web pages may call the api from a browser (CORS), by setting; none by default."""

from __future__ import annotations

from collections.abc import Sequence

from services.api.messages import Header, Reply, Request
from services.kernel.errors import Forbidden

_METHODS = b"GET, POST, DELETE, OPTIONS"
_HEADERS = b"Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-ID"
_EXPOSED = b"X-Request-ID, Location, Retry-After"
_MAX_AGE = b"600"


class Cors:
    """Answers preflight requests and adds the headers a browser asks for.

    Credentials are never allowed: a caller sends its token in a header, so no cookie can be abused.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    @property
    def is_on(self) -> bool:
        """Whether any page may call."""
        return self._any or bool(self._origins)

    def preflight(self, request: Request) -> Reply | None:
        """The answer to a browser that asks before it calls; None when this is no such question.

        Raises:
            Forbidden: when the page's origin is not allowed.
        """
        if request.method != "OPTIONS" or request.header(b"access-control-request-method") is None:
            return None
        allowed = self.headers(request)
        if not allowed:
            raise Forbidden("This origin may not call the api; add it to CORS_ORIGINS.")
        asked = (
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _HEADERS),
            (b"access-control-max-age", _MAX_AGE),
        )
        return Reply(204, headers=asked)

    def headers(self, request: Request) -> tuple[Header, ...]:
        """What to add to the answer to `request`; empty when its origin is not allowed, or it has none."""
        origin = request.header(b"origin")
        if origin is None or not (self._any or origin in self._origins):
            return ()
        if self._any:
            return ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED))
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        )
