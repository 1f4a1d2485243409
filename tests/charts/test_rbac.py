"""What the chart's service accounts may do: the whole list, as data, whatever the values (reliability S11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.conftest import Render, values_files
from tests.charts.objects import of_kind


def reviewed(lease: str) -> dict[str, list[dict[str, Any]]]:
    """Component → its rules, with a Lease. Who adds one here has thought about what it opens: no wildcard, no Secrets."""
    by_name = {"resources": ["leases"], "resourceNames": [lease], "verbs": ["get", "update"]}
    return {
        "outbox-relay": [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": ["coordination.k8s.io"], **by_name},
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
        ]
    }


@pytest.mark.parametrize("file", values_files(), ids=lambda each: each.stem)
def test_the_rules_are_the_reviewed_ones(render: Render, file: Path) -> None:
    """With a Lease these and no other; without one none. Nothing is granted outside the namespace."""
    objects = render(file)
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    mode = values.get("leaderElection", {}).get("mode", "lease")
    lease = f"{values.get('fullnameOverride', 'cg-coursegen')}-outbox-relay"

    found = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["rules"]
        for each in of_kind(objects, "Role").values()
    }
    assert found == (reviewed(lease) if mode == "lease" else {})
    assert not {"ClusterRole", "ClusterRoleBinding"} & {each["kind"] for each in objects}


def test_a_role_is_bound_to_its_own_account(render: Render) -> None:
    """The relay's, in the relay's namespace."""
    objects = render("ha")
    (binding,) = of_kind(objects, "RoleBinding").values()
    (role,) = of_kind(objects, "Role").values()

    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "cg-coursegen-outbox-relay", "namespace": "courses"}
    ]
    pod = of_kind(objects, "Deployment")["cg-coursegen-outbox-relay"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "cg-coursegen-outbox-relay"


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
