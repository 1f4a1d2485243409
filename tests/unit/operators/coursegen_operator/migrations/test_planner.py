"""Each step of a DatabaseMigration, as a person would follow it."""

from __future__ import annotations

import json

import pytest

from operators.coursegen_operator.resources import Object
from tests.unit.operators.coursegen_operator.migrations.world import World, new_resource

ALLOW = {"destructive": "Allow"}
NO_DRIFT = {"mode": "Off"}


def _world(**spec: object) -> World:
    return World(new_resource(**{"drift": NO_DRIFT, **spec}))


def _run(world: World, *tasks: str) -> None:
    """The Jobs of `tasks` run one after the other, each well."""
    for task in tasks:
        world.settle()
        assert world.task() == task
        world.finish()
    world.settle()


def _applied(image: str = "shop:1", **spec: object) -> World:
    world = _world(image=image, **spec)
    _run(world, "plan", "apply")
    return world


def test_a_new_resource_is_planned_then_applied() -> None:
    """Ready when, and not before, the expand phase is applied."""
    world = _world()
    world.settle()
    assert (world.task(), world.says()) == ("plan", ("working", "Reconciling"))
    world.finish()
    world.settle()
    assert (world.task(), world.says()) == ("apply", ("working", "Migrating"))
    world.finish()
    world.settle()

    assert world.says() == ("done", "Applied")
    assert world.unfinished == []
    assert world.resource["status"]["observedGeneration"] == 1
    assert world.resource["status"]["currentRevision"] == "20260101000000"
    assert world.resource["status"]["pendingCount"] == 0
    assert world.told() == ["PlanComputed", "MigrationStarted", "MigrationSucceeded"]


def test_nothing_pending_needs_no_second_job() -> None:
    """A plan says so."""
    world = _world()
    world.applied = {"20260101000000"}
    _run(world, "plan")

    assert world.says() == ("done", "Applied")
    assert world.told() == []


def _existing(**spec: object) -> World:
    """A database that has the whole schema of its image, and no list of how it came to it."""
    world = _world(image="shop:2", baseline="20260102000000", **spec)
    world.unlisted = {"20260101000000", "20260102000000"}
    return world


def test_a_baseline_that_covers_every_file_is_noted_before_it_is_ready() -> None:
    """Nothing is to be run, and pods that ask for the revision still wait for the list."""
    world = _existing()
    _run(world, "plan")
    assert (world.task(), world.says()) == ("apply", ("working", "Migrating"))
    assert "applies the baseline of 2 files" in world.condition("Ready")["message"]
    assert (world.resource["status"]["pendingCount"], world.resource["status"]["baselineCount"]) == (0, 2)
    world.finish()
    world.settle()

    assert (world.applied, world.says()) == (world.unlisted, ("done", "Applied"))
    assert "baselineCount" not in world.resource["status"]
    assert world.told()[:3] == ["PlanComputed", "MigrationStarted", "MigrationSucceeded"]
    world.annotate(reconcile_at="again")
    _run(world, "plan")
    assert (world.unfinished, world.says()) == ([], ("done", "Applied"))


def test_a_baseline_is_approved_like_a_plan() -> None:
    """With the hash of what it notes."""
    world = _existing(approval="Manual")
    _run(world, "plan")
    assert world.says() == ("stuck", "AwaitingApproval")
    assert "the baseline of 2 files to apply" in world.condition("PendingApproval")["message"]
    world.annotate(approve=world.resource["status"]["planHash"])
    _run(world, "apply")
    assert world.says() == ("done", "Applied")


def test_a_baseline_is_told_beside_the_files_that_follow_it() -> None:
    """Both are what the plan does."""
    world = _existing()
    world.resource["spec"]["baseline"] = "20260101000000"
    _run(world, "plan")
    assert "applies the baseline of 1 file and 1 file (20260102000000)" in world.condition("Ready")["message"]


def test_a_list_that_is_lost_is_noted_again() -> None:
    """The check for drift finds that the baseline is to be noted once more."""
    world = _existing(drift={"mode": "Detect", "intervalSeconds": 600})
    _run(world, "plan", "apply", "drift")
    world.applied = set()
    world.wait(601)
    _run(world, "drift", "plan", "apply")
    assert world.told().count("RevisionsLost") == 1
    assert world.applied == world.unlisted


def test_an_idle_resource_is_not_written_again() -> None:
    """A look that finds all as it was has the same status, whatever the time."""
    world = _applied()
    before = json.dumps(world.resource["status"])
    world.wait(86_400)
    plan = world.look()

    assert json.dumps(world.resource["status"]) == before
    assert (plan.children, plan.obsolete, plan.look_again_seconds) == ((), (), None)


