"""Who may talk to whom: the whole allow list of the chart's NetworkPolicies, as data (reliability.md S10).

The rendered policies are compared with it without a cluster, and so is what pods really reach in one. Both directions are
written down: a path is open when the one side may leave and the other lets it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Way = tuple[str, str, tuple[int | str, ...]]
"""`in` or `out`, with whom, and the ports, by name where the other side names them."""
Paths = Mapping[str, frozenset[Way]]
"""By component; who is not in it has no policy, and neither closes nor is closed."""

ANYWHERE: Final = "anywhere"

_DNS: Way = ("out", "kube-dns", (53, 53))  # by UDP and by TCP
_DATABASE: Way = ("out", "postgresql", (5432,))
_REDIS: Way = ("out", "redis", (6379,))
_API: Way = ("out", "api", ("http",))
_SERVER: Way = ("out", ANYWHERE, (443, 6443))
_WEBHOOKS: Way = ("out", "public internet", (443,))
_SCRAPE: Way = ("in", "monitoring", ("metrics",))
_CLIENTS: Way = ("in", ANYWHERE, ("http",))

_WORKER = frozenset({_DNS, _DATABASE, _REDIS, _SCRAPE})
_WORKERS = ("worker-analysis", "worker-documents", "worker-generation", "worker-webhooks")
_TESTS = ("test-health", "test-round-trip")


def _let_in(port: str, *components: str) -> frozenset[Way]:
    return frozenset(("in", each, (port,)) for each in components)


PATHS: Final[Paths] = {
    "api": _WORKER | {_CLIENTS},
    "outbox-relay": _WORKER | {_SERVER},
    "persistence-worker": _WORKER,
    "worker-documents": _WORKER,
    "worker-analysis": _WORKER,
    "worker-generation": _WORKER,
    "worker-webhooks": _WORKER | {_WEBHOOKS},
    "migrate": frozenset({_DNS, _DATABASE}),
    "retention": frozenset({_DNS, _DATABASE}),
    "test-health": frozenset({_DNS, _API}),
    "test-round-trip": frozenset({_DNS, _API}),
    "test-resources": frozenset({_SERVER}),  # by its address
    "postgresql": _let_in(
        "postgresql", "api", "outbox-relay", "persistence-worker", "migrate", "retention", "tools", *_WORKERS
    ),
    "redis": _let_in("redis", "api", "outbox-relay", "persistence-worker", "tools", *_WORKERS),
}
"""With the operator, a Lease, PostgreSQL and Redis inside, and a Prometheus in `monitoring`."""


OPERATOR_PATHS: Final[Paths] = {"operator": frozenset({_DNS, _SERVER, _SCRAPE})}
"""Of the chart coursegen-operator, with a Prometheus in `monitoring`."""


def with_clients(paths: Paths, *clients: str) -> Paths:
    """The same where `networkPolicy.apiFrom` names the clients of the api."""
    return {**paths, "api": (paths["api"] - {_CLIENTS}) | _let_in("http", *_TESTS, *clients)}


def without_retention(paths: Paths) -> Paths:
    """The same where no pod removes old rows: nobody who calls himself so is let in."""
    kept = {component: ways for component, ways in paths.items() if component != "retention"}
    return {**kept, "postgresql": paths["postgresql"] - _let_in("postgresql", "retention")}


def without_operator(paths: Paths) -> Paths:
    """The same where a Job of the release migrates: nothing removes old rows, and there are no resources to ask for."""
    return {name: ways for name, ways in without_retention(paths).items() if name != "test-resources"}


def without_lease(paths: Paths) -> Paths:
    """The same where the relay needs no API server."""
    return {**paths, "outbox-relay": paths["outbox-relay"] - {_SERVER}}


@dataclass(frozen=True)
class Party:
    """One end of a path."""

    name: str
    """The component, or what a peer of a path calls it."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Named ports."""


def is_open(paths: Paths, source: Party, target: Party, port: int) -> bool:
    """Whether a connection may leave `source` and enter `target` at `port`."""
    return _may("out", paths, source, target, target, port) and _may("in", paths, target, source, target, port)


def _may(way: str, paths: Paths, one: Party, other: Party, target: Party, port: int) -> bool:
    own = paths.get(one.name)
    if own is None:
        return True
    return any(
        direction == way and peer in {ANYWHERE, other.name} and port in {_number(each, target) for each in ports}
        for direction, peer, ports in own
    )


def _number(port: int | str, target: Party) -> int | None:
    return target.ports.get(port) if isinstance(port, str) else port
