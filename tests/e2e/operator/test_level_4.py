"""Level 4 of docs/DEPLOYMENT-CHECKLIST.md, as printed, where the operator migrates: away, back with the backup, and back without.

Left out of `make test`; `make prove-operator` runs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import checklist
from tests.support.kube.installation import Installation
from tests.support.kube.operator import await_condition, reads
from tests.support.kube.page import Shell, make_tools, shell_for
from tests.support.servers import REPOSITORY

REVISIONS = sorted(each.name[:14] for each in (REPOSITORY / "migrations").glob("*.sql"))

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.install,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get("PROVE_OPERATOR"), reason="a proof that runs by hand: make prove-operator"),
]

STOP, REMOVE, WITH, WITHOUT = "Stop everything", "Remove it", "Back with the backup", "Back without it"
POLICIES = ("fsm-events", "idempotency", "outbox")
_ROWS = """
INSERT INTO auth.users (id) VALUES ('00000000-0000-4000-8000-0000000000a4');
INSERT INTO courses (id, title, slug, user_id, organization_id) VALUES
  (gen_random_uuid(), 'Kept', 'kept', '00000000-0000-4000-8000-0000000000a4', gen_random_uuid());
INSERT INTO idempotency_keys (idempotency_key, created_at, expires_at) VALUES ('kept', now(), now() + interval '1 day');
"""
_COURSES = "SELECT count(*) FROM courses WHERE slug = 'kept'"
_KEYS = "SELECT count(*) FROM idempotency_keys WHERE idempotency_key = 'kept'"
_GONE = "SELECT coalesce(to_regclass('job_outbox')::text, to_regproc('initialize_fsm_with_outbox')::text, '')"
_MIGRATED = "SELECT count(*) FROM supabase_migrations.schema_migrations"


@pytest.fixture
def shell(operated: Installation, tmp_path: Path) -> Iterator[Shell]:
    """The page's own shell, with the tools pod."""
    run_block = shell_for(operated, tmp_path, seconds=600)
    make_tools(run_block, operated.fullname)
    yield run_block
    component = f"app.kubernetes.io/instance={operated.release},app.kubernetes.io/component=tools"
    operated.kubectl("delete", "pod,networkpolicy", "-l", component, "--wait=false")


def go(shell: Shell, name: str, installation: Installation) -> None:
    """Type in one step of the page, but for the blocks of `migrations.mode: job`; each prints what the page says."""
    blocks = [each for each in checklist.blocks() if each.where.startswith(f"Level 4: the schema: {name}")]
    ours = [each for each in blocks if each.mark == "checklist-level-4"]
    assert ours, name
    for each in ours:
        done = shell(each.commands)
        assert done.returncode == 0, (each.where, done.stdout, done.stderr)
        said = done.stdout.replace(f'Release "{installation.release}"', 'Release "coursegen"')
        assert checklist.unseen(each, said, installation.fullname) == [], said


def is_whole(installation: Installation) -> None:
    """Return when everything is as before: all migrations applied, all processes and resources at work."""
    namespace = installation.namespace
    ready = await_condition(namespace, "dbm", "main", "Ready", reason="Applied", within=60)
    installation.rolled_out(*installation.processes())
    assert ready["status"]["currentRevision"] == REVISIONS[-1]
    assert installation.sql(_MIGRATED) == str(len(REVISIONS))
    assert installation.sql("SELECT count(*) FROM cron.job") == "3"
    for name in POLICIES:
        await_condition(namespace, "rtp", name, "Ready", reason="Scheduled", within=60)
        cronjob = reads(namespace, "rtp", name)["status"]["cronJobName"]
        assert not installation.get("cronjob", cronjob)["spec"].get("suspend")


def test_the_schema_goes_and_comes_back_both_ways(operated: Installation, shell: Shell) -> None:
    """While it is away the operator makes nothing again; then with what was there, then without the outbox's rows."""
    operated.sql(_ROWS)
    is_whole(operated)

    for way, keys in ((WITH, "1"), (WITHOUT, "0")):
        go(shell, STOP, operated)
        go(shell, REMOVE, operated)
        assert operated.sql(_GONE) == ""
        assert operated.sql(_MIGRATED) == str(len(REVISIONS) - 2)
        operated.kubectl("annotate", "rtp/outbox", f"ops.coursegen.dev/reconcile-at={way}", "--overwrite")
        await_condition(operated.namespace, "rtp", "outbox", "Ready", reason="Suspended", within=60)
        assert operated.sql(_GONE) == ""

        go(shell, way, operated)

        is_whole(operated)
        assert (operated.sql(_COURSES), operated.sql(_KEYS)) == ("1", keys)
