"""Write docs/SETTINGS.md from the settings that the code declares: ``.venv/bin/python scripts/settings_page.py``.

A test compares the page with the code, so that it is never older than it.
"""

from __future__ import annotations

import dataclasses
import tempfile
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from operators.coursegen_operator.settings import OperatorSettings
from services.api.settings import ApiSettings
from services.kernel.settings import CommonSettings, Declaration, Secret, declarations
from services.migrate.settings import MigrateSettings
from services.outbox_relay.settings import RelaySettings
from services.persistence_worker.settings import PersistenceSettings
from services.retention.settings import RetentionSettings
from services.stage_worker.settings import Concurrency, WorkerSettings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "SETTINGS.md"

_HEAD = """# Settings

Every process reads its settings from environment variables, once, at start. Faults are reported all together with exit
code 78. Values marked *Secret* never appear in a log, an error or a metric. The operator has no database and no Redis:
of the first table it reads what is about logs, metrics, stopping and faults. This page is made from the code by
`scripts/settings_page.py`.

"""
_PROCESSES: tuple[tuple[str, type[Any]], ...] = (
    ("Of every process", CommonSettings),
    ("Of the api", ApiSettings),
    ("Of the outbox-relay", RelaySettings),
    ("Of a stage-worker", WorkerSettings),
    ("Of a persistence-worker", PersistenceSettings),
    ("Of migrate", MigrateSettings),
    ("Of retention", RetentionSettings),
    ("Of the operator", OperatorSettings),
)


def render() -> str:
    """The page's text."""
    common = dict(declarations(CommonSettings))
    sections = [_section(title, cls, {} if cls is CommonSettings else common) for title, cls in _PROCESSES]
    return _HEAD + "\n".join(sections)


def _section(title: str, cls: type[Any], common: dict[str, Declaration]) -> str:
    secrets = {name for name, hint in typing.get_type_hints(cls).items() if "Secret" in str(hint)}
    rows = [_row(each, name in secrets) for name, each in declarations(cls) if common.get(name) != each]
    table = "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])
    return f"## {title}\n\n{table}\n"


def _row(declaration: Declaration, secret: bool) -> str:
    meaning = " ".join([*_meaning(declaration), *(["*Secret.*"] if secret else [])]).replace("|", "\\|")
    return f"| `{declaration.env}` | {_default(declaration)} | {meaning} |"


def _default(declaration: Declaration) -> str:
    value = declaration.default
    if value is dataclasses.MISSING:
        return "*required*"
    if isinstance(value, Secret):
        return f"`{value.reveal()}`"
    if value is None or value in ("", ()):
        return "–"
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    if value == Path(tempfile.gettempdir()):
        return "the system's temporary folder"
    if isinstance(value, Concurrency):
        value = value.general
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" + (f" {declaration.unit}" if declaration.unit else "")


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _meaning(declaration: Declaration) -> Iterator[str]:
    yield declaration.doc.rstrip(".") + "."
    if declaration.choices:
        yield "One of " + ", ".join(f"`{choice}`" for choice in declaration.choices) + "."
    if declaration.minimum is not None and declaration.maximum is not None:
        yield f"From {_number(declaration.minimum)} to {_number(declaration.maximum)}."


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
