"""The operator as a process: what it ends with, and what its probes say."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from operators.coursegen_operator.resources import ObjectKey
from tests.integration.operator.test_operating import LEASE_KEY
from tests.support.operating import QUICK
from tests.support.pretended_api import LEASE, PretendedApi
from tests.support.waiting import eventually


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def _process(port: int, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    ours = {"METRICS_PORT": str(port), "METRICS_HOST": "127.0.0.1", "DRAIN_SECONDS": "5", **QUICK, **environment}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "operators.coursegen_operator",
        env={**os.environ, **ours},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def _answers(port: int, path: str, status: int = 200) -> str:
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}{path}", timeout=2)
    except httpx.HTTPError:
        return ""
    return answer.text if answer.status_code == status else ""


async def test_sigterm_gives_the_lease_back_and_ends_with_nought(api: PretendedApi) -> None:
    """All three kinds are looked after; the probes answer, and `/metrics` says who leads."""
    port = _free_port()
    async with _process(port) as process:
        await eventually(lambda: _answers(port, "/readyz"), within=30)
        await eventually(lambda: _leads(port), within=20)
        assert '"alive":true' in await _answers(port, "/livez")
        assert 'coursegen_operator_reconcile_total{kind="AlertPolicy",outcome="failed"} 0.0' in await _answers(
            port, "/metrics"
        )
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert not api.cluster.objects[LEASE_KEY]["spec"].get("holderIdentity")


async def _leads(port: int) -> bool:
    return "coursegen_operator_is_leader 1.0" in await _answers(port, "/metrics")


async def test_a_lost_lease_ends_it_with_one(api: PretendedApi) -> None:
    """So that whoever supervises it starts it anew."""
    port = _free_port()
    async with _process(port) as process:
        await eventually(lambda: _leads(port), within=30)
        api.cluster.edit(
            ObjectKey(LEASE.kind, "default", "coursegen-operator"), lambda item: item["spec"].update(holderIdentity="x")
        )
        assert await asyncio.wait_for(process.wait(), 10) == 1


async def test_a_fault_in_its_settings_ends_it_with_seventy_eight(api: PretendedApi) -> None:
    """At once, naming the variable."""
    del api
    async with _process(_free_port(), OPERATOR_WORKERS="none") as process:
        _, said = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 78
        assert b"OPERATOR_WORKERS" in said
