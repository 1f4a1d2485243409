"""What a run must have shown, as plain sums over what was written down: memory flat, nothing left, nothing lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.support.ledger import Evidence, check

FLAT_MEGABYTES: Final = 2.0
FLAT_SHARE: Final = 0.02
"""Memory counts as flat when the line through the second half rises by no more than one of the two, whichever is more."""
PEAK_SECONDS: Final = 60.0
"""The line goes through the highest look of each such time: what is given back and taken again is no growth."""


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line nearest to these (x, y), by least squares; 0 for fewer than two places."""
    count = len(points)
    if count < 2:
        return 0.0
    middle_x, middle_y = (sum(each[axis] for each in points) / count for axis in (0, 1))
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def second_half(points: Sequence[tuple[float, float]], until: float) -> list[tuple[float, float]]:
    """Those between the middle of the load and its end."""
    return [each for each in points if until / 2 <= each[0] <= until]


def peaks(points: Sequence[tuple[float, float]], within: float = PEAK_SECONDS) -> list[tuple[float, float]]:
    """The highest look of each `within` seconds, where it was."""
    highest: dict[int, tuple[float, float]] = {}
    for at, value in points:
        window = int(at // within)
        if window not in highest or value > highest[window][1]:
            highest[window] = (at, value)
    return list(highest.values())


@dataclass(frozen=True, slots=True)
class Growth:
    """How one process' memory went over the second half of the load."""

    name: str
    mean: float
    """MB, of the highest looks."""
    rise: float
    """MB over that half, of the line through it."""
    per_hour: float
    """MB."""

    @property
    def limit(self) -> float:
        """Most MB that the line may rise."""
        return max(FLAT_MEGABYTES, FLAT_SHARE * self.mean)

    @property
    def is_flat(self) -> bool:
        """Whether it does not."""
        return self.rise <= self.limit


def growth(name: str, points: Sequence[tuple[float, float]], until: float) -> Growth:
    """Of (second, MB), for a load that took so many seconds."""
    half = peaks(second_half(points, until), min(PEAK_SECONDS, until / 20))
    steep = slope(half)
    mean = sum(value for _, value in half) / len(half) if half else 0.0
    return Growth(name, mean, steep * until / 2, steep * 3600)


def drained_after(points: Iterable[tuple[float, float]], until: float) -> float | None:
    """Seconds from the end of the load to the first look that found nothing; None when no look did."""
    return next((max(0.0, at - until) for at, depth in points if at >= until and depth == 0), None)


def broken_promises(evidence: Evidence) -> dict[str, Mapping[str, str]]:
    """What the ledger finds lost, doubled, stuck and so on, by kind; empty when every promise was kept once.

    Courses that were made and never asked for, since their client had no answer and made another one, do not count.
    """
    asked = {each.course_id for each in evidence.attempts}
    verdict = check(replace(evidence, courses=tuple(each for each in evidence.courses if each.course_id in asked)))
    kinds = ("lost", "phantom", "duplicate", "stuck", "divergent", "failed", "dead")
    return {kind: found for kind in kinds if (found := getattr(verdict, kind))}


def finished_once(evidence: Evidence) -> int:
    """Acknowledged courses that entered `completed` exactly once."""
    promised = {each.course_id for each in evidence.attempts}
    return sum(
        1 for each in evidence.arrivals if each.state == "completed" and each.times == 1 and each.course_id in promised
    )
