-- name: missing_relations
-- Those of the names given ($1 text[]) for which schema public has no relation.
SELECT wanted.name AS name
  FROM unnest($1::text[]) AS wanted(name)
 WHERE to_regclass('public.' || quote_ident(wanted.name)) IS NULL
 ORDER BY wanted.name;

-- name: standing
-- Whether the migration $1 was applied, and the newest one that was.
SELECT coalesce(bool_or(version = $1::text), false) AS is_applied, max(version) AS newest
  FROM supabase_migrations.schema_migrations;

-- name: installation
-- When migration $1, the first of coursegen, was applied, to the microsecond: no other installation's was then, and every backup of
-- this one says the same. Whoever shares the list (Supabase) may add, mend and squash lines of his own: they do not count.
SELECT to_char(executed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
  FROM supabase_migrations.schema_migrations
 WHERE version = $1::text;
