"""The screen of readings that a test has written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.cli.top import screen
from services.cli.top.reading import WINDOW_SECONDS, Reading, Readings
from services.cli.top.series import Stage

_QUEUE = {"queue": "q", "waitingTotal": 0, "scheduled": 0, "running": 0, "dead": 0, "workers": 1, "paused": False}


def _reading(at: float = 0.0, *, total: int = 0, created: int = 0, **more: Any) -> Reading:
    numbers = {"fsm": {"total": total}, "outbox": {"jobsCreated": created}, "healthCheck": {"healthy": True}}
    calm = {
        "numbers": numbers,
        "queues": {"queues": [_QUEUE], "message": None},
        "outbox": {"depth": 0, "waiting": 0, "dead": 0, "oldestSeconds": None},
        "leader": {"holder": "relay-1", "epoch": 3, "alive": True, "heartbeatAgeSeconds": 1.0, "nodes": []},
        "letters": {"matched": {"outbox": 0, "queue": 0, "webhook": 0}},
        "messages": {"lag": 0, "deadLetters": 0, "workers": [{"alive": True}]},
        "stages": {"A": Stage(), "B": Stage()},
    }
    return Reading(at=at, **{**calm, **more})


def _shown(*readings: Reading, trouble: str | None = None) -> dict[str, tuple[str, str]]:
    """Lines by their first word, with their style."""
    kept = Readings()
    for each in readings:
        kept.add(each)
    return {text.split(" ")[0]: (text, style) for text, style in screen.lines(kept, "http://here", trouble) if text}


def test_a_calm_machine_alarms_nobody() -> None:
    """Every line is there, and none is coloured but headings."""
    shown = _shown(_reading())

    words = {
        "coursegen",
        "depth",
        "rates",
        "leader",
        "workers",
        "messages",
        "slowest",
        "dead",
        "queue",
        "q",
        "stage",
        "A",
        "B",
    }
    assert shown.keys() == words
    assert {style for _, style in shown.values()} == {screen.CALM, screen.HEADING}
    assert shown["leader"][0] == "leader     relay-1, epoch 3, heard of 1 s ago; 0 stand by"


def test_rates_are_of_the_last_minute() -> None:
    """What was before the window does not count, and a counter that was emptied is not negative."""
    old, begin = _reading(0, total=1000), _reading(10, total=2000, created=5)
    shown = _shown(old, begin, _reading(10 + WINDOW_SECONDS, total=2120, created=0))

    assert shown["rates"][0] == "rates      2.0 initiations/s, 0.0 jobs/s queued, 0.0 done, over 60 s"


def test_the_slowest_stage_is_that_of_lately() -> None:
    """Also when another one was slower before; without jobs lately, that of the start."""
    first = _reading(0, stages={"A": Stage(10, 100), "B": Stage(10, 1)})
    then = replace(first, at=10.0, stages={"A": Stage(10, 100), "B": Stage(20, 5)})

    assert _shown(first)["slowest"][0] == "slowest    A, 10.0 s a job since the start"
    assert _shown(first, then)["slowest"][0] == "slowest    B, 400 ms a job"
    assert _shown(first, then)["B"][0].split() == ["B", "1.0", "400", "ms", "0", "20", "0"]


@pytest.mark.parametrize(
    ("word", "style", "text", "more"),
    [
        (
            "leader",
            screen.ALARMING,
            "nobody relays",
            {"leader": {"holder": None, "epoch": 3, "alive": False, "nodes": []}},
        ),
        (
            "leader",
            screen.ALARMING,
            "SILENT, heard of 2 min ago",
            {"leader": {"holder": "r", "epoch": 3, "alive": False, "heartbeatAgeSeconds": 120.0, "nodes": []}},
        ),
        ("depth", screen.NOTABLE, "100 rows", {"outbox": {"depth": 100, "waiting": 100, "oldestSeconds": 3.0}}),
        (
            "depth",
            screen.ALARMING,
            "the oldest for 3 s",
            {"outbox": {"depth": 1001, "waiting": 1, "oldestSeconds": 3.0}},
        ),
        ("q", screen.ALARMING, "0", {"queues": {"queues": [{**_QUEUE, "workers": 0}], "message": None}}),
        ("q", screen.NOTABLE, "PAUSED", {"queues": {"queues": [{**_QUEUE, "paused": True}], "message": None}}),
        ("Redis", screen.ALARMING, "does not answer", {"queues": {"queues": [], "message": "Redis does not answer"}}),
        (
            "dead",
            screen.NOTABLE,
            "2 queue; next: coursegen admin dead-letters list",
            {"letters": {"matched": {"queue": 2}}},
        ),
        (
            "dead",
            screen.NOTABLE,
            "1 messages; next: coursegen messages dead-letters",
            {"messages": {"lag": None, "deadLetters": 1, "workers": []}},
        ),
        ("workers", screen.ALARMING, "no answer from worker-analysis", {"silent": ["worker-analysis"]}),
        ("slowest", screen.CALM, "METRICS_URL", {"stages": None}),
    ],
)
def test_what_is_wrong_stands_out(word: str, style: str, text: str, more: dict[str, Any]) -> None:
    """In its line, in words and in its colour."""
    shown = _shown(_reading(**more))[word]

    assert text in shown[0]
    assert shown[1] == style


def test_a_failed_reading_is_said_above_the_last_one() -> None:
    """With the reason; the figures stay."""
    shown = _shown(_reading(), trouble="the api does not answer")

    assert shown["not"] == ("not read anew: the api does not answer", screen.ALARMING)
    assert "depth" in shown
