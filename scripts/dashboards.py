"""Write the dashboards for Grafana: config/grafana-dashboard.json, monitoring/grafana and the chart's copies, all alike.

    python scripts/dashboards.py [--check]

A file is imported as it is: Grafana asks for a data source, and the dashboard has a list to choose another one. Where nobody is
asked (a sidecar, the HTTP API) the list begins with the first Prometheus there is.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from dashboard_messages import PHASE3
from dashboard_objectives import OBJECTIVES
from dashboard_operator import OPERATOR
from dashboard_outbox import OUTBOX

REPOSITORY: Final = Path(__file__).resolve().parent.parent

DASHBOARDS: Final = (OUTBOX, PHASE3, OPERATOR, OBJECTIVES)
SHIPPED: Final = "charts/coursegen/files/dashboards"
"""The chart's copies."""


def main() -> int:
    """Write the files, or say which are not up to date."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--check", action="store_true", help="write nothing; fail when a file is not what it should be"
    )
    checks = options.parse_args().check
    stale = []
    for path, text in (
        (path, json.dumps(each.model(), indent=2) + "\n")
        for each in DASHBOARDS
        for path in (f"{each.folder}/{each.file}", f"{SHIPPED}/{each.shipped or each.file}")
    ):
        file = REPOSITORY / path
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not checks:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
    if stale:
        print("\n".join(f"{'not up to date' if checks else 'written'}: {path}" for path in stale))
    return 1 if stale and checks else 0


if __name__ == "__main__":
    sys.exit(main())
