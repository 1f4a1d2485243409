"""Rows removed by a CronJob that the operator keeps as it should be."""

from __future__ import annotations

import json

import pytest

from operators.coursegen_operator.resources import ANNOTATION_RUN_NOW
from operators.coursegen_operator.retention.cronjob import job_by_annotation_name
from tests.support.kube.commands import run
from tests.support.kube.installation import Installation
from tests.support.kube.operator import await_condition, condition, reads
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.cluster, pytest.mark.install, pytest.mark.timeout(300)]

REPAIRED_SECONDS = 10.0


def cronjob(installation: Installation) -> str:
    """The name of the CronJob of the policy `idempotency`."""
    return str(reads(installation.namespace, "rtp", "idempotency")["status"]["cronJobName"])


def guarded(installation: Installation, fraction: str) -> None:
    """Have the policy `idempotency` remove no larger share than that."""
    patch = json.dumps({"spec": {"guard": {"maxDeleteFraction": fraction}}})
    installation.kubectl("patch", "rtp/idempotency", "--type=merge", "-p", patch)


def run_now(installation: Installation, value: str) -> str:
    """Have the policy `idempotency` run, and return when its Job is there and the status says so; its name."""
    job = job_by_annotation_name(reads(installation.namespace, "rtp", "idempotency"), value)
    installation.kubectl("annotate", "rtp/idempotency", f"{ANNOTATION_RUN_NOW}={value}", "--overwrite")

    def is_made() -> bool:
        installation.get("job", job)
        return bool(reads(installation.namespace, "rtp", "idempotency")["status"].get("lastHandledRunNow") == value)

    eventually_sync(is_made, within=REPAIRED_SECONDS, every=0.2)
    return job


def test_a_run_by_hand_deletes_what_is_too_old_and_says_so(operated: Installation) -> None:
    """`kubectl create job --from=cronjob/…`: rows deleted and remaining in the status."""
    old = "now() - interval '40 days'"
    operated.sql(
        "INSERT INTO idempotency_keys (idempotency_key, created_at, expires_at) "
        f"SELECT 'old-' || n, {old}, {old} FROM generate_series(1, 30) n"
    )
    operated.sql(
        "INSERT INTO idempotency_keys (idempotency_key, created_at, expires_at) "
        "SELECT 'new-' || n, now(), now() + interval '1 day' FROM generate_series(1, 40) n"
    )

    operated.kubectl("create", "job", f"--from=cronjob/{cronjob(operated)}", "manual-1")

    def told() -> bool:
        run_ = reads(operated.namespace, "rtp", "idempotency")["status"].get("lastRun", {})
        assert run_.get("jobName") == "manual-1", run_
        assert run_["outcome"] == "Succeeded", run_
        assert run_["rowsDeleted"] == 30
        assert run_["rules"][0]["rowsRemaining"] == 40
        return True

    eventually_sync(told, within=90, every=1)
    assert operated.sql("SELECT count(*) FROM idempotency_keys WHERE key LIKE 'old-%'") == "0"
    await_condition(operated.namespace, "rtp", "idempotency", "LastRunSucceeded")


def test_a_guard_refuses_to_delete_most_of_a_table(operated: Installation) -> None:
    """By `run-now`: nothing is deleted, and the condition says what to look at. As the chart has it, all of them may go."""
    operated.sql(
        "UPDATE idempotency_keys SET created_at = now() - interval '40 days', expires_at = now() - interval '39 days'"
    )
    guard = reads(operated.namespace, "rtp", "idempotency")["spec"]["guard"]
    assert (guard["maxDeleteFraction"], guard["freeRows"]) == ("1", 0)
    guarded(operated, "0.5")
    try:
        operated.kubectl("annotate", "rtp/idempotency", "ops.coursegen.dev/run-now=guarded", "--overwrite")

        tripped = await_condition(operated.namespace, "rtp", "idempotency", "GuardTripped", within=90)
        assert "kubectl" in condition(tripped, "GuardTripped")["message"]
        assert operated.sql("SELECT count(*) FROM idempotency_keys") == "40"
    finally:
        guarded(operated, guard["maxDeleteFraction"])


def test_a_run_that_somebody_deletes_is_called_off(operated: Installation) -> None:
    """It is not made again, and the policy stays Ready; the next value of the annotation runs it."""
    namespace = operated.namespace
    first = run_now(operated, "called-off")
    uid = str(operated.get("job", first)["metadata"]["uid"])
    operated.kubectl("delete", "job", first, "--wait=true")
    mark = f"{uid}-looked"
    operated.kubectl("annotate", "rtp/idempotency", f"ops.coursegen.dev/reconcile-at={mark}", "--overwrite")

    def has_looked() -> bool:
        return bool(reads(namespace, "rtp", "idempotency")["status"].get("lastHandledReconcileAt") == mark)

    eventually_sync(has_looked, within=REPAIRED_SECONDS, every=0.2)
    assert first not in {each["metadata"]["name"] for each in operated.items("jobs")}
    assert condition(reads(namespace, "rtp", "idempotency"), "Ready")["status"] == "True"
    assert run_now(operated, "after-all") != first


def test_a_child_that_is_deleted_or_edited_comes_back(operated: Installation) -> None:
    """Within ten seconds, as it should be."""
    name = cronjob(operated)
    schedule = ["-n", operated.namespace, "get", "cronjob", name, "-o", "jsonpath={.spec.schedule}"]

    def is_as_wanted() -> bool:
        return run(["kubectl", *schedule], check=False).stdout == "0 3 * * *"

    def is_told(what: str) -> bool:
        said = operated.kubectl("events", "--for", "rtp/idempotency")
        return f"CronJobRepaired   RetentionPolicy/idempotency   CronJob {name} was {what}" in said

    operated.kubectl("delete", "cronjob", name, "--wait=true")
    eventually_sync(is_as_wanted, within=REPAIRED_SECONDS, every=0.2)
    eventually_sync(lambda: is_told("deleted"), within=REPAIRED_SECONDS, every=0.5)  # so the next look finds the edit
    patch = json.dumps({"spec": {"schedule": "1 1 1 1 *", "suspend": True}})
    operated.kubectl("patch", "cronjob", name, "--type=merge", "-p", patch)
    eventually_sync(is_as_wanted, within=REPAIRED_SECONDS, every=0.2)
    assert operated.get("cronjob", name)["spec"].get("suspend") is not True
    eventually_sync(lambda: is_told("changed"), within=REPAIRED_SECONDS, every=0.5)
