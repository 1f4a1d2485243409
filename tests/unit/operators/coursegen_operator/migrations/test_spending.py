"""A backup and an approval are for one plan, once: what was written since is in no backup, and nobody has approved it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.coursegen_operator.migrations.progress import applied, planned
from operators.coursegen_operator.migrations.report import Report
from operators.coursegen_operator.migrations.status import Memory
from operators.coursegen_operator.resources import Object
from tests.unit.operators.coursegen_operator.migrations.world import IMAGES, START, File, World, new_resource

ALLOW = {"destructive": "Allow"}
LOST = "20260102000000"
OTHERS_BACKUP = "backup dump-17 was used for another plan: take another one, and name it"


def _run(world: World, *tasks: str) -> None:
    for task in tasks:
        world.settle()
        assert world.task() == task
        world.finish()
    world.settle()


def _options(job: Object) -> list[str]:
    args: list[str] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


def _lose(world: World, *versions: str) -> None:
    """A restored backup, found by the next check for drift."""
    world.applied -= set(versions)
    world.wait(600)
    _run(world, "drift", "plan")


def _approved() -> World:
    world = World(new_resource(image="shop:2", approval="Manual"))
    _run(world, "plan")
    world.annotate(approve=world.resource["status"]["planHash"])
    _run(world, "apply", "drift")
    return world


def test_the_same_plan_after_a_loss_is_approved_anew() -> None:
    """The old value of the annotation stands for the plan that was applied, and for no other one."""
    world = _approved()
    before = world.resource["status"]["planHash"]
    _lose(world, *world.applied)
    assert world.says() == ("stuck", "AwaitingApproval")
    again = world.resource["status"]["planHash"]
    assert (again, world.resource["status"].get("approvedPlanHash")) == (f"{before}.again2", None)
    assert f"ops.coursegen.dev/approve={again}" in world.condition("Ready")["message"]
    world.annotate(approve=before)
    world.settle()
    assert world.unfinished == []
    world.annotate(approve=again)
    world.settle()
    assert f"--expect-plan={before}" in _options(world.job)
    world.wait(1)
    _run(world, "apply", "drift")
    _lose(world, *world.applied)

    assert world.resource["status"]["planHash"] == f"{before}.again3"
    assert world.says() == ("stuck", "AwaitingApproval")


def test_the_same_plan_is_another_one_also_where_nobody_looks_for_drift() -> None:
    """Asked anew after a rollback script: nothing said that revisions were lost."""
    world = _approved()
    world.edit(drift={"mode": "Off"})
    before = world.resource["status"]["planHash"]
    world.applied.clear()
    world.annotate(reconcile_at="1")
    _run(world, "plan")

    assert world.says() == ("stuck", "AwaitingApproval")
    assert world.resource["status"]["planHash"] == f"{before}.again2"


def test_a_plan_that_was_done_by_another_hand_is_spent_too() -> None:
    """The Job was killed behind its last commit: the next plan finds nothing pending."""
    world = World(new_resource(image="shop:1", approval="Manual"))
    _run(world, "plan")
    before = world.resource["status"]["planHash"]
    world.annotate(approve=before)
    world.settle()
    world.applied = {"20260101000000"}
    world.finish("killed")
    world.settle()
    world.wait(60)
    _run(world, "plan", "drift")
    assert world.says() == ("done", "Applied")
    _lose(world, "20260101000000")

    assert world.resource["status"]["planHash"] == f"{before}.again2"
    assert world.says() == ("stuck", "AwaitingApproval")


def test_a_contract_phase_that_is_there_again_is_approved_anew() -> None:
    """As of phase expand; also when another hand has done it before its Job could."""
    contract = {"mode": "Manual", "soakSeconds": 0, "waitFor": []}
    for hand in ("its Job", "another"):
        world = World(new_resource(image="shop:2", policy=ALLOW, contract=contract, drift={"mode": "Off"}))
        world.annotate(backup="dump-17")
        _run(world, "plan", "apply")
        before = world.resource["status"]["contractPlanHash"]
        world.annotate(approve=before)
        if hand == "its Job":
            _run(world, "contract")
        else:
            world.settle()
            world.applied.add("20260103000000")
            world.finish("killed")
            world.settle()
            world.wait(60)
            _run(world, "plan")
        assert world.condition("ContractPending")["status"] == "False"
        world.applied.discard("20260103000000")
        world.annotate(reconcile_at="1", backup="dump-18")
        _run(world, "plan")

        assert world.condition("ContractPending")["reason"] == "AwaitingApproval"
        assert world.resource["status"]["contractPlanHash"] == f"{before}.again2"
        assert "approvedContractPlanHash" not in world.resource["status"]
        world.annotate(approve=f"{before}.again2")
        world.settle()
        assert f"--expect-plan={before}" in _options(world.job)


def test_an_approval_is_spent_whatever_was_applied_since() -> None:
    """By others, or by nobody: the annotation has stood there all the while."""
    world = _approved()
    before = world.resource["status"]["planHash"]
    world.edit(image="shop:3", approval="Auto", policy=ALLOW, drift={"mode": "Off"})
    world.annotate(backup="dump-1")
    _run(world, "plan", "apply")
    assert world.resource["status"]["planHash"] != before
    world.applied.clear()
    world.edit(image="shop:2", approval="Manual")
    _run(world, "plan")

    assert world.says() == ("stuck", "AwaitingApproval")
    assert world.resource["status"]["planHash"] == f"{before}.again2"


def test_the_approval_of_a_plan_that_broke_off_is_spent_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rest was done under another name; when all of it is lost, the first name stands for what nobody has approved."""
    files = tuple(File(f"2026010{number}000000") for number in (1, 2))
    monkeypatch.setitem(IMAGES, "shop:4", files)
    world = World(new_resource(image="shop:4", approval="Manual", drift={"mode": "Off"}))
    _run(world, "plan")
    before = world.resource["status"]["planHash"]
    world.annotate(approve=before)
    world.breaks_after = 1
    _run(world, "apply")
    world.breaks_after = None
    world.wait(60)
    _run(world, "plan", "apply")
    assert world.says() == ("done", "Applied")
    world.applied.clear()
    world.annotate(reconcile_at="1")
    _run(world, "plan")

    assert world.says() == ("stuck", "AwaitingApproval")
    assert world.resource["status"]["planHash"] == f"{before}.again2"