def test_manual_approval_is_bound_to_the_plan() -> None:
    """Another hash approves nothing; the right one does, and stays noted when the annotation goes."""
    world = _world(approval="Manual")
    _run(world, "plan")
    assert world.says() == ("stuck", "AwaitingApproval")
    assert world.condition("PendingApproval")["status"] == "True"
    plan = world.resource["status"]["planHash"]
    assert (
        f"kubectl -n shop annotate dbm/main --overwrite ops.coursegen.dev/approve={plan}"
        in world.condition("Ready")["message"]
    )
    world.annotate(approve="something else")
    world.settle()
    assert world.unfinished == []
    world.annotate(approve=plan)
    world.settle()

    assert (world.task(), world.says()) == ("apply", ("working", "Migrating"))
    assert world.resource["status"]["approvedPlanHash"] == plan
    assert world.condition("PendingApproval")["status"] == "False"
    assert world.told() == ["PlanComputed", "ApprovalRequired", "MigrationStarted"]


def test_what_loses_data_needs_the_policy_and_a_backup() -> None:
    """Neither alone is enough."""
    world = _world(image="shop:3")
    _run(world, "plan")
    assert world.says() == ("stuck", "DestructiveDenied")
    assert "DROP TABLE x" in world.condition("Ready")["message"]
    assert "kubectl -n shop patch dbm/main" in world.condition("Ready")["message"]
    assert 'ops.coursegen.dev/backup="$BACKUP"' in world.condition("Ready")["message"]
    world.annotate(backup="dump-17")
    world.settle()
    assert world.says() == ("stuck", "DestructiveDenied")
    del world.resource["metadata"]["annotations"]["ops.coursegen.dev/backup"]
    world.edit(policy=ALLOW)
    _run(world, "plan")
    assert world.says() == ("stuck", "DestructiveDenied")
    assert 'ops.coursegen.dev/backup="$BACKUP"' in world.condition("Ready")["message"]
    world.annotate(backup="dump-17")
    world.settle()
    args = world.job["spec"]["template"]["spec"]["containers"][0]["args"]

    assert world.task() == "apply"
    assert "--backup=dump-17" in args
    assert "--allow-destructive" in args


def test_permission_that_is_taken_back_before_the_job_is_made_counts() -> None:
    """The operator died between its status and the Job."""
    world = _world(image="shop:3", policy=ALLOW)
    world.annotate(backup="dump-17")
    _run(world, "plan")
    world.remove(world.job["metadata"]["name"])
    world.resource["metadata"]["annotations"].clear()
    world.settle()

    assert world.unfinished == []
    assert world.says() == ("stuck", "DestructiveDenied")


def _soaking(mode: str = "AfterRollout") -> World:
    world = _world(image="shop:2", policy=ALLOW, contract={"mode": mode, "soakSeconds": 300})
    world.annotate(backup="dump-17")
    _run(world, "plan", "apply")
    return world


def test_contract_waits_for_rollout_and_soak() -> None:
    """Ready does not wait for it."""
    world = _soaking()
    world.wait(60)
    world.roll_out(generation=2, ready=False)
    world.settle()
    assert world.says() == ("done", "Applied")
    assert world.condition("ContractPending")["reason"] == "WaitingForRollout"
    assert "rollout status deployment/api" in world.condition("ContractPending")["message"]
    world.wait(600)
    world.roll_out(generation=2)
    assert world.settle().look_again_seconds == 300
    assert world.condition("ContractPending")["reason"] == "Soaking"
    world.wait(299)
    world.settle()
    assert world.unfinished == []
    world.wait(1)
    world.settle()
    assert world.task() == "contract"
    assert world.says() == ("done", "Applied")
    world.finish()
    world.settle()

    assert world.condition("ContractPending")["status"] == "False"
    assert "20260103000000" in world.applied
    assert world.told()[-2:] == ["MigrationStarted", "ContractApplied"]


def test_contract_waits_for_deployments_that_nobody_has_found() -> None:
    """Not looking is not rolled out; an empty list says that there is nothing to look at."""
    world = _soaking()
    world.wait(86_400)
    world.settle()
    assert world.unfinished == []
    assert world.condition("ContractPending")["reason"] == "WaitingForRollout"
    assert "spec.contract.waitFor" in world.condition("ContractPending")["message"]
    world.edit(contract={"waitFor": [], "soakSeconds": 0})
    world.settle()
    if world.task() == "plan":
        world.finish()
        world.settle()

    assert world.task() == "contract"


def test_the_soak_begins_after_the_expand_phase() -> None:
    """Deployments that rest for a day are those of the release before: the new ones are yet to come."""
    world = _world(image="shop:2", policy=ALLOW)
    world.annotate(backup="dump-17")
    world.roll_out()
    world.wait(86_400)
    _run(world, "plan", "apply")

    assert world.unfinished == []
    assert world.settle().look_again_seconds == 300


def test_deployments_of_another_version_are_not_rolled_out() -> None:
    """The resource was changed before they were."""
    world = _soaking()
    world.resource["metadata"]["labels"]["app.kubernetes.io/version"] = "2.0"
    world.roll_out(version="1.9")
    world.wait(3600)
    world.settle()
    assert "deployment/api is of version 1.9, not 2.0" in world.condition("ContractPending")["message"]
    world.roll_out(version="2.0")
    world.settle()

    assert world.condition("ContractPending")["reason"] == "Soaking"


