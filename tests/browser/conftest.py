"""A running api, a real browser, and a window that is signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.api import RunningApi, running_api
from tests.support.browsers import Watched, open_browser, open_page
from tests.support.tokens import admin_bearer

OpenAdmin = Callable[..., Awaitable[Watched]]


@pytest.fixture
async def api(app_database_url: str, redis_url: str) -> AsyncIterator[RunningApi]:
    """A running api that connects as the application's role."""
    async with running_api(app_database_url, redis_url) as running:
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    """A browser of the test's own."""
    async with open_browser() as opened:
        yield opened


async def ticket_url(api: RunningApi, headers: dict[str, str] | None = None) -> str:
    """An address that lets one browser in; as an administrator unless other headers are given."""
    answer = await api.client.post("/api/tickets", headers=admin_bearer() if headers is None else headers)
    url: str = answer.json()["url"]
    return url


@pytest.fixture
async def open_admin(api: RunningApi, browser: Any) -> AsyncIterator[OpenAdmin]:
    """Opens windows in which an administrator is signed in, at a view."""
    async with AsyncExitStack() as stack:

        async def opened(view: str = "overview", **options: Any) -> Watched:
            watched = await stack.enter_async_context(open_page(browser, api.url, **options))
            await watched.page.goto(await ticket_url(api))
            await watched.page.get_by_role("button", name="Sign out").wait_for()
            await watched.page.goto(f"{api.url}/admin#{view}")
            return watched

        yield opened
