-- name: missing_relations
-- Those of the names given ($1 text[]) for which schema public has no relation.
SELECT wanted.name AS name
  FROM unnest($1::text[]) AS wanted(name)
 WHERE to_regclass('public.' || quote_ident(wanted.name)) IS NULL
 ORDER BY wanted.name;
