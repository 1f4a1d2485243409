"""Pods that die without a word, ours and the servers': nothing is lost, nothing is done twice, all is Ready again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest

from tests.support.kube.clients import client_pod, load_on
from tests.support.kube.installation import Installation, is_ready
from tests.support.kube.verdicts import judge
from tests.support.ledger import Fault
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive, pytest.mark.depth(2), pytest.mark.timeout(900)]

PER_SECOND = 1.5
"""Orders of each client, which repeats one under its key until it is accepted."""
BACK_SECONDS = 60.0
"""R7: what an emptied Redis has lost is in its queues again."""
JOBS = 12
ANALYSIS = "saq:job:course-generation:analysis:*"
_ASKED = """
import os, sys, httpx
url, token, course = sys.argv[1:]
with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
    health = client.get("/api/trpc/metrics.healthCheck")
    order = {"courseId": course, "title": "Ordered while nobody relays", "hasFiles": False}
    initiated = client.post("/api/trpc/generation.initiate", json=order)
print(health.status_code, initiated.status_code)
"""
"""Runs in a pod: what the api says of itself, and whether it takes a course, by the Service's name."""


def kill(installation: Installation, pod: str) -> str:
    """`kubectl delete --grace-period=0 --force`; the dead pod's uid."""
    uid = installation.get("pod", pod)["metadata"]["uid"]
    installation.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")
    return str(uid)


def victim(installation: Installation, part: str) -> str:
    """A pod of a part; of the relays the one that leads."""
    names = [each["metadata"]["name"] for each in installation.pods(part)]
    if part == "outbox-relay":
        lease = installation.get("lease", f"{installation.fullname}-outbox-relay")
        holder = str(lease["spec"]["holderIdentity"]).partition("_")[0]
        assert holder in names
        return holder
    return names[0]


def whole_again(installation: Installation, part: str, dead: str) -> bool:
    """Whether as many pods are Ready as there should be, none of them the dead one."""
    ready = {each["metadata"]["uid"] for each in installation.pods(part)}
    wanted = installation.get("deployment", f"{installation.fullname}-{part}")["spec"]["replicas"]
    return dead not in ready and len(ready) == wanted


def test_killed_pods_lose_nothing_and_do_nothing_twice(whole: Installation) -> None:
    """One of each process, the leading relay among them, Redis, and PostgreSQL, while clients insist on their orders."""
    user, dead, seconds = uuid4(), [], {}
    token = whole.token(user, tier="PREMIUM")
    parts = [*whole.processes(), "redis"]
    with load_on(whole.namespace, url=whole.url, token=token, per_second=PER_SECOND, insist=True) as load:
        for part in parts:
            begun = time.monotonic()
            uid = kill(whole, victim(whole, part))
            eventually_sync(lambda part=part, uid=uid: whole_again(whole, part, uid), within=90, every=0.5)
            dead.append(uid)
            seconds[part] = time.monotonic() - begun
        begun = time.monotonic()
        dead.append(kill_postgresql(whole))
        seconds["postgresql"] = time.monotonic() - begun
        whole.wait_ready(seconds=180)
        report = load.report()

    begun = time.monotonic()
    faults = [Fault("killed", len(parts) + 1, len(set(dead)))]
    verdict = judge(whole, [report["journal"]], user, faults, within=90)
    steps = ", ".join(f"{part} {took:.0f} s" for part, took in seconds.items())
    print(f"\nReady again after: {steps}; at rest after {time.monotonic() - begun:.0f} s; {report['attempts']} requests, "
          f"longest {report['longest_seconds']:.2f} s\n{verdict}")  # fmt: skip
    assert report["failures"] == []
    assert verdict.passed, str(verdict)
    assert not verdict.failed, str(verdict)
    assert verdict.acked == len(report["accepted"]) > 0


