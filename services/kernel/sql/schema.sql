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
