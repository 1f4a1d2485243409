"""The chart's AlertPolicy: every preset, the product's objectives for the release's own namespace, and what the values add."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from operators.coursegen_operator.alerts.rules.kpis import KPIS
from tests.charts.conftest import Render
from tests.charts.objects import of_kind
from tests.support.servers import REPOSITORY

_OWN = (
    "alerts.spec.slos[0].name=own", "alerts.spec.slos[0].objective=99.9",
    "alerts.spec.slos[0].sli.events.errorQuery=sum(rate(bad_total[{{.window}}]))",
    "alerts.spec.slos[0].sli.events.totalQuery=sum(rate(all_total[{{.window}}]))",
)  # fmt: skip


def _objectives(render: Render, *sets: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = of_kind(render("operator", *sets), "AlertPolicy")["courses"]["spec"].get("slos", [])
    return found


def test_the_file_is_up_to_date() -> None:
    """With those for a Prometheus without the operator."""
    command = [sys.executable, "scripts/alerts.py", "--check"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_products_objectives_are_those_of_the_release(render: Render) -> None:
    """All, each series by the namespace; otherwise a neighbour's requests would count."""
    made = _objectives(render, "namespaceOverride=courses-of-others")

    assert [each["name"] for each in made] == [each["name"] for each in KPIS]
    for each in made:
        for query in each["sli"]["events"].values():
            named = re.findall(r"\b(?:[a-z]+_){2,}[a-z]+\b(?!\()(.{0,200})", query)
            assert named
            assert all('namespace="courses-of-others"' in rest.partition("}")[0] for rest in named), query


def test_own_objectives_come_besides(render: Render) -> None:
    """Those of the values follow the product's, or stand alone."""
    assert [each["name"] for each in _objectives(render, *_OWN)] == [*(each["name"] for each in KPIS), "own"]
    assert [each["name"] for each in _objectives(render, *_OWN, "alerts.objectives=false")] == ["own"]
    assert _objectives(render, "alerts.objectives=false") == []
