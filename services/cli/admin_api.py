"""The api's admin endpoints as the command uses them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

import typer

from services.cli import interrupts, output
from services.cli.api_client import ApiClient, ApiRefused
from services.cli.target import api_target

T = TypeVar("T")
Json = dict[str, Any]

_PATIENCE_SECONDS = 10.0
_NO_ADMINISTRATOR = 403
_BECOME_ONE = (
    "Set API_TOKEN to an administrator's token (`coursegen token --role admin` makes one where the api's JWT_SECRET is set), "
    "or unset API_URL and API_TOKEN to use the stack that runs here."
)


class AdminApi(ApiClient):
    """A client with the role admin. Every call may be repeated: doing the same again does nothing twice."""

    async def look(self, *path: str, **query: object) -> Json:
        """What is at `/api/admin/…`; parts of the query that are None are left out."""
        params = {name: str(value) for name, value in query.items() if value is not None}
        return await self._json("GET", _admin(path), params=params)

    async def change(self, method: str, *path: str, body: Json | None = None) -> Json:
        """Change what is at `/api/admin/…`."""
        return await self._json(method, _admin(path), json=body)

    async def numbers(self) -> Json:
        """What `metrics.getAll` counts."""
        return await self._json("GET", "/api/trpc/metrics.getAll")

    async def ticket(self) -> Json:
        """A ticket that lets one browser in."""
        return await self._json("POST", "/api/tickets", repeat=False)


def ask(
    question: Callable[[AdminApi], Awaitable[T]],
    *,
    role: str | None = "admin",
    patience_seconds: float = _PATIENCE_SECONDS,
    on_outage: Callable[[str], None] = output.note,
) -> T:
    """The answer to `question`, asked of the caller's api: as administrator, or with `role=None` as the user of the token.

    Raises:
        CoursegenError: refused or unreachable, with the next step.
        typer.Exit: interrupted.
    """
    answers: list[T] = []
    target = api_target(os.environ, role=role)

    async def main(_hurry: object) -> int:
        async with AdminApi(
            target.url,
            target.token,
            stack_id=target.stack_id,
            patience_seconds=patience_seconds,
            on_outage=on_outage,
        ) as api:
            answers.append(await (question(api) if role is None else _answer(question, api)))
        return 0

    code = interrupts.run(main, os.environ)
    if code:
        raise typer.Exit(code)
    return answers[0]


async def _answer(question: Callable[[AdminApi], Awaitable[T]], api: AdminApi) -> T:
    try:
        return await question(api)
    except ApiRefused as refused:
        if refused.status != _NO_ADMINISTRATOR:
            raise
        raise ApiRefused(f"{refused.message} {_BECOME_ONE}", status=refused.status) from refused


def _admin(path: tuple[str, ...]) -> str:
    return "/".join(("/api/admin", *(quote(part, safe="") for part in path)))
