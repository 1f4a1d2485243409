"""What holds of every plan, whatever the spec, the status, the Jobs, and whoever dies or edits in between."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.coursegen_operator.conditions import moment_of
from operators.coursegen_operator.migrations.facts import DEPLOYMENTS
from operators.coursegen_operator.migrations.job import job_of
from operators.coursegen_operator.migrations.planner import MigrationKind
from operators.coursegen_operator.migrations.rollout import migrations_label
from operators.coursegen_operator.migrations.schema import SPEC, STATUS
from operators.coursegen_operator.migrations.spec import MigrationSpec
from operators.coursegen_operator.migrations.status import Memory
from operators.coursegen_operator.planning import Child, Observed, Plan
from operators.coursegen_operator.resources import Object
from tests.unit.operators.coursegen_operator.migrations.schemas import of_schema
from tests.unit.operators.coursegen_operator.migrations.world import IMAGES, START, World, new_resource, without_times

_KSTATUS = {("True", "False", "False"), ("False", "True", "False"), ("False", "False", "True")}
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
_STATUS = jsonschema.Draft202012Validator(
    # Times are the reconciler's to add.
    json.loads(json.dumps(STATUS).replace('"message", "lastTransitionTime"]', '"message"]'))
)

_moments = st.sampled_from(["2026-11-28T12:00:00Z", "2026-11-28T11:00:00Z", "2027-01-01T00:00:00Z", "soon", None])
_texts = st.sampled_from(["", "\x00", "{", "[" * 4000, '{"task": "plan"}', "ü" * 2000])
_reports = st.fixed_dictionaries(
    {
        "task": st.sampled_from(["plan", "apply", "contract", "drift"]),
        "outcome": st.sampled_from(["succeeded", "failed", "unreachable", "denied", "ahead", "?"]),
    },
    optional={
        "currentRevision": st.none() | st.text(max_size=80),
        "pending": st.none() | st.lists(st.text(max_size=20), max_size=25),
        "pendingCount": st.none() | st.integers(-5, 10**6),
        "baselineCount": st.none() | st.integers(-5, 10**6),
        "planHash": st.none() | st.text(max_size=80),
        "destructive": st.none() | st.just([{"revision": "x", "statement": "DROP TABLE y" * 40}] * 25),
        "contractPending": st.none() | st.lists(st.text(max_size=80), max_size=25),
        "contractPlanHash": st.none() | st.just("c" * 70),
        "drift": st.none() | st.fixed_dictionaries({"state": st.sampled_from(["InSync", "Drifted", "?"])}),
        "error": st.none() | st.text(max_size=1000),
        "transient": st.none() | st.booleans(),
    },
).map(json.dumps)
_containers = st.fixed_dictionaries(
    {"name": st.just("coursegen")},
    optional={
        "state": st.fixed_dictionaries(
            {},
            optional={
                "waiting": st.fixed_dictionaries(
                    {},
                    optional={
                        "reason": st.sampled_from(
                            ["CreateContainerConfigError", "ErrImagePull", "InvalidImageName", "Odd"]
                        ),
                        "message": _texts,
                    },
                ),
                "terminated": st.fixed_dictionaries(
                    {"exitCode": st.integers(0, 255)}, optional={"message": _texts | _reports}
                ),
            },
        )
    },
)


@st.composite
def _observed(draw: st.DrawFn, resource: Object) -> Observed:
    """Anything at all, and often the very Jobs that the planner will ask for."""
    spec, memory = MigrationSpec.of(resource), Memory.of(resource.get("status") or {})
    jobs, pods = [], []
    task = draw(st.sampled_from(["plan", "apply", "contract", "drift"]))
    names = [job_of(resource, spec, memory, task, "").name, "stranger"]
    for number, name in enumerate(draw(st.lists(st.sampled_from(names), max_size=2, unique=True))):
        conditions = [
            {"type": kind, "status": "True"} for kind in draw(st.sampled_from([[], ["Complete"], ["Failed"]]))
        ]
        status = {"conditions": conditions, "startTime": draw(_moments)}
        jobs.append({"kind": "Job", "metadata": {"name": name, "uid": str(number), "labels": {}}, "status": status})
        containers = draw(st.lists(_containers, max_size=1))
        phase = draw(st.sampled_from(["Pending", "Running", "Failed"]))
        owner = {"kind": "Job", "uid": draw(st.sampled_from([str(number), "gone"]))}
        pods.append(
            {
                "metadata": {"name": f"pod-{number}", "ownerReferences": [owner]},
                "status": {"phase": phase, "containerStatuses": containers},
            }
        )
    around: dict[str, list[Object]] = {"pods": pods}
    if draw(st.booleans()):
        around[DEPLOYMENTS] = draw(st.sampled_from([[], [{"metadata": {"name": "api"}}]]))
    return Observed(START + timedelta(seconds=draw(st.integers(-(10**6), 10**6))), tuple(jobs), around)


@_PATIENT
@given(spec=of_schema(SPEC), status=of_schema(STATUS), data=st.data())
def test_any_resource_has_a_plan_that_changes_nothing_when_made_again(
    spec: dict[str, Any], status: dict[str, Any], data: st.DataObject
) -> None:
    """Total, idempotent, in one of the three states of kstatus, and valid by its own schema."""
    resource = new_resource(**spec)
    resource["spec"], resource["status"] = spec, status
    if data.draw(st.booleans()):  # a status of this round
        key = MigrationKind().plan(resource, Observed(START)).status["round"].partition("-")[2]
        resource["status"] = {**status, "round": f"7-{key}"}
    observed = data.draw(_observed(resource))
    plan = MigrationKind().plan(resource, observed)
    _check_plan(plan)
    _check_idempotent(resource, plan, observed)
    status = json.loads(json.dumps(plan.status))
    assert [error.message for error in _STATUS.iter_errors(status)] == []


def _check_plan(plan: Plan) -> None:
    found = {each["type"]: each for each in plan.status["conditions"]}
    assert (found["Ready"]["status"], found["Reconciling"]["status"], found["Stalled"]["status"]) in _KSTATUS
    assert set(found) == {
        *("Ready", "Reconciling", "Stalled"),
        *("PendingApproval", "DriftDetected", "ContractPending", "ContractFailed"),
    }
    if found["Stalled"]["status"] == "True":
        assert "kubectl -n shop " in found["Stalled"]["message"]
    assert all(len(each["message"].encode()) <= 1024 for each in found.values())
    assert len(plan.children) <= 1
    assert plan.look_again_seconds is None or plan.look_again_seconds > 0


def _check_idempotent(resource: Object, plan: Plan, observed: Observed) -> None:
    """With what the plan wants done, and the same around it, the next plan is the same."""
    gone = {each["metadata"]["name"] for each in plan.obsolete}
    if any(not each["status"].get("conditions") for each in plan.obsolete):
        return  # what was waited for is gone: the next plan goes on
    there = {each["metadata"]["name"]: each for each in observed.children if each["metadata"]["name"] not in gone}
    for child in plan.children:
        made = {"kind": "Job", "status": {}, **child.manifest}
        there.setdefault(child.name, {**made, "metadata": {**child.manifest["metadata"], "uid": child.name}})
    again = {**resource, "status": json.loads(json.dumps(plan.status))}
    second = MigrationKind().plan(again, Observed(observed.now, tuple(there.values()), observed.around))
    assert second.status == plan.status
    assert {child.name for child in second.children} <= set(there)
    assert second.obsolete == ()


# ── Runs ──


@dataclass
class WatchedWorld(World):
    """Refuses what must never happen."""

    rolled_out_at: datetime | None = None
    is_rolled_out: bool = False
    granted: set[str] = field(default_factory=set)
    """Plans that were approved since they were last applied."""
    spent: set[str] = field(default_factory=set)
    """Backups with which a Job has taken something away."""
    has_lost: bool = False
    removed: set[str] = field(default_factory=set)

    def look(self, death: Any = "no") -> Plan:
        """One look, and what must hold after it."""
        observed, resource = self.observed(), json.loads(json.dumps(self.resource))
        plan = MigrationKind().plan(resource, observed)
        _check_plan(plan)
        _check_idempotent(resource, plan, observed)
        for job in plan.obsolete:
            is_over = bool(job["status"].get("conditions"))
            assert is_over or self.task(job) in {"plan", "drift"} or not self._is_running(job)
        found = super().look(death)
        assert len(self.unfinished) <= 1
        return found

    def _is_running(self, job: Object) -> bool:
        pod = self.pods.get(f"{job['metadata']['name']}-x")
        return pod is not None and "running" in pod["status"]["containerStatuses"][0]["state"]

    def _create(self, child: Child) -> None:
        if child.name not in self.jobs:
            assert self.unfinished == []
            self._check_permitted(child.manifest)
            assert child.name not in self.made or child.name in self.removed
        super()._create(child)

    def remove(self, name: str) -> None:
        """Delete a Job."""
        self.removed.add(name)
        super().remove(name)

    def finish(self, fate: Any = "ok", job: Object | None = None) -> None:
        """A Job ends; what it has used is spent when it did what it was for."""
        job = job or self.job
        args = job["spec"]["template"]["spec"]["containers"][0]["args"]
        before = set(self.applied)
        super().finish(fate, job)
        if self.applied != before:
            done = _option(args, "expect-plan")
            self.granted = {each for each in self.granted if each.partition(".again")[0] != done}
            self.spent |= {_option(args, "backup")} if "--allow-destructive" in args else set()

    def _check_permitted(self, manifest: Object) -> None:
        """By the world, not by the planner's own words."""
        spec, annotations = self.resource["spec"], self.resource["metadata"]["annotations"]
        task = manifest["metadata"]["labels"]["ops.coursegen.dev/task"]
        args = manifest["spec"]["template"]["spec"]["containers"][0]["args"]
        assert not spec.get("suspend", False)
        if "--allow-destructive" in args:
            assert task in {"apply", "contract"}
            assert spec.get("policy") == {"destructive": "Allow"}
            assert annotations.get("ops.coursegen.dev/backup") == _option(args, "backup")
            assert _option(args, "backup") not in self.spent
        if task == "apply" and spec.get("approval") == "Manual":
            assert _option(args, "expect-plan") in {each.partition(".again")[0] for each in self.granted}
        if task == "contract":
            self._check_soaked(spec.get("contract") or {}, self.last_plan)

    def _check_soaked(self, contract: Mapping[str, Any], plan: Plan | None) -> None:
        assert contract.get("mode") != "Never"
        assert plan is not None
        settled_at = moment_of(plan.status["expandedAt"])
        soak = timedelta(seconds=contract.get("soakSeconds", 300))
        assert settled_at is not None
        assert settled_at + soak <= self.now
        if contract.get("waitFor") != []:
            (deployment,) = self.deployments
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            assert labels["ops.coursegen.dev/migrations"] == migrations_label(self.resource)
            assert self.is_rolled_out
            assert self.rolled_out_at is not None
            assert self.rolled_out_at + soak <= self.now


