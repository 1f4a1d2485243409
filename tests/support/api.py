"""The api in the test's own process, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

import httpx

from services.api import openapi
from services.api.routing import Operation
from services.api.service import ApiService, Parts, open_parts
from services.api.settings import ApiSettings
from services.kernel.health import HealthRegistry
from services.kernel.settings import Secret
from tests.support import tokens
from tests.support.contract import Contract
from tests.support.limits import RAISED_FIELDS
from tests.support.receiver import WEBHOOK_KEY
from tests.support.servers import database_number
from tests.support.waiting import eventually

_descriptions: dict[tuple[object, ...], Mapping[str, Any]] = {}


def _description(operations: Sequence[Operation]) -> Mapping[str, Any]:
    """What describes them, made once for all apis that have the same."""
    described = [each.name for each in fields(Operation) if each.name != "handler"]  # bound to objects of one api
    key = tuple(
        (each.name, each.handler.__doc__, *(repr(getattr(each, name)) for name in described)) for each in operations
    )
    if key not in _descriptions:
        _descriptions[key] = openapi.describe(operations, "test")
    return _descriptions[key]


@dataclass(frozen=True, slots=True)
class RunningApi:
    """An api that listens, and a client that calls it as `tokens.USER`."""

    url: str
    port: int
    client: httpx.AsyncClient
    parts: Parts
    service: ApiService
    contract: Contract
    """Checks every answer that `client` receives."""
    health: HealthRegistry
    """Its readiness."""


def api_settings(database_url: str, redis_url: str, **changes: Any) -> ApiSettings:
    """Settings for a test."""
    fields: dict[str, Any] = {
        "database_url": Secret(database_url),
        "redis_url": Secret(redis_url),
        "jwt_secret": Secret(tokens.SECRET),
        "host": "127.0.0.1",
        "port": 0,
        **RAISED_FIELDS,
        "webhook_keys": Secret(WEBHOOK_KEY),
        "redis_stream_db": database_number(redis_url),
        **changes,
    }
    return ApiSettings(**fields)


@asynccontextmanager
async def running_api(database_url: str, redis_url: str, **changes: Any) -> AsyncIterator[RunningApi]:
    """Serve until the block ends."""
    settings = api_settings(database_url, redis_url, **changes)
    stopping, health = asyncio.Event(), HealthRegistry()
    async with open_parts(settings, health) as parts:
        service = ApiService(parts, settings)
        serving = asyncio.create_task(service.serve(stopping))
        await eventually(lambda: serving.done() or service.is_accepting, within=10, every=0.005)
        if serving.done():
            await serving
        url = f"http://127.0.0.1:{service.port}"
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        contract = Contract(_description(parts.routes.operations))
        hooks = {"response": [contract.hook]}
        async with httpx.AsyncClient(
            base_url=url, headers=tokens.bearer(), timeout=30, limits=limits, event_hooks=hooks
        ) as client:
            health.started = True
            yield RunningApi(url, service.port, client, parts, service, contract, health)
        stopping.set()
        await asyncio.wait_for(serving, 20)
