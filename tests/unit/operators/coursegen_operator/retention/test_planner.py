"""From a policy to its CronJob, and from its runs to the status."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from operators.coursegen_operator.retention.memory import MOST_COUNTED
from services.kernel.settings import load
from services.retention.rules import parse_rules
from services.retention.settings import RetentionSettings
from tests.unit.operators.coursegen_operator.retention.world import (
    START,
    World,
    maintenance,
    mirror,
    new_resource,
    report,
)


def world(**spec: Any) -> World:
    """A policy that is in force."""
    made = World(new_resource(**spec))
    made.settle()
    return made


def test_a_policy_becomes_a_cron_job_that_is_due() -> None:
    """Ready once the CronJob is seen as it should be; and then nothing is written any more."""
    fresh = World()
    first = fresh.look()
    plan = fresh.settle()
    writes = fresh.writes
    for _ in range(3):
        fresh.now += timedelta(minutes=10)
        fresh.look()

    assert fresh.writes == writes
    assert [each["status"] for each in first.status["conditions"][:3]] == ["False", "True", "False"]
    assert fresh.standing() == ("True", "False", "False", "Scheduled")
    assert plan.status["nextScheduleTime"] == "2026-11-29T03:00:00Z"
    assert plan.status["cronJobName"] == "keys-retention"
    assert plan.look_again_seconds == 15 * 3600 + 1
    assert fresh.condition("LastRunSucceeded")["status"] == "Unknown"
    assert fresh.condition("Overdue")["status"] == fresh.condition("GuardTripped")["status"] == "False"
    assert fresh.told == []


def test_the_cron_job_is_strict_about_time_and_pods() -> None:
    """Forbid, one try, a deadline a little later than the run's own, and a pod as the restricted standard wants it."""
    made = world(
        schedule="17 3 * * *", timeZone="Europe/Berlin", startingDeadlineSeconds=600, maxRunSeconds=60, suspend=True,
        historyLimits={"successful": 1, "failed": 2},
        job={"serviceAccountName": "worker", "podLabels": {"team": "a", "ops.coursegen.dev/task": "other"}},
    )  # fmt: skip
    assert made.cron_job is not None
    spec = made.cron_job["spec"]
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]

    assert {key: value for key, value in spec.items() if key != "jobTemplate"} == {
        "schedule": "17 3 * * *", "timeZone": "Europe/Berlin", "suspend": True, "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 600, "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 2,
    }  # fmt: skip
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, 240)
    assert job["template"]["metadata"]["labels"]["ops.coursegen.dev/task"] == "retention"
    assert job["template"]["metadata"]["labels"]["team"] == "a"
    assert (pod["restartPolicy"], pod["automountServiceAccountToken"], pod["serviceAccountName"]) == (
        "Never",
        False,
        "worker",
    )
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["containers"][0]["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_the_process_understands_what_it_is_told() -> None:
    """The environment of the pod is what `python -m services.retention` reads."""
    rules = [
        {"name": "old", "target": "FsmEvents", "keep": "90d", "batchSize": 10},
        {"name": "visits", "target": "Custom", "keep": "5d", "table": "app.visits", "timestampColumn": "at"},
    ]
    made = world(
        rules=rules, dryRun=True, guard={"maxDeleteFraction": "0.25", "freeRows": 9, "minKeepRows": 7}, maxRunSeconds=99
    )
    assert made.cron_job is not None
    container = made.cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    environ = {each["name"]: each.get("value", "postgresql://db/x") for each in container["env"]}
    settings = load(RetentionSettings, environ)

    assert container["env"][0]["valueFrom"] == {"secretKeyRef": {"name": "db", "key": "DATABASE_URL"}}
    assert container["command"] == ["python", "-m", "services.retention"]
    assert settings.rules == parse_rules(environ["RETENTION_RULES"])
    assert [rule.name for rule in settings.rules] == ["old", "visits"]
    assert (settings.dry_run, settings.max_delete_fraction, settings.min_keep_rows) == (True, 0.25, 7)
    assert settings.free_rows == 9
    assert (settings.max_run_seconds, str(settings.report_file)) == (99, "/dev/termination-log")


@pytest.mark.parametrize("damage", ["deleted", "edited", "unlabelled"])
def test_a_cron_job_that_somebody_damaged_is_put_right_and_told_of_once(damage: str) -> None:
    """Not ready meanwhile; a change of the spec itself is no damage."""
    made = world()
    assert made.cron_job is not None
    if damage == "deleted":
        made.cron_job = None
    elif damage == "edited":
        made.cron_job["spec"]["schedule"] = "1 1 1 1 *"
    else:
        made.cron_job["metadata"]["labels"] = {}
    plan = made.look()
    during = made.standing()
    made.settle()

    assert during == ("False", "True", "False", "Reconciling")
    assert "kubectl -n shop get cronjob/keys-retention" in plan.status["conditions"][0]["message"]
    assert made.standing()[0] == "True"
    assert (made.cron_job or {})["spec"]["schedule"] == "0 3 * * *"
    assert made.reasons() == ["CronJobRepaired"]


def test_an_edit_of_what_was_just_made_anew_is_told_of_too() -> None:
    """Before a look has found the policy ready again: the edit would be gone without a word."""
    made = world()
    made.cron_job = None
    made.look()
    assert made.cron_job is not None
    made.cron_job["spec"]["schedule"] = "1 1 1 1 *"
    made.settle()

    assert made.standing()[0] == "True"
    assert made.cron_job["spec"]["schedule"] == "0 3 * * *"
    assert made.reasons() == ["CronJobRepaired", "CronJobRepaired"]
    assert ["was deleted" in each.message for each in made.told] == [True, False]


def test_what_the_api_server_writes_in_its_own_way_is_no_damage() -> None:
    """It leaves out what is empty, adds its defaults, and shortens amounts. What is not so is damage."""
    tolerations = [{"key": "dedicated", "operator": "Exists", "value": "", "effect": "NoSchedule"}]
    made = world(job={"tolerations": tolerations, "resources": {"requests": {"cpu": "0.05"}}})
    assert made.cron_job is not None
    pod = made.cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    pod["tolerations"] = [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]
    pod["containers"][0]["resources"] = {"requests": {"cpu": "50m"}}
    pod["dnsPolicy"] = "ClusterFirst"
    made.look()
    written_alike = made.standing(), made.reasons()
    made.cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["tolerations"] = []
    made.settle()

    assert written_alike == (("True", "False", "False", "Scheduled"), [])
    assert made.reasons() == ["CronJobRepaired"]


IMAGE = "spec.jobTemplate.spec.template.spec.containers[0].image"


def test_what_a_webhook_changes_is_said_and_holds_nothing_up() -> None:
    """Written once more, since it may have been a person; then the policy is in force, and nobody is told of a repair."""
    made = World(new_resource(), webhook=mirror)
    made.look()
    assert made.look().look_again_seconds == 1
    assert made.standing() == ("False", "True", "False", "Reconciling")
    made.settle()

    assert made.standing() == ("True", "False", "False", "Scheduled")
    said = f"changes {IMAGE} of CronJob keys-retention whenever it is written: kubectl -n shop get cronjob/keys-retention -o yaml"
    assert made.condition("Ready")["message"].endswith(said)
    assert made.status["changedFields"] == [IMAGE]
    made.run("keys-retention-1")
    assert made.reasons() == ["RunStarted", "RunSucceeded"]
    assert made.standing()[0] == "True"
    made.webhook = None
    made.look()
    made.settle()
    assert "changedFields" not in made.status
    assert "webhook" not in made.condition("Ready")["message"]
    assert made.reasons() == ["RunStarted", "RunSucceeded"]  # nobody has changed anything that was repaired


def test_a_webhook_that_changes_when_it_runs_leaves_no_policy_in_force() -> None:
    """Nothing is removed meanwhile: a person must act. Once the webhook is gone it is as it was, and no repair."""
    made = World(new_resource(), webhook=maintenance)
    made.settle()

    assert made.standing() == ("False", "False", "True", "CronJobOverridden")
    said = made.condition("Stalled")["message"]
    assert "changes spec.suspend of CronJob keys-retention whenever it is written" in said
    assert "kubectl -n shop get cronjob/keys-retention -o yaml" in said
    assert said.endswith('kubectl -n shop annotate rtp/keys ops.coursegen.dev/reconcile-at="$(date +%s)" --overwrite')
    made.webhook = None
    made.look()
    made.settle()
    assert made.standing() == ("True", "False", "False", "Scheduled")
    assert made.reasons() == []


def test_an_edit_beside_what_a_webhook_changes_is_put_right_and_told_of() -> None:
    """The one is taken away by writing, the other is not."""
    made = World(new_resource(), webhook=mirror)
    made.settle()
    assert made.cron_job is not None
    made.cron_job["spec"]["schedule"] = "1 1 1 1 *"
    made.look()
    assert made.standing()[3] == "Reconciling"
    made.settle()

    assert made.cron_job["spec"]["schedule"] == "0 3 * * *"
    assert made.standing()[0] == "True"
    assert [each.message.partition(", ")[0] for each in made.told] == [
        "CronJob keys-retention was changed (spec.schedule)"
    ]


def test_a_change_of_the_spec_is_carried_out_and_is_no_repair() -> None:
    """Also while the old CronJob is still what is seen."""
    made = world()
    made.edit(schedule="30 4 * * *")
    made.settle()

    assert made.cron_job is not None
    assert made.cron_job["spec"]["schedule"] == "30 4 * * *"
    assert made.status["nextScheduleTime"] == "2026-11-29T04:30:00Z"
    assert made.status["observedGeneration"] == 2
    assert made.reasons() == []


def test_a_cron_job_of_an_older_operator_is_written_anew_and_is_no_repair() -> None:
    """Its template was another one; nobody has damaged it."""
    made = world()
    assert made.cron_job is not None
    made.cron_job["metadata"]["annotations"]["ops.coursegen.dev/spec-hash"] = "00000000"
    made.look()
    during = made.standing()
    made.settle()

    assert during == ("False", "True", "False", "Reconciling")
    assert made.standing()[0] == "True"
    assert made.reasons() == []


def test_a_run_is_seen_to_begin_and_to_end() -> None:
    """Rows, times, and when it last went well."""
    made = world()
    made.now = START.replace(day=29, hour=3)
    made.start_job("keys-retention-1")
    began = made.settle()
    made.end_job("keys-retention-1", report())
    made.settle()

    assert began.status["activeJobName"] == "keys-retention-1"
    assert began.look_again_seconds == 10
    assert "activeJobName" not in made.status
    assert made.status["lastRun"] == {
        "jobName": "keys-retention-1", "startedAt": "2026-11-29T03:00:00Z", "finishedAt": "2026-11-29T03:00:05Z",
        "outcome": "Succeeded", "rowsDeleted": 3, "rowsMatched": 3,
        "rules": [{"name": "expired", "outcome": "Succeeded", "rowsDeleted": 3, "rowsMatched": 3, "rowsRemaining": 9}],
    }  # fmt: skip
    assert made.status["lastSuccessfulTime"] == "2026-11-29T03:00:05Z"
    assert made.status["lastScheduleTime"] == "2026-11-29T03:00:00Z"
    assert made.status["nextScheduleTime"] == "2026-11-30T03:00:00Z"
    assert made.condition("LastRunSucceeded")["status"] == "True"
    assert made.reasons() == ["RunStarted", "RunSucceeded"]


def test_what_is_remembered_outlives_the_jobs() -> None:
    """The CronJob keeps few of them, and nothing is counted twice."""
    made = world()
    made.run("a", report("failed", error="broken"), failed=True)
    made.run("b", report("unreachable", error="no answer"), failed=True)
    before = dict(made.status)
    made.jobs.clear()
    made.pods.clear()
    made.settle()

    assert made.status == before
    assert made.status["consecutiveFailures"] == 2
    made.run("c")
    assert made.status["consecutiveFailures"] == 0


def test_runs_that_nobody_saw_are_counted_afterwards() -> None:
    """The operator was away for three of them; they are told in their order."""
    made = world()
    for name, failed in (("a", True), ("b", False), ("c", True)):
        made.start_job(name)
        made.end_job(name, report("failed" if failed else "succeeded", error="x"), failed=failed)
    made.settle()

    assert made.status["consecutiveFailures"] == 1
    assert made.status["lastRun"]["jobName"] == "c"
    assert made.reasons() == ["RunFailed", "RunSucceeded", "RunFailed"]


@pytest.mark.parametrize(("seconds", "last"), [(0, "a"), (3, "b"), (59, "b")])
def test_runs_that_end_together_are_each_counted_in_whatever_order_they_are_seen(seconds: int, last: str) -> None:
    """In one second by names that sort either way, or a little before one that is counted: once, and never again."""
    made = world()
    for name in "abc":
        made.start_job(name, by_hand=True)
    made.end_job("b", report("failed", error="x"), failed=True)
    ended = made.now
    made.settle()
    made.now = ended - timedelta(seconds=seconds + 5)
    made.end_job("a", report("failed", error="y"), failed=True)
    made.now = ended + timedelta(seconds=1)
    made.settle()

    assert made.status["consecutiveFailures"] == 2
    assert made.status["lastRun"]["jobName"] == last
    assert made.reasons().count("RunFailed") == 2
    before = dict(made.status)
    made.now += timedelta(seconds=5)
    made.settle()
    assert made.status == before
    made.now = ended + timedelta(minutes=2)
    made.end_job("c", report())
    made.settle()
    assert made.status["countedRuns"] == [{"jobName": "c", "finishedAt": "2026-11-28T12:02:10Z"}]
    assert made.status["consecutiveFailures"] == 0


def test_a_success_that_is_seen_late_makes_good_nothing_that_came_after_it() -> None:
    """It went before the failure."""
    made = world()
    for name in "ab":
        made.start_job(name, by_hand=True)
    made.end_job("b", report("failed", error="x"), failed=True)
    ended = made.now
    made.settle()
    made.now = ended - timedelta(seconds=10)
    made.end_job("a", report())
    made.now = ended
    made.settle()

    assert (made.status["consecutiveFailures"], made.status["lastRun"]["jobName"]) == (1, "b")
    assert made.status["lastSuccessfulTime"] == "2026-11-28T12:00:00Z"
    assert [each for each in made.reasons() if each != "RunStarted"] == ["RunFailed", "RunSucceeded"]


@pytest.mark.parametrize(("seconds", "failures"), [(10, 0), (0, 1)])
def test_a_failure_that_is_seen_after_a_later_success_is_made_good(seconds: int, failures: int) -> None:
    """It is told and remembered, and counts only if it ended no earlier than the success."""
    made = world()
    for name in "ab":
        made.start_job(name, by_hand=True)
    made.end_job("b", report())
    ended = made.now
    made.settle()
    made.now = ended - timedelta(seconds=seconds + 5)
    made.end_job("a", report("failed", error="x"), failed=True)
    made.now = ended + timedelta(seconds=1)
    made.settle()

    assert made.status["consecutiveFailures"] == failures
    assert [each["jobName"] for each in made.status["countedRuns"]] == ["a", "b"]
    assert [each for each in made.reasons() if each != "RunStarted"] == ["RunSucceeded", "RunFailed"]


def test_a_status_of_an_older_operator_counts_nothing_twice() -> None:
    """It has no names beside the last run's: whatever ended before that is counted."""
    made = world()
    for name in "ab":
        made.start_job(name, by_hand=True)
        made.end_job(name, report("failed", error="x"), failed=True)
    made.settle()
    del made.resource["status"]["countedRuns"]
    told = list(made.reasons())
    made.settle()
    assert (made.status["consecutiveFailures"], made.reasons()) == (2, told)

    made.run("c", report("failed", error="x"), failed=True)
    assert made.status["consecutiveFailures"] == 3
    assert [each["jobName"] for each in made.status["countedRuns"]] == ["a", "b", "c"]


def test_more_runs_than_are_remembered_are_never_counted_twice() -> None:
    """Somebody makes them by the hundred, and all end in one second."""
    made = world()
    for number in range(3 * MOST_COUNTED):
        made.start_job(f"j{number:03}", by_hand=True)
    began = made.now
    for name in list(made.jobs):
        made.now = began
        made.end_job(name, report("failed", error="x"), failed=True)
    made.settle()
    before = made.status["consecutiveFailures"]
    made.settle()

    assert made.status["consecutiveFailures"] == before == 3 * MOST_COUNTED
    assert len(made.status["countedRuns"]) == MOST_COUNTED


def test_a_job_made_by_hand_from_the_cron_job_counts_as_a_run() -> None:
    """`kubectl create job --from=cronjob/…` leaves the CronJob as an owner that controls nothing."""
    made = world()
    made.start_job("manual-1", by_hand=True)
    made.end_job("manual-1", report())
    made.settle()

    assert made.status["lastRun"]["jobName"] == "manual-1"
    assert made.reasons() == ["RunSucceeded"]


def test_jobs_of_others_are_not_ours() -> None:
    """Of another policy, or of another task."""
    made = world()
    for index, (label, value) in enumerate(
        (("ops.coursegen.dev/owner-uid", "other"), ("ops.coursegen.dev/task", "drift"))
    ):
        made.start_job(f"j{index}")["metadata"]["labels"][label] = value
        made.end_job(f"j{index}", report())
    made.settle()

    assert "lastRun" not in made.status


def test_a_guarded_run_trips_the_guard_until_one_is_within_its_limits() -> None:
    """A run that fails for another reason in between clears nothing. The policy itself stays ready."""
    made = world()
    made.run("a", report("guarded", rowsDeleted=0, error="rule expired: 40 of 40 rows (100.0%) would go"), failed=True)
    tripped = made.condition("GuardTripped")
    made.run("b", report("unreachable", error="no answer"), failed=True)
    still = made.condition("GuardTripped")
    made.run("c")

    assert (tripped["status"], still["status"], made.condition("GuardTripped")["status"]) == ("True", "True", "False")
    assert "100.0%" in tripped["message"]
    assert "kubectl -n shop annotate rtp/keys ops.coursegen.dev/run-now=" in tripped["message"]
    assert made.standing()[0] == "True"
    assert made.reasons() == ["RunStarted", "GuardTripped", "RunStarted", "RunFailed", "RunStarted", "RunSucceeded"]


@pytest.mark.parametrize(
    ("outcome", "status", "told"),
    [("partial", "True", "RunSucceeded"), ("unscheduled", "False", "RunSkipped"), ("held", "Unknown", "RunSkipped")],
)
def test_outcomes_that_are_no_failure(outcome: str, status: str, told: str) -> None:
    """Each is named; only a run that removed something counts as a success."""
    made = world()
    made.run("a", report("failed", error="x"), failed=True)
    made.run("b", report(outcome))

    assert made.condition("LastRunSucceeded")["reason"] == outcome.capitalize()
    assert made.condition("LastRunSucceeded")["status"] == status
    assert made.reasons()[-1] == told
    assert made.status["consecutiveFailures"] == (0 if outcome == "partial" else 1)
    assert ("lastSuccessfulTime" in made.status) == (outcome == "partial")


def test_a_run_off_the_schedule_says_how_to_put_it_back() -> None:
    """In the words of the process, or in our own for an image that has none."""
    made = world()
    made.run(
        "a", report("unscheduled", error="rule expired: j is off the schedule; SELECT cron.schedule_defaults() does")
    )
    assert "j is off the schedule; SELECT cron.schedule_defaults()" in made.condition("LastRunSucceeded")["message"]
    made.run("b", report("unscheduled"))

    for text in (made.condition("LastRunSucceeded")["message"], made.told[-1].message):
        assert "SELECT cron.schedule_defaults() puts them back" in text
    assert made.condition("Ready")["status"] == "True"
    assert "run-now" not in made.condition("LastRunSucceeded")["message"]


def test_a_policy_off_the_schedule_is_overdue_until_a_run_removes_again() -> None:
    """It runs on time and removes nothing: no other condition that an alert looks at tells. It is an Event once, of the run."""
    made = world(startingDeadlineSeconds=600, maxRunSeconds=300)
    made.run("a", report("unscheduled"))
    off = made.condition("Overdue")
    made.now = START.replace(day=29, hour=3, minute=16)
    made.settle()
    late = made.condition("Overdue")
    made.run("b", report("unscheduled"))
    again = made.condition("Overdue")
    made.edit(suspend=True)
    made.settle()
    suspended = made.condition("Overdue")
    made.edit(suspend=False)
    made.run("c")

    assert (off["status"], off["reason"], again["reason"]) == ("True", "RunSkipped", "RunSkipped")
    assert off["message"].endswith("SELECT cron.schedule_defaults() puts them back")
    assert (late["status"], late["reason"], suspended["status"]) == ("True", "RunMissing", "False")
    assert made.condition("Overdue")["status"] == "False"
    told = [reason for reason in made.reasons() if reason != "RunStarted"]
    assert told == ["RunSkipped", "Overdue", "RunSkipped", "RunSucceeded"]


def test_a_failure_names_the_log_to_read() -> None:
    """In the condition, and in the Event."""
    made = world()
    made.run("a", report("failed", error="relation fsm_events does not exist"), failed=True)

    assert made.condition("LastRunSucceeded")["status"] == "False"
    assert made.condition("LastRunSucceeded")["reason"] == "Failed"
    for text in (made.condition("LastRunSucceeded")["message"], made.told[-1].message):
        assert "relation fsm_events does not exist" in text
        assert "kubectl -n shop logs job/a" in text


def test_a_process_that_left_no_report_is_quoted() -> None:
    """The end of its log, by FallbackToLogsOnError; without secrets."""
    made = world()
    made.run("a", "Traceback: no route to postgresql://me:hunter22@db/x", failed=True)

    assert made.status["lastRun"]["outcome"] == "Failed"
    assert "exit code 1: Traceback" in made.status["lastRun"]["error"]
    assert "hunter22" not in str(made.status)


@pytest.mark.parametrize(
    ("waiting", "message", "reason", "step"),
    [
        ("CreateContainerConfigError", 'secret "db" not found', "SecretNotFound", "kubectl -n shop get secrets"),
        ("CreateContainerConfigError", "runAsNonRoot: image will run as root", "PodNotStarted", "describe pod/a-x"),
        ("CreateContainerError", "no such executable", "PodNotStarted", "kubectl -n shop describe pod/a-x"),
        ("ErrImagePull", "manifest unknown", "ImageNotPulled", "kubectl -n shop describe pod/a-x"),
        ("ImagePullBackOff", "back-off", "ImageNotPulled", "kubectl -n shop describe pod/a-x"),
    ],
)
def test_a_pod_that_cannot_start_stalls_the_policy_after_a_minute(
    waiting: str, message: str, reason: str, step: str
) -> None:
    """It is told of at once; a Secret or an image may be on its way. What was seen is kept when the Job's time is over."""
    made = world()
    made.start_job("a")
    made.pod_of("a", waiting={"reason": waiting, "message": message})
    made.settle()
    at_once, told = made.standing(), made.condition("Ready")["message"]
    made.now += timedelta(seconds=61)
    made.settle()
    stalled, stalled_message = made.standing(), made.condition("Stalled")["message"]
    made.end_job("a", failed=True, reason="DeadlineExceeded")
    made.settle()
    unread = dict(made.status)
    made.now += timedelta(seconds=10)
    made.settle()

    assert at_once == ("True", "False", "False", "Scheduled")
    assert stalled == ("False", "False", "True", reason)
    for text in (told, stalled_message):
        assert message in text
        assert text.endswith(step)
    assert "lastRun" not in unread
    assert made.standing()[0] == "True"
    assert made.status["lastRun"]["outcome"] == "Failed"
    assert message in made.status["lastRun"]["error"]
    assert "notStarted" not in made.status


def test_a_missing_secret_is_named_with_its_key() -> None:
    """As the policy has it."""
    made = world()
    made.start_job("a")
    made.pod_of("a", waiting={"reason": "CreateContainerConfigError", "message": 'secret "db" not found'})
    made.settle()

    assert "job a needs key DATABASE_URL of Secret db" in made.condition("Ready")["message"]


def test_an_image_that_has_no_name_stalls_at_once() -> None:
    """Nothing of this solves itself."""
    made = world()
    made.start_job("a")
    made.pod_of("a", waiting={"reason": "InvalidImageName", "message": "invalid reference"})
    made.settle()

    assert made.standing() == ("False", "False", "True", "ImageNotPulled")


def test_a_pod_without_a_place_is_told_of_and_stalls_nothing() -> None:
    """A node may come until the deadline; the run that it kept from starting is told with it."""
    made = world()
    made.start_job("a")
    made.pod_of("a", {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes fit"})
    made.now += timedelta(minutes=10)
    made.settle()
    standing, told = made.standing(), made.condition("Ready")["message"]
    made.end_job("a", failed=True, reason="DeadlineExceeded")
    made.now += timedelta(seconds=10)
    made.settle()

    assert standing == ("True", "False", "False", "Scheduled")
    assert "job a does not start: Unschedulable: 0/3 nodes fit; see: kubectl -n shop describe pod/a-x" in told
    assert "0/3 nodes fit" in made.status["lastRun"]["error"]


def test_a_job_without_a_pod_stalls_the_policy() -> None:
    """A quota, or an admission that refuses it."""
    made = world()
    made.start_job("a")
    made.pods.clear()
    made.settle()
    at_once = made.standing()
    made.now += timedelta(seconds=61)
    made.settle()

    assert at_once[0] == "True"
    assert made.standing() == ("False", "False", "True", "PodNotStarted")
    assert "no pod could be made; see: kubectl -n shop describe job/a" in made.condition("Stalled")["message"]


def test_a_job_whose_pods_are_removed_for_its_end_lacks_none() -> None:
    """The Job controller says so before it is done; what was seen before stays."""
    made = world()
    made.start_job("a")
    made.pod_of("a", waiting={"reason": "ErrImagePull", "message": "manifest unknown"})
    made.now += timedelta(seconds=61)
    made.settle()
    made.pods.clear()
    made.jobs["a"]["status"]["conditions"] = [{"type": "FailureTarget", "status": "True"}]
    made.settle()

    assert made.standing()[0] == "True"
    assert "manifest unknown" in made.status["notStarted"]["message"]


@pytest.mark.parametrize(
    ("outcome", "failed", "rows"), [("succeeded", False, 48_211), ("guarded", True, 0), ("partial", False, 7)]
)
def test_a_run_is_counted_when_its_pod_is_seen_to_have_ended(outcome: str, failed: bool, rows: int) -> None:
    """Jobs and pods are watched apart. The run is counted once, by its report."""
    made = world()
    made.start_job("a")
    made.settle()
    made.end_job("a", report(outcome, rowsDeleted=rows), failed=failed)
    ended = made.pods
    made.pod_of("a", running={})
    early = made.settle()
    made.pods = ended
    made.now += timedelta(seconds=2)
    made.settle()

    assert "lastRun" not in early.status
    assert early.status["activeJobName"] == "a"
    assert early.look_again_seconds == 1
    assert made.status["lastRun"]["outcome"] == outcome.capitalize()
    assert made.status["lastRun"]["rowsDeleted"] == rows
    assert len(made.told) == 2


def test_a_pod_that_is_never_seen_to_end_is_waited_for_briefly() -> None:
    """It was removed; then the Job's own word counts."""
    made = world()
    made.start_job("a")
    made.end_job("a", failed=True, reason="BackoffLimitExceeded")
    early = made.settle()
    made.now += timedelta(seconds=10)
    made.settle()

    assert "lastRun" not in early.status
    assert made.status["lastRun"]["outcome"] == "Failed"
    assert "no report was left" in made.status["lastRun"]["error"]


def test_a_later_run_waits_for_one_that_is_not_read_yet() -> None:
    """Counted before it, it would leave the earlier one out for ever."""
    made = world()
    made.start_job("a")
    made.start_job("b", by_hand=True)
    made.end_job("a", report("failed", error="x"), failed=True)
    seen = [pod for pod in made.pods if pod["metadata"]["name"] == "a-x"]
    made.pod_of("a", running={})
    made.end_job("b", report())
    early = made.settle()
    made.pods = [pod for pod in made.pods if pod["metadata"]["name"] != "a-x"] + seen
    made.settle()

    assert "lastRun" not in early.status
    assert [notice.reason for notice in made.told if notice.reason != "RunStarted"] == ["RunFailed", "RunSucceeded"]


def test_a_missed_run_is_overdue_until_one_begins() -> None:
    """After startingDeadlineSeconds and maxRunSeconds, told once; a due time before the policy was there is not missed."""
    made = world(startingDeadlineSeconds=600, maxRunSeconds=300)
    made.now = START.replace(day=29, hour=3, minute=14)
    on_time = made.settle()
    made.now += timedelta(minutes=2)
    made.settle()
    late = made.condition("Overdue")
    made.now += timedelta(hours=1)
    made.settle()
    made.run("manual")

    assert on_time.look_again_seconds == 61
    assert (late["status"], late["reason"]) == ("True", "RunMissing")
    assert "no run has begun since 2026-11-29T03:00:00Z" in late["message"]
    assert "kubectl -n shop describe cronjob/keys-retention" in late["message"]
    assert made.condition("Overdue")["status"] == "False"
    assert made.reasons() == ["Overdue", "RunStarted", "RunSucceeded"]


def test_a_policy_whose_runs_fail_is_overdue_until_one_does_not() -> None:
    """Nobody else would tell: a failed run does not make up for what was due. A guarded one has an alert of its own."""
    made = world(startingDeadlineSeconds=600, maxRunSeconds=300)
    made.now = START.replace(day=29, hour=3)
    made.run("a", report("unreachable", error="no answer"), failed=True)
    early = made.condition("Overdue")
    made.now += timedelta(minutes=16)
    made.settle()
    late = made.condition("Overdue")
    made.run("b", report("guarded", error="too much"), failed=True)

    assert early["status"] == "False"
    assert (late["status"], late["reason"]) == ("True", "RunFailed")
    assert "what was due at 2026-11-29T03:00:00Z is not done: Unreachable" in late["message"]
    assert "kubectl -n shop logs job/a" in late["message"]
    assert made.condition("Overdue")["status"] == "False"
    assert made.reasons() == ["RunStarted", "RunFailed", "Overdue", "RunStarted", "GuardTripped"]


def test_a_run_that_came_and_went_unseen_is_known_from_the_cron_job() -> None:
    """Which keeps the time of the last success when its Jobs are gone."""
    made = world(startingDeadlineSeconds=600, maxRunSeconds=300)
    assert made.cron_job is not None
    made.cron_job["status"] = {"lastScheduleTime": "2026-11-29T03:00:00Z", "lastSuccessfulTime": "2026-11-29T03:00:09Z"}
    made.now = START.replace(day=29)
    made.settle()

    assert made.condition("Overdue")["status"] == "False"
    assert made.status["lastScheduleTime"] == "2026-11-29T03:00:00Z"


def test_a_suspended_policy_is_ready_and_never_overdue() -> None:
    """And when it goes on, what was due meanwhile is not missed."""
    made = world(suspend=True, startingDeadlineSeconds=60, maxRunSeconds=60)
    made.now += timedelta(days=3)
    made.settle()
    suspended, overdue = made.standing(), made.condition("Overdue")
    made.edit(suspend=False)
    made.settle()

    assert suspended == ("True", "False", "False", "Suspended")
    assert (overdue["status"], overdue["reason"]) == ("False", "Suspended")
    assert made.standing() == ("True", "False", "False", "Scheduled")
    assert made.condition("Overdue")["status"] == "False"
    assert made.told == []


def test_run_now_makes_one_job_per_value() -> None:
    """Whatever happens in between, and also when its Job is long gone; another value makes another one."""
    made = world(suspend=True)
    made.resource["metadata"]["annotations"]["ops.coursegen.dev/run-now"] = "1"
    made.settle()
    (first,) = made.jobs
    made.end_job(first, report())
    made.settle()
    made.jobs.clear()
    made.settle()
    gone = dict(made.jobs)
    made.resource["metadata"]["annotations"]["ops.coursegen.dev/run-now"] = "2"
    made.settle()

    assert first.startswith("keys-retention-")
    assert gone == {}
    assert len(made.jobs) == 1
    assert first not in made.jobs
    assert made.status["lastHandledRunNow"] == "2"
    assert made.status["lastRun"]["jobName"] == first
    assert made.reasons() == ["RunStarted", "RunSucceeded", "RunStarted"]


def test_run_now_is_handled_only_when_its_job_was_seen() -> None:
    """An operator that dies before the Job is made makes it afterwards; one that dies after it makes no second one."""
    made = world()
    made.resource["metadata"]["annotations"]["ops.coursegen.dev/run-now"] = "x"
    plan = made.look()
    name = plan.children[1].name

    assert plan.children[1].once
    assert "lastHandledRunNow" not in plan.status
    assert [child.name for child in made.look().children] == ["keys-retention"]
    assert made.status["lastHandledRunNow"] == "x"
    assert list(made.jobs) == [name]


@pytest.mark.parametrize(
    ("spec", "reason", "said"),
    [
        ({"timeZone": "Europe/Atlantis"}, "InvalidTimeZone", "Europe/Berlin"),
        ({"schedule": "0 0 31 2 *"}, "InvalidSchedule", "never due"),
        ({"schedule": "5-1 * * * *"}, "InvalidSchedule", "not within 0 to 59"),
    ],
)
def test_a_schedule_that_cannot_be_used_stalls_the_policy(spec: dict[str, Any], reason: str, said: str) -> None:
    """The CronJob is left as it was; set right, it goes on."""
    made = world()
    before = made.cron_job
    made.edit(**spec)
    plan = made.settle()
    stalled = made.standing()
    message = made.condition("Stalled")["message"]
    made.edit(timeZone="Etc/UTC", schedule="0 3 * * *")
    made.settle()

    assert stalled == ("False", "False", "True", reason)
    assert said in message
    assert "goes on as it was" in message
    assert not plan.children
    assert not plan.obsolete
    assert made.cron_job == before
    assert made.standing()[0] == "True"


def test_reconcile_at_is_echoed() -> None:
    """So that whoever asked sees that it was looked at."""
    made = world()
    made.resource["metadata"]["annotations"]["ops.coursegen.dev/reconcile-at"] = "17"
    made.settle()

    assert made.status["lastHandledReconcileAt"] == "17"


@pytest.mark.parametrize("length", [10, 41, 42, 43, 53, 200])
def test_names_of_any_length_fit(length: int) -> None:
    """A CronJob's name may have 52 characters, a Job's 63; two long names stay two."""
    one, other = World(), World()
    one.resource["metadata"]["name"], other.resource["metadata"]["name"] = "n" * length + "a", "n" * length + "b"
    names = []
    for each in (one, other):
        each.resource["metadata"]["annotations"]["ops.coursegen.dev/run-now"] = "x"
        each.settle()
        names.append((each.status["cronJobName"], *each.jobs))

    assert all(len(cron) <= 52 and len(job) <= 63 for cron, job in names)
    assert len({name for pair in names for name in pair}) == 4
