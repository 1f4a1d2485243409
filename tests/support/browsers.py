"""A real headless browser: Debian's Chromium, driven by Playwright, which brings none of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VARIABLE = "TEST_BROWSER"
"""Names the program when it is somewhere else."""

PATIENCE_MS = 20_000
"""How long a test waits for what is to appear: only a failure, or a very busy machine, takes so long."""

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


def browser_program() -> str:
    """The browser of this machine; the test is skipped where there is none, and fails where CI=true promises one."""
    found = os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is not None:
        return found
    reason = f"no Chromium on PATH ({', '.join(PROGRAMS)}); install Debian's chromium, or name one with {VARIABLE}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """A browser that ends with the block."""
    program = browser_program()
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            await browser.close()


class Watched:
    """A page whose every complaint is kept: scripts that fail, what its policy forbids, requests that leave the site."""

    def __init__(self, page: Page, site: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self._site = site
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._note)
        page.on("request", self._leaves)

    def _note(self, message: Any) -> None:
        # Chromium notes every answer of 4xx and 5xx, which is for the page to judge.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def _leaves(self, request: Any) -> None:
        if not request.url.startswith(f"{self._site}/"):
            self.elsewhere.append(request.url)


@asynccontextmanager
async def open_page(browser: Browser, site: str, **options: Any) -> AsyncIterator[Watched]:
    """A page in a window and cookie jar of its own. Complaints fail the test at the end."""
    options = {"viewport": DESK, "locale": "en-GB", **options}
    context = await browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    try:
        watched = Watched(await context.new_page(), site)
        yield watched
        assert watched.complaints == []
        assert watched.elsewhere == []
    finally:
        await context.close()
