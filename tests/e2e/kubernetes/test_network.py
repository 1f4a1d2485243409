"""The NetworkPolicies, tried pod by pod and port by port: what is open is the allow list, and nothing beside it (S10)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import yaml

from tests.e2e.kubernetes.conftest import OUTSIDE, outside
from tests.support.kube.clients import client_pods
from tests.support.kube.commands import Object, apply, get, items, kubectl, program, run
from tests.support.kube.installation import Installation, own_namespace
from tests.support.kube.reachability import Landscape, Place, Pod
from tests.support.kube.values import CHART, for_cluster
from tests.support.network_paths import PATHS, Party, Paths, with_clients, without_operator

pytestmark = [pytest.mark.cluster, pytest.mark.network, pytest.mark.timeout(900)]

SEALED = "sealed"
"""A pod that nothing leaves and nothing enters, by a policy of the test's own: what it reaches the cluster does not close."""
ALLOWED: Paths = {**without_operator(PATHS), SEALED: frozenset()}
"""A Job of the installation migrates."""
OPERATED: Paths = {**PATHS, SEALED: frozenset()}
OPERATORS = ("retention", "test-resources")
"""Components whose pods there are with `migrations.mode: operator` alone: until then nobody gains by their labels."""
SERVER, SERVICE, DNS = "the API server", "the API server's Service", "the DNS"
MAY_BE_ON_THE_NODE = {SERVER, SERVICE, DNS}
"""All of which it may be said that this cluster does not close it."""
SHORT_LIVED = ("migrate", "retention", "test-health", "test-round-trip", "test-resources", "tools")
"""Components whose pods are there when they are needed: others stand here with their labels."""
COMPONENT = "app.kubernetes.io/component"


@pytest.fixture(scope="module")
def landscape(shared: Installation) -> Iterator[Landscape]:
    """All pods of the installation, others in its namespace and elsewhere, the API server and the DNS."""
    release = {"app.kubernetes.io/name": "coursegen", "app.kubernetes.io/instance": shared.release}
    beside = {
        "unlabelled": {},
        "impostor": release,  # of the release by its labels, but no component
        **{component: {**release, COMPONENT: component} for component in SHORT_LIVED},
    }
    away = {"clients": {"stranger": {}, SEALED: {}}, "monitoring": {"monitoring": {}}, "internet": {"internet": {}}}
    with ExitStack() as stack:
        shared.wait_ready(seconds=180)
        spaces = {shared.namespace: beside}
        for name, pods in away.items():
            namespace = stack.enter_context(own_namespace(f"e2e-{name}"))
            kubectl("label", "namespace", namespace, f"{OUTSIDE}={name}")
            spaces[namespace] = pods
        apply(json.dumps(_seal(next(each for each, pods in spaces.items() if SEALED in pods))))
        for namespace, pods in spaces.items():
            stack.enter_context(client_pods(namespace, pods))
        found = Landscape([_pod(each) for namespace in spaces for each in _running(namespace)], _others())
        found.excuse(_beyond(found))
        yield found


def test_what_pods_reach_is_the_allow_list(landscape: Landscape) -> None:
    """Every pod to every other at every port, the API server and the DNS: open, refused or dropped as the list says."""
    began = time.monotonic()
    wrong = landscape.wrong(ALLOWED)
    expected = landscape.expected(ALLOWED)
    print(f"{len(landscape.pods)} pods, {len(expected)} trials, {time.monotonic() - began:.0f} s")
    print(f"not closed by this cluster: {sorted(landscape.beyond)}")

    assert {target for _, target, _ in landscape.beyond} <= MAY_BE_ON_THE_NODE
    assert {each.party.name for each in landscape.pods} > PATHS.keys()
    assert {"open", "refused", "dropped"} == set(expected.values())
    assert wrong == []


def test_a_policy_that_is_missing_shows(shared: Installation, landscape: Landscape) -> None:
    """Without Redis' policy everybody reaches it whom his own lets, and it reaches everybody: the trial can fail."""
    name = f"{shared.fullname}-redis"
    policy = _bare(shared.get("networkpolicy", name))
    without = {component: paths for component, paths in ALLOWED.items() if component != "redis"}
    shared.kubectl("delete", "networkpolicy", name)
    try:
        assert landscape.wrong(without, of="redis") == []
        wrong = landscape.wrong(ALLOWED, of="redis", within=0)
    finally:
        apply(json.dumps(policy))

    redis = next(each.name for each in landscape.pods if each.party.name == "redis")
    assert f"impostor to {redis} at tcp/6379: open, must be dropped" in wrong
    assert f"{redis} to stranger at tcp/443: refused, must be dropped" in wrong
    assert landscape.wrong(ALLOWED, of="redis") == []


