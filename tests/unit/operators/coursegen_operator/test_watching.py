"""The watches, where a process may run and when an API server forgets a kind."""

from __future__ import annotations

import asyncio
import getpass
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from lightkube.config.models import User

from operators.coursegen_operator import watching as module
from operators.coursegen_operator.cluster import Access
from operators.coursegen_operator.resources import CRON_JOB, JOB, Object
from operators.coursegen_operator.watching import Selection, Watch
from services.kernel.clock import SystemClock
from tests.support.waiting import eventually


class Audience:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def seen(self, item: Object) -> None:
        """There is one."""
        self.names.append(item["metadata"]["name"])

    def gone(self, item: Object) -> None:
        """There is none."""
        self.names.remove(item["metadata"]["name"])


class Server:
    """Knows Jobs and CronJobs, one of either, until it is told to forget the Jobs."""

    def __init__(self) -> None:
        self.forgets = asyncio.Event()
        self.over = asyncio.Event()
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """As an API server."""
        if "watch" in request.query:
            return await self._watch(request)
        plural = request.path.rpartition("/")[2]
        known: dict[str, Any] = {
            "api": {"versions": ["v1"]},
            "apis": {"groups": [{"name": "batch", "preferredVersion": _V1, "versions": [_V1]}]},
            "v1": {"resources": _RESOURCES["batch" in request.path]},
        }
        item = {"metadata": {"name": plural, "namespace": "here", "uid": plural, "resourceVersion": "7"}}
        return web.json_response(known.get(plural, {"metadata": {"resourceVersion": "8"}, "items": [item]}))

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/jobs"):
            await self.forgets.wait()
            raise web.HTTPNotFound
        response = web.StreamResponse()
        await response.prepare(request)
        await self.over.wait()
        return response


_V1 = {"groupVersion": "batch/v1", "version": "v1"}


def _named(kind: str) -> dict[str, Any]:
    lower = kind.lower()
    verbs = ["list", "patch", "watch"]
    return {"name": f"{lower}s", "singularName": lower, "kind": kind, "namespaced": kind != "Namespace", "verbs": verbs}


_RESOURCES = [[_named("Namespace"), _named("Event")], [_named("Job"), _named("CronJob")]]


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """The server, while the block lasts."""
    server = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.forgets.set()
        server.over.set()
        await runner.cleanup()


def watching(server: Server, audience: Audience) -> Watch:
    """A watch of both kinds."""
    access = Access(server.url, ssl.create_default_context(), User(token="none"))
    watch = Watch(access, Selection((JOB, CRON_JOB)), audience, SystemClock())
    watch.start()
    return watch


async def test_a_user_without_a_name_may_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python knows no name for a number that /etc/passwd does not have: that of a container's user."""

    def no_name() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr(getpass, "getuser", no_name)
    audience = Audience()
    async with serving() as server:
        watch = watching(server, audience)
        await eventually(lambda: sorted(audience.names) == ["cronjobs", "jobs"], within=10)
        assert not watch.ended.is_set()
        await watch.stop()
        assert watch.ended.is_set()


async def test_one_watch_that_fails_is_said_at_once_and_ends_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have not failed hang, for a fault of kopf; nobody waits for them."""
    monkeypatch.setattr(module, "STOP_SECONDS", 0.5)
    audience = Audience()
    async with serving() as server:
        watch = watching(server, audience)
        await eventually(lambda: len(audience.names) == 2, within=10)
        server.forgets.set()
        await asyncio.wait_for(watch.ended.wait(), 3)
        await eventually(lambda: not watch.is_alive, within=20)
