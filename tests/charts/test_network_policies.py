"""Which pod may talk to whom: the whole list, as data, and no path beside it."""

from __future__ import annotations

from typing import Any

from tests.charts.conftest import Render
from tests.charts.objects import of_kind, pods

Path = tuple[str, str, tuple[int | str, ...]]

_DNS: Path = ("out", "kube-dns", (53, 53))
_DATABASE: Path = ("out", "postgresql", (5432,))
_REDIS: Path = ("out", "redis", (6379,))
_API: Path = ("out", "api", ("http",))
_SERVER: Path = ("out", "anywhere", (443, 6443))
_SCRAPE: Path = ("in", "monitoring", ("metrics",))
_CLIENTS: Path = ("in", "anywhere", ("http",))
_WORKER = {_DNS, _DATABASE, _REDIS, _SCRAPE}
PATHS: dict[str, set[Path]] = {
    "api": {_DNS, _DATABASE, _REDIS, _SCRAPE, _CLIENTS},
    "outbox-relay": {*_WORKER, _SERVER},
    "worker-documents": _WORKER,
    "worker-analysis": _WORKER,
    "worker-generation": _WORKER,
    "worker-webhooks": {*_WORKER, ("out", "public internet", (443,))},
    "migrate": {_DNS, _DATABASE},
    "test-health": {_DNS, _API},
    "test-round-trip": {_DNS, _API},
    "postgresql": {("in", "release", ("postgresql",))},
    "redis": {("in", "release", ("redis",))},
}
"""With a Lease, PostgreSQL and Redis inside, and a Prometheus in `monitoring`."""


def _peer(peer: dict[str, Any]) -> str:
    if "ipBlock" in peer:
        assert set(peer["ipBlock"]["except"]) >= {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"}
        return "public internet"
    labels = peer.get("podSelector", {}).get("matchLabels", {})
    if "namespaceSelector" in peer:
        return str(labels.get("k8s-app") or peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
    return str(labels.get("app.kubernetes.io/component", "release"))


def _paths(policy: dict[str, Any]) -> set[Path]:
    found: set[Path] = set()
    for way, rules, peers in (("in", policy["ingress"], "from"), ("out", policy["egress"], "to")):
        for rule in rules:
            ports = tuple(each["port"] for each in rule["ports"])
            found |= {(way, name, ports) for name in map(_peer, rule.get(peers, [])) or ()}
            if peers not in rule:
                found.add((way, "anywhere", ports))
    return found


def test_the_paths_are_these(render: Render) -> None:
    """Both directions of every component, exactly."""
    policies = of_kind(render("networkpolicy"), "NetworkPolicy").values()

    assert all(each["spec"]["policyTypes"] == ["Ingress", "Egress"] for each in policies)
    found = {
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: _paths(each["spec"])
        for each in policies
    }
    assert found == PATHS


def test_every_pod_has_its_policy(render: Render) -> None:
    """No pod is left open."""
    objects = render("networkpolicy")
    policies = of_kind(objects, "NetworkPolicy")

    for name, _ in pods(objects):
        assert name in policies or name.rpartition("-")[0] in policies, name


def test_what_is_outside_is_opened_by_name(render: Render) -> None:
    """Engine, object store and the issuer's keys only where they are needed; without a Lease no way to the API server."""
    sets = [f"networkPolicy.{each}.enabled=true" for each in ("engine", "objectStore", "jwks")]
    policies = of_kind(render("networkpolicy", "leaderElection.mode=postgres", *sets), "NetworkPolicy")
    rules = {name.removeprefix("cg-coursegen-"): len(each["spec"]["egress"]) for name, each in policies.items()}

    assert rules["outbox-relay"] == 3
    assert rules["api"] == 5
    assert rules["worker-generation"] == 5
    assert rules["worker-webhooks"] == 5


def test_off_by_default(render: Render) -> None:
    """Nothing is closed unasked."""
    assert of_kind(render("minimal"), "NetworkPolicy") == {}
