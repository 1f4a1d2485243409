"""The profile `operator` of skaffold.yaml, beside the one that pushes to a registry: two releases, and every resource Ready.

It brings the kinds, as only one at a time may, so it goes by hand, and before those that keep an operator to their end:
`make prove-operator`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.kube.commands import items, kubectl
from tests.support.kube.installation import own_namespace
from tests.support.kube.operator import KINDS, OperatorRelease, condition, kinds_there
from tests.support.kube.skaffold import Skaffold, require_skaffold
from tests.support.waiting import eventually_sync

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.alone,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get("PROVE_OPERATOR"), reason="a proof that runs by hand: make prove-operator"),
]

WITH_OPERATOR = ("-p", "operator")
"""Beside `-p local`, which the command has."""
RUN_SECONDS = 900.0
GONE_SECONDS = 90.0


@pytest.fixture
def skaffold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Skaffold]:
    """In a namespace of the restricted standard; the kinds, which outlive their release, go with it."""
    require_skaffold()
    with own_namespace("skaffold-operator") as namespace:
        try:
            yield Skaffold(namespace, tmp_path_factory.mktemp("skaffold"))
        finally:
            OperatorRelease(namespace).remove_kinds()


def test_run_brings_the_operator_and_what_it_looks_after(skaffold: Skaffold) -> None:
    """`skaffold run` ends when all five resources are Ready; `skaffold delete` leaves nothing but the kinds."""
    skaffold("run", *WITH_OPERATOR, "--skip-tests", seconds=RUN_SECONDS)

    states = {each["name"]: each["status"] for each in skaffold.releases()}
    assert states == {"coursegen": "deployed", "coursegen-operator": "deployed"}
    found = [each for kind in KINDS for each in items("-n", skaffold.namespace, kind)]
    assert len(found) == 5
    assert {condition(each, "Ready")["status"] for each in found} == {"True"}

    skaffold("delete", *WITH_OPERATOR)

    assert skaffold.releases() == []
    assert set(kinds_there()) == set(KINDS)
    listed = ("-n", skaffold.namespace, "get", "all,coursegen", "-o", "name")
    eventually_sync(lambda: not kubectl(*listed).split(), within=GONE_SECONDS, every=1)