def test_an_approval_that_was_not_used_waits_for_its_plan() -> None:
    """Another image in between, with nothing of it applied, takes nothing away."""
    world = World(new_resource(image="shop:1", approval="Manual"))
    world.applied = {"20260101000000"}
    world.edit(image="shop:2")
    _run(world, "plan")
    before = world.resource["status"]["planHash"]
    world.edit(suspend=True)
    world.annotate(approve=before)
    world.settle()
    world.edit(image="shop:1", suspend=False)
    _run(world, "plan", "drift")
    world.edit(image="shop:2")
    _run(world, "plan")

    assert world.resource["status"]["planHash"] == before
    assert world.task() == "apply"


def test_an_attempt_that_failed_leaves_its_approval() -> None:
    """The plan that follows is the same, and was not applied."""
    world = World(new_resource(image="shop:1", approval="Manual"))
    _run(world, "plan")
    world.annotate(approve=world.resource["status"]["planHash"])
    world.settle()
    world.finish("error")
    world.settle()
    world.wait(60)
    _run(world, "plan")

    assert world.task() == "apply"


def test_what_is_left_of_a_plan_goes_on_with_its_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that is evicted between two files leaves no half-migrated database waiting for a person; whatever else does."""
    versions = [f"2026010{number}000000" for number in range(1, 5)]
    monkeypatch.setitem(IMAGES, "shop:4", tuple(File(version) for version in versions))
    world = World(new_resource(image="shop:4", approval="Manual"))
    _run(world, "plan")
    before = world.resource["status"]["planHash"]
    world.annotate(approve=before)
    for number in (1, 2):
        world.settle()
        world.applied = set(versions[:number])
        world.finish("evicted")
        world.settle()
        world.wait(60 * number)
        _run(world, "plan")
        assert (world.task(), len(world.resource["status"]["pendingRevisions"])) == ("apply", 4 - number)
    world.applied = set(versions[1:])  # not what was left: the first one was lost meanwhile
    world.finish("evicted")
    world.settle()
    world.wait(240)
    _run(world, "plan")

    assert world.resource["status"]["pendingRevisions"] == versions[:1]
    assert world.says() == ("stuck", "AwaitingApproval")


def test_what_is_left_of_a_contract_phase_goes_on_with_its_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this round: what a person has begun anew, a person approves anew."""
    files = tuple(File(f"2026010{number}000000", "contract") for number in range(5, 8))
    monkeypatch.setitem(IMAGES, "shop:4", (File("20260101000000"), *files))
    contract = {"mode": "Manual", "soakSeconds": 0, "waitFor": []}
    world = World(new_resource(image="shop:4", policy=ALLOW, contract=contract, drift={"mode": "Off"}))
    world.annotate(backup="dump-17")
    _run(world, "plan", "apply")
    world.annotate(approve=world.resource["status"]["contractPlanHash"])
    world.breaks_after = 1
    _run(world, "contract")
    world.wait(60)
    _run(world, "plan")
    assert world.task() == "contract"
    world.finish()
    world.settle()
    world.annotate(reconcile_at="1")
    _run(world, "plan")

    assert len(world.resource["status"]["contractPendingRevisions"]) == 1
    assert world.condition("ContractPending")["reason"] == "AwaitingApproval"


