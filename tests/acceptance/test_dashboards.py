"""Dashboards show what is there: every expression, asked of a real Prometheus that scrapes the real stack, has data."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from reportlab.pdfgen import canvas

from tests.acceptance.conftest import Home
from tests.support.prometheus import scraping
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync

_RULES = [REPOSITORY / "config" / name for name in ("alerts.yml", "alerts-coursegen.yml", "objectives.yml")]


def expressions(path: str | Path, *, namespace: str = ".*", rate: str = "10s") -> dict[str, list[str]]:
    """The expressions of each panel, with what Grafana fills in: the namespace, and the window of rates."""
    model: dict[str, Any] = json.loads((REPOSITORY / path).read_text(encoding="utf-8"))
    words = {"$__rate_interval": rate, "$__range": "5m", "$namespace": namespace}
    return {panel["title"]: [_filled(each["expr"], words) for each in panel["targets"]] for panel in model["panels"]}


def _filled(expression: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        expression = expression.replace(word, value)
    assert "$" not in expression
    return expression


Shown = dict[str, list[list[float]]]
"""By panel and line, the values of its series."""
Ask = Callable[[str], list[dict[str, Any]]]
"""What a Prometheus finds for an expression."""


def answers(ask: Ask, asked: dict[str, list[str]]) -> Shown:
    """What each expression finds now, when a Prometheus is asked: numbers, and at least one.

    Raises:
        AssertionError: one finds nothing, or no number.
    """
    found = {
        title: [[float(series["value"][1]) for series in ask(each)] for each in panel] for title, panel in asked.items()
    }
    lacking = {
        title: panel
        for title, panel in found.items()
        if not all(line and all(value == value for value in line) for line in panel)  # noqa: PLR0124 - NaN
    }
    assert lacking == {}
    return found


@contextmanager
def _beside(work: Callable[[], None], ending: threading.Event, *, seconds: float) -> Iterator[None]:
    """Do `work` in a thread while the block lasts; then it is told to end, and waited for so long."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(seconds)


@contextmanager
def sending(api: str, token: str = "", sender: str = "alice") -> Iterator[None]:
    """Messages of ten conversations, each third one a repeat, while the block lasts; an api that asks for it is shown a token."""
    ending = threading.Event()
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    def send() -> None:
        with httpx.Client(base_url=api, headers=headers, timeout=10) as client:
            number = 0
            while not ending.wait(0.05):
                number += 1
                body = {
                    "conversationId": f"talk-{number % 10}",
                    "senderId": sender,
                    "content": "Hello",
                    "clientMessageId": str(number - number % 3 // 2),
                }
                if number % 3 == 2:
                    body["conversationId"] = f"talk-{(number - 1) % 10}"
                assert client.post("/api/messages", json=body).status_code == 202

    with _beside(send, ending, seconds=20):
        yield


def test_every_panel_of_the_queue_dashboard_has_data(home: Home, tmp_path: Path) -> None:
    """The six of contract.md (k), while messages flow; rates are what flows, and nothing is dead."""
    up = home.start("up", "--port", "0", "--metrics-port", "0", "--json")
    facts = json.loads(up.wrote('"processes"').strip().splitlines()[-1])
    target = facts["metricsUrl"].split("/")[2]
    asked = expressions("monitoring/grafana/phase3-queue-dashboard.json")
    with sending(facts["apiUrl"]), scraping(tmp_path, target) as prometheus:

        def shown() -> Shown:
            found = answers(prometheus.ask, asked)
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
    assert [len(line) for line in values["Partition Lag"]] == [1, 16]
    assert values["DLQ Rate"] == [[0]]
    assert 0.1 < values["Idempotent Hit Rate"][0][0] < 0.6


def blank_page() -> bytes:
    """A document without a word."""
    written = io.BytesIO()
    paper = canvas.Canvas(written)
    paper.showPage()
    paper.save()
    return written.getvalue()


@contextmanager
def generating(api: str, token: str) -> Iterator[None]:
    """Courses while the block lasts, each asked for twice; the first has no document that could be read, and fails."""
    ending = threading.Event()
    headers = {"Authorization": f"Bearer {token}"}

    def generate() -> None:
        with httpx.Client(base_url=api, headers=headers, timeout=20) as client:
            course = client.post("/api/courses", json={"title": "Nothing to read"}).raise_for_status().json()["id"]
            page = {"file": ("blank.pdf", blank_page())}
            client.post(f"/api/courses/{course}/documents", files=page).raise_for_status()
            client.post("/api/coursegen/generate", json={"courseId": course}).raise_for_status()
            while not ending.wait(0.3):
                body = {"courseId": str(uuid4()), "title": "Bees"}
                for _ in range(2):
                    assert client.post("/api/coursegen/generate", json=body).status_code in {200, 429}

    with _beside(generate, ending, seconds=30):
        yield


def test_every_panel_of_initiations_and_objectives_has_data(home: Home, tmp_path: Path) -> None:
    """The ten of contract.md (k), and the objectives with what is recorded for them, while courses and messages come."""
    up = home.start("up", "--port", "0", "--metrics-port", "0", "--json")
    facts = json.loads(up.wrote('"processes"').strip().splitlines()[-1])
    token = home.run("token", "--tier", "PREMIUM").stdout.strip()
    ten, objectives = (
        expressions(path) for path in ("config/grafana-dashboard.json", "monitoring/grafana/objectives-dashboard.json")
    )
    target = facts["metricsUrl"].split("/")[2]
    api = facts["apiUrl"]
    with generating(api, token), sending(api), scraping(tmp_path, target, rules=_RULES) as prometheus:
        kept = eventually_sync(lambda: answers(prometheus.ask, objectives), within=120, every=0.5)

        def shown() -> Shown:
            found = answers(prometheus.ask, ten)
            assert found["Cache Hit Rate"][0][0] > 0, found
            assert found["System Health Check"] == [[1]], found
            return found

        values = eventually_sync(shown, within=60, every=0.5)

    assert list(values) == [
        "FSM Success Rate",
        "Outbox Queue Depth",
        "FSM Initialization Latency",
        "Outbox Batch Processing",
        "Cache Hit Rate",
        "Total FSM Operations",
        "Worker Fallback Activations",
        "Outbox Processor Health",
        "Recent FSM Failures",
        "System Health Check",
    ]
    assert values["FSM Success Rate"] == [[100]]
    assert values["Outbox Processor Health"] == [[1]]
    assert values["Total FSM Operations"][0][0] >= 1
    assert len(values["Worker Fallback Activations"][0]) == 2
    assert values["Recent FSM Failures"][0][0] > 1.7e12, "milliseconds, as Grafana wants times"
    *left, of_replays = (line[0] for line in kept["Error Budget Left"])
    assert [each > 50 for each in left] == [True] * 12
    assert of_replays > 0, "each course is asked for twice, and of five requests one must be a replay"
    assert kept["Restarts"] == [[0]]
