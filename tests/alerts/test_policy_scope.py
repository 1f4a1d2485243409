"""What a policy of one namespace watches, and the one thing that it watches for all: promtool plays the groups that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from operators.coursegen_operator.alerts.rules import groups
from tests.alerts.test_rules import promtool

PLACES = {
    "one operator for all": 'namespace="coursegen-operator",exported_namespace="depot"',
    "its labels honoured": 'namespace="depot"',
    "an operator in each namespace": 'namespace="depot",exported_namespace="depot"',
}
"""What tells whose a condition is, of a resource in the namespace depot."""
OWN = 'namespace="coursegen-operator",exported_namespace="shop"'


def _condition(kind: str, name: str, place: str) -> str:
    return f'coursegen_operator_resource_condition{{kind="{kind}",type="{name}",name="main",{place}}}'


@pytest.mark.parametrize("condition", ["RulesSelected", "RulesAccepted", "Stalled"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_policy_tells_of_those_that_cannot_tell(tmp_path: Path, place: str, condition: str) -> None:
    """With the default scope, of one in another namespace; its own is well. The migrations of others are not its business."""
    made = groups(
        {"operator": {}, "migrations": {}},
        (),
        runbook_base_url="https://r.example",
        common_labels={},
        common_annotations={},
        keep_firing_for="5m",
        interval="30s",
        namespace="shop",
    )
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": made}), encoding="utf-8")
    bad, well = ("1x40", "0x40") if condition == "Stalled" else ("0x40", "1x40")
    series = {
        _condition("AlertPolicy", condition, place): bad,
        _condition("AlertPolicy", condition, OWN): well,
        _condition("DatabaseMigration", "Stalled", place): "1x40",
    }
    file = tmp_path / "test.yml"
    test = {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": "4m30s", "alertname": "AlertRulesNotSelected", "exp_alerts": []},
            {"eval_time": "5m", "alertname": "AlertRulesNotSelected", "exp_alerts": [_told(condition)]},
            {"eval_time": "10m", "alertname": "DatabaseMigrationStalled", "exp_alerts": []},
        ],
    }
    whole = {"rule_files": ["rules.yml"], "evaluation_interval": "30s", "tests": [test]}
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")

    code, said = promtool("test", "rules", str(file))

    assert code == 0, said


def _told(condition: str) -> dict[str, Any]:
    why = (
        "is Stalled: its rules are not written, and at best those before them are in force"
        if condition == "Stalled"
        else "has rules that no Prometheus selects, or that are refused and none is known to accept: until one has them, "
        "its alerts cannot fire"
    )
    return {
        "exp_labels": {"kind": "AlertPolicy", "namespace": "depot", "name": "main", "severity": "warning"},
        "exp_annotations": {
            "summary": "Prometheus does not watch what depot/main asks for",
            "description": f"The AlertPolicy depot/main {why}. Its conditions say why. "
            "Next: kubectl -n depot describe alp/main",
            "runbook_url": "https://r.example/AlertRulesNotSelected",
        },
    }
