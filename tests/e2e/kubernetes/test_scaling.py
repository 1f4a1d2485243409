"""More workers and fewer, by hand and by load: nothing is lost, nothing is refused, nothing is charged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.clusters import refuse
from tests.support.kube.clients import load_on
from tests.support.kube.commands import CommandFailed, run
from tests.support.kube.endings import Endings, assert_ended_well
from tests.support.kube.installation import Installation
from tests.support.kube.values import Values
from tests.support.kube.verdicts import charged, judge
from tests.support.ledger import Fault
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.scaling, pytest.mark.timeout(900)]

QUEUES = ("analysis", "generation")
"""Those through which a course from a title goes."""
WORKERS = f"app.kubernetes.io/component in ({', '.join(f'worker-{each}' for each in QUEUES)})"
END_SECONDS = 28.0
"""From the wish to end a worker to its end (R11)."""
WAITING = 20
"""Jobs that pile up while nobody works."""

_WAITING = """
local sum = 0
for priority = 0, 10 do sum = sum + redis.call('LLEN', KEYS[1] .. ':' .. priority) end
return sum
"""


@pytest.mark.no_second_try
def test_workers_from_one_to_four_to_none_and_back(whole: Installation) -> None:
    """Orders come in all along; without workers they wait, and are done after the return, once; every worker exits 0."""
    user = uuid4()
    with Endings(whole.namespace, selector=WORKERS) as endings:
        with load_on(whole.namespace, url=whole.url, token=whole.token(user), per_second=2, insist=True) as load:
            scale(whole, 4)
            whole.rolled_out(*(f"worker-{each}" for each in QUEUES))
            workers = names(whole)
            eventually_sync(lambda: done(whole, user) > 0, within=120, every=0.5)
            scale(whole, 0)
            assert_ended_well(endings.of(workers), within=END_SECONDS)
            before = done(whole, user)
            eventually_sync(lambda: waiting(whole) >= WAITING, within=120, every=0.5)
            assert done(whole, user) == before
            scale(whole, 1)
            whole.rolled_out(*(f"worker-{each}" for each in QUEUES))
            report = load.report()
        verdict = judge(whole, [report["journal"]], user, [Fault("worker ended", len(workers), len(endings.gone()))])
    print(f"{len(report['accepted'])} orders, longest answer {report['longest_seconds']:.2f} s; {verdict}")

    assert len(workers) == 4 * len(QUEUES)
    assert report["failures"] == []
    assert verdict.passed, verdict
    assert not verdict.failed, verdict
    assert not verdict.dead, verdict
    assert verdict.acked == len(report["accepted"]) > WAITING
    assert charged(whole, user) == []


def test_the_next_upgrade_after_a_number_was_set_by_hand(whole: Installation) -> None:
    """From 0 it puts the values' number back; any other Helm 4 refuses until the values say it, or it is taken back."""
    worker, usual, more = "persistence-worker", 2, 3
    try:
        for number in (0, more):
            by_hand(whole, worker, number)
        whole.install()
        assert replicas(whole, worker) == usual

        by_hand(whole, worker, more)
        if _applies_on_the_server(whole):
            with pytest.raises(CommandFailed, match=r"\.spec\.replicas"):
                whole.install()
        whole.install({"persistenceWorker": {"replicaCount": more}})
        assert replicas(whole, worker) == more
        by_hand(whole, worker, usual)
        whole.install()
        assert replicas(whole, worker) == usual
    finally:
        by_hand(whole, worker, usual)
        whole.install(flags=("--force-conflicts",) if _applies_on_the_server(whole) else ())


MEASURED_SECONDS = 90.0
GROWN_SECONDS = 90.0
SHRUNK_SECONDS = 120.0
MOST = 3
_AT_ONCE: Values = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": MOST, "periodSeconds": 15}]}
_AUTOSCALING: Values = {
    "enabled": True,
    "minReplicas": 1,
    "maxReplicas": MOST,
    "targetCPUUtilizationPercentage": 300,
    "behavior": {"scaleUp": _AT_ONCE, "scaleDown": _AT_ONCE},
}
"""Of requests of 5m, three times what a pod that has nothing to do uses."""
AUTOSCALED: Values = {
    "api": {"autoscaling": _AUTOSCALING},
    "stageWorker": {"queues": {"generation": {"autoscaling": _AUTOSCALING}}},
}


@pytest.fixture
def autoscaled(whole: Installation) -> Iterator[Installation]:
    """The shared installation with the api and the workers of generation scaled by CPU; as it was when the test ends."""
    if not answers("get", "apiservice", "v1beta1.metrics.k8s.io"):
        refuse(
            "the cluster has no metrics API; install metrics-server: https://github.com/kubernetes-sigs/metrics-server"
        )
    # Its pod may have moved a moment ago, with the node's.
    eventually_sync(
        lambda: answers("get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"), within=MEASURED_SECONDS, every=1
    )
    # A field that only Helm has set would go back to 1 pod when the chart leaves it out; one that was changed by hand stays.
    whole.kubectl("scale", f"deployment/{whole.fullname}-api", f"--replicas={MOST}")
    whole.install(AUTOSCALED)
    assert replicas(whole, "api") == MOST or not _applies_on_the_server(whole)
    yield whole
    whole.install(flags=("--force-conflicts",) if _applies_on_the_server(whole) else ())