def _dropped() -> World:
    """A database whose column is gone, by backup `dump-17`."""
    world = World(new_resource(image="shop:3", policy=ALLOW))
    world.annotate(backup="dump-17")
    _run(world, "plan", "apply", "drift")
    return world


def test_a_backup_is_remembered_with_its_plan() -> None:
    """As the Job was given it; a plan that loses nothing uses none up."""
    world = _dropped()
    used = world.resource["status"]["usedBackup"]
    assert (used["id"], used["task"], used["planHash"]) == ("dump-17", "apply", world.resource["status"]["planHash"])
    harmless = World(new_resource(image="shop:1"))
    harmless.annotate(backup="dump-17")
    _run(harmless, "plan", "apply", "drift")

    assert "usedBackup" not in harmless.resource["status"]


def test_a_backup_of_last_year_lets_nothing_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next release drops something else; the annotation still stands there."""
    monkeypatch.setitem(IMAGES, "shop:4", (*IMAGES["shop:3"], File("20260105000000", destructive=True)))
    world = _dropped()
    world.wait(365 * 86_400)
    world.edit(image="shop:4")
    _run(world, "plan")
    assert world.says() == ("stuck", "DestructiveDenied")
    assert OTHERS_BACKUP in world.condition("Ready")["message"]
    assert '--overwrite ops.coursegen.dev/backup="$BACKUP"' in world.condition("Ready")["message"]
    world.annotate(backup="dump-18")
    world.settle()

    assert "--backup=dump-18" in _options(world.job)
    assert world.resource["status"]["usedBackup"]["id"] == "dump-18"


def test_a_backup_is_not_used_for_the_same_plan_after_a_loss() -> None:
    """What was written since is not in it. Nor is it recorded for a plan that loses nothing."""
    world = _dropped()
    _lose(world, LOST)
    assert world.says() == ("stuck", "DestructiveDenied")
    assert OTHERS_BACKUP in world.condition("Ready")["message"]
    world.edit(policy={"destructive": "Deny"})
    _run(world, "plan")
    assert "(backup dump-17 was used for another plan): kubectl" in world.condition("Ready")["message"]
    world.applied = {"20260101000000", LOST}
    world.annotate(reconcile_at="1")
    _run(world, "plan")

    assert world.task() == "apply"
    assert "--backup=dump-17" not in _options(world.job)


def test_a_contract_phase_needs_a_backup_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was taken before the statements of the expand phase does not have what the new code has written."""
    monkeypatch.setitem(IMAGES, "shop:3", (*IMAGES["shop:3"], File("20260106000000", "contract")))
    world = _dropped()
    world.roll_out()
    world.wait(600)
    world.settle()
    assert world.condition("ContractPending")["reason"] == "DestructiveDenied"
    assert OTHERS_BACKUP in world.condition("ContractPending")["message"]
    world.annotate(backup="dump-18")
    world.settle()
    if world.task() == "drift":
        _run(world, "drift")

    assert world.task() == "contract"


