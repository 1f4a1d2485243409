"""The operator's dashboard shows what is there: every expression has data beside a real operator and a real Prometheus."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.acceptance.test_dashboards import Shown, answers, expressions
from tests.integration.operator.test_process import _free_port, _leads, _process
from tests.support.pretended_api import PretendedApi
from tests.support.prometheus import scraping
from tests.support.waiting import eventually
from tests.unit.operators.coursegen_operator.alerts.scene import NAMESPACE, policy


async def test_every_panel_of_the_operators_dashboard_has_data(api: PretendedApi, tmp_path: Path) -> None:
    """What holds of a policy, how it is looked at, and how the operator itself is."""
    asked = expressions("monitoring/grafana/operator-dashboard.json")
    api.cluster.add(policy(presets={"outbox": {}}))
    port = _free_port()
    async with _process(port):
        await eventually(lambda: _leads(port), within=60)
        with scraping(tmp_path, f"127.0.0.1:{port}", namespace="operators") as prometheus:

            async def shown() -> Shown:
                return await asyncio.to_thread(answers, prometheus.ask, asked)

            found = await eventually(shown, within=60, every=0.5)
            rows = await asyncio.to_thread(prometheus.ask, asked["Conditions of Resources"][0])

    assert found["Leader"] == [[1]]
    assert {(row["metric"]["kind"], row["metric"]["exported_namespace"]) for row in rows} == {
        ("AlertPolicy", NAMESPACE)
    }
    assert len(found) == 10
