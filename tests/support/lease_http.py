"""The part of an API server that the relay uses, over HTTP: Leases with resourceVersions, and Events. Well or badly."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.tls import Certificate

Object = dict[str, Any]

_LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


@dataclass
class PretendedServer:
    """What it keeps, and how it behaves."""

    url: str = ""
    leases: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    hangs: bool = False
    """Whether calls get no answer at present."""
    refuses: int = 0
    """The status with which every call is refused; 0 = none is."""
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def kubeconfig(self, folder: Path, cluster: Object | None = None, user: Object | None = None) -> Path:
        """A file for KUBECONFIG; what `cluster` and `user` say goes into its entries."""
        path = folder / "kubeconfig"
        config = {
            "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": self.url, **(cluster or {})}}],
            "users": [{"name": "x", "user": user or {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": "here"}}],
        }
        path.write_bytes(msgspec.json.encode(config))  # JSON is YAML
        return path

    async def get(self, request: Request) -> Response:
        """Read a Lease."""
        if (answer := await self._misbehave()) is not None:
            return answer
        lease = self.leases.get(request.path_params["name"])
        return status(404) if lease is None else JSONResponse(lease)

    async def post(self, request: Request) -> Response:
        """Write a new Lease."""
        lease = await request.json()
        if (answer := await self._misbehave()) is not None:
            return answer
        return status(409) if lease["metadata"]["name"] in self.leases else self._keep(lease)

    async def put(self, request: Request) -> Response:
        """Write a Lease anew, if nobody else has."""
        lease = await request.json()
        if (answer := await self._misbehave()) is not None:
            return answer
        present = self.leases.get(request.path_params["name"])
        if present is None:
            return status(404)
        if lease["metadata"].get("resourceVersion") != present["metadata"]["resourceVersion"]:
            return status(409)
        return self._keep(lease)

    async def post_event(self, request: Request) -> Response:
        """Keep an Event."""
        if (answer := await self._misbehave()) is not None:
            return answer
        self.events.append(await request.json())
        return JSONResponse(self.events[-1], status_code=201)

    async def _misbehave(self) -> Response | None:
        while self.hangs:  # noqa: ASYNC110 - the test looks only at what it has set
            await asyncio.sleep(0.05)
        return status(self.refuses) if self.refuses else None

    def _keep(self, lease: dict[str, Any]) -> Response:
        lease["metadata"]["resourceVersion"] = str(next(self._versions))
        self.leases[lease["metadata"]["name"]] = lease
        return JSONResponse(lease)


def status(code: int) -> Response:
    """A refusal as an API server words it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": f"refused: {code}"}
    return JSONResponse(body, status_code=code)


@contextlib.asynccontextmanager
async def pretended_server(
    certificate: Certificate | None = None, clients: Path | None = None
) -> AsyncIterator[PretendedServer]:
    """Run the server in this loop on a free port.

    Args:
        certificate: with which it speaks TLS; without one it does not.
        clients: the authority by which every client must show a certificate, if any.
    """
    state = PretendedServer()
    routes = [
        Route(_LEASES, state.post, methods=["POST"]),
        Route(_LEASES + "/{name}", state.get, methods=["GET"]),
        Route(_LEASES + "/{name}", state.put, methods=["PUT"]),
        Route("/api/v1/namespaces/{namespace}/events", state.post_event, methods=["POST"]),
    ]
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()  # whoever comes before the server is ready waits
    state.url = f"{'https' if certificate else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
    config = uvicorn.Config(
        Starlette(routes=routes),
        log_level="error",
        lifespan="off",
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate.path if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
        ssl_ca_certs=str(clients) if clients else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if clients else ssl.CERT_NONE,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield state
    finally:
        state.hangs = False
        server.should_exit = True
        await serving
        listening.close()