def test_the_rest_of_a_plan_goes_on_with_its_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that broke off has another hash: it is still the same upgrade, which began with that backup."""
    monkeypatch.setitem(
        IMAGES, "shop:4", (File("20260107000000", destructive=True), File("20260108000000", destructive=True))
    )
    world = World(new_resource(image="shop:4", policy=ALLOW, drift={"mode": "Off"}))
    world.annotate(backup="dump-17")
    _run(world, "plan")
    world.applied = {"20260107000000"}
    before = world.resource["status"]["planHash"]
    world.finish("error")
    world.settle()
    world.wait(60)
    _run(world, "plan")
    assert world.resource["status"]["planHash"] != before
    assert (world.task(), "--backup=dump-17" in _options(world.job)) == ("apply", True)
    world.finish("error")
    world.settle()
    world.edit(image="shop:3")
    world.applied = {"20260101000000"}
    _run(world, "plan")

    assert world.says() == ("stuck", "DestructiveDenied")


def test_the_rest_goes_on_with_its_backup_after_another_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried so often that it was given up, and begun anew by a person: the backup of before is the one to go back to."""
    files = (File("20260107000000", destructive=True), File("20260108000000", destructive=True))
    monkeypatch.setitem(IMAGES, "shop:4", files)
    world = World(new_resource(image="shop:4", policy=ALLOW, drift={"mode": "Off"}, retry={"maxAttempts": 1}))
    world.annotate(backup="dump-17")
    world.breaks_after = 1
    _run(world, "plan", "apply")
    assert world.says() == ("stuck", "RetryLimitReached")
    world.breaks_after = None
    world.annotate(reconcile_at="1")
    _run(world, "plan")
    assert "--backup=dump-17" in _options(world.job)
    world.finish()
    world.settle()
    assert world.says() == ("done", "Applied")
    world.applied.clear()
    world.annotate(reconcile_at="2")
    _run(world, "plan")

    assert world.says() == ("stuck", "DestructiveDenied")


def test_a_spent_backup_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade with the values of the release before last puts it back; the operator remembers only the last one."""
    added = tuple(File(f"2026010{number}000000", destructive=True) for number in (5, 6))
    monkeypatch.setitem(IMAGES, "shop:4", (*IMAGES["shop:3"], added[0]))
    monkeypatch.setitem(IMAGES, "shop:5", (*IMAGES["shop:4"], added[1]))
    world = _dropped()
    world.annotate(backup="dump-18")
    world.edit(image="shop:4", drift={"mode": "Off"})
    _run(world, "plan", "apply")
    world.annotate(backup="dump-17")
    world.edit(image="shop:5")
    _run(world, "plan", "apply")

    assert world.says() == ("stuck", "DestructiveDenied")
    assert OTHERS_BACKUP in world.condition("Ready")["message"]
    assert '--overwrite ops.coursegen.dev/backup="$BACKUP"' in world.condition("Ready")["message"]
    assert (world.unfinished, world.resource["status"]["failedAttempts"]) == ([], 0)
    world.annotate(backup="dump-19")
    _run(world, "apply")
    assert world.says() == ("done", "Applied")


def test_a_backup_is_spent_also_when_what_it_was_used_for_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback script takes its revisions out of the list, and the operator remembers another backup by then."""
    monkeypatch.setitem(IMAGES, "shop:4", (*IMAGES["shop:3"], File("20260105000000", destructive=True)))
    world = _dropped()
    world.annotate(backup="dump-18")
    world.edit(image="shop:4", drift={"mode": "Off"})
    _run(world, "plan", "apply")
    world.applied = {"20260105000000"}
    world.annotate(backup="dump-17", reconcile_at="1")
    _run(world, "plan", "apply")

    assert world.says() == ("stuck", "DestructiveDenied")
    assert OTHERS_BACKUP in world.condition("Ready")["message"]
    assert LOST not in world.applied