def test_the_pods_of_the_operator_have_their_paths(shared: Installation, landscape: Landscape) -> None:
    """With the policies of `migrations.mode: operator` those of retention reach PostgreSQL, and the test the API server alone."""
    rendered = operator_policies(shared)
    name = f"{shared.fullname}-postgresql"
    before = _bare(shared.get("networkpolicy", name))
    chosen = [rendered[each] for each in (name, *(f"{shared.fullname}-{each}" for each in OPERATORS))]
    apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": chosen}))
    try:
        wrong = [sentence for each in OPERATORS for sentence in landscape.wrong(OPERATED, of=each)]
    finally:
        shared.kubectl("delete", "networkpolicy", *(each["metadata"]["name"] for each in chosen))
        apply(json.dumps(before))

    assert wrong == []
    assert landscape.wrong(ALLOWED, of="postgresql") == []


def operator_policies(installation: Installation) -> dict[str, Object]:
    """The policies of the installation as the chart makes them where the operator migrates, by their names."""
    values = for_cluster(installation.values, {"migrations": {"mode": "operator"}})
    shown = ["--show-only", "templates/networkpolicies.yaml", "-f", "-"]
    command = [program("helm"), "template", installation.release, str(CHART), "-n", installation.namespace, *shown]
    policies = yaml.safe_load_all(run(command, stdin=json.dumps(values)).stdout)
    return {each["metadata"]["name"]: each for each in policies if each}


def test_named_clients_are_the_only_ones(shared: Installation, landscape: Landscape) -> None:
    """`networkPolicy.apiFrom` closes the api to all but them and the pods of `helm test`; no pod starts anew for it."""
    before = {each.name for each in landscape.pods}
    shared.install({"networkPolicy": {"apiFrom": [outside("clients")]}})
    try:
        assert landscape.wrong(with_clients(ALLOWED, "stranger"), of="api") == []
    finally:
        shared.install()

    assert {each["metadata"]["name"] for each in _running(shared.namespace)} <= before
    assert landscape.wrong(ALLOWED, of="api") == []


def _running(namespace: str) -> list[Object]:
    return items("-n", namespace, "pods", "--field-selector", "status.phase=Running")


def _pod(pod: Object) -> Pod:
    labels = pod["metadata"]["labels"]
    return Pod.of(pod, labels.get(COMPONENT) or {"internet": "public internet"}.get(labels["app"], labels["app"]))


def _others() -> list[Place]:
    service = get("-n", "default", "service", "kubernetes")["spec"]["clusterIP"]
    slices = items("-n", "default", "endpointslices", "-l", "kubernetes.io/service-name=kubernetes")
    address, port = slices[0]["endpoints"][0]["addresses"][0], ("tcp", slices[0]["ports"][0]["port"])
    server, https, dns = Party("kubernetes"), ("tcp", 443), (("tcp", 53), ("udp", 53))
    return [
        Place(SERVICE, service, server, frozenset({https}), (https,)),
        Place(SERVER, address, server, frozenset({port}), (port,)),
        Place(DNS, "nameserver", Party("kube-dns"), frozenset(dns), dns),
    ]


def _seal(namespace: str) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": SEALED, "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {"app": SEALED}}, "policyTypes": ["Ingress", "Egress"]},
    }


def _beyond(landscape: Landscape) -> set[tuple[str, str, tuple[str, int]]]:
    """What even the sealed pod reaches outside pods, for every pod from which it must be closed, with the operator or without."""
    outside_pods = {each.name for each in landscape.others}
    trials = [trial for trial in landscape.expected(ALLOWED) if trial[0] == SEALED and trial[1] in outside_pods]
    closed = {
        trial for paths in (ALLOWED, OPERATED) for trial, must in landscape.expected(paths).items() if must == "dropped"
    }
    deadline = time.monotonic() + 10
    while True:
        came = landscape.attempt(trials)
        reached = {trial[1:] for trial, outcome in came.items() if outcome != "dropped"}
        if not reached or time.monotonic() > deadline:
            return {trial for trial in closed if trial[1:] in reached}


def _bare(policy: Object) -> Object:
    metadata = {key: policy["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    return {**policy, "metadata": metadata}
