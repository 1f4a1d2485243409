"""A policy's figures shorten every window: what takes minutes by default fires within seconds of its cause."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from operators.coursegen_operator.alerts.rules import groups
from operators.coursegen_operator.alerts.schema import SPEC
from tests.alerts.test_rules import SLO, promtool
from tests.support.servers import REPOSITORY

_FILE = REPOSITORY / "charts" / "coursegen" / "ci" / "quick-alerts-values.yaml"
"""The tests on a cluster use it, too."""
_QUICK: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))["alerts"]


def _looks(alert: str, quiet_at: str, at: str) -> list[dict[str, Any]]:
    expected = {"eval_time": at, "alertname": alert}
    return [{"eval_time": quiet_at, "alertname": alert, "exp_alerts": []}, expected]


def _test(series: dict[str, str], looks: list[dict[str, Any]], labels: dict[str, str], rule: dict[str, Any]) -> Any:
    looks[1]["exp_alerts"] = [
        {"exp_labels": {**labels, "severity": rule["labels"]["severity"]}, "exp_annotations": rule["annotations"]}
    ]
    series_list = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": "5s", "input_series": series_list, "alert_rule_test": looks}


def test_every_window_is_shortened() -> None:
    """Of every preset each field that is a time, and nothing that it does not know."""
    times = re.compile(r"(?i)(for|interval|window)$|^windowDivisor$")
    known = SPEC["properties"]["presets"]["properties"]
    wanted = {name: {field for field in preset["properties"] if times.search(field)} for name, preset in known.items()}

    assert {name: {field for field in own if times.search(field)} for name, own in _QUICK["presets"].items()} == wanted
    assert all(own.keys() <= known[name]["properties"].keys() for name, own in _QUICK["presets"].items())
    assert _QUICK["spec"].keys() <= SPEC["properties"].keys()


def test_a_trial_takes_seconds(tmp_path: Path) -> None:
    """Relay stopped, nobody leads, migration stalled, api failing: each within half a minute, and clear again at once."""
    made = groups(
        _QUICK["presets"],
        [SLO],
        runbook_base_url="https://r.example",
        common_labels={},
        common_annotations={},
        keep_firing_for=_QUICK["spec"]["keepFiringFor"],
        interval=_QUICK["spec"]["interval"],
    )
    for group in made:  # their words have cases of their own
        for rule in group["rules"]:
            if "alert" in rule:
                rule["annotations"] = {"runbook_url": rule["annotations"]["runbook_url"]}
    rules = {rule["alert"]: rule for group in made for rule in group["rules"] if "alert" in rule}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": made}), encoding="utf-8")
    condition = (
        'coursegen_operator_resource_condition{kind="DatabaseMigration",type="Stalled",namespace="n",name="main"}'
    )
    tests = [
        _test(
            {"outbox_last_progress_timestamp_seconds": "0+5x4 20x20"},
            _looks("OutboxProcessorStalled", "30s", "35s"),
            {},
            rules["OutboxProcessorStalled"],
        ),
        _test(
            {"relay_is_leader": "1x4 0x20"},
            _looks("OutboxRelayNoLeader", "25s", "30s"),
            {},
            rules["OutboxRelayNoLeader"],
        ),
        _test(
            {condition: "0x4 1x20"},
            _looks("DatabaseMigrationStalled", "20s", "25s"),
            {"kind": "DatabaseMigration", "namespace": "n", "name": "main"},
            rules["DatabaseMigrationStalled"],
        ),
        _test(
            {
                'http_requests_total{route="initiate",status="200"}': "0+10x4 40x20",
                'http_requests_total{route="initiate",status="503"}': "0x4 0+10x20",
            },
            _looks("ApiErrorBudgetBurnFast", "20s", "35s"),
            {"slo": "coursegen-api"},
            rules["ApiErrorBudgetBurnFast"],
        ),
    ]
    tests[0]["alert_rule_test"].append({"eval_time": "40s", "alertname": "FsmFailureRateHigh", "exp_alerts": []})
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "5s", "tests": tests}), encoding="utf-8"
    )

    code, said = promtool("test", "rules", str(file))

    assert code == 0, said
