"""The ten parts of a deployment that verify-deployment.sh looks at: how each is broken, what then tells, and which page mends it.

docs/VERIFICATION.md has the same table, and a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx

from services.kernel.schema import REVISION
from tests.support import tokens
from tests.support.breaking import COURSE
from tests.support.fences import fences
from tests.support.kube.installation import Installation, port_forward
from tests.support.servers import REPOSITORY

RUNBOOKS: Final = REPOSITORY / "docs" / "runbooks"
TITLE: Final = "Ordered while a part was broken"
"""Of every course that is ordered here."""
WRITER: Final = "importer"
"""The login that writes jobs by itself."""
IMPORTED: Final = 60
"""More courses than the check lets pass within an hour."""
DEAD_ROWS: Final = 1001
"""One more than may wait."""
SUCCESSES: Final = 20
"""Initiations that make up for a failed one: 95 in a hundred are to succeed."""

Step = Callable[[Installation], object]


def _nothing(installation: Installation) -> None:
    del installation


@dataclass(frozen=True)
class Part:
    """One part, broken in one way."""

    check: str
    """Of verify-deployment.sh."""
    broken: str
    """How it is broken, in the words of docs/VERIFICATION.md."""
    alerts: tuple[str, ...]
    """That fire; the first one's page says what to look at."""
    page: str
    """The runbook that mends it: the first alert's, or one that it leads to."""
    mark: str
    """Of the block there that brings the part back."""
    sign: str
    """A pattern of what the first alert's page shows under Look, which tells this cause from others."""
    breaks: Step
    clears: Step
    """Takes away whatever breaking has left, also where mending has failed."""
    goes_on: Step = _nothing
    """What users do all the while, again and again until the alerts fire."""
    makes_up: Step = _nothing
    """What happens after the mending, before the check can be green again."""
    also: frozenset[str] = frozenset()
    """Checks that turn red with it."""
    given: str = ""
    """The variables that the page has the reader set, for the block that mends."""

    @property
    def look(self) -> str:
        """What the first alert's page has one type before anything is mended: under Confirm, and under Look."""
        text = _page(self.alerts[0]).read_text(encoding="utf-8")
        begin, end = text.index("\n## Confirm\n"), text.index("\n## Mend\n")
        return "".join(each.text for each in fences(text) if begin < each.begin < end)

    @property
    def runbook(self) -> Path:
        """The page that mends it."""
        return _page(self.page)


def _page(name: str) -> Path:
    return RUNBOOKS / f"{name}.md"


def _scaled(component: str, replicas: int) -> Step:
    def scale(installation: Installation) -> None:
        installation.kubectl("scale", f"deployment/{installation.fullname}-{component}", f"--replicas={replicas}")
        if replicas:
            installation.rolled_out(component)
        else:
            pods = f"{installation.selector},app.kubernetes.io/component={component}"
            installation.kubectl("wait", "pod", "-l", pods, "--for=delete", "--timeout=90s")

    return scale


def _statement(text: str) -> Step:
    return lambda installation: installation.sql(text)


def order(installation: Installation, courses: int = 1) -> list[int]:
    """Order courses, each for a user of its own; how the api answered."""
    statuses = []
    with port_forward(installation, f"service/{installation.fullname}-api", 3000) as url:
        for _ in range(courses):
            body = {"courseId": str(uuid4()), "title": TITLE, "hasFiles": False}
            headers = {"Authorization": f"Bearer {installation.token(uuid4())}"}
            answer = httpx.post(f"{url}/api/trpc/generation.initiate", json=body, headers=headers, timeout=30)
            statuses.append(answer.status_code)
    return statuses


def forget_orders(installation: Installation) -> None:
    """Delete every course that was ordered here."""
    installation.sql(f"DELETE FROM courses WHERE title = '{TITLE}'")


def _lock_out(installation: Installation) -> None:
    installation.sql("ALTER ROLE coursegen_app NOLOGIN")
    installation.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'coursegen_app'")


