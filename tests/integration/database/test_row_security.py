"""Who may see, write and call what (contract.md b.7)."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.kernel.database import Connection, Database
from tests.support.courses import add_course, add_documents, footprint
from tests.support.tokens import ORGANIZATION, USER

_TABLES = ["job_outbox", "idempotency_keys", "fsm_events"]
_CALL = "SELECT initialize_fsm_with_outbox($1, $2, $3, $4, 'TEST', 'stage_4_init', '[{\"queue\": \"q\"}]'::jsonb)"
_SIGNATURE = "initialize_fsm_with_outbox(uuid,uuid,uuid,text,text,text,jsonb,jsonb)"


async def as_authenticated(session: Connection, subject: UUID | None) -> None:
    """Become the role and token that a request through PostgREST has."""
    claims = "" if subject is None else json.dumps({"sub": str(subject)})
    await session.execute("SELECT set_config('request.jwt.claims', $1, false)", claims)
    await session.execute("SET ROLE authenticated")


async def test_row_security_is_forced_on_every_table(owner: Connection) -> None:
    """ENABLE alone would let the owner past."""
    rows = await owner.fetch(
        "SELECT oid::regclass::text AS name, relrowsecurity AND relforcerowsecurity AS forced FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace::regnamespace::text IN ('public', 'auth', 'cron')"
    )

    assert len(rows) >= 17
    assert [row["name"] for row in rows if not row["forced"]] == []


async def test_the_three_tables_have_policies_for_the_service_role_only(owner: Connection) -> None:
    """000 and 001: system only."""
    rows = await owner.fetch("SELECT tablename, roles::text[] FROM pg_policies WHERE tablename = ANY($1)", _TABLES)

    assert sorted(row["tablename"] for row in rows) == sorted(_TABLES)
    assert {tuple(row["roles"]) for row in rows} == {("service_role",)}


async def test_the_application_s_role_owns_nothing_and_bypasses_nothing(app: Connection) -> None:
    """It logs in, is a member of service_role, and that is all."""
    role = await app.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")

    assert role["rolname"] == "coursegen_app"
    assert not any(
        role[each] for each in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication")
    )
    owned = "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = current_user"
    assert await app.fetchval(owned) == 0
    assert await app.fetchval("SELECT pg_has_role(current_user, 'service_role', 'USAGE')")
    with pytest.raises(Exception, match="permission denied for schema public"):
        await app.execute("CREATE TABLE mine (id int)")


@pytest.mark.parametrize("table", [*_TABLES, "documents", "effect_ledger", "system_metrics", "cron.job", "auth.users"])
@pytest.mark.parametrize("statement", ["SELECT count(*) FROM {}", "DELETE FROM {}"])
async def test_authenticated_cannot_touch_what_is_the_system_s(owner: Connection, table: str, statement: str) -> None:
    """Neither read nor write, whatever the token says."""
    await as_authenticated(owner, USER)
    with pytest.raises(Exception, match="permission denied"):
        await owner.execute(statement.format(table))


async def test_authenticated_sees_its_own_courses_only(db: Database, owner: Connection) -> None:
    """By the token's subject; without a token nothing."""
    mine = await add_course(db)
    await add_course(db, user=uuid4())

    await as_authenticated(owner, USER)
    assert [row["id"] for row in await owner.fetch("SELECT id FROM courses")] == [mine]
    await owner.execute("RESET ROLE")
    await as_authenticated(owner, None)
    assert await owner.fetch("SELECT id FROM courses") == []
    with pytest.raises(Exception, match="permission denied"):
        await owner.execute("UPDATE courses SET title = 'x'")


async def test_a_role_without_a_policy_sees_nothing(owner: Connection, db: Database) -> None:
    """Even one that was granted the table by mistake."""
    await add_course(db)
    await owner.execute("GRANT SELECT ON job_outbox, courses TO authenticated")
    await as_authenticated(owner, uuid4())

    assert await owner.fetchval("SELECT count(*) FROM courses") == 0
    assert await owner.fetchval("SELECT count(*) FROM job_outbox") == 0


