"""The admin page: HTML, style sheets and scripts of our own, which load nothing from elsewhere.

The files hold no data and are open to all; what they show comes from `/api/admin`, for administrators only.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from services.api.messages import Header, Reply, Request
from services.api.routes.tickets import PAGE
from services.api.routing import Answer, Operation
from services.kernel.errors import NotFound

TAG: Final = "Pages"

TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
"""Content types by the end of a file's name."""

_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; "
    b"frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
)
PAGE_HEADERS: Final[tuple[Header, ...]] = (
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
"""What every page says beside its content security policy: nobody frames it, nobody learns where its reader came from."""


class PageRoutes:
    """Serves the page's files, read once."""

    def __init__(self) -> None:
        folder = resources.files("services.api") / "pages"
        self._files = {
            file.name: (file.read_bytes(), TYPES[suffix])
            for file in folder.iterdir()
            if (suffix := f".{file.name.rpartition('.')[2]}") in TYPES
        }

    def operations(self) -> list[Operation]:
        """This module's part of the table."""
        return [
            Operation(
                method="GET",
                path=PAGE,
                handler=self.admin_page,
                tag=TAG,
                answers={200: Answer("A page", content_type="text/html")},
                public=True,
            ),
            Operation(
                method="GET",
                path=f"{PAGE}/assets/{{asset}}",
                handler=self.page_asset,
                tag=TAG,
                answers={200: Answer("A file")},
                public=True,
                reserved=True,
            ),
        ]

    async def admin_page(self, request: Request) -> Reply:
        """The admin page for a browser. It shows what `/api/admin` says, to administrators."""
        del request
        return self._file("admin.html")

    async def page_asset(self, request: Request) -> Reply:
        """One of the page's files."""
        return self._file(request.path["asset"])

    def _file(self, name: str) -> Reply:
        found = self._files.get(name)
        if found is None:
            raise NotFound("The page has no such file.")
        content, content_type = found
        return Reply(200, content, content_type, ((b"content-security-policy", _POLICY), *PAGE_HEADERS))
