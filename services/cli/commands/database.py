"""The database: migrate, fixtures."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import Annotated
from uuid import UUID

import typer

from services.cli import output, tokens
from services.cli.commands.options import AsJson
from services.cli.stack.processes import python_module, shared_environment
from services.cli.target import database_session, database_url
from services.kernel.queries import Queries

_QUERIES = Queries.load("services.cli", "fixtures.sql")
DRY_RUN_COURSE = UUID("00000000-0000-0000-0000-000000000021")
"""The course of the deployment checklist's dry run."""

LOCAL_COURSE = UUID("00000000-0000-0000-0000-000000000001")
"""The course of the migration guide's local test."""

_COURSES = ((DRY_RUN_COURSE, "Deployment dry run", "deployment-dry-run"), (LOCAL_COURSE, "Test Course", "test-course"))


def migrate(
    *,
    status: Annotated[bool, typer.Option("--status", help="Only say where every migration stands.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be applied.")] = False,
    contract: Annotated[
        bool, typer.Option("--contract", help="Apply files of phase contract as well; needs --backup.")
    ] = False,
    target: Annotated[str | None, typer.Option(metavar="VERSION", help="Go to this revision and no further.")] = None,
    expect_plan: Annotated[str | None, typer.Option(metavar="HASH", help="Refuse any plan but this one.")] = None,
    allow_destructive: Annotated[
        bool, typer.Option("--allow-destructive", help="Allow statements that take something away; needs --backup.")
    ] = False,
    backup: Annotated[str | None, typer.Option(metavar="ID", help="The backup that could be gone back to.")] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Take a database without a list for being at this revision.")
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION", help="Take a changed file for the one that was applied; repeatable."),
    ] = None,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Take the schema as it is for what it should be.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database up to date: that of the running stack, or the one DATABASE_URL names. Safe to repeat."""
    switches = {
        "--status": status,
        "--plan": plan,
        "--contract": contract,
        "--allow-destructive": allow_destructive,
        "--accept-drift": accept_drift,
        "--json": as_json,
    }
    values = {"--target": target, "--expect-plan": expect_plan, "--backup": backup, "--baseline": baseline}
    flags = [
        *(name for name, is_on in switches.items() if is_on),
        *(f"{name}={value}" for name, value in values.items() if value is not None),
        *(f"--accept={version}" for version in accept or ()),
    ]
    environment = {**shared_environment(os.environ), "DATABASE_URL": database_url(os.environ)}
    done = subprocess.run([*python_module("services.migrate"), *flags], env=environment, check=False)
    raise typer.Exit(done.returncode)


def fixtures(*, as_json: AsJson = False) -> None:
    """Add the rows that the checklists work on: a user, and two courses of his. Safe to repeat, never overwrites."""
    added = asyncio.run(_add_fixtures())
    if as_json:
        output.document(
            {
                "user": str(tokens.DEVELOPER),
                "organization": str(tokens.ORGANIZATION),
                "courses": [str(course) for course, _, _ in _COURSES],
                "added": added,
            }
        )
        return
    output.say(f"user    {tokens.DEVELOPER}, organisation {tokens.ORGANIZATION}")
    for course, title, slug in _COURSES:
        output.say(f"course  {course}  {title} ({slug})")
    output.say(f"{added} rows added" if added else "all of them were there")


async def _add_fixtures() -> int:
    async with database_session(os.environ, "coursegen-fixtures") as session, session.transaction():
        added: int = await session.fetchval(_QUERIES["add_user"], tokens.DEVELOPER)
        for course, title, slug in _COURSES:
            added += await session.fetchval(
                _QUERIES["add_course"], course, title, slug, tokens.DEVELOPER, tokens.ORGANIZATION
            )
        return added
