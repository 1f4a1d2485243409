"""Outbox rows that were given up: see them, and send them again."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any
from uuid import UUID

import typer

from services.cli import output
from services.cli.commands.options import AsJson
from services.cli.errors import StackError
from services.cli.target import database_session
from services.kernel.queries import Queries

_QUERIES = Queries.load("services.cli", "dead_letters.sql")


def group() -> typer.Typer:
    """The commands as a group of their own."""
    app = typer.Typer(help="Outbox rows that were given up: see them, and send them again.", no_args_is_help=True)
    app.command("list")(list_rows)
    app.command()(replay)
    return app


def list_rows(
    *, limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most rows shown.")] = 100, as_json: AsJson = False
) -> None:
    """Show the rows that no relay tries again, with the reason: oldest first."""
    rows = [dict(row.items()) for row in asyncio.run(_run("dead_rows", limit))]
    if as_json:
        output.document({"deadLetters": rows})
        return
    for row in rows:
        output.say(f"{row['outbox_id']}  course {row['course_id']}  {row['job_type']}  {row['saq_queue']}")
        output.say(f"    after {row['retry_count']} tries, last {row['last_attempt_at']}: {row['last_error']}")
    output.say(f"{len(rows)} dead letters" if rows else "no dead letters")


def replay(
    rows: Annotated[list[UUID] | None, typer.Argument(metavar="[OUTBOX_ID]...", help="The rows to send again.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Send all of them again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give rows all their tries again; the relay takes them within two seconds. A row that arrived is never doubled."""
    if bool(rows) == every:
        raise StackError("Name the rows to send again (coursegen dead-letters list shows them), or write --all.")
    (row,) = asyncio.run(_run("revive_rows", rows or None))
    revived = int(row[0])
    if as_json:
        output.document({"replayed": revived})
    else:
        output.say(f"{revived} rows will be sent again")


async def _run(statement: str, argument: Any) -> list[Any]:
    async with database_session(os.environ, "coursegen-dead-letters") as session:
        return await session.fetch(_QUERIES[statement], argument)
