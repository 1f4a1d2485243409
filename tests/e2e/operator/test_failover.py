"""The operator killed and asked to stop, with an edit in each gap: applied once, by whoever leads next (reliability R4)."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.support.kube.installation import Installation
from tests.support.kube.operator import OperatorRelease, reads
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.disruptive, pytest.mark.timeout(1800)]

ROUNDS = int(os.environ.get("PROVE_OPERATOR", "3"))
KILLED_SECONDS = 20.0
STOPPED_SECONDS = 3.0
BUSY_SECONDS = 10.0
"""What is added to a limit for the time in which the test looks."""


@pytest.mark.parametrize(("signal", "limit"), [("SIGKILL", KILLED_SECONDS), ("SIGTERM", STOPPED_SECONDS)])
def test_an_edit_in_the_gap_is_applied_once(
    operator: OperatorRelease, operated: Installation, signal: str, limit: float
) -> None:
    """The other pod leads within the limit and makes the CronJob what was asked for meanwhile; its generation rises by one."""
    name = str(reads(operated.namespace, "rtp", "outbox")["status"]["cronJobName"])
    took = []
    for minute in range(ROUNDS):
        eventually_sync(lambda: len(operator.pods()) == 2 and operator.leader(), within=120, every=0.5)
        before = operated.get("cronjob", name)["metadata"]["generation"]
        wanted = f"{minute + (0 if signal == 'SIGKILL' else 30)} 2 * * *"
        gone = operator.signal_leader(signal)
        began = time.monotonic()
        operated.kubectl("patch", "rtp/outbox", "--type=merge", "-p", json.dumps({"spec": {"schedule": wanted}}))

        def is_led_by_another(gone: str = gone) -> bool:
            return operator.leader() not in {"", gone} or operator.restarted(gone)

        eventually_sync(is_led_by_another, within=limit + BUSY_SECONDS, every=0.2)
        eventually_sync(
            lambda wanted=wanted: operated.get("cronjob", name)["spec"]["schedule"] == wanted,
            within=limit + BUSY_SECONDS,
            every=0.2,
        )
        took.append(time.monotonic() - began)
        assert operated.get("cronjob", name)["metadata"]["generation"] == before + 1
    print(f"{signal}: an edit was applied after {min(took):.1f} to {max(took):.1f} s")

    assert "finalizers" not in reads(operated.namespace, "rtp", "outbox")["metadata"]
