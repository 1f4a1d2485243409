"""What the operator may do: the whole list, as data, whatever the values (reliability S11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.conftest import rendered
from tests.charts.objects import of_kind
from tests.charts.operator.conftest import AttemptIn, Render, values_files
from tests.support.fences import fences
from tests.support.servers import REPOSITORY

Rules = list[dict[str, Any]]

_OURS = ("databasemigrations", "retentionpolicies", "alertpolicies")
WORK: Rules = [
    {"apiGroups": ["ops.coursegen.dev"], "resources": [*_OURS], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["ops.coursegen.dev"], "resources": [f"{each}/status" for each in _OURS], "verbs": ["patch"]},
    {"apiGroups": ["ops.coursegen.dev"], "resources": [f"{each}/finalizers" for each in _OURS], "verbs": ["update"]},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch", "create", "delete"]},
    {"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": ["get", "list", "watch", "create", "patch"]},
    {
        "apiGroups": ["monitoring.coreos.com"],
        "resources": ["prometheusrules"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": ["monitoring.coreos.com"], "resources": ["prometheuses", "thanosrulers"], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["list", "create", "patch"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
]
"""Who adds one here has thought about what it opens: no wildcard, no Secret."""
LEADER: Rules = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": ["op-coursegen-operator"],
        "verbs": ["get", "update"],
    },
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
]


def test_the_rules_of_a_cluster_are_the_reviewed_ones(render: Render) -> None:
    """And everybody's own view, edit and admin learn of the three kinds."""
    objects = render("minimal")
    roles = of_kind(objects, "ClusterRole")

    assert {name: each["rules"] for name, each in of_kind(objects, "Role").items()} == {
        "op-coursegen-operator-leader": LEADER
    }
    assert roles["ops-op-coursegen-operator"]["rules"] == WORK
    assert (
        roles["ops-op-coursegen-operator-view"]["metadata"]["labels"].items()
        >= {"rbac.authorization.k8s.io/aggregate-to-view": "true"}.items()
    )
    assert {each["roleRef"]["name"] for each in of_kind(objects, "ClusterRoleBinding").values()} == {
        "ops-op-coursegen-operator"
    }


def test_the_kinds_are_read_and_written_by_those_who_may_read_and_write(render: Render) -> None:
    """Who may view sees the three kinds, who may edit or administer writes them, and nobody writes their status."""
    roles = of_kind(render("minimal"), "ClusterRole")
    found = {}
    for name in ("view", "edit"):
        role = roles[f"ops-op-coursegen-operator-{name}"]
        (rule,) = role["rules"]
        assert (rule["apiGroups"], rule["resources"]) == (["ops.coursegen.dev"], [*_OURS])
        prefix = "rbac.authorization.k8s.io/aggregate-to-"
        joins = {key.removeprefix(prefix) for key in role["metadata"]["labels"] if key.startswith(prefix)}
        found[name] = (joins, rule["verbs"])

    assert found == {
        "view": ({"view", "edit", "admin"}, ["get", "list", "watch"]),
        "edit": ({"edit", "admin"}, ["create", "update", "patch", "delete", "deletecollection"]),
    }
    assert len(of_kind(render("minimal", "rbac.aggregate=false"), "ClusterRole")) == 1


def test_releases_with_long_names_share_no_cluster_role(attempt_in: AttemptIn) -> None:
    """Two in namespaces that differ in what is cut off; every name with -view or -edit is of at most 63 characters."""
    made = [rendered(attempt_in(f"{'n' * 61}{each}", "fullnameOverride=" + "x" * 40)) for each in "ab"]
    names = [
        {each["metadata"]["name"] for each in objects if each["kind"].startswith("ClusterRole")} for objects in made
    ]

    assert [len(each) for each in names] == [3, 3]
    assert names[0].isdisjoint(names[1])
    assert max(map(len, names[0] | names[1])) <= 63
    (binding,) = of_kind(made[0], "ClusterRoleBinding").values()
    assert binding["roleRef"]["name"] in of_kind(made[0], "ClusterRole")


def test_without_the_cluster_there_is_no_cluster_role(render: Render) -> None:
    """One Role in each watched namespace, and nothing that belongs to all of them."""
    objects = render("namespaced")
    roles = [each for each in objects if each["kind"] == "Role"]

    assert {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in roles} == {
        ("ops", "op-coursegen-operator-leader"),
        ("courses", "op-coursegen-operator"),
        ("more-courses", "op-coursegen-operator"),
    }
    assert all(each["rules"] == WORK for each in roles if each["metadata"]["namespace"] != "ops")
    assert not {"ClusterRole", "ClusterRoleBinding"} & {each["kind"] for each in objects}


def test_who_installs_needs_a_role_then(render: Render) -> None:
    """The one on the operator's page is what `edit` would have of the kinds, bound to somebody, in a namespace."""
    page = (REPOSITORY / "docs" / "OPERATOR.md").read_text(encoding="utf-8")
    (shown,) = (each.text for each in fences(page) if each.language == "yaml" and "kind: RoleBinding" in each.text)
    role, binding = yaml.safe_load_all(shown)
    (rule,) = role["rules"]
    edit = [
        each
        for each in of_kind(render("minimal"), "ClusterRole").values()
        if "rbac.authorization.k8s.io/aggregate-to-edit" in each["metadata"]["labels"]
    ]

    assert rule["apiGroups"] == ["ops.coursegen.dev"]
    assert rule["resources"] == [*_OURS]
    assert set(rule["verbs"]) == {verb for each in edit for own in each["rules"] for verb in own["verbs"]}
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])
    assert binding["metadata"]["namespace"] == role["metadata"]["namespace"] == "courses"


def test_nothing_named_is_the_own_namespace(render: Render) -> None:
    """`scope: namespaced` alone looks after the release's namespace; the process is told the same."""
    objects = render("minimal", "scope=namespaced")
    settings = of_kind(objects, "ConfigMap")["op-coursegen-operator"]["data"]

    assert {each["metadata"]["namespace"] for each in objects if each["kind"] == "Role"} == {"ops"}
    assert settings["OPERATOR_WATCH_NAMESPACES"] == "ops"
    assert of_kind(render("minimal"), "ConfigMap")["op-coursegen-operator"]["data"]["OPERATOR_WATCH_NAMESPACES"] == ""


@pytest.mark.parametrize("file", values_files(), ids=lambda each: each.stem)
def test_no_wildcard_and_no_secret(render: Render, file: Path) -> None:
    """In any role, whatever the values."""
    objects = render(file.stem.removesuffix("-values"))
    rules = [rule for each in objects if each["kind"] in {"Role", "ClusterRole"} for rule in each["rules"]]

    assert rules
    for rule in rules:
        words = [word for values in rule.values() for word in values]
        assert not [word for word in words if "*" in word or "secrets" in word]
