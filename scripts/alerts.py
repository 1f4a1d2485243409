"""Write the alerts for a Prometheus without the operator: config/alerts.yml, prometheus/alerts/phase3-queue.yml,
config/alerts-coursegen.yml and config/objectives.yml, and the objectives for the chart's AlertPolicy, from the source that the
operator has.

    python scripts/alerts.py [--runbook-base-url URL] [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import yaml

REPOSITORY: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from operators.coursegen_operator.alerts.rules.files import RUNBOOKS, files  # noqa: E402
from operators.coursegen_operator.alerts.rules.kpis import kpis  # noqa: E402

_HEAD: Final = "# Written by scripts/alerts.py; the source is operators/coursegen_operator/alerts/rules.\n"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they are."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


SHIPPED: Final = "charts/coursegen/files/objectives.yaml"
"""As `spec.slos` has them; the template puts the release's namespace where `@namespace` stands."""


def rendered(content: Any) -> str:
    """One file."""
    return _HEAD + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def main() -> int:
    """Write the files, or say which are not up to date."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--runbook-base-url", default=RUNBOOKS, help="what stands before an alert's name in runbook_url"
    )
    options.add_argument(
        "--check", action="store_true", help="write nothing; fail when a file is not what it should be"
    )
    chosen = options.parse_args()
    stale = []
    made: dict[str, Any] = {path: {"groups": groups} for path, groups in files(chosen.runbook_base_url).items()}
    made[SHIPPED] = list(kpis('namespace="@namespace"'))
    for path, content in made.items():
        file, text = REPOSITORY / path, rendered(content)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not chosen.check:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
    if stale:
        print("\n".join(f"{'not up to date' if chosen.check else 'written'}: {path}" for path in stale))
    return 1 if stale and chosen.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
