"""Groups from a policy's presets: pure, total, and what the policy says wins."""

from __future__ import annotations

import copy
import json
from typing import Any

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.coursegen_operator.alerts.rules import PRESET_SCHEMAS, groups
from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from operators.coursegen_operator.alerts.rules.figures import Form

SLO = {"name": "x", "objective": "99", "sli": {"events": {"errorQuery": "e[{{.window}}]", "totalQuery": "t[1m]"}}}


def made(presets: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    """What a policy with these presets makes."""
    arguments: dict[str, Any] = {
        "slos": [],
        "runbook_base_url": "https://r.example/",
        "common_labels": {},
        "common_annotations": {},
        "keep_firing_for": "5m",
        "interval": "30s",
        **changes,
    }
    return groups(presets, arguments.pop("slos"), **arguments)


def alerts(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Alerts by name."""
    return {rule["alert"]: rule for group in found for rule in group["rules"] if "alert" in rule}


def test_an_absent_preset_makes_nothing_and_an_empty_one_everything() -> None:
    """`{}` turns a preset on; `enabled: false` turns it off and keeps its figures."""
    assert made({}) == []
    assert made({"outbox": {"enabled": False, "lagSeconds": 5}}) == []
    assert set(alerts(made({"outbox": {}}))) == {
        "OutboxRelayNoLeader",
        "OutboxRelayLeaderFlapping",
        "OutboxLagHigh",
        "OutboxDeadLetters",
    }


def test_the_eleven_and_the_three_have_the_contracts_names_and_severities() -> None:
    """contract.md (j), in order; the sixth is off unless a policy asks for it."""
    (eleven,) = made({"transactionalOutbox": {"alerts": {"CacheHitRateLow": {"enabled": True}}}})
    (three,) = made({"phase3Queue": {}})

    assert (eleven["name"], three["name"], three["interval"]) == ("transactional_outbox", "phase3_queue", "60s")
    assert [(rule["alert"], rule["labels"]["severity"]) for rule in eleven["rules"]] == [
        ("FsmFailureRateHigh", "critical"),
        ("OutboxQueueDepthHigh", "critical"),
        ("OutboxProcessorStalled", "critical"),
        ("WorkerFailureRateHigh", "critical"),
        ("SystemHealthCheckFailed", "critical"),
        ("CacheHitRateLow", "warning"),
        ("FsmLatencyHigh", "warning"),
        ("OutboxFailureRateHigh", "warning"),
        ("OutboxBatchLatencyHigh", "warning"),
        ("FallbackFrequencyHigh", "warning"),
        ("Layer2FailureRateHigh", "warning"),
    ]
    assert [(rule["alert"], rule["expr"], rule["for"], rule["labels"]["severity"]) for rule in three["rules"]] == [
        ("QueuePartitionLagHigh", "stream_partition_lag > 1000", "5m", "warning"),
        ("QueueDLQRateHigh", "rate(stream_dead_letter_total[5m]) > 10", "5m", "critical"),
        (
            "ConsumerProcessingErrors",
            'rate(stream_consumer_processed_total{status="error"}[5m]) > 1',
            "5m",
            "warning",
        ),
    ]
    assert "CacheHitRateLow" not in alerts(made({"transactionalOutbox": {}}))


def test_a_setting_of_one_alert_wins_over_its_presets_and_that_over_the_default() -> None:
    """For waits and severities; a figure that is a wait stands between them."""
    plain = alerts(made({"outbox": {}}))
    preset = alerts(made({"outbox": {"for": "9m", "severity": "info", "noLeaderFor": "2s"}}))
    single = alerts(made({"outbox": {"for": "9m", "alerts": {"OutboxLagHigh": {"for": "0s", "severity": "critical"}}}}))

    assert (plain["OutboxRelayNoLeader"]["for"], plain["OutboxLagHigh"]["for"]) == ("1m", "2m")
    assert (preset["OutboxRelayNoLeader"]["for"], preset["OutboxLagHigh"]["for"]) == ("2s", "9m")
    assert preset["OutboxLagHigh"]["labels"]["severity"] == "info"
    assert (single["OutboxLagHigh"]["for"], single["OutboxLagHigh"]["labels"]["severity"]) == ("0s", "critical")


def test_every_alert_says_what_it_must() -> None:
    """Severity, summary, description with the next command, and a page; what is common is beside it, not in its place."""
    common = {"summary": "mine", "runbook_url": "mine", "team": "courses"}
    found = alerts(
        made(
            {preset.name: {} for preset in PRESETS},
            slos=[SLO],
            common_labels={"severity": "mine", "team": "courses"},
            common_annotations=common,
        )
    )

    assert len(found) == 35
    for name, rule in found.items():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["labels"]["team"] == rule["annotations"]["team"] == "courses"
        assert rule["annotations"]["runbook_url"] == f"https://r.example/{name}"
        assert rule["annotations"]["summary"] != "mine"
        assert "Next: " in rule["annotations"]["description"]
        assert rule["keep_firing_for"] == "5m"


@pytest.mark.parametrize("zero", ["0s", "0m"])
def test_alerts_may_end_at_once(zero: str) -> None:
    """`keepFiringFor: 0s` leaves the field out: Prometheus Operator takes no empty one."""
    assert "keep_firing_for" not in alerts(made({"outbox": {}}, keep_firing_for=zero))["OutboxLagHigh"]


def test_a_policy_may_watch_its_own_namespace_only() -> None:
    """Every series is narrowed, those of the operator by either name of the label; its own health is nobody's namespace."""
    presets = {preset.name: {} for preset in PRESETS if preset.name != "operator"}
    for name, rule in alerts(made(presets, namespace="shop")).items():
        selectors = rule["expr"].count("{")
        assert selectors == rule["expr"].count('namespace="shop"') > 0, name
    assert 'namespace="shop"' not in json.dumps(made(presets))


def test_a_policy_that_nobody_has_loaded_is_told_of_by_those_of_other_namespaces() -> None:
    """Its own rules are not in force: the part `operator` counts all series."""
    scoped, whole = (made({"operator": {}}, namespace=namespace) for namespace in ("shop", ""))

    assert "shop" not in json.dumps(scoped)
    assert scoped == whole


def test_what_an_api_server_defaults_changes_nothing() -> None:
    """A preset with all the schema's defaults written out is the same as an empty one."""
    for name, schema in PRESET_SCHEMAS.items():
        written = {field: each["default"] for field, each in schema["properties"].items() if "default" in each}
        assert made({name: written}) == made({name: {}}), name


def test_nothing_is_left_to_fill_in() -> None:
    """No placeholder of ours in any condition or text."""
    assert "@" not in json.dumps(made({preset.name: {} for preset in PRESETS}, slos=[SLO]))


_DURATIONS = st.sampled_from(["0s", "1s", "5m", "1h30m", "30d", "9999w", "9999w99999d"])
_BY_FORM: dict[Form, st.SearchStrategy[Any]] = {
    Form.COUNT: st.integers(0, 10**9),
    Form.SECONDS: st.integers(0, 10**9),
    Form.RATIO: st.from_regex(r"\A(0(\.[0-9]{1,6})?|1(\.0{1,6})?)\Z"),
    Form.WINDOW: _DURATIONS,
    Form.PERIOD: st.from_regex(r"\A[0-9]{1,3}[dw]\Z"),
    Form.WAIT: _DURATIONS,
    Form.PERCENT: st.from_regex(r"\A[0-9]{1,2}(\.[0-9]{1,5})?\Z"),
    Form.JOB: st.from_regex(r"\A[a-zA-Z0-9_./-]{1,30}\Z"),
}


@st.composite
def presets(draw: st.DrawFn) -> dict[str, Any]:
    """Any presets that the schema admits."""
    wished: dict[str, Any] = {}
    for preset in draw(st.lists(st.sampled_from(PRESETS), unique=True)):
        fields: dict[str, st.SearchStrategy[Any]] = {each.name: _BY_FORM[each.form] for each in preset.figures}
        single = st.fixed_dictionaries({}, optional={"enabled": st.booleans(), "for": _DURATIONS})
        fields |= {
            "enabled": st.booleans(),
            "for": _DURATIONS,
            "severity": st.sampled_from(["critical", "warning", "info"]),
            "alerts": st.dictionaries(st.sampled_from([each.name for each in preset.alerts]), single),
        }
        wished[preset.name] = draw(st.fixed_dictionaries({}, optional=fields))
    return wished


@given(presets(), st.sampled_from(["", "shop"]), _DURATIONS)
def test_whatever_the_schema_admits_is_rendered(wished: dict[str, Any], namespace: str, keep: str) -> None:
    """Total, pure, plain JSON, and every condition is PromQL."""
    before = copy.deepcopy(wished)

    found = made(wished, namespace=namespace, keep_firing_for=keep)

    assert found == json.loads(json.dumps(found)) == made(wished, namespace=namespace, keep_firing_for=keep)
    assert wished == before
    for group in found:
        for rule in group["rules"]:
            promql_parser.parse(rule["expr"])
