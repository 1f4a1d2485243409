"""Whether a request comes from our own pages.

Without PUBLIC_URL the `Host` header says where this api is: good enough on a developer's machine, and behind a proxy that
keeps it. Forwarded headers are never believed, since anybody may send them.
"""

from __future__ import annotations

from typing import Final

from services.api.browser.origin import Origin, host_of, parse_origin
from services.api.messages import Request
from services.kernel.errors import Forbidden

_UNKNOWN: Final = "localhost"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class CrossSite(Forbidden):
    """A page of another site may not do this; open the page on this site and try again."""

    code = "cross_site_request"


class Site:
    """This api's own origin."""

    def __init__(self, public: Origin | None) -> None:
        self._public = public

    def origin(self, request: Request) -> Origin:
        """Where browsers find this api: as configured, else where the request says that it went."""
        if self._public is not None:
            return self._public
        return Origin("http", host_of((request.header(b"host") or b"").decode("latin-1")) or _UNKNOWN)

    def require_own_page(self, request: Request, *, by_cookie: bool) -> None:
        """Let through what one of our own pages sent, or a program that is no browser and sends no cookie.

        A browser says with every changing request where it comes from, in `Origin` and, the younger ones, in
        `Sec-Fetch-Site`; what they say must be right, and a cookie without either is refused.

        Raises:
            CrossSite: the request comes from a page that is not ours, or could.
        """
        if request.method in _SAFE_METHODS:
            return
        site, origin = request.header(b"sec-fetch-site"), request.header(b"origin")
        if site is None and origin is None:
            if by_cookie:
                raise CrossSite("Send the header `Origin` when a cookie speaks for you.")
            return
        if site not in {None, b"same-origin"} or (origin is not None and not self._is_own(origin, request)):
            raise CrossSite

    def _is_own(self, origin: bytes, request: Request) -> bool:
        own = self.origin(request)
        try:
            named = parse_origin(origin.decode("latin-1"))
        except ValueError:
            return False
        return named.host == own.host and (self._public is None or named.scheme == own.scheme)
