"""The operator killed and asked to stop, with an edit and a run to be made in each gap: once, by whoever leads next (R4)."""

from __future__ import annotations

import json
import os
import secrets
import time
from datetime import datetime
from typing import Any

import pytest

from operators.coursegen_operator.resources import ANNOTATION_RUN_NOW
from operators.coursegen_operator.retention.cronjob import job_by_annotation_name
from tests.support.kube.commands import kubectl
from tests.support.kube.installation import Installation
from tests.support.kube.operator import PROCESS, OperatorRelease, reads
from tests.support.kube.signals import send
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive, pytest.mark.timeout(1800)]

ROUNDS = int(os.environ.get("PROVE_OPERATOR", "3"))
KILLED_SECONDS = 20.0
STOPPED_SECONDS = 3.0
BUSY_SECONDS = 5.0
"""What is added to a limit for the time in which the test asks and looks."""
APPLIED_SECONDS = 10.0
"""To a child that is as asked for, once somebody leads: as long as a repair may take."""


@pytest.mark.parametrize(("signal", "limit"), [("SIGKILL", KILLED_SECONDS), ("SIGTERM", STOPPED_SECONDS)])
def test_an_edit_in_the_gap_is_applied_once(
    operator: OperatorRelease, operated: Installation, signal: str, limit: float
) -> None:
    """Another process leads within the limit and makes the CronJob what was asked for meanwhile, whose generation rises by one;
    of each value of the annotation that runs the policy it makes one Job, which is the one that is there in the end.
    """
    _both_are_there(operator)
    asked = reads(operated.namespace, "rtp", "outbox")["spec"]["schedule"]
    try:
        _edit_in_gaps(operator, operated, signal, limit)
    finally:
        _ask_for(operated, asked)

    assert "finalizers" not in reads(operated.namespace, "rtp", "outbox")["metadata"]


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("PROVE_OPERATOR"), reason="a proof that runs by hand: make prove-operator")
def test_a_leader_that_was_paused_changes_nothing_when_it_wakes(
    operator: OperatorRelease, operated: Installation
) -> None:
    """SIGSTOP for longer than the Lease lasts: the other one leads and works; the woken one writes nothing and ends."""
    _both_are_there(operator)
    restarts = operator.restarts()
    outbox = reads(operated.namespace, "rtp", "outbox")
    asked, name = outbox["spec"]["schedule"], str(outbox["status"]["cronJobName"])
    holder, paused_at = operator.signal_leader("SIGSTOP")
    pod = holder.rpartition("_")[0]
    try:
        _ask_for(operated, "11 1 * * *")  # what the paused one finds first when it wakes
        lease = _await_another(operator, holder, KILLED_SECONDS + BUSY_SECONDS)
        print(f"SIGSTOP: another one leads after {_acquired(lease) - paused_at:.1f} s")
        for wanted in ("11 1 * * *", "22 2 * * *"):
            _ask_for(operated, wanted)
            _await_schedule(operated, name, wanted)
        before = _versions(operated)
        woken_at = send(operator.namespace, pod, PROCESS, "SIGCONT")
        ended = eventually_sync(lambda: operator.last_end(pod), within=30, every=0.3)
        print(f"woken, it ended after {datetime.fromisoformat(ended['finishedAt']).timestamp() - woken_at:.0f} s")
        time.sleep(BUSY_SECONDS)  # there is nothing to wait for: nothing may happen
        assert _versions(operated) == before
    finally:
        _ask_for(operated, asked)

    assert ended["exitCode"] == 1
    assert operator.lease()["holderIdentity"] == lease["holderIdentity"]
    assert operator.restarts() == {**restarts, pod: restarts[pod] + 1}
    said = kubectl("-n", operator.namespace, "logs", pod, "-c", "operator", "--previous").splitlines()
    logged = [json.loads(line) for line in said if line.startswith("{")]
    late = {each["event"] for each in logged if datetime.fromisoformat(each["timestamp"]).timestamp() >= woken_at}
    assert "stepping down" in late
    assert not late & {"children written", "leading"}
    assert "finalizers" not in outbox["metadata"]