def _option(args: list[str], name: str) -> str:
    return next((each.partition("=")[2] for each in args if each.startswith(f"--{name}=")), "")


_specs = st.fixed_dictionaries(
    {
        "image": st.sampled_from(sorted(IMAGES)),
        "approval": st.sampled_from(["Auto", "Auto", "Manual"]),
        "policy": st.sampled_from([{"destructive": "Deny"}, {"destructive": "Allow"}]),
        "contract": st.fixed_dictionaries(
            {
                "mode": st.sampled_from(["AfterRollout", "AfterRollout", "Manual", "Never"]),
                "soakSeconds": st.sampled_from([0, 300]),
            },
            optional={"waitFor": st.sampled_from([[], [{"name": "api"}]])},
        ),
        "drift": st.sampled_from([{"mode": "Off"}, {"mode": "Detect"}, {"mode": "Fail", "intervalSeconds": 60}]),
        "retry": st.sampled_from([{"maxAttempts": 1}, {"maxAttempts": 3}, {}]),
        "suspend": st.sampled_from([False, False, False, True]),
    },
    optional={
        "job": st.sampled_from([{}, {"ttlSecondsAfterFinished": 60}]),
        "baseline": st.sampled_from(["20260101000000", "20260102000000"]),
    },
)
_actions = st.one_of(
    st.tuples(st.just("look"), st.sampled_from(["no", "no", "before anything", "after children"])),
    st.tuples(st.just("look"), st.sampled_from(["no", "no", "before anything", "after children"])),
    st.tuples(
        st.just("finish"), st.sampled_from(["ok", "ok", "ok", "error", "unreachable", "killed", "lost", "locked"])
    ),
    st.tuples(st.just("finish"), st.just("ok")),
    st.tuples(
        st.just("begin"), st.sampled_from([None, {"reason": "ImagePullBackOff"}, {"reason": "ContainerCreating"}])
    ),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 61, 301, 700])),
    st.tuples(st.just("edit"), _specs),
    st.tuples(st.just("approve"), st.sampled_from(["planHash", "contractPlanHash"])),
    st.tuples(st.just("backup"), st.sampled_from(["dump", "dump-2", ""])),
    st.tuples(st.just("again"), st.sampled_from(["1", "2"])),
    st.tuples(st.just("remove"), st.integers(0, 3)),
    st.tuples(st.just("roll out"), st.booleans()),
    st.tuples(st.just("undo"), st.none()),
    st.tuples(st.just("drift"), st.booleans()),
    st.tuples(st.just("lose"), st.integers(0, 3)),
)


