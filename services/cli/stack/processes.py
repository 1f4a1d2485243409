"""The product's own processes as the local stack runs them: which, with what environment, on which ports."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import services
from services.cli.stack import http_get
from services.cli.stack.ports import LOOPBACK, Claims
from services.cli.stack.program import Program, never_ready
from services.cli.stack.servers import Servers
from services.cli.stack.state import Secrets

API = "api"
RELAY = "outbox-relay"
SCHEDULER = "scheduler"
PERSISTENCE = "persistence-worker"
QUEUES = ("documents", "analysis", "generation")
"""The queues of the pipeline; each has a worker of its own."""

_ALSO_SERVES = {"analysis": ",webhooks"}
"""Webhooks wait for others and need no processor, so they live with the worker that has the least to do."""

_DRAIN_SECONDS = "5"
_OURS = frozenset({"API_URL", "API_TOKEN", "DATABASE_URL", "REDIS_URL", "HOST", "PORT", "METRICS_HOST", "METRICS_PORT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the processes listen."""

    host: str = LOOPBACK
    api_port: int
    process_metrics: Mapping[str, int]
    """The metrics port of each process, by name."""


def worker_name(queue: str) -> str:
    """The worker of one queue, as logs and metrics call it."""
    return f"worker-{queue}"


def assign_ports(host: str, api_port: int, claims: Claims) -> Addresses:
    """Give every process a metrics port, claimed for the stack."""
    names = (API, RELAY, SCHEDULER, PERSISTENCE, *(worker_name(queue) for queue in QUEUES))
    return Addresses(host=host, api_port=api_port, process_metrics={name: claims.take_any() for name in names})


def service_programs(
    servers: Servers, addresses: Addresses, secrets: Secrets, folder: Path, environ: Mapping[str, str]
) -> list[Program]:
    """The api, the relay, the scheduler, the worker that persists messages, and one worker per queue."""
    environment = {
        **shared_environment(environ),
        "DATABASE_URL": servers.application_url,
        "REDIS_URL": servers.redis_url,
        "METRICS_HOST": LOOPBACK,
        "DRAIN_SECONDS": _DRAIN_SECONDS,
    }
    keys = {"WEBHOOK_ENCRYPTION_KEYS": webhook_keys(secrets, environ)}
    build = partial(_program, addresses=addresses, folder=folder, environment=environment)
    api = {
        "HOST": addresses.host,
        "PORT": str(addresses.api_port),
        "JWT_SECRET": jwt_secret(secrets, environ),
        "STACK_ID": secrets.stack_id,
        "MESSAGES_REQUIRE_TOKEN": environ.get("MESSAGES_REQUIRE_TOKEN") or "false",
        **keys,
    }
    return [
        build(API, "services.api", api),
        build(RELAY, "services.outbox_relay", {}),
        build(SCHEDULER, "services.cli.scheduler", {}),
        build(PERSISTENCE, "services.persistence_worker", {}),
        *(build(worker_name(queue), "services.stage_worker", {**keys, **_served(queue)}) for queue in QUEUES),
    ]


def migration_program(servers: Servers, folder: Path, environ: Mapping[str, str]) -> Program:
    """The run of the migrations, as the owner."""
    environment = {**shared_environment(environ), "DATABASE_URL": servers.database_url}
    return Program(
        name="migrate",
        argv=python_module("services.migrate"),
        env=environment,
        folder=folder,
        is_ready=never_ready,
    )


def shared_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment for a child: without what names another stack, with the way to this code."""
    kept = {name: value for name, value in environ.items() if name not in _OURS}
    source = str(Path(services.__file__).resolve().parents[1])
    path = f"{source}:{kept['PYTHONPATH']}" if kept.get("PYTHONPATH") else source
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def python_module(module: str) -> list[str]:
    """How to run a module of ours as a process."""
    return [sys.executable, "-m", module]


def jwt_secret(secrets: Secrets, environ: Mapping[str, str]) -> str:
    """The secret that signs tokens: the caller's own, else the stack's."""
    return environ.get("JWT_SECRET") or secrets.jwt_secret


def webhook_keys(secrets: Secrets, environ: Mapping[str, str]) -> str:
    """The keys for webhook secrets: the caller's first, and the stack's own so that nothing becomes unreadable."""
    return ",".join(filter(None, (environ.get("WEBHOOK_ENCRYPTION_KEYS"), secrets.webhook_key)))


def _served(queue: str) -> dict[str, str]:
    return {"STAGE_WORKER_QUEUES": queue + _ALSO_SERVES.get(queue, "")}


def _program(
    name: str,
    module: str,
    own: Mapping[str, str],
    *,
    addresses: Addresses,
    folder: Path,
    environment: Mapping[str, str],
) -> Program:
    port = addresses.process_metrics[name]
    return Program(
        name=name,
        argv=python_module(module),
        env={**environment, "METRICS_PORT": str(port), **own},
        folder=folder,
        is_ready=partial(http_get.is_ready, port),
    )