def _await_approval(installation: Installation) -> None:
    installation.sql(f"DELETE FROM supabase_migrations.schema_migrations WHERE version = '{REVISION}'")
    installation.kubectl("patch", "dbm/main", "--type=merge", "-p", '{"spec":{"approval":"Manual"}}')


def _approve_all(installation: Installation) -> None:
    installation.kubectl("patch", "dbm/main", "--type=merge", "-p", '{"spec":{"approval":"Auto"}}')
    installation.kubectl("wait", "dbm/main", "--for=condition=Ready", "--timeout=120s", seconds=130)


def _fail_to_order(installation: Installation) -> None:
    assert order(installation) == [500]


def _order_in_vain(installation: Installation) -> None:
    assert order(installation) == [200]


def _succeed_often_enough(installation: Installation) -> None:
    failed = int(installation.sql("SELECT count(*) FROM system_metrics WHERE event_type = 'job_rollback'"))
    wanted = SUCCESSES * failed
    assert order(installation, wanted) == [200] * wanted


def _forget_failures(installation: Installation) -> None:
    installation.sql("GRANT EXECUTE ON FUNCTION initiate_generation_v2 TO service_role")
    installation.sql("DELETE FROM system_metrics WHERE event_type = 'job_rollback'")
    forget_orders(installation)


_IMPORT: Final = f"""
    SET ROLE {WRITER};
    INSERT INTO courses (id, title, slug, user_id, organization_id)
    SELECT gen_random_uuid(), '{TITLE}', 'imported-' || gen_random_uuid(), '{tokens.USER}', '{tokens.ORGANIZATION}'
      FROM generate_series(1, {IMPORTED});
    INSERT INTO job_outbox (entity_id, queue_name, job_type)
    SELECT id, 'course-generation', 'STRUCTURE_ANALYSIS' FROM courses
     WHERE slug LIKE 'imported-%' AND generation_status = 'pending';
"""


def _import(installation: Installation) -> None:
    installation.sql(f"INSERT INTO auth.users (id) VALUES ('{tokens.USER}') ON CONFLICT DO NOTHING")
    installation.sql(f"CREATE ROLE {WRITER} LOGIN IN ROLE service_role")
    installation.sql(f"GRANT INSERT ON job_outbox TO {WRITER}")  # a second way to the same right
    installation.sql(_IMPORT)


def _let_an_hour_pass(installation: Installation) -> None:
    """By the rows: nobody waits for an hour here. And nobody writes any more."""
    may = f"SELECT has_table_privilege('{WRITER}', 'job_outbox', 'INSERT')"
    assert installation.sql(may) == "f"
    installation.sql(
        "UPDATE fsm_events SET created_at = created_at - interval '1 hour'"
        " WHERE triggered_by IN ('QUEUE_LAYER_2', 'WORKER_LAYER_3')"
    )


def _forget_the_writer(installation: Installation) -> None:
    forget_orders(installation)
    if installation.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{WRITER}'"):
        installation.sql(f"DROP OWNED BY {WRITER}; DROP ROLE {WRITER}")


_DEAD: Final = f"""
    INSERT INTO auth.users (id) VALUES ('{tokens.USER}') ON CONFLICT DO NOTHING;
    INSERT INTO courses (id, title, slug, user_id, organization_id, generation_status)
    VALUES ('{COURSE}', '{TITLE}', 'dead', '{tokens.USER}', '{tokens.ORGANIZATION}', 'stage_4_init');
    INSERT INTO fsm_events (entity_id, event_type, new_state, triggered_by, created_by)
    VALUES ('{COURSE}', 'FSM_INITIALIZED', 'stage_4_init', 'API_INITIATE', 'API');
    INSERT INTO job_outbox (entity_id, queue_name, job_type, retry_count, max_retries, last_error)
    SELECT '{COURSE}', 'course-generation', 'STRUCTURE_ANALYSIS', 5, 5, 'the queue is not known'
      FROM generate_series(1, {DEAD_ROWS});
"""