def _act(world: WatchedWorld, action: str, value: Any) -> None:
    match action:
        case "look":
            world.look(value)
        case "finish" if world.unfinished:
            world.finish(value)
        case "begin" if world.unfinished and f"{world.job['metadata']['name']}-x" not in world.pods:
            world.begin(waiting=value)
        case "wait":
            world.wait(value)
        case "edit":
            world.edit(**value)
        case "approve":
            given = world.resource["status"].get(value, "nothing")
            world.annotate(approve=given)
            world.granted.add(given)
        case "backup":
            world.annotate(backup=value)
        case "again":
            world.annotate(reconcile_at=value)
        case "remove" if world.jobs:
            world.remove(sorted(world.jobs)[value % len(world.jobs)])
        case "roll out":
            world.roll_out(ready=value, is_marked=True)
            world.is_rolled_out, world.rolled_out_at = value, world.now
        case "undo" if world.deployments:
            world.undo(migrations="0" * 16)
        case "drift":
            world.drifted = value
        case "lose" if world.applied:
            world.applied.discard(sorted(world.applied)[value % len(world.applied)])
            world.has_lost = True
        case _:
            pass


@settings(_PATIENT, max_examples=200)
@given(
    spec=_specs,
    actions=st.lists(_actions, max_size=40),
    last=st.sampled_from(["ok", "error", "killed", "lost", "locked"]),
    unlisted=st.sampled_from([set(), {"20260101000000", "20260102000000"}]),
)
def test_every_run_ends_ready_or_tells_a_person_what_to_do(
    spec: dict[str, Any], actions: list[Any], last: Any, unlisted: set[str]
) -> None:
    """Whatever happens to it, and however often the operator dies: once nobody interferes, it comes to an end.

    On the way there are never two Jobs at once, nothing that loses data without both permissions, no contract phase before the
    rollout has soaked or while it is undone, and no Job made twice. No backup and no approval is used twice, also when revisions
    are lost. Who is told that all is applied finds it in the database's list.
    """
    world = WatchedWorld(new_resource(**spec), unlisted=unlisted)
    for action, value in actions:
        _act(world, action, value)
    _calm(world, last)

    assert world.says()[0] in {"done", "stuck"}
    if world.says()[0] == "stuck":
        assert "kubectl -n shop " in world.condition("Ready")["message"]
    if world.says() == ("done", "Applied") and not world.has_lost:
        assert world.work(world.resource["spec"]["image"], "expand").files == ()


