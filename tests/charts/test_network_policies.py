"""Which pod may talk to whom: the whole list, as data, and no path beside it (S10). A cluster test tries the same list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from services.kernel.webhooks.addresses import REFUSED
from tests.charts.conftest import CHART, Render
from tests.charts.objects import of_kind, pods
from tests.support.network_paths import ANYWHERE, PATHS, Way, with_clients, without_lease

_COMPONENT = "app.kubernetes.io/component"
_PUBLIC = ["0.0.0.0/0", "2000::/3"]


def _peers(peer: dict[str, Any]) -> set[str]:
    if "ipBlock" in peer:
        assert peer["ipBlock"]["cidr"] in _PUBLIC
        return {"public internet"}
    selector = peer.get("podSelector", {})
    labels = selector.get("matchLabels", {})
    if "namespaceSelector" in peer:
        return {str(labels.get("k8s-app") or peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])}
    assert {key.rpartition("/")[2] for key in labels} >= {"name", "instance"}
    if "matchExpressions" in selector:
        (expression,) = selector["matchExpressions"]
        assert (expression["key"], expression["operator"]) == (_COMPONENT, "In")
        return set(expression["values"])
    return {labels[_COMPONENT]}


def _paths(policy: dict[str, Any]) -> frozenset[Way]:
    found: set[Way] = set()
    for way, rules, peers in (("in", policy["ingress"], "from"), ("out", policy["egress"], "to")):
        for rule in rules:
            ports = tuple(each["port"] for each in rule["ports"])
            names = {name for peer in rule[peers] for name in _peers(peer)} if peers in rule else {ANYWHERE}
            found |= {(way, name, ports) for name in names}
    return frozenset(found)


def _found(objects: list[dict[str, Any]]) -> dict[str, frozenset[Way]]:
    policies = of_kind(objects, "NetworkPolicy").values()
    assert all(each["spec"]["policyTypes"] == ["Ingress", "Egress"] for each in policies)
    return {each["spec"]["podSelector"]["matchLabels"][_COMPONENT]: _paths(each["spec"]) for each in policies}


def test_the_paths_are_these(render: Render) -> None:
    """Both directions of every component, exactly."""
    assert _found(render("networkpolicy")) == PATHS


def test_named_clients_are_the_only_ones(render: Render) -> None:
    """With `apiFrom` they and the pods of `helm test` reach the api; without those pods they alone."""
    client = "networkPolicy.apiFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=ingress"

    assert _found(render("networkpolicy", client)) == with_clients(PATHS, "ingress")
    untested = _found(render("networkpolicy", client, "tests.enabled=false"))
    assert untested.keys() == PATHS.keys() - {"test-health", "test-round-trip"}
    assert {peer for way, peer, ports in untested["api"] if ports == ("http",)} == {"ingress"}


def test_without_a_lease_the_relay_stays_inside(render: Render) -> None:
    """The way to the API server is there for the Lease alone."""
    for mode in ("postgres", "none"):
        found = _found(render("networkpolicy", f"leaderElection.mode={mode}", "outboxRelay.replicaCount=1"))
        assert found == without_lease(PATHS), mode


def test_servers_of_ones_own_are_reached_by_their_port(render: Render, tmp_path: Path) -> None:
    """Without `dev.enabled` nothing stands for PostgreSQL and Redis: anywhere, or where the values say."""
    values = yaml.safe_load((CHART / "ci" / "minimal-values.yaml").read_text(encoding="utf-8"))
    there = {
        "podSelector": {"matchLabels": {f"app.kubernetes.io/{key}": "db" for key in ("name", "instance", "component")}}
    }
    values["networkPolicy"] = {"enabled": True, "database": {"to": [there]}, "redis": {"port": 6380}}
    file = tmp_path / "own-values.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    found = _found(render(file))

    assert {"postgresql", "redis"}.isdisjoint(found)
    assert ("out", "db", (5432,)) in found["migrate"] & found["api"] & found["outbox-relay"]
    assert ("out", ANYWHERE, (6380,)) in found["worker-webhooks"]


def test_what_is_made_when_it_is_needed_has_its_paths(render: Render) -> None:
    """The load test goes where the other tests go; the tools reach the servers, which let them in at any time."""
    found = _found(render("networkpolicy", "tests.load.enabled=true", "tools.enabled=true"))
    added = {component: paths for component, paths in found.items() if component not in PATHS}

    assert added == {
        "test-load": PATHS["test-health"],
        "tools": frozenset({("out", "kube-dns", (53, 53)), ("out", "postgresql", (5432,)), ("out", "redis", (6379,))}),
    }
    assert {component: found[component] for component in PATHS} == PATHS


def test_every_pod_has_its_policy(render: Render) -> None:
    """No pod is left open."""
    objects = render("networkpolicy")
    policies = of_kind(objects, "NetworkPolicy")

    for name, _ in pods(objects):
        assert name in policies or name.rpartition("-")[0] in policies, name


def test_what_is_outside_is_opened_by_name(render: Render) -> None:
    """Engine, object store and the issuer's keys only where they are needed; a collector of spans by all."""
    sets = [f"networkPolicy.{each}.enabled=true" for each in ("engine", "objectStore", "jwks", "stream", "traces")]
    sets += [
        f"networkPolicy.{each}.port={port}"
        for each, port in (("engine", 1), ("objectStore", 2), ("jwks", 3), ("stream", 4), ("traces", 5))
    ]
    found = _found(render("networkpolicy", *sets))
    added = {component: {ports[0] for _, _, ports in paths - PATHS[component]} for component, paths in found.items()}

    assert {component: ports for component, ports in added.items() if ports} == {
        "outbox-relay": {5},
        "api": {2, 3, 4, 5},
        "persistence-worker": {4, 5},
        "worker-documents": {1, 2, 5},
        "worker-analysis": {1, 2, 5},
        "worker-generation": {1, 2, 5},
        "worker-webhooks": {2, 5},
    }


def test_webhooks_go_where_their_sender_lets_them() -> None:
    """The public internet of the policy is that of the code, in IPv4 and IPv6."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    old, new = (each["ipBlock"] for each in values["networkPolicy"]["webhooks"]["to"])
    refused = [network for network, _ in REFUSED]

    assert [old["cidr"], new["cidr"]] == _PUBLIC
    assert old["except"] == [each for each in refused if ":" not in each]
    assert new["except"] == [each for each in refused if each[0] in "23" and ":" in each]


def test_off_by_default(render: Render) -> None:
    """Nothing is closed unasked."""
    assert of_kind(render("minimal"), "NetworkPolicy") == {}