PARTS: Final = (
    Part(
        "Redis",
        "it has no pod, and somebody orders a course",
        ("OutboxLagHigh",),
        "OutboxLagHigh",
        "mend-redis",
        "Redis does not answer",
        breaks=lambda installation: (_scaled("redis", 0)(installation), _order_in_vain(installation)),
        clears=lambda installation: (_scaled("redis", 1)(installation), forget_orders(installation)),
    ),
    Part(
        "Database",
        "the login of all processes is locked",
        ("ApiDown",),
        "ApiDown",
        "mend-login",
        r"is not permitted to log in.*waiting to start",
        breaks=_lock_out,
        also=frozenset({"API"}),
        clears=_statement("ALTER ROLE coursegen_app LOGIN"),
    ),
    Part(
        "Migrations",
        "one is not applied, and waits for approval",
        ("DatabaseMigrationStalled",),
        "DatabaseMigrationStalled",
        "mend-approval",
        "AwaitingApproval",
        breaks=_await_approval,
        clears=_approve_all,
    ),
    Part(
        "Tables",
        "the row security of a table is turned off",
        ("DatabaseSchemaDrift",),
        "DatabaseSchemaDrift",
        "mend-drift",
        r"idempotency_keys changed \(row security off\)",
        breaks=_statement("ALTER TABLE idempotency_keys DISABLE ROW LEVEL SECURITY"),
        clears=_statement("ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY"),
    ),
    Part(
        "API",
        "it has no pod",
        ("ApiDown",),
        "ApiDown",
        "mend-api",
        r"-api +0/0 ",
        breaks=_scaled("api", 0),
        clears=_scaled("api", 1),
    ),
    Part(
        "Outbox",
        "the relay has no pod",
        ("OutboxProcessorStalled", "OutboxRelayNoLeader"),
        "OutboxProcessorStalled",
        "mend-relay",
        r"-outbox-relay +0/0 ",
        breaks=_scaled("outbox-relay", 0),
        clears=_scaled("outbox-relay", 1),
    ),
    Part(
        "FSM",
        "the right to call the function of initiations is gone",
        ("FsmFailureRateHigh", "ApiErrorBudgetBurnFast"),
        "FsmFailureRateHigh",
        "mend-grant",
        "permission denied for function initiate_generation_v2",
        breaks=_statement("REVOKE EXECUTE ON FUNCTION initiate_generation_v2 FROM service_role"),
        goes_on=_fail_to_order,
        makes_up=_succeed_often_enough,
        clears=_forget_failures,
    ),
    Part(
        "Fallbacks",
        "somebody writes jobs for courses that nobody initialised",
        ("FallbackFrequencyHigh",),
        "FallbackFrequencyHigh",
        "mend-writer",
        "QUEUE_LAYER_2|WORKER_LAYER_3",
        breaks=_import,
        makes_up=_let_an_hour_pass,
        clears=_forget_the_writer,
        given=f"LOGIN={WRITER}\n",
    ),
    Part(
        "Pending Jobs",
        "more than 1000 rows are dead",
        ("OutboxQueueDepthHigh", "OutboxDeadLetters"),
        "OutboxDeadLetters",
        "mend-dead",
        rf"\| +{DEAD_ROWS} \|",
        breaks=_statement(_DEAD),
        clears=forget_orders,
    ),
    Part(
        "Events",
        "the right to read them is gone",
        ("SystemHealthCheckFailed",),
        "SystemHealthCheckFailed",
        "mend-tables",
        "permission denied for table fsm_events",
        breaks=_statement("REVOKE SELECT ON fsm_events FROM service_role"),
        clears=_statement("GRANT SELECT ON fsm_events TO service_role"),
        also=frozenset({"API"}),
    ),
)
"""In the order of the checks."""


def rows(page: str) -> list[tuple[str, ...]]:
    """The table of docs/VERIFICATION.md that `PARTS` is: check, how it is broken, alerts, page."""
    section = page.partition("\n## When a part breaks\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ") and "---" not in line][1:]
    return [
        tuple(re.sub(r"\[(\w+)\]\(\S+\)", r"\1", cell).strip() for cell in line.strip("| ").split(" | "))
        for line in lines
    ]