def _calm(world: WatchedWorld, fate: Any) -> None:
    """Nobody interferes any more; every Job ends like the other."""
    for _ in range(100):
        plan = world.settle()
        if world.unfinished:
            world.finish(fate)
        elif world.says()[0] != "working":
            return
        else:
            assert plan.look_again_seconds is not None
            world.wait(plan.look_again_seconds)
    raise AssertionError(f"no end: {world.says()}")


@settings(_PATIENT, max_examples=60)
@given(
    actions=st.lists(
        st.one_of(
            st.tuples(st.just("look"), st.sampled_from(["no", "before anything", "after children"])),
            st.tuples(st.just("finish"), st.just("unreachable")),
            st.tuples(st.just("wait"), st.sampled_from([30, 600])),
        ),
        max_size=60,
    )
)
def test_a_database_that_is_away_never_stalls(actions: list[Any]) -> None:
    """And once it is back, the migration is applied by itself."""
    world = WatchedWorld(new_resource(retry={"maxAttempts": 1}))
    for action, value in actions:
        _act(world, action, value)
        _act(world, "begin", None)
        if world.resource["status"].get("conditions"):
            assert world.says()[0] == "working"
    _calm(world, "ok")

    assert world.says() == ("done", "Applied")


def test_deaths_change_nothing_of_what_is_done() -> None:
    """A run in which the operator dies at every step makes the same Jobs as one in which it lives."""
    made = []
    for deaths in (["no"], ["before anything", "after children", "no"]):
        world = WatchedWorld(new_resource(image="shop:2", policy={"destructive": "Allow"}))
        world.annotate(backup="dump")
        _act(world, "roll out", True)
        for _ in range(12):
            for death in deaths:
                world.look(death)
            if world.unfinished:
                world.finish()
            else:
                world.wait(400)
        made.append(world.made)

    assert made[0] == made[1]
    assert without_times(world.resource["status"])["currentRevision"] == "20260103000000"
