"""What the chart's service accounts may do: the whole list, as data, whatever the values (reliability S11)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from operators.coursegen_operator.resources import OWN_TYPES
from tests.charts.conftest import Render, values_files
from tests.charts.objects import of_kind, pods

_PLURALS = {each.kind: each.plural for each in OWN_TYPES}


def reviewed(lease: str, resources: Mapping[str, list[str]]) -> dict[str, list[dict[str, Any]]]:
    """Component → its rules, with a Lease (its name) and with resources of the operator's (kind → names).

    Who adds one here has thought about what it opens: no wildcard, no Secrets.
    """
    by_name = {"resources": ["leases"], "resourceNames": [lease], "verbs": ["get", "update"]}
    relay = [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], **by_name},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]
    test = [
        {"apiGroups": ["ops.coursegen.dev"], "resources": [kind], "resourceNames": names, "verbs": ["get"]}
        for kind, names in sorted(resources.items())
    ]
    return ({"outbox-relay": relay} if lease else {}) | ({"test-resources": test} if resources else {})


@pytest.mark.parametrize("file", values_files(), ids=lambda each: each.stem)
def test_the_rules_are_the_reviewed_ones(render: Render, file: Path) -> None:
    """The relay's with a Lease, the test's with resources, and no other. Nothing is granted outside the namespace."""
    objects = render(file)
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    mode = values.get("leaderElection", {}).get("mode", "lease")
    lease = f"{values.get('fullnameOverride', 'cg-coursegen')}-outbox-relay" if mode == "lease" else ""
    resources: dict[str, list[str]] = {}
    if values.get("tests", {}).get("enabled", True):
        for each in sorted(objects, key=lambda each: str(each["metadata"]["name"])):
            if each["apiVersion"].startswith("ops.coursegen.dev/"):
                resources.setdefault(_PLURALS[each["kind"]], []).append(each["metadata"]["name"])

    found = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["rules"]
        for each in of_kind(objects, "Role").values()
    }
    assert found == reviewed(lease, resources)
    assert not {"ClusterRole", "ClusterRoleBinding"} & {each["kind"] for each in objects}


def test_a_role_is_bound_to_its_own_account(render: Render) -> None:
    """The relay's and the test's, each in the release's namespace."""
    objects = render("ha")
    bindings, roles = of_kind(objects, "RoleBinding"), of_kind(objects, "Role")

    assert bindings.keys() == roles.keys() == {"cg-coursegen-outbox-relay", "cg-coursegen-test-resources"}
    for name, binding in bindings.items():
        assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": "courses"}]
    accounts = {name: pod["serviceAccountName"] for name, pod in pods(objects)}
    assert {name: accounts[name] for name in roles} == {name: name for name in roles}


def test_roles_and_accounts_may_be_yours(render: Render) -> None:
    """With `rbac.create` and `serviceAccount.create` off nothing is made, and pods run as the account that is named."""
    sets = ["rbac.create=false", "outboxRelay.serviceAccount.create=false", "outboxRelay.serviceAccount.name=mine"]
    objects = render("ha", *sets)

    assert of_kind(objects, "Role") == of_kind(objects, "RoleBinding") == {}
    assert "cg-coursegen-outbox-relay" not in of_kind(objects, "ServiceAccount")
    pod = of_kind(objects, "Deployment")["cg-coursegen-outbox-relay"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "mine"


@pytest.mark.parametrize("file", values_files(), ids=lambda each: each.stem)
def test_accounts_give_no_token_by_themselves(render: Render, file: Path) -> None:
    """A pod that needs one says so."""
    accounts = of_kind(render(file), "ServiceAccount").values()

    assert accounts
    assert all(each["automountServiceAccountToken"] is False for each in accounts)