def test_contract_waits_while_the_rollout_is_undone() -> None:
    """The old code runs, for however long; rolled out once more, the soak begins anew."""
    world = _soaking()
    world.roll_out(is_marked=True)
    world.wait(200)
    world.undo(migrations="0" * 16)
    world.wait(86_400)
    world.settle()
    assert world.unfinished == []
    assert world.condition("ContractPending")["reason"] == "WaitingForRollout"
    assert "rolled out with other migrations" in world.condition("ContractPending")["message"]
    world.roll_out(generation=3, is_marked=True)
    world.wait(299)
    world.settle()
    assert world.unfinished == []
    world.wait(1)
    world.settle()

    assert world.task() == "contract"


def test_manual_contract_needs_the_hash_of_its_plan() -> None:
    """And the rollout, and the soak."""
    world = _soaking("Manual")
    world.roll_out()
    world.wait(3600)
    world.settle()
    assert world.condition("ContractPending")["reason"] == "AwaitingApproval"
    assert world.condition("PendingApproval")["status"] == "True"
    assert world.says() == ("done", "Applied")
    world.annotate(approve=world.resource["status"]["contractPlanHash"])
    world.settle()

    assert world.task() == "contract"


def test_contract_never() -> None:
    """Deferred is an Event once, and no trouble."""
    world = _soaking("Never")
    world.wait(86_400)
    world.settle()

    assert world.unfinished == []
    assert world.says() == ("done", "Applied")
    assert world.condition("ContractPending")["reason"] == "ContractDeferred"
    assert world.told().count("ContractDeferred") == 1


def test_what_a_contract_phase_waits_for_is_told_once_each() -> None:
    """On entering, not at every look, nor after a check for drift."""
    world = _world(
        image="shop:2", policy=ALLOW, contract={"soakSeconds": 900}, drift={"mode": "Detect", "intervalSeconds": 60}
    )
    world.annotate(backup="dump-17")
    world.roll_out(ready=False)
    _run(world, "plan", "apply", "drift")

    def deferred() -> list[str]:
        return [each.message for each in world.notices if each.reason == "ContractDeferred"]

    assert len(deferred()) == 1
    assert "rollout status deployment/api" in deferred()[0]
    world.wait(60)
    _run(world, "drift")
    assert len(deferred()) == 1
    world.roll_out()
    for _ in range(3):
        world.wait(60)
        _run(world, "drift")
    assert len(deferred()) == 2
    assert "soaks" in deferred()[1]
    world.undo(version="0")
    world.deployments[0]["metadata"]["labels"]["app.kubernetes.io/version"] = "1"
    world.settle()
    assert len(deferred()) == 3


def test_contract_without_policy_or_backup_waits() -> None:
    """Files of phase contract lose data by their nature."""
    world = _world(image="shop:2")
    _run(world, "plan", "apply")
    assert world.says() == ("done", "Applied")
    assert world.condition("ContractPending")["reason"] == "DestructiveDenied"
    assert "kubectl -n shop patch dbm/main" in world.condition("ContractPending")["message"]
    assert 'ops.coursegen.dev/backup="$BACKUP"' in world.condition("ContractPending")["message"]


def test_a_contract_that_fails_leaves_the_application_ready_for_good() -> None:
    """Each retry begins with a plan: part of it may be applied. Given up, it is told, and the upkeep goes on."""
    world = _soaking()
    world.roll_out()
    world.wait(600)
    world.settle()
    world.finish("error")
    plan = world.settle()
    assert world.says() == ("done", "Applied")
    assert world.condition("ContractPending")["reason"] == "MigrationFailed"
    assert world.condition("ContractFailed")["status"] == "False"
    assert plan.look_again_seconds is not None
    for _ in range(4):
        world.wait(600)
        _run(world, "plan")
        world.finish("error")
        world.settle()

    assert world.says() == ("done", "Applied")
    condition = world.condition("ContractPending")
    assert (condition["status"], condition["reason"]) == ("True", "RetryLimitReached")
    assert 'ops.coursegen.dev/reconcile-at="$(date +%s)"' in condition["message"]
    failed = world.condition("ContractFailed")
    assert (failed["status"], failed["message"]) == ("True", condition["message"])
    assert world.told()[-1] == "RetryLimitReached"
    world.edit(drift={"mode": "Detect"})
    world.settle()
    assert world.task() == "drift"
    assert world.condition("ContractPending")["reason"] == "RetryLimitReached"
    world.finish()
    world.settle()
    assert world.told().count("RetryLimitReached") == 1
    settled_at = world.resource["status"]["expandedAt"]
    world.annotate(reconcile_at="1")
    _run(world, "plan")
    assert (world.task(), world.resource["status"]["expandedAt"]) == ("contract", settled_at)
    assert world.condition("ContractFailed")["status"] == "False"


