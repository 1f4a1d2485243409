"""Which pod may talk to whom: the whole list, as data, and no path beside it (S10). A cluster test tries the same list."""

from __future__ import annotations

from pathlib import Path

import yaml

from services.kernel.webhooks.addresses import REFUSED
from tests.charts.conftest import CHART, Render
from tests.charts.objects import of_kind, pods
from tests.charts.policies import PUBLIC, paths_in
from tests.support.network_paths import (
    ANYWHERE,
    PATHS,
    with_clients,
    without_lease,
    without_operator,
    without_retention,
)


def test_the_paths_are_these(render: Render) -> None:
    """Both directions of every component, exactly."""
    assert paths_in(render("networkpolicy")) == PATHS


def test_without_the_operator_nobody_passes_for_a_pod_of_its(render: Render) -> None:
    """Neither the tasks that it has nor the test that asks for its resources have a path."""
    assert paths_in(render("networkpolicy", "migrations.mode=job")) == without_operator(PATHS)


def test_without_retention_nobody_passes_for_it(render: Render) -> None:
    """Whether it is off as a whole, or has nothing to do."""
    none = [f"retention.policies.{each}=null" for each in ("outbox", "idempotency", "fsm-events")]

    for sets in (["retention.enabled=false"], none):
        assert paths_in(render("networkpolicy", *sets)) == without_retention(PATHS), sets
    assert paths_in(render("networkpolicy", *none[1:])) == PATHS


def test_named_clients_are_the_only_ones(render: Render) -> None:
    """With `apiFrom` they and the pods of `helm test` reach the api; without those pods they alone."""
    client = "networkPolicy.apiFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=ingress"

    assert paths_in(render("networkpolicy", client)) == with_clients(PATHS, "ingress")
    untested = paths_in(render("networkpolicy", client, "tests.enabled=false"))
    assert untested.keys() == PATHS.keys() - {"test-health", "test-round-trip", "test-resources"}
    assert {peer for way, peer, ports in untested["api"] if ports == ("http",)} == {"ingress"}


def test_without_a_lease_the_relay_stays_inside(render: Render) -> None:
    """The way to the API server is there for the Lease alone."""
    for mode in ("postgres", "none"):
        found = paths_in(render("networkpolicy", f"leaderElection.mode={mode}", "outboxRelay.replicaCount=1"))
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
    found = paths_in(render(file))

    assert {"postgresql", "redis"}.isdisjoint(found)
    assert ("out", "db", (5432,)) in found["migrate"] & found["api"] & found["outbox-relay"]
    assert ("out", ANYWHERE, (6380,)) in found["worker-webhooks"]


def test_what_is_made_when_it_is_needed_has_its_paths(render: Render) -> None:
    """The load test goes where the other tests go; the tools reach the servers, which let them in at any time."""
    found = paths_in(render("networkpolicy", "tests.load.enabled=true", "tools.enabled=true"))
    added = {component: paths for component, paths in found.items() if component not in PATHS}

    assert added == {
        "test-load": PATHS["test-health"],
        "tools": frozenset({("out", "kube-dns", (53, 53)), ("out", "postgresql", (5432,)), ("out", "redis", (6379,))}),
    }
    assert {component: found[component] for component in PATHS} == PATHS


def test_every_pod_has_its_policy(render: Render) -> None:
    """No pod is left open; and no policy is of pods that are never made."""
    for mode in ("operator", "job"):
        objects = render("networkpolicy", f"migrations.mode={mode}")
        policies = of_kind(objects, "NetworkPolicy")
        made = {name if name in policies else name.rpartition("-")[0] for name, _ in pods(objects)}
        by_operator = {"cg-coursegen-migrate", "cg-coursegen-retention"} if mode == "operator" else set()

        assert made | by_operator == policies.keys(), mode


def test_what_is_outside_is_opened_by_name(render: Render) -> None:
    """Engine, object store and the issuer's keys only where they are needed; a collector of spans by all."""
    sets = [f"networkPolicy.{each}.enabled=true" for each in ("engine", "objectStore", "jwks", "stream", "traces")]
    sets += [
        f"networkPolicy.{each}.port={port}"
        for each, port in (("engine", 1), ("objectStore", 2), ("jwks", 3), ("stream", 4), ("traces", 5))
    ]
    found = paths_in(render("networkpolicy", *sets))
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

    assert [old["cidr"], new["cidr"]] == PUBLIC
    assert old["except"] == [each for each in refused if ":" not in each]
    assert new["except"] == [each for each in refused if each[0] in "23" and ":" in each]


def test_off_by_default(render: Render) -> None:
    """Nothing is closed unasked."""
    assert of_kind(render("minimal"), "NetworkPolicy") == {}
