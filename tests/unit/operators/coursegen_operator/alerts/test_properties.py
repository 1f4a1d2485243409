"""What holds of every plan, whatever the policy, the cluster around it, and what was there before."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import promql_parser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.coursegen_operator import child, conditions
from operators.coursegen_operator.alerts.acceptance import INVALID
from operators.coursegen_operator.alerts.rules import PRESET_SCHEMAS
from operators.coursegen_operator.alerts.schema import SPEC, STATUS
from operators.coursegen_operator.alerts.selectors import is_label
from operators.coursegen_operator.planning import Plan
from operators.coursegen_operator.resources import Object
from tests.unit.operators.coursegen_operator.alerts.scene import (
    GOOD_GROUP,
    NAMESPACE,
    RULE,
    Scene,
    policy,
    prometheus,
    told,
)
from tests.unit.operators.coursegen_operator.alerts.test_selectors import labels_of, selectors
from tests.unit.operators.coursegen_operator.migrations.schemas import of_schema

_KSTATUS = {("True", "False", "False"), ("False", "True", "False"), ("False", "False", "True")}
_PATIENT = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
_STATUS = jsonschema.Draft202012Validator(
    # Times are the reconciler's to add.
    json.loads(json.dumps(STATUS).replace('"message", "lastTransitionTime"]', '"message"]'))
)

_moments = st.sampled_from(["2026-11-28T11:00:00Z", "2026-11-28T12:00:00Z", "2026-11-28T13:00:00.5Z", "soon", None])
_standings = st.sampled_from(["True", "False", "Unknown", "?"])
_names = st.sampled_from(["k8s", "own"])
_selecting = st.builds(
    prometheus,
    _names,
    st.sampled_from(["monitoring", NAMESPACE]),
    st.sampled_from(["Prometheus", "ThanosRuler"]),
    ruleSelector=selectors,
    ruleNamespaceSelector=selectors,
    paused=st.booleans(),
)
_bindings = st.fixed_dictionaries(
    {"resource": st.sampled_from(["prometheuses", "thanosrulers", "?"]), "namespace": st.just("monitoring")},
    optional={
        "name": _names,
        "conditions": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["Accepted", "?"])},
                optional={"status": _standings, "message": st.text(), "observedGeneration": st.integers(0, 3)},
            ),
            max_size=2,
        ),
    },
)
_events = st.fixed_dictionaries(
    {"metadata": st.just({}), "type": st.sampled_from(["Warning", "Normal"])},
    optional={
        "reason": st.sampled_from([INVALID, "PolicyViolation"]),
        "regarding": st.just({"kind": "PrometheusRule", "name": RULE}) | st.none(),
        "note": st.text(),
        "eventTime": _moments,
        "series": st.none() | st.fixed_dictionaries({"lastObservedTime": _moments}),
    },
)
_denied = st.lists(
    st.tuples(
        st.sampled_from(["prometheuses", "thanosrulers", "namespaces", "events", "prometheusrules"]),
        st.sampled_from(["Forbidden", "Absent"]),
    ),
    max_size=2,
)
_queries = st.sampled_from(["sum(rate(e[{{.window}}]))", "rate(e[{{ .window }}])", "sum(e{{.window}}"])
_slos = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b-c"]),
        "objective": st.sampled_from(["99.9", "50", "0.1", "99.99999"]),
        "sli": st.fixed_dictionaries(
            {"events": st.fixed_dictionaries({"errorQuery": _queries, "totalQuery": _queries})}
        ),
    },
    optional={"window": st.sampled_from(["30d", "2w", "0d"]), "absent": st.booleans()},
)
_groups = st.sampled_from(
    [
        GOOD_GROUP,
        {"name": "empty"},
        {"name": "record", "rules": [{"record": "a:b", "expr": 1}], "limit": 3},
        {"name": "odd", "rules": [{"expr": ""}], "labels": {"a": "b"}, "query_offset": "x"},
        {"name": "bare", "rules": [{"alert": "Bare", "expr": "up"}]},
    ]
)
_specs: st.SearchStrategy[Object] = of_schema(SPEC) | st.builds(
    dict,
    st.just({"runbookBaseURL": "https://runbooks.example/"}),
    presets=of_schema(SPEC["properties"]["presets"]),
    slos=st.lists(_slos, max_size=2, unique_by=lambda slo: slo["name"]),
    extraGroups=st.lists(_groups, max_size=2, unique_by=lambda group: group["name"]),
    prometheusSelector=of_schema(SPEC["properties"]["prometheusSelector"]),
    scope=st.sampled_from(["Namespace", "Cluster"]),
)


@st.composite
def _scenes(draw: st.DrawFn) -> Scene:
    """A policy in a cluster, with a rule of before or without."""
    resource = policy()
    resource["spec"] = draw(_specs)
    scene = Scene(
        resource,
        selecting=draw(st.lists(_selecting, max_size=3)),
        namespace_labels=draw(st.none() | labels_of),
        events=draw(st.lists(_events, max_size=2)),
        denied=draw(_denied),
    )
    if draw(st.booleans()):
        resource["status"] = draw(_statuses)
    if draw(st.booleans()):
        scene.rules.append(_rule_of_before(resource, draw(st.lists(_bindings, max_size=2))))
    return scene


_statuses = st.fixed_dictionaries(
    {},
    optional={
        "copiedLabels": labels_of,
        "prometheusRule": st.fixed_dictionaries(
            {},
            optional={
                "name": st.just(RULE),
                "hash": st.just("x"),
                "refusal": st.fixed_dictionaries(
                    {}, optional={"uid": st.just("rule-uid"), "generation": st.integers(1, 2), "message": st.text()}
                ),
            },
        ),
        "alertCount": st.integers(0, 5),
        "conditions": st.just([{"type": "RulesSelected", "status": "True", "reason": "x", "message": ""}]),
    },
)


def _rule_of_before(resource: Object, bindings: list[Object]) -> Object:
    owner = {"controller": True, "uid": "uid-1"}
    metadata = {"name": RULE, "namespace": NAMESPACE, "uid": "rule-uid", "ownerReferences": [owner], "generation": 1}
    born = {"creationTimestamp": "2026-11-28T10:00:00Z", "labels": child.common_labels(resource)}
    return {"kind": "PrometheusRule", "metadata": metadata | born, "spec": {}, "status": {"bindings": bindings}}


@_PATIENT
@given(_scenes())
def test_every_policy_has_a_plan_with_a_complete_status(scene: Scene) -> None:
    """Total on whatever the schema admits; the status fits its own schema; exactly one of the three states of kstatus."""
    before = copy.deepcopy(scene.resource)
    plan = scene.plan()

    assert scene.resource == before
    _STATUS.validate(plan.status)
    assert plan.status["observedGeneration"] == 1
    assert tuple(told(plan, each)[0] for each in ("Ready", "Reconciling", "Stalled")) in _KSTATUS
    assert {each["type"] for each in plan.status["conditions"]} >= {"RulesGenerated", "RulesSelected", "RulesAccepted"}
    assert all(each["message"] for each in plan.status["conditions"])
    assert len(plan.children) <= 1


@_PATIENT
@given(_scenes())
def test_planning_again_changes_nothing(scene: Scene) -> None:
    """Once the rule is there, another look finds what the one before has found, and tells nothing."""
    plans = [scene.look(), scene.look(), scene.look()]

    assert plans[2].status == plans[1].status
    assert plans[2].notices == ()
    assert plans[2].obsolete == ()
    assert plans[2].children == plans[1].children == plans[0].children


@_PATIENT
@given(_scenes())
def test_whatever_is_written_can_be_read_by_prometheus(scene: Scene) -> None:
    """Every expression parses, every alert is complete, every label is one, no group is there twice."""
    for each in scene.plan().children:
        manifest = child.adopt(each, scene.resource)
        assert all(is_label(key, value) for key, value in manifest["metadata"]["labels"].items())
        _assert_loadable(manifest["spec"]["groups"])


def _assert_loadable(groups: list[Object]) -> None:
    names = [group["name"] for group in groups]
    assert len(set(names)) == len(names)
    for rule in (rule for group in groups for rule in group.get("rules") or ()):
        promql_parser.parse(str(rule["expr"]))
        if "alert" in rule:
            assert rule["labels"]["severity"]
            assert all(rule["annotations"][name] for name in ("summary", "description", "runbook_url"))


@_PATIENT
@given(st.fixed_dictionaries({}, optional={name: of_schema(schema) for name, schema in PRESET_SCHEMAS.items()}))
def test_presets_alone_never_make_a_rule_that_cannot_work(presets: dict[str, Any]) -> None:
    """Their schemas refuse what would; nobody is Stalled for a figure."""
    plan = Scene(policy(presets=presets)).plan()

    assert told(plan, "Ready")[0] == "True", conditions.find(plan.status["conditions"], "Ready")


@_PATIENT
@given(_scenes())
def test_selection_is_told_as_counted(scene: Scene) -> None:
    """True with at least one that selects, and False only if everything could be seen and nothing does."""
    plan: Plan = scene.plan()
    if not plan.children:
        return
    entries = plan.status.get("selectedBy", [])
    standing = told(plan, "RulesSelected")[0]

    assert plan.status["selectedCount"] == sum(entry["selected"] == "True" for entry in entries)
    assert (standing == "True") == (plan.status["selectedCount"] > 0)
    if standing == "False":
        assert all(entry["selected"] == "False" for entry in entries)
        assert not {what for what, why in scene.denied if why == "Forbidden"} & {"prometheuses", "thanosrulers"}


@_PATIENT
@given(_scenes())
def test_a_refusal_is_told_for_as_long_as_its_rule_is_there(scene: Scene) -> None:
    """The Event that has said so may be dropped, and time goes by. Where the rule says itself who has it, that counts."""
    scene.look()
    regarding = {"kind": "PrometheusRule", "name": RULE, "uid": "rule-uid"}
    told_at = conditions.timestamp(scene.now)
    refusal = {"metadata": {}, "type": "Warning", "reason": INVALID, "regarding": regarding, "eventTime": told_at}
    scene.events = [refusal] if scene.rules else []
    before = told(scene.look(), "RulesAccepted")
    scene.events = []
    scene.later(7200)

    assert told(scene.look(), "RulesAccepted") == before
