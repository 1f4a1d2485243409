"""Dashboards show what is there: every expression, asked of a real Prometheus that scrapes the real stack, has data."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.conftest import Home
from tests.support.prometheus import scraping
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

_WORDS = {"$__rate_interval": "10s", "$namespace": ".*"}


def expressions(file: str) -> dict[str, list[str]]:
    """The expressions of each panel, with what Grafana fills in."""
    model: dict[str, Any] = json.loads((REPOSITORY / "monitoring" / "grafana" / file).read_text(encoding="utf-8"))
    return {panel["title"]: [_filled(each["expr"]) for each in panel["targets"]] for panel in model["panels"]}


def _filled(expression: str) -> str:
    for word, value in _WORDS.items():
        expression = expression.replace(word, value)
    assert "$" not in expression
    return expression


@contextmanager
def sending(api: str) -> Iterator[None]:
    """Messages of ten conversations, each third one a repeat, while the block lasts."""
    ending = threading.Event()

    def send() -> None:
        with httpx.Client(base_url=api, timeout=10) as client:
            number = 0
            while not ending.wait(0.05):
                number += 1
                body = {
                    "conversationId": f"talk-{number % 10}",
                    "senderId": "alice",
                    "content": "Hello",
                    "clientMessageId": str(number - number % 3 // 2),
                }
                if number % 3 == 2:
                    body["conversationId"] = f"talk-{(number - 1) % 10}"
                assert client.post("/api/messages", json=body).status_code == 202

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(20)


def test_every_panel_of_the_queue_dashboard_has_data(home: Home, tmp_path: Path) -> None:
    """The six of contract.md (k), while messages flow; rates are what flows, and nothing is dead."""
    up = home.start("up", "--port", "0", "--metrics-port", "0", "--json")
    facts = json.loads(up.wrote('"processes"').strip().splitlines()[-1])
    target = facts["metricsUrl"].split("/")[2]
    asked = expressions("phase3-queue-dashboard.json")
    with sending(facts["apiUrl"]), scraping(tmp_path, target) as prometheus:

        def shown() -> dict[str, list[list[float]]]:
            found = {
                title: [[float(series["value"][1]) for series in prometheus.ask(each)] for each in panel]
                for title, panel in asked.items()
            }
            assert all(value == value for panel in found.values() for line in panel for value in line), found  # noqa: PLR0124 - NaN
            assert all(line for panel in found.values() for line in panel), found
            assert found["Enqueue Rate"][0][0] > 0, found
            return found

        values = eventually_sync(shown, within=60)

    assert list(values) == [
        "Enqueue Rate",
        "Dequeue Rate",
        "Partition Lag",
        "Processing Duration",
        "DLQ Rate",
        "Idempotent Hit Rate",
    ]
    assert len(values["Partition Lag"][0]) == 16
    assert values["DLQ Rate"] == [[0]]
    assert 0.1 < values["Idempotent Hit Rate"][0][0] < 0.6
