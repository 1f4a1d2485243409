"""What takes something away is found where it is said, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.migrate.destructive import EXCERPT_LENGTH, find_destructive
from services.migrate.files import MigrationFile, find_directory, read_directory
from services.migrate.statements import split

_DESTRUCTIVE = (
    "DROP TABLE courses",
    "drop table if exists public.courses cascade",
    'DROP TABLE "Courses", courses',
    "DROP SCHEMA cron CASCADE",
    "DROP TYPE metric_severity",
    "DROP FUNCTION f(int, text)",
    "DROP VIEW v",
    "DROP MATERIALIZED VIEW v",
    "DROP SEQUENCE s",
    "DROP OWNED BY coursegen_app",
    "DROP INDEX i CASCADE",
    "ALTER TABLE courses DROP COLUMN title",
    "ALTER TABLE IF EXISTS ONLY public.courses ADD COLUMN x int, DROP IF EXISTS title",
    "ALTER TABLE courses DROP CONSTRAINT c CASCADE",
    "ALTER TABLE courses ALTER COLUMN priority TYPE smallint",
    "ALTER TABLE courses ALTER priority SET DATA TYPE smallint USING priority::smallint",
    "ALTER TABLE courses ALTER COLUMN title SET NOT NULL",
    "ALTER TABLE courses ADD COLUMN mark text NOT NULL",
    "ALTER TABLE courses ALTER COLUMN a SET DEFAULT NULL, ALTER COLUMN a SET NOT NULL",
    "ALTER TYPE address DROP ATTRIBUTE street",
    "ALTER TABLE courses RENAME COLUMN title TO name",
    "ALTER TABLE courses RENAME title TO name",
    "ALTER TABLE IF EXISTS courses RENAME TO lessons",
    "ALTER TABLE courses SET SCHEMA old",
    "ALTER TABLE courses DETACH PARTITION courses_2025 CONCURRENTLY",
    "ALTER TABLE courses_2025 NO INHERIT courses",
    "ALTER VIEW v RENAME TO w",
    "ALTER MATERIALIZED VIEW IF EXISTS v SET SCHEMA old",
    "ALTER FUNCTION f(int, text) RENAME TO g",
    "ALTER SCHEMA cron RENAME TO times",
    "ALTER TYPE metric_severity RENAME VALUE 'fatal' TO 'critical'",
    "REVOKE SELECT ON courses FROM service_role",
    "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC",
    "REVOKE EXECUTE ON FUNCTION f(int) FROM PUBLIC",
    "REVOKE service_role FROM coursegen_app",
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC, service_role",
    "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
    "CREATE TABLE a (id int); REVOKE ALL ON a, courses FROM PUBLIC",
    "TRUNCATE courses",
    "TRUNCATE TABLE ONLY a, b RESTART IDENTITY",
    "DELETE FROM courses",
    "DELETE FROM courses AS c USING documents AS d",
    "DELETE FROM courses WHERE true",
    "DELETE FROM courses WHERE (1 = 1) RETURNING id",
    "DELETE FROM courses WHERE id = 1 OR ('x' = 'x' AND true)",
    "UPDATE courses SET priority = 1 WHERE NOT 'f'::boolean",
    "MERGE INTO courses AS c USING gone AS g ON c.id = g.id WHEN MATCHED THEN DELETE",
    "UPDATE courses SET title = (SELECT t FROM x WHERE y = 1)",
    "WITH gone AS (DELETE FROM courses RETURNING *) INSERT INTO old SELECT * FROM gone WHERE id = 1",
    "WITH a AS (SELECT 1) UPDATE courses SET priority = 1",
    "CREATE TABLE IF NOT EXISTS courses (id int); DROP TABLE courses",
    "CREATE TEMP TABLE courses (id int); DROP TABLE public.courses",
    "CREATE TEMP TABLE courses (id int); DROP TABLE courses; DROP TABLE courses",
    "CREATE TABLE a (id int); DROP TABLE a, b",
    "DROP FUNCTION f() CASCADE; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "/* /* */ '*/; DROP TABLE courses; -- '",
    "SELECT a$b$; DROP TABLE courses; SELECT a$b$",
    r"SELECT '\'; DROP TABLE courses; --'",
)
_HARMLESS = (
    "CREATE TABLE a (id int NOT NULL)",
    "CREATE TABLE a (id int); DROP TABLE a CASCADE",
    "CREATE TEMP TABLE IF NOT EXISTS a (id int); TRUNCATE a; DELETE FROM a; DROP TABLE a",
    "CREATE TABLE a (id int); ALTER TABLE a ALTER id TYPE bigint, DROP COLUMN x; UPDATE a SET id = 1",
    "CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM courses; END $$",
    "DROP FUNCTION IF EXISTS f(int); CREATE FUNCTION f(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP VIEW IF EXISTS v; CREATE VIEW v AS SELECT 1",
    "DROP INDEX CONCURRENTLY IF EXISTS i",
    "DROP TRIGGER t ON courses",
    "DROP POLICY p ON courses",
    "ALTER TABLE courses DROP CONSTRAINT c, ADD CONSTRAINT c CHECK (a IS NOT NULL)",
    "ALTER TABLE courses ADD COLUMN a int, ADD COLUMN IF NOT EXISTS b int NOT NULL DEFAULT 0",
    "ALTER TABLE courses ADD n bigserial NOT NULL, ADD m int NOT NULL GENERATED ALWAYS AS (1) STORED",
    "ALTER TABLE courses ALTER a SET DEFAULT 0; ALTER TABLE public.courses ALTER a SET NOT NULL",
    "ALTER TABLE courses ALTER COLUMN title DROP DEFAULT, ALTER title DROP NOT NULL",
    "ALTER TABLE courses ALTER COLUMN type SET DEFAULT 1",
    'ALTER TABLE courses ALTER COLUMN "drop" SET DEFAULT 1',
    "ALTER TABLE courses RENAME CONSTRAINT c TO d",
    "ALTER INDEX i RENAME TO j",
    "CREATE TABLE a (id int); ALTER TABLE a RENAME TO b",
    "CREATE VIEW v AS SELECT 1; ALTER VIEW v SET SCHEMA api",
    "ALTER TABLE courses ATTACH PARTITION courses_2026 FOR VALUES IN (1)",
    "ALTER TABLE courses SET (fillfactor = 90)",
    "ALTER FUNCTION f(int) SET search_path = ''",
    "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    "CREATE TABLE IF NOT EXISTS a (id int); REVOKE ALL ON a FROM PUBLIC, authenticated",
    "CREATE VIEW v AS SELECT 1; REVOKE ALL ON TABLE v FROM PUBLIC",
    "CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql AS ''; REVOKE EXECUTE ON FUNCTION f(int) FROM PUBLIC",
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    "ALTER TYPE metric_severity ADD VALUE 'fatal'",
    "DELETE FROM courses WHERE id = 1",
    "DELETE FROM courses WHERE is_old",
    "DELETE FROM courses WHERE (id = 1 OR id = 2) AND true",
    'DELETE FROM courses WHERE "true"',
    "DELETE FROM courses WHERE EXISTS (SELECT FROM gone)",
    "MERGE INTO courses AS c USING new AS n ON c.id = n.id WHEN MATCHED THEN UPDATE SET title = n.title",
    "UPDATE courses AS c SET title = 'x' FROM documents AS d WHERE (d.id = c.id)",
    "WITH old AS (SELECT id FROM a) DELETE FROM courses USING old WHERE courses.id = old.id",
    "INSERT INTO a VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2",
    "SELECT * FROM courses FOR UPDATE",
    "CREATE TRIGGER t BEFORE UPDATE OR DELETE ON courses FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE POLICY p ON courses FOR DELETE USING (true)",
    "GRANT SELECT (id), UPDATE (id), DELETE, TRUNCATE ON courses TO someone",
    "CREATE TABLE b (id int REFERENCES a (id) ON DELETE CASCADE ON UPDATE CASCADE)",
    "COMMENT ON TABLE courses IS 'DROP TABLE courses'",
)
_WRAPPINGS = ("-- {}\n", "/* {} */", "/* a /* {} */ b */", "'{}'", "e'\\'{}'", '"{}"', "$$ {} $$", "$do$ $$ {} $do$")


@pytest.mark.parametrize("script", _DESTRUCTIVE)
def test_it_is_found(script: str) -> None:
    """Once, however it is written."""
    assert len(find_destructive(script + ";")) == 1


@pytest.mark.parametrize("script", _HARMLESS)
def test_it_is_left_in_peace(script: str) -> None:
    """What the file has made itself, makes anew, or only speaks of."""
    assert find_destructive(script) == []


@pytest.mark.parametrize("file", read_directory(find_directory()), ids=lambda file: file.filename)
def test_nothing_that_was_released_for_phase_expand_is_destructive(file: MigrationFile) -> None:
    """A fresh install needs no leave and no backup."""
    assert file.phase == "contract" or find_destructive(file.text) == []


@given(st.sampled_from(_DESTRUCTIVE[:30]), st.sampled_from(_WRAPPINGS))
def test_what_is_quoted_or_remarked_does_not_count(statement: str, wrapping: str) -> None:
    """Whatever quotes it."""
    quoted = statement.replace("'", "").replace('"', "").replace("$$", "")

    assert find_destructive(f"SELECT 1 AS a, {wrapping.format(quoted)}\n;") == []


@given(
    st.lists(st.sampled_from(_HARMLESS), max_size=4),
    st.sampled_from([each for each in _DESTRUCTIVE if ";" not in each]),
    st.lists(st.sampled_from(_WRAPPINGS[:3]), max_size=3),
)
def test_what_stands_around_it_does_not_hide_it(before: list[str], statement: str, remarks: list[str]) -> None:
    """Harmless statements on other things, and remarks between its words."""
    remark = " ".join(each.format("it's $$ only") for each in remarks)
    script = "; ".join(
        [*(each.replace("courses", "others") for each in before), statement.replace(" ", f" {remark} ", 1)]
    )
    untouched = statement.replace("public.", "").split("(")[0].split()
    if {"a", "f", "v", "b"} & {word.strip(',"') for word in untouched} and before:
        return  # the harmless ones may have made that very thing

    assert len(find_destructive(script)) == 1


@given(st.text(alphabet="abDROPTABLE ;'\"$-/*\\(),\n", max_size=80))
def test_no_text_is_too_strange(script: str) -> None:
    """It answers for any text, and a statement is shown on one line, not too long."""
    for each in find_destructive(script):
        assert "\n" not in each.statement
        assert len(each.statement) <= EXCERPT_LENGTH


@given(st.text(max_size=60), st.sampled_from(["'{}'", "$q${}$q$"]))
def test_what_is_quoted_is_not_shown(secret: str, quotes: str) -> None:
    """It may be a password."""
    marked = "s3cr3t" + secret.replace("'", "").replace("\\", "").replace("$q$", "")
    found = find_destructive(f"UPDATE people SET password = {quotes.format(marked)}")

    assert len(found) == 1
    assert "s3cr3t" not in found[0].statement


def test_it_says_where() -> None:
    """The line on which the statement begins, below its comments."""
    found = find_destructive("-- Title\n\nSELECT 1;\n-- because\nDROP TABLE a;")

    assert [(each.line, each.statement) for each in found] == [(5, "DROP TABLE a")]


@given(st.lists(st.sampled_from(["SELECT 1", "SELECT ';'", "DO $$ ; $$", 'SELECT ";"', "SELECT 1 /* ; /* ; */ ; */"])))
def test_a_script_is_cut_where_its_statements_end(statements: list[str]) -> None:
    """As many as were joined."""
    assert [each.text for each in split(";\n".join(statements))] == statements
