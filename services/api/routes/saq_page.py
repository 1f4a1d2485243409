"""saq's own web page below `/admin/saq`, for administrators: what it shows, and nothing that it could change.

Only what reads is routed, so that its buttons would be answered with 405; they are hidden, and the page says where to go
instead. Its one inline script is let through the content security policy by its hash.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from typing import Final

from services.api.messages import Reply, Request, json_reply
from services.api.routes.pages import PAGE_HEADERS, TYPES
from services.api.routes.tickets import PAGE
from services.api.routing import Answer, Handler, Operation
from services.kernel.errors import NotFound
from services.kernel.queue.saq_view import SaqPage

TAG: Final = "Pages"
ROOT: Final = f"{PAGE}/saq"

_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_SHEET: Final = f'<link rel="icon" href="{PAGE}/assets/icon.svg"><link rel="stylesheet" href="{PAGE}/assets/saq.css">'
_WAY_BACK: Final = f'<p class="back"><a href="{PAGE}">coursegen admin</a></p>'


class SaqRoutes:
    """Serves the page's document, its files and the answers its script asks for."""

    def __init__(self, page: SaqPage) -> None:
        self._page = page
        document = page.html(ROOT)
        self._policy = _policy(_INLINE.findall(document))
        self._document = (
            document.replace("</head>", f"{_SHEET}</head>").replace("<body>", f"<body>{_WAY_BACK}").encode()
        )
        self._files = {
            file.name.removesuffix(".gz"): gzip.decompress(file.read_bytes())
            if file.suffix == ".gz"
            else file.read_bytes()
            for file in page.static.iterdir()
            if file.is_file()
        }

    def operations(self) -> list[Operation]:
        """This module's part of the table. The page is no part of the api, so it is not described there."""
        handlers: dict[str, Handler] = {
            "": self.saq_redirect,
            "/": self.saq_page,
            "/queues/{queue}": self.saq_page,
            "/queues/{queue}/jobs/{job}": self.saq_page,
            "/api/queues": self.saq_queues,
            "/api/queues/{queue}": self.saq_queue,
            "/api/queues/{queue}/jobs/{job}": self.saq_job,
            "/static/{asset}": self.saq_asset,
            "/{rest:path}": self.saq_nothing,
        }
        return [
            Operation(
                method="GET",
                path=f"{ROOT}{path}",
                handler=handler,
                tag=TAG,
                answers={200: Answer("A part of saq's page")},
                admin=True,
                reserved=True,
            )
            for path, handler in handlers.items()
        ]

    async def saq_redirect(self, request: Request) -> Reply:
        """Where the page is: its script knows itself only below a slash."""
        del request
        return Reply(307, headers=((b"location", f"{ROOT}/".encode()),))

    async def saq_page(self, request: Request) -> Reply:
        """The page; its script finds out by the address what to show."""
        del request
        return Reply(200, self._document, TYPES[".html"], ((b"content-security-policy", self._policy), *PAGE_HEADERS))

    async def saq_queues(self, request: Request) -> Reply:
        """Every queue in figures."""
        del request
        return json_reply(await self._page.queues())

    async def saq_queue(self, request: Request) -> Reply:
        """One queue with its jobs."""
        return _found(await self._page.queue(request.path["queue"]), "queue")

    async def saq_job(self, request: Request) -> Reply:
        """One job in full."""
        return _found(await self._page.job(request.path["queue"], request.path["job"]), "job")

    async def saq_nothing(self, request: Request) -> Reply:
        """What saq has and we do not, such as the routes of its buttons: nothing to read, and 405 for what changes."""
        del request
        raise NotFound("saq's page has no such part.")

    async def saq_asset(self, request: Request) -> Reply:
        """One of the page's files."""
        name: str = request.path["asset"]
        content = self._files.get(name)
        content_type = TYPES.get(f".{name.rpartition('.')[2]}")
        if content is None or content_type is None:
            raise NotFound("saq's page has no such file.")
        return Reply(200, content, content_type, PAGE_HEADERS)


def _found(answer: dict[str, object] | None, what: str) -> Reply:
    if answer is None:
        raise NotFound(f"There is no such {what}.")
    return json_reply(answer)


def _policy(scripts: list[str]) -> bytes:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in scripts
    )
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ).encode()
