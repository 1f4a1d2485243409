-- What was applied, and the lock that lets one runner at a time apply it.

-- name: create_schema
-- The schema that scripts and Supabase look in.
CREATE SCHEMA IF NOT EXISTS supabase_migrations;

-- name: create_table
-- The list of what was applied. On Supabase it exists, with fewer columns.
CREATE TABLE IF NOT EXISTS supabase_migrations.schema_migrations (
    version text PRIMARY KEY,
    name text,
    executed_at timestamptz NOT NULL DEFAULT now(),
    checksum text
);

-- name: extend_table
-- The columns that Supabase's own table lacks.
ALTER TABLE supabase_migrations.schema_migrations
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS executed_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS checksum text;

-- name: table_columns
-- Which columns the list has; no row when there is no list yet.
SELECT attname AS name
  FROM pg_catalog.pg_attribute
 WHERE attrelid = to_regclass('supabase_migrations.schema_migrations') AND attnum > 0 AND NOT attisdropped;

-- name: applied
-- Everything that was applied, oldest first.
SELECT version, name, executed_at, checksum
  FROM supabase_migrations.schema_migrations
 ORDER BY version;

-- name: record
-- File $1, named $2, was applied with checksum $3.
INSERT INTO supabase_migrations.schema_migrations AS known (version, name, checksum, executed_at)
VALUES ($1::text, $2::text, $3::text, clock_timestamp())
ON CONFLICT (version) DO UPDATE SET name = excluded.name, checksum = excluded.checksum;

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
