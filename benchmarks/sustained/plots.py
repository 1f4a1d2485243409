"""Draw a report's plots from its numbers: `python -m benchmarks.sustained.plots FOLDER`.

Needs matplotlib, which `scripts/environment pictures` installs.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.support.samples import percentile
from benchmarks.sustained.report import COURSES, PLOTS, SAMPLES
from benchmarks.sustained.traffic import KINDS

mpl.rcParams |= {
    "svg.hashsalt": "coursegen",  # the same numbers make the same file
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
}
_WIDTH, _HEIGHT = 9.0, 3.0
_MINUTE: Final = 60.0

Columns = Mapping[str, Sequence[float]]
Course = tuple[float, str, float, float | None]
"""Second, kind, milliseconds of the answer, seconds until it was ready."""


def draw(folder: Path) -> None:
    """Write one SVG for each of the report's plots."""
    seen, courses = _samples(folder / SAMPLES), _courses(folder / COURSES)
    drawers: dict[str, Callable[[], Figure]] = {
        "courses": lambda: _of_courses(seen),
        "latencies": lambda: _of_latencies(courses),
        "depths": lambda: _of_depths(seen),
        "memory": lambda: _of_memory(seen),
        "cpu": lambda: _of_cpu(seen),
        "stores": lambda: _of_stores(seen),
    }
    for name in PLOTS:
        drawers[name]().savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


def _samples(path: Path) -> Columns:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}


def _courses(path: Path) -> list[Course]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            (
                float(row["second"]),
                row["kind"],
                float(row["answer_ms"]),
                float(row["ready_seconds"]) if row["ready_seconds"] else None,
            )
            for row in csv.DictReader(file)
        ]


def _panels(*labels: str) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT * len(labels)), layout="constrained")
    found: Any = figure.subplots(len(labels), 1, sharex=True, squeeze=False)
    axes = [row[0] for row in found]
    for each, label in zip(axes, labels, strict=True):
        each.set_ylabel(label)
    axes[-1].set_xlabel("minutes since the load began")
    return figure, axes


def _minutes(seen: Columns) -> list[float]:
    return [each / _MINUTE for each in seen["second"]]


def _lines(axes: Axes, seen: Columns, named: Mapping[str, str]) -> None:
    for name, label in named.items():
        axes.plot(_minutes(seen), seen[name], label=label)
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _of_courses(seen: Columns) -> Figure:
    figure, (rates, under_way) = _panels("courses a minute", "courses under way")
    for name, label in (("begun", "begun"), ("finished", "finished")):
        rates.plot(*_per_minute(seen["second"], seen[name]), label=label)
    rates.set_ylim(bottom=0)
    rates.legend(loc="upper left", bbox_to_anchor=(1, 1))
    _lines(under_way, seen, {"running": "under way", "errors": "errors so far"})
    return figure


def _per_minute(
    seconds: Sequence[float], counted: Sequence[float], over: float = 30.0
) -> tuple[list[float], list[float]]:
    """How fast a count rises, over half a minute each."""
    at, rates, first = [], [], 0
    for last in range(1, len(seconds)):
        if seconds[last] - seconds[first] >= over:
            at.append((seconds[last] + seconds[first]) / 2 / _MINUTE)
            rates.append((counted[last] - counted[first]) / (seconds[last] - seconds[first]) * _MINUTE)
            first = last
    return at, rates


def _of_latencies(courses: Sequence[Course]) -> Figure:
    figure, panels = _panels(*(f"{kind}: s to ready" for kind in KINDS), "ms to the answer")
    for axes, kind in zip(panels, KINDS, strict=False):
        _percentiles(
            axes, [(second, ready) for second, found, _, ready in courses if found == kind and ready is not None]
        )
    _percentiles(panels[-1], [(second, answer) for second, _, answer, _ in courses])
    return figure


def _percentiles(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    minutes: defaultdict[int, list[float]] = defaultdict(list)
    for second, value in points:
        minutes[int(second // _MINUTE)].append(value)
    for quantile in (0.5, 0.95, 0.99):
        values = [percentile(sorted(minutes[each]), quantile) for each in sorted(minutes)]
        axes.plot([each + 0.5 for each in sorted(minutes)], values, marker=".", label=f"p{quantile * 100:g}")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _of_depths(seen: Columns) -> Figure:
    figure, (rows, jobs) = _panels("rows, messages", "jobs that wait")
    _lines(rows, seen, {"outbox": "outbox", "messages_lag": "messages"})
    _lines(jobs, seen, {"documents": "documents", "analysis": "analysis", "generation": "generation"})
    return figure


def _of_memory(seen: Columns) -> Figure:
    figure, (small, large) = _panels("MB", "MB")
    _lines(
        small, seen,
        {"api_mb": "api", "relay_mb": "outbox-relay", "worker_mb": "stage-worker", "persistence_mb": "persistence-worker"},
    )  # fmt: skip
    _lines(
        large, seen, {"worker_children_mb": "the worker's children", "postgres_mb": "PostgreSQL", "redis_mb": "Redis"}
    )
    return figure


def _of_cpu(seen: Columns) -> Figure:
    figure, (used, load) = _panels("% of a core", "load average")
    names = {
        "worker_cpu": "stage-worker", "postgres_cpu": "PostgreSQL", "api_cpu": "api", "relay_cpu": "outbox-relay",
        "persistence_cpu": "persistence-worker", "redis_cpu": "Redis",
    }  # fmt: skip
    for name, label in names.items():
        used.plot(_minutes(seen), _smooth(seen[name]), label=label)
    used.set_ylim(bottom=0)
    used.legend(loc="upper left", bbox_to_anchor=(1, 1))
    _lines(load, seen, {"load_average": "of one minute"})
    return figure


def _smooth(values: Sequence[float], looks: int = 6) -> list[float]:
    """Each value with the five before it."""
    return [sum(values[max(0, at - looks + 1) : at + 1]) / min(at + 1, looks) for at in range(len(values))]


def _of_stores(seen: Columns) -> Figure:
    figure, (sizes, memory) = _panels("MB on disk", "Redis: MB in memory")
    _lines(sizes, seen, {"database_mb": "database", "redis_aof_mb": "Redis' log"})
    _lines(memory, seen, {"redis_used_mb": "used"})
    return figure


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