def test_a_contract_phase_takes_no_spent_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs is not held up by it."""
    monkeypatch.setitem(IMAGES, "shop:3", (*IMAGES["shop:3"], File("20260106000000", "contract")))
    world = _dropped()
    world.uses["dump-1", "older"] = "20250101000000"
    world.edit(contract={"soakSeconds": 0, "waitFor": []}, drift={"mode": "Off"})
    world.annotate(backup="dump-1")
    _run(world, "contract")

    assert world.says() == ("done", "Applied")
    assert world.condition("ContractPending")["reason"] == "DestructiveDenied"
    assert "backup dump-1 was used for another plan" in world.condition("ContractPending")["message"]
    assert world.condition("ContractFailed")["status"] == "False"


def test_a_backup_that_a_job_was_given_counts_whoever_dies_or_edits_meanwhile() -> None:
    """The operator died between the Job and its status; the annotation is another one when the next looks."""
    world = World(new_resource(image="shop:3", policy=ALLOW))
    world.annotate(backup="dump-17")
    world.settle()
    world.finish()
    world.look("after children")
    world.annotate(backup="dump-18")
    world.finish()
    world.settle()

    assert world.resource["status"]["usedBackup"]["id"] == "dump-17"


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    losses=st.lists(st.sampled_from([(LOST,), ("20260104000000",), (LOST, "20260104000000")]), min_size=1, max_size=4),
    deaths=st.lists(st.sampled_from(["no", "before anything", "after children"]), max_size=12),
)
def test_whatever_is_lost_how_often_nothing_old_lets_it_through(
    losses: Sequence[tuple[str, ...]], deaths: list[Any]
) -> None:
    """After each loss the plan waits until both are given anew, whenever the operator dies."""
    world = World(new_resource(image="shop:3", policy=ALLOW, approval="Manual"))
    _run(world, "plan")
    for number, lost in enumerate(((), *losses)):
        if lost:
            _lose(world, *lost)
        made = len(world.made)
        for death in deaths[:4]:
            world.look(death)
        world.settle()
        assert (world.says()[0], len(world.made)) == ("stuck", made)
        world.annotate(approve=world.resource["status"]["planHash"], backup=f"dump-{number}")
        for death in deaths[4:]:
            world.look(death)
        world.wait(1)
        _run(world, "apply", "drift")
        assert world.says() == ("done", "Applied")


@pytest.mark.parametrize(
    ("done", "found"),
    [
        ([], "p"),
        (["q"], "p"),
        (["p"], "p.again2"),
        (["q", "r.again4", "p.again2"], "p.again3"),
        (["p.againx"], "p.again2"),
        (["p.again"], "p.again2"),
    ],
)
def test_what_a_plan_is_called(done: list[str], found: str) -> None:
    """By its hash, and by a number when it is there once more."""
    report = Report(task="plan", outcome="succeeded", pending=("1",), plan_hash="p")

    assert planned(Memory(done_hashes=tuple(done)), report, START).plan_hash == found


def test_the_last_ten_plans_are_remembered() -> None:
    """Each once, by its last name; as many as a status may hold."""
    memory = Memory()
    for name in [*(f"p{number}" for number in range(12)), "p5"]:
        pending = Report(task="plan", outcome="succeeded", pending=("1",), plan_hash=name)
        memory = applied(planned(memory, pending, START), pending, START, START)

    assert memory.done_hashes == ("p5.again2", *(f"p{number}" for number in (11, 10, 9, 8, 7, 6, 4, 3, 2)))
