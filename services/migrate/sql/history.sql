-- What was applied, the backups that were used for it, and the lock that lets one runner at a time apply it.

-- name: create_schema
-- The schema that scripts and Supabase look in.
CREATE SCHEMA IF NOT EXISTS supabase_migrations;

-- name: create_table
-- The list of what was applied. On Supabase it exists, with fewer columns.
CREATE TABLE IF NOT EXISTS supabase_migrations.schema_migrations (
    version text PRIMARY KEY,
    name text,
    executed_at timestamptz NOT NULL DEFAULT now(),
    checksum text,
    plan_hash text,
    backup_id text,
    is_due_again boolean NOT NULL DEFAULT false
);

-- name: extend_table
-- The columns that Supabase's own table and those of older releases lack.
ALTER TABLE supabase_migrations.schema_migrations
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS executed_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS checksum text,
    ADD COLUMN IF NOT EXISTS plan_hash text,
    ADD COLUMN IF NOT EXISTS backup_id text,
    ADD COLUMN IF NOT EXISTS is_due_again boolean NOT NULL DEFAULT false;

-- name: create_used_backups
-- The backups that were used, and what for. It only grows: lines of the list are taken out by rollbacks and written over, and a
-- backup is spent all the same. `version` is the newest file that was applied under that plan, NULL when none was to its end.
CREATE TABLE supabase_migrations.used_backups (
    backup_id text NOT NULL,
    plan_hash text NOT NULL,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    version text,
    PRIMARY KEY (backup_id, plan_hash)
);

-- name: fill_used_backups
-- What the list of an older release knows of them.
INSERT INTO supabase_migrations.used_backups (backup_id, plan_hash, used_at, version)
SELECT btrim(backup_id), coalesce(plan_hash, ''), min(executed_at), max(version)
  FROM supabase_migrations.schema_migrations
 WHERE btrim(backup_id) <> ''
 GROUP BY btrim(backup_id), coalesce(plan_hash, '');

-- name: keeps_used_backups
-- Whether there is a place for them.
SELECT to_regclass('supabase_migrations.used_backups') IS NOT NULL;

-- name: table_columns
-- Which columns the list has; no row when there is no list yet.
SELECT attname AS name
  FROM pg_catalog.pg_attribute
 WHERE attrelid = to_regclass('supabase_migrations.schema_migrations') AND attnum > 0 AND NOT attisdropped;

-- name: applied
-- Everything that was applied, oldest first; a column that the list lacks is NULL.
SELECT line ->> 'version' AS version,
       line ->> 'name' AS name,
       (line ->> 'executed_at')::timestamptz AS executed_at,
       line ->> 'checksum' AS checksum,
       line ->> 'plan_hash' AS plan_hash,
       line ->> 'backup_id' AS backup_id,
       coalesce((line ->> 'is_due_again')::boolean, false) AS is_due_again
  FROM (SELECT to_jsonb(m) AS line FROM supabase_migrations.schema_migrations AS m) AS lines
 ORDER BY line ->> 'version';

-- name: used_backups
-- Every use of every backup.
SELECT backup_id, plan_hash, version FROM supabase_migrations.used_backups;

-- name: use_backup
-- Backup $1 is used for plan $2 from now on, of which some files may be applied that take nothing away.
INSERT INTO supabase_migrations.used_backups (backup_id, plan_hash, version)
SELECT $1::text, $2::text, max(version)
  FROM supabase_migrations.schema_migrations
 WHERE backup_id = $1::text AND plan_hash = $2::text
    ON CONFLICT (backup_id, plan_hash) DO NOTHING;

-- name: record
-- File $1, named $2, was applied with checksum $3, under plan $4, with backup $5 at hand; files $6 amend it, and have to
-- follow it again. Their lines stay, so that processes which wait for one of them go on.
WITH outdated AS (
    UPDATE supabase_migrations.schema_migrations SET is_due_again = true WHERE version = ANY ($6::text[])
), reached AS (
    UPDATE supabase_migrations.used_backups SET version = greatest(version, $1::text)
     WHERE backup_id = $5::text AND plan_hash = $4::text
)
INSERT INTO supabase_migrations.schema_migrations AS known (version, name, checksum, plan_hash, backup_id, executed_at)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::text, clock_timestamp())
ON CONFLICT (version) DO UPDATE
   SET name = excluded.name, checksum = excluded.checksum, plan_hash = excluded.plan_hash, backup_id = excluded.backup_id,
       executed_at = excluded.executed_at, is_due_again = false;

-- name: sign
-- What is applied of file $1, named $2, has checksum $3.
UPDATE supabase_migrations.schema_migrations SET name = $2::text, checksum = $3::text WHERE version = $1::text;

-- name: missing_tables
-- Those of the names given ($1 text[], with their schema) that no relation has.
SELECT wanted.name AS name
  FROM unnest($1::text[]) AS wanted(name)
 WHERE to_regclass(wanted.name) IS NULL
 ORDER BY wanted.name;

-- name: try_lock
-- Take the lock of session $1's kind, or say at once that somebody else has it. Waiting inside a statement would hold a
-- snapshot, and CREATE INDEX CONCURRENTLY of the one who has the lock would wait for that snapshot: a deadlock.
SELECT pg_try_advisory_lock($1::bigint);

-- name: unlock
-- Give the lock back.
SELECT pg_advisory_unlock($1::bigint);

-- name: set_timeouts
-- Longest wait for a lock $1 and longest statement $2, until the transaction or, when $3 is false, the session ends.
SELECT set_config('lock_timeout', $1::text, $3::boolean), set_config('statement_timeout', $2::text, $3::boolean);

-- name: notice_lost_client
-- Look every two seconds during a statement whether the client is still there: when it was killed, its locks fall with it.
SELECT set_config('client_connection_check_interval', '2s', false);