@pytest.mark.parametrize(
    "change",
    [{"contract": {"soakSeconds": 300}}, {"retry": {"maxAttempts": 9}}, {"job": {"ttlSecondsAfterFinished": 60}}],
)
def test_an_edit_of_the_manner_alone_makes_no_plan(change: dict[str, object]) -> None:
    """Nothing else would be found: the soak goes on, and what is edited counts at once. Another image is another rollout."""
    world = _soaking()
    world.roll_out()
    settled_at = world.resource["status"]["expandedAt"]
    world.wait(200)
    world.edit(**change)
    made = list(world.made)
    world.settle()
    assert (world.unfinished, world.made) == ([], made)
    assert world.resource["status"]["observedGeneration"] == world.generation
    assert world.resource["status"]["expandedAt"] == settled_at
    assert world.condition("ContractPending")["reason"] == "Soaking"
    world.wait(100)
    world.settle()
    assert world.task() == "contract"
    world.finish()
    world.settle()
    world.edit(image="shop:1")
    _run(world, "plan")

    assert world.resource["status"]["expandedAt"] != settled_at


@pytest.mark.parametrize(
    "change", [{"policy": {**ALLOW, "lockTimeoutSeconds": 9}}, {"imagePullPolicy": "Always"}, {"approval": "Manual"}]
)
def test_the_soak_goes_on_when_the_spec_asks_for_the_same_work(change: dict[str, object]) -> None:
    """A new plan that finds nothing to apply says that nothing has changed."""
    world = _soaking()
    world.roll_out()
    settled_at = world.resource["status"]["expandedAt"]
    world.wait(200)
    world.edit(**change)
    _run(world, "plan")
    assert world.resource["status"]["expandedAt"] == settled_at


def test_an_edit_of_the_manner_leaves_a_plan_that_waits_for_approval() -> None:
    """Its hash is still the one to approve."""
    world = _world(approval="Manual")
    _run(world, "plan")
    approved = world.resource["status"]["planHash"]
    world.edit(contract={"soakSeconds": 0})
    world.settle()
    assert (world.unfinished, world.says()) == ([], ("stuck", "AwaitingApproval"))
    world.annotate(approve=approved)
    _run(world, "apply")
    assert world.says() == ("done", "Applied")


def test_an_edit_of_the_manner_goes_and_comes_back() -> None:
    """Each check for drift is another Job, also under a spec that was there before, and one that is under way begins anew."""
    world = _applied(drift={"mode": "Detect"})
    for job in ({"ttlSecondsAfterFinished": 60}, {}, {"ttlSecondsAfterFinished": 60}):
        world.edit(job=job)
        world.settle()
        assert world.task() == "drift"
    world.finish()
    world.settle()
    assert (world.unfinished, len(set(world.made))) == ([], len(world.made))


@pytest.mark.parametrize("change", [{"job": {"nodeSelector": {"disk": "large"}}}, {"retry": {"maxAttempts": 2}}])
def test_an_edit_of_the_manner_mends_what_has_failed_or_does_not_start(change: dict[str, object]) -> None:
    """A Job keeps its pod as it was made: it begins anew."""
    world = _world(retry={"maxAttempts": 1})
    _run(world, "plan")
    world.finish("killed")
    world.settle()
    assert world.says() == ("stuck", "RetryLimitReached")
    world.edit(**change)
    _run(world, "plan", "apply")
    assert world.says() == ("done", "Applied")


def test_errors_count_and_end_at_the_limit() -> None:
    """Each waits longer; then a person must act, and is told how."""
    world = _world(retry={"maxAttempts": 3, "backoffSeconds": 30, "maxBackoffSeconds": 600})
    waits = []
    for attempt in range(3):
        world.settle()
        world.finish("error")
        waits.append(world.settle().look_again_seconds)
        assert world.resource["status"]["failedAttempts"] == attempt + 1
        world.wait(waits[-1] or 0)
    first, second, last = waits
    assert first is not None
    assert second is not None
    assert 24 <= first <= 30
    assert 48 <= second <= 60
    assert last is None
    assert world.says() == ("stuck", "RetryLimitReached")
    message = world.condition("Ready")["message"]
    assert 'relation "courses" does not exist' in message
    assert f"kubectl -n shop logs job/{world.resource['status']['lastAttempt']['jobName']}" in message
    assert 'ops.coursegen.dev/reconcile-at="$(date +%s)"' in message
    assert world.told().count("MigrationFailed") == 3