class TestFunction:
    """`initialize_fsm_with_outbox` runs with the definer's rights, so it judges its caller."""

    async def test_it_is_what_002_looks_for(self, owner: Connection) -> None:
        """One function, SECURITY DEFINER, volatile, with the fixed search_path; authenticated may call it, PUBLIC not."""
        rows = await owner.fetch("SELECT * FROM pg_proc WHERE proname = 'initialize_fsm_with_outbox'")

        assert len(rows) == 1
        assert rows[0]["prosecdef"]
        assert rows[0]["provolatile"] == b"v"
        assert "search_path=public, pg_temp" in rows[0]["proconfig"]
        assert await owner.fetchval("SELECT has_function_privilege('authenticated', $1, 'EXECUTE')", _SIGNATURE)
        assert await owner.fetchval("SELECT has_function_privilege('service_role', $1, 'EXECUTE')", _SIGNATURE)
        assert "=X/" not in [str(each)[:3] for each in rows[0]["proacl"]]

    async def test_every_function_has_a_fixed_search_path_and_none_is_public(self, owner: Connection) -> None:
        """What the Supabase advisor checks, and no more EXECUTE than needed."""
        rows = await owner.fetch(
            "SELECT p.oid::regprocedure::text AS name, p.proconfig, p.prosecdef,"
            " EXISTS (SELECT FROM aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) WHERE grantee = 0) AS open"
            " FROM pg_proc AS p WHERE p.pronamespace::regnamespace::text IN ('public', 'cron')"
        )
        assert [row["name"] for row in rows if "search_path=public, pg_temp" not in (row["proconfig"] or [])] == []
        assert [row["name"] for row in rows if row["open"]] == []
        assert {row["name"] for row in rows if row["prosecdef"]} == {
            "initialize_fsm_with_outbox(uuid,uuid,uuid,text,text,text,jsonb,jsonb)",
            "cleanup_old_admin_actions(integer)",
        }

    async def test_a_user_may_act_for_himself(self, db: Database, owner: Connection) -> None:
        """Though he may not see the tables that are written."""
        course = await add_course(db)
        await as_authenticated(owner, USER)
        result = await owner.fetchval(_CALL, course, USER, ORGANIZATION, "k")

        assert result["fsmState"]["state"] == "stage_4_init"
        assert (await footprint(db, course)).size == (1, 1, 1)

    @pytest.mark.parametrize("subject", [uuid4(), None])
    async def test_a_user_may_not_act_for_another(self, db: Database, owner: Connection, subject: UUID | None) -> None:
        """The definer's rights do not rub off: the role that called is judged, not the one the function runs as."""
        course = await add_course(db)
        await as_authenticated(owner, subject)
        with pytest.raises(Exception, match="may not act for user"):
            await owner.fetchval(_CALL, course, USER, ORGANIZATION, "k")

        assert (await footprint(db, course)).size == (0, 0, 0)

    @pytest.mark.parametrize(("user", "organization"), [(uuid4(), ORGANIZATION), (USER, uuid4()), (USER, None)])
    async def test_nobody_may_act_on_a_course_that_is_not_the_named_user_s(
        self, db: Database, app: Connection, user: UUID, organization: UUID | None
    ) -> None:
        """Owner and organisation must both be right, for the application too."""
        course = await add_course(db)
        with pytest.raises(Exception, match="does not belong"):
            await app.fetchval(_CALL, course, user, organization, "k")

        assert (await footprint(db, course)).size == (0, 0, 0)

    async def test_a_stranger_does_not_get_the_stored_result(self, db: Database, app: Connection) -> None:
        """Ownership comes before the key (TRAP32)."""
        course = await add_course(db)
        await app.fetchval(_CALL, course, USER, ORGANIZATION, "k")
        with pytest.raises(Exception, match="does not belong"):
            await app.fetchval(_CALL, course, uuid4(), ORGANIZATION, "k")

    async def test_objects_in_pg_temp_are_not_used(self, db: Database, owner: Connection) -> None:
        """A caller's temporary tables and functions do not stand in for ours."""
        course = await add_course(db)
        for name in ("courses", *_TABLES):
            await owner.execute(f"CREATE TEMP TABLE {name} (LIKE public.{name} INCLUDING DEFAULTS)")
            await owner.execute(f"GRANT ALL ON pg_temp.{name} TO authenticated")
        await owner.execute(
            "CREATE FUNCTION pg_temp.gen_random_uuid() RETURNS uuid LANGUAGE sql AS $$ SELECT NULL::uuid $$;"
            "CREATE FUNCTION pg_temp.outbox_route(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'stolen' $$"
        )
        await as_authenticated(owner, USER)
        await owner.fetchval(_CALL, course, USER, ORGANIZATION, "k")

        left = await footprint(db, course)
        assert left.size == (1, 1, 1)
        assert left.rows[0]["saq_queue"] == "q"
        assert await owner.fetchval("SELECT count(*) FROM pg_temp.job_outbox") == 0


