"""Pictures of all dashboards into docs/pictures: `python -m benchmarks.dashboards` (a quarter of an hour).

`--minutes 2` is quicker; `--redraw` draws once more what was answered last. Needs Prometheus (`scripts/promtool.sh FOLDER`,
FOLDER on PATH) and matplotlib (`scripts/environment pictures`).
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.dashboards import asking, scene
from benchmarks.dashboards.panels import panels_of, title_of

REPOSITORY = Path(__file__).parents[2]
PICTURES = REPOSITORY / "docs" / "pictures"
_OPERATOR_SECONDS = 240.0
_ANSWERS = REPOSITORY / "build" / "dashboards"


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask and draw; 1 when a panel shows nothing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboards", description="Pictures of the dashboards.")
    parser.add_argument("--minutes", type=float, default=10.0, help="of load, before the pictures are taken")
    parser.add_argument("--redraw", action="store_true", help="from the answers of the last time")
    options = parser.parse_args(arguments)
    if find_spec("matplotlib") is None:
        parser.error("matplotlib is not installed: scripts/environment pictures")
    if not options.redraw:
        _look(options.minutes * 60)
    empty = [each for path in sorted(_ANSWERS.glob("*.json")) for each in _drawn(path)]
    for each in empty:
        print(f"nothing to show: {each}")
    return 1 if empty else 0


def _look(seconds: float) -> None:
    for look in (scene.look_at_stack(seconds), scene.look_at_operator(min(seconds, _OPERATOR_SECONDS))):
        for path, answers in asyncio.run(look).items():
            asking.save(answers, _ANSWERS / Path(path).name)


def _drawn(path: Path) -> list[str]:
    from benchmarks.dashboards.drawing import draw

    (file,) = (
        REPOSITORY / each
        for each in (scene.OUTBOX, scene.OBJECTIVES, scene.MESSAGES, scene.OPERATOR)
        if each.endswith(f"/{path.name}")
    )
    panels, answers = panels_of(file), asking.saved(path)
    picture = PICTURES / f"{_NAMES[path.name]}.png"
    draw(title_of(file), panels, answers, picture)
    print(f"written: {picture.relative_to(REPOSITORY)}")
    return [f"{title_of(file)}: {each}" for each in asking.empty(panels, answers)]


_NAMES = {
    "grafana-dashboard.json": "outbox-dashboard",
    "objectives-dashboard.json": "objectives-dashboard",
    "phase3-queue-dashboard.json": "messages-dashboard",
    "operator-dashboard.json": "operator-dashboard",
}


if __name__ == "__main__":
    raise SystemExit(main())
