"""Every alert fires when it should and keeps quiet when it should, with a page to go to: promtool plays their real windows."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from operators.coursegen_operator.alerts.rules import groups
from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from operators.coursegen_operator.alerts.rules.files import RUNBOOKS, files
from operators.coursegen_operator.alerts.rules.objectives import Objective
from tests.support.servers import REPOSITORY

CASES = sorted((REPOSITORY / "tests" / "alerts").glob("*.yml"))
GENERATED = REPOSITORY / "tests" / "alerts" / "generated" / "objective.yml"
"""Cases of rules that no file has."""
SLO = {
    "name": "initiations",
    "objective": "99.5",
    "window": "7d",
    "sli": {
        "events": {
            "errorQuery": 'sum(rate(fsm_initializations_total{result="failed"}[{{.window}}]))',
            "totalQuery": "sum(rate(fsm_initializations_total[{{ .window }}]))",
        }
    },
}


def promtool(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and output of promtool; without it the test is skipped, or fails with CI=true."""
    path = shutil.which("promtool")
    if path is None:
        reason = "promtool is missing: scripts/promtool.sh FOLDER gets it, put FOLDER on PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason} (CI=true: it must be there)")
        pytest.skip(reason)
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@functools.cache
def cases() -> dict[str, dict[bool, list[dict[str, Any]]]]:
    """The alerts that each alert's cases expect, by name and by whether they expect any."""
    found: dict[str, dict[bool, list[dict[str, Any]]]] = {}
    for path in (*CASES, GENERATED):
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for look in test.get("alert_rule_test", ()):
                kept = found.setdefault(look["alertname"], {True: [], False: []})
                kept[bool(look["exp_alerts"])].append(look)
    return found


@pytest.mark.parametrize("path", sorted(files()))
def test_prometheus_takes_the_files(path: str) -> None:
    """Syntax, names and templates; warnings count."""
    code, said = promtool("check", "rules", "--lint-fatal", str(REPOSITORY / path))

    assert code == 0, said


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_keep_quiet(path: Path) -> None:
    """`promtool test rules`: series in, alerts with their labels and rendered texts out."""
    code, said = promtool("test", "rules", str(path))

    assert code == 0, said


def test_an_objective_that_is_not_measured_is_told_of(tmp_path: Path) -> None:
    """The product's own leave that alert out: the rules are what a policy with another objective makes."""
    made = groups(
        {},
        [SLO],
        runbook_base_url=RUNBOOKS,
        common_labels={},
        common_annotations={},
        keep_firing_for="0s",
        interval="30s",
    )
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": made}), encoding="utf-8")
    case = shutil.copy(GENERATED, tmp_path)

    code, said = promtool("test", "rules", case)

    assert code == 0, said


def _names() -> set[str]:
    """Every alert that there is: those of presets, and those of an objective."""
    of_presets = {alert.name for preset in PRESETS for alert in preset.alerts}
    return of_presets | {alert.name for alert in Objective.of(SLO).alerts()}


@pytest.mark.parametrize("name", sorted(_names()))
def test_every_alert_has_both_cases(name: str) -> None:
    """A firing and a quiet one; what fires names its page."""
    looks = cases()[name]

    assert looks[True]
    assert looks[False]
    pages = {alert["exp_annotations"]["runbook_url"] for look in looks[True] for alert in look["exp_alerts"]}
    assert pages == {f"{RUNBOOKS}/{name}"}


def test_the_files_are_up_to_date() -> None:
    """Byte for byte what the source says."""
    script = REPOSITORY / "scripts" / "alerts.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("namespace", ["", "shop"])
@pytest.mark.parametrize("short", [False, True])
def test_prometheus_takes_what_a_policy_makes(tmp_path: Path, namespace: str, short: bool) -> None:
    """All presets and an objective, with the default figures and with every window at its shortest."""
    settings: dict[str, Any] = {"for": "0s", "interval": "1s"} if short else {}
    if short:
        for preset in PRESETS:
            settings |= {figure.name: "0s" for figure in preset.figures if figure.name.lower().endswith("window")}
        settings["windowDivisor"] = 1_000_000
    made = groups(
        {preset.name: settings for preset in PRESETS},
        [SLO],
        runbook_base_url="https://runbooks.example/",
        common_labels={"team": "courses"},
        common_annotations={"dashboard": "https://grafana.example"},
        keep_firing_for="0s" if short else "5m",
        interval="30s",
        namespace=namespace,
    )
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": made}), encoding="utf-8")

    code, said = promtool("check", "rules", str(file))

    assert code == 0, said
