"""Many measurements in few numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

median = statistics.median


@dataclass(frozen=True, slots=True)
class Latencies:
    """A distribution of durations, in milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    worst: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latencies:
        """The distribution of these."""
        ordered = sorted(milliseconds)
        p50, p95, p99 = (percentile(ordered, each) for each in (0.50, 0.95, 0.99))
        return cls(len(ordered), p50, p95, p99, ordered[-1])


def percentile(ordered: Sequence[float], quantile: float) -> float:
    """The smallest of the sorted values that is not exceeded by this part of them."""
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, and the lowest and highest when there are several."""
    middle = f"{median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"
