"""The screen of readings that a test has written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.cli.top import screen
from services.cli.top.reading import WINDOW_SECONDS, Reading, Readings
from services.cli.top.series import Stage

_MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
_PERSISTED = {"lag": 0, "deadLetters": 0, "workers": [{"alive": True}]}
_QUEUE = {"queue": "q", "waitingTotal": 0, "scheduled": 0, "running": 0, "dead": 0, "workers": 1, "paused": False}


def _reading(
    at: float = 0.0, *, total: int = 0, created: int = 0, read_at: float | None = None, **more: Any
) -> Reading:
    """A calm one; an older api does not say when it read its numbers."""
    numbers = {"fsm": {"total": total}, "outbox": {"jobsCreated": created}, "healthCheck": {"healthy": True}}
    if read_at is not None:
        numbers["readAt"] = (_MIDNIGHT + timedelta(seconds=read_at)).isoformat().replace("+00:00", "Z")
    calm = {
        "numbers": numbers,
        "queues": {"queues": [_QUEUE], "message": None},
        "outbox": {"depth": 0, "waiting": 0, "dead": 0, "oldestSeconds": None},
        "leader": {"holder": "relay-1", "epoch": 3, "alive": True, "heartbeatAgeSeconds": 1.0, "nodes": []},
        "letters": {"matched": {"outbox": 0, "queue": 0, "webhook": 0}},
        "messages": _PERSISTED,
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


def test_rates_are_over_the_time_between_the_numbers() -> None:
    """An api shows the same for a second and longer: ten seconds between two answers can be one between what they show."""
    shown = _shown(_reading(0, total=10, created=5, read_at=9), _reading(10, total=40, created=25, read_at=10))

    assert shown["rates"][0] == "rates      30.0 initiations/s, 20.0 jobs/s queued, 0.0 done, over 1 s"


def test_numbers_of_the_same_moment_are_no_new_reading() -> None:
    """The last rates stand, however often they are shown again; before there is any other, there are no rates."""
    first, then = _reading(0, total=10, read_at=0), _reading(2, total=20, read_at=2)
    again = _reading(3, total=20, read_at=2)

    assert _shown(first, then)["rates"] == _shown(first, then, again, replace(again, at=4.0))["rates"]
    assert _shown(first, replace(first, at=1.0))["rates"][0] == "rates      so far 10 initiations, 0 jobs"
    assert _shown(then, replace(first, at=3.0))["rates"][0] == "rates      so far 10 initiations, 0 jobs"


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
        (
            "dead",
            screen.NOTABLE,
            "2 queue, 1 messages; next: coursegen admin dead-letters list, coursegen messages dead-letters",
            {
                "letters": {"matched": {"queue": 2}},
                "messages": {"lag": 0, "deadLetters": 1, "workers": []},
            },
        ),
        ("workers", screen.CALM, "0 for messages", {"messages": {"lag": 0, "deadLetters": 0, "workers": []}}),
        ("workers", screen.ALARMING, "0 for messages", {"messages": {"lag": 1, "deadLetters": 0, "workers": []}}),
        ("messages", screen.ALARMING, "1 wait", {"messages": {"lag": 1, "deadLetters": 0, "workers": []}}),
        ("messages", screen.NOTABLE, "100 wait", {"messages": {**_PERSISTED, "lag": 100}}),
        ("messages", screen.ALARMING, "1001 wait", {"messages": {**_PERSISTED, "lag": 1001}}),
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
