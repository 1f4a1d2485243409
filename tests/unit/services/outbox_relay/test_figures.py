"""What a relay shows of itself: nothing that only a leader can know once it does not lead."""

from __future__ import annotations

import math
import subprocess
import sys

from services.kernel.counters import Counters
from services.kernel.metrics import REGISTRY
from services.kernel.queue import QueueOverview
from services.outbox_relay.figures import Figures
from services.outbox_relay.outbox import Backlog


class _NoDatabase:
    """Counters that nobody writes down."""


def _value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_a_relay_that_has_stepped_down_shows_no_backlog() -> None:
    """An alert on it would last until the process ends, whatever the next leader does."""
    figures = Figures(Counters(_NoDatabase()))  # type: ignore[arg-type]
    figures.leading(3)
    figures.backlog(Backlog(depth=2000, dead=4, oldest_seconds=90.0))
    figures.paused({"analysis": True})
    figures.queues([QueueOverview("analysis", {1: 5}, 1, 1, 1, True, 2, 77.0)])
    led = (_value("outbox_queue_depth"), _value("queue_oldest_waiting_seconds", queue="analysis"))
    figures.leading(None)

    assert led == (2000, 77)
    assert [_value(f"outbox_{each}") for each in ("queue_depth", "dead_rows", "oldest_pending_seconds")] == [0, 0, 0]
    assert _value("queue_oldest_waiting_seconds", queue="analysis") is None
    assert _value("queue_waiting_jobs", queue="analysis", priority="1") is None
    assert (_value("relay_is_leader"), _value("relay_epoch")) == (0, 3)


def test_a_relay_that_has_not_led_has_no_progress_to_show() -> None:
    """0 would be a stall since 1970."""
    program = (
        "from services.kernel.metrics import REGISTRY; from services.outbox_relay.figures import Figures; Figures(None);"
        "print(REGISTRY.get_sample_value('outbox_last_progress_timestamp_seconds'))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert math.isnan(float(shown))
