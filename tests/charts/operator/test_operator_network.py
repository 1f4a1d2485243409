"""Whom the operator may talk to: the whole list, as data, and no path beside it (S10).."""

from __future__ import annotations

from tests.charts.objects import of_kind, pods
from tests.charts.operator.conftest import Render
from tests.charts.policies import paths_in
from tests.support.network_paths import ANYWHERE, OPERATOR_PATHS, Paths

_INGRESS = "in"


def _closed(paths: Paths) -> Paths:
    """The same where nobody reads metrics."""
    return {name: frozenset(each for each in ways if each[0] != _INGRESS) for name, ways in paths.items()}


def test_the_paths_are_these(render: Render) -> None:
    """Both directions: to DNS and the API server, and Prometheus to the metrics."""
    assert paths_in(render("monitoring")) == OPERATOR_PATHS


def test_without_a_prometheus_nobody_is_let_in(render: Render) -> None:
    """The probes come from the node, which no policy closes."""
    assert paths_in(render("minimal", "networkPolicy.enabled=true")) == _closed(OPERATOR_PATHS)


def test_the_api_server_may_be_named(render: Render) -> None:
    """Then nothing else is reached at its ports, and they may be others."""
    server = "networkPolicy.kubernetesApi.to[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=server"
    found = paths_in(render("monitoring", server, "networkPolicy.kubernetesApi.ports=[8443]"))["operator"]

    assert ("out", "server", (8443,)) in found
    assert not [each for each in found if each[1] == ANYWHERE]


def test_the_policy_is_of_every_pod(render: Render) -> None:
    """By labels that the pods have."""
    objects = render("monitoring")
    (policy,) = of_kind(objects, "NetworkPolicy").values()
    (deployment,) = of_kind(objects, "Deployment").values()

    assert len(list(pods(objects))) == 1
    selected = policy["spec"]["podSelector"]["matchLabels"].items()
    assert selected <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert policy["metadata"]["namespace"] == deployment["metadata"]["namespace"]


def test_off_by_default(render: Render) -> None:
    """Nothing is closed unasked."""
    assert of_kind(render("minimal"), "NetworkPolicy") == {}
