"""What holds of every plan, whatever the spec, the status, the Jobs, and whoever edits in between."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.coursegen_operator.planning import Observed
from operators.coursegen_operator.resources import Object
from operators.coursegen_operator.retention.planner import RetentionKind
from operators.coursegen_operator.retention.schema import SPEC, STATUS
from services.retention.settings import RetentionSettings
from tests.unit.operators.coursegen_operator.migrations.schemas import of_schema
from tests.unit.operators.coursegen_operator.retention.world import (
    START,
    UID,
    World,
    maintenance,
    mirror,
    new_resource,
    report,
)

_KSTATUS = {("True", "False", "False"), ("False", "True", "False"), ("False", "False", "True")}
_PATIENT = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
_STATUS = jsonschema.Draft202012Validator(
    # Times are the reconciler's to add.
    json.loads(json.dumps(STATUS).replace('"message", "lastTransitionTime"]', '"message"]'))
)
_moments = st.sampled_from(["2026-11-28T12:00:00Z", "2026-11-20T03:00:00Z", "2027-01-01T00:00:00Z", "soon", None])
_outcomes = st.sampled_from(["succeeded", "partial", "guarded", "unscheduled", "held", "failed", "unreachable", "?"])
_rule_reports = st.fixed_dictionaries(
    {"name": st.text(max_size=80)},
    optional={
        "outcome": _outcomes,
        "rowsDeleted": st.integers(-5, 2**70),
        "rowsRemaining": st.none() | st.integers(-5, 2**70),
        "oldestRemaining": _moments,
        "estimated": st.booleans(),
    },
)
_reports = st.fixed_dictionaries(
    {"outcome": _outcomes},
    optional={
        "dryRun": st.booleans(),
        "rowsDeleted": st.integers(-5, 2**70),
        "rowsMatched": st.integers(-5, 2**70),
        "rules": st.lists(_rule_reports, max_size=20),
        "error": st.none() | st.text(max_size=1000),
    },
).map(json.dumps)
_texts = st.sampled_from(["", "\x00", "{", "[" * 4000, '{"outcome": 7}', "ü" * 2000]) | st.text(max_size=50)
_states = st.fixed_dictionaries(
    {},
    optional={
        "waiting": st.fixed_dictionaries(
            {},
            optional={
                "reason": st.sampled_from(["CreateContainerConfigError", "ErrImagePull", "InvalidImageName", "Odd"]),
                "message": _texts,
            },
        ),
        "terminated": st.fixed_dictionaries({"exitCode": st.integers(0, 255)}, optional={"message": _texts | _reports}),
    },
)


@st.composite
def _jobs(draw: st.DrawFn) -> tuple[list[Object], list[Object]]:
    """Jobs in any state, some of them ours, with their pods."""
    jobs, pods = [], []
    for index in range(draw(st.integers(0, 4))):
        labels = {
            "ops.coursegen.dev/owner-uid": draw(st.sampled_from([UID, UID, "other"])),
            "ops.coursegen.dev/task": draw(st.sampled_from(["retention", "retention", "drift"])),
        }
        ended: list[Object] = draw(
            st.lists(
                st.fixed_dictionaries(
                    {"type": st.sampled_from(["Complete", "Failed", "Suspended"]), "status": st.sampled_from(["True", "False"])},
                    optional={"message": _texts, "lastTransitionTime": _moments},
                ),
                max_size=2,
            )
        )  # fmt: skip
        status = {"conditions": ended, "startTime": draw(_moments), "completionTime": draw(_moments)}
        metadata = {"name": f"job-{index}", "namespace": "shop", "uid": f"uid-{index}", "labels": labels}
        jobs.append({"kind": "Job", "metadata": metadata, "status": draw(st.sampled_from([status, {}]))})
        pod = {"name": f"pod-{index}", "ownerReferences": [{"uid": f"uid-{index}", "kind": "Job"}]}
        containers = [{"name": "coursegen", "state": draw(_states)}]
        pods.append({"kind": "Pod", "metadata": pod, "status": {"containerStatuses": containers}})
    return jobs, pods


@st.composite
def _resources(draw: st.DrawFn) -> Object:
    """Any policy that the schema admits, with any status."""
    resource = new_resource()
    resource["spec"] = draw(of_schema(SPEC))
    resource["status"] = draw(st.just({"observedGeneration": -1}) | of_schema(STATUS))
    value = draw(st.none() | st.text(max_size=2000))
    if value is not None:
        resource["metadata"]["annotations"] = {
            "ops.coursegen.dev/run-now": value,
            "ops.coursegen.dev/reconcile-at": value,
        }
    return resource


@_PATIENT
@given(_resources(), _jobs())
def test_a_plan_is_total_pure_and_says_one_thing(resource: Object, seen: tuple[list[Object], list[Object]]) -> None:
    """Nothing is raised or changed; exactly one of ready, working and stuck; a status that the API server takes."""
    jobs, pods = seen
    observed = Observed(START, jobs, {"jobs": jobs, "pods": pods})
    before = copy.deepcopy((resource, jobs, pods))
    plan = RetentionKind().plan(resource, observed)
    three = {each["type"]: each["status"] for each in plan.status["conditions"]}

    assert (resource, jobs, pods) == before
    assert plan == RetentionKind().plan(resource, observed)
    assert (three["Ready"], three["Reconciling"], three["Stalled"]) in _KSTATUS
    assert {"LastRunSucceeded", "GuardTripped", "Overdue"} < three.keys()
    assert list(_STATUS.iter_errors(plan.status)) == []
    assert plan.obsolete == ()
    assert plan.look_again_seconds is None or plan.look_again_seconds > 0
    assert all(notice.reason and notice.message for notice in plan.notices)
    assert json.loads(json.dumps(plan.status)) == plan.status


_steps = st.lists(
    st.one_of(
        st.sampled_from(["delete", "edit", "suspend", "resume", "reschedule", "run-now", "forget jobs", "look"]),
        st.tuples(st.just("run"), _outcomes, st.booleans(), st.booleans()),
        st.tuples(st.just("wait"), st.integers(1, 200_000)),
    ),
    max_size=12,
)  # fmt: skip


@_PATIENT
@given(_steps, st.sampled_from([None, mirror, maintenance]))
def test_every_history_settles_and_stays_settled(steps: list[Any], webhook: Callable[[Object], object] | None) -> None:
    """Whatever happens, few looks are enough; one more look writes and makes nothing; runs are counted once."""
    world = World(new_resource(startingDeadlineSeconds=600, maxRunSeconds=60), webhook=webhook)
    world.settle()
    failures = 0
    for number, step in enumerate(steps):
        failures = _carry_out(world, step, number, failures)
        world.settle()
        writes, jobs, told = world.writes, dict(world.jobs), len(world.told)
        world.look()

        assert (world.writes, world.jobs, len(world.told)) == (writes, jobs, told)
        assert world.cron_job is not None
        is_in_force = world.cron_job["spec"]["suspend"] == world.resource["spec"].get("suspend", False)
        assert is_in_force or webhook is maintenance
        assert world.status["consecutiveFailures"] == failures
        assert (world.condition("Ready")["status"] == "True") == is_in_force


def _carry_out(world: World, step: Any, number: int, failures: int) -> int:
    """One step; returns the failures since the last success."""
    world.now += timedelta(seconds=1)
    match step:
        case "delete":
            world.cron_job = None
        case "edit":
            assert world.cron_job is not None
            world.cron_job["spec"]["schedule"] = "1 1 1 1 *"
        case "suspend" | "resume":
            world.edit(suspend=step == "suspend")
        case "reschedule":
            world.edit(schedule=f"{number} 4 * * *")
        case "run-now":
            world.resource["metadata"]["annotations"]["ops.coursegen.dev/run-now"] = str(number)
        case "forget jobs":
            world.jobs.clear()
            world.pods.clear()
        case ("wait", seconds):
            world.now += timedelta(seconds=seconds)
        case ("run", outcome, failed, vanishes):
            world.start_job(f"run-{number}", by_hand=vanishes)
            world.end_job(f"run-{number}", report(outcome), failed=failed)
            return _failures(failures, outcome, failed)
    return failures


def _failures(before: int, outcome: str, failed: bool) -> int:
    if outcome in {"guarded", "failed", "unreachable"} or failed:
        return before + 1
    return before if outcome in {"unscheduled", "held"} else 0


@_PATIENT
@given(of_schema(SPEC))
def test_the_process_takes_whatever_the_schema_admits(spec: Object) -> None:
    """What the API server lets through never fails as a setting. CEL has its say first."""
    spec["rules"] = [_by_cel(rule) for rule in spec["rules"]]
    world = World(new_resource(**spec))
    world.look()
    if world.cron_job is None:  # a schedule that only the planner can judge
        return
    container = world.cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    environ = {each["name"]: each.get("value", "postgresql://db/x") for each in container["env"]}

    assert [rule.name for rule in RetentionSettings.from_environ(environ).rules] == [
        rule["name"] for rule in spec["rules"]
    ]


def _by_cel(rule: Object) -> Object:
    """The rule as the CEL rules of the schema would have it."""
    rule = {**rule}
    if not set("123456789") & set(rule["keep"]):
        rule["keep"] = "7d"
    if rule["target"] != "Custom":
        return {key: value for key, value in rule.items() if key not in {"table", "timestampColumn"}}
    return {"table": "visits", "timestampColumn": "at", **rule}
