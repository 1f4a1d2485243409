"""Partition: neighbours are put together so that each group has about the wanted size."""

from __future__ import annotations

from collections.abc import Sequence

_OUT_OF_BOUNDS = 1_000.0
"""Cost of a group that is too small or too large: paid only where nothing else is possible."""

_SMALL_IS_FINE = 0.35
"""A group below the target costs less than one above it: a short topic of its own beats two topics in one."""


def partition(
    sizes: Sequence[float], seams: Sequence[float], *, target: float, minimum: float, maximum: float
) -> list[tuple[int, int]]:
    """The cheapest way to cut a row of things into groups, as half-open ranges.

    Args:
        sizes: of each thing.
        seams: what it costs to keep thing i and thing i+1 in one group; 0 where they belong together.
        target: the size a group should have.
        minimum: the size a group must have if it can.
        maximum: the size it must not exceed unless one thing alone does.
    """
    count = len(sizes)
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, count + 1):
        options: list[tuple[float, int]] = []
        size = seam = 0.0
        for start in range(end - 1, -1, -1):
            size += sizes[start]
            seam += seams[start] if start < end - 1 else 0.0
            cost = best[start][0] + _cost(size, end - start, target, minimum, maximum) + seam
            options.append((round(cost, 9), start))
            if size > maximum * 1.5 and end - start > 1:
                break
        best.append(min(options))
    ranges: list[tuple[int, int]] = []
    end = count
    while end > 0:
        start = best[end][1]
        ranges.append((start, end))
        end = start
    return ranges[::-1]


def _cost(size: float, things: int, target: float, minimum: float, maximum: float) -> float:
    cost = ((size - target) / target) ** 2 * (_SMALL_IS_FINE if size < target else 1.0)
    if size < minimum:
        cost += _OUT_OF_BOUNDS * (1 + (minimum - size) / minimum)
    if size > maximum and things > 1:
        cost += _OUT_OF_BOUNDS * (1 + (size - maximum) / maximum)
    return cost