class TestApplicationRole:
    """What the processes do, under the role that they log in as."""

    async def test_deleting_a_course_takes_everything_with_it(self, db: Database, app_db: Database) -> None:
        """Rows of all tables that name it; only the bytes' register stays, without its course, to be swept."""
        course = await add_course(db)
        documents = await add_documents(db, course, ["# One", "# Two"])
        await app_db.fetchval(_CALL, course, USER, ORGANIZATION, "k")
        for statement in (
            "INSERT INTO document_texts (document_id, content) VALUES ($1, 'x')",
            "INSERT INTO document_sections (document_id, run_number, position, start_offset, end_offset) VALUES ($1, 1, 0, 0, 1)",
        ):
            await app_db.execute(statement, documents[0])
        for statement in (
            "INSERT INTO course_structures (course_id, run_number, structure) VALUES ($1, 1, '{}')",
            "INSERT INTO course_results (course_id, run_number, result, markdown) VALUES ($1, 1, '{}', '')",
            "INSERT INTO effect_ledger (effect_id, course_id, job_type, run_number, outcome)"
            " VALUES (gen_random_uuid(), $1, 'X', 1, 'applied')",
        ):
            await app_db.execute(statement, course)

        assert await app_db.execute("DELETE FROM courses WHERE id = $1", course) == "DELETE 1"
        counts = await db.fetchrow(
            "SELECT (SELECT count(*) FROM job_outbox) AS outbox, (SELECT count(*) FROM fsm_events) AS events,"
            " (SELECT count(*) FROM idempotency_keys) AS keys, (SELECT count(*) FROM documents) AS documents,"
            " (SELECT count(*) FROM document_texts) AS texts, (SELECT count(*) FROM document_sections) AS sections,"
            " (SELECT count(*) FROM course_structures) AS structures, (SELECT count(*) FROM course_results) AS results,"
            " (SELECT count(*) FROM effect_ledger) AS ledger"
        )
        assert set(dict(counts).values()) == {0}
        assert await db.fetchval("SELECT count(*) FROM stored_objects WHERE course_id IS NULL") == 2

    async def test_it_may_use_every_table_and_function_it_needs(self, app: Connection) -> None:
        """Also the schedule, the list of migrations and the counters."""
        for query in (
            "SELECT count(*) FROM supabase_migrations.schema_migrations",
            "SELECT count(*) FROM cron.job",
            "SELECT cron.unschedule('cleanup_old_fsm_events')",
            "SELECT cron.schedule_defaults()",
            "SELECT cleanup_processed_outbox_entries()",
            "SELECT cleanup_old_outbox_entries()",
            "SELECT cleanup_expired_idempotency_keys()",
            "SELECT cleanup_old_fsm_events()",
            "INSERT INTO metric_values (name) VALUES ('x') RETURNING value",
            "UPDATE relay_leadership SET epoch = epoch + 1 RETURNING epoch",
            "INSERT INTO auth.users (id) VALUES (gen_random_uuid()) ON CONFLICT DO NOTHING RETURNING 1",
        ):
            assert await app.fetchval(query) is not None

    async def test_the_list_of_migrations_is_read_only_for_it(self, app: Connection) -> None:
        """Only the runner writes it."""
        with pytest.raises(Exception, match="permission denied"):
            await app.execute("DELETE FROM supabase_migrations.schema_migrations")


async def test_an_owner_without_superuser_is_bound_and_still_works(owner: Connection, db: Database) -> None:
    """FORCE ROW LEVEL SECURITY binds the definer too; the policy lets him through because he is a member."""
    course = await add_course(db)
    name = f"owner_{uuid4().hex[:8]}"
    await owner.execute(
        f"CREATE ROLE {name} NOLOGIN; GRANT service_role TO {name}; GRANT CREATE ON SCHEMA public TO {name}"
    )
    try:
        for table in ("courses", *_TABLES):
            await owner.execute(f"ALTER TABLE {table} OWNER TO {name}")
        await owner.execute(f"ALTER FUNCTION initialize_fsm_with_outbox OWNER TO {name}")
        await as_authenticated(owner, USER)
        result: Any = await owner.fetchval(_CALL, course, USER, ORGANIZATION, "k")
        assert len(result["outboxEntries"]) == 1
    finally:
        await owner.execute("RESET ROLE")
        await owner.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")
