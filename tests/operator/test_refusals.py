"""A real API server refuses what each rule in CEL forbids, in the words of the rule.

The definitions are registered under a group of the test's own, so that it shares a cluster with an operator.
"""

from __future__ import annotations

import copy
import json
import re
import secrets
from collections.abc import Iterator

import pytest

from operators.coursegen_operator.resources import Object
from operators.coursegen_operator.schemas.crd import definitions
from tests.support.clusters import require_cluster
from tests.support.kube.commands import kubectl, run
from tests.support.kube.installation import own_namespace
from tests.support.kube.operator import await_established
from tests.support.refusals import ACCEPTED, REFUSED, Spec

pytestmark = pytest.mark.cluster

KINDS = {plural: each["spec"]["names"]["kind"] for plural, each in definitions().items()}


@pytest.fixture(scope="module")
def group() -> Iterator[str]:
    """A group that has the three kinds for the time of the module, without their short names."""
    require_cluster()
    group = f"t{secrets.token_hex(3)}.refusals.example"
    made = [_registered(each, group) for each in definitions().values()]
    names = [each["metadata"]["name"] for each in made]
    try:
        kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
        await_established(*names)
        yield group
    finally:
        kubectl("delete", "crd", *names, "--ignore-not-found", "--timeout=60s")


def _registered(definition: Object, group: str) -> Object:
    found = copy.deepcopy(definition)
    names = found["spec"]["names"]
    found["metadata"]["name"] = f"{names['plural']}.{group}"
    found["spec"]["group"] = group
    del names["shortNames"], names["categories"]
    return found


def refusals(group: str, namespace: str, plural: str, specs: list[Spec]) -> dict[str, str]:
    """What the API server says to each of them that it refuses, by its number."""
    items = [
        {
            "apiVersion": f"{group}/v1alpha1",
            "kind": KINDS[plural],
            "metadata": {"name": f"n{number}", "namespace": namespace},
            "spec": spec,
        }
        for number, spec in enumerate(specs)
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    done = run(["kubectl", "create", "--dry-run=server", "-f", "-"], stdin=text, check=False)
    said = re.split(r"\"(n\d+)\" is invalid:", done.stderr)
    assert len(re.findall(r" created \(server dry run\)", done.stdout)) + (len(said) - 1) // 2 == len(specs), (
        done.stderr
    )
    return dict(zip(said[1::2], said[2::2], strict=True))


@pytest.mark.parametrize("plural", KINDS)
def test_what_a_rule_forbids_is_refused_in_its_words(group: str, plural: str) -> None:
    """At the field that the rule belongs to; a spec that breaks none is taken."""
    specs = [ACCEPTED[plural], *({**ACCEPTED[plural], **changes} for _, _, changes in REFUSED[plural])]
    with own_namespace("refusals") as namespace:
        said = refusals(group, namespace, plural, specs)

    assert set(said) == {f"n{number}" for number in range(1, len(specs))}
    for number, (path, message, _) in enumerate(REFUSED[plural], start=1):
        field = re.escape(path).replace(re.escape("[]"), r"\[\d+\]") + r"(\.\w+)*:"
        assert re.search(field, said[f"n{number}"]), (path, said[f"n{number}"])
        assert message in said[f"n{number}"], (message, said[f"n{number}"])
