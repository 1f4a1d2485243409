"""The pictures of dashboards show what the files say, and write numbers as Grafana does."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.dashboards import scene
from benchmarks.dashboards.asking import Answers, Series, empty, save, saved
from benchmarks.dashboards.panels import filled, legend_of, panels_of, shown, title_of
from tests.support.servers import REPOSITORY

_FILES = (scene.OUTBOX, scene.OBJECTIVES, scene.MESSAGES, scene.OPERATOR)


@pytest.mark.parametrize("path", _FILES)
def test_every_panel_of_a_file_is_known(path: str) -> None:
    """Its kind, its colours, and expressions in which nothing is left to fill in."""
    panels = panels_of(REPOSITORY / path)
    assert title_of(REPOSITORY / path)
    for each in panels:
        assert each.kind in {"timeseries", "stat", "gauge", "bargauge", "heatmap", "table"}
        assert each.steps[0].at == -math.inf
        assert each.color_of(-5) == each.steps[0].color
        for target in each.targets:
            assert "$" not in filled(target.expression, shown_seconds=600, step=5, scrape=5)


def test_what_grafana_fills_in() -> None:
    """All namespaces; four looks at least in a window."""
    asked = 'rate(x{namespace=~"$namespace"}[$__rate_interval]) + increase(y[$__range])'

    assert filled(asked, shown_seconds=600, step=2, scrape=5) == 'rate(x{namespace=~".*"}[20s]) + increase(y[600s])'
    assert "[35s]" in filled(asked, shown_seconds=600, step=30, scrape=5)
    assert legend_of("{{kind}} {{ outcome }}", {"kind": "Job"}) == "Job "


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "s", "12.3 ms"), (0.00045, "s", "450 µs"), (1.5, "s", "1.5 s"), (90, "s", "1.5 mins"), (0, "s", "0 s"),
        (99.94, "percent", "99.9%"), (0.025, "percentunit", "2.5%"), (12.34, "cps", "12.3 c/s"), (1234, "short", "1.23 K"),
        (104857600, "bytes", "100 MiB"), (512, "bytes", "512 B"), (3, "none", "3"), (100, "none", "100"), (math.nan, "s", "NaN"),
        (1.7e12, "dateTimeAsIso", "2023-11-14 22:13:20"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_grafana_does(value: float, unit: str, text: str) -> None:
    """Scaled, with three digits that count."""
    assert shown(value, unit) == text


def test_answers_can_be_kept_and_drawn_again(tmp_path: Path) -> None:
    """As they were; a panel without any is named."""
    path = REPOSITORY / scene.MESSAGES
    panels = panels_of(path)
    answers = Answers(0, 10, [[Series("a", {"x": "1"}, [(1.0, 2.0)])], *([] for _ in panels[1:])])
    file = tmp_path / "answers.json"
    save(answers, file)

    assert saved(file) == answers
    assert empty(panels, answers) == [each.title for each in panels[1:]]