def kill_postgresql(installation: Installation) -> str:
    """Kill PostgreSQL a second after it was asked to go; returns the dead pod's uid once its successor is Ready.

    Not with `--force`: Kubernetes would then start the successor beside it, on the same volume, and warns of that.
    """
    pod = f"{installation.fullname}-postgresql-0"
    dead = str(installation.get("pod", pod)["metadata"]["uid"])
    installation.kubectl("delete", "pod", pod, "--grace-period=1", "--wait=false")

    def succeeded() -> bool:
        found = installation.items("pods", "-l", f"{installation.selector},app.kubernetes.io/component=postgresql")
        return any(each["metadata"]["uid"] != dead and is_ready(each) for each in found)

    eventually_sync(succeeded, within=120, every=0.5)
    return dead


def test_a_redis_that_comes_back_empty_gets_its_jobs_back(whole: Installation) -> None:
    """Jobs that wait in Redis die with its pod; PostgreSQL knows them, and within a minute they wait again."""
    user = uuid4()
    with without(whole, "worker-analysis"):
        report = order(whole, user)
        eventually_sync(lambda: waiting(whole) >= len(report["accepted"]), within=60, every=0.5)
        uid = kill(whole, victim(whole, "redis"))
        eventually_sync(lambda: whole_again(whole, "redis", uid), within=60, every=0.5)
        begun, at_first = time.monotonic(), waiting(whole)
        eventually_sync(lambda: waiting(whole) >= len(report["accepted"]), within=BACK_SECONDS, every=0.5)
        took = time.monotonic() - begun
    print(f"\n{len(report['accepted'])} jobs back {took:.0f} s after Redis was; {at_first} were there at first")

    verdict = judge(whole, [report["journal"]], user, [Fault("emptied", 1, 1)], within=90)
    assert verdict.passed, str(verdict)
    assert verdict.acked == len(report["accepted"]) >= JOBS


@contextmanager
def without(installation: Installation, part: str) -> Iterator[None]:
    """No pod of a part while the block runs."""
    name = f"deployment/{installation.fullname}-{part}"
    before = installation.get(name)["spec"]["replicas"]
    installation.kubectl("scale", name, "--replicas=0")
    try:
        eventually_sync(lambda: not installation.pods(part, running=False), within=60, every=0.5)
        yield
    finally:
        installation.kubectl("scale", name, f"--replicas={before}")


def order(installation: Installation, user: UUID) -> dict[str, list[str]]:
    """Some courses, all accepted."""
    token = installation.token(user, tier="PREMIUM")
    with load_on(installation.namespace, url=installation.url, token=token, per_second=5) as load:
        counted = f"SELECT count(*) FROM courses WHERE user_id = '{user}'"
        eventually_sync(lambda: int(installation.sql(counted)) >= JOBS, within=30, every=0.5)
        report = load.report()
    assert report["failures"] == []
    return report


def waiting(installation: Installation) -> int:
    """Jobs of the first stage that Redis knows."""
    return int(installation.redis("EVAL", "return #redis.call('KEYS', ARGV[1])", "0", ANALYSIS))


def test_without_a_relay_the_api_takes_work_and_stays_in_its_service(whole: Installation) -> None:
    """TRAP40: it says that it is not healthy, and is Ready all the same; what it has taken goes out once a relay is back."""
    user, course = uuid4(), uuid4()
    rows = f"SELECT count(*), count(processed_at) FROM job_outbox WHERE entity_id = '{course}'"
    api = whole.pod_names("api")
    with client_pod(whole.namespace, "buyer") as buyer:
        with without(whole, "outbox-relay"):
            said = [buyer.python(_ASKED, whole.url, whole.token(user), str(course)).split() for _ in range(2)]
            ready = {each["metadata"]["name"] for each in whole.pods("api")}
            waiting_rows = whole.sql(rows)
        eventually_sync(lambda: not whole.sql(rows).endswith("|0"), within=90, every=0.5)

    assert said == [["503", "200"]] * 2
    assert ready == api
    assert len(api) == 2
    assert waiting_rows == "1|0"