def _versions(operated: Installation) -> dict[str, str]:
    """The version of whatever the operator writes in the namespace, but for migrations, which are checked by the clock."""
    listed = operated.items("retentionpolicies,alertpolicies,cronjobs,prometheusrules")
    return {f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"] for each in listed}


def _await_another(operator: OperatorRelease, gone: str, within: float) -> dict[str, Any]:
    """What the Lease says once another process than `gone` holds it."""

    def another() -> dict[str, Any]:
        lease = operator.lease()
        return lease if lease.get("holderIdentity") not in {None, "", gone} else {}

    found: dict[str, Any] = eventually_sync(another, within=within, every=0.2)
    return found


def _acquired(lease: dict[str, Any]) -> float:
    return datetime.fromisoformat(lease["acquireTime"]).timestamp()


def _edit_in_gaps(operator: OperatorRelease, operated: Installation, signal: str, limit: float) -> None:
    led, applied = [], []
    before_all, made, stem = set(_runs(operated)), {}, secrets.token_hex(2)
    for number in range(ROUNDS):
        _both_are_there(operator)
        outbox = reads(operated.namespace, "rtp", "outbox")
        name, value = str(outbox["status"]["cronJobName"]), f"{stem}-{number}"
        before = operated.get("cronjob", name)["metadata"]["generation"]
        wanted = _another(operated.get("cronjob", name)["spec"]["schedule"], number)
        gone, sent_at = operator.signal_leader(signal)
        _ask_for(operated, wanted)
        operated.kubectl("annotate", "rtp/outbox", f"{ANNOTATION_RUN_NOW}={value}", "--overwrite")

        lease = _await_another(operator, gone, limit + BUSY_SECONDS)
        _await_schedule(operated, name, wanted)
        job = job_by_annotation_name(outbox, value)
        made[job] = _await_run(operated, job, value)
        applied.append(time.time() - sent_at)
        led.append(_acquired(lease) - sent_at)
        assert led[-1] <= limit
        assert operated.get("cronjob", name)["metadata"]["generation"] == before + 1
        _replace(operator, gone)
    runs = _runs(operated)
    assert {job: runs[job] for job in runs if job not in before_all} == made, "a run was made twice, or anew"
    print(
        f"{signal}, {ROUNDS} times: another one leads after {min(led):.1f} to {max(led):.1f} s, "
        f"an edit is applied after {min(applied):.1f} to {max(applied):.1f} s"
    )


def _ask_for(operated: Installation, schedule: str) -> None:
    operated.kubectl("patch", "rtp/outbox", "--type=merge", "-p", json.dumps({"spec": {"schedule": schedule}}))


def _runs(operated: Installation) -> dict[str, str]:
    """The Jobs that the annotation has had made, each with its uid. Those of the CronJob are the CronJob's."""
    jobs = operated.items("jobs", "-l", "ops.coursegen.dev/task=retention")
    return {
        each["metadata"]["name"]: each["metadata"]["uid"]
        for each in jobs
        if any(owner["kind"] == "RetentionPolicy" for owner in each["metadata"].get("ownerReferences", ()))
    }


def _await_run(operated: Installation, job: str, value: str) -> str:
    """Return when the Job of this value is there, and the policy says so; its uid."""

    def is_made() -> str:
        uid = _runs(operated).get(job, "")
        handled = reads(operated.namespace, "rtp", "outbox")["status"].get("lastHandledRunNow")
        assert (bool(uid), handled) == (True, value)
        return uid

    return str(eventually_sync(is_made, within=APPLIED_SECONDS, every=0.2))


def _another(schedule: str, number: int) -> str:
    found = f"{number % 60} 1 * * *"
    return found if found != schedule else f"{number % 60} 5 * * *"


def _await_schedule(operated: Installation, name: str, wanted: str) -> None:
    eventually_sync(
        lambda: operated.get("cronjob", name)["spec"]["schedule"] == wanted, within=APPLIED_SECONDS, every=0.2
    )


def _both_are_there(operator: OperatorRelease) -> None:
    """One leads, the other stands by."""
    eventually_sync(lambda: len(operator.pods()) == 2 and operator.leader(), within=120, every=0.5)


def _replace(operator: OperatorRelease, holder: str) -> None:
    """A new pod for one whose process was ended: the kubelet starts a process that ends often later and later."""
    pod = holder.rpartition("_")[0]
    kubectl("-n", operator.namespace, "delete", "pod", pod, "--wait=false", "--grace-period=1")
    eventually_sync(lambda: pod not in {each["metadata"]["name"] for each in operator.pods()}, within=30, every=0.2)
