"""What a panel says of several installations at once: the ordinary choice is all of them."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.alerts.test_rules import promtool
from tests.support.servers import REPOSITORY

_PROGRESS = "outbox_last_progress_timestamp_seconds"


def _health(namespaces: str) -> str:
    """The expression of "Outbox Processor Health", for a choice of namespaces."""
    model = json.loads((REPOSITORY / "config" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    (panel,) = (each for each in model["panels"] if each["title"] == "Outbox Processor Health")
    (target,) = panel["targets"]
    expression: str = target["expr"]
    return expression.replace("$namespace", namespaces)


def test_a_relay_that_stands_is_seen_beside_one_that_works(tmp_path: Path) -> None:
    """Of two installations one stands; each is shown by two apis, of which one is behind by a scrape."""
    series = {
        f'{_PROGRESS}{{namespace="works",pod="a"}}': "0+30x40",
        f'{_PROGRESS}{{namespace="works",pod="b"}}': "0 0+30x40",
        f'{_PROGRESS}{{namespace="stands",pod="a"}}': "0+30x10 300x30",
        f'{_PROGRESS}{{namespace="stands",pod="b"}}': "0+30x10 300x30",
    }
    looks = [
        {"expr": _health(chosen), "eval_time": at, "exp_samples": [{"labels": "{}", "value": value}]}
        for chosen, at, value in ((".*", "5m", 1), (".*", "8m", 0), ("works", "8m", 1), ("stands", "8m", 0))
    ]
    test = {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": looks,
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "30s", "tests": [test]}), encoding="utf-8")

    code, said = promtool("test", "rules", str(file))

    assert code == 0, said