_FOUND: list[dict[str, Any]] = []
"""What the two loads of the next test reported."""


def test_pods_grow_under_load_and_shrink_after_it(autoscaled: Installation) -> None:
    """Up within 90 s, down within 120 s, no request refused meanwhile; and an upgrade leaves their number alone."""
    api, workers = "api", "worker-generation"
    token = autoscaled.token(uuid4())
    eventually_sync(lambda: replicas(autoscaled, api) == 1, within=SHRUNK_SECONDS, every=1)
    with load_on(autoscaled.namespace, url=autoscaled.url, token=token, per_second=0.25, name="few") as few:
        began = time.monotonic()
        with load_on(autoscaled.namespace, url=autoscaled.url, token=token, per_second=8, name="many") as many:
            grown = max(
                _seconds_until(began, GROWN_SECONDS, lambda: replicas(autoscaled, api) == MOST),
                _seconds_until(began, GROWN_SECONDS, lambda: replicas(autoscaled, workers) > 1),
            )
            autoscaled.rolled_out(api, workers)
            changed, number = generation(autoscaled), replicas(autoscaled, api)
            autoscaled.install(AUTOSCALED, {"revisionHistoryLimit": 4})
            kept = generation(autoscaled) > changed and replicas(autoscaled, api) == number
            _FOUND.append(many.report())
        began = time.monotonic()
        shrunk = max(
            _seconds_until(began, SHRUNK_SECONDS, lambda name=each: replicas(autoscaled, name) == 1)
            for each in (api, workers)
        )
        _FOUND.append(few.report())
    print(f"{sum(each['attempts'] for each in _FOUND)} requests; up in {grown:.0f} s, down in {shrunk:.0f} s")

    assert grown <= GROWN_SECONDS
    assert shrunk <= SHRUNK_SECONDS
    assert kept
    assert [each["failures"] for each in _FOUND] == [[], []]


@pytest.mark.no_second_try
def test_pods_that_come_and_go_turn_no_request_away() -> None:
    """Of the test before: that it took too long may be the machine's fault, a request that failed is not."""
    if len(_FOUND) < 2:
        pytest.skip("the test before this one has not come so far")

    assert [each["failures"] for each in _FOUND] == [[], []]


def _seconds_until(began: float, limit: float, check: Callable[[], bool]) -> float:
    """How long it took; infinite when it took too long, which is said in the end."""
    try:
        eventually_sync(check, within=limit, every=1)
    except AssertionError:
        return math.inf
    return time.monotonic() - began


def answers(*arguments: str) -> bool:
    """Whether kubectl gets an answer."""
    return run(["kubectl", *arguments], check=False).returncode == 0


def replicas(installation: Installation, component: str) -> int:
    """How many pods its Deployment is to have."""
    return int(deployment(installation, component)["spec"]["replicas"])


def generation(installation: Installation) -> int:
    """How often the specification of the api's Deployment was changed."""
    return int(deployment(installation, "api")["metadata"]["generation"])


def deployment(installation: Installation, component: str) -> dict[str, Any]:
    """The Deployment of a component."""
    return installation.get("deployment", f"{installation.fullname}-{component}")


def _applies_on_the_server(installation: Installation) -> bool:
    return "--force-conflicts" in installation.helm("upgrade", "--help")  # Helm 4


def by_hand(installation: Installation, component: str, replicas: int) -> None:
    """As an operator scales one Deployment."""
    installation.kubectl("scale", f"deployment/{installation.fullname}-{component}", f"--replicas={replicas}")


def scale(installation: Installation, replicas: int) -> None:
    """As an operator scales workers."""
    installation.kubectl("scale", "deployment", "-l", WORKERS, f"--replicas={replicas}")


def names(installation: Installation) -> set[str]:
    """The workers that are ready."""
    return {each["metadata"]["name"] for queue in QUEUES for each in installation.pods(f"worker-{queue}")}


def done(installation: Installation, user: UUID) -> int:
    """The user's jobs that are done."""
    mine = f"SELECT id FROM courses WHERE user_id = '{user}'"
    return int(installation.sql(f"SELECT count(*) FROM effect_ledger WHERE course_id IN ({mine})"))


def waiting(installation: Installation) -> int:
    """Jobs that wait in Redis for the first of the stages."""
    return int(installation.redis("EVAL", _WAITING, "1", "saq:course-generation:analysis:queued"))
