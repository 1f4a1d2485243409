"""A node is drained and comes back: budgets hold as long as they can, and then everything is Ready again, also what is not ours.

What a drain of the only node does: it asks for every pod to be evicted, and the successors wait for a node. Of two api pods
the budget gives one; for the other it holds the drain up as long as it is Ready. Should the database go as well, nobody is
Ready, and `unhealthyPodEvictionPolicy: AlwaysAllow` lets the rest go: a budget protects who serves, and holds up no drain for
who cannot.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.support.kube.clients import load_on
from tests.support.kube.commands import items, kubectl
from tests.support.kube.installation import Installation
from tests.support.kube.verdicts import judge
from tests.support.ledger import Fault
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.drains, pytest.mark.depth(3), pytest.mark.timeout(900)]

PER_SECOND = 2.0
CONSENT = "TEST_CLUSTER_MAY_BE_DRAINED"
"""Set to 1 where nobody else works on the cluster: a drain evicts everybody's pods."""
BUDGETED = ("api", "outbox-relay")
"""Parts with more than one pod, and so with a budget."""
MARK = "drain-first"
HELD_UP_SECONDS = 25
DRAIN_SECONDS = 180
BACK_SECONDS = 240.0

Workload = tuple[str, str, str]


def nodes_of(installation: Installation) -> list[str]:
    """Where its pods run."""
    pods = installation.items("pods", "-l", installation.selector)
    return sorted({each["spec"]["nodeName"] for each in pods if each["status"]["phase"] == "Running"})


def others_than(nodes: list[str]) -> bool:
    """Whether pods could go to another node."""
    return any(
        each["metadata"]["name"] not in nodes
        and not each["spec"].get("unschedulable")
        and not each["spec"].get("taints")
        for each in items("nodes")
    )


def available() -> set[Workload]:
    """Deployments and StatefulSets of the whole cluster with all the pods that they should have, but for those that go."""
    ending = {each["metadata"]["name"] for each in items("namespaces") if "deletionTimestamp" in each["metadata"]}
    found = set()
    for each in items("deployments,statefulsets", "--all-namespaces"):
        name = each["metadata"]
        if each["status"].get("readyReplicas", 0) >= each["spec"]["replicas"] > 0 and name["namespace"] not in ending:
            found.add((each["kind"], name["namespace"], name["name"]))
    return found


@contextmanager
def back_in_service(nodes: list[str]) -> Iterator[None]:
    """Whatever happens in the block, the nodes take pods again after it."""
    try:
        yield
    finally:
        kubectl("uncordon", *nodes)


def drain(*arguments: str) -> subprocess.Popen[str]:
    """`kubectl drain`, begun."""
    command = ["kubectl", "drain", "--ignore-daemonsets", "--delete-emptydir-data", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def least_ready(installation: Installation, draining: subprocess.Popen[str]) -> dict[str, int]:
    """The smallest number of Ready pods that each part with a budget had until the drain ended."""
    least = {part: len(installation.pods(part)) for part in BUDGETED}
    while draining.poll() is None:
        for part in BUDGETED:
            least[part] = min(least[part], len(installation.pods(part)))
    return least


@pytest.mark.skipif(
    os.environ.get(CONSENT) != "1", reason=f"the cluster may be somebody's: {CONSENT}=1 lets its node be drained"
)
def test_a_drained_node_comes_back(whole: Installation) -> None:
    """First only what has a budget, under load: one of each stays, and no request fails. Then everything, and back."""
    nodes, before = nodes_of(whole), available()
    user, seconds = uuid4(), {}
    for part in BUDGETED:
        whole.kubectl("label", "pod", *whole.pod_names(part), f"{MARK}=true")
    with back_in_service(nodes):
        token = whole.token(user, tier="PREMIUM")
        with load_on(whole.namespace, url=whole.url, token=token, per_second=PER_SECOND, reads=True) as load:
            begun = time.monotonic()
            first = drain(*nodes, f"--pod-selector={MARK}=true", f"--timeout={HELD_UP_SECONDS}s")
            least = least_ready(whole, first)
            held_up = first.communicate(timeout=30)[0]
            seconds["budgets"] = time.monotonic() - begun
            report = load.report()
        begun = time.monotonic()
        second = drain(*nodes, "--force", f"--timeout={DRAIN_SECONDS}s")
        said = second.communicate(timeout=DRAIN_SECONDS + 30)[0]
        seconds["drain"] = time.monotonic() - begun
        left = [name for part in whole.processes() for name in running_on(whole, part, nodes)]
    begun = time.monotonic()
    eventually_sync(lambda: available() >= before, within=BACK_SECONDS, every=1)
    seconds["back"] = time.monotonic() - begun
    whole.wait_ready(seconds=180)
    begun = time.monotonic()
    verdict = judge(whole, [report["journal"]], user, [Fault("drained", 1, int(second.returncode == 0))], within=120)
    seconds["rest"] = time.monotonic() - begun
    steps = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items())
    print(f"\n{report['attempts']} requests, longest {report['longest_seconds']:.2f} s; {steps}\n{verdict}")

    assert report["failures"] == []
    assert min(least.values()) >= 1, least
    if not others_than(nodes):
        assert first.returncode != 0, held_up
        assert "violate the pod's disruption budget" in held_up
    assert second.returncode == 0, said
    assert left == []
    assert verdict.passed, str(verdict)
    assert not verdict.failed, str(verdict)


def running_on(installation: Installation, part: str, nodes: list[str]) -> list[str]:
    """Pods of a part that still run on one of the nodes."""
    pods = installation.pods(part, running=False)
    return [each["metadata"]["name"] for each in pods if each["spec"].get("nodeName") in nodes]
