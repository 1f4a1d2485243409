"""docs/LIVE-EVENTS.md speaks of the stream that there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from services.api.live import hub, watcher
from services.api.live.models import ClosingMessage, EndMessage
from services.api.settings import ApiSettings
from services.kernel.metrics import REGISTRY
from services.kernel.settings import declarations

_ROOT = Path(__file__).resolve().parents[5]
_PAGE = (_ROOT / "docs" / "LIVE-EVENTS.md").read_text(encoding="utf-8")


def reasons(model: type[msgspec.Struct]) -> set[str]:
    """Those that the description knows."""
    [schema], components = msgspec.json.schema_components([model], ref_template="{name}")
    content: Any = components[schema["$ref"]]["properties"]["data"]["contentSchema"]
    return set(content["properties"]["reason"]["enum"])


def test_every_reason_is_explained() -> None:
    """Those of `closing` in their table, those of `end` in its row."""
    table = _PAGE[_PAGE.index("| `closing` because of") :].split("\n\n")[0]
    row = next(line for line in _PAGE.splitlines() if line.startswith("| `end`"))

    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) - {"closing"} == reasons(ClosingMessage)
    assert reasons(EndMessage) <= set(re.findall(r"`(\w+)`", row))


def test_every_reason_that_the_code_gives_is_described() -> None:
    """A closing that nobody documented fails here."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (_ROOT / "services/api").glob("**/*.py"))
    given = set(re.findall(r'frames\.closing\("(\w+)"\)', code))

    assert given | {"token_expired", "renew"} == reasons(ClosingMessage)


def test_numbers_and_metrics_are_those_of_the_code() -> None:
    """Defaults, limits, names."""
    defaults = {declaration.env: declaration.default for _, declaration in declarations(ApiSettings)}
    for name, shown in re.findall(r"`([A-Z_]+)` \((\d+)\)", _PAGE):
        assert float(defaults[name]) == float(shown), name
    metrics = set(re.findall(r"`(live_\w+?)(?:\{\w+\})?`", _PAGE))

    assert len(metrics) == 4
    assert metrics <= {sample.name for family in REGISTRY.collect() for sample in family.samples} | {
        family.name for family in REGISTRY.collect()
    } | {f"{family.name}_total" for family in REGISTRY.collect()}
    assert f"{watcher.HEARTBEAT_SECONDS:g} silent seconds" in _PAGE
    assert f"{watcher.MOST_WAITING // 1024} KiB" in _PAGE
    assert hub.REST_SECONDS == 0.1
    assert "ten times a second" in _PAGE