def test_a_database_that_is_away_is_tried_for_ever() -> None:
    """Never Stalled, never counted, never more often than the longest wait allows."""
    world = _world()
    for _ in range(40):
        world.settle()
        world.finish("unreachable")
        wait = world.settle().look_again_seconds
        assert world.says() == ("working", "DatabaseUnreachable")
        assert wait is not None
        assert wait <= 600
        world.wait(wait)
    assert world.resource["status"]["failedAttempts"] == 0
    assert len(world.jobs) <= 12
    assert world.told().count("MigrationFailed") == 1
    _run(world, "plan", "apply")

    assert world.says() == ("done", "Applied")
    assert "consecutiveFailures" not in world.resource["status"]


def test_a_lock_that_is_not_to_be_had_is_no_database_that_is_away() -> None:
    """An hour of it stalls nothing; then it counts, and a person is told."""
    world = _applied("shop:1")
    world.edit(image="shop:2")
    begun = world.now
    for number in range(1, 15):
        _run(world, "plan")
        world.finish("locked")
        wait = world.settle().look_again_seconds
        if number == 14:
            break
        assert world.says() == ("working", "MigrationFailed")
        assert f"apply failed {number} times in a row" in world.condition("Ready")["message"] or number >= 10
        assert world.resource["status"]["failedAttempts"] == max(0, number - 9)
        assert wait is not None
        world.wait(wait)
        if number == 9:
            assert (world.now - begun).total_seconds() > 2400

    assert world.says() == ("stuck", "RetryLimitReached")
    assert "Another session holds the lock" in world.condition("Ready")["message"]
    assert world.told().count("MigrationFailed") == 6


def test_a_database_that_was_away_takes_nothing_from_the_patience_with_locks() -> None:
    """What was not tried says nothing about the lock."""
    world = _world()
    for fate in ["unreachable"] * 12 + ["locked"]:
        world.settle()
        if fate == "locked":
            world.finish()
            world.settle()
        world.finish(fate)  # type: ignore[arg-type]
        world.wait(world.settle().look_again_seconds or 0)
    world.look()

    assert world.resource["status"]["failedAttempts"] == 0
    assert world.resource["status"]["passingFailures"] == 1


def test_reconcile_at_begins_anew_once() -> None:
    """The value is echoed, the attempts are forgotten, and the same value means nothing any more."""
    world = _world(retry={"maxAttempts": 1})
    world.settle()
    world.finish("error")
    world.settle()
    assert world.says() == ("stuck", "RetryLimitReached")
    world.annotate(reconcile_at="1764331200")
    world.settle()
    assert world.resource["status"]["lastHandledReconcileAt"] == "1764331200"
    assert world.resource["status"]["failedAttempts"] == 0
    _run(world, "plan", "apply")
    jobs = len(world.made)
    world.settle()

    assert world.says() == ("done", "Applied")
    assert len(world.made) == jobs


def test_an_image_that_comes_back_is_planned_anew() -> None:
    """Its first plan still lies there, and is not taken for a new one."""
    world = _applied("shop:1")
    first = set(world.jobs)
    world.edit(image="shop:2")
    _run(world, "plan", "apply")
    world.edit(image="shop:1")
    world.settle()

    assert world.job["metadata"]["name"] not in first
    assert world.says() == ("working", "Reconciling")


def test_a_database_ahead_of_the_image_is_ready() -> None:
    """As after helm rollback; nothing is checked against an image that does not know the schema."""
    world = _world(image="shop:1", drift={"mode": "Fail"})
    world.applied = {"20260101000000", "20260102000000"}
    _run(world, "plan")

    assert world.says() == ("done", "AheadOfImage")
    assert world.unfinished == []


@pytest.mark.parametrize("mode", ["Detect", "Fail"])
def test_drift_of_another_image_says_nothing_about_one_that_is_behind(mode: str) -> None:
    """No check is ever due then: what the last one found would stand for ever, mended or not."""
    world = _applied("shop:2", drift={"mode": mode})
    world.drifted = True
    world.finish()
    world.settle()
    assert world.condition("DriftDetected")["status"] == "True"
    world.edit(image="shop:1")
    _run(world, "plan")

    assert world.says() == ("done", "AheadOfImage")
    assert (world.condition("DriftDetected")["status"], world.condition("DriftDetected")["reason"]) == (
        "Unknown",
        "NotChecked",
    )
    assert "drift" not in world.resource["status"] or world.resource["status"]["drift"]["state"] == "Unknown"
    world.edit(image="shop:2")
    _run(world, "plan", "drift")
    assert world.condition("DriftDetected")["status"] == "True"


def test_an_apply_that_finds_the_database_ahead_forgets_drift() -> None:
    """Somebody else was quicker, with a newer image."""
    world = _applied("shop:1", drift={"mode": "Fail"})
    world.drifted = True
    world.finish()
    world.settle()
    world.edit(image="shop:2")
    _run(world, "plan")
    world.finish()
    ended: Object = next(
        pod["status"]["containerStatuses"][0]["state"]["terminated"]
        for name, pod in reversed(world.pods.items())
        if "apply" in name
    )
    ended["message"] = json.dumps({**json.loads(ended["message"]), "outcome": "ahead"})
    world.settle()

    assert world.says() == ("done", "AheadOfImage")
    assert "drift" not in world.resource["status"] or world.resource["status"]["drift"]["state"] == "Unknown"


