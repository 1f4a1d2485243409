"""docs/ALERTS.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from operators.coursegen_operator.alerts.rules.alert import Preset
from operators.coursegen_operator.alerts.rules.catalogue import PRESETS
from operators.coursegen_operator.alerts.rules.figures import Form
from tests.unit.operators.coursegen_operator.alerts.scene import NAMESPACE, Scene, policy, prometheus, told

REPOSITORY = Path(__file__).parents[5]
CHART = REPOSITORY / "charts" / "coursegen"
DOCUMENT = (REPOSITORY / "docs" / "ALERTS.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: str(preset.name))
def test_the_table_has_every_figure_and_default(preset: Preset) -> None:
    """One row for each preset."""
    row = re.search(rf"^\| `{preset.name}` \| (\d+) \|(.*)$", DOCUMENT, re.MULTILINE)

    assert row is not None
    assert int(row[1]) == len(preset.alerts)
    for figure in preset.figures:
        shown = "" if figure.form is Form.JOB else f" {figure.default}"
        assert f"`{figure.name}`{shown}" in row[2]


def test_the_example_is_a_policy_that_works() -> None:
    """As it is printed."""
    text = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert text is not None

    assert told(Scene(policy(**yaml.safe_load(text[1])["spec"])).plan(), "Ready") == ("True", "Applied")


def test_the_example_counts_errors_as_the_rules_do() -> None:
    """By a label that the series has: with another one, every objective would be kept for ever."""
    plan = Scene(policy(presets={preset.name: {} for preset in PRESETS}), [prometheus()]).plan()
    errors = re.findall(r'http_requests_total\{\w+=~"5\.\."', DOCUMENT)

    assert errors
    assert all(each in str(plan.children[0].manifest) for each in errors)


def test_the_printed_message_is_the_one_that_is_told() -> None:
    """Of the policy that the chart brings, with its objectives; and so is the number of alerts in the columns."""
    plan = Scene(policy(**_of_the_chart()), [prometheus()]).plan()
    row = re.search(r"^platform +True +Applied +(\d+) ", DOCUMENT, re.MULTILINE)

    assert row is not None
    assert int(row[1]) == plan.status["alertCount"]
    assert plan.status["conditions"][0]["message"] in DOCUMENT


def _of_the_chart() -> dict[str, Any]:
    """What its template makes of its values."""
    alerts = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["alerts"]
    assert alerts["objectives"] is True
    objectives = (CHART / "files" / "objectives.yaml").read_text(encoding="utf-8").replace("@namespace", NAMESPACE)
    return {"presets": alerts["presets"], "slos": yaml.safe_load(objectives), **alerts["spec"]}
