"""The documents speak of the schema that there is."""

from __future__ import annotations

import re
from pathlib import Path

from services.kernel.database import connect
from services.kernel.settings import declarations
from services.migrate.files import find_directory, read_directory
from services.migrate.settings import MigrateSettings

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_SCHEMA = (_DOCS / "DATABASE-SCHEMA.md").read_text(encoding="utf-8")
_MIGRATIONS = (_DOCS / "MIGRATIONS.md").read_text(encoding="utf-8")


async def test_every_table_function_and_index_is_described(database_url: str) -> None:
    """A new one fails here until it is."""
    session = await connect(database_url)
    rows = await session.fetch(
        "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text IN ('public', 'cron')"
        " UNION SELECT proname FROM pg_proc WHERE pronamespace::regnamespace::text IN ('public', 'cron')"
        " UNION SELECT indexrelid::regclass::text FROM pg_index"
        " WHERE indrelid::regclass::text IN ('job_outbox', 'idempotency_keys', 'fsm_events') AND NOT indisprimary"
    )
    await session.close()

    assert [row["name"] for row in rows if not re.search(rf"\b{row['name']}\b", _SCHEMA)] == []


async def test_the_drawing_shows_columns_that_exist(database_url: str) -> None:
    """Every attribute of the diagram is a column, of that very type where it is one word."""
    session = await connect(database_url)
    rows = await session.fetch("SELECT table_name, column_name FROM information_schema.columns")
    await session.close()
    known = {(row["table_name"], row["column_name"]) for row in rows}
    drawn = {
        (table, line.split()[1])
        for table, body in re.findall(r"^    (\w+) \{\n(.*?)^    \}", _SCHEMA, re.MULTILINE | re.DOTALL)
        for line in body.splitlines()
    }

    assert len(drawn) > 30
    assert drawn <= known


def test_every_migration_and_setting_is_listed() -> None:
    """With its default."""
    listed = re.findall(r"^\| `(\d{14}_\w+\.sql)`", _MIGRATIONS, re.MULTILINE)
    settings = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+?) \|", _MIGRATIONS, re.MULTILINE))

    assert listed == [file.filename for file in read_directory(find_directory())]
    assert set(settings) == {declaration.env for _, declaration in declarations(MigrateSettings)}
    for _, declaration in declarations(MigrateSettings):
        if isinstance(declaration.default, int | float):
            assert settings[declaration.env] == f"{declaration.default:g}"


def test_every_rollback_is_described() -> None:
    """And every one described is there."""
    described = set(re.findall(r"`rollback/(\w+\.sql)`", _MIGRATIONS))

    assert described == {path.name for path in (_DOCS.parent / "rollback").glob("*.sql")}


def test_the_diagrams_are_fenced_and_balanced() -> None:
    """What GitHub would not render is seen here: an unclosed fence, an unknown kind, an unclosed bracket."""
    for text in (_SCHEMA, _MIGRATIONS):
        diagrams = re.findall(r"^```mermaid\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert diagrams
        assert text.count("```") % 2 == 0
        for diagram in diagrams:
            assert diagram.split()[0] in {"erDiagram", "flowchart", "stateDiagram-v2", "sequenceDiagram"}
            if not diagram.startswith("erDiagram"):  # whose crow's feet are braces
                assert all(diagram.count(one) == diagram.count(other) for one, other in ("()", "[]", "{}"))
