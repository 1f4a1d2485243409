"""Rendered NetworkPolicies, read as the allow lists of tests/support/network_paths.py are written."""

from __future__ import annotations

from tests.charts.objects import Object, of_kind
from tests.support.network_paths import ANYWHERE, Way

PUBLIC = ["0.0.0.0/0", "2000::/3"]
"""What a policy calls the public internet, by IPv4 and IPv6."""
_COMPONENT = "app.kubernetes.io/component"


def _peers(peer: Object) -> set[str]:
    if "ipBlock" in peer:
        assert peer["ipBlock"]["cidr"] in PUBLIC
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


def _paths(policy: Object) -> frozenset[Way]:
    found: set[Way] = set()
    for way, rules, peers in (("in", policy.get("ingress", []), "from"), ("out", policy["egress"], "to")):
        for rule in rules:
            ports = tuple(each["port"] for each in rule["ports"])
            names = {name for peer in rule[peers] for name in _peers(peer)} if peers in rule else {ANYWHERE}
            found |= {(way, name, ports) for name in names}
    return frozenset(found)


def paths_in(objects: list[Object]) -> dict[str, frozenset[Way]]:
    """What the NetworkPolicies among the objects allow, by component, as the allow lists of tests/support have it."""
    policies = of_kind(objects, "NetworkPolicy").values()
    assert all(each["spec"]["policyTypes"] == ["Ingress", "Egress"] for each in policies)
    return {each["spec"]["podSelector"]["matchLabels"][_COMPONENT]: _paths(each["spec"]) for each in policies}