@pytest.mark.parametrize(("fate", "says"), [("killed", "OOMKilled"), ("lost", "the pod is gone")])
def test_a_job_without_a_report_failed(fate: str, says: str) -> None:
    """Whatever became of its pod."""
    world = _world()
    world.settle()
    world.finish(fate)  # type: ignore[arg-type]
    world.wait(10)
    world.settle()

    assert world.says() == ("working", "MigrationFailed")
    assert says in world.condition("Ready")["message"]


def test_a_job_that_was_removed_before_its_result_was_noted_is_made_again() -> None:
    """Under its old name; one that was noted is missed by nobody."""
    world = _world()
    world.settle()
    name = world.job["metadata"]["name"]
    world.remove(name)
    world.settle()
    assert world.job["metadata"]["name"] == name
    _run(world, "plan", "apply")
    made = len(world.made)
    for job in list(world.jobs):
        world.remove(job)
    world.settle()

    assert len(world.made) == made
    assert world.says() == ("done", "Applied")


def test_a_missing_secret_is_named_and_not_counted() -> None:
    """A minute of patience, then a person; and when the Secret comes, nobody need say so."""
    world = _world()
    world.settle()
    world.begin(waiting={"reason": "CreateContainerConfigError", "message": 'secret "db" not found'})
    assert world.settle().look_again_seconds == 5
    assert world.says() == ("working", "SecretNotFound")
    world.wait(60)
    world.settle()
    assert world.says() == ("stuck", "SecretNotFound")
    assert 'secret "db" not found' in world.condition("Ready")["message"]
    assert "kubectl -n shop get secrets" in world.condition("Ready")["message"]
    world.finish("lost")  # the Job's deadline
    world.look()
    assert world.says() == ("working", "Reconciling")
    assert "has ended, what it left is read next" in world.condition("Ready")["message"]
    assert world.resource["status"]["lastAttempt"]["outcome"] == "NotStarted"
    world.wait(10)
    world.settle()
    assert world.says() == ("working", "PodNotStarted")
    assert world.resource["status"]["failedAttempts"] == 0
    world.wait(30)
    _run(world, "plan", "apply")

    assert world.says() == ("done", "Applied")


@pytest.mark.parametrize(
    ("waiting", "seconds"),
    [
        ({"reason": "ImagePullBackOff", "message": "not found"}, 60),
        ({"reason": "ErrImagePull", "message": "denied"}, 60),
        ({"reason": "InvalidImageName", "message": "invalid reference format"}, 0),
    ],
)
def test_an_image_that_cannot_be_had_is_named(waiting: dict[str, str], seconds: int) -> None:
    """With the pod to look at."""
    world = _world()
    world.settle()
    world.begin(waiting=waiting)
    world.wait(seconds)
    world.settle()

    assert world.says() == ("stuck", "ImageNotPulled")
    assert f"kubectl -n shop describe pod/{world.job['metadata']['name']}-x" in world.condition("Ready")["message"]


def test_a_better_image_does_not_wait_for_the_one_that_cannot_start() -> None:
    """Its Job is removed, and only then the next one is made."""
    world = _world()
    world.settle()
    old = world.job["metadata"]["name"]
    world.begin(waiting={"reason": "ImagePullBackOff"})
    world.edit(image="shop:2")
    plan = world.look()
    assert [each["metadata"]["name"] for each in plan.obsolete] == [old]
    assert plan.children == ()
    world.settle()

    assert world.task() == "plan"
    assert old not in world.jobs


def test_a_migration_that_runs_is_left_to_end_when_the_spec_changes() -> None:
    """Two never run at once."""
    world = _world()
    _run(world, "plan")
    world.begin()
    running = world.job["metadata"]["name"]
    world.edit(image="shop:2")
    world.settle()
    assert [job["metadata"]["name"] for job in world.unfinished] == [running]
    assert world.says() == ("working", "Reconciling")
    assert f"job/{running} of an earlier spec ends first" in world.condition("Ready")["message"]
    world.finish()
    world.settle()

    assert world.task() == "plan"


def test_suspended_with_something_pending_is_stalled() -> None:
    """And without, it is Ready; either way no Job begins."""
    world = _world(suspend=True)
    world.settle()
    assert (world.says(), world.made) == (("stuck", "Suspended"), [])
    assert """-p '{"spec":{"suspend":false}}'""" in world.condition("Ready")["message"]
    world.edit(suspend=False)
    _run(world, "plan", "apply")
    world.edit(suspend=True)
    world.settle()
    assert world.says() == ("done", "Suspended")
    world.edit(suspend=False)
    world.settle()

    assert world.says() == ("done", "Applied")
    assert len(world.made) == 2


