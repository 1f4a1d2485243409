"""How long a job waits before it is tried again."""

from __future__ import annotations

import pytest

from services.kernel.errors import DatabaseUnavailable, UpstreamUnavailable
from services.kernel.queue.execution import outage_delay


@pytest.mark.parametrize(("outages", "longest"), [(1, 0.5), (2, 1.0), (4, 4.0), (7, 30.0), (10_000, 30.0)])
def test_outages_are_looked_at_ever_less_often(outages: int, longest: float) -> None:
    """Half a second doubling to half a minute, less a random half at most."""
    delays = [outage_delay(outages, DatabaseUnavailable()) for _ in range(200)]

    assert max(delays) <= longest
    assert min(delays) >= longest / 2
    assert len(set(delays)) > 100


@pytest.mark.parametrize(("asked", "waits"), [(0.0, 0.5), (7.0, 7.0), (10_000.0, 300.0)])
def test_an_upstream_that_names_a_time_is_asked_again_then(asked: float, waits: float) -> None:
    """`Retry-After` is honoured within reason."""
    assert outage_delay(3, UpstreamUnavailable(retry_after=asked)) == waits
