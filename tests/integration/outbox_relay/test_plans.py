"""The relay's statements stay on their indexes: with 50,000 rows, and in plans made while the outbox was empty."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from services.kernel.database import Database
from services.kernel.queries import Queries
from services.kernel.settings import CommonSettings, Secret
from services.outbox_relay.relay import SESSION
from tests.integration.outbox_relay.conftest import add_rows

OUTBOX = Queries.load("services.outbox_relay", "outbox.sql")
RECONCILER = Queries.load("services.outbox_relay", "reconciler.sql")

CLAIM = (500, [], [], [], 1000, "{[1,4)}", 10**6, 10**6, False)
STATEMENTS: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "claim": (OUTBOX["claim_batch"], CLAIM, "idx_job_outbox_pending"),
    "mark": (OUTBOX["mark_processed"], ([uuid4()], 1), "job_outbox_pkey"),
    "charge": (OUTBOX["charge_rows"], ([uuid4()], 1, ["x"], 1.0), "job_outbox_pkey"),
    "bury": (OUTBOX["bury_rows"], ([uuid4()], 1, ["x"]), "job_outbox_pkey"),
    "probe": (OUTBOX["probe_due"], (), "idx_job_outbox"),
    "backlog": (OUTBOX["backlog"], (), "idx_job_outbox_unprocessed"),
    "running courses": (RECONCILER["running_courses"], (UUID(int=0), 500), "idx_courses_running"),
    "unfinished rows": (RECONCILER["unfinished_rows"], ([uuid4()], 2.0), "idx_job_outbox_entity"),
    "open queues": (RECONCILER["open_queues"], (), "idx_open_jobs_queue"),
    "open rows": (RECONCILER["open_rows"], ("quiz", UUID(int=0), 500, 2.0), "idx_open_jobs_queue"),
    "close jobs": (RECONCILER["close_jobs"], ([uuid4()],), "open_jobs_pkey"),
    "bodies": (RECONCILER["bodies"], ([uuid4()], 10**6), "job_outbox_pkey"),
}


async def test_no_statement_reads_the_whole_outbox(database_url: str, course: UUID) -> None:
    """Plans are made for an empty table, kept (as a session keeps them), and must still be right for 50,000 rows."""
    settings = CommonSettings(database_url=Secret(database_url), pool_max_size=2)
    db = await Database.open(settings, parameters=SESSION)
    plans: dict[str, str] = {}
    try:
        async with db.acquire() as session:
            await session.execute("SET plan_cache_mode = force_generic_plan")
            for number, (statement, arguments, _) in enumerate(STATEMENTS.values()):
                await session.execute(f"PREPARE kept{number} AS {statement}")
                await session.execute(f"EXECUTE kept{number}{_literals(arguments)}")
            await add_rows(db, course, 50_000)
            for number, (name, (_, arguments, _)) in enumerate(STATEMENTS.items()):
                rows = await session.fetch(f"EXPLAIN EXECUTE kept{number}{_literals(arguments)}")
                plans[name] = "\n".join(row[0] for row in rows)
    finally:
        await db.close()

    for name, plan in plans.items():
        assert STATEMENTS[name][2] in plan, name
        for table in ("job_outbox", "open_jobs", "courses", "effect_ledger"):
            assert f"Seq Scan on {table}" not in plan, name


def _literals(arguments: tuple[Any, ...]) -> str:
    return f"({', '.join(map(_literal, arguments))})" if arguments else ""


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return "'{" + ",".join(str(each) for each in value) + "}'"
    return f"'{value}'"