def test_suspension_lets_a_running_migration_end_and_notes_it() -> None:
    """Nothing is killed half-way."""
    world = _world()
    _run(world, "plan")
    world.edit(suspend=True)
    world.settle()
    assert world.says() == ("working", "Migrating")
    world.finish()
    world.settle()

    assert world.says() == ("done", "Suspended")


@pytest.mark.parametrize("task", ["apply", "contract"])
def test_a_job_whose_maker_died_before_it_could_say_so_is_known_to_a_suspended_resource(task: str) -> None:
    """It runs: the resource says so, and notes how it ends; nothing else begins."""
    if task == "contract":
        world = _soaking()
        world.roll_out()
        world.settle()
        world.wait(300)
    else:
        world = _world()
        world.settle()
        world.finish()
    world.look("after children")
    assert world.task() == task
    world.edit(suspend=True)
    world.settle()

    assert world.resource["status"]["lastAttempt"]["jobName"] == world.job["metadata"]["name"]
    world.finish()
    world.settle()
    assert world.says() == ("done", "Suspended")
    assert world.unfinished == []


def test_drift_is_looked_for_and_shown() -> None:
    """Ready stays True in mode Detect; an Event on each change."""
    world = _applied(drift={"mode": "Detect", "intervalSeconds": 600})
    assert world.task() == "drift"
    assert world.says() == ("done", "Applied")
    world.finish()
    assert world.settle().look_again_seconds == 600
    assert world.condition("DriftDetected")["reason"] == "InSync"
    world.drifted = True
    for _ in range(2):
        world.wait(600)
        _run(world, "drift")
    assert world.condition("DriftDetected")["status"] == "True"
    assert "column courses.extra" in world.condition("DriftDetected")["message"]
    assert world.says() == ("done", "Applied")
    world.drifted = False
    world.wait(600)
    _run(world, "drift")

    assert world.told()[-2:] == ["DriftDetected", "DriftResolved"]
    assert world.resource["status"]["lastAttempt"]["task"] == "apply"


def test_drift_in_mode_fail_is_a_persons_matter() -> None:
    """Until it is gone, or the mode is another one."""
    world = _applied(drift={"mode": "Fail"})
    world.drifted = True
    world.finish()
    world.settle()
    assert world.says() == ("stuck", "DriftDetected")
    assert "kubectl -n shop logs job/main-drift-" in world.condition("Ready")["message"]
    world.edit(drift={"mode": "Detect"})
    world.settle()
    assert world.says() == ("done", "Applied")
    world.edit(drift={"mode": "Fail"})
    world.drifted = False
    world.wait(600)
    _run(world, "drift")

    assert world.says() == ("done", "Applied")


def test_a_check_for_drift_that_fails_harms_nobody() -> None:
    """It is made again, later and later, and never counts."""
    world = _applied(drift={"mode": "Fail"})
    for _ in range(10):
        world.finish("error")
        wait = world.settle().look_again_seconds
        assert world.says() == ("done", "Applied")
        assert world.condition("DriftDetected")["status"] == "Unknown"
        world.wait(wait or 0)
        world.settle()
    assert world.task() == "drift"


def test_revisions_that_are_lost_are_found_and_applied_again() -> None:
    """A rollback script or a restored backup: the check for drift tells, and Ready does not outlive it."""
    world = _applied("shop:2", drift={"mode": "Detect", "intervalSeconds": 600})
    world.finish()
    world.settle()
    world.applied.discard("20260102000000")
    world.wait(600)
    _run(world, "drift")
    assert (world.task(), world.says()) == ("plan", ("working", "Reconciling"))
    assert world.told()[-1] == "RevisionsLost"
    world.wait(5)
    world.finish()
    _run(world, "apply", "drift")

    assert world.says() == ("done", "Applied")
    assert "20260102000000" in world.applied
    assert world.unfinished == []


def test_revisions_that_came_back_by_themselves_leave_the_soak_as_it_was() -> None:
    """Somebody ran `coursegen migrate` before the plan was made."""
    world = _applied("shop:2", drift={"mode": "Detect", "intervalSeconds": 600})
    world.finish()
    world.settle()
    before = world.resource["status"]["expandedAt"]
    world.applied.discard("20260102000000")
    world.wait(600)
    _run(world, "drift")
    world.applied.add("20260102000000")
    _run(world, "plan")

    assert world.says() == ("done", "Applied")
    assert world.resource["status"]["expandedAt"] == before
    assert world.unfinished == []


def test_a_check_of_another_target_begins_no_round() -> None:
    """As of an image whose process knows no target in a check: it would never end."""
    world = _applied(drift={"mode": "Detect", "intervalSeconds": 600})
    world.finish()
    ended: Object = next(
        pod["status"]["containerStatuses"][0]["state"]["terminated"]
        for name, pod in world.pods.items()
        if "drift" in name
    )
    more = {"targetRevision": "20991231000000", "pending": ["20991231000000"], "pendingCount": 1}
    ended["message"] = json.dumps({**json.loads(ended["message"]), **more})
    world.settle()

    assert world.says() == ("done", "Applied")
    assert world.unfinished == []


