"""The operator in the process of the test, against whatever API server KUBECONFIG names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from operators.coursegen_operator.operator import Operator
from operators.coursegen_operator.planning import Kind
from operators.coursegen_operator.settings import OperatorSettings
from services.kernel.health import HealthRegistry

QUICK = {
    "OPERATOR_LEASE_SECONDS": "3",
    "OPERATOR_LEASE_RENEW_SECONDS": "2",
    "OPERATOR_LEASE_RETRY_SECONDS": "0.2",
    "OPERATOR_CALL_SECONDS": "2",
}
"""Timers for an API server in the same process."""


@asynccontextmanager
async def operating(
    kinds: Sequence[Kind] | None = None, **environment: str
) -> AsyncIterator[tuple[asyncio.Task[None], asyncio.Event, HealthRegistry]]:
    """A running operator, of all kinds unless some are given; it is told to stop at the end of the block."""
    settings = OperatorSettings.from_environ(environment)
    stopping, health = asyncio.Event(), HealthRegistry()
    health.started = True
    async with Operator.open(settings, health, kinds) as operator:
        serving = asyncio.create_task(operator.serve(stopping))
        try:
            yield serving, stopping, health
        finally:
            stopping.set()
            await asyncio.wait({serving}, timeout=20)
