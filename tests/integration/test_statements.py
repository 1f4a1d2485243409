"""Every statement in a `.sql` file of the services is valid against the migrated schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.kernel.database import Database
from services.kernel.queries import parse

_ROOT = Path(__file__).resolve().parents[2]
# Utility statements cannot be prepared; the tests of their modules run them.
_UNPREPARABLE = ("LISTEN", "UNLISTEN", "NOTIFY", "SET", "CREATE", "ALTER", "GRANT", "DO", "BEGIN", "COMMIT")
_STATEMENTS = [
    pytest.param(statement, id=f"{path.relative_to(_ROOT / 'services')}:{name}")
    for path in sorted((_ROOT / "services").rglob("*.sql"))
    if "cli" not in path.parts  # the command's own run through psql, with its variables, in the acceptance tests
    for name, statement in parse(path.read_text(encoding="utf-8"), path.name).items()
    if statement.split(None, 1)[0].upper() not in _UNPREPARABLE
]


@pytest.mark.parametrize("statement", _STATEMENTS)
async def test_every_statement_can_be_prepared(db: Database, statement: str) -> None:
    """A typo, a missing column or a wrong type fails here, not in production."""
    async with db.acquire() as session:
        prepared = await session.prepare(statement)

    assert prepared is not None