def test_a_pod_that_is_seen_later_than_its_job_is_waited_for() -> None:
    """Jobs and pods are watched apart; the report is in the pod."""
    world = _world()
    world.settle()
    world.finish()
    pods, world.pods = world.pods, {}
    assert world.settle().look_again_seconds == 1
    assert world.says() == ("working", "Reconciling")
    world.pods = pods
    world.settle()

    assert world.task() == "apply"


@pytest.mark.parametrize("seconds", [-3600, -60, 0, 60, 3600])
def test_a_pod_that_is_seen_to_run_is_waited_for_whatever_the_clocks(seconds: int) -> None:
    """Kubernetes ends no Job before its pods: the watch is late, not the report lost."""
    world = _world()
    world.settle()
    world.begin()
    pod = json.loads(json.dumps(world.pods))
    job = world.job
    world.finish()
    ended, world.pods = world.pods, pod
    world.wait(seconds)
    world.look()
    assert world.resource["status"]["task"] == "plan"
    world.pods = ended
    world.settle()
    assert world.told() == ["PlanComputed", "MigrationStarted"]
    assert job["metadata"]["name"] != world.job["metadata"]["name"]


@pytest.mark.parametrize(("seconds", "is_waited_for"), [(-600, False), (-60, True), (0, True), (9, True), (10, False)])
def test_a_pod_that_was_never_seen_is_waited_for_also_by_a_slow_clock(seconds: int, is_waited_for: bool) -> None:
    """But never for long: the clocks may say anything."""
    world = _world()
    world.settle()
    world.finish()
    world.pods = {}
    world.wait(seconds)
    world.look()
    assert (world.resource["status"]["failedAttempts"] == 0) == is_waited_for


def test_statements_that_a_report_has_no_room_for_still_need_permission() -> None:
    """Lists may be cut to nothing, their counts not."""
    world = _world(image="shop:3")
    world.settle()
    world.finish()
    ended: Object = next(iter(world.pods.values()))["status"]["containerStatuses"][0]["state"]["terminated"]
    ended["message"] = json.dumps({**json.loads(ended["message"]), "destructive": [], "destructiveCount": 9})
    world.settle()

    assert world.says() == ("stuck", "DestructiveDenied")


def test_a_report_of_something_else_is_none() -> None:
    """A log's end in the termination message, or another task's report."""
    world = _world()
    world.settle()
    world.finish()
    ended: Object = next(iter(world.pods.values()))["status"]["containerStatuses"][0]["state"]["terminated"]
    ended["message"] = "Traceback: postgresql://owner:hunter2@db/shop"
    world.settle()

    assert world.says() == ("working", "MigrationFailed")
    assert "hunter2" not in json.dumps(world.resource["status"])


def test_a_job_that_gets_no_pod_is_told_after_a_minute() -> None:
    """A quota, or a service account that does not exist: only the Job's Events say it."""
    world = _world()
    world.settle()
    world.wait(60)
    world.settle()

    assert world.says() == ("stuck", "PodNotStarted")
    assert f"kubectl -n shop describe job/{world.job['metadata']['name']}" in world.condition("Ready")["message"]


def test_a_job_that_somebody_has_suspended_says_how_it_goes_on() -> None:
    """It is not made anew: a queue of the cluster's may hold it. Deleted, it is."""
    world = _world()
    world.settle()
    name = world.job["metadata"]["name"]
    world.job["spec"]["suspend"] = True
    world.wait(60)
    world.settle()
    assert world.says() == ("stuck", "PodNotStarted")
    resume = f"""kubectl -n shop patch job/{name} --type=merge -p '{{"spec":{{"suspend":false}}}}'"""
    assert world.condition("Ready")["message"].endswith(f"somebody has suspended the Job; resume: {resume}")
    world.remove(name)
    world.settle()
    assert (world.job["metadata"]["name"], "suspend" in world.job["spec"]) == (name, False)
    _run(world, "plan", "apply")

    assert world.says() == ("done", "Applied")


def test_a_pod_that_finds_no_node_may_find_one_later() -> None:
    """A cluster grows when it must; the Job's deadline ends the wait."""
    world = _world()
    world.settle()
    world.begin(waiting={"reason": "ContainerCreating"})
    (pod,) = world.pods.values()
    pod["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}],
    }
    world.wait(600)
    world.settle()

    assert world.says() == ("working", "PodNotStarted")
    assert "0/1 nodes" in world.condition("Ready")["message"]


def test_another_fault_of_the_container_is_not_called_a_missing_secret() -> None:
    """An image that wants to be root, for instance."""
    world = _world()
    world.settle()
    world.begin(
        waiting={"reason": "CreateContainerConfigError", "message": "container has runAsNonRoot and image runs as root"}
    )
    world.wait(60)
    world.settle()

    assert world.says() == ("stuck", "PodNotStarted")
